from __future__ import annotations

import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from sclvlm.errors import SclvlmError
from sclvlm.metrics import Finding
from sclvlm.records import AnswerKind, GradedTrace, GradedTurn, ModelRef, Sample, Transition, Verdict
from sclvlm.reporting import (
    Report,
    build_report,
    headline,
    load_report,
    render_html,
    render_markdown,
    write_report,
)

CORRECT, INCORRECT, UNPARSED = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNPARSED
EVIL = '<script>alert("x")</script> | `](javascript:x) ``` <img src="https://evil.example/a.png">'


def trace(name: str, *said: Verdict, response: str = "text", draw: int = 0) -> GradedTrace:
    turns = tuple(
        GradedTurn(
            role="refined" if index else "initial",
            prompt=[],
            response=response,
            num_tokens=7,
            finish_reason="stop",
            answer=None if verdict is UNPARSED else response,
            method="marker",
            verdict=verdict,
        )
        for index, verdict in enumerate(said)
    )
    return GradedTrace(
        id=name,
        draw=draw,
        turns=turns,
        model=ModelRef(path="m"),
        sampling={},
        prompts={},
        seed=0,
        transition=Transition.between(said[0], said[-1]),
    )


def sample(name: str, *, open_question: bool = True, **fields: Any) -> Sample:
    kind = AnswerKind.TEXT if open_question else AnswerKind.YES_NO
    answer = "blue" if open_question else "yes"
    return Sample(id=name, kind=kind, answer=answer, **{"question": "what is it?", "category": "color", **fields})


def runs(gains: int, losses: int, same: int) -> dict[str, Any]:
    """Two runs of two turns in which `gains` first answers became right and `losses` wrong."""
    changes = [(INCORRECT, CORRECT)] * gains + [(CORRECT, INCORRECT)] * losses + [(CORRECT, CORRECT)] * same
    named = [(f"q{index}", *change) for index, change in enumerate(changes)]
    return {
        "samples": {name: sample(name) for name, _, _ in named},
        "before": [trace(name, then, CORRECT) for name, then, _ in named],
        "after": [trace(name, now, CORRECT) for name, _, now in named],
    }


def report_of(**given: Any) -> Report:
    options = {"title": "T", "resamples": 200, **runs(gains=20, losses=5, same=25)}
    return build_report(**{**options, **given})


def mixed(open_before: Verdict, open_after: Verdict, yes_before: Verdict, yes_after: Verdict) -> Report:
    """Twenty open and twenty yes/no questions, each kind of one mind."""
    names = [f"q{index}" for index in range(40)]
    is_open = {name: index < 20 for index, name in enumerate(names)}
    return report_of(
        samples={name: sample(name, open_question=is_open[name], category=str(is_open[name])) for name in names},
        before=[trace(name, open_before if is_open[name] else yes_before) for name in names],
        after=[trace(name, open_after if is_open[name] else yes_after) for name in names],
    )


def png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0\xff\0\0")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def with_picture(folder: Path) -> Report:
    image = folder / "data" / "red.png"
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(png())
    given = runs(gains=1, losses=0, same=9)
    given["samples"] = {name: sample(name, images=(str(image),)) for name in given["samples"]}
    return report_of(**given)


# the headline


def test_the_headline_is_about_open_questions_when_there_are_yes_no_questions_beside_them() -> None:
    assert mixed(INCORRECT, CORRECT, CORRECT, CORRECT).headline.slice == "open"


def test_the_headline_is_about_all_questions_when_they_are_of_one_kind() -> None:
    assert report_of().headline.slice == "all"


def test_yes_no_questions_do_not_move_the_headline() -> None:
    assert mixed(CORRECT, CORRECT, INCORRECT, CORRECT).headline.finding is Finding.NOISE


def test_a_gain_is_said_to_have_risen() -> None:
    assert "rose from 60.0 % to 90.0 %" in report_of().headline.sentence


def test_a_loss_is_said_to_have_fallen() -> None:
    sentence = report_of(**runs(gains=5, losses=20, same=25)).headline.sentence
    assert "fell from 90.0 % to 60.0 %" in sentence


def test_a_difference_within_noise_is_said_to_show_nothing() -> None:
    sentence = report_of(**runs(gains=5, losses=4, same=41)).headline.sentence
    assert "within noise: it shows neither a gain nor a loss" in sentence


def test_the_same_run_twice_is_within_noise() -> None:
    given = runs(gains=10, losses=0, same=10)
    assert report_of(**{**given, "after": given["before"]}).headline.finding is Finding.NOISE


