"""Estimates over seeds, the words that are read off them, and what a claim is."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev

from move37.runs import Run

# Two-sided 95% points of Student's t with n - 1 degrees of freedom, by n
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean over seeds with its 95% interval (Student's t); of one seed there is no interval."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return mean(self.values)

    @property
    def half(self) -> float:
        n = len(self.values)
        return STUDENT[n] * stdev(self.values) / math.sqrt(n) if n > 1 else math.nan

    def minus(self, other: Estimate) -> Estimate:
        """Differences seed by seed."""
        return Estimate(tuple(a - b for a, b in zip(self.values, other.values, strict=True)))

    def less(self, amount: float) -> Estimate:
        return Estimate(tuple(value - amount for value in self.values))

    def sign(self) -> int:
        """1 or -1 where the whole interval lies on that side of 0; 0 where it does not, or there is none."""
        if not abs(self.mean) > self.half:
            return 0
        return 1 if self.mean > 0 else -1

    def text(self, digits: int = 3) -> str:
        if math.isnan(self.half):
            return f"{self.mean:.{digits}f}"
        return f"{self.mean:.{digits}f} ± {self.half:.{digits}f}"


def verdict(expected: Sequence[tuple[str, Estimate, int]]) -> list[str]:
    """One line per expectation: what, the difference, the sign that the paper claims.

    holds: the interval lies on the claimed side of 0, or, where no change is claimed (0), contains 0; contradicted: it lies on
    another side; not decided: it contains 0 where a change is claimed.
    """
    told = []
    for what, difference, wanted in expected:
        sign = difference.sign()
        word = "holds" if sign == wanted else "not decided" if sign == 0 else "contradicted"
        told.append(f"* {what}: {difference.text()}. **{word}**")
    return told


def value(run: Run, stage: str, key: str, tasks: Sequence[str] = ()) -> float:
    """A metric of an evaluation, of all problems, or as the mean over some tasks."""
    record = run.log(stage).eval()
    if record is None:
        sys.exit(f"{run.path}: {stage} has not been evaluated; run `python tools/claims.py run` first")
    parts = [record["tasks"][task][key]["value"] for task in tasks] if tasks else [record["overall"][key]["value"]]
    found = [part for part in parts if part is not None]
    return mean(found) if found else math.nan


def over(runs: Sequence[Run], stage: str, key: str, tasks: Sequence[str] = ()) -> Estimate:
    return Estimate(tuple(value(run, stage, key, tasks) for run in runs))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


@dataclass(frozen=True, slots=True)
class Claim:
    """A section of the page: what the papers say, and the lines that the runs of one experiment give."""

    title: str
    paper: str
    experiment: str
    stages: tuple[str, ...]  # that must have been evaluated
    lines: Callable[[Sequence[Run]], list[str]] = field(repr=False)
