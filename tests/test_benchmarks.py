"""What the comparisons with TRL compute, without TRL."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import ours, peers
from benchmarks.floor import Floor
from benchmarks.geometries import build, idefics, llama, llava, qwen, write_pairs
from benchmarks.stopwatch import SHARES, Stopwatch, shares
from benchmarks.trainer_parity import PAIRS, TINY, Case, Figure, compare, main, score, set_adapters, table
from benchmarks.trainer_speed import CASES, Run, order, our_run, own_peak, result, summary, trl_run
from benchmarks.trainer_speed import table as speed_table
from sclvlm.parts import VISION
from sclvlm.pictures import load_images
from sclvlm.records import PreferencePair
from sclvlm.rendering import Renderer
from sclvlm.storage import read_records
from sclvlm.tuning import Lora, tune

LOG = {"loss": 0.5, "logps/chosen": -60.0, "logps/rejected": -70.0, "rewards/margins": 1.0, "grad_norm": 20.0}


@pytest.fixture(scope="module")
def tiny_llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory."""
    return build(llava, tmp_path_factory.mktemp("llava"), TINY)


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory whose chat template puts a newline behind the end of each turn."""
    return build(llama, tmp_path_factory.mktemp("llama"), TINY, behind="\n")


def adapted(model: Path) -> Any:
    """The model in a directory, with fresh adapters."""
    whole = peers.load(model).model
    with peers.quiet():
        return get_peft_model(whole, peers.lora_config(whole)).eval()


def off(name: str, peer: float) -> float:
    """How far our figure called `name` is from that of a peer."""
    return next(figure.off for figure in compare(LOG, {**LOG, name: peer}) if figure.name == name)


def test_log_probabilities_are_compared_in_nats() -> None:
    assert off("logps/chosen", -60.5) == 0.5


def test_the_norm_is_compared_as_a_share() -> None:
    assert off("grad_norm", 16.0) == 4 / 16


def test_a_figure_that_is_no_number_is_off() -> None:
    assert not Figure("loss", math.nan, 0.5, abs(math.nan - 0.5)).good


def test_a_case_is_good_when_every_figure_is() -> None:
    assert Case("one", compare(LOG, LOG)).good
    assert not Case("one", compare(LOG, {**LOG, "loss": 0.5002})).good  # the limit is 1e-4


def test_the_line_of_a_case_that_is_off_says_so() -> None:
    good, bad = Case("good", compare(LOG, LOG)), Case("bad", compare(LOG, {**LOG, "loss": 0.6}))
    _, first, second = table([good, bad]).splitlines()
    assert (first.split()[-1], second.split()[-1]) == ("ok", "OFF")


def test_parity_exits_with_1_when_a_figure_is_off() -> None:
    def agree(folder: Path) -> list[Case]:
        return [Case("good", compare(LOG, LOG))]

    def differ(folder: Path) -> list[Case]:
        return [Case("bad", compare(LOG, {**LOG, "grad_norm": 20.1}))]

    assert [main([agree]), main([agree, differ])] == [0, 1]


@pytest.mark.slow
def test_our_first_step_is_that_of_trl() -> None:
    pytest.importorskip("trl")
    assert main() == 0


def test_fixed_adapters_are_the_same_in_every_copy_of_a_model(tiny_llama: Path) -> None:
    one, other = adapted(tiny_llama), adapted(tiny_llama)
    set_adapters(one, 0.05)
    set_adapters(other, 0.05)
    same = [torch.equal(*both) for both in zip(one.parameters(), other.parameters(), strict=True)]
    assert all(same)


def test_adapters_of_scale_zero_leave_the_policy_at_its_reference(tiny_llama: Path) -> None:
    model, ids = adapted(tiny_llama), torch.tensor([[1, 2, 3]])
    set_adapters(model, 0.0)
    policy = model(ids).logits
    with model.disable_adapter():
        assert torch.equal(policy, model(ids).logits)


def test_the_plain_score_is_what_the_trainer_logs(tiny_llama: Path, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path, PAIRS, prompt=20, answer=None, photo=0)
    log = ours.train(
        tiny_llama, pairs, tmp_path / "run", max_steps=1, logging_steps=1, per_device_train_batch_size=PAIRS
    )
    policy = peers.load(tiny_llama)
    sums = score(policy.model, Renderer(policy), list(read_records(pairs, PreferencePair)), "\n").sums
    logged = [log[0]["logps/chosen"], log[0]["logps/rejected"]]
    assert sums.mean(0).tolist() == pytest.approx(logged, abs=1e-4)  # fresh adapters change nothing


@pytest.mark.parametrize("make", [llava, qwen, idefics, llama])
def test_both_sides_adapt_the_same_layers(make: Any, tmp_path: Path) -> None:
    model = peers.load(build(make, tmp_path, replace(TINY, pixels=64 if make is idefics else 56))).model
    names = peers.adapted_layers(model)
    lora = peers.LORA
    whole = tune(model, Lora(lora.rank, lora.alpha, lora.dropout, lora.targets))
    assert sorted(whole.base_model.targeted_module_names) == sorted(names)


def test_a_missing_peer_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)  # makes the import fail
    with pytest.raises(peers.PeerMissingError, match=r"bench"):
        peers.version()


def test_pairs_without_pictures_reach_the_peer_without_an_image_column(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path, 2, prompt=5, answer=4, photo=0)
    assert sorted(peers.dataset(pairs, tmp_path / "cache").column_names) == ["chosen", "prompt", "rejected"]


def test_pictures_reach_the_peer_decoded(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path, 2, prompt=5, answer=4, photo=30)
    assert [image.size for image in peers.dataset(pairs, tmp_path / "cache")[1]["images"]] == [(30, 30)]


# Tokens of a picture in the models that the cases scale down: 24 x 24 patches; 64 x 64 patches, 4 a token;
# 32 x 32 patches, 16 a token.
@pytest.mark.parametrize(("name", "tokens"), [("llava-1.5", 576), ("qwen2.5-vl-3b", 1024), ("smolvlm", 64)])
def test_a_picture_has_as_many_tokens_as_in_the_real_model(name: str, tokens: int, tmp_path: Path) -> None:
    case = CASES[name]
    small = replace(case.sizes, width=case.sizes.heads * 16, inner=32, layers=1)
    policy = peers.load(build(case.make, tmp_path / "model", small))
    pairs = write_pairs(tmp_path, 1, prompt=case.prompt, answer=case.answer, photo=case.photo)
    (pair,) = read_records(pairs, PreferencePair)
    renderer = Renderer(policy)
    (ids,) = renderer.encode([renderer.text(pair.prompt, reply=True)], [load_images(pair.images, pair.prompt)]).ids
    assert ids.count(policy.processor.image_token_id) == tokens
    assert len(renderer.completion(pair.prompt, pair.chosen)) == case.answer


# Parameters times the tokens they see. LLaVA-1.5-7B: a tower of 304 M sees 577 patches, a language model of 6.74 G a
# row. Qwen2.5-VL-3B: 632 M see 4096 patches, its merger of 37 M 1024 tokens, 3.08 G the row. SmolVLM-256M: 93 M see
# 1024 patches, 134 M the row.
@pytest.mark.parametrize(
    ("name", "tower", "model"),
    [
        ("llava-1.5", 0.304 * 577, 6.74),
        ("qwen2.5-vl-3b", 0.632 * 4096 + 0.037 * 1024, 3.08),
        ("smolvlm", 0.093 * 1024, 0.134),
    ],
)
def test_the_tower_has_about_the_share_of_work_that_it_has_in_the_real_model(
    name: str, tower: float, model: float, tmp_path: Path
) -> None:
    case = CASES[name]
    policy = peers.load(build(case.make, tmp_path / "model", case.sizes))
    pairs = write_pairs(tmp_path, 1, prompt=case.prompt, answer=case.answer, photo=case.photo)
    (pair,), renderer = list(read_records(pairs, PreferencePair)), Renderer(policy)
    prompts = renderer.encode([renderer.text(pair.prompt, reply=True)], [load_images(pair.images, pair.prompt)])
    row = torch.tensor([[*prompts.ids[0], *renderer.completion(pair.prompt, pair.chosen)]])
    types = {key: torch.zeros_like(row) for key in prompts.types}
    for key, marks in prompts.types.items():
        types[key][0, : len(marks[0])] = torch.tensor(marks[0])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        policy.model(input_ids=row, **prompts.images, **types)
    counts = {part: sum(each.values()) for part, each in counter.get_flop_counts().items()}
    seen = max(count for part, count in counts.items() if VISION.search(part))
    assert seen / (counts["Global"] - seen) == pytest.approx(tower / (model * row.shape[1]), rel=0.3)


class Ticking:
    """A clock that shows the times given, one after the other."""

    def __init__(self, *times: float) -> None:
        self.times = iter(times)

    def __call__(self) -> float:
        return next(self.times)


def test_a_second_counts_for_the_innermost_only() -> None:
    watch = Stopwatch(Ticking(0, 1, 3, 6, 10, 10))
    with watch.inside("reference"), watch.inside("tower"):  # from 1 and from 3; until 6 and until 10
        pass
    assert watch.elapsed == 10
    assert watch.seconds == {"setup": 1, "reference": 2 + 4, "tower": 3}


def test_loading_is_left_out() -> None:
    watch = Stopwatch(Ticking(0, 1, 5, 6))
    with watch.inside("load"):
        pass
    assert watch.elapsed == 6 - 4


def test_shares_add_up_to_one() -> None:
    seconds = {"setup": 1.0, "policy": 2.0, "data": 1.0, "load": 9.0, "after": 9.0}
    assert shares(seconds) == {**dict.fromkeys(SHARES, 0.0), "setup": 0.25, "policy": 0.5, "data": 0.25}


@pytest.fixture(scope="module")
def watched(tiny_llava: Path, tmp_path_factory: pytest.TempPathFactory) -> Stopwatch:
    """Two epochs of our trainer under a stopwatch."""
    folder = tmp_path_factory.mktemp("watched")
    pairs = write_pairs(folder, 2, prompt=10, answer=8, photo=60)
    return our_run(tiny_llava, pairs, folder / "run", num_train_epochs=2, per_device_train_batch_size=2)


@pytest.mark.parametrize("name", SHARES)
def test_the_stopwatch_sees_every_part_of_our_training(name: str, watched: Stopwatch) -> None:
    assert watched.seconds[name] > 0


def test_the_stopwatch_sees_every_part_of_the_peers_training(tiny_llava: Path, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    pairs = write_pairs(tmp_path, 2, prompt=10, answer=8, photo=60)
    watch = trl_run(tiny_llava, pairs, tmp_path / "run", num_train_epochs=2, per_device_train_batch_size=2)
    assert all(watch.seconds[name] > 0 for name in SHARES)


def test_the_first_epoch_counts_what_was_waited_for_before_it(watched: Stopwatch) -> None:
    run = result(watched, pairs=2)
    assert len(watched.epochs) == 2
    assert run.first * 2 > watched.seconds["setup"]
    assert run.all * 4 == watched.epochs[1]  # two pairs, twice


@pytest.fixture(scope="module")
def floor(tiny_llava: Path, tmp_path_factory: pytest.TempPathFactory) -> Floor:
    """The floor of two pairs in one batch."""
    pairs = write_pairs(tmp_path_factory.mktemp("floor"), 2, prompt=10, answer=8, photo=60)
    return Floor(tiny_llava, pairs, 2)


def test_the_floor_computes_each_distinct_token_once(floor: Floor) -> None:
    (row,) = floor.rows
    assert row.inputs["inputs_embeds"].shape[:2] == (2, (1 + 16 + 10 + 2) + 2 * 8)  # 4 x 4 patches, three marks


def test_the_floor_encodes_no_picture(floor: Floor) -> None:
    calls: list[Any] = []
    hook = floor.model.get_base_model().model.vision_tower.register_forward_hook(lambda *_: calls.append(1))
    floor.seconds()
    hook.remove()
    assert not calls


def test_the_floor_goes_back_to_every_adapter(floor: Floor) -> None:
    floor.loss(floor.rows[0]).backward()
    seconds = [weight for name, weight in floor.model.named_parameters() if "lora_B" in name]
    assert all(weight.grad.any() for weight in seconds)  # A's gradient is zero while B is


def runs(*seconds: tuple[float, float]) -> list[Run]:
    """Runs with these seconds a pair, all spent on the policy."""
    return [Run(first, all_, {"policy": all_}) for first, all_ in seconds]


SUMMARY = summary(
    {"ours": runs((2, 1), (4, 2), (6, 6)), "trl": runs((6, 4), (8, 6), (60, 12))},
    [0.5, 0.25, 9.0],
    {"ours": 100.0, "trl": 150.0},
)


def test_figures_are_medians_over_repeats() -> None:
    assert (SUMMARY["ours"]["first"], SUMMARY["ours"]["all"], SUMMARY["floor"]) == (4, 2, 0.5)


def test_ratios_are_taken_within_a_repeat() -> None:
    assert SUMMARY["trl_over_ours"] == {"first": 3, "all": 3}  # of 3, 2, 10 and of 4, 3, 2
    assert SUMMARY["trl_over_ours_range"] == {"first": [2, 10], "all": [2, 4]}


def test_the_floor_ratio_is_our_time_over_the_floor() -> None:
    assert SUMMARY["ours_over_floor"] == {"first": 4 / 0.5, "all": 2 / 0.5}


def test_the_speed_table_has_a_line_a_case_and_a_line_of_shares_a_side() -> None:
    lines = speed_table({"one": SUMMARY, "two": SUMMARY}).splitlines()
    assert len([line for line in lines if line.startswith(("one", "two"))]) == 2 + 4


def test_the_side_that_goes_first_changes() -> None:
    assert [order(0), order(1), order(2)] == [("ours", "trl"), ("trl", "ours"), ("ours", "trl")]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_the_peak_is_what_a_process_grows_by_even_when_it_is_freed() -> None:
    mib = 64
    assert own_peak(lambda: len(b"x" * (mib << 20))) == pytest.approx(mib, abs=4)
