"""`sclvlm view`: which traces a page shows, of which run, with which pictures, and that nothing breaks out of it."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
import webbrowser
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from sclvlm.cli import app
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.records import GradedTrace, ModelRef, Sample, Trace, Turn, text_message
from sclvlm.runs import part
from sclvlm.storage import read_records, write_records
from sclvlm.viewing import View, open_run, write_view
from sclvlm.viewing.entries import BLOCK
from sclvlm.viewing.pictures import LARGEST_SIDE, LEFT_OUT, MISSING, UNREADABLE, Album, shrunk
from tests.synthetic_run import config_of, told, write_run, write_samples

ROOT = Path(__file__).parents[1]
EVIL = "</script><script>alert(1)</script><!-- & </style>"


@pytest.fixture(scope="module", name="whole")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of nine questions with every stage done."""
    return write_run(tmp_path_factory.mktemp("whole"), 9, pictures=3)


def page(run: Path, *, limit: int = 1000, picture_mb: float = 64) -> View:
    """The page of a run, beside its folder."""
    return write_view(open_run(run), run.parent / "view.html", limit=limit, picture_mb=picture_mb)


def blocks(view: View, attribute: str) -> list[Any]:
    """What the page holds as JSON in scripts with this attribute."""
    text = view.page.read_text(encoding="utf-8")
    found = re.findall(rf'<script type="application/json" {attribute}>(.*?)</script>', text, re.DOTALL)
    return [json.loads(each) for each in found]


def traces(view: View, stage: str) -> list[Any]:
    """The traces of a stage."""
    return [trace for block in blocks(view, "data-traces") if block["stage"] == stage for trace in block["traces"]]


def ungraded(name: str, response: str = "## A ##", **fields: Any) -> Trace:
    """A trace of one turn."""
    said = {"prompt": [text_message("user", "which?")], "response": response, "num_tokens": 3, "finish_reason": "stop"}
    turn = Turn(role="initial", **{**said, **fields.pop("turn", {})})
    return Trace(id=name, turns=(turn,), model=ModelRef(path="m"), sampling={}, prompts={}, seed=0, **fields)


def asked(tmp_path: Path, *made: Trace, **sample: Any) -> Path:
    """A run that has inferred these traces about samples q0, q1, ... of which each has the fields `sample`."""
    run = tmp_path / "run"
    config_of(run)
    facts = {"question": "which?", "kind": "choice", "choices": ("blue", "teal"), "answer": "A", **sample}
    write_records(tmp_path / "data" / "samples.jsonl", [Sample(id=f"q{index}", **facts) for index in range(3)])
    write_records(run / "infer" / "traces.jsonl", made)
    return run


# which traces


def test_every_stage_of_a_run_is_shown(whole: Path) -> None:
    view = page(whole)
    assert [len(traces(view, stage)) for stage in ("infer", "before", "after")] == [9, 9, 9]
    assert view.traces == 27


