"""The GPU's way through sampler and learner: the same numbers as the plain decoder's.

Bookkeeping and index arithmetic run on a CPU with kernels written plainly; Triton's kernels run on a GPU, or in Triton's
interpreter where Triton is installed without one.
"""

from __future__ import annotations

import importlib.util
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import tiny
from move37.models.decoder import Decoder
from move37.models.graphs import GraphDecoder
from move37.rollout.draw import Sampling, choose

CUDA = torch.cuda.is_available()
TRITON = importlib.util.find_spec("triton") is not None
if TRITON and not CUDA:
    os.environ["TRITON_INTERPRET"] = "1"
DEVICE = torch.device("cuda" if CUDA else "cpu")
triton_runs = pytest.mark.skipif(not TRITON, reason="Triton is not installed; it comes with PyTorch's CUDA builds")
cuda = pytest.mark.skipif(not CUDA, reason="PyTorch sees no GPU here")

# one head per key, a width that is no power of two, biases, norms of queries and keys
SHAPES = {
    "grouped": {"hidden": 64, "head_width": 16},
    "one head per key": {"hidden": 32, "heads": 2, "kv_heads": 2, "head_width": 32, "ffn": 72},
    "odd sizes": {"hidden": 48, "heads": 6, "kv_heads": 2, "head_width": 24, "ffn": 40},
    "qwen2": {"hidden": 64, "head_width": 64, "qkv_bias": True},
    "qwen3": {"hidden": 80, "heads": 8, "kv_heads": 1, "head_width": 16, "qk_norm": True, "tied": False},
}
LENGTHS = (1, 7, 8, 9, 20, 5)  # around the end of a page of 8
STEPS = {3: 0, 8: 1, 9: 2}  # before which rows leave, and which


def model(name: str) -> Decoder:
    return tiny.decoder(**{"heads": 4, "kv_heads": 2, **SHAPES[name]}).to(DEVICE)


