"""A value model that learns beside the policy of an RL stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from move37.algorithms import Algorithm
from move37.checkpoint import cpu_copy
from move37.learner.batch import Example
from move37.learner.learner import Learner
from move37.models import folder
from move37.sections import RL
from move37.stages.context import Context
from move37.types import LossSpec

SQUARED = LossSpec(kind="squared", normalise="token")


class Critic:
    """Begins as the model the stage starts from, with a head of zeros over its states: first values are 0."""

    def __init__(self, context: Context, section: RL, algorithm: Algorithm, updates: int, wreck: Path) -> None:
        self.algorithm = algorithm
        self.loaded = folder.load(context.source(section), torch.float32, context.device.device, scalar=True)
        settings = section.optimizer.model_copy(update={"lr": section.optimizer.lr * algorithm.value_rate})
        kernels, autocast = context.recipe.hardware.kernels, context.device.autocast
        self.learner = Learner(self.loaded.model, settings, updates, section.tokens_per_microbatch, autocast, wreck, kernels)

    def judge(self, examples: Sequence[Example], rewards: Sequence[float]) -> tuple[list[Example], dict[str, float]]:
        """Give each learned token of `examples` its advantage; forced ones are no actions and get none.

        Returns:
            What the value model is to learn from these responses, in their order, and metrics.
        """
        said = self.learner.values(examples)
        learned = [example.weight != 0 for example in examples]
        values = [value[mask].astype(np.float64) for value, mask in zip(said, learned, strict=True)]
        found, targets = self.algorithm.over_tokens(list(rewards), values)
        lessons = []
        for example, mask, advantage, target in zip(examples, learned, found, targets, strict=True):
            example.advantage = _spread(advantage, mask)
            lessons.append(dataclasses.replace(example, advantage=_spread(target, mask), old=None, ref=None, fresh=None))
        return lessons, _metrics(np.concatenate(values), np.concatenate(targets))

    def step(self, lessons: Sequence[Example]) -> float:
        """One update towards the targets; its loss."""
        return self.learner.step(lessons, SQUARED)["loss"]

    def state(self) -> dict[str, Any]:
        weights = cpu_copy(self.learner.model.state_dict())
        return {"weights": weights, "optimizer": self.learner.optimizer.state_dict(), "updates": self.learner.version}

    def restore(self, state: dict[str, Any]) -> None:
        self.learner.model.load_state_dict(state["weights"])
        self.learner.optimizer.load_state_dict(state["optimizer"])
        self.learner.version = state["updates"]


def _spread(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    out = np.zeros(len(mask), np.float32)
    out[mask] = values
    return out


def _metrics(values: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Mean value, and the share of the targets' variance that the values explain (NaN where the targets do not vary)."""
    spread = float(targets.var())
    left = float((targets - values).var())
    return {"value": float(values.mean()), "value_explained": 1 - left / spread if spread else float("nan")}
