"""The fused pass gives the log-probs and the gradients of the plain one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny
from move37 import native
from move37.errors import NonFinite, RecipeError
from move37.learner.batch import Example
from move37.learner.fused import FusedDecoder, Sequences, fused
from move37.learner.learner import Learner
from move37.models.decoder import Decoder
from move37.models.packed import pack
from move37.sections import Optimizer
from move37.types import LossSpec

SHAPES = {
    "grouped": {"hidden": 64, "head_width": 16},
    "one head per key": {"hidden": 32, "heads": 2, "kv_heads": 2, "head_width": 32, "ffn": 80},
    "odd sizes": {"hidden": 48, "heads": 6, "kv_heads": 2, "head_width": 48, "ffn": 48},
    "qwen2": {"hidden": 64, "head_width": 64, "qkv_bias": True},
    "qwen3": {"hidden": 80, "heads": 8, "kv_heads": 1, "head_width": 16, "qk_norm": True, "tied": False},
}
SPEC = LossSpec(kind="clip", normalise="token", temperature=0.7)
compiled = pytest.mark.skipif(native.library("train") is None, reason=f"kernels do not compile here: {native.build('train').why}")


def model(name: str) -> Decoder:
    return tiny.decoder(**{"heads": 4, "kv_heads": 2, "ffn": 96, **SHAPES[name]})


def examples(prompts: tuple[int, ...] = (1, 33, 50), seed: int = 0) -> list[Example]:
    """Six responses to each prompt, of 1 to 110 tokens; documents where a prompt has no token."""
    draws = np.random.default_rng(seed)
    made = []
    for length in prompts:
        prompt = draws.integers(tiny.VOCABULARY, size=length)
        for _ in range(6):
            tokens = np.concatenate([prompt, draws.integers(tiny.VOCABULARY, size=draws.integers(1 if length else 2, 111))])
            targets = len(tokens) - max(length, 1)
            made.append(
                Example(
                    tokens=tokens.astype(np.int32),
                    start=length,
                    weight=draws.integers(0, 2, size=targets).astype(np.float32),
                    advantage=draws.standard_normal(targets).astype(np.float32),
                    old=np.full(targets, -np.log(tiny.VOCABULARY), np.float32),
                )
            )
    return made


def update(
    decoder: Decoder, batch: list[Example], kernels: str, path: Path, budget: int = 700, dtype: torch.dtype = torch.float32
) -> tuple[dict[str, float], dict[str, Tensor], np.ndarray]:
    """Sums, gradients before clipping, and log-probs; the weights are left as they were, but for a rounding."""
    learner = Learner(decoder, Optimizer(lr=1e-12, clip_norm=1e9), 10, budget, dtype, path, kernels)
    assert (learner.fused is not None) == (kernels == "native")
    sums = learner.step(batch, SPEC)
    return (
        sums,
        {name: p.grad.clone() for name, p in decoder.named_parameters()},
        np.concatenate(learner.logprobs(batch, SPEC.temperature)),
    )


@compiled
@pytest.mark.parametrize("prompts", [(1, 33, 50), (0, 0)], ids=["prompts", "documents"])
@pytest.mark.parametrize("name", SHAPES)
def test_gradients_and_log_probs_are_those_of_the_plain_pass(name: str, prompts: tuple[int, ...], tmp_path: Path) -> None:
    decoder, batch = model(name), examples(prompts)
    plain_sums, plain, plain_logprobs = update(decoder, batch, "torch", tmp_path)
    sums, ours, logprobs = update(decoder, batch, "native", tmp_path)
    np.testing.assert_allclose(logprobs, plain_logprobs, atol=2e-4)
    for weight, gradient in plain.items():
        torch.testing.assert_close(ours[weight], gradient, rtol=1e-3, atol=2e-4 * float(gradient.abs().max()), msg=weight)
    assert sums.keys() == plain_sums.keys()
    for what, value in plain_sums.items():
        assert sums[what] == pytest.approx(value, rel=1e-4, abs=1e-6), what


@compiled
@pytest.mark.parametrize("name", ["grouped", "qwen3"])
def test_bfloat16_is_as_near_to_float32_as_autocast_is(name: str, tmp_path: Path) -> None:
    decoder, batch = model(name), examples()
    exact, found = update(decoder, batch, "torch", tmp_path), {}
    for kernels in ("torch", "native"):
        _, gradients, logprobs = update(decoder, batch, kernels, tmp_path, dtype=torch.bfloat16)
        apart = sum(float((gradients[w] - g).square().sum()) for w, g in exact[1].items())
        found[kernels] = apart**0.5, float(np.abs(logprobs - exact[2]).max())
    assert 0 < found["native"][0] <= 1.5 * found["torch"][0]
    assert 0 < found["native"][1] <= 1.5 * found["torch"][1]


@compiled
def test_the_cut_into_micro_batches_changes_nothing(tmp_path: Path) -> None:
    decoder, batch = model("grouped"), examples()
    whole, cut = (update(decoder, batch, "native", tmp_path, budget)[1] for budget in (100_000, 150))
    for weight, gradient in whole.items():
        torch.testing.assert_close(cut[weight], gradient, rtol=1e-3, atol=2e-4 * float(gradient.abs().max()))


@compiled
@pytest.mark.parametrize("kernels", ["torch", "native"])
def test_the_gradient_of_equation_3_of_kimi(kernels: str, tmp_path: Path) -> None:
    """(r - mean) log pi(y) - tau/2 (log pi(y) - log pi_i(y))^2 of whole responses, from full logits of each alone."""
    tau, limit = 0.3, 50
    decoder, batch = model("grouped"), examples((33, 50))
    for example in batch:
        example.weight[:] = 1
        example.advantage[:] = example.advantage[0]  # one credit per response
    spec = LossSpec(kind="reinforce", normalise="constant", tau=tau, max_tokens=limit, temperature=0.7)
    learner = Learner(decoder, Optimizer(lr=1e-12, clip_norm=1e9), 10, 300, torch.float32, tmp_path, kernels)
    learner.step(batch, spec)
    found = {name: p.grad.clone() for name, p in decoder.named_parameters()}
    decoder.zero_grad()
    total = torch.zeros((), dtype=torch.float64)
    for example in batch:
        scores = torch.log_softmax(decoder.hidden(pack([], [example.tokens], [-1])) @ decoder.head.T / 0.7, -1).double()
        targets = torch.from_numpy(example.tokens[example.start :]).long()
        whole = scores[example.start - 1 : -1].gather(1, targets[:, None]).sum()
        ratio = whole - float(example.old.sum(dtype=np.float64))
        total = total - (float(example.advantage[0]) * whole - tau / 2 * ratio**2)
    (total / (len(batch) * limit)).backward()
    for name, p in decoder.named_parameters():
        torch.testing.assert_close(found[name], p.grad, rtol=1e-3, atol=3e-4 * float(p.grad.abs().max()), msg=name)


@compiled
def test_the_same_bits_each_time(tmp_path: Path) -> None:
    decoder, batch = model("qwen3"), examples()
    one, two = (update(decoder, batch, "native", tmp_path)[1] for _ in range(2))
    assert all(torch.equal(one[weight], two[weight]) for weight in one)


@compiled
def test_another_model_in_the_same_memory(tmp_path: Path) -> None:
    """What a reference policy is asked for between two updates."""
    decoder, other, batch = model("grouped"), model("grouped"), examples()
    tiny.spread(other, seed=9)
    learner = Learner(decoder, Optimizer(), 10, 700, torch.float32, tmp_path, "native")
    plain = Learner(decoder, Optimizer(), 10, 700, torch.float32, tmp_path, "torch")
    for one in (decoder, other):
        for ours, theirs in zip(learner.logprobs(batch, 1.0, one), plain.logprobs(batch, 1.0, one), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-4)


@compiled
@pytest.mark.parametrize("weight", ["blocks.0.qkv.weight", "blocks.1.gate_up.weight", "norm.weight", "embedding.weight"])
def test_a_weight_that_is_no_number_stops_the_update(weight: str, tmp_path: Path) -> None:
    """Masks, maxima and exponentials must not swallow it."""
    decoder, batch = model("grouped"), examples()
    with torch.no_grad():
        decoder.get_parameter(weight).view(-1)[3] = torch.nan
    for dtype in (torch.float32, torch.bfloat16):
        with pytest.raises(NonFinite):
            Learner(decoder, Optimizer(), 10, 700, dtype, tmp_path, "native").step(batch, SPEC)


@compiled
def test_a_backward_pass_after_another_forward_pass_is_our_mistake() -> None:
    decoder = model("grouped")
    one = FusedDecoder(decoder, torch.float32)
    packed = pack([np.arange(4)], [np.arange(5)], [0])
    source, targets = torch.arange(3, 8), torch.zeros(5, dtype=torch.int64)
    first, _ = one.logprobs(packed, source, targets, 1.0)
    one.logprobs(packed, source, targets, 1.0)
    with pytest.raises(AssertionError, match="belongs to"):
        first.sum().backward()


@compiled
def test_the_workspace_does_not_grow_with_the_vocabulary(tmp_path: Path) -> None:
    """100 times the vocabulary: a chunk of logits, not tokens x vocabulary (4,000 x 30,000 numbers would be 480 MB)."""
    batch = examples(seed=3)
    used = {}
    for vocabulary in (300, 30_000):
        decoder = tiny.decoder(**SHAPES["grouped"], heads=4, kv_heads=2, ffn=96, vocabulary=vocabulary)
        learner = Learner(decoder, Optimizer(), 10, 100_000, torch.float32, tmp_path, "native")
        learner.step(batch, SPEC)
        used[vocabulary] = sum(t.numel() for t in learner.fused.space.memory.values())
    assert used[30_000] - used[300] <= 1 << 20


def test_parts_are_runs_of_one_prompt_of_at_most_four_bodies() -> None:
    """Bodies of prompts 1 0 1 1 1 1 1: sorted 0 | 1 1 1 1 | 1 1, as rows 1 | 0 2 3 4 | 5 6."""
    packed = pack([np.arange(3), np.arange(2)], [np.arange(n) for n in (10, 11, 12, 13, 14, 15, 16)], [1, 0, 1, 1, 1, 1, 1])
    sequences = Sequences(packed)
    assert sequences.part.tolist() == [[0, 0, 1], [1, 1, 5], [1, 5, 7]]
    assert sequences.prompt.tolist() == [[0, 3], [3, 2]]
    assert sequences.body.tolist() == [[15, 11], [5, 10], [26, 12], [38, 13], [51, 14], [65, 15], [80, 16]]


def test_what_can_not_be_had_is_refused_when_demanded() -> None:
    narrow = tiny.decoder()  # head width 8
    assert fused(narrow, torch.float32, "auto") is None
    assert fused(model("grouped"), torch.float32, "torch") is None
    with pytest.raises(RecipeError, match="multiple of 16"):
        fused(narrow, torch.float32, "native")
