"""`reward_model`: a model that scores responses, trained on pairs or on labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from move37.errors import TaskError
from move37.files import write_json
from move37.learner.batch import Example
from move37.learner.preference import pairwise, pointwise, weigh, weigh_pairs
from move37.models import folder
from move37.models.scalar import initialise
from move37.report import quality
from move37.rewards.modelled import Scale
from move37.sections import RewardModel
from move37.stages import preferences, watch
from move37.stages.context import Context
from move37.stages.preferences import Row
from move37.stages.preferring import Preferring
from move37.stages.scoring import Inputs, scores_of, size

USUAL_ROWS = 2000  # at most, of those trained on, by which the numbers are scaled in the end


class RewardModelling(Preferring):
    """A scalar head on a causal LM (DeepSeek-R1 v2, eq. 5 and 6): batch 256, rate 6e-6, one epoch, 8,192 tokens.

    Pairs: the mean of -log sigmoid(r(chosen) - r(rejected)). Labels: the mean of the logistic loss of r. r is the number at
    EOS, after the prompt and the part of the response that the section names. R1 says "pairwise" and "pointwise" alone; the
    losses are the usual ones. Deviation: the initial `score` is that of Stiennon et al. (arXiv 2009.01325), R1 names none.
    """

    section: RewardModel

    def __init__(self, context: Context, name: str, section: RewardModel) -> None:
        where, path = f"stages.{name}.data", context.data(section.data)
        whole = preferences.read(where, path, section.columns)
        rows, left = preferences.shown(whole, section.part, section.reading)
        told = ", ".join(f"{count} {why}" for why, count in left.items() if count)
        if not rows:
            fix = "part: response shows everything, reading says where an answer stands"
            raise TaskError(f"{where}: none of the {len(whole)} rows of {path} can be used ({told}); {fix}")
        if told:
            context.display.note(f"{where}: of {len(whole)} rows left out: {told}")
        super().__init__(context, name, section, rows, scalar=True)
        seed = watch.mix(context.recipe.seed, name, "score")
        initialise(self.loaded.model, torch.Generator().manual_seed(seed))
        self.inputs = Inputs(self.prompter, self.limit)
        self.pairs = rows[0].label is None

    def examples(self, row: Row) -> list[Example] | None:
        made = [self.inputs.example(row.messages, part) for part in row.responses]
        return None if None in made else made

    def weigh(self, rows: Sequence[Row], examples: list[Example]) -> dict[str, Any]:
        numbers = scores_of(self.learner, examples)
        losses, slopes = self._losses(rows, numbers)
        metrics: dict[str, Any] = {"loss": float(losses.mean()), "score": float(numbers.mean())}
        if self.pairs:
            weigh_pairs(examples, slopes)
            gaps = numbers[0::2] - numbers[1::2]
            return metrics | {"accuracy": _share(gaps), "margin": float(gaps.mean())}
        for example, slope in zip(examples, slopes, strict=True):
            weigh(example, slope)
        labels = np.array([row.label for row in rows])
        return metrics | {"accuracy": _share(np.where(labels > 0, numbers, -numbers)), "good": float(labels.mean())}

    def measure(self) -> dict[str, float]:
        rows, examples = self.fitting(self.held_out)
        if not rows:
            return {}
        numbers = scores_of(self.learner, examples)
        losses, _ = self._losses(rows, numbers)
        signed = numbers[0::2] - numbers[1::2] if self.pairs else np.where([row.label for row in rows], numbers, -numbers)
        return {"loss": float(losses.mean()), "accuracy": _share(signed)}

    def after(self) -> dict[str, Any]:
        """Quality on held-out rows, and the scale that the numbers are read by."""
        _, usual = self.fitting([self.train[self.order.row(place)] for place in range(min(len(self.train), USUAL_ROWS))])
        numbers = scores_of(self.learner, usual)
        spread = float(numbers.std())
        scale = Scale(
            kind="pairs" if self.pairs else "labels",
            part=self.section.part,
            template=self.prompter.template,
            mean=float(numbers.mean()),
            std=spread or 1.0,
            lowest=float(numbers.min()),
        )
        self.loaded.config[folder.REWARD] = dataclasses.asdict(scale)
        record = {**self._quality(), "numbers": {"mean": scale.mean, "std": spread}}
        write_json(self.log.path / "quality.json", record)
        for sentence in quality.sentences(record):
            self.context.display.note(f"{self.name}: {sentence}")
        return {"held_out_accuracy": (record["accuracy"] or {}).get("value"), "ece": record["calibration"]["ece"]}

    def _quality(self) -> dict[str, Any]:
        rows, examples = self.fitting(self.held_out)
        numbers = scores_of(self.learner, examples) if examples else np.zeros(0)
        lengths = np.array([size(example) for example in examples], np.float64)
        losses, _ = self._losses(rows, numbers)
        if self.pairs:
            return quality.of_pairs(numbers.reshape(-1, 2), lengths.reshape(-1, 2), losses)
        return quality.of_labels(numbers, np.array([row.label for row in rows]), lengths, losses)

    def _losses(self, rows: Sequence[Row], numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Loss and slope of every row, float64."""
        if self.pairs:
            return pairwise(numbers[0::2] - numbers[1::2])
        return pointwise(numbers, np.array([row.label for row in rows], np.float64))


def _share(signed: np.ndarray) -> float:
    """Of those above 0; a tie counts half."""
    return float(np.where(signed == 0, 0.5, signed > 0).mean())
