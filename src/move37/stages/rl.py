"""`rl`: reinforcement learning from verifiable rewards. `RLTraining.step` is the whole of it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from move37 import rewards
from move37.checkpoint import cpu_copy
from move37.errors import Mismatch, NoSignal
from move37.learner.batch import Example
from move37.learner.learner import Learner
from move37.rewards.combine import GradeReport, grade
from move37.rollout.draw import Sampling
from move37.sections import RL, stops
from move37.stages import watch
from move37.stages.context import Context, frozen_copy
from move37.stages.critic import Critic
from move37.stages.judges import bind
from move37.stages.partial import Partials
from move37.stages.training import Training
from move37.tasks import pool
from move37.tasks.curriculum import Curriculum
from move37.types import Credit, Group, Stop

PROBE_PROBLEMS, PROBE_SAMPLES = 5, 4  # per task; the same ones at every look


class RLTraining(Training):
    """Draw problems, sample groups, grade, give credit, update; nothing else happens in between."""

    section: RL

    def __init__(self, context: Context, name: str, section: RL) -> None:
        super().__init__(context, name, section, section.steps)
        self.tasks = context.chosen(section.tasks)
        named, ledger = rewards.weighted(section.rewards, context.run.base), self.log.path / "judged.jsonl"
        self.rewards = bind(named, context.run.base, ledger, context.device, context.reward_models())
        self.algorithm = section.build_algorithm()
        self.spec = self.algorithm.loss(section.max_new_tokens, section.temperature)
        self.curriculum = self._curriculum()
        self.loaded = context.load(section)
        updates = section.steps * section.updates_per_step * self.algorithm.epochs
        self.learner = Learner(
            self.loaded.model,
            section.optimizer,
            updates,
            section.tokens_per_microbatch,
            context.device.autocast,
            self.log.path,
            context.recipe.hardware.kernels,
        )
        needed = self.algorithm.needs_values
        self.critic = Critic(context, section, self.algorithm, updates, self.log.path) if needed else None
        self.reference = frozen_copy(self.loaded.model) if self.spec.kl_coef > 0 else None
        self.sampler = context.sampler(self.loaded)
        self.sampling = Sampling(temperature=section.temperature, max_new_tokens=section.max_new_tokens, **stops(section.stop))
        self.partial = self._partial()
        self.probe_problems = [p for t in self.tasks.values() for p in t.held_out_problems(PROBE_PROBLEMS)]
        self.starved = 0
        self.unfinished: dict[str, torch.Tensor] = {}  # of a checkpoint that is being restored

    def sentence(self) -> str:
        return self.section.sentence()

    def step(self, number: int) -> dict[str, Any]:
        clock = watch.Clock()
        groups, reports, thrown = self._collect(number, clock)
        drawn = self.curriculum.metrics(number, groups)
        self.curriculum.observe(groups)
        credits = self.algorithm.credit(groups, self.section.max_new_tokens)
        metrics = watch.rl_metrics(groups, credits, reports, self.rewards) | drawn | {"thrown_away": thrown}
        metrics |= self.partial.metrics if self.partial else {}
        self.log.rollouts(number, groups)
        self._check_signal(number, groups, credits)
        with clock.time("learn"):
            metrics |= self._learn(number, credits)
        self.sampler.version = self.learner.version
        self._refresh_reference(number)
        metrics |= clock.seconds()
        metrics["tokens_per_s"] = metrics["tokens"] / clock.total()
        if self.section.probe_every and (number % self.section.probe_every == 0 or number == self.steps):
            metrics["seconds/probe"] = self.probe(number)
        return metrics

    def before(self) -> None:
        super().before()
        if self.section.probe_every:
            self.probe(0)

    # ------------------------------------------------------------------------------------------------- its parts

    def _curriculum(self) -> Curriculum:
        """What draws; before a model is loaded, so that an empty level costs nothing."""
        draw = self.section.build_draw()
        chosen = None
        if draw.problems:
            chosen = pool.read(f"stages.{self.name}.draw.problems", self.context.data(draw.problems), self.tasks)
            for name in (n for n in self.tasks if n not in chosen):
                self.context.display.note(f"{self.name}: no problem of task {name} is among those of {draw.problems}")
        return draw.make(self.tasks, self.context.recipe.seed, chosen, self.section.prompts_per_step)

    def _partial(self) -> Partials | None:
        if self.section.partial is None:
            return None
        return Partials(self.section.partial, self.sampler, self.sampling, self.section.samples_per_prompt, self.curriculum)

    def _collect(self, number: int, clock: watch.Clock) -> tuple[list[Group], list[GradeReport], float]:
        """Sampled and graded groups; under dynamic sampling, groups that teach nothing are replaced, with a cap."""
        wanted = self.section.prompts_per_step
        if self.partial:
            problems = self.curriculum.draw(number, wanted)
            with clock.time("sample"):
                groups = self.partial.step(number, problems, watch.mix(self.context.recipe.seed, self.name, number, 0))
            with clock.time("grade"):
                return groups, [self._grade(number, groups)], 0.0
        kept: list[Group] = []
        reports: list[GradeReport] = []
        sampled = thrown = 0
        rounds = 1 + (self.algorithm.refill_rounds if self.algorithm.dynamic_sampling else 0)
        for attempt in range(rounds):
            problems = self.curriculum.draw(number, wanted - len(kept))
            with clock.time("sample"):
                seed = watch.mix(self.context.recipe.seed, self.name, number, attempt)
                groups = self.sampler.sample(problems, self.section.samples_per_prompt, self.sampling, seed)
            with clock.time("grade"):
                reports.append(self._grade(number, groups))
            teaching = [g for g in groups if self.algorithm.teaches(g) or not self.algorithm.dynamic_sampling]
            sampled += len(groups)
            thrown += len(groups) - len(teaching)
            kept += groups if attempt + 1 == rounds else teaching  # the last ones are kept for the record; credit masks them
            if len(kept) >= wanted:
                break
        return kept, reports, thrown / sampled

    def _grade(self, number: int, groups: list[Group]) -> GradeReport:
        return grade(groups, [w.at(number) for w in self.rewards], self.tasks, self.section.reading)

    def _learn(self, number: int, credits: list[Credit]) -> dict[str, Any]:
        """The step's updates; in each epoch each is on its own random part of the rollouts."""
        make = self.partial.example if self.partial else Example.of
        counted = [c for c in credits if c.weight != 0]
        examples = [make(c) for c in counted]
        if self.reference is not None:
            self._add_reference(examples)
        if self.algorithm.reset_optimizer:
            self.learner.reset_optimizer()
        lessons, told, values = [], [], {}
        if self.critic is not None and examples:
            lessons, values = self.critic.judge(examples, [c.advantage for c in counted])
        for part in (p for epoch in range(self.algorithm.epochs) for p in self._parts(number, epoch, len(examples)) if len(p)):
            sums = self.learner.step([examples[i] for i in sorted(part)], self.spec)
            if not told:
                self._check_mismatch(number, sums)
            told.append(sums)
            if self.critic is not None:
                values["value_loss"] = self.critic.step([lessons[i] for i in sorted(part)])
        return watch.update_metrics(told) | values

    def _parts(self, number: int, epoch: int, examples: int) -> list[np.ndarray]:
        """Which of the step's examples each update of an epoch learns from."""
        purpose = ["split", number] if epoch == 0 else ["split", number, epoch]
        order = np.random.Generator(np.random.Philox(key=watch.mix(self.context.recipe.seed, *purpose)))
        return np.array_split(order.permutation(examples), self.section.updates_per_step)

    def _add_reference(self, examples: list[Example]) -> None:
        """Log-probs under the reference policy, through the learner's own code."""
        values = self.learner.logprobs(examples, self.section.temperature, self.reference)
        for example, value in zip(examples, values, strict=True):
            example.ref = value

    def _refresh_reference(self, number: int) -> None:
        every = self.algorithm.reference_every
        if self.reference is not None and every and number % every == 0:
            self.reference.load_state_dict(self.loaded.model.state_dict())

    def probe(self, number: int) -> float:
        """Look at the fixed held-out problems; returns the seconds it took. Never trains."""
        started = time.perf_counter()
        seed = watch.mix(self.context.recipe.seed, "probe", 0)  # the same streams each time: what differs is the policy
        groups = self.sampler.sample(self.probe_problems, PROBE_SAMPLES, self.sampling, seed)
        self._grade(number, groups)
        self.log.probe(number, watch.probe_metrics(groups), groups)
        return time.perf_counter() - started

    # -------------------------------------------------------------------------------------------- what must not pass

    def _check_mismatch(self, number: int, sums: dict[str, float]) -> None:
        """In the first update of a step sampler and learner hold the same weights: their log-probs must agree."""
        gap = watch.mismatch(sums)
        if gap > self.section.mismatch_limit:
            raise Mismatch(
                f"step {number}: sampler and learner differ by {gap:.2g} nats per token on the same weights (mismatch_limit="
                f"{self.section.mismatch_limit:g}). The gradients would be wrong. A dtype too coarse (hardware.dtype=float32)?"
            )

    def _check_signal(self, number: int, groups: list[Group], credits: list[Credit]) -> None:
        """Stop after `starve_limit` steps in a row in which nothing could be learned, naming likely causes."""
        rollouts = [r for g in groups for r in g.rollouts]
        if self.partial and not rollouts:
            return  # all are still being written
        teaching = any(c.advantage != 0 and c.weight != 0 for c in credits)
        ended = any(r.stop is not Stop.LENGTH for r in rollouts)
        self.starved = 0 if teaching else self.starved + 1
        if self.starved == 1 or (number == 1 and not ended):
            self.context.display.note(f"step {number}: " + watch.no_signal(rollouts))
        if self.starved >= self.section.starve_limit:
            raise NoSignal(f"{self.starved} steps in a row without signal. {watch.no_signal(rollouts)}")

    # ------------------------------------------------------------------------------------------------- checkpoints

    def score(self, metrics: dict[str, Any]) -> float | None:
        return metrics["pass@1"]

    def extra_state(self) -> dict[str, Any]:
        partial = {"partial": self.partial.state()} if self.partial else {}
        return {"curriculum": self.curriculum.state(), "starved": self.starved, **partial}

    def restore_extra(self, state: dict[str, Any]) -> None:
        self.curriculum.restore(state["curriculum"])
        self.starved = state["starved"]
        if self.partial:
            self.partial.restore(state["partial"], self.unfinished)
        self.sampler.version = self.learner.version

    def extra_trainer(self) -> dict[str, Any]:
        reference = {} if self.reference is None else {"reference": cpu_copy(self.reference.state_dict())}
        critic = {} if self.critic is None else {"critic": self.critic.state()}
        return {**reference, **critic, **({"partial": self.partial.tensors()} if self.partial else {})}

    def restore_trainer(self, trainer: dict[str, Any]) -> None:
        if self.reference is not None:
            self.reference.load_state_dict({k: v.to(torch.float32) for k, v in trainer["reference"].items()})
        if self.critic is not None:
            self.critic.restore(trainer["critic"])
        self.unfinished = trainer.get("partial", {})
