"""Optimizers and schedules."""

from __future__ import annotations

import io

import pytest
import torch
from torch import Tensor, nn

import tiny
from move37.learner.optim import Muon, Optimizer, learning_rate, orthogonal
from move37.sections import Optimizer as Settings


def filled(model: nn.Module, seed: int) -> nn.Module:
    """Random gradients on every parameter."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return model


# -------------------------------------------------------------------------------------------------------- schedules


@pytest.mark.parametrize(
    ("schedule", "final", "expected"),
    [
        # 4 updates of warm-up: 1/4, 2/4, 3/4, 4/4 of the rate; then 8 updates, of which the first has done 0/8.
        ("constant", 0.0, {0: 0.5, 1: 1.0, 3: 2.0, 4: 2.0, 11: 2.0}),
        ("linear", 0.0, {0: 0.5, 3: 2.0, 4: 2.0, 6: 1.5, 8: 1.0, 11: 0.25}),
        ("linear", 0.1, {4: 2.0, 8: 2 * (0.1 + 0.9 * 0.5), 11: 2 * (0.1 + 0.9 * 0.125)}),
        # cos(pi/4) = 0.70711: half of 1 + 0.70711 at 2/8 of the way, a half at 4/8, half of 1 - 0.92388 at 7/8
        ("cosine", 0.0, {3: 2.0, 4: 2.0, 6: 1.7071068, 8: 1.0, 11: 0.0761205}),
        ("cosine", 0.1, {4: 2.0, 8: 2 * (0.1 + 0.9 * 0.5)}),
    ],
)
def test_schedules_by_hand(schedule: str, final: float, expected: dict[int, float]) -> None:
    settings = Settings(lr=2.0, schedule=schedule, warmup_steps=4, final_share=final)
    for update, rate in expected.items():
        assert learning_rate(settings, update, 12) == pytest.approx(rate, rel=1e-6), update


def test_a_warm_up_longer_than_the_run() -> None:
    settings = Settings(lr=1.0, schedule="cosine", warmup_steps=10)
    assert [learning_rate(settings, i, 4) for i in range(4)] == pytest.approx([0.1, 0.2, 0.3, 0.4])


# ------------------------------------------------------------------------------------------------------------ AdamW


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_weight_decay_leaves_norms_and_biases_alone(kind: str) -> None:
    model = tiny.decoder(qkv_bias=True, qk_norm=True)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = Optimizer(model, Settings(kind=kind, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(0.1)
    for name, parameter in model.named_parameters():
        kept = 1 - 0.1 * 0.5 if parameter.dim() > 1 else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * kept)


def test_the_first_step_of_adamw_by_hand() -> None:
    """Bias-corrected moments of one gradient are the gradient and its square: the step is lr * sign."""
    model = nn.Linear(3, 2, bias=False)
    before = model.weight.detach().clone()
    model.weight.grad = torch.tensor([[1.0, -2.0, 0.5], [3.0, -0.1, 4.0]])
    Optimizer(model, Settings()).step(0.01)
    torch.testing.assert_close(model.weight.detach(), before - 0.01 * model.weight.grad.sign())


def test_muon_takes_the_matrices_of_the_blocks_alone() -> None:
    model = tiny.decoder(tied=False)
    optimizer = Optimizer(model, Settings(kind="muon"))
    inner = {id(p) for group in optimizer.parts[1].param_groups for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in inner}
    assert names == {f"blocks.{i}.{n}.weight" for i in range(2) for n in ("qkv", "out", "gate_up", "down")}
    outer = [id(p) for group in optimizer.parts[0].param_groups for p in group["params"]]
    assert sorted([*outer, *inner]) == sorted(id(p) for p in model.parameters())


def test_muon_takes_the_matrices_of_a_transformers_model(directory) -> None:
    """Attention and MLP of GPT-2, but neither its embeddings nor its norms."""
    from move37.models.hf import HFModel

    model = HFModel.load(directory("gpt2"), torch.float32)
    optimizer = Optimizer(model, Settings(kind="muon"))
    inner = {id(p) for group in optimizer.parts[1].param_groups for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in inner}
    parts = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    assert names == {f"net.transformer.h.{i}.{part}.weight" for i in range(2) for part in parts}


# ------------------------------------------------------------------------------------------------------------- Muon


@pytest.mark.parametrize("shape", [(24, 24), (64, 16), (16, 64), (5, 200)], ids=str)
def test_orthogonal_pushes_singular_values_towards_one(shape: tuple[int, int]) -> None:
    """From a spread of a factor of 30, and from a plain random matrix."""
    generator = torch.Generator().manual_seed(1)
    u, _, v = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    wide = u @ torch.diag(torch.logspace(0, -1.5, min(shape))) @ v
    random = torch.randn(shape, generator=generator) if shape[0] != shape[1] else wide.T.contiguous()
    for matrix in (wide, 1e-6 * wide, random):
        values = torch.linalg.svdvals(orthogonal(matrix))
        assert values.min() > 0.6 and values.max() < 1.3, values


def test_orthogonal_keeps_the_directions() -> None:
    matrix = torch.diag(torch.tensor([3.0, -2.0, 1.0]))
    found = orthogonal(matrix)
    assert torch.equal(found.diagonal().sign(), matrix.diagonal().sign())
    torch.testing.assert_close(found, torch.diag(found.diagonal()), atol=1e-6, rtol=0)


def test_one_step_of_muon_by_hand() -> None:
    """Momentum 0.05 g; Nesterov 0.05 g + 0.95 * 0.05 g = 0.0975 g, whose scale orthogonal() forgets; decay 0.9."""
    weight = nn.Parameter(torch.ones(2, 8))
    weight.grad = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    Muon([weight], lr=0.1, weight_decay=1.0).step()
    expected = 0.9 * torch.ones(2, 8) - 0.1 * 0.2 * 8**0.5 * orthogonal(weight.grad)
    torch.testing.assert_close(weight.detach(), expected, atol=1e-5, rtol=1e-5)


# ------------------------------------------------------------------------------------------------------------ state


def through_a_file(state: object) -> object:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_state_round_trips_bitwise(kind: str) -> None:
    settings = Settings(kind=kind, lr=1e-2, weight_decay=0.1)
    one = tiny.decoder()
    optimizer = Optimizer(one, settings)
    for i in range(3):
        filled(one, i)
        optimizer.step(1e-2)
    two = tiny.decoder()
    two.load_state_dict({name: value.clone() for name, value in one.state_dict().items()})
    other = Optimizer(two, settings)
    other.load_state_dict(through_a_file(optimizer.state_dict()))
    for i in range(3, 6):
        for model, part in ((one, optimizer), (two, other)):
            filled(model, i)
            part.step(5e-3)
    values: list[tuple[Tensor, Tensor]] = list(zip(one.parameters(), two.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in values)
