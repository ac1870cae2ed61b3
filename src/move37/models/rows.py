"""Triton kernels for what lies between the matrix products of a decoder on a GPU. Import it only where Triton is.

Shapes: B rows, H query heads, K key/value heads, G = H / K, D head width, V vocabulary, L layers. Keys and values lie in pages
of PAGE tokens, `pool` [pages, L, K, 2, PAGE, D]; `table` [B, W] int32 names the pages of a row: those of its prompt
(prompt [B] int32 tokens), then its own (own [1] int32, the same for all rows).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

PAGE = 64
BLOCK = 4096  # numbers of a row of logits that one program takes


@dataclass(slots=True)
class Pages:
    """Where a decoding step finds keys and values."""

    pool: Tensor
    table: Tensor
    prompt: Tensor
    own: Tensor


# ------------------------------------------------------------------------------------------------------ decoding


@triton.jit
def _add_norm(x, delta, weight, y, hidden, eps, ADD: tl.constexpr, WIDE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, WIDE)
    real = at < hidden
    value = tl.load(x + row * hidden + at, mask=real, other=0.0)
    if ADD:
        value += tl.load(delta + row * hidden + at, mask=real, other=0.0).to(tl.float32)
        tl.store(x + row * hidden + at, value, mask=real)
    scale = tl.rsqrt(tl.sum(value * value, 0) / hidden + eps)
    scaled = value * scale * tl.load(weight + at, mask=real, other=0.0).to(tl.float32)
    tl.store(y + row * hidden + at, scaled.to(y.dtype.element_ty), mask=real)


def add_norm(x: Tensor, delta: Tensor | None, weight: Tensor, eps: float, y: Tensor) -> Tensor:
    """x += delta, y = its RMS norm. x [B, hidden] float32."""
    rows, hidden = x.shape
    given = x if delta is None else delta
    _add_norm[(rows,)](x, given, weight, y, hidden, eps, ADD=delta is not None, WIDE=triton.next_power_of_2(hidden))
    return y


@triton.jit
def _place(qkv, norms, angles, q, pages, layer, eps, SIZES: tl.constexpr):
    L: tl.constexpr = SIZES[0]
    H: tl.constexpr = SIZES[1]
    K: tl.constexpr = SIZES[2]
    D: tl.constexpr = SIZES[3]
    W: tl.constexpr = SIZES[4]
    PAGE: tl.constexpr = SIZES[5]
    HALF: tl.constexpr = SIZES[6]
    NORM: tl.constexpr = SIZES[7]
    pool, table, prompt, own = pages
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    at = tl.arange(0, HALF)
    real = at < D // 2
    source = qkv + (row * (H + 2 * K) + head) * D + at
    low = tl.load(source, mask=real, other=0.0).to(tl.float32)
    high = tl.load(source + D // 2, mask=real, other=0.0).to(tl.float32)
    asked, written = tl.load(prompt + row), tl.load(own)
    if head < H + K:
        if NORM:
            weight = norms[0] if head < H else norms[1]
            scale = tl.rsqrt((tl.sum(low * low, 0) + tl.sum(high * high, 0)) / D + eps)
            low *= scale * tl.load(weight + at, mask=real, other=0.0).to(tl.float32)
            high *= scale * tl.load(weight + D // 2 + at, mask=real, other=0.0).to(tl.float32)
        turn = (asked + written).to(tl.int64) * D + at
        c = tl.load(angles[0] + turn, mask=real, other=0.0).to(tl.float32)
        s = tl.load(angles[1] + turn, mask=real, other=0.0).to(tl.float32)
        turned = low * c - high * s
        high = high * c + low * s
        low = turned
    if head < H:
        target = q + (row * H + head) * D + at
        tl.store(target, low.to(q.dtype.element_ty), mask=real)
        tl.store(target + D // 2, high.to(q.dtype.element_ty), mask=real)
    else:
        kind = (head - H) // K
        page = tl.load(table + row * W + (asked + PAGE - 1) // PAGE + written // PAGE).to(tl.int64)
        line = ((page * L + layer) * K + (head - H) % K) * 2 + kind
        target = pool + (line * PAGE + written % PAGE) * D + at
        tl.store(target, low.to(pool.dtype.element_ty), mask=real)
        tl.store(target + D // 2, high.to(pool.dtype.element_ty), mask=real)


def place(qkv: Tensor, norms: tuple[Tensor, Tensor, float] | None, angles: Tensor, q: Tensor, pages: Pages, layer: int) -> Tensor:
    """Rotate queries and keys, and put the new column of keys and values into its page.

    Args:
        qkv: [B, (H + 2K) D]. norms: weights of the norms of queries and keys, and epsilon. angles: [2, positions, D].
        q: [B, H, D], written and returned.
    """
    (rows, heads, width), (_, layers, kv_heads, _, page, _) = q.shape, pages.pool.shape
    q_norm, k_norm, eps = norms or (q, q, 0.0)
    half = triton.next_power_of_2(width // 2)
    sizes = (layers, heads, kv_heads, width, pages.table.shape[1], page, half, norms is not None)
    given = ((q_norm, k_norm), (angles[0], angles[1]), q, _lies(pages))
    _place[(rows, heads + 2 * kv_heads)](qkv, *given, layer, eps, SIZES=sizes, num_warps=1)
    return q


@triton.jit
def _attend(q, out, pages, layer, scale, SIZES: tl.constexpr):
    L: tl.constexpr = SIZES[0]
    H: tl.constexpr = SIZES[1]
    K: tl.constexpr = SIZES[2]
    D: tl.constexpr = SIZES[3]
    W: tl.constexpr = SIZES[4]
    PAGE: tl.constexpr = SIZES[5]
    GROUP: tl.constexpr = SIZES[6]
    WIDE: tl.constexpr = SIZES[7]
    pool, table, prompt, own = pages
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    G: tl.constexpr = H // K
    member, at, column = tl.arange(0, GROUP), tl.arange(0, WIDE), tl.arange(0, PAGE)
    place = (row * H + head * G + member[:, None]) * D + at[None, :]
    real = (member[:, None] < G) & (at[None, :] < D)
    asked = tl.load(q + place, mask=real, other=0.0)
    length, written = tl.load(prompt + row), tl.load(own) + 1  # this step's column is in place already
    first = (length + PAGE - 1) // PAGE
    best = tl.full((GROUP,), -float("inf"), tl.float32)
    total = tl.zeros((GROUP,), tl.float32)
    mixed = tl.zeros((GROUP, WIDE), tl.float32)
    for index in range(0, first + (written + PAGE - 1) // PAGE):
        left = tl.where(index < first, length - index * PAGE, written - (index - first) * PAGE)
        page = tl.load(table + row * W + index).to(tl.int64)
        start = pool + ((page * L + layer) * K + head) * 2 * PAGE * D
        inside = (column[:, None] < left) & (at[None, :] < D)
        k = tl.load(start + column[:, None] * D + at[None, :], mask=inside, other=0.0)
        v = tl.load(start + PAGE * D + column[:, None] * D + at[None, :], mask=inside, other=0.0)
        scores = tl.dot(asked, tl.trans(k), input_precision="ieee") * scale
        scores = tl.where(column[None, :] < left, scores, -float("inf"))
        top = tl.maximum(best, tl.max(scores, 1))
        shrink = tl.exp(best - top)
        weights = tl.exp(scores - top[:, None])
        total = total * shrink + tl.sum(weights, 1)
        mixed = mixed * shrink[:, None] + tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        best = top
    tl.store(out + place, (mixed / total[:, None]).to(out.dtype.element_ty), mask=real)


def attend(q: Tensor, out: Tensor, pages: Pages, layer: int) -> Tensor:
    """Attention of one query per row and head to all columns of the row. q, out [B, H, D]."""
    (rows, heads, width), (_, layers, kv_heads, _, page, _) = q.shape, pages.pool.shape
    group, wide = max(16, triton.next_power_of_2(heads // kv_heads)), max(16, triton.next_power_of_2(width))
    sizes = (layers, heads, kv_heads, width, pages.table.shape[1], page, group, wide)
    _attend[(rows, kv_heads)](q, out, _lies(pages), layer, width**-0.5, SIZES=sizes)
    return out


def _lies(pages: Pages) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return pages.pool, pages.table, pages.prompt, pages.own


@triton.jit
def _gate(both, act, ffn, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = at < ffn
    gate = tl.load(both + row * 2 * ffn + at, mask=real, other=0.0).to(tl.float32)
    up = tl.load(both + row * 2 * ffn + ffn + at, mask=real, other=0.0).to(tl.float32)
    tl.store(act + row * ffn + at, (gate * tl.sigmoid(gate) * up).to(act.dtype.element_ty), mask=real)


def gate(both: Tensor, act: Tensor) -> Tensor:
    """SiLU of the first half times the second. both [B, 2 ffn], act [B, ffn]."""
    rows, ffn = act.shape
    _gate[(rows, triton.cdiv(ffn, 1024))](both, act, ffn, BLOCK=1024)
    return act


# ------------------------------------------------------------------------------------------------- rows of logits


@triton.jit
def _masses(logits, best, mass, vocabulary, inverse, BLOCK: tl.constexpr):
    row, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    at = block * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(logits + row * vocabulary + at, mask=at < vocabulary, other=-float("inf")) * inverse
    top = tl.max(x, 0)
    tl.store(best + row * tl.num_programs(1) + block, top)
    tl.store(mass + row * tl.num_programs(1) + block, tl.sum(tl.exp(x - top), 0))


@triton.jit
def _draw(logits, parts, uniform, written, vocabulary, blocks, inverse, SIZES: tl.constexpr):
    BLOCK: tl.constexpr = SIZES[0]
    BLOCKS: tl.constexpr = SIZES[1]
    best, mass = parts
    tokens, logprobs = written
    row = tl.program_id(0).to(tl.int64)
    index = tl.arange(0, BLOCKS)
    tops = tl.load(best + row * blocks + index, mask=index < blocks, other=-float("inf"))
    sums = tl.load(mass + row * blocks + index, mask=index < blocks, other=0.0)
    top = tl.max(tops, 0)
    shares = sums.to(tl.float64) * tl.exp(tops - top).to(tl.float64)
    running = tl.cumsum(shares, 0)
    total = tl.sum(shares, 0)
    wanted = tl.load(uniform + row) * total
    chosen = tl.minimum(tl.sum((running <= wanted).to(tl.int32), 0), blocks - 1)
    before = tl.sum(tl.where(index < chosen, shares, 0.0), 0)
    share = tl.sum(tl.where(index == chosen, shares, 0.0), 0)
    at = chosen * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(logits + row * vocabulary + at, mask=at < vocabulary, other=-float("inf")) * inverse
    inside = tl.cumsum(tl.exp(x - top).to(tl.float64), 0)
    whole = tl.max(inside, 0)
    inner = (wanted - before) / share * whole  # the block's sum in this order of summation, so no token of mass 0 is drawn
    spot = tl.minimum(tl.sum((inside <= inner).to(tl.int32), 0), BLOCK - 1)
    token = tl.minimum(chosen * BLOCK + spot, vocabulary - 1)
    tl.store(tokens + row, token.to(tl.int64))
    picked = tl.load(logits + row * vocabulary + token) * inverse
    tl.store(logprobs + row, picked - top - tl.log(total).to(tl.float32))


def draw(logits: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """As `rollout.draw.choose` at a temperature above 0, without truncation.

    Args:
        logits: [B, V] float32. uniform: [B] float64 in [0, 1).

    Returns:
        tokens [B] int64 and their log-probs [B] float32.
    """
    rows, vocabulary = logits.shape
    blocks = triton.cdiv(vocabulary, BLOCK)
    best, mass = logits.new_empty(2, rows, blocks)
    tokens, logprobs = torch.empty(rows, dtype=torch.int64, device=logits.device), logits.new_empty(rows)
    _masses[(rows, blocks)](logits, best, mass, vocabulary, 1 / temperature, BLOCK=BLOCK)
    sizes = (BLOCK, max(2, triton.next_power_of_2(blocks)))
    _draw[(rows,)](logits, (best, mass), uniform, (tokens, logprobs), vocabulary, blocks, 1 / temperature, SIZES=sizes)
    return tokens, logprobs


@triton.jit
def _pick(logits, targets, logprobs, entropies, sums, vocabulary, inverse, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    best, total, weighted = -float("inf"), 0.0, 0.0  # of exp(x - best), and of x exp(x - best)
    for start in range(0, vocabulary, BLOCK):
        at = start + tl.arange(0, BLOCK)
        real = at < vocabulary
        x = tl.load(logits + row * vocabulary + at, mask=real, other=-float("inf")) * inverse
        top = tl.maximum(best, tl.max(x, 0))
        shrink = tl.exp(best - top)
        weights = tl.exp(x - top)
        total = total * shrink + tl.sum(weights, 0)
        weighted = weighted * shrink + tl.sum(tl.where(real, weights * x, 0.0), 0)
        best = top
    lse = best + tl.log(total)
    picked = tl.load(logits + row * vocabulary + tl.load(targets + row)) * inverse
    tl.store(logprobs + row, picked - lse)
    tl.store(entropies + row, lse - weighted / total)
    tl.store(sums + row, lse)


def pick(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probs of the targets, entropies and log-sum-exp of logits [M, V] over the temperature, [M] float32 each."""
    rows, vocabulary = logits.shape
    logprobs, entropies, sums = logits.new_empty(3, rows)
    _pick[(rows,)](logits, targets, logprobs, entropies, sums, vocabulary, 1 / temperature, BLOCK=BLOCK, num_warps=8)
    return logprobs, entropies, sums


@triton.jit
def _unpick(logits, targets, sums, slope, out, vocabulary, inverse, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = at < vocabulary
    x = tl.load(logits + row * vocabulary + at, mask=real, other=-float("inf")) * inverse
    hit = (at == tl.load(targets + row)).to(tl.float32)
    d = (hit - tl.exp(x - tl.load(sums + row))) * tl.load(slope + row) * inverse
    tl.store(out + row * vocabulary + at, d.to(out.dtype.element_ty), mask=real)


def unpick(logits: Tensor, targets: Tensor, sums: Tensor, slope: Tensor, temperature: float, dtype: torch.dtype) -> Tensor:
    """Gradient of the logits [M, V] in `dtype`, given that of the log-probs [M]."""
    rows, vocabulary = logits.shape
    out = torch.empty(rows, vocabulary, dtype=dtype, device=logits.device)
    grid = (rows, triton.cdiv(vocabulary, BLOCK))
    _unpick[grid](logits, targets, sums, slope, out, vocabulary, 1 / temperature, BLOCK=BLOCK, num_warps=8)
    return out
