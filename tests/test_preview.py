"""`--dry-run` shows what would be asked, with counts of the tokens, and does nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from sclvlm.cli import app
from sclvlm.engines import Opening
from sclvlm.engines.hf import HFEngine
from sclvlm.models import Policy
from sclvlm.models.outline import load_outline
from sclvlm.pictures import load_images
from sclvlm.prompts import INITIAL, REVIEW
from sclvlm.records import AnswerKind, Sample
from sclvlm.rendering import Renderer
from sclvlm.self_correction.conversing import Dialogue
from sclvlm.self_correction.preview import Preview, one_a_kind, previews
from sclvlm.storage import write_records

DIALOGUE = Dialogue(INITIAL["direct"], REVIEW["again"], 2)
IMAGE_TOKENS = {"fast_vlm": 4, "llava": 4, "qwen": 4}  # 64 pixels a side, 32 to a token; 28 at Qwen


def sample(name: str, category: str = "", **fields: Any) -> Sample:
    return Sample.model_validate(
        {"id": name, "question": "What?", "kind": AnswerKind.TEXT, "answer": "x", "category": category, **fields}
    )


@pytest.fixture(name="shown", params=IMAGE_TOKENS)
def one_preview(
    request: pytest.FixtureRequest, tiny_model: Callable[[str], Path], pictures: list[str]
) -> tuple[str, Policy, Preview]:
    policy = load_outline(str(tiny_model(request.param)))
    asked = sample("a", images=(pictures[0], pictures[1]), hint="Look.")
    [shown] = previews([asked], policy, DIALOGUE, max_new_tokens=10)
    return request.param, policy, shown


def test_pictures_count_as_many_tokens_as_the_model_reads(shown: tuple[str, Policy, Preview]) -> None:
    family, _, preview = shown
    assert preview.image_tokens == 2 * IMAGE_TOKENS[family]


def test_the_whole_conversation_is_shown_as_the_model_reads_it(shown: tuple[str, Policy, Preview]) -> None:
    text = shown[2].text
    assert text.index("Look.\nWhat?\n") < text.index("(answer)") < text.index("Please answer the question once more.")
    assert text.endswith("<|im_start|>assistant\n")


def test_counts_are_those_of_the_engine(shown: tuple[str, Policy, Preview], pictures: list[str]) -> None:
    _, policy, preview = shown
    opening = DIALOGUE.opening((sample("a", images=(pictures[0], pictures[1]), hint="Look."), 0))
    renderer = Renderer(policy)
    images = [load_images(opening.images, [opening.message])]
    assert preview.prompt_tokens == len(renderer.encode([renderer.text([opening.message], reply=True)], images).ids[0])
    reply = [{"role": "assistant", "content": "x"}, DIALOGUE.follow_ups[0]]
    behind = renderer.further([opening.message], reply)
    assert behind is not None
    assert preview.review_tokens == len(behind) - len(renderer.tokens("x"))
    assert preview.most_tokens == preview.prompt_tokens + preview.review_tokens + 2 * 10


def test_no_weights_are_loaded(shown: tuple[str, Policy, Preview]) -> None:
    assert {parameter.device.type for parameter in shown[1].model.parameters()} == {"meta"}


def test_one_sample_of_each_category_is_shown(tiny_model: Callable[[str], Path]) -> None:
    asked = [sample("a", "x"), sample("b", "x"), sample("c", "y"), sample("d", "x")]
    shown = previews(asked, load_outline(str(tiny_model("llama"))), DIALOGUE, max_new_tokens=1)
    assert [each.id for each in shown] == ["a", "c"]


def test_each_benchmark_is_shown_before_the_categories_of_any_fill_the_rest() -> None:
    def of(suite: str, *categories: str) -> list[Sample]:
        return [sample(f"{suite}/{each}", each, meta={"suite": suite}) for each in categories]

    many = [f"subject {number}" for number in range(30)]
    shown = one_a_kind([*of("MMMU", *many), *of("POPE", "random", "random"), *of("MME", ""), *of("AAA", "")])
    # Four benchmarks leave eight of the twelve to further categories, the first ones.
    assert [each.id for each in shown] == [*(f"MMMU/{name}" for name in many[:9]), "POPE/random", "MME/", "AAA/"]


def test_more_than_twelve_benchmarks_are_all_shown() -> None:
    asked = [sample(f"{at}{name}", name, meta={"benchmark": f"b{at}"}) for at in range(15) for name in "xy"]
    assert [each.id for each in one_a_kind(asked)] == [f"{at}x" for at in range(15)]


def test_a_prompt_that_does_not_fit_is_told(tiny_model: Callable[[str], Path]) -> None:
    policy = load_outline(str(tiny_model("llama")))
    short, long = previews(
        [sample("a", "x"), sample("b", "y", question="What?" * 100)], policy, DIALOGUE, max_new_tokens=1
    )
    assert (short.too_long, long.too_long, long.context) == (False, True, 512)
    assert "TOO LONG" in str(long)
    assert "TOO LONG" not in str(short)


@pytest.fixture(name="run")
def run_yaml(tmp_path: Path, tiny_model: Callable[[str], Path]) -> Path:
    write_records(tmp_path / "samples.jsonl", [sample("a", "x"), sample("b", "y")])
    config = {
        "run": {"dir": str(tmp_path / "run")},
        "model": {"path": str(tiny_model("llama")), "device": "cpu"},
        "data": dict.fromkeys(("samples", "test"), str(tmp_path / "samples.jsonl")),
        "infer": {},
        "evaluate": {"turns": 1},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    return tmp_path / "run.yaml"


@pytest.mark.parametrize("verb", ["infer", "evaluate"])
def test_a_dry_run_generates_and_writes_nothing(verb: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: Any) -> list[Opening]:
        raise AssertionError("asked a model")

    monkeypatch.setattr(HFEngine, "converse", no)
    ended = CliRunner().invoke(app, [verb, str(run), "--dry-run"], catch_exceptions=False)
    assert ended.exit_code == 0
    assert ended.stdout.count("--- sample ") == 2
    assert "Reason step by step." in ended.stdout
    assert sorted(path.name for path in run.parent.iterdir()) == ["run.yaml", "samples.jsonl"]


def test_a_dry_run_is_told_to_programs_too(run: Path) -> None:
    ended = CliRunner().invoke(app, ["infer", str(run), "--dry-run", "--json"], catch_exceptions=False)
    told = json.loads(ended.stdout)
    assert [each["id"] for each in told] == ["a", "b"]
    assert told[0]["prompt_tokens"] > told[0]["image_tokens"] == 0
