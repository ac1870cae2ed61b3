"""Looks at fixed held-out problems while a policy trains. They never train, and they watch for reward hacking."""

from __future__ import annotations

import time
from collections.abc import Callable

from move37.report.parting import partings
from move37.rollout.draw import Sampling
from move37.rollout.sampler import Sampler
from move37.runs import StageLog
from move37.stages import watch
from move37.stages.context import Context
from move37.tasks.base import Task
from move37.types import Group

PROBLEMS, SAMPLES = 5, 4  # per task; the same ones at every look


class Looks:
    """The same problems and random streams each time: what differs is the policy."""

    def __init__(self, context: Context, log: StageLog, tasks: dict[str, Task], sampler: Sampler, sampling: Sampling) -> None:
        self.context, self.log, self.sampler, self.sampling = context, log, sampler, sampling
        self.problems = [problem for task in tasks.values() for problem in task.held_out_problems(PROBLEMS)]

    def look(self, number: int, grade: Callable[[list[Group]], object]) -> float:
        """Sample, grade and record; tells where a task's reward and its checker have parted. Returns the seconds it took."""
        started = time.perf_counter()
        seed = watch.mix(self.context.recipe.seed, "probe", 0)
        groups = self.sampler.sample(self.problems, SAMPLES, self.sampling, seed)
        grade(groups)
        row = watch.probe_metrics(groups)
        before = [look for look in self.log.probes() if look["step"] < number]
        for parting in partings([*before, {"step": number, **row}]):
            if parting.step == number:
                row[f"parting/{parting.task}"] = parting.since
                self.context.display.note(parting.sentence())
        self.log.probe(number, row, groups)
        return time.perf_counter() - started
