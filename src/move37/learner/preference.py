"""Losses of pairs and labels whose gradient is a coefficient times the gradient of one scalar per sequence.

That scalar is a reward model's number or a sum of log-probs. So a first pass without gradients gives the scalars, these
functions the coefficients, in float64, and a second pass with `SPEC` the gradient: exact for any cut into micro-batches,
with the prompt of a pair computed once, and no loss in the learner that knows of pairs.

Example:
    >>> losses, slopes = pairwise(np.array([0.0]))
    >>> float(losses[0]), float(slopes[0])  # log 2, sigmoid(-0)
    (0.6931471805599453, 0.5)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from move37.learner.batch import Example
from move37.types import LossSpec

SPEC = LossSpec(kind="reinforce", normalise="constant", max_tokens=1)  # -1/sequences * sum of advantage * scalar


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) without overflow."""
    return np.exp(-np.logaddexp(0.0, -x))


def pairwise(gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """-log sigmoid(gap), and what it falls by per unit of the gap, sigmoid(-gap); [P] float64 each.

    The gap is r(chosen) - r(rejected) for a reward model (Bradley and Terry 1952; Stiennon et al., arXiv 2009.01325) and the
    difference of implicit rewards for DPO (arXiv 2305.18290, eq. 7).
    """
    return np.logaddexp(0.0, -gaps), sigmoid(-gaps)


def pointwise(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """-log of the probability, sigmoid(score), that a model gives the label (1 or 0), and what it falls by per unit of score."""
    return np.logaddexp(0.0, np.where(labels > 0, -scores, scores)), labels - sigmoid(scores)


def weigh_pairs(examples: Sequence[Example], slopes: np.ndarray) -> None:
    """Advantages by which a step with `SPEC` descends the mean of pairwise losses.

    Args:
        examples: chosen, rejected, chosen, rejected ...: 2 P of them.
        slopes: [P], what each loss falls by per unit of the chosen one's scalar, and rises by per unit of the other's.
    """
    for place, slope in enumerate(slopes):
        weigh(examples[2 * place], 2 * slope)  # 2: SPEC divides by 2 P sequences, the mean is over P pairs
        weigh(examples[2 * place + 1], -2 * slope)


def weigh(example: Example, advantage: float) -> None:
    """The same advantage for every target of a sequence."""
    example.advantage = np.full(example.targets, advantage, np.float32)
