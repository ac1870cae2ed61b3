"""JSON lines between a benchmark and its workers. Needs nothing but Python: a worker may live in another environment."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

Handler = Callable[..., dict[str, Any]]


class WorkerFailed(RuntimeError):
    """A worker could not do what was asked, or died."""


class Channel:
    """A worker's end. What libraries print goes to stderr, so that nothing but answers is on stdout."""

    def __init__(self) -> None:
        self.answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def read(self) -> dict[str, Any] | None:
        """The next request; None at the end."""
        line = sys.stdin.readline()
        return json.loads(line) if line else None

    def write(self, **answer: Any) -> None:
        answer["peak_memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(answer), file=self.answers, flush=True)

    def serve(self, handlers: dict[str, Handler]) -> None:
        """Answer requests `{"do": name, ...}` until there are no more."""
        while (request := self.read()) is not None:
            try:
                self.write(**handlers[request.pop("do")](**request))
            except Exception as problem:  # the benchmark decides what to do without this contender
                traceback.print_exc()
                self.write(error=f"{type(problem).__name__}: {problem}"[:2000])


class Worker:
    """A benchmark's end: a process that is asked for one thing after another. Its stderr goes to `log`."""

    def __init__(self, python: Path | str, script: Path, log: Path, environment: dict[str, str] | None = None) -> None:
        self.name, self.log = script.name, log
        with log.open("w", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                [str(python), str(script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **(environment or {})},
            )

    def ask(self, do: str, **given: Any) -> dict[str, Any]:
        """Raises WorkerFailed with the last lines it wrote."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **given}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            tail = "\n".join(self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-12:])
            raise WorkerFailed(f"{self.name} died on {do!r}. Its last words:\n{tail}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(f"{self.name}, {do}: {answer['error']}")
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead already, and was written to
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def installed(*names: str) -> dict[str, str]:
    """Versions of the packages of a worker's own environment."""
    return {name: metadata.version(name) for name in names}
