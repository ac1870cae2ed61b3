"""The learner's forward and backward pass of a lean decoder on a CPU: matrix products by PyTorch, all between them by kernels.

The same gradients as `Decoder.hidden` and `pick_logprobs` through autograd, in another order of summation. What a pass keeps
lives in one workspace that the next pass writes over: fresh memory costs more than most of the arithmetic.

Shapes: N flat tokens, M targets, D hidden size, V vocabulary.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from move37 import native
from move37.errors import RecipeError
from move37.models.decoder import Block, Decoder
from move37.models.native import DEFINES
from move37.models.packed import Packed

LOGITS_AT_ONCE = 1 << 20  # numbers of one chunk: 4 MiB in float32 stay in a CPU's cache
BODIES_AT_ONCE = 4  # sequences of one prompt that one thread takes


class _Heads(ctypes.Structure):
    _pointers = ("bias", "q_norm", "k_norm", "cosine", "sine")
    _fields_ = [
        *((name, ctypes.c_long) for name in ("heads", "kv_heads", "width")),
        ("eps", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in _pointers),
    ]


class _Layout(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_long) for name in ("prompts", "parts", "longest_prompt", "longest_body")),
        *((name, ctypes.c_void_p) for name in ("prompt", "part", "body")),
    ]


def fused(model: nn.Module, autocast: torch.dtype, kernels: str) -> FusedDecoder | None:
    """The fused pass where it fits and `kernels` does not say torch, else None.

    Raises RecipeError where `kernels` is native and it does not fit.
    """
    if kernels == "torch":
        return None
    why = _obstacle(model, autocast)
    if why is None:
        assert isinstance(model, Decoder)
        return FusedDecoder(model, autocast)
    if kernels == "native":
        raise RecipeError(f"hardware.kernels=native can not be had: {why}. hardware.kernels=auto takes PyTorch then")
    return None


def _obstacle(model: nn.Module, autocast: torch.dtype) -> str | None:
    """What keeps the kernels from training this model here."""
    if not isinstance(model, Decoder):
        return "the model is not of the Llama / Qwen2 / Qwen3 family"
    if model.head.device.type != "cpu":
        return "they are for CPUs"
    if model.head.dtype is not torch.float32:
        return "they want weights in float32"
    s = model.shape
    if s.head_width % 16 or s.hidden % 16 or s.ffn % 16:
        return f"head width {s.head_width}, hidden size {s.hidden} or feed-forward size {s.ffn} is no multiple of 16"
    for define in {"", DEFINES[autocast, autocast]}:
        if native.library("train", define) is None:
            return native.build("train", define).why
    return None


class Workspace:
    """Tensors by name that are asked for again and again; the memory of a name only grows."""

    def __init__(self) -> None:
        self.passes = 0  # forward passes so far: a backward pass belongs to the last one
        self.memory: dict[tuple[str, torch.dtype], Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """What it holds is whatever was there."""
        size = int(np.prod(shape))
        have = self.memory.get((name, dtype))
        if have is None or have.numel() < size:
            have = self.memory[name, dtype] = torch.empty(size, dtype=dtype)
        return have[:size].view(shape)


class Sequences:
    """A `Packed` as the attention kernel wants it. The arrays live as long as this object."""

    def __init__(self, packed: Packed) -> None:
        parents = packed.parent.numpy()
        order = np.argsort(parents, kind="stable")
        lengths = [*packed.prefix_lengths, *packed.body_lengths]
        rows = np.stack([np.cumsum([0, *lengths[:-1]]), lengths], axis=1).astype(np.int64)
        prompts = len(packed.prefix_lengths)
        self.prompt = np.ascontiguousarray(rows[:prompts])  # [R, 2] start, count
        self.body = np.ascontiguousarray(rows[prompts:][order])  # [S, 2]
        self.part = _parts(parents[order])  # [parts, 3] prompt or -1, first body, end
        self.longest = max(packed.prefix_lengths, default=0) + max(lengths)
        self.spec = _Layout(
            prompts=prompts,
            parts=len(self.part),
            longest_prompt=max(packed.prefix_lengths, default=0),
            longest_body=max(packed.body_lengths),
            prompt=self.prompt.ctypes.data,
            part=self.part.ctypes.data,
            body=self.body.ctypes.data,
        )


def _parts(parents: np.ndarray) -> np.ndarray:
    """[S] sorted parents -> [parts, 3]: runs of one parent, of at most BODIES_AT_ONCE; one each where there is no parent."""
    parts: list[list[int]] = []
    for body, parent in enumerate(parents):
        if parts and parent >= 0 and parts[-1][0] == parent and body - parts[-1][1] < BODIES_AT_ONCE:
            parts[-1][2] = body + 1
        else:
            parts.append([int(parent), body, body + 1])
    return np.array(parts, np.int64)


class FusedDecoder:
    """Log-probs of a decoder's targets, with a backward pass that adds to `.grad` of its weights.

    In bfloat16, matrices and activations are rounded to it; the residual stream, norms, log-probs, and the sums over
    micro-batches are float32, as are the weights themselves.
    """

    def __init__(self, model: Decoder, dtype: torch.dtype, space: Workspace | None = None) -> None:
        self.model, self.dtype = model, dtype
        whole, lib = native.library("train"), native.library("train", DEFINES[dtype, dtype])
        assert whole is not None and lib is not None
        self.whole, self.lib = whole, lib  # for float32, for `dtype`
        self.space = space or Workspace()
        self.angles = torch.empty(2, 0, model.shape.head_width)

    def sharing(self, model: Decoder) -> FusedDecoder:
        """The same for another model, in the same memory."""
        return FusedDecoder(model, self.dtype, self.space)

    def logprobs(self, packed: Packed, source: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """As `pick_logprobs` of the hidden states at `source` [M]. One backward pass, before the next forward pass."""
        anchor = self.model.embedding.weight
        keep = torch.is_grad_enabled() and anchor.requires_grad
        return _Pass.apply(self, packed, source, targets, temperature, keep, anchor)

    def states(self, packed: Packed, source: Tensor) -> Tensor:
        """Final hidden states at `source`, [M, D] float32, for another output layer. Backward passes as of `logprobs`."""
        anchor = self.model.embedding.weight
        return _Trunk.apply(self, packed, source, torch.is_grad_enabled() and anchor.requires_grad, anchor)

    # ---------------------------------------------------------------------------------------------------- forward

    def forward(self, packed: Packed, keep: bool) -> Tensor:
        """Final hidden states [N, D] float32; `keep` what the backward pass needs."""
        model, n, s = self.model, len(packed.tokens), self.model.shape
        sequences = Sequences(packed)
        x = self._take("x", -1, n, s.hidden, torch.float32)
        torch.index_select(model.embedding.weight.detach(), 0, packed.tokens, out=x)
        delta, act = self._take("delta", -1, n, s.hidden), self._take("act", -1, n, s.ffn)
        written = None
        for layer, block in enumerate(model.blocks):
            at = layer if keep else 0
            x, y = self._norm("attention", at, block.attention_norm, x, written)
            qkv = self._product(y, block.qkv.weight, ("qkv", at))
            mixed, lse = self._take("mixed", at, n, s.heads * s.head_width), self._take("lse", at, n, s.heads, torch.float32)
            heads, threads = self._heads(block, sequences.longest), torch.get_num_threads()
            scratch = self._scratch(heads, sequences, threads)
            self.lib.move37_attend(
                ctypes.byref(heads), ctypes.byref(sequences.spec), *_at(qkv, mixed, lse, scratch), threads
            )
            written = torch.mm(mixed, self._cast(block.out.weight).t(), out=delta)
            x, y = self._norm("mlp", at, block.mlp_norm, x, written)
            both = self._product(y, block.gate_up.weight, ("both", at))
            self.lib.move37_gate(n, s.ffn, *_at(both, act))
            written = torch.mm(act, self._cast(block.down.weight).t(), out=delta)
        x = torch.add(x, delta, out=self._take("last", -1, n, s.hidden, torch.float32))
        y, scale = self._take("hidden", -1, n, s.hidden, torch.float32), self.space.take("last scale", (n,))
        self.whole.move37_norm(n, s.hidden, *_at(x), None, *_at(model.norm.weight), s.norm_eps, *_at(x, y, scale))
        return y

    def _norm(self, name: str, at: int, norm: nn.RMSNorm, x: Tensor, delta: Tensor | None) -> tuple[Tensor, Tensor]:
        """(x + delta, normalised)."""
        n, hidden = x.shape
        total = self._take(f"{name} x", at, n, hidden, torch.float32)
        y, scale = self._take(f"{name} y", at, n, hidden), self.space.take(f"{name} scale {at}", (n,))
        more = None if delta is None else delta.data_ptr()
        self.lib.move37_norm(n, hidden, *_at(x), more, *_at(norm.weight), norm.eps, *_at(total, y, scale))
        return total, y

    # --------------------------------------------------------------------------------------------------- backward

    def backward(self, packed: Packed, slope: Tensor) -> None:
        """Add the gradients of all weights of the trunk, given that of the final hidden states, [N, D] float32."""
        model, s, n = self.model, self.model.shape, len(packed.tokens)
        sequences = Sequences(packed)
        dx = self._take("dx", -1, n, s.hidden, torch.float32).zero_()
        x, scale = self._take("last", -1, n, s.hidden, torch.float32), self.space.take("last scale", (n,))
        self._norm_back(self.whole, model.norm, (x, scale, slope), dx, None)
        d = dx if self.dtype is torch.float32 else self._take("d", -1, n, s.hidden).copy_(dx)
        for at in reversed(range(s.layers)):
            self._mlp_back(model.blocks[at], at, dx, d)
            self._attention_back(model.blocks[at], at, sequences, dx, d)
        _grad(model.embedding.weight).index_add_(0, packed.tokens, dx)

    def _mlp_back(self, block: Block, at: int, dx: Tensor, d: Tensor) -> None:
        n, ffn = len(d), self.model.shape.ffn
        both = self._take("both", at, n, 2 * ffn)
        act = torch.mm(d, self._cast(block.down.weight), out=self._take("act", -1, n, ffn))
        self.lib.move37_gate_back(n, ffn, *_at(both, act))
        self._accumulate(block.down.weight, d, act)
        self._input_back("mlp", at, block.mlp_norm, block.gate_up.weight, both, (dx, d))

    def _attention_back(self, block: Block, at: int, sequences: Sequences, dx: Tensor, d: Tensor) -> None:
        s, n, threads = self.model.shape, len(d), torch.get_num_threads()
        wide = (s.heads + 2 * s.kv_heads) * s.head_width
        mixed, qkv = self._take("mixed", at, n, s.heads * s.head_width), self._take("qkv", at, n, wide)
        lse = self._take("lse", at, n, s.heads, torch.float32)
        dmixed = torch.mm(d, self._cast(block.out.weight), out=self._take("dmixed", -1, n, s.heads * s.head_width))
        self._accumulate(block.out.weight, d, mixed)
        dqkv = self._take("dqkv", -1, n, wide)
        heads, spec = self._heads(block, sequences.longest), sequences.spec
        scratch, panel = self._scratch(heads, sequences, threads), self.lib.move37_panel()
        share = -(-spec.longest_prompt // panel) * panel * -(-s.head_width // panel) * panel
        shared = self.space.take("shared", (spec.parts * s.kv_heads * 2 * share,))
        norms = self.space.take("norms", (spec.prompts + spec.parts, s.kv_heads, 2, s.head_width)).zero_()
        where = _at(qkv, mixed, lse, dmixed, dqkv, shared, norms, scratch)
        self.lib.move37_attend_back(ctypes.byref(heads), ctypes.byref(spec), *where, threads)
        if s.qk_norm:
            _grad(block.q_norm.weight).add_(norms[:, :, 0].sum((0, 1)))
            _grad(block.k_norm.weight).add_(norms[:, :, 1].sum((0, 1)))
        if s.qkv_bias:
            _grad(block.qkv.bias).add_(dqkv.sum(0, dtype=torch.float32))
        self._input_back("attention", at, block.attention_norm, block.qkv.weight, dqkv, (dx, d))

    def _input_back(
        self, name: str, at: int, norm: nn.RMSNorm, weight: Tensor, slope: Tensor, residual: tuple[Tensor, Tensor]
    ) -> None:
        """Through a matrix and the norm before it; adds to the residual's gradient dx, and d is dx in `dtype`."""
        (dx, d), (n, hidden) = residual, residual[0].shape
        y, x = self._take(f"{name} y", at, n, hidden), self._take(f"{name} x", at, n, hidden, torch.float32)
        self._accumulate(weight, slope, y)
        dy = torch.mm(slope, self._cast(weight), out=self._take("dy", -1, n, hidden))
        scale = self.space.take(f"{name} scale {at}", (n,))
        self._norm_back(self.lib, norm, (x, scale, dy), dx, None if d is dx else d)

    def _norm_back(
        self, lib: ctypes.CDLL, norm: nn.RMSNorm, kept: tuple[Tensor, Tensor, Tensor], dx: Tensor, copy: Tensor | None
    ) -> None:
        x, scale, dy = kept
        n, hidden = dx.shape
        threads = torch.get_num_threads()
        shares = self.space.take("norm shares", (threads, hidden)).zero_()
        written = None if copy is None else copy.data_ptr()
        lib.move37_norm_back(n, hidden, *_at(x, scale, norm.weight, dy, dx, shares), written, threads)
        _grad(norm.weight).add_(shares.sum(0))

    # ------------------------------------------------------------------------------------------------ output layer

    def pick(self, states: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probs, entropies and log-sum-exp [M] of states [M, D]."""
        found = torch.empty(3, len(targets))
        head = self.model.head.detach()
        for part in _chunks(len(targets), len(head)):
            logits = self._logits(states[part], head)
            rows = _at(logits, targets[part]), _at(*(row[part] for row in found))
            self.whole.move37_pick(*logits.shape, *rows[0], 1 / temperature, *rows[1])
        logp, entropy, lse = found
        return logp, entropy, lse

    def unpick(self, states: Tensor, targets: Tensor, temperature: float, lse: Tensor, slope: Tensor) -> Tensor:
        """Gradient of the states [M, D] float32, given that of the log-probs; adds that of the output layer."""
        head, low = self.model.head, self._cast(self.model.head)
        dstates = self._take("dstates", -1, *states.shape)
        seen = states if self.dtype is torch.float32 else self._take("seen", -1, *states.shape).copy_(states)
        for part in _chunks(len(targets), len(head)):
            logits = self._logits(states[part], head.detach())
            dlogits = logits if self.dtype is torch.float32 else self._take("dlogits", -1, *logits.shape)
            rows = _at(logits, targets[part]), _at(slope[part], lse[part], dlogits)
            self.lib.move37_unpick(*logits.shape, *rows[0], 1 / temperature, *rows[1])
            torch.mm(dlogits, low, out=dstates[part])
            self._accumulate(head, dlogits, seen[part])
        return dstates.float()

    def _logits(self, states: Tensor, head: Tensor) -> Tensor:
        return torch.mm(states, head.t(), out=self.space.take("logits", (len(states), len(head))))

    # ------------------------------------------------------------------------------------------------------ pieces

    def _take(self, name: str, layer: int, rows: int, columns: int, dtype: torch.dtype | None = None) -> Tensor:
        return self.space.take(f"{name} {layer}", (rows, columns), self.dtype if dtype is None else dtype)

    def _product(self, x: Tensor, weight: Tensor, name: tuple[str, int]) -> Tensor:
        return torch.mm(x, self._cast(weight).t(), out=self._take(*name, len(x), len(weight)))

    def _cast(self, weight: Tensor) -> Tensor:
        """A weight in `dtype`, cast anew at each use: it may have been trained since."""
        weight = weight.detach()
        if self.dtype is torch.float32:
            return weight
        return self.space.take("cast", tuple(weight.shape), self.dtype).copy_(weight)

    def _accumulate(self, weight: Tensor, dy: Tensor, x: Tensor) -> None:
        """weight.grad += dy^T x."""
        if self.dtype is torch.float32:
            _grad(weight).addmm_(dy.t(), x)
        else:
            _grad(weight).add_(torch.mm(dy.t(), x, out=self.space.take("dweight", tuple(weight.shape), self.dtype)))

    def _heads(self, block: Block, positions: int) -> _Heads:
        s = self.model.shape
        if self.angles.shape[1] < positions:
            self.angles = torch.stack([t[:, 0] for t in self.model.angles(torch.arange(2 * positions))])
        return _Heads(
            heads=s.heads,
            kv_heads=s.kv_heads,
            width=s.head_width,
            eps=s.norm_eps,
            bias=block.qkv.bias.data_ptr() if s.qkv_bias else None,
            q_norm=block.q_norm.weight.data_ptr() if s.qk_norm else None,
            k_norm=block.k_norm.weight.data_ptr() if s.qk_norm else None,
            cosine=self.angles[0].data_ptr(),
            sine=self.angles[1].data_ptr(),
        )

    def _scratch(self, heads: _Heads, sequences: Sequences, threads: int) -> Tensor:
        each = self.lib.move37_attention_scratch(ctypes.byref(heads), ctypes.byref(sequences.spec))
        return self.space.take("scratch", (threads * each,))


class _Pass(torch.autograd.Function):
    """`anchor` is a weight: with it the result has a gradient. The gradients themselves are added where they belong."""

    @staticmethod
    def forward(
        ctx: Any, fused: FusedDecoder, packed: Packed, source: Tensor, targets: Tensor, temperature: float, keep: bool, _: Tensor
    ) -> tuple[Tensor, Tensor]:
        fused.space.passes += 1
        hidden = fused.forward(packed, keep)
        states = fused.space.take("states", (len(source), hidden.shape[1]))
        torch.index_select(hidden, 0, source, out=states)
        logp, entropy, lse = fused.pick(states, targets, temperature)
        ctx.given, ctx.lse, ctx.number = (fused, packed, source, targets, temperature), lse, fused.space.passes
        ctx.mark_non_differentiable(entropy)
        return logp, entropy

    @staticmethod
    def backward(ctx: Any, slope: Tensor, _: Tensor) -> tuple[None, ...]:
        fused, packed, source, targets, temperature = ctx.given
        assert ctx.number == fused.space.passes, "a backward pass belongs to the forward pass before it, and there is one"
        fused.space.passes += 1
        states = fused.space.take("states", (len(source), fused.model.shape.hidden))
        dstates = fused.unpick(states, targets, temperature, ctx.lse, slope.contiguous())
        dhidden = fused.space.take("dhidden", (len(packed.tokens), dstates.shape[1])).zero_()
        fused.backward(packed, dhidden.index_add_(0, source, dstates))
        return (None,) * 7


class _Trunk(torch.autograd.Function):
    """The states alone; what comes after them is autograd's."""

    @staticmethod
    def forward(ctx: Any, fused: FusedDecoder, packed: Packed, source: Tensor, keep: bool, _: Tensor) -> Tensor:
        fused.space.passes += 1
        ctx.given, ctx.number = (fused, packed, source), fused.space.passes
        return fused.forward(packed, keep).index_select(0, source)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[None, ...]:
        fused, packed, source = ctx.given
        assert ctx.number == fused.space.passes, "a backward pass belongs to the forward pass before it, and there is one"
        fused.space.passes += 1
        dhidden = fused.space.take("dhidden", (len(packed.tokens), slope.shape[1])).zero_()
        fused.backward(packed, dhidden.index_add_(0, source, slope))
        return (None,) * 5


def _grad(weight: Tensor) -> Tensor:
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    return weight.grad


def _at(*tensors: Tensor) -> tuple[int, ...]:
    assert all(t.is_contiguous() for t in tensors)
    return tuple(t.data_ptr() for t in tensors)


def _chunks(rows: int, vocabulary: int) -> list[slice]:
    size = max(16, LOGITS_AT_ONCE // vocabulary)
    return [slice(i, min(i + size, rows)) for i in range(0, rows, size)]
