"""Preference data: rows of a file, or of an artefact, that compare two responses or label one.

    pairs    prompt, chosen, rejected      text; or chosen and rejected as conversations that differ in their last message
    labels   prompt, response, label       label 1 (good, safe) or 0

Which it is shows in the columns. What can teach nothing is refused here, before a model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from move37.errors import TaskError, nearest
from move37.rewards.reading import READINGS, Reading
from move37.stages.conversations import Message
from move37.tasks.files import read_rows

PAIR, LABELLED = ("prompt", "chosen", "rejected"), ("prompt", "response", "label")
LABELS = {"1": 1, "0": 0, "1.0": 1, "0.0": 0, "true": 1, "false": 0}


@dataclass(frozen=True, slots=True)
class Row:
    """What was said before, and (chosen, rejected) or the one response that the label is of."""

    messages: tuple[Message, ...]
    responses: tuple[str, ...]
    label: int | None  # None: a pair
    number: int  # in its file, from 1

    @property
    def key(self) -> str:
        """What all rows of one prompt share."""
        return "\n".join(m["content"] for m in self.messages)


def read(where: str, path: Path, columns: Mapping[str, str] | None = None, pairs: bool = False) -> list[Row]:
    """All rows of a data set, in its order.

    Args:
        where: the recipe's key, for errors, such as `stages.helpful.data`.
        path: a file of any known format, a directory saved by `datasets`, or the directory of a data artefact.
        columns: what the file calls prompt, chosen and rejected, or prompt, response and label.
        pairs: labels will not do.

    Raises:
        TaskError: naming file, row and column; pairs of equal responses, or labels of one class, with their counts.
    """
    parts = sorted(path.glob("*.jsonl")) if path.is_dir() else []
    found = [row for part in parts for row in read_rows(where, part)] if parts else read_rows(where, path)
    if not found:
        raise TaskError(f"{where}: {path} holds no rows; is it the right file, and complete?")
    names = {key: key for key in (*PAIR, *LABELLED)} | dict(columns or {})
    kind = _kind(f"{where}: {path}", found[0], names, set(columns or {}))
    if pairs and kind is LABELLED:
        raise TaskError(f"{where}: {path} labels single responses; this stage needs prompt, chosen and rejected")
    rows = [_row(f"{where}: {path}, row {n}", n, raw, {key: names[key] for key in kind}) for n, raw in enumerate(found, 1)]
    refuse(f"{where}: {path}", rows)
    return rows


def shown(rows: Sequence[Row], part: str, reading: Reading) -> tuple[list[Row], dict[str, int]]:
    """The rows with `part` of their responses alone, and how many were left out and why.

    `unreadable`: no answer stands where `reading` says. `same`: a pair whose parts are equal, which compares nothing.
    """
    kept, left = [], {"unreadable": 0, "same": 0}
    for row in rows:
        parts = tuple(part_of(text, part, reading) for text in row.responses)
        if None in parts:
            left["unreadable"] += 1
        elif len(parts) == 2 and parts[0] == parts[1]:
            left["same"] += 1
        else:
            kept.append(replace(row, responses=parts))
    return kept, left


def part_of(text: str, part: str, reading: Reading) -> str | None:
    """What a reward model is shown of a response; None where it has no answer."""
    if part == "response":
        return text
    return READINGS[reading]("", text).answer


def _kind(at: str, row: Mapping[str, Any], names: Mapping[str, str], named: set[str]) -> tuple[str, ...]:
    fits = [kind for kind in (PAIR, LABELLED) if named <= {*kind} and all(names[key] in row for key in kind[1:])]
    if len(fits) == 1:
        return fits[0]
    told = "prompt, chosen, rejected (pairs) or prompt, response, label; other names are told by columns"
    if fits:
        raise TaskError(f"{at} has the columns of pairs and of labels; keep one set. Rows need {told}")
    raise TaskError(f"{at} has the columns {', '.join(row)}. Rows need {told}, such as {{chosen: better, rejected: worse}}")


def _row(at: str, number: int, raw: Mapping[str, Any], names: Mapping[str, str]) -> Row:
    for name in names.values():
        if name not in raw and not (name == names["prompt"] and _talks(raw, names)):
            raise TaskError(f"{at}: there is no column {name!r}; {nearest(name, raw)}")
    if _talks(raw, names):
        return _conversations(at, number, raw, names)
    texts = tuple(_text(at, raw, names[key]) for key in names if key != "label")
    label = None
    if "label" in names:
        given = raw[names["label"]]
        label = LABELS.get(str(given).strip().lower())
        if label is None:
            raise TaskError(f"{at}: column {names['label']!r} holds {given!r:.40}; a label is 1 (good) or 0")
    return Row(({"role": "user", "content": texts[0]},), texts[1:], label, number)


def _talks(raw: Mapping[str, Any], names: Mapping[str, str]) -> bool:
    """Whether chosen and rejected are lists of messages."""
    return "chosen" in names and isinstance(raw.get(names["chosen"]), list)


def _conversations(at: str, number: int, raw: Mapping[str, Any], names: Mapping[str, str]) -> Row:
    """Two conversations that are one but for their last message, an assistant's; or only that, after `prompt`."""
    told = [raw[names[key]] for key in ("chosen", "rejected")]
    for name, messages in zip(("chosen", "rejected"), told, strict=True):
        if not isinstance(messages, list) or not messages or not all(_is_message(m) for m in messages):
            raise TaskError(f"{at}: column {names[name]!r} is no list of messages with role and content")
        if messages[-1]["role"] != "assistant":
            raise TaskError(f"{at}: the last message of {names[name]!r} is not an assistant's")
    before = [[{"role": m["role"], "content": m["content"]} for m in messages[:-1]] for messages in told]
    if before[0] != before[1]:
        raise TaskError(f"{at}: chosen and rejected differ before their last message; both must answer one conversation")
    if not before[0]:
        before[0] = [{"role": "user", "content": _text(at, raw, names["prompt"])}]
    return Row(tuple(before[0]), tuple(messages[-1]["content"] for messages in told), None, number)


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("role"), str) and isinstance(value.get("content"), str)


def _text(at: str, row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise TaskError(f"{at}: column {name!r} holds {value!r:.40}, not text; fill it in or remove the row")
    return value


def refuse(at: str, rows: Sequence[Row]) -> None:
    """Raises TaskError for rows that compare nothing: pairs of equal responses, or labels of one class."""
    if rows[0].label is None:
        same = [row.number for row in rows if row.responses[0].strip() == row.responses[1].strip()]
        if same:
            told = f"{len(same)} of {len(rows)} pairs have chosen and rejected alike (row {same[0]} first)"
            raise TaskError(f"{at}: {told}; such a pair prefers nothing: remove them, or look at what made them")
        return
    good = sum(row.label or 0 for row in rows)
    if good in (0, len(rows)):
        label = int(bool(good))
        told = f"all {len(rows)} labels are {label} and none is {1 - label}"
        raise TaskError(f"{at}: {told}; nothing tells good from bad: add responses of the other class")
