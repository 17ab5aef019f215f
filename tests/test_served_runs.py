"""Whole stages by a server: what is sent of pictures and keys, which server and model is asked, and what is told."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from sclvlm import pipeline
from sclvlm.config import Config, load_config
from sclvlm.engines import fleet as fleets
from sclvlm.engines.addresses import api_key, base_url
from sclvlm.engines.server import connected
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.fingerprints import stage_inputs
from sclvlm.pictures import data_url, load_image
from sclvlm.pipeline import run_stages
from sclvlm.records import Trace
from sclvlm.storage import count_records, read_records, write_json, write_records
from sclvlm.viewing import open_run, write_view
from tests.faulty import Faulty
from tests.test_server import samples

ROOT = Path(__file__).parents[1]
KEY = "sk-a-secret-nobody-may-read"
Load = Callable[..., Config]


@pytest.fixture(autouse=True)
def _loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy between here and loopback, short pauses, and no key but a test's."""
    monkeypatch.setattr(fleets, "SHORTEST", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture(name="file")
def run_yaml(tmp_path: Path, pictures: list[str]) -> Path:
    """A config that asks servers, about six questions, two of them about pictures; its model.path holds nothing."""
    seeing = [sample.model_copy(update={"images": (pictures[n],)}) for n, sample in enumerate(samples(6)[4:])]
    for image in pictures[:2]:
        (tmp_path / Path(image).name).write_bytes(Path(image).read_bytes())
    seeing = [each.model_copy(update={"images": (str(tmp_path / Path(each.images[0]).name),)}) for each in seeing]
    write_records(tmp_path / "samples.jsonl", [*samples(4), *seeing])
    ask = {"engine": "server", "initial": "bare", "server": {"urls": ["http://127.0.0.1:9/v1"]}}
    data = dict.fromkeys(("samples", "test"), str(tmp_path / "samples.jsonl"))
    config = {"run": {"dir": str(tmp_path / "run")}, "model": {"path": str(tmp_path / "none")}, "data": data}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({**config, "infer": ask}))
    return path


@pytest.fixture(name="load")
def loader(file: Path) -> Load:
    """The config with overrides, asking the servers given."""

    def load(*servers: Faulty, stage: str = "infer", more: tuple[str, ...] = ()) -> Config:
        urls = [f"{stage}.server.urls=[{','.join(server.url for server in servers)}]"] if servers else []
        return load_config(file, [*urls, *more])

    return load


def command(file: Path, *overrides: str, key: str = "") -> subprocess.CompletedProcess[str]:
    """`sclvlm infer` in a process of its own, which tells at the end whether it has loaded torch."""
    code = (
        "import sys\nfrom sclvlm.cli import app\ntry:\n    app()\nfinally:\n"
        "    print('torch' in sys.modules, file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": key}
    arguments = [sys.executable, "-c", code, "infer", str(file), *overrides]
    return subprocess.run(arguments, capture_output=True, text=True, env=environment, check=False, cwd=file.parent)


def test_infer_by_a_server_loads_no_model_and_no_torch_and_writes_the_key_nowhere(file: Path, tmp_path: Path) -> None:
    with Faulty(lambda question, turn, attempt: "500" if attempt == 0 else "") as server:
        result = command(file, f"infer.server.urls=[{server.url}]", key=KEY)
    assert (result.returncode, result.stderr.splitlines()[-1]) == (0, "False"), result.stderr
    assert set(server.keys) == {f"Bearer {KEY}"}
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert tmp_path / "run/infer/traces.jsonl" in written
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
    assert KEY not in result.stdout + result.stderr


def test_a_server_that_repeats_the_key_does_not_bring_it_into_an_error(file: Path, tmp_path: Path) -> None:
    with Faulty(lambda *_: "401") as server:
        result = command(file, f"infer.server.urls=[{server.url}]", key=KEY)
    assert result.returncode == 1
    assert "error: " in result.stderr
    assert "no such key: Bearer ***." in result.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert KEY not in result.stdout + result.stderr


