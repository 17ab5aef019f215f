"""A chat server on loopback that says back what it was asked, and fails as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Fault = Callable[[str, int, int], str]
"""(question, turn, attempt), the last two from 0, to the fault that meets it: a key of FAULTS, or "" for none."""

SLOW = 2.5  # seconds of a slow reply
FAULTS: dict[str, tuple[int, str | bytes, dict[str, str]]] = {  # status, body, headers
    "500": (500, '{"error": {"message": "out of order"}}', {}),
    "503": (503, "no upstream", {}),
    "429": (429, '{"error": {"message": "too many"}}', {"Retry-After": "0.3"}),
    "400": (400, '{"error": {"message": "the prompt is too long: 9000 tokens, at most 8192"}}', {}),
    "401": (401, '{"error": {"message": "no such key: KEY"}}', {}),
    "404": (404, '{"error": {"message": "The model does not exist."}}', {}),
    "moved": (307, "", {"Location": "http://elsewhere/"}),
    "torn": (200, '{"choices": [{"mess', {}),
    "empty": (200, '{"choices": [], "usage": {"completion_tokens": 1}}', {}),
    "filtered": (200, '{"choices": [{"message": {"content": "x"}, "finish_reason": "content_filter"}]}', {}),
}
PASSING = ("slow", "drop", "500", "503", "429", "torn", "empty")


class Faulty:
    """The server, running within the block. What it saw lies in `bodies`, `keys`, `times` and `most`."""

    def __init__(self, fault: Fault = lambda *_: "", *, models: tuple[str, ...] = ("echo",)) -> None:
        self.fault, self.models = fault, models
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.times: list[float] = []
        self.attempts: Counter[tuple[str, int, Any]] = Counter()
        self.in_flight = self.most = 0
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.faulty = self
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse connections from now on."""
        self._server.shutdown()
        self._server.server_close()

    def questions(self) -> list[str]:
        """The question of each request, in the order they came in."""
        return [question(body) for body in self.bodies]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    faulty: Faulty

    def handle_error(self, *_: object) -> None:
        """Nothing: clients hang up here on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        models = [{"id": name, "object": "model"} for name in self.server.faulty.models]
        self._send(200, json.dumps({"object": "list", "data": models}), {})

    def do_POST(self) -> None:
        faulty = self.server.faulty
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked, turn = question(body), len(body["messages"]) // 2
        with faulty.lock:
            faulty.in_flight += 1
            faulty.most = max(faulty.most, faulty.in_flight)
            faulty.bodies.append(body)
            faulty.keys.append(self.headers["Authorization"])
            faulty.times.append(time.monotonic())
            attempt = faulty.attempts[asked, turn, body.get("seed")]
            faulty.attempts[asked, turn, body.get("seed")] += 1
        try:
            self._meet(faulty.fault(asked, turn, attempt), body, turn)
        except OSError:  # the client did not wait
            self.close_connection = True

    def _meet(self, fault: str, body: dict[str, Any], turn: int) -> None:
        if fault == "slow":
            time.sleep(SLOW)
        self._leave()
        if fault == "drop":
            self.close_connection = True
        elif fault in FAULTS:
            status, text, headers = FAULTS[fault]
            said = text if isinstance(text, bytes) else text.replace("KEY", str(self.headers["Authorization"]))
            self._send(status, said, headers)
        else:
            self._send(200, json.dumps(completion(body, turn)), {})

    def _leave(self) -> None:
        with self.server.faulty.lock:
            self.server.faulty.in_flight -= 1

    def _send(self, status: int, text: str | bytes, headers: dict[str, str]) -> None:
        content = text if isinstance(text, bytes) else text.encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def question(body: dict[str, Any]) -> str:
    """The first words of a request."""
    content = body["messages"][0]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def completion(body: dict[str, Any], turn: int) -> dict[str, Any]:
    """What the server says to a request: model, turn and question."""
    said = f"{body['model']} {turn} {question(body)}"
    choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
    return {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": len(said.split())}}
