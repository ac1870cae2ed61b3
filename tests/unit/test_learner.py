"""The learner: log-probs without full logits, gradients that no memory knob changes, and updates that must not happen."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import tiny
from move37.errors import NonFinite
from move37.learner import logprobs
from move37.learner.batch import Example, microbatch, split, totals
from move37.learner.learner import Learner
from move37.learner.logprobs import pick_logprobs
from move37.models.packed import Packed, pack
from move37.sections import Optimizer
from move37.types import LossSpec

PLAIN = Optimizer(lr=1e-3, clip_norm=1e9)  # no clipping: the gradients a step leaves are the ones it computed
CLIP = LossSpec(kind="clip", kl_coef=0.1, normalise="token")
EVERYTHING = 10**9


def tokens(length: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(2, tiny.VOCABULARY, length).astype(np.int32)


def response(prompt: np.ndarray, length: int, seed: int, weight: float = 1.0) -> Example:
    """A response with old and reference log-probs somewhere near those of a random model, and a hole in its weights."""
    rng = np.random.default_rng(seed)
    weights = np.full(length, weight, np.float32)
    if length > 3:
        weights[2] = 0  # such as a forced token
    return Example(
        tokens=np.concatenate([prompt, tokens(length, seed)]),
        start=len(prompt),
        weight=weights,
        advantage=np.full(length, rng.normal(), np.float32),
        old=rng.normal(-6, 0.3, length).astype(np.float32),
        ref=rng.normal(-6, 0.3, length).astype(np.float32),
    )


def responses() -> list[Example]:
    """Three prompts, the second shared by four responses of unlike length, one of half weight and one of none."""
    prompts = [tokens(n, 100 + n) for n in (6, 17, 1)]
    plan = [(0, 9, 1.0), (1, 30, 1.0), (1, 4, 0.5), (1, 22, 1.0), (0, 1, 1.0), (1, 11, 0.0), (2, 40, 1.0), (2, 3, 1.0)]
    return [response(prompts[p], length, i, weight) for i, (p, length, weight) in enumerate(plan)]


def documents() -> list[Example]:
    return [Example(tokens=tokens(n, n), start=0, weight=np.ones(n - 1, np.float32)) for n in (2, 40, 17, 33, 8)]


def learner(tmp_path: Path, model: nn.Module | None = None, budget: int = EVERYTHING, **settings: Any) -> Learner:
    optimizer = PLAIN.model_copy(update=settings)
    return Learner(model or tiny.decoder(), optimizer, 100, budget, torch.float32, tmp_path)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def assert_same(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    """Equal up to the order of summation in float32."""
    scale = max(g.abs().max().item() for g in one.values())
    assert scale > 1e-4  # there is something to compare
    for name, gradient in one.items():
        torch.testing.assert_close(two[name], gradient, atol=3e-6 * scale, rtol=1e-4)


# ------------------------------------------------------------------------------------------------------- log-probs


@pytest.mark.parametrize("chunk", [1, 40 * tiny.VOCABULARY, 1 << 24], ids=["16 rows", "40 rows", "all"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_and_gradient_are_those_of_full_logits(
    monkeypatch: pytest.MonkeyPatch, chunk: int, temperature: float
) -> None:
    monkeypatch.setattr(logprobs, "LOGITS_AT_ONCE", chunk)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(101, 32, generator=generator)
    head = 0.3 * torch.randn(tiny.VOCABULARY, 32, generator=generator)
    targets = torch.randint(tiny.VOCABULARY, (101,), generator=generator)
    slope = torch.randn(101, generator=generator)

    def exact(h: Tensor, w: Tensor) -> Tensor:
        return torch.log_softmax(h @ w.T / temperature, -1)

    own = [hidden.clone().requires_grad_(), head.clone().requires_grad_()]
    picked, entropy = pick_logprobs(own[0], own[1], targets, temperature)
    (picked * slope).sum().backward()
    full = [hidden.double().requires_grad_(), head.double().requires_grad_()]
    scores = exact(*full)
    expected = scores.gather(1, targets[:, None]).squeeze(1)
    (expected * slope.double()).sum().backward()
    torch.testing.assert_close(picked.double(), expected, atol=5e-6, rtol=1e-6)
    torch.testing.assert_close(entropy.double(), -(scores.exp() * scores).sum(1), atol=5e-6, rtol=1e-6)
    assert not entropy.requires_grad
    for found, wanted in zip(own, full, strict=True):
        torch.testing.assert_close(found.grad.double(), wanted.grad, atol=1e-5, rtol=1e-5)


def test_logprobs_of_examples_come_in_their_order(tmp_path: Path) -> None:
    """Whatever the micro-batches; against full logits of each sequence alone."""
    examples = responses() + documents()[:0]
    model = tiny.decoder()
    for budget in (1, 60, EVERYTHING):
        found = learner(tmp_path, model, budget).logprobs(examples, 0.8)
        for example, values in zip(examples, found, strict=True):
            with torch.no_grad():
                states = model.hidden(pack([], [example.tokens], [-1]))
                scores = torch.log_softmax(states @ model.head.T / 0.8, -1)
            wanted = scores[example.start - 1 : -1].gather(1, torch.from_numpy(example.tokens[example.start :])[:, None].long())
            np.testing.assert_allclose(values, wanted.squeeze(1).numpy(), atol=2e-5)


# -------------------------------------------------------------------------------------------------- micro-batches


@given(
    lengths=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 30)), min_size=1, max_size=20),
    budget=st.integers(1, 120),
)
@settings(max_examples=60, deadline=None)
def test_a_split_holds_every_example_once_and_keeps_to_the_budget(lengths: list[tuple[int, int]], budget: int) -> None:
    prompts = [tokens(0, 0), tokens(5, 1), tokens(9, 2), tokens(2, 3)]
    examples = [response(prompts[p], n + (p == 0), i) for i, (p, n) in enumerate(lengths)]
    parts = split(examples, budget)
    assert sorted(i for part in parts for i in part) == list(range(len(examples)))
    for part in parts:
        shared = {e.tokens[: e.start].tobytes(): e.start for e in (examples[i] for i in part)}
        cost = sum(shared.values()) + sum(len(examples[i].tokens) - examples[i].start for i in part)
        assert cost <= budget or len(part) == 1
        assert len({examples[i].start == 0 for i in part}) == 1  # documents and responses are laid out differently


def test_a_shared_prompt_is_computed_once() -> None:
    examples = responses()
    (whole,) = split(examples, EVERYTHING)
    packed = microbatch(examples, whole).packed
    assert sorted(packed.prefix_lengths) == [1, 6, 17]
    assert len(packed.tokens) == 1 + 6 + 17 + sum(len(e.tokens) - e.start for e in examples)


def test_totals_leave_out_what_has_no_weight() -> None:
    counts = totals(responses())
    assert counts.sequences == 6.5  # six whole ones, a half, and one of weight 0
    # lengths less one hole where there are more than three: 8 + 29 + 3/2 + 21 + 1 + 0 + 39 + 3
    assert counts.tokens == 102.5


@pytest.mark.parametrize("normalise", ["sequence", "token", "constant"])
@pytest.mark.parametrize("kind", ["clip", "weight", "reinforce", "cross_entropy"])
def test_the_memory_knob_never_changes_the_gradient(tmp_path: Path, kind: str, normalise: str) -> None:
    spec = replace(CLIP, kind=kind, normalise=normalise, max_tokens=64)
    found = []
    for budget in (EVERYTHING, 200, 50, 1):
        one = learner(tmp_path, budget=budget)
        sums = one.step(responses(), spec)
        found.append((gradients(one.model), sums))
    (first, told), *others = found
    for gradient, sums in others:
        assert_same(first, gradient)
        assert sums == pytest.approx(told, rel=2e-5)


def test_the_ratio_of_a_sequence_is_not_cut_by_micro_batches(tmp_path: Path) -> None:
    spec = LossSpec(kind="clip", ratio="sequence", clip_low=0.5, clip_high=0.5, normalise="sequence")
    found = []
    for budget in (EVERYTHING, 1):
        one = learner(tmp_path, budget=budget)
        one.step(responses(), spec)
        found.append(gradients(one.model))
    assert_same(*found)


def test_documents_at_any_budget(tmp_path: Path) -> None:
    found = []
    for budget in (EVERYTHING, 50, 1):
        one = learner(tmp_path, budget=budget)
        one.step(documents(), LossSpec(kind="cross_entropy"))
        found.append(gradients(one.model))
    assert_same(found[0], found[1])
    assert_same(found[0], found[2])


def test_the_gradient_is_that_of_the_written_out_loss(tmp_path: Path) -> None:
    """-sum w A logp / sum w, from full logits of each sequence alone."""
    own, other = tiny.decoder(), tiny.decoder()
    learner(tmp_path, own, 50).step(responses(), LossSpec(kind="reinforce", normalise="token", temperature=0.7))
    loss, count = torch.zeros(()), 0.0
    for example in responses():
        scores = torch.log_softmax(other.hidden(pack([], [example.tokens], [-1])) @ other.head.T / 0.7, -1)
        targets = torch.from_numpy(example.tokens[example.start :]).long()
        logp = scores[example.start - 1 : -1].gather(1, targets[:, None]).squeeze(1)
        loss = loss - (torch.from_numpy(example.weight * example.advantage) * logp).sum()
        count += float(example.weight.sum())
    (loss / count).backward()
    assert_same(gradients(other), gradients(own))


# ------------------------------------------------------------------------------------------- memory that runs out


class Cramped(nn.Module):
    """A model on a device that holds so many tokens at once."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.inner = tiny.decoder()
        self.limit = limit
        self.seen: list[int] = []

    @property
    def head(self) -> Tensor:
        return self.inner.head

    def hidden(self, packed: Packed) -> Tensor:
        self.seen.append(len(packed.tokens))
        if len(packed.tokens) > self.limit:
            raise torch.OutOfMemoryError("no room")
        return self.inner.hidden(packed)


