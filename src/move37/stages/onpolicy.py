"""What stages share that sample a policy and learn from its own responses: problems, sampling, looks, updates."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from move37.errors import Mismatch
from move37.learner.batch import Example
from move37.learner.learner import Learner
from move37.models import folder
from move37.rollout.draw import Sampling
from move37.sections import RL, Distill, stops
from move37.stages import watch
from move37.stages.context import Context
from move37.stages.looks import Looks
from move37.stages.training import Training
from move37.tasks.curriculum import Curriculum
from move37.types import Group, LossSpec


class OnPolicy(Training):
    """A policy that is sampled and updated step by step. A subclass writes `sentence`, `step` and `grade`."""

    section: RL | Distill

    def __init__(self, context: Context, name: str, section: RL | Distill, spec: LossSpec, epochs: int = 1) -> None:
        super().__init__(context, name, section, section.steps)
        self.spec, self.epochs = spec, epochs  # passes over a step's examples
        self.tasks = context.chosen(section.tasks)
        self.curriculum = self.draws()
        self.loaded = context.load(section)
        self.learner = self.learner_of(self.loaded)
        self.sampler = context.sampler(self.loaded)
        self.sampling = Sampling(temperature=section.temperature, max_new_tokens=section.max_new_tokens, **stops(section.stop))
        self.looks = Looks(context, self.log, self.tasks, self.sampler, self.sampling)

    def draws(self) -> Curriculum:
        """What draws the problems."""
        return Curriculum(self.tasks, self.context.recipe.seed)

    @abstractmethod
    def grade(self, number: int, groups: list[Group]) -> object:
        """Fill the scores and verdicts of a step's responses."""

    @property
    def updates(self) -> int:
        """Optimizer updates of the whole stage, for schedules."""
        return self.steps * self.section.updates_per_step * self.epochs

    def learner_of(self, loaded: folder.Loaded) -> Learner:
        """What trains a model, or only asks it for log-probs, within this stage's memory."""
        return Learner(
            loaded.model,
            self.section.optimizer,
            self.updates,
            self.section.tokens_per_microbatch,
            self.context.device.autocast,
            self.log.path,
            self.context.recipe.hardware.kernels,
        )

    def before(self) -> None:
        super().before()
        if self.section.probe_every:
            self.probe(0)

    def probe(self, number: int) -> float:
        """Look at the fixed held-out problems; returns the seconds it took. Never trains.

        Graded as in the last step, so that a reward that sets in late moves no mean by itself.
        """
        return self.looks.look(number, lambda groups: self.grade(self.steps, groups))

    def update(
        self, number: int, examples: list[Example], beside: Callable[[list[int]], None] | None = None
    ) -> dict[str, Any]:
        """The step's updates; in each epoch each is on its own random part of the examples. Returns their metrics.

        `beside` is called after each update with the indices of its examples: what else learns from them.
        """
        told = []
        for part in (p for epoch in range(self.epochs) for p in self._parts(number, epoch, len(examples)) if len(p)):
            chosen = sorted(part.tolist())
            sums = self.learner.step([examples[i] for i in chosen], self.spec)
            if not told:
                self._check_mismatch(number, sums, [examples[i] for i in chosen])
            told.append(sums)
            if beside is not None:
                beside(chosen)
        self.sampler.version = self.learner.version
        return watch.update_metrics(told)

    def _parts(self, number: int, epoch: int, examples: int) -> list[np.ndarray]:
        """Which of the step's examples each update of an epoch learns from."""
        purpose = ["split", number] if epoch == 0 else ["split", number, epoch]
        order = np.random.Generator(np.random.Philox(key=watch.mix(self.context.recipe.seed, *purpose)))
        return np.array_split(order.permutation(examples), self.section.updates_per_step)

    def ended(self, number: int, metrics: dict[str, Any], clock: watch.Clock) -> dict[str, Any]:
        """The metrics of a step with its times, after the look that is due."""
        metrics |= clock.seconds()
        metrics["tokens_per_s"] = metrics["tokens"] / clock.total()
        if self.section.probe_every and (number % self.section.probe_every == 0 or number == self.steps):
            metrics["seconds/probe"] = self.probe(number)
        return metrics

    def _check_mismatch(self, number: int, sums: dict[str, float], examples: list[Example]) -> None:
        """In the first update of a step sampler and learner hold the same weights: their log-probs must agree."""
        gap = watch.mismatch(sums)
        if gap > self.section.mismatch_limit:
            path = self.learner.leave(examples, f"mismatch-step-{number}")
            raise Mismatch(
                f"step {number}: sampler and learner differ by {gap:.2g} nats per token on the same weights (mismatch_limit="
                f"{self.section.mismatch_limit:g}). The gradients would be wrong. {self.learner.parting(examples)} "
                f"The batch is in {path}. Numbers too coarse (hardware.dtype=float32, hardware.cache=auto)?"
            )

    def extra_state(self) -> dict[str, Any]:
        return {"curriculum": self.curriculum.state()}

    def restore_extra(self, state: dict[str, Any]) -> None:
        self.curriculum.restore(state["curriculum"])
        self.sampler.version = self.learner.version
