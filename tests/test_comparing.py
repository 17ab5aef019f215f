"""`sclvlm report RUN OTHER ...`: which answers are compared, by which names, and what the pages say of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sclvlm.metrics import holm
from sclvlm.records import GradedTrace
from sclvlm.reporting import load_report
from sclvlm.storage import read_records
from tests.comparing import FEW, compared, error, invoke, overview, pages, report
from tests.synthetic_run import write_runs

ROOT = Path(__file__).parents[1]
EVIL = "<script>alert(1)</script>"


@pytest.fixture(name="runs")
def _runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs on the same twelve questions, in the folder one is in."""
    monkeypatch.chdir(tmp_path)
    return write_runs(tmp_path, ("demo", "beta", "gamma"), 12)


# two runs


def test_two_runs_give_one_report_under_their_names(runs: Path) -> None:
    said = compared(runs / "demo", runs / "beta")
    accuracy = [
        sum(
            trace.turns[0].verdict == "correct"
            for trace in read_records(runs / name / "evaluate/after/graded.jsonl", GradedTrace)
        )
        / 12
        for name in ("demo", "beta")
    ]
    then, now = (f"{100 * each:.1f} %" for each in accuracy)
    assert said.splitlines()[0] == f"All questions, first turn (n = 12): {then} demo, {now} beta."
    assert said.splitlines()[-2:] == ["report: out/report.html", "json: out/report.json"]
    assert (report().names, report().title) == (("demo", "beta"), "beta against demo")


def test_no_form_of_a_comparison_calls_a_run_before_or_after(runs: Path) -> None:
    compared(runs / "demo", runs / "beta")
    forms = pages()
    text = re.sub(r"<(style|pre).*?</\1>|<[^>]+>", " ", forms["html"], flags=re.DOTALL)
    assert not re.search(r"\b(before|after)\b", text, re.IGNORECASE)
    markdown = re.sub(r"(`{3,})text\n.*?\n\1", "", forms["md"], flags=re.DOTALL)
    assert not re.search(r"\b(before|after)\b", markdown, re.IGNORECASE)


def test_the_comparison_is_written_to_a_folder_of_its_own_by_default(runs: Path) -> None:
    assert "report: comparisons/demo-vs-beta/report.html" in invoke(runs / "demo", runs / "beta").stdout
    assert Path("comparisons/demo-vs-beta/report.md").is_file()


def test_json_is_a_list_of_one_stage_as_for_a_single_run(runs: Path) -> None:
    (facts,) = json.loads(compared(runs / "demo", runs / "beta", "--json"))
    assert (facts["stage"], facts["json"]) == ("report", "out/report.json")


def test_settings_of_the_report_apply_and_the_title_is_taken_only_if_it_is_given(runs: Path) -> None:
    compared(runs / "demo", runs / "beta", "report.title=Two", "report.confidence=0.9", "report.gallery=1")
    assert (report().title, report().settings.confidence, len(report().gallery.examples)) == ("Two", 0.9, 1)


def test_pairs_and_curves_of_both_runs_stand_under_their_names(runs: Path) -> None:
    compared(runs / "demo", runs / "beta")
    assert [(each.run, each.pair_counts, each.training[0].name) for each in report().learned] == [
        ("demo", {"pairs i->c": 10}, "loss"),
        ("beta", {"pairs i->c": 11}, "loss"),
    ]
    forms = pages()
    for heading in ("Preference pairs: beta", "Training: demo", "Training: beta"):
        assert f"<h2>{heading}</h2>" in forms["html"]
        assert f"## {heading}\n" in forms["md"]


def test_a_model_before_its_training_learned_from_nothing(runs: Path) -> None:
    compared(runs / "demo" / "evaluate" / "before", runs / "demo")
    assert [each.run for each in report().learned] == ["demo"]


def test_the_commands_that_make_each_run_again_are_told(runs: Path) -> None:
    compared("runs/demo", "runs/beta")
    told = report().provenance
    assert told["command"] == f"sclvlm report runs/demo runs/beta {FEW} --out out"
    for name in ("demo", "beta"):
        assert told[f"runs/{name}, to make it again"] == [
            f"sclvlm run runs/{name}/config.yaml run.dir=runs/{name}-again"
        ]


# what is compared, and by which name