def test_no_server_is_one_error_that_names_the_url_and_the_remedy(load: Load) -> None:
    with pytest.raises(SclvlmError) as error:
        run_stages(load(), ("infer",))
    assert str(error.value).startswith("no server answers: http://127.0.0.1:9/v1: ConnectError")
    assert str(error.value).endswith("Start one (docs/servers.md), or name where it runs in server.urls.")


def test_a_stage_that_was_stopped_goes_on_and_a_done_one_asks_nobody(load: Load) -> None:
    with Faulty(lambda question, *_: "401" if "q3" in question else "") as server, pytest.raises(SclvlmError):
        run_stages(load(server, more=("infer.server.concurrency=1",)), ("infer",))
    path = load().folder / "infer" / "traces.jsonl"
    assert [trace.id for trace in read_records(path, Trace)] == ["q0", "q1", "q2"]
    with Faulty() as server:
        run_stages(load(server), ("infer",))
        assert len(server.bodies) == 2 * 3
    assert [trace.id for trace in read_records(path, Trace)] == [f"q{n}" for n in range(6)]
    assert run_stages(load(), ("infer",))[0]["count"] == 6  # no server there


def test_a_stopped_run_is_viewed_and_goes_on_in_whatever_order_its_answers_came(load: Load, tmp_path: Path) -> None:
    path = load().folder / "infer" / "traces.jsonl"

    def fault(question: str, *_: int) -> str:
        before = {"q0": 4, "q5": 5}.get(question.removeprefix("what is ")[:2], 0)
        deadline = time.monotonic() + 60
        while count_records(path) < before and time.monotonic() < deadline:
            time.sleep(0.01)
        return "401" if "q5" in question else ""

    with Faulty(fault) as server, pytest.raises(SclvlmError):
        run_stages(load(server, more=("infer.server.concurrency=2",)), ("infer",))
    assert [trace.id for trace in read_records(path, Trace)] == ["q1", "q2", "q3", "q4", "q0"]
    assert write_view(open_run(load().folder), tmp_path / "view.html", limit=9, picture_mb=1).traces == 5
    with Faulty() as server:
        run_stages(load(server), ("infer",))
    assert [trace.id for trace in read_records(path, Trace)] == [f"q{n}" for n in range(6)]
    assert len(server.bodies) == 2


def test_a_trace_tells_the_name_that_the_server_gives_its_model(load: Load) -> None:
    with Faulty(models=("big-vlm",)) as server:
        run_stages(load(server), ("infer",))
    traces = list(read_records(load().folder / "infer" / "traces.jsonl", Trace))
    assert {trace.model.path for trace in traces} == {"big-vlm"}
    assert {body["model"] for body in server.bodies} == {"big-vlm"}


