"""Tree search at evaluation: MCTS over the lines of a thought, with as many sampled tokens as plain samples took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from move37.learner.batch import Example
from move37.learner.learner import Learner
from move37.models import folder
from move37.report.estimators import Searched, normalise
from move37.rewards.combine import read
from move37.rollout.draw import Sampling, stream
from move37.rollout.sampler import Sampler, Trajectory
from move37.rollout.tree import Node, Tree
from move37.sections import Optimizer, Search
from move37.stages.context import Device
from move37.stages.scoring import TOKENS
from move37.tasks.base import Task
from move37.types import Group, Problem, Reading, Rollout


@dataclass(slots=True)
class Growing:
    """One problem's search."""

    problem: Problem
    start: Trajectory  # the prompt, nothing written
    tree: Tree
    budget: int  # sampled tokens
    spent: int = 0
    begun: int = 0  # continuations, the numbers of their random streams
    written: dict[tuple[int, ...], Trajectory] = field(default_factory=dict)  # a node's tokens -> a response that begins so
    finished: list[Rollout] = field(default_factory=list)


class Judge:
    """A value model that a PPO stage has trained: what it expects a response to earn, before the response's last token."""

    def __init__(self, path: Path, device: Device) -> None:
        """Raises ModelError where the directory is gone."""
        loaded = folder.load(path, device.autocast, device.device, scalar=True)
        self.learner = Learner(loaded.model, Optimizer(), 1, TOKENS, device.autocast, path)

    def values(self, rollouts: Sequence[Rollout]) -> list[float]:
        """One number for each response, in the unit of that stage's reward."""
        starts = [len(r.token_ids) - r.length for r in rollouts]
        weights = [np.ones(r.length, np.float32) for r in rollouts]
        examples = [Example(tokens=r.token_ids, start=s, weight=w) for r, s, w in zip(rollouts, starts, weights, strict=True)]
        return [float(found[-1]) for found in self.learner.values(examples)]


class TreeSearch:
    """Monte Carlo tree search as DeepSeek tried it (arXiv 2501.12948, 4.2), at evaluation alone and without gold answers.

    A node is the beginning of a response up to a line break. A turn of the search takes one node of every problem (`Tree`)
    and samples `width` continuations from it to their ends, all problems in one batch: the first line of each is a child,
    the rest is its rollout. Its value is how many of the finished responses of the problem agree with its answer, or what a
    value model says of it (`Judge`). What was written above a node is not sampled again, so it costs nothing: that is what
    a tree gains over samples.

    The search of a problem ends when its budget is spent; the continuation that is being written then, and later ones of
    that turn, do not vote. The finished ones vote as in cons@k.

    Deviations from the paper: votes, or a PPO stage's value model on whole responses, say what a rollout is worth; no
    training on what the search finds; steps are lines, which the model writes by itself, where the paper prompts for tags;
    UCT without priors.
    """

    def __init__(
        self,
        section: Search,
        sampler: Sampler,
        tasks: Mapping[str, Task],
        reading: Reading,
        seed: int,
        judge: Judge | None = None,
    ) -> None:
        """Without a judge the votes say what a response is worth."""
        self.section, self.sampler, self.tasks, self.reading, self.seed = section, sampler, tasks, reading, seed
        self.judge = judge
        decode = sampler.prompter.tokenizer.decode
        self.breaks = cache(lambda token: "\n" in decode([token]))

    def run(self, problems: Sequence[Problem], budgets: Sequence[int], sampling: Sampling) -> list[Searched]:
        """Search all problems, each with its budget in sampled tokens. The responses are not graded yet."""
        growing = [self._begin(p, budget, sampling) for p, budget in zip(problems, budgets, strict=True)]
        while going := [one for one in growing if one.spent < one.budget]:
            nodes = [one.tree.leaf() for one in going]
            rows = [self._rows(one, node) for one, node in zip(going, nodes, strict=True)]
            self.sampler.advance([row for mine in rows for row in mine], sampling, sampling.max_new_tokens)
            made = [[self.sampler.rollout(row) for row in mine] for mine in rows]
            values = iter(self.judge.values([r for mine in made for r in mine]) if self.judge else ())
            for one, node, mine, found in zip(going, nodes, rows, made, strict=True):
                self._take(one, node, mine, [(rollout, next(values) if self.judge else None) for rollout in found])
        return [Searched(Group(problem=one.problem, rollouts=one.finished), one.spent) for one in growing]

    def _begin(self, problem: Problem, budget: int, sampling: Sampling) -> Growing:
        [start] = self.sampler.begin(problem, 1, sampling, self.seed)
        tree = Tree(self.section.width, self.section.exploration)
        return Growing(problem, start, tree, budget, written={(): start})

    def _rows(self, one: Growing, node: Node) -> list[Trajectory]:
        """Responses that begin as the node does, each with a random stream of its own."""
        source, length = one.written[node.tokens], len(node.tokens)
        rows = []
        for number in range(one.begun, one.begun + self.section.width):
            row = Trajectory(one.problem, one.start.prompt, number, int(stream(self.seed, one.problem.id, number)))
            row.tokens, row.logprobs = source.tokens[:length], source.logprobs[:length]
            row.drawn = source.drawn[:length]
            row.segments = [(length, self.sampler.version)] if length else []
            rows.append(row)
        one.begun += self.section.width
        return rows

    def _take(self, one: Growing, node: Node, rows: Sequence[Trajectory], made: Sequence[tuple[Rollout, float | None]]) -> None:
        """Put what was written into the tree, as far as the budget goes."""
        for row, (rollout, value) in zip(rows, made, strict=True):
            new = row.tokens[len(node.tokens) :]
            if one.spent + len(new) > one.budget:
                one.spent = one.budget  # written up to here, and cut
                return
            one.spent += len(new)
            read(rollout, self.tasks[one.problem.task], self.reading)
            one.finished.append(rollout)
            step = self._step(new)
            one.written.setdefault((*node.tokens, *step), row)
            one.tree.add(node, step, len(step) == len(new), normalise(rollout.final), value)

    def _step(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The first line, up to the token that holds its line break; all where there is none."""
        end = next((i for i, token in enumerate(tokens) if self.breaks(token)), len(tokens) - 1)
        return tuple(tokens[: end + 1])