def test_a_run_stands_for_what_it_trained(runs: Path) -> None:
    compared("runs/demo", "runs/beta")
    assert report().provenance["answers"] == {
        name: f"runs/{name}/evaluate/after/graded.jsonl" for name in ("demo", "beta")
    }


def test_a_run_without_a_trained_model_stands_for_the_one_before_and_the_report_says_so(runs: Path) -> None:
    (runs / "beta/evaluate/after/graded.jsonl").unlink()
    compared("runs/demo", "runs/beta")
    assert report().provenance["answers"]["beta"] == "runs/beta/evaluate/before/graded.jsonl"
    assert any(note.startswith("beta: answers of its model before training") for note in report().notes)


def test_a_folder_inside_a_run_is_named_with_its_run(runs: Path) -> None:
    compared("runs/demo/evaluate/before", "runs/demo")
    assert report().names == ("demo/before", "demo")


def test_a_run_inside_the_folder_of_another_has_a_name_of_its_own(runs: Path) -> None:
    (runs / "beta").rename(runs / "demo" / "before")
    compared("runs/demo/evaluate/before", "runs/demo/before", "runs/gamma")
    assert len({each.run for each in overview().runs}) == 3


def test_further_models_of_an_evaluation_are_compared_by_their_folders(runs: Path) -> None:
    config = yaml.safe_load((runs / "demo/config.yaml").read_text(encoding="utf-8"))
    config["evaluate"]["models"] = {"direct": {"of": "after", "initial": "direct"}}
    (runs / "demo/config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (runs / "beta/evaluate/before").rename(runs / "demo/evaluate/direct")
    compared("runs/demo/evaluate/after", "runs/demo/evaluate/direct")
    assert report().names == ("demo/after", "demo/direct")
    assert [each.run for each in report().learned] == ["demo/after", "demo/direct"]  # both answers are of what it made


def test_answers_to_the_training_questions_are_compared_by_the_folder_of_their_grades(runs: Path) -> None:
    for name in ("demo", "beta"):
        (runs / name / "evaluate/before/graded.jsonl").rename(runs / name / "label/graded.jsonl")
    Path("data/test.jsonl").rename("data/samples.jsonl")
    shutil.rmtree(runs / "demo/evaluate")
    shutil.rmtree(runs / "beta/evaluate")
    compared("runs/demo/label", "runs/beta/label")
    assert (report().names, report().main.first.n) == (("demo/label", "beta/label"), 12)


def test_a_yaml_file_stands_for_its_run(runs: Path) -> None:
    config = yaml.safe_load((runs / "beta/config.yaml").read_text(encoding="utf-8"))
    Path("beta.yaml").write_text(yaml.safe_dump({**config, "run": {"dir": "runs/beta"}}), encoding="utf-8")
    compared("runs/demo", "beta.yaml")
    assert report().names == ("demo", "beta")


def test_names_are_as_long_as_it_takes_to_tell_them_apart(runs: Path) -> None:
    (runs / "other").mkdir()
    (runs / "beta").rename(runs / "other" / "demo")
    compared("runs/demo", "runs/other/demo")
    assert report().names == ("runs/demo", "other/demo")


# three runs


def test_three_runs_give_an_overview_and_a_report_of_each_against_the_first(runs: Path) -> None:
    said = compared("runs/demo", "runs/beta", "runs/gamma")
    assert [each.run for each in overview().statements] == ["beta", "gamma"]
    for folder, name in (("1-beta", "beta"), ("2-gamma", "gamma")):
        full = load_report(Path("out", folder, "report.json"))
        assert full.names == ("demo", name)
        assert any(note.startswith("One of 2 comparisons with demo") for note in full.notes)
        assert f"{name} against demo: out/{folder}/report.html" in said
        assert f'<a href="{folder}/report.html">{name}</a>' in pages()["html"]
        assert f"[{name}]({folder}/report.md)" in pages()["md"]


def test_the_table_of_runs_holds_all_of_them_at_each_turn(runs: Path) -> None:
    compared("runs/demo", "runs/beta", "runs/gamma")
    assert [(each.run, len(each.summary.turns)) for each in overview().runs] == [("demo", 2), ("beta", 2), ("gamma", 2)]
    table = pages()["md"].partition("## The runs")[2].partition("## Against")[0]
    assert len(re.findall(r"^\| \[?(?:demo|beta|gamma)", table, re.MULTILINE)) == 6


def test_p_values_of_all_questions_are_adjusted_over_the_runs(runs: Path) -> None:
    compared("runs/demo", "runs/beta", "runs/gamma")
    found = overview().main.at("first")
    assert [each.holm for each in found] == holm([each.comparison.p_value for each in found])
    assert all(
        f"adjusted p = {each.holm:.3f}" in statement.sentence
        for each, statement in zip(found, overview().statements, strict=True)
    )


def test_p_values_of_categories_are_adjusted_over_runs_times_categories(runs: Path) -> None:
    compared("runs/demo", "runs/beta", "runs/gamma")
    many = [each for part in overview().slices if part.kind == "category" for each in part.at("first")]
    assert len(many) == 3 * 2  # three categories, two runs
    assert [each.holm for each in many] == holm([each.comparison.p_value for each in many])


def test_the_overview_says_how_p_values_are_adjusted(runs: Path) -> None:
    compared("runs/demo", "runs/beta", "runs/gamma")
    words = "adjusted by Holm's procedure over the 2 runs"
    assert words in pages()["md"]
    assert words in pages()["html"].replace("&#39;", "'")


def test_every_run_has_a_mark_in_every_slice_of_the_forest(runs: Path) -> None:
    compared("runs/demo", "runs/beta", "runs/gamma")
    forest = pages()["html"].partition("<h2>Against")[2].partition("<h2>The figures")[0]
    assert forest.count('<circle class="mark') == (1 + 3) * 2 * 2  # all and three categories, two runs, two turns


def test_the_default_folder_names_all_runs(runs: Path) -> None:
    invoke("runs/demo", "runs/beta", "runs/gamma")
    assert Path("comparisons/demo-vs-beta-vs-gamma/2-gamma/report.html").is_file()


# another seed


def test_a_repeat_tells_in_words_what_another_seed_does(runs: Path) -> None:
    said = compared("runs/demo", "runs/beta", "--noise", "runs/gamma")
    flips = sum(
        (one.turns[0].verdict == "correct") != (other.turns[0].verdict == "correct")
        for one, other in zip(
            *(read_records(runs / name / "evaluate/after/graded.jsonl", GradedTrace) for name in ("demo", "gamma")),
            strict=True,
        )
    )
    words = f"Another seed of demo (gamma) changed the verdict of {flips} of 12 questions"
    assert words in said
    assert words in pages()["html"]
    assert words in pages()["md"]


def test_the_overview_says_of_every_run_whether_another_seed_would_do(runs: Path) -> None:
    compared("runs/demo", "runs/beta", "runs/gamma", "--noise", "runs/demo/evaluate/before")
    assert all("the bound of another seed" in each.sentence for each in overview().statements)
    assert overview().noise is not None


def test_a_repeat_with_the_same_seed_is_remarked_on(runs: Path) -> None:
    compared("runs/demo", "runs/beta", "--noise", "runs/gamma")
    assert "The repeat has the seed of the reference (0), so it shows less than another one would." in report().notes


def test_the_reference_is_no_repeat_of_itself(runs: Path) -> None:
    assert "is the reference itself" in error("runs/demo", "runs/beta", "--noise", "runs/demo/evaluate/after", code=2)


# safety


@pytest.fixture(name="hostile")
def _hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs whose answers and whose last run's name hold markup."""
    monkeypatch.chdir(tmp_path)
    return write_runs(tmp_path, ("demo", "beta", "<script>alert(1)"), 12, last_words=EVIL)


def test_markup_in_answers_and_names_shows_as_text(hostile: Path) -> None:
    compared("runs/demo", "runs/beta", "runs/<script>alert(1)")
    for folder in ("out", "out/1-beta", "out/2-script-alert-1"):
        page = pages(folder)["html"]
        assert "<script" not in page
        assert ("&lt;script&gt;alert(1)" in page) is True
        outside = re.sub(r"(`{3,})text\n.*?\n\1", "", pages(folder)["md"], flags=re.DOTALL)
        assert not re.search(r"(?<!\\)<(?!\S+\.png>)", outside)


def test_a_comparison_loads_no_torch(runs: Path) -> None:
    code = (
        "import sys; from sclvlm.cli import app\n"
        f"app(['report', 'runs/demo', 'runs/beta', 'runs/gamma', '{FEW}'], standalone_mode=False)\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
