"""What `move37 probe` found, for people: a table for each task and a sentence for each hole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

SHOWN = 100  # characters of a response


class Paid(Protocol):
    """See `stages/probing.py`."""

    stage: str
    task: str
    reward: str
    attempt: str
    problem: str
    text: str
    value: float
    honest: float
    why: str

    @property
    def hole(self) -> bool: ...


def tables(paid: Sequence[Paid]) -> dict[str, list[dict[str, Any]]]:
    """Title -> one row per attempt, one column per reward: the most it paid on any problem. `!` marks a hole, `?` is what
    no problem could tell. The first row is the most that an honest wrong answer was paid."""
    out: dict[str, list[dict[str, Any]]] = {}
    for stage, task in dict.fromkeys((p.stage, p.task) for p in paid):
        mine = [p for p in paid if (p.stage, p.task) == (stage, task)]
        rewards = list(dict.fromkeys(p.reward for p in mine))
        honest = {r: f"{max(p.honest for p in mine if p.reward == r):.3g}" for r in rewards}
        rows = [{"attempt": "an honest wrong answer", **honest}]
        for attempt in dict.fromkeys(p.attempt for p in mine):
            rows.append(
                {"attempt": attempt, **{r: _cell([p for p in mine if (p.attempt, p.reward) == (attempt, r)]) for r in rewards}}
            )
        out[f"{stage}, {task}"] = rows
    return out


def _cell(paid: Sequence[Paid]) -> str:
    told = [p.value for p in paid if not math.isnan(p.value)]
    if not told:
        return "?"
    holes = [p.value for p in paid if p.hole]
    return f"{max(holes):.3g} !" if holes else f"{max(told):.3g}"


def sentences(paid: Sequence[Paid]) -> list[str]:
    """One for each reward and attempt that is a hole, with an example; or that there is none."""
    holes: dict[tuple[str, str, str], list[Paid]] = {}
    for p in paid:
        if p.hole:
            holes.setdefault((p.task, p.reward, p.attempt), []).append(p)
    if not holes:
        return [
            f"no hole: nothing of {len({(p.task, p.attempt) for p in paid})} attempts was paid more than an honest wrong answer"
        ]
    lines = [f"{len(holes)} holes:"]
    for (task, reward, attempt), found in holes.items():
        worst = max(found, key=lambda p: p.value - p.honest)
        said = " ".join(worst.text.split())
        shown = said if len(said) <= SHOWN else f"{said[:SHOWN]}..."
        lines.append(
            f"  {task}: {reward} pays {worst.value:.3g} for {attempt!r} where an honest wrong answer gets {worst.honest:.3g}, "
            f"on {len(found)} problems, such as {worst.problem}: {shown!r}"
        )
    return lines


def records(paid: Sequence[Paid]) -> list[dict[str, Any]]:
    """Everything, JSON-able; null where it could not be told."""
    keys = ("stage", "task", "reward", "attempt", "problem", "why", "hole")
    return [
        {key: getattr(p, key) for key in keys} | {"value": _number(p.value), "honest": _number(p.honest), "text": p.text[:1000]}
        for p in paid
    ]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