def test_after_training_what_the_servers_serve_of_it_is_asked(
    load: Load, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fine_tune(job: pipeline.Job) -> pipeline.Facts:
        write_json(job.stage.folder / "history.json", [])
        return {}

    monkeypatch.setitem(pipeline.STAGE_FUNCTIONS, "train", fine_tune)
    monkeypatch.setattr("sclvlm.preflight._check_model", lambda config: None)
    pairs = file.parent / "pairs.jsonl"
    said = {"role": "assistant", "content": "x"}
    pairs.write_text(yaml.safe_dump({"id": "a", "prompt": [said], "chosen": [said], "rejected": []}))
    monkeypatch.setattr("sclvlm.preflight._check_records", lambda config, stages: None)
    more = ("infer=null", f"data.pairs={pairs}", "train.loss=dpo", "evaluate.engine=server", "evaluate.initial=bare")
    more += ("evaluate.server.model=start", "evaluate.server.trained=tuned")
    with Faulty(models=("start", "tuned")) as server:
        config = load(server, stage="evaluate", more=more)
        run_stages(config, ("train", "evaluate"))
    asked = {name: config.folder / "evaluate" / name / "traces.jsonl" for name in ("before", "after")}
    assert {name: next(iter(read_records(path, Trace))).model.path for name, path in asked.items()} == {
        "before": "start",
        "after": "tuned",
    }


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("infer.server.urls=[]",), r"^infer\.server\.urls: name where a server answers"),
        (("infer.server.urls=[localhost:8000]",), r"server\.urls: expected such as .*, got 'localhost:8000'"),
        (("infer.server.urls=['http://me:pass@host/v1']",), r"must hold no user and password\. Give a key"),
        (("infer.server.url=x",), r"Known keys there: urls, model, trained"),
        (
            (
                "infer=null",
                "data.pairs=p",
                "train.loss=dpo",
                "evaluate.engine=server",
                "evaluate.server.urls=[http://h]",
            ),
            r"^evaluate\.server\.trained: name by which",
        ),
    ],
)
def test_what_is_wrong_with_the_servers_is_told_before_anything_is_done(
    more: tuple[str, ...], expected: str, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sclvlm.preflight._check_exists", lambda key, path: None)
    with pytest.raises(ConfigError, match=expected) as error:
        run_stages(config := load(more=more), config.stages)
    assert "pass@" not in str(error.value)
    assert not Path(load().folder / "config.yaml").exists()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://host:8000", "http://host:8000/v1"),
        ("http://host:8000/", "http://host:8000/v1"),
        ("http://host:8000/v1/", "http://host:8000/v1"),
        ("https://host/api/v1beta/openai", "https://host/api/v1beta/openai"),
    ],
)
def test_a_url_without_a_path_stands_for_its_v1(url: str, expected: str) -> None:
    assert base_url(url) == expected


@pytest.mark.parametrize("key", ["two\nlines", "schlüssel"])
def test_a_key_that_no_header_can_hold_is_told_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(ConfigError, match="environment variable MY_KEY") as error:
        api_key("MY_KEY")
    assert key not in str(error.value)


def test_a_key_may_end_with_a_line_and_need_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "abc\n")
    assert (api_key("MY_KEY"), api_key("OPENAI_API_KEY")) == ("abc", None)


def test_the_name_of_a_model_that_repeats_the_key_is_told_without_it() -> None:
    with Faulty(models=(f"model of {KEY}",)) as server:
        assert connected([server.url], None, key=KEY, seed=0, max_new_tokens=1).model == "model of ***"


@pytest.mark.parametrize(
    ("given", "expected"),
    [(KEY, r"must be the name of an environment variable"), ("abcdef0123456789", r"that it names is not set\.")],
)
def test_a_key_in_place_of_its_variables_name_is_refused_and_neither_shown_nor_written(
    given: str, expected: str, load: Load, tmp_path: Path
) -> None:
    with Faulty() as server, pytest.raises(ConfigError, match=expected) as error:
        run_stages(load(server, more=(f"infer.server.api_key_env={given}",)), ("infer",))
    assert given not in str(error.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and given.encode() in path.read_bytes()]


def test_an_engine_does_not_show_its_key() -> None:
    with Faulty() as server:
        assert KEY not in repr(connected([server.url], None, key=KEY, seed=0, max_new_tokens=1))


def test_of_several_models_one_must_be_named() -> None:
    with Faulty(models=("a", "b")) as server, pytest.raises(ConfigError, match=r"lists a, b\. Name the one"):
        connected([server.url], None, key=None, seed=0, max_new_tokens=1)


def test_servers_of_other_models_are_left_out() -> None:
    with Faulty(models=("a",)) as server, Faulty(models=("b", "a")) as both, Faulty(models=("b",)) as other:
        urls = [server.url, both.url, other.url]
        assert connected(urls, "b", key=None, seed=0, max_new_tokens=1).urls == (both.url, other.url)


