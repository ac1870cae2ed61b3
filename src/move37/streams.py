"""The two ends of a command in a pipe: a file or standard input, a file or standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from move37.errors import UserError, nearest

BROKEN_PIPE = 141  # as a shell reports a program that a closed pipe ended


@contextmanager
def reading(name: str) -> Iterator[int]:
    """A file descriptor to read from; "-" is standard input.

    Raises:
        UserError: the file is not there, or can not be read.
    """
    if name == "-":
        yield sys.stdin.fileno()
        return
    path = Path(name)
    if not path.is_file():
        near = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
        what = "is a directory" if path.is_dir() else "does not exist"
        raise UserError(f"{path} {what}" + (f"; {nearest(path.name, near)}" if near and not path.is_dir() else ""))
    try:
        file = path.open("rb")
    except OSError as problem:
        raise UserError(f"{path} can not be read: {problem.strerror}") from None
    with file:
        yield file.fileno()


@contextmanager
def writing(path: Path | None, source: str) -> Iterator[Callable[[str], None]]:
    """A function that writes at once to a file, or to standard output; a reader that leaves ends the program quietly.

    Raises:
        UserError: the file can not be written, or is the `source`.
    """
    if path is None:
        try:
            yield _to_standard_output
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere
            raise SystemExit(BROKEN_PIPE) from None
        return
    if source != "-" and path.exists() and path.samefile(source):
        raise UserError(f"--out {path} is the file that is read; give another name")
    try:
        file = path.open("w", encoding="utf-8", errors="replace")
    except OSError as problem:
        raise UserError(f"--out {path} can not be written: {problem.strerror}") from None

    def write(text: str) -> None:
        file.write(text)
        file.flush()

    with file:
        yield write


def _to_standard_output(text: str) -> None:
    sys.stdout.buffer.write(text.encode("utf-8", errors="replace"))
    sys.stdout.buffer.flush()
