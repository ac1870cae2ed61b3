"""Random streams and choices of the sampler, by numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from move37.rollout.draw import Sampling, choose, stream, uniforms

CHANCES = [0.05, 0.4, 0.1, 0.3, 0.15]
LARGEST = 1 - 2.0**-53  # that uniforms() can give


def shares(chances: list[float], sampling: Sampling, n: int = 2000) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """How often each token comes when the uniform sweeps evenly over [0, 1); both log-probs of each token drawn."""
    logits = torch.tensor(chances).log().expand(n, -1)
    tokens, policy, drawn = choose(logits, (np.arange(n) + 0.5) / n, sampling)
    found = np.bincount(tokens.numpy(), minlength=len(chances)) / n
    return found, *(torch.full((len(chances),), math.nan).index_copy(0, tokens, x) for x in (policy, drawn))


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (Sampling(), {0: 0.05, 1: 0.4, 2: 0.1, 3: 0.3, 4: 0.15}),
        (Sampling(top_k=2), {1: 4 / 7, 3: 3 / 7}),
        (Sampling(top_k=99), {0: 0.05, 1: 0.4, 2: 0.1, 3: 0.3, 4: 0.15}),
        # in order 0.4, 0.3, 0.15: the first 0.7 are less than 0.8, so the third is needed
        (Sampling(top_p=0.8), {1: 0.4 / 0.85, 3: 0.3 / 0.85, 4: 0.15 / 0.85}),
        (Sampling(top_p=0.4), {1: 1.0}),
        (Sampling(top_p=0.1), {1: 1.0}),  # the best one stays, whatever it has
        # at least 0.3 of the best: 0.12
        (Sampling(min_p=0.3), {1: 0.4 / 0.85, 3: 0.3 / 0.85, 4: 0.15 / 0.85}),
        (Sampling(min_p=1.0), {1: 1.0}),
        # top-k first: 8/17, 6/17, 3/17; of these the first two have 14/17 = 0.82 >= 0.6
        (Sampling(top_k=3, top_p=0.6), {1: 4 / 7, 3: 3 / 7}),
    ],
    ids=str,
)
def test_truncated_distributions_are_renormalised(sampling: Sampling, kept: dict[int, float]) -> None:
    """The sweep is exact up to one step of it; log-probs tell the policy's and the truncated distribution's."""
    found, policy, drawn = shares(CHANCES, sampling)
    for token in range(len(CHANCES)):
        assert found[token] == pytest.approx(kept.get(token, 0.0), abs=1.01 / 2000)
        if token in kept:
            assert policy[token].item() == pytest.approx(math.log(CHANCES[token]), abs=1e-5)
            assert drawn[token].item() == pytest.approx(math.log(kept[token]), abs=1e-5)
        else:
            assert found[token] == 0


def test_temperature_is_part_of_the_policy() -> None:
    """At temperature 2 chances go with their square roots; truncation looks at those."""
    roots = np.sqrt(CHANCES) / np.sqrt(CHANCES).sum()
    found, policy, _ = shares(CHANCES, Sampling(temperature=2.0))
    np.testing.assert_allclose(found, roots, atol=1.01 / 2000)
    np.testing.assert_allclose(policy.numpy(), np.log(roots), atol=1e-5)
    found, _, drawn = shares(CHANCES, Sampling(temperature=2.0, top_k=2))
    np.testing.assert_allclose(found[[1, 3]], roots[[1, 3]] / roots[[1, 3]].sum(), atol=1.01 / 2000)
    np.testing.assert_allclose(drawn[[1, 3]].exp().numpy(), roots[[1, 3]] / roots[[1, 3]].sum(), atol=1e-5)


def test_greedy_takes_the_best_and_tells_its_chance_at_temperature_one() -> None:
    tokens, policy, drawn = choose(torch.tensor([CHANCES]).log(), np.array([0.99]), Sampling(temperature=0.0))
    assert tokens.tolist() == [1]
    assert policy.item() == pytest.approx(math.log(0.4), abs=1e-6)
    assert drawn.item() == 0


@pytest.mark.parametrize("uniform", [0.0, 5e-324, LARGEST])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(top_k=2), Sampling(top_p=0.5), Sampling(min_p=0.5)], ids=str)
def test_the_ends_of_the_unit_interval_never_draw_what_is_cut_off(uniform: float, sampling: Sampling) -> None:
    """The first and the last tokens here have no chance, or next to none."""
    chances = torch.tensor([0.0, 1e-30, 0.5, 0.3, 0.2, 1e-30, 0.0])
    (token,), policy, drawn = choose(chances.log()[None], np.array([uniform]), sampling)
    assert 1 <= token.item() <= 5
    assert math.isfinite(policy.item()) and math.isfinite(drawn.item())
    if sampling.truncated:
        assert token.item() in (2, 3)


@given(
    logits=st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=40),
    top=st.tuples(st.integers(0, 5), st.floats(0.01, 1.0), st.floats(0.0, 1.0)),
    temperature=st.floats(0.1, 3.0),
    uniform=st.floats(0, LARGEST),
)
@settings(max_examples=150, deadline=None)
def test_what_is_drawn_has_a_chance(logits: list[float], top: tuple, temperature: float, uniform: float) -> None:
    sampling = Sampling(temperature=temperature, top_k=top[0], top_p=top[1], min_p=top[2])
    (token,), policy, drawn = choose(torch.tensor([logits]), np.array([uniform]), sampling)
    assert 0 <= token.item() < len(logits)
    assert math.isfinite(policy.item()) and math.isfinite(drawn.item())
    assert policy.item() <= drawn.item() + 1e-5 <= 2e-5  # truncation only ever adds chance to what it keeps


def test_rows_are_chosen_each_for_itself() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 50, generator=generator)
    draws = np.random.default_rng(0).random(20)
    together = choose(logits, draws, Sampling(top_p=0.9))
    for i in range(20):
        alone = choose(logits[i : i + 1], draws[i : i + 1], Sampling(top_p=0.9))
        assert [x.item() for x in alone] == [x[i].item() for x in together]


# ----------------------------------------------------------------------------------------------------------- streams


def test_uniforms_fill_the_unit_interval_evenly() -> None:
    keys = np.array([stream(0, f"p{i}", j) for i in range(100) for j in range(20)], np.uint64)
    draws = np.stack([uniforms(keys, position) for position in range(20)])
    assert draws.min() >= 0 and draws.max() < 1
    assert len(np.unique(draws)) == draws.size  # 40,000 of 2^53: none twice
    # standard errors: 0.2887 / 200 = 0.0014 of the mean, 0.0745 / 200 = 0.0004 of the variance; five of them
    assert draws.mean() == pytest.approx(0.5, abs=0.0072)
    assert draws.var() == pytest.approx(1 / 12, abs=0.0019)
    counts = np.histogram(draws, 16, (0, 1))[0]
    assert abs(counts - 2500).max() < 5 * math.sqrt(2500)
    # neighbouring positions, and neighbouring samples, have nothing to do with each other
    assert abs(np.corrcoef(draws[:-1].ravel(), draws[1:].ravel())[0, 1]) < 0.026
    assert abs(np.corrcoef(draws[:, :-1].ravel(), draws[:, 1:].ravel())[0, 1]) < 0.026


def test_streams_depend_on_seed_problem_and_sample() -> None:
    keys = {stream(seed, problem, sample) for seed in range(5) for problem in "abcde" for sample in range(5)}
    assert len(keys) == 125
    assert stream(3, "a", 1) == stream(3, "a", 1)


def test_splitmix_as_published() -> None:
    """The first outputs of SplitMix64 from seed 1234567 (Vigna's reference implementation)."""
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    for position, value in enumerate(known):
        assert uniforms(np.array([1234567], np.uint64), position)[0] == (value >> 11) * 2.0**-53


@pytest.mark.parametrize(("shown", "told"), [(Sampling(), False), (Sampling(top_k=1), True), (Sampling(min_p=0.1), True)])
def test_which_settings_truncate(shown: Sampling, told: bool) -> None:
    assert shown.truncated is told
