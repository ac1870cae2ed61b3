"""One case, watched: fork the answer's process, take its output, end it at its limits, tell what became of it.

The watcher is the first process of the case's namespaces. Signals from inside do not reach it, and all dies with it.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from move37.sandbox.inside import answer, confine, frames, judge

TICK_S = 0.05  # between looks at the CPU clock
WALL_FACTOR, WALL_MORE_S = 3.0, 1.0  # a program that sleeps or waits may take this much longer than its CPU time
LAST_S = 0.2  # for the answer's process, once the tests have ended
SHOWN = 2000  # bytes of standard error that are kept
SCRATCH_MB = 64
CONFINED = b"confined"
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
MS_RDONLY, NO_SUID, NO_DEV, NO_EXEC, MS_REMOUNT, MS_BIND, MS_RELATIME = 1, 2, 4, 8, 32, 4096, 1 << 21
ST_NOATIME, ST_NODIRATIME, ST_RELATIME = 1024, 2048, 4096


@dataclass
class Child:
    """A process of a case and how it ended."""

    pid: int
    state: int  # a pipe on which it says whether it is confined
    ended: int = -1  # a pidfd: readable once it has
    reason: str = ""  # "timeout", "memory", "crash", "did_not_compile"; empty while it runs or where it ended well
    why: str = ""
    cpu_s: float = 0.0
    gone: bool = False

    def __post_init__(self) -> None:
        self.ended = os.pidfd_open(self.pid)

    def used_s(self) -> float:
        """CPU seconds of the process so far (clock_getcpuclockid)."""
        try:
            return time.clock_gettime((~self.pid << 3) | 2)
        except OSError:
            return self.cpu_s

    def kill(self, reason: str, why: str) -> None:
        if self.gone:
            return
        if not self.reason:
            self.reason, self.why = reason, why
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def reap(self) -> None:
        _, status, usage = os.wait4(self.pid, 0)
        os.close(self.ended)
        self.gone, self.cpu_s = True, usage.ru_utime + usage.ru_stime
        if self.reason:
            return
        code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGXCPU:
            self.reason, self.why = "timeout", "it used up its CPU time"
        elif code == -signal.SIGXFSZ:
            self.reason, self.why = "crash", "it wrote a file that is too large"
        elif code < 0:
            self.reason, self.why = "crash", f"it was ended by a signal ({signal.strsignal(-code)})"
        elif code == answer.NOT_COMPILED:
            self.reason, self.why = "did_not_compile", "it does not compile"
        elif code == answer.NO_MEMORY:
            self.reason, self.why = "memory", "it asked for more memory than it may have"
        elif code:
            self.reason, self.why = "crash", f"it ended with exit code {code}"


@dataclass
class Pipe:
    """What a child writes, up to a limit."""

    descriptor: int
    limit: int
    data: bytearray = field(default_factory=bytearray)
    total: int = 0
    open: bool = True

    def take(self) -> None:
        part = os.read(self.descriptor, 1 << 16)
        self.total += len(part)
        if len(self.data) < self.limit:
            self.data += part
        if not part:
            os.close(self.descriptor)
            self.open = False


def scratch(private: bool) -> None:
    """An empty directory that the case may write to, as the current one."""
    if private:
        if confine.libc.mount(b"tmpfs", b"/tmp", b"tmpfs", NO_DEV | NO_SUID | NO_EXEC, b"size=%dm,nr_inodes=4k" % SCRATCH_MB):
            raise OSError("no /tmp of its own could be mounted")
        os.chdir("/tmp")
    else:
        os.chdir(tempfile.mkdtemp(prefix="move37-case-"))


def freeze_devices() -> None:
    """Who started the sandbox may own them; on a read-only mount they can be written to, but their mode not changed."""
    for path in DEVICES:
        has = os.statvfs(path).f_flag
        flags = MS_REMOUNT | MS_BIND | MS_RDONLY | (has & (NO_SUID | NO_EXEC)) | (MS_RELATIME if has & ST_RELATIME else 0)
        flags |= has & (ST_NOATIME | ST_NODIRATIME)  # these have one number in both worlds
        if confine.libc.mount(None, path.encode(), None, flags, None) or not os.statvfs(path).f_flag & MS_RDONLY:
            raise OSError(f"{path} could not be made read-only")


def tidy(private: bool) -> None:
    if not private:  # else it goes with the namespace
        here = os.getcwd()
        os.chdir("/")
        shutil.rmtree(here, ignore_errors=True)


def skip(requests: int, request: dict) -> None:
    """Read and drop the part of a request that its case would have read."""
    if request["kind"] == "function":
        frames.receive(requests)


def program(request: dict, requests: int, private: bool) -> dict:
    """A whole program: standard input in, standard output and the way it ended out."""
    with open("stdin", "w", encoding="utf-8", errors="surrogateescape", newline="") as given:
        given.write(request["stdin"])
    source = os.open("stdin", os.O_RDONLY)
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    started = time.monotonic()
    streams = {source: 0, out_end: 1, err_end: 2}
    child = _fork(lambda: answer.program(request["sources"], request["seed"]), streams, request, private)
    os.close(source)
    os.close(out_end)
    os.close(err_end)
    told, errors = Pipe(out, request["output"] + 1), Pipe(err, request["output"] + 1)

    def over() -> str:
        return f"it wrote more than {request['output']} bytes" if max(told.total, errors.total) > request["output"] else ""

    confirm(child)
    watch([child], [told, errors], started, request, over)
    if not child.reason and (why := over()):  # it ended before that was seen
        child.reason, child.why = "crash", why
    tail = bytes(errors.data[-SHOWN:]).decode(errors="replace")
    if child.reason in ("crash", "did_not_compile") and tail.strip():
        child.why += f": {tail.strip().splitlines()[-1][:300]}"
    result = {"failure": child.reason or None, "why": child.why, "stdout": bytes(told.data).decode(errors="replace")}
    return result | {"stderr": tail, "cpu_s": child.cpu_s, "wall_s": time.monotonic() - started}


def function(request: dict, requests: int, private: bool) -> dict:
    """A function that is called with plain data by tests that run in another process.

    The answer's process is forked first. Only then are the tests read from the pipe: they were never in its memory.
    """
    (calls, call), (replies, reply), (reports, report) = os.pipe(), os.pipe(), os.pipe()
    started = time.monotonic()
    work = _fork(lambda: answer.function(request, calls, reply), {calls: calls, reply: reply}, request, private)
    for descriptor in (calls, reply):
        os.close(descriptor)
    tests = frames.receive(requests)
    channel = {call: call, replies: replies, report: report}
    tester = _fork(lambda: judge.main(tests, call, replies, report), channel, request, private)
    for descriptor in (call, replies, report):
        os.close(descriptor)
    found = Pipe(reports, 1 << 16)
    confirm(work)
    confirm(tester)
    watch([tester, work], [found], started, request, lambda: "")
    verdict = judge.verdict(bytes(found.data), (work.reason, work.why), (tester.reason, tester.why))
    return verdict | {"cpu_s": work.cpu_s, "wall_s": time.monotonic() - started}


def watch(children: list[Child], pipes: list[Pipe], started: float, request: dict, over: Callable[[], str]) -> None:
    """Until the first child has ended and what it wrote is read; the others are ended then."""
    poll = select.poll()
    for descriptor in (*(c.ended for c in children), *(p.descriptor for p in pipes)):
        poll.register(descriptor, select.POLLIN)
    limit, first = request["time_s"], children[0]
    wall = limit * WALL_FACTOR + WALL_MORE_S
    while not first.gone or any(pipe.open for pipe in pipes):
        ready = {descriptor for descriptor, _ in poll.poll(TICK_S * 1000)}
        for pipe in pipes:
            if pipe.open and pipe.descriptor in ready:
                pipe.take()
                if not pipe.open:
                    poll.unregister(pipe.descriptor)
        for child in children:
            if not child.gone and child.ended in ready:
                poll.unregister(child.ended)
                child.reap()
            elif not child.gone and child.used_s() > limit:
                child.kill("timeout", f"it used more than {limit:g} s of CPU time")
            elif not child.gone and time.monotonic() - started > wall:
                child.kill("timeout", f"it took more than {wall:g} s, {child.used_s():.2g} of them CPU time")
        if why := over():
            first.kill("crash", why)
    for child in children[1:]:
        if not child.gone:
            ended = bool(select.select([child.ended], [], [], LAST_S)[0])  # it does by itself when its pipe closes
            os.kill(child.pid, signal.SIGKILL)
            child.reap()
            if not ended:  # it was ended here, for no fault of its own
                child.reason = child.why = ""


def confirm(child: Child) -> None:
    """Wait until a child is confined. Raises RuntimeError where it could not be; then it has run nothing."""
    with open(child.state, "rb") as state:
        said = state.read()
    if said != CONFINED:
        child.kill("", "")
        raise RuntimeError(f"a process could not be confined: {said.decode(errors='replace') or 'it died'}")


def _fork(work: Callable[[], Any], descriptors: dict[int, int], request: dict, private: bool) -> Child:
    """A child that keeps these descriptors (here -> there), gives up everything else and does the work."""
    state, told = os.pipe()
    pid = os.fork()
    if pid:
        os.close(told)
        return Child(pid, state)
    try:
        for place in (0, 1, 2):  # they lead nowhere already
            assert place not in descriptors
        for here, there in descriptors.items():
            if here != there:
                os.dup2(here, there)
        limits = {"cpu_s": math.ceil(request["time_s"]) + 1, "memory_mb": request["memory_mb"], "file_mb": SCRATCH_MB}
        confine.give_up({0, 1, 2, told, *descriptors.values()}, limits, private)
        os.write(told, CONFINED)
        os.close(told)
    except BaseException as problem:
        os.write(told, f"{type(problem).__name__}: {problem}".encode())
        os._exit(1)
    try:
        work()
    except MemoryError:
        os._exit(answer.NO_MEMORY)
    except BaseException:
        os._exit(1)
    os._exit(0)


# What a request may ask for: kind -> watcher(request, requests, private).
KINDS: dict[str, Callable[[dict, int, bool], dict]] = {"program": program, "function": function}
