"""`distill`: on-policy distillation. The student samples, the teacher weighs every token of it; no reward is used."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from move37.errors import RecipeError
from move37.learner.batch import Example
from move37.models import folder, vocabulary
from move37.recipe import Recipe, origin
from move37.rewards.combine import grade
from move37.sections import Distill
from move37.stages import watch
from move37.stages.context import Context
from move37.stages.onpolicy import OnPolicy
from move37.types import Credit, Group, LossSpec, Score


class Distillation(OnPolicy):
    """Reverse KL to a teacher, on responses of the student (GKD, Agarwal et al., arXiv 2306.13649; MiniLLM, Gu et al.,
    arXiv 2306.08543).

        A_t = log p_teacher(o_t | o_<t) - log p_student(o_t | o_<t),   at sampling, never differentiated
        L = -1/(sum_i |o_i|) sum_i sum_t A_it log pi(o_it),            or PPO's clipped surrogate with this A_it

    At the policy that sampled, the expectation of its gradient over the next token is that of the reverse KL of every
    token's distribution, the text before it being given. Student and teacher are both taken at the stage's `temperature`.

    Deviations: one sampled token estimates each KL (GKD sums over the vocabulary); a token answers for itself alone, not
    for the later ones (MiniLLM adds their returns); no mixing with the teacher's own text.
    """

    section: Distill

    def __init__(self, context: Context, name: str, section: Distill) -> None:
        path = context.directory(section.teacher)
        same_tokens(f"stages.{name}.teacher={section.teacher}", context, section)
        spec = LossSpec(kind=section.loss, normalise="token", temperature=section.temperature)
        super().__init__(context, name, section, spec)
        self.teacher = self.learner_of(folder.load(path, context.device.weights, context.device.device))

    def sentence(self) -> str:
        return self.section.sentence()

    def step(self, number: int) -> dict[str, Any]:
        clock = watch.Clock()
        problems = self.curriculum.draw(number, self.section.prompts_per_step)
        with clock.time("sample"):
            seed = watch.mix(self.context.recipe.seed, self.name, number)
            groups = self.sampler.sample(problems, self.section.samples_per_prompt, self.sampling, seed)
        with clock.time("grade"):
            self.grade(number, groups)
        self.curriculum.observe(groups)
        with clock.time("teach"):
            examples = self.weighed(groups)
        self.log.rollouts(number, groups)
        metrics = watch.distill_metrics(groups)
        with clock.time("learn"):
            metrics |= self.update(number, examples)
        return self.ended(number, metrics, clock)

    def grade(self, number: int, groups: list[Group]) -> None:
        """Verdicts alone: what a response would earn is no part of this stage."""
        grade(groups, [], self.tasks, self.section.reading)
        for rollout in (r for g in groups for r in g.rollouts):
            rollout.reward = math.nan

    def weighed(self, groups: list[Group]) -> list[Example]:
        """Every response with its advantages [M], and its mean reverse KL (nats a token) among its scores."""
        rollouts = [r for g in groups for r in g.rollouts]
        examples = [Example.of(Credit(rollout=r, advantage=0.0)) for r in rollouts]
        taught = self.teacher.logprobs(examples, self.section.temperature)
        for rollout, example, value in zip(rollouts, examples, taught, strict=True):
            example.advantage = advantages(value, example)
            mean = -float(np.average(example.advantage, weights=example.weight))
            rollout.scores["reverse_kl"] = Score(value=mean)
        return examples

    def score(self, metrics: dict[str, Any]) -> float | None:
        return -metrics["reverse_kl"]


def advantages(teacher: np.ndarray, example: Example) -> np.ndarray:
    """A_t = log p_teacher - log p_student of every sampled token, [M] float32 nats; 0 for forced ones."""
    assert example.old is not None
    return np.where(example.weight != 0, teacher - example.old, 0).astype(np.float32)


# ---------------------------------------------------------------------------------------------------------- tokenizers


def same_tokens(key: str, context: Context, section: Distill) -> None:
    """Refuse a teacher that writes with other tokens than the student.

    Raises:
        RecipeError: what differs, and what to do.
    """
    _compare(key, *(context.directory(name) for name in (section.init, section.teacher)))


def check_teachers(recipe: Recipe, context: Context, names: list[str]) -> None:
    """The same at the start of a run, for teachers and students whose tokenizers are there by then.

    Raises:
        RecipeError: as `same_tokens`.
        ModelError: there is no such directory.
    """
    for name in names:
        section = recipe.stages[name]
        if isinstance(section, Distill):
            roots = [origin(value, recipe.stages) for value in (section.init, section.teacher)]
            if roots[0] != roots[1] and not any(root in recipe.stages for root in roots):
                _compare(f"stages.{name}.teacher={section.teacher}", *(context.directory(root) for root in roots))


def _compare(key: str, student: Any, teacher: Any) -> None:
    told = vocabulary.difference(*(folder.load_tokenizer(path) for path in (student, teacher)))
    if told:
        raise RecipeError(
            f"{key}: another tokenizer than the student's: {told}. On-policy distillation asks the teacher for the log-probs of "
            "the student's own tokens, so both must write with the same. Distil by text instead: `rejection_sample` from the "
            "teacher, in a recipe whose model it is, then `sft` of the student on that data (docs/distillation.md)"
        )
