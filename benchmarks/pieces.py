"""Move37's side of an RL step, from its own parts: sample, grade, credit, update."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from move37.algorithms import build
from move37.learner.batch import Example
from move37.learner.learner import Learner
from move37.models import folder
from move37.rewards import weighted
from move37.rewards.combine import grade
from move37.rollout.draw import Sampling
from move37.rollout.prompt import Prompter
from move37.rollout.sampler import Sampler, Trajectory
from move37.sections import Optimizer
from move37.types import Group, Problem, Score, Stop
from workload import update

HERE = Path(__file__).parent


class Prescribed(Sampler):
    """A sampler whose responses end at prescribed lengths, as if EOS had been drawn there, and nowhere else.

    Everything else is the sampler's own. `lengths[problem][sample]`, in tokens; problems are named by their number.
    """

    lengths: Sequence[Sequence[int]] = ()

    def _append(
        self, rows: list[Trajectory], tokens: list[int], logprobs: list[float], drawn: list[float], sampling: Sampling
    ) -> list[bool]:
        going = super()._append(rows, tokens, logprobs, drawn, sampling)
        for i, row in enumerate(rows):
            if going[i] and len(row.tokens) == self.lengths[int(row.problem.id)][row.sample]:
                row.stop, going[i] = Stop.EOS, False
        return going


class Step:
    """One model, its sampler and its learner."""

    def __init__(self, path: Path, dtype: str, kernels: str, budget: int, device: str = "cpu", cache: str = "auto") -> None:
        self.loaded = folder.load(path, torch.float32, torch.device(device))
        autocast = getattr(torch, dtype)
        prompter = Prompter(self.loaded.tokenizer, "{question}", "")
        self.sampler = Prescribed(self.loaded, prompter, autocast, kernels, cache)
        self.sampler.eos = frozenset()
        settings = Optimizer(lr=1e-5)
        self.learner = Learner(self.loaded.model, settings, 10**6, budget, autocast, Path("."), kernels)
        self.algorithm = build("grpo", {"kl_coef": 0.0})
        self.rewards = weighted({"reward.py:parity": 1.0}, HERE)

    def sample(self, prompts: Sequence[str], samples: int, lengths: Sequence[int], seed: int) -> list[Group]:
        """`lengths` in order of prompts, then samples. Raises AssertionError where a response is not as long as that."""
        problems = [Problem(id=str(i), task="bench", question=p, answer="") for i, p in enumerate(prompts)]
        self.sampler.lengths = np.reshape(lengths, (len(prompts), samples)).tolist()
        groups = self.sampler.sample(problems, samples, Sampling(max_new_tokens=max(lengths)), seed)
        written = [r.length for g in groups for r in g.rollouts]
        assert written == list(lengths), "the sampler ended responses elsewhere than asked"
        return groups

    def run(self, prompts: Sequence[str], samples: int, lengths: Sequence[int], seed: int) -> dict[str, Any]:
        """A whole step, its parts in seconds."""
        clock = [time.perf_counter()]
        groups = self.sample(prompts, samples, lengths, seed)
        clock.append(time.perf_counter())
        grade(groups, self.rewards, {"bench": _Anything()})
        credits = self.algorithm.credit(groups, max(lengths))
        clock.append(time.perf_counter())
        examples = [Example.of(c) for c in credits]
        assert len(examples) == len(lengths)
        sums = self.learner.step(examples, self.algorithm.loss(max(lengths), 1.0))
        assert sums["tokens"] == sum(lengths)
        clock.append(time.perf_counter())
        spent = np.diff(clock).tolist()
        told = dict(zip(("generate", "score", "update"), spent, strict=True))
        return {"seconds": sum(spent), **told, "tokens": sum(lengths), "loss": sums["loss"]}

    def learn(self, load: str, vocabulary: int, prompts: int, samples: int, seed: int) -> dict[str, Any]:
        """An update on random sequences; the batch is made before the clock starts."""
        batch = update(load, vocabulary, prompts, samples, seed)
        examples = []
        for i, (written, advantage) in enumerate(zip(batch["responses"], batch["advantages"], strict=True)):
            ones = np.ones(len(written), np.float32)
            tokens = np.array(batch["prompts"][i // samples] + written, np.int32)
            streams = {"weight": ones, "advantage": ones * np.float32(advantage), "old": ones * np.float32(batch["old"])}
            examples.append(Example(tokens=tokens, start=len(tokens) - len(written), **streams))
        started = time.perf_counter()
        sums = self.learner.step(examples, self.algorithm.loss(1, 1.0))
        spent = time.perf_counter() - started
        return {"seconds": spent, "tokens": int(sums["tokens"]), "grad_norm": sums["grad_norm"]}


class _Anything:
    """A task has to be there, though random text has no answer to verify."""

    open_ended = whole = False

    def verify_all(self, pairs: Sequence[tuple[str, Problem]]) -> list[Score]:
        return [Score.cannot_tell("nothing to verify against")] * len(pairs)