def test_a_model_that_is_in_no_list_is_asked_for_all_the_same() -> None:
    with Faulty(models=()) as server:
        assert connected([server.url], "b", key=None, seed=0, max_new_tokens=1).model == "b"


def test_where_and_how_fast_servers_answer_decides_nothing(load: Load) -> None:
    pace = ("infer.server.urls=[http://other]", "infer.server.concurrency=3", "infer.server.api_key_env=MINE")
    assert stage_inputs(load(more=pace), "infer") == stage_inputs(load(), "infer")
    for change in ("infer.server.model=b", "infer.server.extra={top_k: 3}", "infer.engine=hf"):
        assert stage_inputs(load(more=(change,)), "infer") != stage_inputs(load(), "infer")


def test_the_servers_do_not_count_for_the_engine_in_process(load: Load) -> None:
    plain = stage_inputs(load(more=("infer.engine=hf",)), "infer")
    assert stage_inputs(load(more=("infer.engine=hf", "infer.server.model=b")), "infer") == plain
    assert "server" not in plain["infer"]


def test_a_picture_is_sent_before_the_question_once_a_conversation(load: Load) -> None:
    with Faulty() as server:
        run_stages(load(server), ("infer",))
    seeing = [body for body in server.bodies if "q4" in str(body)]
    for body in seeing:
        assert [part["type"] for part in body["messages"][0]["content"]] == ["image_url", "text"]
        assert not any("image_url" in str(message) for message in body["messages"][1:])
    sent = content(seeing[0]["messages"][0]["content"][0]["image_url"]["url"])[1]
    assert sent == (Path(load().data.samples or "").parent / "red.png").read_bytes()


def test_a_broken_picture_fails_alone_and_is_not_sent(load: Load, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes((tmp_path / "red.png").read_bytes()[:60])
    with Faulty() as server:
        run_stages(load(server, more=("infer.max_failed_share=0.5",)), ("infer",))
    traces = list(read_records(load().folder / "infer" / "traces.jsonl", Trace))
    assert [trace.id for trace in traces if trace.failed] == ["q4"]
    assert "red.png: expected a readable image" in traces[4].meta["error"]
    assert not any("q4" in question for question in server.questions())


def content(url: str) -> tuple[str, bytes]:
    """Media type and bytes of a data URL."""
    head, data = url.split(",")
    return head, base64.b64decode(data)


def picture(folder: Path, form: str, mode: str = "RGB", **options: Any) -> Path:
    image = Image.linear_gradient("L").resize((24, 16)).convert(mode)
    image.save(path := folder / f"picture.{form}", **options)
    return path


@pytest.mark.parametrize(("form", "media"), [("png", "image/png"), ("jpg", "image/jpeg"), ("webp", "image/webp")])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_bytes_of_a_common_picture_are_sent_as_they_are(form: str, media: str, mode: str, tmp_path: Path) -> None:
    path = picture(tmp_path, form, mode)
    assert content(data_url(path)) == (f"data:{media};base64", path.read_bytes())


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # by 90 degrees
    return exif


@pytest.mark.parametrize(
    ("form", "mode", "options"),
    [
        ("png", "RGBA", {}),
        ("png", "P", {"transparency": 0}),
        ("png", "I;16", {}),
        ("jpg", "CMYK", {}),
        ("jpg", "RGB", {"exif": turned()}),
        ("gif", "L", {}),
        ("bmp", "RGB", {}),
    ],
)
def test_of_a_picture_that_readers_see_differently_our_own_pixels_are_sent(
    form: str, mode: str, options: dict[str, Any], tmp_path: Path
) -> None:
    path = picture(tmp_path, form, mode, **options)
    head, sent = content(data_url(path))
    assert head == "data:image/png;base64"
    seen = Image.open(io.BytesIO(sent))
    assert (seen.mode, seen.tobytes()) == ("RGB", load_image(path).tobytes())
