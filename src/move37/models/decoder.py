"""A lean decoder for the Llama / Qwen2 / Qwen3 family: the same weights, files and logits as transformers, less overhead.

Shapes: N flat tokens, B rows of a cache, H query heads, K key/value heads, G = H / K, D head width, T cached tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn

from move37.models.packed import Packed, Spans

# PyTorch 2.13 wants to be told that heads share keys; 2.11 takes it as it comes and knows no such argument.
GROUPED = {"enable_gqa": True} if "enable_gqa" in signature(varlen_attn).parameters else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What of a Hugging Face `config.json` decides the computation."""

    family: str  # llama | qwen2 | qwen3
    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    ffn: int
    context: int
    rope_theta: float
    norm_eps: float
    tied: bool  # the head is the embedding
    qkv_bias: bool
    qk_norm: bool


class Cache:
    """Keys and values of B rows, all at the same column; shorter prompts are padded on the left."""

    leave_at = 0.75  # finished rows are dropped once this share is still alive: `select` copies what stays

    def __init__(self, keys: list[Tensor], values: list[Tensor], pad: Tensor, used: int) -> None:
        self.keys = keys  # per layer [B, K, T, D]
        self.values = values
        self.pad = pad  # [B] int64: columns of left padding
        self.used = used  # columns filled

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order (a row may repeat)."""
        self.keys = [k[:, :, : self.used].index_select(0, rows) for k in self.keys]
        self.values = [v[:, :, : self.used].index_select(0, rows) for v in self.values]
        self.pad = self.pad.index_select(0, rows)

    def room(self, columns: int) -> None:
        """Where no column is free, add this many."""
        if self.used == self.keys[0].shape[2]:
            self.keys = [_longer(k, self.used, columns) for k in self.keys]
            self.values = [_longer(v, self.used, columns) for v in self.values]


def _longer(cache: Tensor, used: int, more: int) -> Tensor:
    """The used columns of [B, K, T, D] and room for more; what the room holds is never read."""
    rows, heads, columns, width = cache.shape
    longer = cache.new_empty(rows, heads, columns + more, width)
    longer[:, :, :used] = cache[:, :, :used]
    return longer


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        wide = (shape.heads + 2 * shape.kv_heads) * shape.head_width
        self.shape = shape
        self.attention_norm = nn.RMSNorm(shape.hidden, shape.norm_eps)
        self.qkv = nn.Linear(shape.hidden, wide, bias=shape.qkv_bias)
        self.out = nn.Linear(shape.heads * shape.head_width, shape.hidden, bias=False)
        self.q_norm = nn.RMSNorm(shape.head_width, shape.norm_eps) if shape.qk_norm else nn.Identity()
        self.k_norm = nn.RMSNorm(shape.head_width, shape.norm_eps) if shape.qk_norm else nn.Identity()
        self.mlp_norm = nn.RMSNorm(shape.hidden, shape.norm_eps)
        self.gate_up = nn.Linear(shape.hidden, 2 * shape.ffn, bias=False)
        self.down = nn.Linear(shape.ffn, shape.hidden, bias=False)

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N, hidden] -> q [N, H, D], k [N, K, D], v [N, K, D], rotated."""
        s = self.shape
        qkv = self.qkv(self.attention_norm(x)).view(-1, s.heads + 2 * s.kv_heads, s.head_width)
        q, k, v = qkv.split((s.heads, s.kv_heads, s.kv_heads), dim=1)
        return rotate(self.q_norm(q), cos, sin), rotate(self.k_norm(k), cos, sin), v

    def mlp(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding. x [N, heads, D]; cos, sin [N, 1, D]."""
    half = x.shape[-1] // 2
    return x * cos.to(x.dtype) + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin.to(x.dtype)


class Decoder(nn.Module):
    """Embedding, blocks, final norm; `head` is the [V, hidden] matrix of the output layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.hidden)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.hidden, shape.norm_eps)
        self.lm_head = None if shape.tied else nn.Linear(shape.hidden, shape.vocabulary, bias=False)
        exponents = torch.arange(0, shape.head_width, 2, dtype=torch.int64).float() / shape.head_width
        self.register_buffer("frequencies", 1.0 / (shape.rope_theta**exponents), persistent=False)

    @property
    def head(self) -> Tensor:
        return self.embedding.weight if self.lm_head is None else self.lm_head.weight

    def initialise(self, generator: torch.Generator) -> None:
        """Normal 0.02; projections that write to the residual stream scaled down by sqrt(2 * layers)."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 1:
                nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
                continue
            std = 0.02
            if name.endswith(("out.weight", "down.weight")):
                std /= (2 * self.shape.layers) ** 0.5
            nn.init.normal_(parameter, std=std, generator=generator)

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """[N] positions -> cos, sin [N, 1, D] in the dtype of the weights."""
        phase = positions.float()[:, None] * self.frequencies[None, :]
        phase = torch.cat((phase, phase), dim=-1)[:, None, :]
        return phase.cos().to(self.embedding.weight.dtype), phase.sin().to(self.embedding.weight.dtype)

    def hidden(self, packed: Packed) -> Tensor:
        """Final hidden state of every flat token, [N, hidden]."""
        x = self.embedding(packed.tokens)
        cos, sin = self.angles(packed.positions)
        spans = packed.spans() if unpadded(x.device) else None
        mask = packed.mask(half(x.device) or x.dtype) if spans is None else None
        for block in self.blocks:
            q, k, v = block.project(x, cos, sin)
            mixed = _attend(q, k, v, packed, mask) if spans is None else attend(q, k, v, spans)
            x = x + block.out(mixed)
            x = x + block.mlp(x)
        return self._state(x)

    def _state(self, x: Tensor) -> Tensor:
        """What the output layer sees: on a GPU in the dtype of its matrices, which multiply it."""
        return self.norm(x).to(half(x.device)) if x.is_cuda and half(x.device) else self.norm(x)

    # ------------------------------------------------------------------------------------------------- sampling

    def prefill(self, tokens: Tensor, pad: Tensor) -> tuple[Tensor, Cache]:
        """Run prompts, padded on the left.

        Args:
            tokens: [B, T] int64. pad: [B] int64, columns of padding.

        Returns:
            The hidden state of each row's last token, [B, hidden], and the cache.
        """
        rows, columns = tokens.shape
        x = self.embedding(tokens).view(rows * columns, -1)
        places = torch.arange(columns, device=tokens.device)[None, :]
        cos, sin = self.angles((places - pad[:, None]).clamp(min=0).view(-1))
        blocked = (places[:, None, :] < pad[:, None, None]) | (places[:, None, :] > places[:, :, None])  # [B, T, T]
        blocked &= ~torch.eye(columns, dtype=torch.bool, device=tokens.device)  # a padded query must see something
        mask = torch.zeros(blocked.shape, dtype=x.dtype, device=x.device).masked_fill_(blocked, -torch.inf)[:, None]
        keys, values = [], []
        for block in self.blocks:
            q, k, v = (t.view(rows, columns, -1, t.shape[-1]).transpose(1, 2) for t in block.project(x, cos, sin))
            keys.append(k)
            values.append(v)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
            x = x + block.out(y.transpose(1, 2).reshape(rows * columns, -1))
            x = x + block.mlp(x)
        return self._state(x.view(rows, columns, -1)[:, -1]), Cache(keys, values, pad, columns)

    def decode(self, tokens: Tensor, cache: Cache) -> Tensor:
        """One token per row, [B] int64 -> hidden [B, hidden]; the cache grows by a column."""
        s, t = self.shape, cache.used
        x = self.embedding(tokens)
        cos, sin = self.angles(t - cache.pad)
        places = torch.arange(t + 1, device=tokens.device)[None, :]
        mask = torch.zeros((len(tokens), 1, 1, t + 1), dtype=x.dtype, device=x.device)
        mask.masked_fill_((places < cache.pad[:, None])[:, None, None, :], -torch.inf)
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            q, k, v = block.project(x, cos, sin)
            keys[:, :, t] = k
            values[:, :, t] = v
            grouped = q.view(-1, s.kv_heads, s.heads // s.kv_heads, s.head_width)  # groups as queries: no repeat of k, v
            y = F.scaled_dot_product_attention(grouped, keys[:, :, : t + 1], values[:, :, : t + 1], attn_mask=mask)
            x = x + block.out(y.reshape(len(tokens), -1))
            x = x + block.mlp(x)
        cache.used += 1
        return self._state(x)


def half(device: torch.device) -> torch.dtype | None:
    """The dtype that matrix products have here, where autocast says one."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


