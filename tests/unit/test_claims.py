"""The statistics of docs/claims.md: intervals over seeds by hand, and the words that are read off them."""

from __future__ import annotations

import math

import claims
import pytest
from claimed.numbers import Estimate, verdict


def test_the_interval_of_three_seeds_by_hand():
    """1, 2, 3: mean 2, standard deviation 1, so half the interval is 4.303 / sqrt(3)."""
    found = Estimate((1.0, 2.0, 3.0))
    assert found.mean == 2 and found.half == pytest.approx(4.303 / math.sqrt(3))
    assert found.sign() == 0  # 2 - 2.48 < 0


def test_differences_are_taken_seed_by_seed():
    """Seeds move both arms alike: the difference is 1 each time, without any spread."""
    after, before = Estimate((2.0, 5.0, 9.0)), Estimate((1.0, 4.0, 8.0))
    assert after.minus(before).values == (1.0, 1.0, 1.0) and after.minus(before).sign() == 1
    assert after.sign() == 0


def test_one_seed_decides_nothing():
    found = Estimate((0.7,))
    assert math.isnan(found.half) and found.sign() == 0 and "±" not in found.text()


@pytest.mark.parametrize(
    ("values", "wanted", "word"),
    [
        ((0.1, 0.1, 0.1), 1, "holds"),
        ((0.1, 0.1, 0.1), -1, "contradicted"),
        ((0.1, 0.1, 0.1), 0, "contradicted"),
        ((-0.1, 0.1, 0.0), 1, "not decided"),
        ((-0.1, 0.1, 0.0), 0, "holds"),
    ],
)
def test_the_word_follows_from_the_interval(values, wanted, word):
    [line] = verdict([("it", Estimate(values), wanted)])
    assert f"**{word}**" in line


def test_every_experiment_has_a_recipe_and_every_claim_an_experiment():
    assert all((claims.RECIPES / recipe).is_file() for recipe in claims.EXPERIMENTS.values())
    assert {claim.experiment for claim in claims.CLAIMS} <= set(claims.EXPERIMENTS)