@pytest.mark.parametrize(
    ("gains", "losses", "words"),
    [(20, 5, "a gain beyond noise"), (5, 20, "a loss beyond noise"), (5, 5, "within noise")],
)
def test_the_console_says_what_the_difference_amounts_to(gains: int, losses: int, words: str) -> None:
    assert words in headline(report_of(**runs(gains, losses, 25)))


def test_the_console_gives_accuracy_interval_and_p_in_three_lines() -> None:
    lines = headline(report_of()).splitlines()
    assert lines[0] == "All questions, first turn (n = 50): 60.0 % before, 90.0 % after."
    assert re.fullmatch(r"Difference \+30\.0 points, 95 % interval \[.+\], p = 0\.004: .+", lines[1])
    assert lines[2].startswith("Unparsed answers: 0.0 % before, 0.0 % after.")


# slices and notes


def test_every_category_is_a_slice_unless_it_repeats_another() -> None:
    # The categories of these questions are their kinds again.
    assert [part.name for part in mixed(CORRECT, CORRECT, CORRECT, CORRECT).slices] == [
        "all",
        "open",
        "yes/no",
    ]


def test_a_category_called_open_does_not_take_the_headline() -> None:
    given = runs(gains=20, losses=5, same=25)
    given["samples"] |= {"q0": sample("q0", category="open")}
    assert report_of(**given).main.first.n == 50


def test_categories_are_judged_by_the_adjusted_p_value() -> None:
    given = runs(gains=6, losses=0, same=54)  # p = 2 / 2**6 = 0.031 in the category of all gains
    for index, name in enumerate(given["samples"]):
        given["samples"][name] = sample(name, category=f"c{index % 20 if index >= 6 else 0}")
    part = next(part for part in report_of(**given).slices if part.name == "c0")
    assert (part.first.finding, part.finding_first) == (Finding.GAIN, Finding.NOISE)


def test_a_slice_of_the_caller_is_compared_too() -> None:
    report = report_of(slices={"few": lambda sample: sample.id in ("q0", "q1")})
    assert [(part.name, part.first.n) for part in report.slices] == [("all", 50), ("few", 2)]


def test_an_empty_slice_of_the_caller_is_an_error() -> None:
    with pytest.raises(SclvlmError, match="slice 'none' holds no question"):
        report_of(slices={"none": lambda _: False})


def test_only_the_first_draw_is_reported_and_the_report_says_so() -> None:
    given = runs(gains=20, losses=5, same=25)
    given["before"] += [trace("q0", CORRECT, draw=1)]
    report = report_of(**given)
    assert report.main.first.n == 50
    assert "only the first draw" in report.notes[0]


def test_a_trace_without_its_sample_is_an_error() -> None:
    given = runs(gains=1, losses=0, same=1)
    given["samples"].pop("q1")
    with pytest.raises(SclvlmError, match="not among the samples, such as 'q1'"):
        report_of(**given)


def test_runs_on_different_questions_are_an_error() -> None:
    given = runs(gains=1, losses=0, same=2)
    with pytest.raises(SclvlmError, match="different questions"):
        report_of(**{**given, "after": given["after"][1:]})


def test_a_report_of_nothing_is_an_error() -> None:
    with pytest.raises(SclvlmError, match="accuracy of nothing"):
        report_of(samples={}, before=[], after=[])


def test_values_of_training_that_are_not_finite_are_left_out_and_counted() -> None:
    history = [{"step": 1, "loss": 0.7}, {"step": 2, "loss": float("nan")}, {"step": 2, "train_runtime": 3.0}]
    (curve,) = report_of(training=history).training
    assert (curve.name, curve.steps, curve.values, curve.dropped) == ("loss", (1,), (0.7,), 1)


# the gallery


def test_the_gallery_holds_gains_and_losses_in_proportion() -> None:
    gallery = report_of(gallery=10).gallery  # 20 gains, 5 losses
    changes = [example.change for example in gallery.examples]
    assert (changes.count("gain"), changes.count("loss")) == (8, 2)


def test_the_gallery_is_drawn_by_seed_and_id_not_by_order() -> None:
    given = runs(gains=20, losses=5, same=25)
    shuffled = {**given, "before": given["before"][::-1], "after": given["after"][3:] + given["after"][:3]}
    assert report_of(**given).gallery == report_of(**shuffled).gallery


def test_another_seed_draws_another_gallery() -> None:
    assert report_of(seed=0, gallery=5).gallery != report_of(seed=1, gallery=5).gallery


