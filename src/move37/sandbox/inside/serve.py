"""The process that waits inside the sandbox: one case at a time, each in a process of its own that is forked from it.

It never reads what a case writes, and a case gets no descriptor, no memory that was written after it was forked, and no
signal through to it. For each case it makes new namespaces of processes, mounts and IPC: when the first process in there
ends, the kernel ends all others.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import platform
import signal
import sys
import traceback

from move37.sandbox.inside import case, confine, frames

# What programs import most, loaded once. None of it starts threads or opens files.
LOADED = (
    *("array", "bisect", "cmath", "collections", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools"),
    *("heapq", "io", "itertools", "json", "math", "operator", "queue", "random", "re", "statistics", "string"),
    *("threading", "typing"),
)
SYS_CLONE = {"x86_64": 56, "aarch64": 220}
NEW_MOUNTS, NEW_IPC, NEW_PROCESSES = 0x00020000, 0x08000000, 0x20000000


def main(private: bool) -> None:
    """Serve until the pipe closes. `private`: in a sandbox that allows namespaces; else a plain process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if private:
        case.freeze_devices()
    else:
        confine.die_with_parent()
    confine.hide()
    requests, answers = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    for name in LOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what is here now is never looked at again: a collection in a child would copy its memory
    frames.send(answers, {"ready": True, "filtered": confine.filtered()})
    while True:
        try:
            request = frames.receive(requests)
        except EOFError:
            return
        try:
            child = fork(private)
        except OSError as problem:
            case.skip(requests, request)
            frames.send(answers, infrastructure(f"no new process: {problem}"))
            continue
        if child == 0:
            run(request, requests, answers, private)
        _, status = os.waitpid(child, 0)
        if status:
            frames.send(answers, infrastructure(f"the process that watches the case ended with status {status}"))


def run(request: dict, requests: int, answers: int, private: bool) -> None:
    """One case, in the first process of its namespaces; does not return."""
    try:
        if not private:
            confine.die_with_parent()
        case.scratch(private)
        result = case.KINDS[request["kind"]](request, requests, private)
    except BaseException:
        result = infrastructure(traceback.format_exc(limit=-3))
    try:
        case.tidy(private)
        frames.send(answers, result)
    except BaseException:
        os._exit(1)
    os._exit(0)


def fork(private: bool) -> int:
    if not private:
        return os.fork()
    # The bare system call: os.fork can not ask for namespaces, and unshare would move this process's later children.
    flags = NEW_MOUNTS | NEW_IPC | NEW_PROCESSES | signal.SIGCHLD
    child = confine.libc.syscall(SYS_CLONE[platform.machine()], flags, 0, 0, 0, 0)
    if child < 0:
        raise OSError(ctypes.get_errno(), f"clone: {os.strerror(ctypes.get_errno())}")
    return child


def infrastructure(why: str) -> dict:
    return {"failure": "infrastructure", "why": why}


if __name__ == "__main__":
    main(private=sys.argv[1] == "private")
