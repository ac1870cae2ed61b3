"""Packed sequences: each is computed as if it were alone, and nothing leaks from one to another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import tiny
from move37.models import folder
from move37.models.decoder import Decoder
from move37.models.hf import HFModel
from move37.models.packed import Packed, pack

# (length of the prefix, lengths of the bodies that continue it)
SHARED = st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(1, 9), min_size=1, max_size=3)), min_size=1, max_size=4)
ALONE = st.lists(st.integers(1, 12), min_size=1, max_size=6)
MODEL = tiny.decoder(torch.float64)  # in float64, so that the tolerance can be tight
LLAMA = {"tie_word_embeddings": True}


def tokens(length: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, tiny.VOCABULARY, length).astype(np.int32)


def layout(groups: list[tuple[int, list[int]]]) -> tuple[list[np.ndarray], list[np.ndarray], list[int]]:
    prefixes = [tokens(length, 1000 + i) for i, (length, _) in enumerate(groups)]
    parents = [i for i, (_, bodies) in enumerate(groups) for _ in bodies]
    lengths = [length for _, bodies in groups for length in bodies]
    return prefixes, [tokens(length, i) for i, length in enumerate(lengths)], parents


def hidden(model: Decoder | HFModel, packed: Packed) -> Tensor:
    with torch.no_grad():
        return model.hidden(packed)


def pieces(states: Tensor, packed: Packed) -> tuple[list[Tensor], list[Tensor]]:
    """States of each prefix and of each body."""
    parts = list(states.split([*packed.prefix_lengths, *packed.body_lengths]))
    return parts[: len(packed.prefix_lengths)], parts[len(packed.prefix_lengths) :]


def check_alone(model: Decoder | HFModel, prefixes: list, bodies: list, parents: list, atol: float) -> None:
    packed = pack(prefixes, bodies, parents)
    of_prefixes, of_bodies = pieces(hidden(model, packed), packed)
    for i, body in enumerate(bodies):
        before = prefixes[parents[i]] if parents[i] >= 0 else body[:0]
        alone = hidden(model, pack([], [np.concatenate([before, body])], [-1]))
        torch.testing.assert_close(of_bodies[i], alone[len(before) :], atol=atol, rtol=0)
        if parents[i] >= 0:
            torch.testing.assert_close(of_prefixes[parents[i]], alone[: len(before)], atol=atol, rtol=0)


@given(lengths=ALONE)
@settings(max_examples=20, deadline=None)
def test_documents_in_a_pack_are_computed_as_alone(lengths: list[int]) -> None:
    check_alone(MODEL, [], [tokens(n, i) for i, n in enumerate(lengths)], [-1] * len(lengths), 1e-10)


@given(groups=SHARED)
@settings(max_examples=20, deadline=None)
def test_responses_that_share_a_prompt_are_computed_as_alone(groups: list[tuple[int, list[int]]]) -> None:
    check_alone(MODEL, *layout(groups), 1e-10)


@pytest.mark.parametrize("kind", ["gpt2", "qwen2"])
def test_models_of_transformers_compute_them_as_alone_too(directory: Callable[..., Path], kind: str) -> None:
    model = HFModel.load(directory(kind), torch.float64)
    check_alone(model, *layout([(5, [3, 1, 7]), (1, [2]), (8, [4, 4])]), 1e-9)
    check_alone(model, [], [tokens(n, n) for n in (1, 6, 11)], [-1, -1, -1], 1e-9)


@given(groups=SHARED, data=st.data())
@settings(max_examples=20, deadline=None)
def test_other_tokens_in_one_response_change_no_other(groups: list[tuple[int, list[int]]], data: st.DataObject) -> None:
    prefixes, bodies, parents = layout(groups)
    changed = data.draw(st.integers(0, len(bodies) - 1))
    packed = pack(prefixes, bodies, parents)
    other = pack(prefixes, [b if i != changed else (b + 1) % tiny.VOCABULARY for i, b in enumerate(bodies)], parents)
    before, after = pieces(hidden(MODEL, packed), packed), pieces(hidden(MODEL, other), packed)
    for one, two in zip(before[0], after[0], strict=True):
        assert torch.equal(one, two)
    for i, (one, two) in enumerate(zip(before[1], after[1], strict=True)):
        assert torch.equal(one, two) == (i != changed)


def test_other_tokens_in_a_prompt_change_its_own_responses_alone() -> None:
    prefixes, bodies, parents = layout([(5, [3, 2]), (7, [4, 1])])
    packed = pack(prefixes, bodies, parents)
    other = pack([prefixes[0], (prefixes[1] + 1) % tiny.VOCABULARY], bodies, parents)
    before, after = pieces(hidden(MODEL, packed), packed)[1], pieces(hidden(MODEL, other), packed)[1]
    assert [torch.equal(one, two) for one, two in zip(before, after, strict=True)] == [True, True, False, False]


def test_no_token_sees_the_ones_after_it() -> None:
    whole = tokens(9, 0)
    full = hidden(MODEL, pack([], [whole], [-1]))
    for end in range(1, 9):
        cut = hidden(MODEL, pack([], [whole[:end]], [-1]))
        torch.testing.assert_close(cut, full[:end], atol=1e-10, rtol=0)


def test_a_prompt_is_computed_once() -> None:
    packed = pack(*layout([(9, [1, 2, 3])]))
    assert len(packed.tokens) == 9 + 1 + 2 + 3
    assert packed.last_of_prefix.tolist() == [8]
    assert packed.positions.tolist() == [*range(9), 9, 9, 10, 9, 10, 11]


# ------------------------------------------------------------------------------------- transformers and the lean path


def gradients(model: Decoder | HFModel, packed: Packed) -> dict[str, Tensor]:
    """Of a random linear function of all hidden states, under the names of transformers."""
    states = model.hidden(packed)
    direction = torch.randn(states.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    (states * direction.to(states.dtype)).sum().backward()
    if isinstance(model, HFModel):
        return {name: p.grad for name, p in model.net.named_parameters()}
    for parameter in model.parameters():
        parameter.data = parameter.grad
    return folder.export_weights(model)


@pytest.mark.parametrize("groups", [[(5, [3, 1, 7]), (1, [2]), (8, [4, 4])], None], ids=["shared", "documents"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_both_paths_agree_on_the_same_weights(directory: Callable[..., Path], kind: str, groups: list | None) -> None:
    """Hidden states and gradients. The embedding row of the padding token is left out of the comparison: transformers
    gives its padding row no gradient, the lean decoder treats it as any other token."""
    path = directory(kind, **LLAMA)
    lean = folder.load(path, torch.float64, tiny.CPU).model
    other = HFModel.load(path, torch.float64)
    prefixes, bodies, parents = layout(groups) if groups else ([], [tokens(n, n) for n in (1, 6, 11)], [-1] * 3)
    pad = tiny.tokenizer().pad_token_id
    bodies[0][0] = pad
    packed = pack(prefixes, bodies, parents)
    # transformers computes rotary angles and norms in float32 whatever the weights are
    torch.testing.assert_close(hidden(lean, packed), hidden(other, packed), atol=1e-4, rtol=1e-4)
    ours, theirs = gradients(lean, packed), gradients(other, packed)
    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        found = ours[name]
        if "embed_tokens" in name:
            expected, found = expected.clone(), found.clone()
            expected[pad], found[pad] = 0, 0
        torch.testing.assert_close(found, expected, atol=1e-4 * expected.abs().max().item(), rtol=1e-3)
