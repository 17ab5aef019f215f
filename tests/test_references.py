from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sclvlm.collation import Collator
from sclvlm.config import ModelSection, TrainSection
from sclvlm.models import Policy
from sclvlm.records import PreferencePair, text_message
from sclvlm.references import record_key, reference_logps
from sclvlm.rendering import Renderer
from sclvlm.training import train
from sclvlm.tuning import Lora, tune
from tests import tiny


def pair(number: int, reply: str = "A square.", images: tuple[str, ...] = ()) -> PreferencePair:
    return PreferencePair(
        id=f"pair-{number}",
        prompt=[text_message("user", f"What is in picture {number}?", images=len(images))],
        chosen=[text_message("assistant", reply)],
        rejected=[text_message("assistant", "No.")],
        images=images,
    )


@pytest.fixture
def collator(tiny_model: Callable[[str], Path]) -> Collator:
    """Of a policy with fresh adapters."""
    policy = tiny.load(tiny_model("llama"))
    model = tune(policy.model, Lora(4, 8, 0.0, ["q_proj"]))
    return Collator(Renderer(Policy(model, policy.processor, policy.ref)))


def score(collator: Collator, path: Path, records: list[PreferencePair], **settings: object) -> list[tuple[float, ...]]:
    given = {"origin": "weights", "batch_size": 2, **settings}
    return reference_logps(path, records, [30] * len(records), collator, **given)  # type: ignore[arg-type]


def flat(rows: list[tuple[float, ...]]) -> list[float]:
    return [value for row in rows for value in row]


def disturb(collator: Collator) -> None:
    """As training would: the adapters are no longer without effect."""
    with torch.no_grad():
        for name, weights in collator.renderer.policy.model.named_parameters():
            if "lora_B" in name:
                weights.fill_(0.1)


def test_what_was_scored_is_kept_when_the_policy_moves_on(collator: Collator, tmp_path: Path) -> None:
    records = [pair(number) for number in range(3)]
    before = score(collator, tmp_path / "reference.jsonl", records)
    disturb(collator)
    assert score(collator, tmp_path / "reference.jsonl", records) == before
    anew = score(collator, tmp_path / "other.jsonl", records)
    assert all(abs(a - b) > 1e-3 for a, b in zip(flat(anew), flat(before), strict=True))


def test_only_what_is_missing_is_scored(collator: Collator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "reference.jsonl"
    score(collator, path, [pair(0), pair(1)])
    kept = path.read_text(encoding="utf-8")
    score(collator, path, [pair(0), pair(1), pair(2)])
    lines = path.read_text(encoding="utf-8").removeprefix(kept).splitlines()
    assert len(lines) == 1
    assert '"pair-2"' in lines[0]


def test_a_line_torn_by_a_crash_is_scored_again(collator: Collator, tmp_path: Path) -> None:
    path = tmp_path / "reference.jsonl"
    records = [pair(0), pair(1)]
    before = score(collator, path, records)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert flat(score(collator, path, records)) == pytest.approx(flat(before), abs=1e-5)
    assert len(path.read_bytes().splitlines()) == 2


def test_a_run_killed_before_its_first_score_starts_over(collator: Collator, tmp_path: Path) -> None:
    path = tmp_path / "reference.jsonl"
    path.touch()
    assert len(score(collator, path, [pair(0)])) == 1


def test_batch_mates_and_order_change_no_score(collator: Collator, tmp_path: Path) -> None:
    records = [pair(0), pair(1, reply="Something that is a good deal longer."), pair(2)]
    together = score(collator, tmp_path / "together.jsonl", records, batch_size=3)
    alone = score(collator, tmp_path / "alone.jsonl", records[::-1], batch_size=1)
    assert flat(together) == pytest.approx(flat(alone[::-1]), abs=1e-4)


def test_words_images_and_origin_decide_the_key(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"red")
    record = pair(0, images=(str(picture),))
    keys = {record_key(record, "a"), record_key(record, "b"), record_key(pair(0, reply="!"), "a")}
    picture.write_bytes(b"blue")
    keys.add(record_key(record, "a"))
    assert len(keys) == 4


def test_an_id_or_a_source_does_not_decide_the_key() -> None:
    assert record_key(pair(0), "a") == record_key(pair(0).model_copy(update={"id": "x", "source": "y"}), "a")


@pytest.mark.parametrize("layout", ["plain", "shared"])
def test_cached_trains_as_live(layout: str, tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    records = [pair(number) for number in range(4)]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(record.model_dump_json() + "\n" for record in records), encoding="utf-8")
    model = ModelSection(path=str(tiny_model("llama")), dtype="float32", device="cpu")
    losses = {}
    for reference in ("cached", "live"):
        settings = TrainSection.model_validate(
            {
                "layout": layout,
                "reference": reference,
                "surplus_weight": 0.5,
                "lora": {"dropout": 0.0},
                "args": {"max_steps": 3, "logging_steps": 1, "learning_rate": 1e-2, "per_device_train_batch_size": 2},
            }
        )
        folder = tmp_path / reference
        train(file, folder, model=model, settings=settings, seed=0)
        history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
        losses[reference] = [logged["loss"] for logged in history if "rewards/margins" in logged]
    assert len(losses["cached"]) == 3
    assert losses["cached"] == pytest.approx(losses["live"], abs=1e-5)
    assert losses["cached"][-1] < losses["cached"][0]
