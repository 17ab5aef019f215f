"""A real server, `transformers serve`, answers as the engine in process does."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sclvlm.engines import Engine, Opening
from sclvlm.engines.hf import HFEngine
from sclvlm.engines.server import connected
from sclvlm.models import load_policy
from sclvlm.records import Sample, text_message
from sclvlm.storage import read_records

NEEDED = [name for name in ("fastapi", "openai", "uvicorn") if importlib.util.find_spec(name) is None]
QUESTIONS = Path(__file__).parents[1] / "data"
PATIENCE = 240.0  # seconds for a server to come up

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(NEEDED), reason=f"transformers serve needs {', '.join(NEEDED)}: pip install sclvlm[test]"),
]


@contextmanager
def served(model: Path, log: Path) -> Iterator[str]:
    """The URL of a server of the model in that directory, running within the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(model), "--device", "cpu"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--attn-implementation", "eager"]
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            _await(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        try:
            httpx2.get(url)
        except httpx2.RequestError:
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"transformers serve did not start: {log.read_text()[-2000:]}")


def words(engine: Engine, openings: list[Opening]) -> list[list[tuple[Any, ...]]]:
    """Text, tokens and end of both replies to each opening. Spaces around a reply are what this server takes away."""
    said = engine.converse(openings, [text_message("user", "again?")])
    return [[(reply.text.strip(), *reply[1:3]) for reply in replies] for replies in said]


def asked(family: str, pictures: list[str]) -> list[Opening]:
    seen = family != "llama"
    return [
        Opening(
            f"q{n}", 0, text_message("user", f"question {n}?", images=int(seen)), (pictures[n % 4],) if seen else ()
        )
        for n in range(8)
    ]


@pytest.mark.parametrize("family", ["fast_vlm", "llava", "qwen", "llama"])
def test_a_served_model_says_what_it_says_in_process(
    family: str,
    tiny_model: Callable[[str], Path],
    tiny_policy: Callable[[str], Any],
    pictures: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    settings = {"seed": 0, "max_new_tokens": 24}
    openings = asked(family, pictures)
    with served(tiny_model(family), tmp_path / "log") as url:
        theirs = words(connected([url], None, key=None, concurrency=3, **settings), openings)
    ours = words(HFEngine(tiny_policy(family), **settings), openings)
    assert theirs == ours
    assert {reply[2] for replies in ours for reply in replies} == {"stop", "length"}


@pytest.mark.skipif(not (QUESTIONS / "small_vlm").is_dir(), reason="needs data/small_vlm and data/easy_vqa: make data")
def test_the_small_vlm_says_the_same_served_and_in_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    settings = {"seed": 0, "max_new_tokens": 24}
    samples = list(read_records(next((QUESTIONS / "easy_vqa").glob("*.jsonl")), Sample))[:8]
    openings = [Opening(each.id, 0, text_message("user", each.question, images=1), each.images) for each in samples]
    with served(QUESTIONS / "small_vlm", tmp_path / "log") as url:
        theirs = words(connected([url], None, key=None, concurrency=3, **settings), openings)
    policy = load_policy(str(QUESTIONS / "small_vlm"), dtype="float32", device="cpu", attention="eager")
    assert theirs == words(HFEngine(policy, **settings), openings)
