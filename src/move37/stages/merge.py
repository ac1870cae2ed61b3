"""`merge`: a model between two models, such as a long and a short way of thinking (Kimi k1.5, section 2.4)."""

from __future__ import annotations

import time
from pathlib import Path

from move37.checkpoint import write_directory
from move37.models import merge
from move37.sections import Merge
from move37.stages.context import Context


class Merging:
    """Averages weights; nothing is sampled or trained. What does not fit is told before weights are read."""

    total = 1

    def __init__(self, context: Context, name: str, section: Merge) -> None:
        self.context, self.section, self.log = context, section, context.run.log(name)
        self.one = context.source(section)
        self.two = context.directory(section.other)
        merge.check(self.one, self.two)

    def sentence(self) -> str:
        return self.section.sentence()

    def run(self) -> None:
        self.log.truncate_after(0)  # a run that was killed in here begins it again
        started = time.perf_counter()
        made: list[merge.Difference] = []

        def fill(path: Path) -> None:
            made.append(merge.merge(self.one, self.two, self.section.share, path))

        write_directory(self.log.final, fill)
        seconds = time.perf_counter() - started
        found = {"tensors": made[0].tensors, "parameters": made[0].numbers, "distance": made[0].distance}
        self.log.record(1, {**found, "seconds": seconds, "wall_s": seconds})
        self.context.display.note(f"{self.log.path.name}: the two are {made[0].distance:.3g} of the first one's length apart")
        self.log.finish({"seconds": seconds, **found}, "checkpoint")
