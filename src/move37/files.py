"""Files that are whole or not there, and lines that are whole or dropped.

Every write that can meet a full disk says which file it was, and leaves what was there before as it was.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from move37.errors import RunError


def write_atomic(path: Path, content: str | bytes | Callable[[Path], None]) -> Path:
    """Write a whole file: to `<name>.tmp` beside it, synced, then renamed over it.

    Args:
        content: text (UTF-8), bytes, or a function that writes the path it is given.

    Raises:
        RunError: the disk is full or the place can not be written. The old file is intact, the temporary one is gone.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as problem:
        temporary.unlink(missing_ok=True)
        raise _unwritable(path, problem) from problem
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def write_json(path: Path, value: Any) -> Path:
    """`write_atomic` of indented JSON."""
    return write_atomic(path, json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Raises RunError, naming the file, where it is torn."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise RunError(f"{path}: torn or edited, it is not JSON any more: {problem}") from None


def append_line(path: Path, line: str) -> None:
    """Append one line and sync it; a line that does not fit on the disk is taken back.

    Raises:
        RunError: naming the file; its earlier lines are intact.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab", buffering=0) as file:
        size = file.tell()
        try:
            data = line.encode("utf-8") + b"\n"
            while data:
                data = data[file.write(data) or 0 :]
            os.fsync(file.fileno())
        except OSError as problem:
            file.truncate(size)
            raise _unwritable(path, problem) from problem


def read_lines(path: Path) -> tuple[list[dict[str, Any]], str | None]:
    """The objects of a JSONL file, and its last line where that is torn (a process was killed while writing it).

    Raises:
        RunError: a line before the last is no JSON: the file was damaged by something else.
    """
    rows: list[dict[str, Any]] = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if number == len(lines):  # nothing follows a whole file's last newline
            return rows, line.decode("utf-8", "replace") if line else None
        try:
            rows.append(json.loads(line))
        except (json.JSONDecodeError, UnicodeDecodeError) as problem:
            if number == len(lines) - 1 and lines[-1] == b"":
                return rows, line.decode("utf-8", "replace")
            raise RunError(f"{path}: line {number} is damaged: {problem}") from None
    return rows, None


def fingerprint(path: Path, pattern: str = "*") -> str:
    """sha256 of a file; of a directory, over the files below it that fit `pattern`, hidden ones left out, with their names."""
    if path.is_file():
        return _sha256(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob(pattern) if p.is_file()):
        inside = file.relative_to(path)
        if not any(part.startswith(".") for part in inside.parts):
            digest.update(f"{inside.as_posix()}\0{_sha256(file)}\n".encode())
    return digest.hexdigest()


def find_directory(name: str, base: Path) -> Path:
    """The directory a recipe names: relative to the working directory where one is there, else to `base`, the recipe's own."""
    candidates = [Path(name).expanduser(), base / name]
    return next((path for path in candidates if path.is_dir()), candidates[0])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Make a file, or the names in a directory, outlive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritable(path: Path, problem: OSError) -> RunError:
    return RunError(f"{path}: can not be written: {problem.strerror or problem}; what was there before is intact")