def test_when_memory_runs_out_the_update_starts_again_with_half(tmp_path: Path) -> None:
    model = Cramped(limit=50)
    one = learner(tmp_path, model, budget=64)
    sums = one.step(responses(), CLIP)
    assert one.budget == 32
    assert model.seen[0] <= 50 < max(model.seen)  # a part had gone through before memory ran out
    plain = learner(tmp_path)
    told = plain.step(responses(), CLIP)
    assert_same(gradients(plain.model), gradients(model.inner))
    assert sums == pytest.approx(told, rel=2e-5)
    assert one.version == 1


def test_logprobs_halve_as_well(tmp_path: Path) -> None:
    one = learner(tmp_path, Cramped(limit=64), budget=1000)
    found = one.logprobs(responses(), 1.0)
    for values, wanted in zip(found, learner(tmp_path).logprobs(responses(), 1.0), strict=True):
        np.testing.assert_allclose(values, wanted, atol=1e-5)


def test_a_device_too_small_for_one_sequence_is_told(tmp_path: Path) -> None:
    one = learner(tmp_path, Cramped(limit=0), budget=1000)
    with pytest.raises(torch.OutOfMemoryError):
        one.step(responses(), CLIP)
    assert one.version == 0


# --------------------------------------------------------------------------------------- updates that do not happen


