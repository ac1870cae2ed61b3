"""The GPU's way through sampler and learner: the same numbers as the plain decoder's.

Bookkeeping and index arithmetic run on a CPU with kernels written plainly; Triton's kernels want a GPU, or Triton and
TRITON_INTERPRET=1 (some minutes).
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import tiny
from move37.errors import RecipeError
from move37.learner.batch import Example
from move37.learner.learner import Learner
from move37.learner.logprobs import pick_logprobs
from move37.models import engines
from move37.models.decoder import Decoder, _attend, attend
from move37.models.graphs import GraphDecoder
from move37.models.packed import Packed, pack
from move37.rollout.draw import Sampling, choose
from move37.rollout.prompt import Prompter
from move37.rollout.sampler import Sampler
from move37.sections import Optimizer
from move37.types import Problem

CUDA = torch.cuda.is_available()
INTERPRETED = importlib.util.find_spec("triton") is not None and os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cuda" if CUDA else "cpu")
triton_runs = pytest.mark.skipif(not (CUDA or INTERPRETED), reason="no GPU, nor Triton with TRITON_INTERPRET=1")
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


# ----------------------------------------------------------------------------------------------------------- learner


def attention(q, k, v, query_ends, key_ends, *_, window_size, **__) -> Tensor:
    """What PyTorch's attention over spans computes: causal, counted from the ends of both."""
    assert window_size == (-1, 0)
    found = []
    for i in range(len(query_ends) - 1):
        one = q[query_ends[i] : query_ends[i + 1]].transpose(0, 1)
        keys, values = (x[key_ends[i] : key_ends[i + 1]].transpose(0, 1) for x in (k, v))
        mask = torch.ones(one.shape[1], keys.shape[1], dtype=torch.bool).tril(keys.shape[1] - one.shape[1])
        found.append(F.scaled_dot_product_attention(one, keys, values, attn_mask=mask, enable_gqa=True).transpose(0, 1))
    return torch.cat(found)


def packs() -> dict[str, Packed]:
    draws = np.random.default_rng(3)

    def tokens(*lengths: int) -> list[np.ndarray]:
        return [draws.integers(tiny.VOCABULARY, size=n) for n in lengths]

    shared = pack(tokens(5, 1, 9), tokens(3, 1, 7, 2, 8), [0, 0, 1, 2, 0])
    return {"prompts": shared, "documents": pack([], tokens(4, 1, 11), [-1] * 3)}


def test_the_keys_of_a_body_are_those_of_its_prompt_and_its_own() -> None:
    spans = pack([np.arange(2), np.arange(1)], [np.arange(2), np.arange(1), np.arange(1)], [1, 0, 0]).spans()
    assert spans.keys.tolist() == [0, 1, 2, 2, 3, 4, 0, 1, 5, 0, 1, 6]  # prompts 01, 2; bodies 34, 5, 6
    assert spans.query_ends.tolist() == [0, 2, 3, 5, 6, 7]
    assert spans.key_ends.tolist() == [0, 2, 3, 6, 9, 12]
    assert (spans.longest_query, spans.longest_key) == (2, 3)


@pytest.mark.parametrize("kind", ["prompts", "documents"])
def test_attention_without_padding_has_the_values_and_gradients_of_the_padded_one(kind: str) -> None:
    packed = packs()[kind]
    draws = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(len(packed.tokens), n, 8, generator=draws, requires_grad=True) for n in (4, 2, 2))
    weight = torch.randn(len(packed.tokens), 32, generator=draws)
    found = []
    for mixed in (_attend(q, k, v, packed, packed.mask(q.dtype)), attend(q, k, v, packed.spans(), attention)):
        found.append((mixed, *torch.autograd.grad((mixed * weight).sum(), (q, k, v))))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, atol=2e-6, rtol=1e-5)