def test_a_wrong_answer_that_became_unreadable_is_no_change() -> None:
    given = {
        "samples": {"q": sample("q")},
        "before": [trace("q", INCORRECT)],
        "after": [trace("q", UNPARSED)],
    }
    assert report_of(**given).gallery.examples == ()


# JSON


def test_a_report_survives_json() -> None:
    report = report_of(training=[{"step": 1, "loss": 0.7}], provenance={"versions": {"torch": "2"}})
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_a_written_report_is_read_as_it_was(tmp_path: Path) -> None:
    report = with_picture(tmp_path)
    write_report(report, tmp_path / "run")
    assert load_report(tmp_path / "run" / "report.json") == report


def test_images_in_report_json_are_relative_to_it(tmp_path: Path) -> None:
    write_report(with_picture(tmp_path), tmp_path / "run")
    data = json.loads((tmp_path / "run" / "report.json").read_text())
    assert data["gallery"]["examples"][0]["images"] == ["../data/red.png"]


def test_provenance_that_json_cannot_say_is_made_sayable(tmp_path: Path) -> None:
    report = report_of(provenance={"nan": float("nan"), "path": Path("a"), "pair": (1, 2)})
    assert report.provenance == {"nan": None, "path": "a", "pair": [1, 2]}


def test_a_file_that_is_no_report_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"schema_version": 2}')
    with pytest.raises(SclvlmError, match=r"report\.json: schema_version"):
        load_report(tmp_path / "report.json")


# HTML


def hostile() -> Report:
    given = runs(gains=3, losses=2, same=5)
    given["samples"] = {
        name: sample(name, question=EVIL, category=EVIL if name == "q0" else "b") for name in given["samples"]
    }
    for run in ("before", "after"):
        given[run] = [trace(t.id, *(turn.verdict for turn in t.turns), response=EVIL) for t in given[run]]
    return report_of(
        **given,
        title=EVIL,
        pair_counts={EVIL: 3},
        provenance={EVIL: EVIL},
        training=[{"step": 1, "loss": 0.5}],
    )


def test_html_escapes_everything_a_model_or_a_dataset_said() -> None:
    page = render_html(hostile())
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page


def test_html_forbids_scripts_and_everything_from_elsewhere() -> None:
    assert "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" in render_html(report_of())


def test_html_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    page = render_html(with_picture(tmp_path))
    assert not re.search(r"https?://|@import|<link|<script", page)
    assert re.findall(r'src="(data:image/png;base64,)', page)


def test_html_of_a_relative_report_finds_pictures_from_its_folder(tmp_path: Path) -> None:
    write_report(with_picture(tmp_path), tmp_path / "run")
    relative = Report.model_validate_json((tmp_path / "run" / "report.json").read_text())
    assert "data:image/png" in render_html(relative, tmp_path / "run")


def test_html_names_a_picture_that_is_missing() -> None:
    given = runs(gains=1, losses=0, same=1)
    given["samples"] = {name: sample(name, images=("/nowhere/a.png",)) for name in given["samples"]}
    assert "picture not shown: /nowhere/a.png" in render_html(report_of(**given))


def test_html_of_single_turn_runs_has_no_last_turn() -> None:
    assert "last turn" not in render_html(mixed(INCORRECT, CORRECT, CORRECT, CORRECT))


def test_html_shows_the_curves_that_were_given() -> None:
    history = [{"step": 1, "rewards/margins": 0.1}, {"step": 2, "rewards/margins": 0.3}]
    assert 'points="0.00,95.00 100.00,5.00"' in render_html(report_of(training=history))


def test_html_of_a_report_without_pairs_and_training_has_no_such_sections() -> None:
    page = render_html(report_of())
    assert "<h2>Preference pairs" not in page
    assert "<h2>Training" not in page


# Markdown


def test_markdown_opens_with_title_and_headline() -> None:
    title, _, sentence, *_ = render_markdown(report_of()).splitlines()
    assert title == "# T"
    assert sentence.startswith("**Accuracy on all questions (first turn, n = 50) rose")


def test_markdown_tables_keep_their_columns_whatever_a_category_is_called() -> None:
    lines = render_markdown(hostile()).split("## First to last")[0].splitlines()
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("| ")}
    assert columns == {12}


def test_markdown_holds_no_html_outside_fences() -> None:
    outside = re.sub(r"(`{3,})text\n.*?\n\1", "", render_markdown(hostile()), flags=re.DOTALL)
    assert not re.search(r"(?<!\\)<(?!\S+\.png>)", outside)


def test_the_three_files_lie_in_the_folder_and_nothing_else(tmp_path: Path) -> None:
    write_report(report_of(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json", "report.md"]
