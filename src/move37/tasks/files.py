"""Problem files: JSONL, JSON, Parquet, CSV, or a `datasets` directory on disk."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from move37 import sandbox
from move37.errors import TaskError, nearest
from move37.rewards import style
from move37.rewards.plain import parse_number
from move37.rewards.verify import VERIFIERS
from move37.tasks.base import Split, Task, normalise, problem_id, split_of, stream
from move37.tasks.layouts import LAYOUTS, Layout, plain
from move37.types import Problem, Score

Rows = list[dict[str, Any]]
DOMAIN = ("domain", "subject", "category", "type")  # columns that public files tag their problems in


class FileTask(Task):
    """Problems of a file, split by hash or with held-out problems from a second file."""

    def __init__(
        self,
        name: str,
        train: list[Problem],
        held_out: list[Problem],
        layout: Layout,
        *,
        seed: int,
        weight: float,
        share: float,
    ) -> None:
        super().__init__(name, weight=weight, held_out=share, size=len(train))
        self._problems = {"train": train, "held_out": held_out}
        self._layout = layout
        self._seed = seed
        self._order = lru_cache(maxsize=4)(self._shuffled)
        known = [p.meta["language"] for p in (*train, *held_out)]
        self.languages = {code: known.count(code) / len(known) for code in sorted(set(known))}

    def problem(self, index: int, split: Split) -> Problem:
        """Each epoch goes through all problems of the split once; the training order changes every epoch."""
        problems = self._problems[split]
        if not problems:
            raise TaskError(
                f"tasks.{self.name}: none of its problems is {split.replace('_', ' ')} at held_out={self.held_out:g}; "
                "change held_out, or give a held_out_file"
            )
        epoch, place = divmod(index, len(problems))
        return problems[self._order(split, epoch if split == "train" else 0)[place]]

    def held_out_size(self) -> int:
        return max(1, len(self._problems["held_out"]))  # asking for problem 0 of none tells what is wrong

    @property
    def comparable(self) -> bool:
        return self._layout.comparable

    def verify(self, answer: str, problem: Problem) -> Score:
        return self._layout.verify_all([(answer, problem)])[0]

    def verify_all(self, pairs: Sequence[tuple[str, Problem]]) -> list[Score]:
        return self._layout.verify_all(pairs)

    @property
    def runs_code(self) -> bool:
        return self._layout.sandbox

    @property
    def open_ended(self) -> bool:
        return self._layout.open_ended

    def gold_answers(self, problem: Problem) -> list[str]:
        return [problem.answer] if problem.answer else []  # a layout may do without

    def wrong_answer(self, problem: Problem) -> str:
        """What the layout says, else the next number, else the answer of another problem."""
        gold = problem.answer
        if self._layout.wrong:
            return self._layout.wrong(gold)
        value = parse_number(gold)
        if value is not None:
            return str(value + 1)
        others = (p.answer for split in ("train", "held_out") for p in self._problems[split])
        return next((other for other in others if normalise(other) != normalise(gold)), "1234567")

    def _shuffled(self, split: Split, epoch: int) -> np.ndarray:
        key = [stream(self.name, split, self._seed if split == "train" else "fixed"), epoch]
        return np.random.Generator(np.random.Philox(key=key)).permutation(len(self._problems[split]))


def load_file(name: str, section: Any, seed: int, base: Path) -> FileTask:
    """Build from a recipe's section with `file`, `layout` or `question` + `answer` + `verifier`, `held_out_file` ...

    Raises:
        TaskError: the file, a column, an answer or a key is missing or unreadable; names file, row, column and fix.
        RewardError: the layout needs a sandbox, and there is none that works.
    """
    layout = layout_of(name, section)
    if layout.sandbox:
        sandbox.require()
    path = base / section.file
    problems, notes = read_problems(name, path, section.layout or path.stem, layout)
    if section.held_out_file is None:
        train = [p for p in problems if split_of(p.question, section.held_out) == "train"]
        held_out = [p for p in problems if split_of(p.question, section.held_out) == "held_out"]
    else:
        other = base / section.held_out_file
        held_out, more = read_problems(name, other, section.layout or path.stem, layout)
        kept_apart = {p.id for p in held_out}
        train = [p for p in problems if p.id not in kept_apart]
        notes += more
        if shared := len(problems) - len(train):
            notes.append(f"{shared} problems of {path} are also in {other} and are not trained on")
    task = FileTask(name, train, held_out, layout, seed=seed, weight=section.weight, share=section.held_out)
    if layout.sandbox and sandbox.mode() != "bubblewrap":
        notes.append(f"answers run WITHOUT a sandbox, as the recipe says (sandbox: {sandbox.mode()})")
    task.notes = notes
    return task


def layout_of(name: str, section: Any) -> Layout:
    """The layout a section names, or the one its columns make."""
    own = [key for key in ("question", "answer", "verifier") if getattr(section, key) is not None]
    if section.layout is not None:
        if section.layout not in LAYOUTS:
            raise TaskError(f"tasks.{name}.layout={section.layout!r} is not known; {nearest(section.layout, LAYOUTS)}")
        if own:
            raise TaskError(f"tasks.{name}.{own[0]}: the layout {section.layout!r} sets it; remove one of the two")
        return LAYOUTS[section.layout]
    missing = [key for key in ("question", "answer", "verifier") if key not in own]
    if missing:
        raise TaskError(
            f"tasks.{name}.{missing[0]} is missing: give question, answer (columns) and verifier "
            f"({', '.join(VERIFIERS)}), or a layout ({', '.join(LAYOUTS)})"
        )
    return plain(section.question, section.answer, section.verifier)


def read_problems(name: str, path: Path, source: str, layout: Layout) -> tuple[list[Problem], list[str]]:
    """All different problems of a file, in its order, and notes on what was left out."""
    rows = read_rows(f"tasks.{name}.file", path)
    if not rows:
        raise TaskError(f"tasks.{name}.file: {path} holds no rows; is it the right file, and complete?")
    for wanted in layout.columns:
        if wanted not in rows[0]:
            raise TaskError(f"tasks.{name}: {path} has no column {wanted!r}; {nearest(wanted, rows[0])}")
    problems: dict[str, Problem] = {}
    empty: list[int] = []
    repeated = contradicting = 0
    for number, row in enumerate(rows, start=1):
        if layout.gaps and not layout.answer(row):
            empty.append(number)
            continue
        problem = _problem(name, path, source, layout, number, row)
        first = problems.setdefault(problem.id, problem)
        if first is not problem:
            repeated += 1
            contradicting += normalise(first.answer) != normalise(problem.answer)
    notes = []
    if empty:
        notes.append(f"rows {', '.join(map(str, empty))} of {path} have no answer; left out")
    if repeated:
        notes.append(
            f"{repeated} rows of {path} repeat an earlier question ({contradicting} with another answer); left out"
        )
    return list(problems.values()), notes


def _problem(name: str, path: Path, source: str, layout: Layout, number: int, row: dict[str, Any]) -> Problem:
    for wanted in layout.columns:
        if row.get(wanted) in (None, ""):
            raise TaskError(
                f"tasks.{name}: {path}, row {number}: column {wanted!r} is empty; fill it in or remove the row"
            )
    try:
        question, answer, more = layout.question(row), layout.answer(row), layout.meta(row)
    except ValueError as problem:
        raise TaskError(f"tasks.{name}: {path}, row {number}: {problem}") from None
    for what, text, needed in (("question", question, True), ("answer", answer, layout.gold)):
        if needed and not text:
            raise TaskError(
                f"tasks.{name}: {path}, row {number}: there is no {what} in {', '.join(map(repr, layout.columns))}"
            )
    meta = {"source": source, "language": style.language(question) or "en", "row": number, **_domain(row, layout), **more}
    return Problem(id=problem_id(name, question), task=name, question=question, answer=answer, meta=meta)


def _domain(row: dict[str, Any], layout: Layout) -> dict[str, str]:
    """What the file says a problem is about: the first of `DOMAIN` that is text, and neither question nor answer."""
    told = (row.get(column) for column in DOMAIN if column not in layout.columns)
    found = next((text.strip() for text in told if isinstance(text, str) and text.strip()), None)
    return {"domain": found} if found else {}


# -------------------------------------------------------------------------------------------------------- formats


def read_rows(where: str, path: Path) -> Rows:
    """The rows of a file of any known format, row 1 first; `where` is the key that named it, for errors."""
    if path.is_dir():
        return _read_directory(where, path)
    if not path.is_file():
        near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, near) if near else f"there is no directory {path.parent} either"
        raise TaskError(f"{where}: {path} does not exist; {hint}")
    if path.suffix not in READERS:
        raise TaskError(
            f"{where}: {path} ends in {path.suffix!r}; readable: {', '.join(READERS)}, a datasets directory"
        )
    try:
        return list(READERS[path.suffix](path))
    except (ValueError, OSError) as problem:  # broken JSON, Parquet, text encoding
        raise TaskError(f"{where}: {path} can not be read ({problem}); is it complete?") from None


def _read_jsonl(path: Path) -> Iterable[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as problem:
                    raise ValueError(f"line {number} is no JSON: {problem}") from None
                yield _mapping(row, f"line {number}")


def _read_json(path: Path) -> Iterable[dict[str, Any]]:
    data = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(data, list):
        raise ValueError(f"it holds one {type(data).__name__}, not a list of rows")
    return [_mapping(row, f"row {number}") for number, row in enumerate(data, start=1)]


def _mapping(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ValueError(f"{where} is a {type(row).__name__}, not a mapping of columns")
    return row


def _read_csv(path: Path) -> Iterable[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        yield from csv.DictReader(lines)


def _read_parquet(path: Path) -> Iterable[dict[str, Any]]:
    import pyarrow.parquet as pq  # here: it is not needed to list tasks

    return pq.read_table(path).to_pylist()


def _read_directory(where: str, path: Path) -> Rows:
    """What `Dataset.save_to_disk` of the `datasets` library wrote."""
    if (path / "dataset_dict.json").is_file():
        splits = sorted(p.name for p in path.iterdir() if p.is_dir())
        raise TaskError(
            f"{where}: {path} holds several data sets; give one: {', '.join(f'{path}/{s}' for s in splits)}"
        )
    if not (path / "dataset_info.json").is_file():
        raise TaskError(
            f"{where}: {path} is a directory, but no data set saved by the datasets library; name a file"
        )
    try:
        import datasets
    except ImportError:
        raise TaskError(
            f"{where}: {path} needs the datasets library; pip install 'move37[datasets]'"
        ) from None
    try:
        return list(datasets.load_from_disk(str(path)))
    except (ValueError, OSError) as problem:
        raise TaskError(f"{where}: {path} can not be read ({problem}); is it complete?") from None


READERS: dict[str, Callable[[Path], Iterable[dict[str, Any]]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".parquet": _read_parquet,
    ".csv": _read_csv,
}