def unpadded(device: torch.device) -> bool:
    """Whether attention can do without padding here: PyTorch's kernel for it wants a GPU and half precision."""
    return device.type == "cuda" and half(device) in (torch.bfloat16, torch.float16)


class _Gather(torch.autograd.Function):
    """Rows by index, which may repeat; their gradients are added up in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows = len(x)
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        summed = torch.zeros(ctx.rows, *slope.shape[1:], dtype=torch.float32, device=slope.device)
        return summed.index_add_(0, index, slope.float()).to(slope.dtype), None


def attend(q: Tensor, k: Tensor, v: Tensor, spans: Spans, attention: Callable[..., Tensor] = varlen_attn) -> Tensor:
    """Attention of flat tokens without padding, [N, H, D] and [N, K, D] -> [N, H * D]; causal, counted from the ends."""
    seen = _Gather.apply(torch.stack((k, v), 1), spans.keys)  # [keys, 2, K, D]
    ends, longest = (spans.query_ends, spans.key_ends), (spans.longest_query, spans.longest_key)
    return attention(q, seen[:, 0], seen[:, 1], *ends, *longest, window_size=(-1, 0), **GROUPED).flatten(1)


def _attend(q: Tensor, k: Tensor, v: Tensor, packed: Packed, mask: Tensor | None) -> Tensor:
    """Attention of flat tokens by padded rows, [N, H, D] -> [N, H * D]."""

    def rows(x: Tensor, index: Tensor) -> Tensor:  # [rows, heads, columns, D]
        return x.index_select(0, index.view(-1)).view(*index.shape, *x.shape[1:]).transpose(1, 2)

    outputs = []
    kb, vb = rows(k, packed.body_rows), rows(v, packed.body_rows)
    qb = rows(q, packed.body_rows)
    if mask is None:
        outputs.append(F.scaled_dot_product_attention(qb, kb, vb, is_causal=True, enable_gqa=True))
    else:
        kp, vp = rows(k, packed.prefix_rows), rows(v, packed.prefix_rows)
        qp = rows(q, packed.prefix_rows)
        outputs.append(F.scaled_dot_product_attention(qp, kp, vp, is_causal=True, enable_gqa=True))
        kb = torch.cat((kp.index_select(0, packed.parent), kb), dim=2)
        vb = torch.cat((vp.index_select(0, packed.parent), vb), dim=2)
        outputs.append(F.scaled_dot_product_attention(qb, kb, vb, attn_mask=mask.to(q.dtype), enable_gqa=True))
    flat = [o.transpose(1, 2).reshape(-1, o.shape[1] * o.shape[3]) for o in outputs]
    return torch.cat(flat).index_select(0, packed.unpad)
