"""Was a timing disturbed? How much of the machine's CPUs foreign processes used meanwhile, from /proc.

A busy neighbour makes a job of two OpenMP threads two to four times slower, so a timing says under what load it was taken.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT = 0.04  # of all CPUs: more foreign load than this, and the timing is taken again
TRIES = 3
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters at one moment, all in seconds; `cpus` of them run at once."""

    clock: float
    busy: float  # all processes on all CPUs, and what the hypervisor took
    own: float  # this process and its descendants
    cpus: int


@dataclass(frozen=True, slots=True)
class Timing:
    """What a piece of work took and told, and the share of the CPUs that foreign processes had meanwhile."""

    seconds: float
    foreign: float
    told: dict[str, Any]


def read() -> Reading:
    lines = Path("/proc/stat").read_text().splitlines()
    counts = [int(n) for n in lines[0].split()[1:9]]  # user nice system idle iowait irq softirq steal
    busy = sum(counts) - counts[3] - counts[4]
    return Reading(
        clock=time.perf_counter(),
        busy=busy / TICKS,
        own=_own() / TICKS,
        cpus=sum(line.startswith("cpu") for line in lines) - 1,
    )


def foreign(before: Reading, after: Reading) -> float:
    """Share of the CPUs' time between two readings that went to others, 0 to 1."""
    others = (after.busy - before.busy) - (after.own - before.own)
    whole = (after.clock - before.clock) * after.cpus
    return min(1.0, max(0.0, others / whole)) if whole > 0 else 0.0


def timed(work: Callable[[], dict[str, Any]]) -> Timing:
    """Once. The seconds are those the work tells of itself, where it does."""
    before = read()
    told = work()
    after = read()
    return Timing(told.get("seconds", after.clock - before.clock), foreign(before, after), told)


def undisturbed(work: Callable[[], dict[str, Any]], tries: int = TRIES) -> Timing:
    """Again while foreign load is above LIMIT; after `tries` the least disturbed one, which says how disturbed it was."""
    best: Timing | None = None
    for _ in range(tries):
        found = timed(work)
        if best is None or found.foreign < best.foreign:
            best = found
        if best.foreign <= LIMIT:
            break
    assert best is not None
    return best


def _own() -> int:
    """Ticks that this process and its descendants have used."""
    parents: dict[int, int] = {}
    used: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        parents[int(entry.name)] = int(fields[1])
        used[int(entry.name)] = sum(int(n) for n in fields[11:15])  # own and of children that were waited for
    return sum(ticks for pid, ticks in used.items() if _descends(pid, parents, os.getpid()))


def _descends(pid: int, parents: dict[int, int], root: int) -> bool:
    while pid and pid != root:
        pid = parents.get(pid, 0)
    return pid == root
