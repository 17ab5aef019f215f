"""What the inference benchmark computes, on a tiny model."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from benchmarks import generate_peers, inference_floor
from benchmarks.geometries import build, llava
from benchmarks.inference_floor import Rates, writing
from benchmarks.inference_speed import SIDES, SMALL, Asked, Geometry, equal, main, measure, summary, table
from benchmarks.trainer_parity import TINY
from sclvlm.engines import Reply

RATES = Rates(operations=1000.0, weights=10.0)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Five questions on three pictures."""
    return Geometry(llava, TINY, prompt=8, photo=32, questions=2).ask(tmp_path_factory.mktemp("asked"), 5)


def reply(tokens: int) -> Reply:
    return Reply("x" * tokens, tokens, "length", 0.0)


def test_all_sides_say_the_same(asked: Asked) -> None:
    found = measure(asked, limit=4, batch=2, repeats=1)
    assert found["equal"] == {"batched": 5, "loop": 5}
    assert found["tokens"] <= 5 * 2 * 4
    assert set(found["seconds"]) == set(SIDES)


def test_the_questions_are_ragged_and_pictures_are_shared(asked: Asked) -> None:
    assert [opening.images for opening in asked.openings] == [(asked.openings[at].images[0],) for at in (0, 0, 2, 2, 4)]
    assert len({str(opening.message) for opening in asked.openings}) == 5


def test_an_answer_that_differs_is_counted() -> None:
    said = {"ours": [["a", "b"], ["c", "d"]], "batched": [["a", "b"], ["c", "x"]], "loop": [["a", "b"], ["c", "d"]]}
    assert equal(said) == {"batched": 1, "loop": 2}


def test_ratios_are_taken_within_a_repeat() -> None:
    found = summary({"ours": [1.0, 2.0, 4.0], "batched": [2.0, 6.0, 4.0], "loop": [5.0, 10.0, 20.0]}, 100, 0.5)
    assert found["over_ours"] == {"batched": 2.0, "loop": 5.0}  # of 2, 3, 1 and of 5, 5, 5
    assert found["over_ours_range"]["batched"] == [1.0, 3.0]
    assert found["tokens_a_second"] == 50.0  # 100 in the median of 2 seconds
    assert found["ours_over_floor"] == 4.0
    line = table({"case": {**found, "equal": {"batched": 3, "loop": 4}, "conversations": 4}}).splitlines()[1]
    assert "50.0 (   200.0)" in line
    assert "2.00 (1.00-3.00)" in line
    assert line.endswith("3/4 4/4")


def test_rows_that_have_ended_write_no_more() -> None:
    # Second tokens of three rows, third and fourth ones of one.
    assert writing([reply(4), reply(2), reply(1), reply(2)]) == [3, 1, 1]


def test_a_step_costs_the_larger_of_reading_and_multiplying(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference_floor, "matrices_of", lambda policy: [torch.ones(3, 2), torch.ones(4, 1)])
    monkeypatch.setattr(inference_floor.Widths, "rows", lambda *_: [7, 8])
    replies = [[reply(3), reply(1)], [reply(2), reply(1)]]
    found = inference_floor.seconds(asked.policy, asked.openings[:2], asked.follow_ups, replies, 2, RATES)
    # 15 tokens read by 6 weights, and four last ones by the 4 of the head: 2 (90 + 16) / 1000. Two steps of writing,
    # two rows and one: 10 weights in 10 a second are 1 second each, the product would be 0.04 and 0.02.
    assert math.isclose(found, 0.212 + 2.0)
    many = inference_floor.seconds(asked.policy, asked.openings[:2], [], [[reply(2)]] * 200, 200, RATES)
    # 15 tokens by 6 and two last ones by 4, 2 * 98 / 1000; then 2 * 10 * 200 / 1000 is more than 1.
    assert math.isclose(many, 0.196 + 4.0)


def test_only_layers_and_the_output_embedding_are_read_for_a_token(tmp_path: Path, asked: Asked) -> None:
    inner = asked.policy.model.model.language_model
    layers = sum(each.numel() for name, each in inner.named_parameters() if each.ndim == 2 and "embed" not in name)
    head = asked.policy.model.get_output_embeddings().weight.numel()
    assert sum(each.numel() for each in inference_floor.matrices_of(asked.policy)) == layers + head


def test_a_peer_puts_the_reply_before_what_follows(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[list[str]] = []

    def turn(policy: object, openings: object, said: list[list[dict[str, object]]], limit: int) -> list[str]:
        heard.append([str(message["role"]) for message in said[0]])
        return ["hm"] * len(said)

    monkeypatch.setattr(generate_peers, "_turn", turn)
    assert generate_peers.loop(asked.policy, asked.openings[:2], asked.follow_ups, 4) == [["hm", "hm"]] * 2
    assert heard == [["user"], ["user", "assistant", "user"]] * 2


def test_the_small_model_must_be_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["inference_speed", "--case", SMALL])
    with pytest.raises(SystemExit):
        main()
    assert "needs --model" in capsys.readouterr().err


def test_a_built_geometry_says_only_characters(tmp_path: Path) -> None:
    from benchmarks.inference_speed import speaking

    policy = speaking(build(llava, tmp_path / "model", TINY))
    head = policy.model.get_output_embeddings().weight
    assert not head[policy.pad_id].any()
    assert head[policy.stop_ids[0]].any()
