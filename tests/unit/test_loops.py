"""Loops at the end of a response: found exactly, against the definition in plain loops, and by the sampler."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from move37.rollout.draw import Sampling
from move37.rollout.loops import COPIES, EVERY, loops
from move37.rollout.prompt import Prompter
from move37.rollout.sampler import Sampler
from move37.types import Problem, Stop

PROBLEMS = [Problem(id=f"p{i}", task="chain", question=q, answer="1") for i, q in enumerate(["1+1?", "2+2?", "7-3?"])]


def by_definition(tokens: list[int], window: int) -> bool:
    tail = tokens[-window:]
    periods = range(1, window // COPIES + 1)
    return len(tokens) >= window and any(
        all(tail[i] == tail[i - p] for i in range(p, window)) for p in periods
    )


def test_by_hand():
    assert loops([1] * 4, 4) and not loops([1] * 3, 4)
    assert loops([7, 7, 1, 2, 3] + [4, 5] * 8, 16)
    assert loops([4, 5] * 8 + [4], 16)  # a block may be cut
    assert not loops([4, 5] * 8 + [6], 16)
    assert not loops([1, 2, 3, 4, 5] * 3 + [1], 16)  # period 5 of 16 is three copies and a bit
    assert loops([1, 2, 3, 4] * 4, 16)


@given(st.lists(st.integers(0, 2), max_size=40), st.lists(st.integers(0, 2), min_size=1, max_size=6), st.integers(0, 9),
       st.integers(4, 24))  # fmt: skip
def test_it_is_its_definition(head, block, copies, window):
    tokens = head + block * copies
    assert loops(tokens, window) == by_definition(tokens, window)


@given(st.lists(st.integers(0, 99), max_size=30), st.lists(st.integers(0, 99), min_size=1, max_size=8))
def test_a_loop_is_always_found(head, block):
    window = COPIES * len(block)
    assert loops(head + block * (COPIES + 1), window)


def test_the_sampler_ends_a_loop_and_changes_nothing_before_it():
    """Without its blocks a greedy model writes each token by the one before, so it must come into a loop."""
    loaded = tiny.loaded()
    with torch.no_grad():
        for name, weight in loaded.model.named_parameters():
            if name.startswith("blocks"):
                weight.zero_()
    one = Sampler(loaded, Prompter(loaded.tokenizer, tiny.SHORT, ""), torch.float32)

    def write(repeat):
        sampling = Sampling(temperature=0, max_new_tokens=128, repeat=repeat)
        return [g.rollouts[0] for g in one.sample(PROBLEMS, 1, sampling, seed=0)]

    whole, ended = write(0), write(64)
    assert any(r.stop is Stop.REPEAT for r in ended)
    for long, short in zip(whole, ended, strict=True):
        assert short.token_ids.tolist() == long.token_ids[: len(short.token_ids)].tolist()
        assert long.stop is not Stop.REPEAT
        if short.stop is Stop.REPEAT:
            sampled = short.token_ids[short.sampled].tolist()
            assert len(sampled) % EVERY == 0 and by_definition(sampled, 64) and not short.truncated
            looks = range(EVERY, len(sampled), EVERY)
            assert not any(by_definition(sampled[:n], 64) for n in looks)  # at the first look that finds it