class Plain:
    """What the kernels compute, written to be read."""

    PAGE = 8
    Pages = SimpleNamespace

    def add_norm(self, x: Tensor, delta: Tensor | None, weight: Tensor, eps: float, y: Tensor) -> Tensor:
        if delta is not None:
            x += delta
        y[:] = F.rms_norm(x, x.shape[-1:], weight, eps)
        return y

    def place(self, qkv: Tensor, norms: tuple | None, angles: Tensor, q: Tensor, pages: SimpleNamespace, layer: int) -> Tensor:
        rows, heads, width = q.shape
        kv_heads, own = pages.pool.shape[2], int(pages.own)
        asked, k, v = qkv.view(rows, -1, width).split((heads, kv_heads, kv_heads), 1)
        if norms is not None:
            asked, k = F.rms_norm(asked, (width,), norms[0], norms[2]), F.rms_norm(k, (width,), norms[1], norms[2])
        for row in range(rows):
            turn = angles[:, int(pages.prompt[row]) + own]
            q[row] = self._rotated(asked[row], *turn)
            page = pages.table[row, -(-int(pages.prompt[row]) // self.PAGE) + own // self.PAGE]
            pages.pool[page, layer, :, 0, own % self.PAGE] = self._rotated(k[row], *turn)
            pages.pool[page, layer, :, 1, own % self.PAGE] = v[row]
        return q

    def _rotated(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        low, high = x.chunk(2, -1)
        return x * cosine + torch.cat((-high, low), -1) * sine

    def attend(self, q: Tensor, out: Tensor, pages: SimpleNamespace, layer: int) -> Tensor:
        for row in range(len(q)):
            length, own = int(pages.prompt[row]), int(pages.own) + 1
            first = -(-length // self.PAGE)
            lines = pages.pool[pages.table[row].long(), layer]  # [W, K, 2, PAGE, D]
            k, v = lines.permute(2, 1, 0, 3, 4).flatten(2, 3)
            k = torch.cat((k[:, :length], k[:, first * self.PAGE :][:, :own]), 1)
            v = torch.cat((v[:, :length], v[:, first * self.PAGE :][:, :own]), 1)
            out[row] = F.scaled_dot_product_attention(q[row, :, None], k, v, enable_gqa=True)[:, 0]
        return out

    def gate(self, both: Tensor, act: Tensor) -> Tensor:
        gate, up = both.chunk(2, -1)
        act[:] = F.silu(gate) * up
        return act


def prompts() -> tuple[Tensor, Tensor]:
    """Left-padded tokens and the padding."""
    draws = torch.Generator().manual_seed(1)
    pad = max(LENGTHS) - torch.tensor(LENGTHS)
    tokens = torch.randint(tiny.VOCABULARY, (len(LENGTHS), max(LENGTHS)), generator=draws)
    return tokens.to(DEVICE), pad.to(DEVICE)


@torch.no_grad()
def decoded(decoder: Decoder | GraphDecoder, steps: int = 18) -> list[Tensor]:
    """Hidden states: each prompt twice; rows leave on the way, at the ends of pages and in their middle."""
    hidden, cache = decoder.prefill(*prompts())
    cache.select(torch.arange(len(LENGTHS), device=DEVICE).repeat_interleave(2))
    rows = list(range(2 * len(LENGTHS)))
    found = [hidden.float()]
    draws = np.random.default_rng(2).integers(tiny.VOCABULARY, size=(steps, len(rows)))
    for step in range(steps):
        if step in STEPS:
            kept = [i for i, row in enumerate(rows) if row % 4 != STEPS[step]]
            cache.select(torch.tensor(kept, device=DEVICE))
            rows = [rows[i] for i in kept]
        cache.room(16)
        found.append(decoder.decode(torch.from_numpy(draws[step][rows]).to(DEVICE), cache).float().clone())
    return found


def check(ours: list[Tensor], theirs: list[Tensor], tolerance: float) -> None:
    for step, (one, two) in enumerate(zip(ours, theirs, strict=True)):
        told = f"step {step}: {{}}"
        torch.testing.assert_close(one, two, atol=tolerance, rtol=tolerance, msg=lambda said, told=told: told.format(said))


@pytest.mark.parametrize("name", SHAPES)
def test_pages_hold_what_the_padded_cache_holds(name: str) -> None:
    """Twice: in a second pass the pages of the first are used again."""
    plain = model(name)
    paged = GraphDecoder(plain, torch.float32, Plain(), capture=False)
    expected = decoded(plain)
    for _ in range(2):
        check(decoded(paged), expected, 2e-5)
    used = paged.pages.pool.shape[0] - 1 - len(paged.free)
    assert 0 < used < len(paged.pages.pool)


@pytest.fixture
def kernels():
    from move37.models import rows

    return rows


@triton_runs
@pytest.mark.parametrize("name", SHAPES)
def test_a_step_of_the_kernels_is_one_of_the_decoder(name: str, kernels) -> None:
    plain = model(name)
    steps = 70 if CUDA else 4
    found = decoded(GraphDecoder(plain, torch.float32, kernels, capture=CUDA), steps)
    check(found, decoded(plain, steps), 2e-4)


@triton_runs
@pytest.mark.parametrize("vocabulary", [5, 4096, 10_000])
@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_tokens_are_drawn_as_from_the_logits(vocabulary: int, temperature: float, kernels) -> None:
    """Same tokens but where a draw falls within rounding of the border between two."""
    rows = 2000 if CUDA else 20
    logits = 3 * torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    uniform = np.random.default_rng(0).random(rows)
    uniform[:2] = 0.0, np.nextafter(1.0, 0.0)
    expected = choose(logits, uniform, Sampling(temperature=temperature))
    tokens, logprobs = kernels.draw(logits, torch.from_numpy(uniform).to(DEVICE), temperature)
    same = tokens == expected[0]
    assert (~same[2:]).sum() <= 0.002 * rows and bool(((tokens >= 0) & (tokens < vocabulary)).all())
    torch.testing.assert_close(logprobs[same], expected[1][same], atol=2e-5, rtol=1e-5)
