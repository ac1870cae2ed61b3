"""Partial rollouts: a response that is not finished in an iteration is kept and goes on in the next one.

Kimi k1.5 (arXiv 2501.12599), section 2.6.2. An iteration begins new problems and goes on with all open responses, each for
at most `new_tokens` tokens, so that a few long ones do not hold up the others. A group is graded once all of its responses
have ended. Deviations: the paper's workers are asynchronous, here an iteration is one synchronous phase; the paper does not
bound the age of a trajectory, here it is bounded, and what is older is dropped and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from move37.learner.batch import Example
from move37.rollout.draw import Sampling
from move37.rollout.sampler import Sampler, Trajectory
from move37.sections.partial import Partial
from move37.tasks.curriculum import Curriculum
from move37.types import Credit, Group, Problem, Stop

STREAMS = {"tokens": torch.int32, "logprobs": torch.float32, "drawn": torch.float32}


@dataclass(slots=True)
class Open:
    """A group of which not all responses have ended."""

    begun: int  # the iteration
    written: list[Trajectory]


class Partials:
    """The open groups of an RL stage.

    `metrics` tells of the last iteration, of responses: `partial/open` (kept for the next), `partial/continued` (taken up
    again), `partial/dropped` (too old); `partial/age`: iterations that graded groups took beyond the first, on average;
    `partial/stale`: share of their tokens that older weights sampled; `tokens`: written in this iteration, graded or not.
    """

    def __init__(self, section: Partial, sampler: Sampler, sampling: Sampling, samples: int, curriculum: Curriculum) -> None:
        self.section, self.sampler, self.sampling = section, sampler, sampling
        self.samples, self.curriculum = samples, curriculum
        self.open: list[Open] = []
        self.metrics: dict[str, float] = {}

    def step(self, number: int, problems: Sequence[Problem], seed: int) -> list[Group]:
        """Begin these problems, go on with what is open; returns the groups that are done, oldest first."""
        continued = sum(t.stop is None for one in self.open for t in one.written)
        self.open += [Open(number, self.sampler.begin(p, self.samples, self.sampling, seed)) for p in problems]
        going = [t for one in self.open for t in one.written if t.stop is None]
        before = sum(len(t.tokens) for t in going)
        self.sampler.advance(going, self.sampling, self.section.new_tokens)
        done = [one for one in self.open if self._done(one, number)]
        self.open = [one for one in self.open if not self._done(one, number)]
        groups = [self._group(one) for one in done]
        kept = [group for group in groups if group.rollouts]
        versions = np.concatenate([r.versions for g in kept for r in g.rollouts] or [np.zeros(0)])
        self.metrics = {
            "partial/open": sum(t.stop is None for one in self.open for t in one.written),
            "partial/continued": continued,
            "partial/dropped": sum(t.stop is None for one in done for t in one.written),
            "tokens": sum(len(t.tokens) for t in going) - before,
            "partial/age": float(np.mean([number - one.begun for one in done])) if done else float("nan"),
            "partial/stale": float(np.mean(versions != self.sampler.version)) if len(versions) else float("nan"),
        }
        return kept

    def example(self, credit: Credit) -> Example:
        """What the learner is given of a response: which of its tokens are fresh, and which segments it learns."""
        made = Example.of(credit)
        rollout = credit.rollout
        sampled = np.flatnonzero(rollout.sampled[made.start :])
        made.fresh = np.zeros(len(made.weight), bool)
        made.fresh[sampled] = rollout.versions == self.sampler.version
        if self.section.earlier == "leave_out" and rollout.segments:
            made.weight[sampled[: -rollout.segments[-1][0]]] = 0
        return made

    def state(self) -> list[dict[str, Any]]:
        """What is open, as JSON; token streams are in `tensors`."""
        return [
            {
                "place": self.curriculum.place(one.written[0].problem),
                "begun": one.begun,
                "written": [
                    {"key": t.key, "tokens": len(t.tokens), "segments": t.segments, "stop": t.stop and t.stop.value}
                    for t in one.written
                ],
            }
            for one in self.open
        ]

    def tensors(self) -> dict[str, Tensor]:
        """The token streams of what is open, one after the other."""
        written = [t for one in self.open for t in one.written]
        return {
            name: torch.tensor([value for t in written for value in getattr(t, name)], dtype=dtype)
            for name, dtype in STREAMS.items()
        }

    def restore(self, state: Sequence[dict[str, Any]], tensors: dict[str, Tensor]) -> None:
        """The inverse of `state` and `tensors`."""
        streams = {name: tensors[name].tolist() for name in STREAMS}
        self.open, at = [], 0
        for one in state:
            problem = self.curriculum.problem_at(*one["place"])
            written = self.sampler.begin(problem, len(one["written"]), self.sampling, seed=0)
            for trajectory, saved in zip(written, one["written"], strict=True):
                parts = {name: values[at : at + saved["tokens"]] for name, values in streams.items()}
                at += saved["tokens"]
                trajectory.key = saved["key"]
                trajectory.tokens, trajectory.logprobs, trajectory.drawn = (parts[name] for name in STREAMS)
                trajectory.segments = [(tokens, version) for tokens, version in saved["segments"]]
                trajectory.stop = Stop(saved["stop"]) if saved["stop"] else None
            self.open.append(Open(one["begun"], written))

    def _done(self, one: Open, number: int) -> bool:
        return number - one.begun >= self.section.max_age or all(t.stop is not None for t in one.written)

    def _group(self, one: Open) -> Group:
        """What has ended of a group. The rest is dropped."""
        ended = [self.sampler.rollout(t) for t in one.written if t.stop is not None]
        return Group(problem=one.written[0].problem, rollouts=ended)
