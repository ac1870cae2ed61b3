"""A chat endpoint on 127.0.0.1 that does what a script says, misbehaviour included."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What the server sends. `body` may be anything; `drop` closes the connection halfway through it."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    wait: threading.Event | None = None  # held back until it is set


def chat(text: str | None, finish: str = "stop", **message: Any) -> Answer:
    """A proper reply: 7 prompt tokens, and one completion token per word."""
    told = {
        "choices": [{"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 7, "completion_tokens": len((text or "").split())},
    }
    return Answer(json.dumps(told).encode())


@dataclass
class Server:
    url: str
    seen: list[dict[str, Any]]  # the bodies of all requests
    headers: list[dict[str, str]]


@contextmanager
def serve(script: Callable[[dict[str, Any], int], Answer]) -> Iterator[Server]:
    """`script(body, number)` answers the request of that number, from 0."""
    lock = threading.Lock()
    seen: list[dict[str, Any]] = []
    headers: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                number = len(seen)
                seen.append(body)
                headers.append(dict(self.headers))
            answer = script(body, number)
            if answer.wait is not None:
                answer.wait.wait(30)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[: len(answer.body) // 2] if answer.drop else answer.body)
            self.close_connection = answer.drop

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{server.server_port}/v1", seen, headers)
    finally:
        server.shutdown()
        server.server_close()
