"""Decoding with the compiled kernels: the lean decoder on a CPU, with paged keys and values.

In float32, or with matrices, keys and values in bfloat16, or with keys and values alone in float16; norms, softmax and sums
stay in float32.

A prompt's pages are shared by the responses that continue it; a finished row gives its pages back, and nothing is moved.
In float32 the same arithmetic as `Decoder.decode` in another order of summation.
"""

from __future__ import annotations

import ctypes
import warnings

import numpy as np
import torch
from torch import Tensor, nn

from move37 import native
from move37.errors import RecipeError
from move37.models.decoder import Cache, Decoder

SLAB = 64  # pages that are asked for at once
UNITS = ("none", "vectors", "matrices")  # for products in bfloat16
# (dtype of products, dtype of keys and values) -> how the kernels are compiled
DEFINES = {
    (torch.float32, torch.float32): "",
    (torch.bfloat16, torch.bfloat16): "HALF",
    (torch.float32, torch.float16): "CACHE_F16",
}


class _Layer(ctypes.Structure):
    _names = ("attention_norm", "qkv_bias", "q_norm", "k_norm", "mlp_norm", "qkv", "out", "gate_up", "down")
    _fields_ = [(name, ctypes.c_void_p) for name in _names]


class _Model(ctypes.Structure):
    _sizes = ("hidden", "layers", "heads", "kv_heads", "width", "ffn", "threads")
    _fields_ = [
        *((name, ctypes.c_long) for name in _sizes),
        ("eps", ctypes.c_float),
        ("embedding", ctypes.c_void_p),
        ("norm", ctypes.c_void_p),
        ("layer", ctypes.POINTER(_Layer)),
    ]


class _Batch(ctypes.Structure):
    _pointers = ("tokens", "prompt", "own", "pages", "cosine", "sine", "hidden", "scratch")
    _fields_ = [
        ("rows", ctypes.c_long),
        ("pages_per_row", ctypes.c_long),
        *((name, ctypes.c_void_p) for name in _pointers),
    ]


def engine(model: nn.Module, autocast: torch.dtype, kernels: str, cache: str) -> nn.Module | NativeDecoder:
    """What decodes: the compiled kernels where they fit and `kernels` does not say torch, else the model itself.

    Raises RecipeError where `kernels` is native, or `cache` is float16, and they do not fit.
    """
    kept = torch.float16 if cache == "float16" else autocast
    why = "hardware.kernels=torch" if kernels == "torch" else _obstacle(model, autocast, kept)
    if why is None:
        found = NativeDecoder(model, autocast, kept)
        if autocast is torch.bfloat16 and found.units == "none":
            warnings.warn("this CPU has no units for bfloat16: hardware.dtype=float32 is faster here", stacklevel=2)
        return found
    if cache == "float16":
        raise RecipeError(f"hardware.cache=float16 can not be had: {why}. hardware.cache=auto needs no kernels")
    if kernels == "native":
        raise RecipeError(f"hardware.kernels=native can not be had: {why}. hardware.kernels=auto takes PyTorch then")
    return model


def _obstacle(model: nn.Module, autocast: torch.dtype, kept: torch.dtype) -> str | None:
    """What keeps the kernels from decoding this model here."""
    if not isinstance(model, Decoder):
        return "the model is not of the Llama / Qwen2 / Qwen3 family"
    if model.head.device.type != "cpu":
        return "they are for CPUs"
    if model.head.dtype is not torch.float32:
        return "they want weights in float32"
    if model.shape.head_width % 16 or model.shape.hidden % 16:
        return f"head width {model.shape.head_width} or hidden size {model.shape.hidden} is no multiple of 16"
    if (autocast, kept) not in DEFINES:
        return f"they have no products in {_name(autocast)} beside a cache in {_name(kept)}"
    define = DEFINES[autocast, kept]
    return None if native.library("decode", define) is not None else native.build("decode", define).why


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


class Pages:
    """Free pages of keys and values; asks for more memory in slabs and keeps it for the next pass."""

    def __init__(self, numbers: int, dtype: torch.dtype) -> None:
        self.numbers, self.dtype = numbers, dtype
        self.slabs: list[Tensor] = []
        self.free: list[int] = []  # addresses

    def take(self) -> int:
        if not self.free:
            self.slabs.append(torch.empty(SLAB, self.numbers, dtype=self.dtype))
            self.free = self._addresses(self.slabs[-1])
        return self.free.pop()

    def reset(self) -> None:
        """All pages are free again."""
        self.free = [address for slab in self.slabs for address in self._addresses(slab)]

    def _addresses(self, slab: Tensor) -> list[int]:
        return [slab.data_ptr() + self.bytes * i for i in reversed(range(SLAB))]

    @property
    def bytes(self) -> int:
        """Of a page."""
        return self.numbers * self.dtype.itemsize