def broken(name: str) -> list[Example]:
    examples = responses()
    getattr(examples[3], name)[5] = np.nan
    return examples


@pytest.mark.parametrize("name", ["old", "advantage", "ref"])
def test_a_loss_that_is_no_number_steps_nothing_and_leaves_the_batch(tmp_path: Path, name: str) -> None:
    one = learner(tmp_path / "stage", budget=50)
    one.step(responses(), CLIP)
    before = {key: value.clone() for key, value in one.model.state_dict().items()}
    moments = {k: v.clone() for k, v in one.optimizer.state_dict()[0]["state"][0].items()}
    examples = broken(name)
    with pytest.raises(NonFinite, match=r"non-finite-update-1\.npz") as caught:
        one.step(examples, CLIP)
    path = Path(re.search(r"batch is in (\S+\.npz)", str(caught.value))[1])
    for key, value in one.model.state_dict().items():
        assert torch.equal(value, before[key]), key
    for key, value in one.optimizer.state_dict()[0]["state"][0].items():
        assert torch.equal(value, moments[key]), key
    assert one.version == 1
    with np.load(path) as kept:
        for i, example in enumerate(examples):
            np.testing.assert_array_equal(kept[f"{i}/tokens"], example.tokens)
            np.testing.assert_array_equal(kept[f"{i}/{name}"], getattr(example, name))
    one.step(responses(), CLIP)  # the run could go on
    assert all(torch.isfinite(p).all() for p in one.model.parameters())


def test_a_gradient_that_is_no_number_steps_nothing(tmp_path: Path) -> None:
    one = learner(tmp_path)
    before = {key: value.clone() for key, value in one.model.state_dict().items()}
    one.model.norm.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(NonFinite, match="gradient norm"):
        one.step(responses(), CLIP)
    assert all(torch.equal(value, before[key]) for key, value in one.model.state_dict().items())
    assert list(tmp_path.glob("*.npz"))


def test_the_gradient_is_clipped_by_its_global_norm(tmp_path: Path) -> None:
    free, clipped = learner(tmp_path), learner(tmp_path, clip_norm=0.01)
    norm = free.step(responses(), CLIP)["grad_norm"]
    assert clipped.step(responses(), CLIP)["grad_norm"] == pytest.approx(norm)
    left = torch.cat([g.flatten() for g in gradients(clipped.model).values()]).norm()
    assert norm > 0.01
    assert left.item() == pytest.approx(0.01, rel=1e-4)
