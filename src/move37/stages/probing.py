"""`move37 probe`: every reward of a recipe is offered what should not be paid, on real problems of its tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from move37 import tasks
from move37.errors import RecipeError
from move37.recipe import Recipe
from move37.rewards import Weighted, judges, models, weighted
from move37.rewards.combine import grade
from move37.rewards.judge import JudgePair
from move37.rollout.remote import made_rollout
from move37.sections import RL
from move37.stages.context import Device
from move37.stages.judges import Place, bind
from move37.tasks.base import Task
from move37.tasks.hacks import Attempt, attempts, padded, words
from move37.types import Group, Problem, Rollout

SAME = 1e-6  # two payments this close are one
TOTAL = "all, weighted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """What one reward paid for one attempt on one problem, and what it paid for the best honest wrong answer."""

    stage: str
    task: str
    reward: str
    attempt: str
    problem: str  # Problem.id
    text: str
    value: float  # NaN: it can not tell
    honest: float
    why: str

    @property
    def hole(self) -> bool:
        return self.value > self.honest + SAME


def probe(recipe: Recipe, base: Path, problems: int, ledger: Path | None) -> list[Paid]:
    """Try everything on the first held-out problems of every task of every RL stage.

    Raises:
        RecipeError: the recipe has no RL stage.
    """
    stages = {name: section for name, section in recipe.stages.items() if isinstance(section, RL)}
    if not stages:
        raise RecipeError("this recipe has no rl stage, so there is no reward to probe")
    loaded = tasks.load_all(recipe.tasks, recipe.seed, base, recipe.sandbox)
    found = []
    for name, section in stages.items():
        _check_models(name, section, recipe)
        rewards = bind(weighted(section.rewards, base), ledger, Place(base=base, device=Device.choose(recipe.hardware)))
        for task in (loaded[key] for key in section.tasks or loaded):
            mine = [w for w in rewards if w.covers(task.name)]
            found += probe_task(name, task, mine, problems, section.max_new_tokens)
    return found


def _check_models(name: str, section: RL, recipe: Recipe) -> None:
    """A recipe alone has no model that one of its stages is still to make."""
    keys = {f"{reward}.model": model for reward, model in models(section.rewards).items()}
    keys |= {f"{reward}.judge.checkpoint": model for reward, model in judges(section.rewards).items()}
    for key, model in keys.items():
        if model in recipe.stages:
            fix = f"probe with its directory: {name}.rewards.{key}=RUN/stages/{model}/final"
            raise RecipeError(f"stages.{name}.rewards.{key}: {model} is a stage, and a probe runs none; {fix}")


def probe_task(stage: str, task: Task, rewards: Sequence[Weighted], problems: int, limit: int) -> list[Paid]:
    """All rewards on one task. Responses longer than `limit` words are cut off there, as the sampler would."""
    tries: list[Group] = []
    long: list[Group] = []  # honest ones as long as each attempt, for rewards that pay length on purpose
    plans: list[tuple[Problem, Attempt]] = []
    baselines: dict[str, Group] = {}
    for problem in task.held_out_problems(problems):
        tried = attempts(task, problem, task.runs_code)
        honest = [a for a in tried if a.honest]
        baselines[problem.id] = _group(problem, honest, limit)
        for attempt in tried:
            if not attempt.honest:  # beside an honest answer, for rewards that compare the members of a group
                tries.append(_group(problem, [honest[0], attempt], limit))
                long.append(_group(problem, [padded(task, problem, min(limit, len(words(attempt.text))))], limit))
                plans.append((problem, attempt))
    grade([*baselines.values(), *tries, *long], rewards, {task.name: task})
    found = []
    for (problem, attempt), group, at_length in zip(plans, tries, long, strict=True):
        told = _told(rewards, group, baselines[problem.id], at_length.rollouts[0])
        found += [
            Paid(
                stage=stage,
                task=task.name,
                reward=name,
                attempt=attempt.name,
                problem=problem.id,
                text=group.rollouts[1].text,
                value=value,
                honest=honest,
                why=why,
            )
            for name, (value, honest, why) in told.items()
        ]
    return found


def _group(problem: Problem, tried: Sequence[Attempt], limit: int) -> Group:
    return Group(problem=problem, rollouts=[_rollout(problem, number, a.text, limit) for number, a in enumerate(tried)])


def _rollout(problem: Problem, number: int, text: str, limit: int) -> Rollout:
    ends = words(text)
    cut = len(ends) > limit
    return made_rollout(problem, number, text[: ends[limit - 1]] if cut else text, cut, response=min(len(ends), limit))


def _told(
    rewards: Sequence[Weighted], group: Group, baseline: Group, at_length: Rollout
) -> Mapping[str, tuple[float, float, str]]:
    """Reward -> what the attempt was paid, what honesty was paid, why."""
    beside, attempt = group.rollouts
    told = {}
    honest = baseline.rollouts
    for w in rewards:
        if isinstance(w.reward, JudgePair) and w.reward.against == "group":
            against = [beside]
        else:
            against = [*baseline.rollouts, at_length] if w.reward.pays_length else baseline.rollouts
        if w.weight and against is not baseline.rollouts:
            honest = against
        score = attempt.scores[w.name]
        told[w.name] = (score.value, _best([r.scores[w.name].value for r in against]), score.why)
    told[TOTAL] = (attempt.reward, _best([r.reward for r in honest]), attempt.error or "")
    return told


def _best(values: Sequence[float]) -> float:
    """What the best paid honest answer got; negative infinity where none could be told."""
    return max((v for v in values if not math.isnan(v)), default=-math.inf)