class NativeCache:
    """Keys and values of B rows: the pages of their prompts, then their own."""

    leave_at = 1.0  # a finished row leaves at once: nothing is copied

    def __init__(self, pages: Pages, prompts: Tensor, lengths: np.ndarray, page: int) -> None:
        self.pages = pages
        self.prompts = prompts  # [P, pages, numbers]: holds the memory that `table` points to
        self.page = page
        self.prompt = lengths.astype(np.int32)  # [B] tokens of the prompt
        self.own = np.zeros(len(lengths), np.int32)  # [B] tokens of the response that are in the cache
        starts = prompts.data_ptr() + pages.bytes * np.arange(prompts.shape[0] * prompts.shape[1], dtype=np.uint64)
        self.table = starts.reshape(prompts.shape[:2])  # [B, pages] addresses; what a row does not use is 0 or never read

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order. Before the first token is decoded a row may repeat, after it not."""
        index = rows.numpy()
        if self.own.any():
            left = np.ones(len(self.own), bool)
            left[index] = False
            for row in np.flatnonzero(left):
                self.pages.free += [int(p) for p in self.table[row, self._first(row) :] if p]
        self.prompt, self.own, self.table = self.prompt[index], self.own[index], self.table[index]

    def room(self, columns: int) -> None:
        """A page for every row whose next token has none."""
        if self.own[0] % self.page:  # all rows are at the same token of their responses
            return
        first = np.array([self._first(row) for row in range(len(self.own))])
        wanted = first + self.own // self.page
        if wanted.max() >= self.table.shape[1]:
            more = np.zeros((len(self.table), 4), np.uint64)
            self.table = np.ascontiguousarray(np.concatenate([self.table, more], axis=1))
        if not self.own[0]:
            for row, start in enumerate(first):
                self.table[row, start:] = 0
        for row, column in enumerate(wanted):
            self.table[row, column] = self.pages.take()

    def _first(self, row: int) -> int:
        """The first page of its own in a row's list."""
        return -(-int(self.prompt[row]) // self.page)


class NativeDecoder:
    """`prefill` and `decode` of a `Decoder`, the second by the kernels. Packs the weights at each prefill."""

    def __init__(self, model: Decoder, dtype: torch.dtype = torch.float32, cache: torch.dtype | None = None) -> None:
        """dtype: of matrices and what they multiply. cache: of keys and values, None: the same; pairs are those of DEFINES."""
        kept = dtype if cache is None else cache
        lib = native.library("decode", DEFINES[dtype, kept])
        assert lib is not None
        self.model, self.lib, self.dtype = model, lib, dtype
        self.units = UNITS[lib.move37_units()]  # asks the system for the matrix units, once per process
        self.panel, self.page = lib.move37_panel(), lib.move37_page()
        s = model.shape
        self.padded = -(-s.head_width // self.panel) * self.panel
        self.pages = Pages(s.layers * s.kv_heads * self.page * (s.head_width + self.padded), kept)
        self.packed: list[dict[str, Tensor]] = [{} for _ in range(s.layers)]
        self.outer: dict[str, Tensor] = {}
        self.layers = (_Layer * s.layers)()
        self.scratch = torch.empty(0)
        self.angles = torch.empty(2, 0, s.head_width)

    @property
    def head(self) -> Tensor:
        return self.model.head

    def prefill(self, tokens: Tensor, pad: Tensor) -> tuple[Tensor, NativeCache]:
        """As `Decoder.prefill`. Weights may have changed since the last one, not until the next, which ends this cache."""
        self._pack()
        self.pages.reset()
        hidden, cache = self.model.prefill(tokens, pad)
        return hidden.float(), NativeCache(self.pages, self._prompt_pages(cache), (tokens.shape[1] - pad).numpy(), self.page)

    def decode(self, tokens: Tensor, cache: NativeCache) -> Tensor:
        """As `Decoder.decode`."""
        rows, longest = cache.table.shape
        hidden = torch.empty(rows, self.model.shape.hidden)
        self.spec.threads = torch.get_num_threads()
        scratch = self._scratch(self.spec.threads * self.lib.move37_scratch(ctypes.byref(self.spec), rows, longest))
        cosine, sine = self._angles(int((cache.prompt + cache.own).max()) + 1)
        batch = _Batch(
            rows=rows,
            pages_per_row=longest,
            tokens=tokens.data_ptr(),
            prompt=cache.prompt.ctypes.data,
            own=cache.own.ctypes.data,
            pages=cache.table.ctypes.data,
            cosine=cosine.data_ptr(),
            sine=sine.data_ptr(),
            hidden=hidden.data_ptr(),
            scratch=scratch.data_ptr(),
        )
        self.lib.move37_decode(ctypes.byref(self.spec), ctypes.byref(batch))
        cache.own += 1
        return hidden

    def draw(self, hidden: Tensor, uniform: np.ndarray, temperature: float) -> tuple[Tensor, Tensor]:
        """A token per row by inverting the cumulative distribution, as `rollout.draw.choose` without truncation.

        Args:
            hidden: [B, hidden] float32. uniform: [B] float64 in [0, 1). temperature: 0 is greedy.

        Returns:
            tokens [B] int64 and their log-probs at the temperature (at 1 when greedy), [B] float32.
        """
        (rows, width), vocabulary, threads = hidden.shape, len(self.head), torch.get_num_threads()
        tokens, logprobs = torch.empty(rows, dtype=torch.int64), torch.empty(rows)
        scratch = self._scratch(threads * self.lib.move37_draw_scratch(width, vocabulary))
        inverse = 1 / temperature if temperature > 0 else 0.0
        given = (hidden.data_ptr(), self.output, inverse, np.ascontiguousarray(uniform, np.float64).ctypes.data)
        written = (tokens.data_ptr(), logprobs.data_ptr(), scratch.data_ptr(), threads)
        self.lib.move37_draw(rows, width, vocabulary, *given, *written)
        return tokens, logprobs

    def _scratch(self, floats: int) -> Tensor:
        if self.scratch.numel() < floats:
            self.scratch = torch.empty(floats)
        return self.scratch

    def _angles(self, positions: int) -> Tensor:
        """[2, positions or more, D]: cosines and sines."""
        if self.angles.shape[1] < positions:
            places = torch.arange(max(positions, 2 * self.angles.shape[1], 256))
            self.angles = torch.stack([t[:, 0] for t in self.model.angles(places)])
        return self.angles

    def _pack(self) -> None:
        s = self.model.shape
        self.spec = _Model(
            hidden=s.hidden,
            layers=s.layers,
            heads=s.heads,
            kv_heads=s.kv_heads,
            width=s.head_width,
            ffn=s.ffn,
            eps=s.norm_eps,
            embedding=self.model.embedding.weight.data_ptr(),
            norm=self.model.norm.weight.data_ptr(),
            layer=self.layers,
        )
        for layer, block, packed in zip(self.layers, self.model.blocks, self.packed, strict=True):
            layer.attention_norm = block.attention_norm.weight.data_ptr()
            layer.mlp_norm = block.mlp_norm.weight.data_ptr()
            layer.qkv_bias = block.qkv.bias.data_ptr() if s.qkv_bias else None
            layer.q_norm = block.q_norm.weight.data_ptr() if s.qk_norm else None
            layer.k_norm = block.k_norm.weight.data_ptr() if s.qk_norm else None
            for name in ("qkv", "out", "gate_up", "down"):
                setattr(layer, name, self._panels(packed, name, getattr(block, name).weight))
        self.output = self._panels(self.outer, "head", self.head)

    def _panels(self, packed: dict[str, Tensor], name: str, weight: Tensor) -> int:
        """Address of the packed copy of a matrix, which is written anew."""
        rows, columns = weight.shape
        pair = int(name == "gate_up")
        if name not in packed:
            packed[name] = torch.empty(self.lib.move37_packed(rows, columns, pair), dtype=self.dtype)
        self.lib.move37_pack(weight.data_ptr(), rows, columns, pair, packed[name].data_ptr())
        return packed[name].data_ptr()

    def _prompt_pages(self, cache: Cache) -> Tensor:
        """[P, pages, numbers]: the keys and values of the prompts, as the kernels want them."""
        s, page = self.model.shape, self.page
        prompts, columns = len(cache.pad), cache.used
        count = -(-columns // page)
        filled = torch.zeros(prompts, count, s.layers, s.kv_heads * page * (s.head_width + self.padded), dtype=self.pages.dtype)
        places = (cache.pad[:, None] + torch.arange(count * page)[None, :]).clamp(max=columns - 1)[:, None, :, None]
        split = s.kv_heads * page * s.head_width
        most = torch.finfo(torch.float16).max if filled.dtype is torch.float16 else None  # of infinity no softmax is made
        for layer, (keys, values) in enumerate(zip(cache.keys, cache.values, strict=True)):
            index = places.expand(-1, s.kv_heads, -1, s.head_width)
            k = keys.gather(2, index).view(prompts, s.kv_heads, count, page, s.head_width)
            v = values.gather(2, index).view(prompts, s.kv_heads, count, page, s.head_width)
            if most is not None:
                k, v = k.clamp(-most, most), v.clamp(-most, most)
            filled[:, :, layer, :split] = k.permute(0, 2, 1, 4, 3).reshape(prompts, count, -1)
            v = nn.functional.pad(v, (0, self.padded - s.head_width))
            filled[:, :, layer, split:] = v.transpose(1, 2).reshape(prompts, count, -1)
        return filled.view(prompts, count, -1)
