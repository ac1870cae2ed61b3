"""`evaluate`: held-out problems, sampled and greedy, with intervals."""

from __future__ import annotations

import time
from typing import Any

from move37.models import folder
from move37.report.estimators import summarise
from move37.rewards.combine import ACCURACY, grade
from move37.rollout.draw import Sampling
from move37.sections import Evaluate, stops
from move37.stages import watch
from move37.stages.context import Context
from move37.types import Group

AT_ONCE = 32  # problems between two looks at Ctrl-C


class Evaluation:
    """The same problems and random streams for every model of a recipe, so that models are compared pairwise."""

    def __init__(self, context: Context, name: str, section: Evaluate) -> None:
        self.context = context
        self.name = name
        self.section = section
        self.log = context.run.log(name)
        self.tasks = context.chosen(section.tasks)
        self.done = 0
        self.problems = [p for task in self.tasks.values() for p in task.held_out_problems(section.problems)]
        self.source = context.source(section)
        loaded: folder.Loaded = context.load(section)
        self.sampler = context.sampler(loaded)

    @property
    def total(self) -> int:
        """Problems to answer, the greedy pass included."""
        return len(self.problems) * (1 + self.section.greedy)

    def sentence(self) -> str:
        greedy = " and once greedily" if self.section.greedy else ""
        return f"{len(self.problems)} held-out problems, {self.section.samples} samples each{greedy}, from {self.source}"

    def run(self) -> None:
        started = time.perf_counter()
        sampled = self._answer(self.section.samples, self._sampling(self.section.temperature), "sampled")
        greedy = self._answer(1, self._sampling(0.0), "greedy") if self.section.greedy else []
        seconds = time.perf_counter() - started
        record: dict[str, Any] = {
            "stage": self.name,
            "model": str(self.source),
            "problems": len(self.problems),
            "samples": self.section.samples,
            "temperature": self.section.temperature,
            "seconds": seconds,
            "tokens": sum(r.length for g in [*sampled, *greedy] for r in g.rollouts),
            **summarise(sampled, greedy),
        }
        self.log.evaluation(record, sampled, greedy)
        self.log.finish({"tokens": record["tokens"], "seconds": seconds}, "evaluation")
        value = record["overall"]["pass@1"]
        self.context.display.note(f"{self.name}: pass@1 {value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})")

    def _sampling(self, temperature: float) -> Sampling:
        s = self.section
        truncation = {} if temperature == 0 else {"top_p": s.top_p, "top_k": s.top_k, "min_p": s.min_p}
        return Sampling(temperature=temperature, max_new_tokens=s.max_new_tokens, **stops(s.stop), **truncation)

    def _answer(self, samples: int, sampling: Sampling, what: str) -> list[Group]:
        seed = watch.mix(self.context.recipe.seed, "evaluate", what)
        groups: list[Group] = []
        for first in range(0, len(self.problems), AT_ONCE):
            if self.context.interrupt.asked:
                self.context.interrupt.stop("everything before this evaluation", self.context.run.resume_command())
            part = self.sampler.sample(self.problems[first : first + AT_ONCE], samples, sampling, seed)
            grade(part, ACCURACY, self.tasks)
            groups += part
            self.done += len(part)
            self.context.display.step({"step": self.done, "tokens": sum(r.length for g in part for r in g.rollouts)})
        return groups
