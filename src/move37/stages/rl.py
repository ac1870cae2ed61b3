"""`rl`: reinforcement learning from verifiable rewards. `RLTraining.step` is the whole of it."""

from __future__ import annotations

from typing import Any

import torch

from move37 import checkpoint, rewards
from move37.checkpoint import cpu_copy
from move37.errors import NoSignal
from move37.learner.batch import Example
from move37.rewards.combine import GradeReport, grade
from move37.sections import RL
from move37.stages import watch
from move37.stages.context import Context, frozen_copy
from move37.stages.critic import Critic
from move37.stages.judges import Place, bind
from move37.stages.onpolicy import OnPolicy
from move37.stages.partial import Partials
from move37.tasks import pool
from move37.tasks.curriculum import Curriculum
from move37.types import Credit, Group, Stop


class RLTraining(OnPolicy):
    """Draw problems, sample groups, grade, give credit, update; nothing else happens in between."""

    section: RL

    def __init__(self, context: Context, name: str, section: RL) -> None:
        named, ledger = rewards.weighted(section.rewards, context.run.base), context.run.log(name).path / "judged.jsonl"
        self.rewards = bind(named, ledger, Place.of(context, section))
        self.algorithm = section.build_algorithm()
        spec = self.algorithm.loss(section.max_new_tokens, section.temperature)
        super().__init__(context, name, section, spec, self.algorithm.epochs)
        needed = self.algorithm.needs_values
        self.critic = Critic(context, section, self.algorithm, self.updates, self.log.path) if needed else None
        self.reference = frozen_copy(self.loaded.model) if self.spec.kl_coef > 0 else None
        self.partial = self._partial()
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
        self._refresh_reference(number)
        return self.ended(number, metrics, clock)

    # ------------------------------------------------------------------------------------------------- its parts

    def draws(self) -> Curriculum:
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
                return groups, [self.grade(number, groups)], 0.0
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
                reports.append(self.grade(number, groups))
            teaching = [g for g in groups if self.algorithm.teaches(g) or not self.algorithm.dynamic_sampling]
            sampled += len(groups)
            thrown += len(groups) - len(teaching)
            kept += groups if attempt + 1 == rounds else teaching  # the last ones are kept for the record; credit masks them
            if len(kept) >= wanted:
                break
        return kept, reports, thrown / sampled

    def grade(self, number: int, groups: list[Group]) -> GradeReport:
        return grade(groups, [w.at(number) for w in self.rewards], self.tasks, self.section.reading)

    def _learn(self, number: int, credits: list[Credit]) -> dict[str, Any]:
        """The step's updates, on what has weight."""
        make = self.partial.example if self.partial else Example.of
        counted = [c for c in credits if c.weight != 0]
        examples = [make(c) for c in counted]
        if self.reference is not None:
            self._add_reference(examples)
        if self.algorithm.reset_optimizer:
            self.learner.reset_optimizer()
        if self.critic is None or not examples:
            return self.update(number, examples)
        critic, values = self.critic, {}
        lessons, told = critic.judge(examples, [c.advantage for c in counted])

        def learn(part: list[int]) -> None:
            values["value_loss"] = critic.step([lessons[i] for i in part])

        return self.update(number, examples, learn) | told | values

    def _add_reference(self, examples: list[Example]) -> None:
        """Log-probs under the reference policy, through the learner's own code."""
        values = self.learner.logprobs(examples, self.section.temperature, self.reference)
        for example, value in zip(examples, values, strict=True):
            example.ref = value

    def _refresh_reference(self, number: int) -> None:
        every = self.algorithm.reference_every
        if self.reference is not None and every and number % every == 0:
            self.reference.load_state_dict(self.loaded.model.state_dict())

    # -------------------------------------------------------------------------------------------- what must not pass

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

    def after(self) -> dict[str, Any]:
        if self.critic is not None:
            checkpoint.export(self.log.value, self.critic.loaded)
        return super().after()

    def extra_state(self) -> dict[str, Any]:
        partial = {"partial": self.partial.state()} if self.partial else {}
        return {**super().extra_state(), "starved": self.starved, **partial}

    def restore_extra(self, state: dict[str, Any]) -> None:
        super().restore_extra(state)
        self.starved = state["starved"]
        if self.partial:
            self.partial.restore(state["partial"], self.unfinished)

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