@cuda
@pytest.mark.parametrize("name", ["grouped", "qwen2", "qwen3"])
@pytest.mark.parametrize("kind", ["prompts", "documents"])
def test_the_update_on_a_gpu_is_that_of_a_cpu(name: str, kind: str) -> None:
    """Log-probs and gradients in bfloat16, without padding, against float32 and padding."""
    packed, plain = packs()[kind], tiny.decoder(**{"heads": 4, "kv_heads": 2, **SHAPES[name]})
    with torch.no_grad():  # weights small enough that rounding stays small
        for weight in plain.parameters():
            weight.mul_(0.3 if weight.dim() > 1 else 1.0)
    targets = packed.tokens.roll(-1)
    told = {}
    for device, dtype in (("cpu", torch.float32), ("cuda", torch.float32), ("cuda", torch.bfloat16)):
        moved = plain.to(device)
        moved.zero_grad()
        with torch.autocast(device, dtype, enabled=dtype is not torch.float32):
            hidden = moved.hidden(packed.to(torch.device(device)))
        logprobs, entropy = pick_logprobs(hidden, moved.head, targets.to(device), 0.8, rows=device == "cuda")
        logprobs.mean().backward()
        gradient = torch.cat([p.grad.flatten().cpu() for p in moved.parameters()])
        told[device, dtype] = logprobs.detach().cpu(), entropy.cpu(), gradient
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 3e-2)):
        for ours, theirs in zip(told["cuda", dtype], told["cpu", torch.float32], strict=True):
            assert (ours - theirs).norm() <= tolerance * theirs.norm()


@triton_runs
def test_rows_of_logits_are_picked_from_as_by_autograd(kernels) -> None:
    draws = torch.Generator().manual_seed(0)
    scores = (3 * torch.randn(6, 5000, generator=draws)).to(DEVICE).requires_grad_()
    targets = torch.tensor([0, 4999, 4095, 4096, 7, 7], device=DEVICE)
    slope = torch.randn(6, generator=draws).to(DEVICE)
    policy = torch.log_softmax(scores / 0.7, -1)
    expected = policy.gather(1, targets[:, None])[:, 0]
    (wanted,) = torch.autograd.grad((expected * slope).sum(), scores)
    logprobs, entropies, sums = kernels.pick(scores.detach(), targets, 0.7)
    torch.testing.assert_close(logprobs, expected.detach(), atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(entropies, -(policy.exp() * policy).sum(1).detach(), atol=1e-4, rtol=1e-4)
    ours = kernels.unpick(scores.detach(), targets, sums, slope, 0.7, torch.float32)
    torch.testing.assert_close(ours, wanted, atol=1e-6, rtol=1e-4)


@cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_a_gpu_samples_is_what_it_learns(dtype: torch.dtype) -> None:
    """The log-probs that graphs record are those the learner computes, and `torch` samples the same in float32."""
    loaded = tiny.loaded()
    loaded.model.to(DEVICE)
    problems = [Problem(id=str(i), task="t", question=q, answer="") for i, q in enumerate(("1+1?", "What is 12+7?"))]
    sampling = Sampling(max_new_tokens=80)
    told = []
    for kernels in ("auto", "torch"):
        sampler = Sampler(loaded, Prompter(loaded.tokenizer, tiny.SHORT, ""), dtype, kernels)
        groups = sampler.sample(problems, 6, sampling, seed=0)
        told.append([r for g in groups for r in g.rollouts])
    learner = Learner(loaded.model, Optimizer(lr=1e-3), 1, 512, dtype, Path("."))
    examples = []
    for rollout in told[0]:
        start = int(np.argmax(rollout.sampled))
        ones = np.ones(len(rollout.token_ids) - start, np.float32)
        examples.append(Example(tokens=rollout.token_ids, start=start, weight=ones))
    computed = np.concatenate(learner.logprobs(examples, 1.0))
    recorded = np.concatenate([r.logprobs[r.sampled] for r in told[0]])
    assert np.abs(computed - recorded).mean() < (1e-4 if dtype is torch.float32 else 0.1)
    if dtype is torch.float32:
        assert sum(np.array_equal(a.token_ids, b.token_ids) for a, b in zip(*told, strict=True)) >= 11


def test_a_gpu_without_graphs_is_told_of() -> None:
    """auto says so and takes PyTorch, native refuses, torch asks for no more."""
    other = SimpleNamespace(head=SimpleNamespace(device=torch.device("cuda")))
    with pytest.warns(UserWarning, match="without CUDA graphs.*not of the Llama"):
        assert engines.engine(other, torch.float32, "auto") is other
    with pytest.raises(RecipeError, match="not of the Llama"):
        engines.engine(other, torch.float32, "native")
    assert engines.engine(other, torch.float32, "torch") is other
