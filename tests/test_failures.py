"""What can be wrong with a sample ends neither the run nor its batch: it is kept, with a reason that names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sclvlm.engines.context import check_fits
from sclvlm.engines.hf import HFEngine
from sclvlm.errors import SclvlmError
from sclvlm.models import Policy
from sclvlm.records import AnswerKind, Sample
from tests.test_self_correction import collect


def bomb(folder: Path) -> str:
    """A small file of 20,000 x 20,000 black pixels."""
    Image.new("1", (20_000, 20_000)).save(folder / "bomb.png")
    return str(folder / "bomb.png")


def cut(folder: Path, whole: str) -> str:
    """The first half of a picture's file."""
    content = Path(whole).read_bytes()
    (folder / "cut.png").write_bytes(content[: len(content) // 2])
    return str(folder / "cut.png")


def asked(name: str, question: str, *images: str) -> Sample:
    return Sample(id=name, question=question, images=images, kind=AnswerKind.TEXT, answer="x")


@pytest.fixture(scope="module", name="reasons", params=[True, False], ids=["continued cache", "from the beginning"])
def reasons_of_a_run(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_policy: Callable[[str], Policy],
    pictures: list[str],
) -> dict[str, str]:
    """One batch of good and bad samples to a model that reads 512 tokens, a character each."""
    folder = tmp_path_factory.mktemp("failures")
    wanted = [
        asked("good", "what?", pictures[0]),
        asked("cut", "what?", cut(folder, pictures[0])),
        asked("bomb", "what?", bomb(folder)),
        asked("missing", "what?", str(folder / "none.png")),
        asked("long", "what?" * 120, pictures[0]),
        asked("late", "what?" * 75, pictures[0]),  # fits, but not with a review
        asked("fine", "what?", pictures[1]),
    ]
    engine = HFEngine(tiny_policy("fast_vlm"), seed=0, max_new_tokens=4, continue_cache=request.param)
    traces = collect(wanted, folder / "t.jsonl", engine, batch_size=8, max_failed_share=1.0)
    assert [trace.id for trace in traces] == [sample.id for sample in wanted]
    return {trace.id: trace.meta.get("error", "") for trace in traces}


@pytest.mark.parametrize("name", ["good", "fine"])
def test_good_samples_in_the_batch_are_answered(name: str, reasons: dict[str, str]) -> None:
    assert reasons[name] == ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cut", "cut.png: expected a readable image, got a broken one"),
        ("bomb", "bomb.png: the image is too large to be decoded safely"),
        ("missing", "none.png: no such image."),
        ("long", "tokens, pictures included, and the model reads 512 at most"),
        ("late", "tokens, pictures included, and the model reads 512 at most"),
    ],
)
def test_a_bad_sample_is_kept_with_what_is_wrong(name: str, reason: str, reasons: dict[str, str]) -> None:
    assert reason in reasons[name]


class Config:
    """A model of 8 tokens."""

    max_position_embeddings = 8

    def get_text_config(self) -> Any:
        return self


def test_a_prompt_must_leave_room_for_an_answer() -> None:
    check_fits(Config(), [3, 7])
    with pytest.raises(SclvlmError, match="the prompt has 8 tokens"):
        check_fits(Config(), [3, 8])