def test_further_models_that_were_measured_are_shown_under_their_names(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole.parent, tmp_path / "copy")
    run = tmp_path / "copy" / whole.name
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["evaluate"]["models"] = {"rival": {"path": "models/rival"}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    shutil.copytree(run / "evaluate" / "before", run / "evaluate" / "rival")
    view = page(run)
    assert len(traces(view, "rival")) == 9
    assert "Test, rival" in view.page.read_text()


def test_a_trace_stands_with_its_verdicts_and_its_transition(whole: Path) -> None:
    graded = list(read_records(whole / "label" / "graded.jsonl", GradedTrace))
    shown = traces(page(whole), "infer")
    assert [each["transition"] for each in shown] == [trace.transition for trace in graded]
    assert [[turn["verdict"] for turn in each["turns"]] for each in shown] == [
        [turn.verdict for turn in trace.turns] for trace in graded
    ]


def test_a_question_asked_before_and_after_training_stands_once(whole: Path) -> None:
    view = page(whole)
    assert sum(len(block) for block in blocks(view, "data-samples")) == 18  # nine of training, nine of the test
    assert [each["sample"] for each in traces(view, "before")] == [each["sample"] for each in traces(view, "after")]


def test_traces_that_are_not_graded_yet_are_shown_without_verdicts(tmp_path: Path) -> None:
    view = page(asked(tmp_path, ungraded("q1", "teal")))
    (trace,) = traces(view, "infer")
    assert trace["transition"] is None
    assert trace["turns"] == [{"response": "teal", "tokens": 3, "ended": "stop", "prompt": 0}]


def test_graded_traces_go_before_those_they_were_made_of(tmp_path: Path) -> None:
    run = asked(tmp_path, ungraded("q0"))
    write_records(run / "label" / "graded.jsonl", told("infer", _samples(tmp_path), seed=0))
    assert len(traces(page(run), "infer")) == 3


def _samples(tmp_path: Path) -> list[tuple[Sample, str]]:
    return [(sample, "") for sample in read_records(tmp_path / "data" / "samples.jsonl", Sample)]


def test_a_trace_that_is_just_being_written_is_not_shown(tmp_path: Path) -> None:
    run = asked(tmp_path, ungraded("q0"), ungraded("q1"))
    file = run / "infer" / "traces.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    assert len(traces(page(run), "infer")) == 1


@pytest.mark.parametrize("merged", [["q0"], []])
def test_traces_of_several_processes_are_shown_before_they_are_merged(merged: list[str], tmp_path: Path) -> None:
    run = asked(tmp_path, *map(ungraded, merged))
    for index, name in enumerate(("q1", "q2")):
        write_records(part(run / "infer" / "traces.jsonl", index), [ungraded(name)])
        with part(run / "infer" / "traces.jsonl", index).open("a") as file:
            file.write('{"id": "q')
    view = page(run)
    assert view.traces == len(traces(view, "infer")) == len(merged) + 2


def test_a_page_shows_the_first_traces_up_to_its_limit_and_says_so(whole: Path) -> None:
    view = page(whole, limit=4)
    assert len(traces(view, "infer")) == 4
    assert sum(len(block) for block in blocks(view, "data-samples")) == 8  # of training, and of the test
    assert view.notes[0] == "Training questions: the first 4 of 9 traces are shown (--limit)."
    (about,) = re.findall(r'id="about">(.*?)</script>', view.page.read_text(encoding="utf-8"))
    assert json.loads(about)["notes"] == view.notes


def test_many_traces_are_written_in_blocks_and_all_of_them(tmp_path: Path) -> None:
    run = asked(tmp_path, *(ungraded("q0", draw=draw) for draw in range(2 * BLOCK + 1)))
    view = page(run, limit=5000)
    assert [len(block["traces"]) for block in blocks(view, "data-traces")] == [BLOCK, BLOCK, 1]
    assert [each["draw"] for each in traces(view, "infer")] == list(range(2 * BLOCK + 1))


def test_a_prompt_that_many_traces_share_stands_once(tmp_path: Path) -> None:
    (block,) = blocks(page(asked(tmp_path, ungraded("q0"), ungraded("q1"))), "data-traces")
    assert block["texts"] == ["which?"]


def test_a_conversation_is_shown_with_the_roles_of_its_messages(tmp_path: Path) -> None:
    prompt = [text_message("system", "Be brief."), text_message("user", "which?"), {"role": "assistant"}]
    (block,) = blocks(page(asked(tmp_path, ungraded("q0", turn={"prompt": prompt}))), "data-traces")
    assert block["texts"] == ["system:\nBe brief.\n\nuser:\nwhich?"]


def test_a_question_that_could_not_be_answered_says_why(tmp_path: Path) -> None:
    failed = ungraded("q0", "", turn={"finish_reason": "error"}, meta={"error": "broken picture"})
    assert traces(page(asked(tmp_path, failed)), "infer")[0]["error"] == "broken picture"


# which run


def test_a_config_file_leads_to_the_same_traces_as_its_run(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(whole.parent)
    opened = open_run(Path("run/config.yaml"))
    assert opened.folder == Path("run")
    assert write_view(opened, Path("other.html"), limit=9, picture_mb=1).traces == 27


def test_overrides_change_where_a_config_leads() -> None:
    assert open_run(ROOT / "configs" / "demo.yaml", ["run.dir=elsewhere"]).folder == Path("elsewhere")


def test_a_run_finds_its_questions_from_anywhere(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # data/samples.jsonl is named as seen from the folder above the run
    assert page(whole).traces == 27


def test_a_folder_that_is_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config\.yaml there, so this is no run directory"):
        open_run(tmp_path)


def test_a_run_without_traces_says_what_makes_them(tmp_path: Path) -> None:
    config_of(tmp_path / "run")
    with pytest.raises(SclvlmError, match=r"no traces there yet .*Run `sclvlm infer CONFIG`"):
        page(tmp_path / "run")


def test_questions_that_are_gone_are_an_error_that_names_their_key(tmp_path: Path) -> None:
    run = asked(tmp_path, ungraded("q0"))
    (tmp_path / "data" / "samples.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"data\.samples: data/samples\.jsonl does not exist.*data\.samples=FILE"):
        page(run)


def test_a_trace_of_no_sample_is_an_error_and_leaves_the_earlier_page(tmp_path: Path) -> None:
    run = asked(tmp_path, ungraded("other"))
    (tmp_path / "view.html").write_text("earlier")
    with pytest.raises(SclvlmError, match=r"trace 'other' is about no sample of .*samples\.jsonl"):
        page(run)
    assert (tmp_path / "view.html").read_text() == "earlier"


# what a model says stays text


@pytest.mark.parametrize("place", ["response", "question", "category"])
def test_nothing_that_a_run_holds_ends_a_script_of_the_page(tmp_path: Path, place: str) -> None:
    harmless = page(asked(tmp_path / "a", ungraded("q0")))
    said = {} if place == "response" else {place: EVIL}
    harmful = page(asked(tmp_path / "b", ungraded("q0", EVIL if place == "response" else "x"), **said))
    tags = [view.page.read_text(encoding="utf-8").lower().count(tag) for view in (harmless, harmful) for tag in TAGS]
    assert tags[: len(TAGS)] == tags[len(TAGS) :]
    assert EVIL in json.dumps([blocks(harmful, "data-samples"), blocks(harmful, "data-traces")])


TAGS = ("<script", "</script", "<!--", "</style")


def test_the_page_names_no_address_to_load_from(whole: Path) -> None:
    text = page(whole).page.read_text(encoding="utf-8")
    assert re.findall(r"""(?:https?:)?//[\w.-]+\.\w+|(?:src|href)=["']""", text) == []


def test_the_script_makes_no_html_of_strings() -> None:
    script = (ROOT / "sclvlm" / "viewing" / "view.js").read_text(encoding="utf-8")
    assert re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function", script) == []


# pictures


def noise(path: Path, side: int) -> str:
    """A picture that takes as much room as any of its size."""
    Image.effect_noise((side, side), 60).convert("RGB").save(path)
    return str(path)


def album(*paths: str, budget: int = 10**8) -> Album:
    """An album of these pictures."""
    made = Album(budget)
    for path in paths:
        made.number(path)
    return made


def test_a_picture_stands_once_however_many_questions_are_about_it(whole: Path) -> None:
    text = page(whole).page.read_text(encoding="utf-8")  # three pictures of training, three of the test
    assert text.count("data:image/png;base64,") == 6


def test_pictures_that_fit_are_embedded_as_they_are(tmp_path: Path) -> None:
    made = album(noise(tmp_path / "a.png", 40))
    (picture,) = made.pictures()
    assert picture.url.startswith("data:image/png")
    assert made.notes() == []


def test_pictures_above_the_budget_are_shrunk_into_it_and_the_page_says_so(tmp_path: Path) -> None:
    paths = [noise(tmp_path / f"{index}.png", 400) for index in range(4)]
    made = album(*paths, budget=40_000)
    urls = [picture.url for picture in made.pictures()]
    assert all(url.startswith("data:image/webp") for url in urls)
    assert all(1_000 < len(url) * 3 / 4 <= 10_000 + 100 for url in urls)  # the head of a data URL counts too
    # A share of 10,000 bytes at 0.2 bytes a pixel: the side is √50,000 ≈ 224.
    assert "The 4 pictures would take" in made.notes()[0]
    assert "at most 224 pixels a side" in made.notes()[0]


def test_small_pictures_stay_as_they_are_beside_those_that_are_shrunk(tmp_path: Path) -> None:
    small, large = noise(tmp_path / "small.png", 20), noise(tmp_path / "large.png", 500)
    kinds = [picture.url.partition(";")[0] for picture in album(small, large, budget=100_000).pictures()]
    assert kinds == ["data:image/png", "data:image/webp"]


def test_what_does_not_fit_even_shrunk_is_left_out_and_counted(tmp_path: Path) -> None:
    made = album(*(noise(tmp_path / f"{index}.png", 200) for index in range(9)), budget=12_000)
    left_out = [picture.why for picture in made.pictures()].count(LEFT_OUT)
    assert 0 < left_out < 9
    assert made.notes()[1] == f"Pictures not shown: {left_out} ({LEFT_OUT})."


def test_a_format_that_browsers_do_not_show_is_turned_into_one_they_do(tmp_path: Path) -> None:
    (picture,) = album(noise(tmp_path / "a.tiff", 30)).pictures()
    assert picture.url.startswith("data:image/webp")


def test_a_picture_of_many_megabytes_is_shrunk_even_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    Image.new("RGB", (1300, 1300)).save(path)  # 1,300² pixels of three bytes: 5 MB
    (picture,) = album(str(path)).pictures()
    assert _size_of(picture.url) == (LARGEST_SIDE, LARGEST_SIDE)


def _size_of(url: str) -> tuple[int, int]:
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return image.size


def test_a_photograph_taken_sideways_is_shrunk_upright(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (400, 200)).save(path, exif=_turned())
    assert _size_of(shrunk(path, 100, share=10**6) or "") == (50, 100)


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    return exif


def test_pictures_that_are_missing_or_broken_are_named_with_the_reason(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_text("no picture")
    made = album(str(tmp_path / "gone.png"), str(broken))
    assert [picture.why for picture in made.pictures()] == [MISSING, UNREADABLE]
    assert made.notes() == [f"Pictures not shown: 1 ({MISSING}).", f"Pictures not shown: 1 ({UNREADABLE})."]


def test_a_picture_too_large_to_be_decoded_safely_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = noise(tmp_path / "a.tiff", 30)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30 * 30 - 1)
    assert [picture.why for picture in album(path).pictures()] == [UNREADABLE]


# the verb


def invoke(*arguments: str | Path) -> Any:
    """The command, in this process."""
    return CliRunner().invoke(app, ["view", *(str(argument) for argument in arguments)])


def test_the_verb_writes_the_page_into_the_run(whole: Path) -> None:
    assert json.loads(invoke(whole, "--json").stdout) == {
        "stage": "view",
        "page": str(whole / "view.html"),
        "traces": 27,
    }
    assert (whole / "view.html").is_file()


def test_the_verb_tells_what_the_page_leaves_out(whole: Path, tmp_path: Path) -> None:
    result = invoke(whole, "--limit", "2", "--out", tmp_path / "a.html")
    assert "Training questions: the first 2 of 9 traces are shown (--limit)." in result.stderr
    assert result.stdout == f"page: {tmp_path / 'a.html'}\ntraces: 6\n"


def test_the_page_is_opened_on_request(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)  # says nothing, as where there is no browser
    result = invoke(whole, "--out", tmp_path / "a.html", "--open")
    assert opened == [(tmp_path / "a.html").as_uri()]
    assert "No browser could be started here" in result.stderr


def test_a_run_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    result = invoke(tmp_path / "nowhere")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"error: {tmp_path / 'nowhere'}: cannot read the config: No such file or directory.\n"


def test_viewing_loads_no_torch(whole: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from sclvlm.cli import app\n"
        f"app(['view', {str(whole)!r}, '--out', {str(tmp_path / 'a.html')!r}], standalone_mode=False)\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_synthetic_run_is_the_same_each_time(tmp_path: Path) -> None:
    first, second = (write_samples(tmp_path / name / "s.jsonl", 6, seed=3, pictures=6) for name in "ab")
    assert told("infer", first, seed=0)[0].turns == told("infer", second, seed=0)[0].turns
