"""Responses worth reading, picked by stated rules so that nobody has to trust a taste."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from move37 import shards
from move37.runs import StageLog

COLUMNS = ("step", "group", "problem", "task", "question", "gold", "sample", "prefill", "text", "thinking", "answer")
COLUMNS += ("verdict", "style", "reward", "stop", "sampled")
DOUBT = re.compile(r"\b(?:wait|mistake|wrong|error|retry)\b|等等|错误|错|不对|重试", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Look:
    """One response to a problem at one step, and how its fellow samples did."""

    step: int
    text: str
    verdict: str
    length: int  # sampled tokens
    right: int  # of `samples` responses to this problem at this step
    samples: int


@dataclass(frozen=True, slots=True)
class Transcript:
    """One problem over training."""

    rule: str  # why this one is shown
    task: str
    question: str
    gold: str
    looks: Sequence[Look]


def over_training(log: StageLog) -> list[Transcript]:
    """The same held-out problems at the first, the middle and the last probe; sample 0 of each, whatever it says.

    Two problems: the one whose share of right responses rose most, and the one that is answered worst at the end.
    """
    found = log.shards("probe")
    if not found:
        return []
    steps = list(found)
    steps = sorted({steps[0], steps[len(steps) // 2], steps[-1]})
    by_step = [_by_problem(found[step]) for step in steps]
    common = [key for key in by_step[0] if all(key in looks for looks in by_step)]
    if not common:
        return []
    rise = max(common, key=lambda key: (_share(by_step[-1][key]) - _share(by_step[0][key]), key))
    worst = min(common, key=lambda key: (_share(by_step[-1][key]), key))
    picks = [("the problem whose share of right responses rose most", rise)]
    if worst != rise:
        picks.append(("the problem answered worst at the end", worst))
    return [_transcript(rule, [looks[key] for looks in by_step]) for rule, key in picks]


def first_doubt(log: StageLog) -> Transcript | None:
    """The first response of training that doubts itself and gets it right: it works in steps, says one of wait,
    mistake, wrong, error, retry (or their Chinese equivalents) in its thinking, and is RIGHT."""
    for path in log.shards("rollouts").values():
        for row in shards.rows(path, COLUMNS):
            if row["verdict"] == "right" and row["style"] == "checked" and DOUBT.search(row["thinking"] or row["text"]):
                fellows = [r for r in shards.rows(path, COLUMNS) if r["group"] == row["group"]]
                return _transcript(
                    "the first response that doubts itself and gets it right", [[row, *_rest(fellows, row)]]
                )
    return None


def _rest(fellows: list[dict[str, Any]], row: dict[str, Any]) -> list[dict[str, Any]]:
    return [r for r in fellows if r["sample"] != row["sample"]]


def _by_problem(path: Path) -> dict[str, list[dict[str, Any]]]:
    out: dict[str, list[dict[str, Any]]] = {}
    for row in shards.rows(path, COLUMNS):
        out.setdefault(row["problem"], []).append(row)
    return out


def _share(rows: list[dict[str, Any]]) -> float:
    decided = [row for row in rows if row["verdict"] != "cannot_tell"]
    return sum(row["verdict"] == "right" for row in decided) / len(decided) if decided else 0.0


def _transcript(rule: str, looks: list[list[dict[str, Any]]]) -> Transcript:
    """The first row of each look is the one shown."""
    first = looks[0][0]
    return Transcript(rule, first["task"], first["question"], first["gold"], [_look(rows) for rows in looks])


def _look(rows: list[dict[str, Any]]) -> Look:
    shown = rows[0]
    return Look(
        step=shown["step"],
        text=f"{shown['prefill']}{shown['text']}",
        verdict=shown["verdict"],
        length=sum(shown["sampled"]),
        right=sum(row["verdict"] == "right" for row in rows),
        samples=len(rows),
    )
