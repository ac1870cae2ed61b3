"""The outside: processes that wait in a sandbox, and a pool of them for callers in any thread."""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from move37.errors import RewardError
from move37.sandbox import command
from move37.sandbox.inside import case, frames

Mode = Literal["bubblewrap", "none-i-accept-the-risk"]
STARTUP_S = 30.0
GRACE_S = 10.0  # beyond the limits that the sandbox itself enforces, before it is killed whole


class Broken(Exception):
    """The waiting process is gone or does not answer."""


class Waiting:
    """One waiting process. Started when it is needed, and again after it was killed. Not for two threads at once."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self.process: subprocess.Popen[bytes] | None = None
    
    def ask(self, parts: list[dict], seconds: float) -> dict:
        """Send a request in parts, wait for the answer.

        Raises:
            Broken: it died or took longer than that; it is killed then.
            RewardError: it does not start.
        """
        if self.process is None:
            self.start()
        try:
            for part in parts:
                frames.send(self._into, part)
            return self._answer(seconds)
        except (EOFError, BrokenPipeError, TimeoutError, ValueError) as problem:
            self.close()
            raise Broken(f"{type(problem).__name__} {problem}".strip()) from None
        except BaseException:
            self.close()  # half a conversation can not be resumed
            raise

    def start(self) -> None:
        line, environment = self._command()
        with tempfile.TemporaryFile() as errors:
            self.process = _spawner().start(
                line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment, start_new_session=True
            )
            try:
                self._answer(STARTUP_S)
                return
            except (EOFError, TimeoutError, ValueError) as problem:
                self.close()
                errors.seek(0)
                told = errors.read(4000).decode(errors="replace").strip() or str(problem) or "it ended at once"
        raise RewardError(_explain(self.mode, told))

    def close(self) -> None:
        """Kill it and everything in it."""
        self.kill()
        process, self.process = self.process, None
        if process is None:
            return
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()

    def kill(self) -> None:
        """End what runs, from any thread; whoever waits for its answer finds the pipe closed."""
        process = self.process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

    @property
    def _into(self) -> int:
        return self.process.stdin.fileno()  # type: ignore[union-attr]

    def _command(self) -> tuple[list[str], dict[str, str]]:
        if self.mode != "bubblewrap":
            return command.plain()
        bwrap = shutil.which("bwrap")
        if bwrap is None:
            raise RewardError(
                f"answers that are code run in a sandbox, and bubblewrap is not installed: {command.INSTALL}. "
                "Without it, at your own risk: `sandbox: none-i-accept-the-risk` in the recipe"
            )
        return command.bubblewrap(bwrap)

    def _answer(self, seconds: float) -> dict:
        descriptor, until = self.process.stdout.fileno(), time.monotonic() + seconds  # type: ignore[union-attr]
        while True:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
            if ready:
                return frames.receive(descriptor)  # the watcher writes an answer at once and whole
            if time.monotonic() >= until:
                raise TimeoutError(f"no answer in {seconds:g} s")


class Pool:
    """A few waiting processes. Callers in several threads share them."""

    def __init__(self, mode: Mode, size: int) -> None:
        self.mode, self.size = mode, size
        self._owner = os.getpid()
        self._aborts = 0
        self._all = [Waiting(mode) for _ in range(size)]
        self._free: queue.LifoQueue[Waiting] = queue.LifoQueue()  # the warm one first
        for waiting in self._all:
            self._free.put(waiting)
        atexit.register(self.close)

    def ask(self, parts: list[dict]) -> dict:
        """The result of one case; one that broke its sandbox is tried once more, in a new one.

        Raises:
            RewardError: the sandbox does not start.
        """
        seconds = parts[0]["time_s"] * case.WALL_FACTOR + case.WALL_MORE_S + GRACE_S
        asked = self._aborts
        waiting = self._free.get()
        try:
            for attempt in (1, 2):
                if asked != self._aborts:
                    break
                try:
                    return waiting.ask(parts, seconds)
                except Broken as problem:
                    why = f"the sandbox failed {attempt} times: {problem}"
            return {"failure": "infrastructure", "why": why if asked == self._aborts else "interrupted"}
        finally:
            self._free.put(waiting)

    def abort(self) -> None:
        """End what is running now, for all threads: their cases come back as interrupted."""
        self._aborts += 1
        for waiting in self._all:
            waiting.kill()

    def close(self) -> None:
        """Kill them all; they start again when they are needed. A forked child leaves its parent's alone."""
        if self._owner == os.getpid():
            for waiting in self._all:
                waiting.close()


class Spawner:
    """Starts processes from a thread that never ends: the kernel ends a sandbox with the thread that started it."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], queue.SimpleQueue]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="move37-sandbox", daemon=True).start()

    def start(self, line: list[str], **options: Any) -> subprocess.Popen[bytes]:
        done: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._jobs.put((lambda: subprocess.Popen(line, bufsize=0, **options), done))
        process, problem = done.get()
        if problem is not None:
            raise problem
        return process

    def _work(self) -> None:
        while True:
            job, done = self._jobs.get()
            try:
                done.put((job(), None))
            except BaseException as problem:
                done.put((None, problem))


_lock = threading.Lock()
_spawners: list[Spawner] = []


def _spawner() -> Spawner:
    with _lock:
        if not _spawners or _spawners[-1].owner != os.getpid():  # a thread does not survive a fork
            _spawners[:] = [Spawner()]
        return _spawners[-1]


def _explain(mode: Mode, told: str) -> str:
    """Why a sandbox does not start, with what to do."""
    last = told.splitlines()[-1]
    if last.startswith("bwrap: ") and any(sign in last for sign in ("ermission", "not permitted", "namespace", "uid map")):
        return (
            f"the sandbox does not start: this system does not let bubblewrap make user namespaces ({last}). On Ubuntu: "
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0; on old Debian: "
            "sysctl -w kernel.unprivileged_userns_clone=1; "
            "in Docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined. "
            "Without a sandbox, at your own risk: `sandbox: none-i-accept-the-risk` in the recipe"
        )
    return f"the process that runs answers does not start: {last}"
