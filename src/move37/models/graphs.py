"""Decoding on a GPU: a step of the lean decoder captured as a CUDA graph, with paged keys and values.

A decoding step of a small batch is hundreds of short kernels; launched one by one, the GPU waits for the CPU. Here they are
recorded once per number of rows (rounded up) and replayed. A prompt's pages are shared by the responses that continue it; a
finished row gives its pages back, and nothing is moved. Matrices are copied in the dtype of the forward pass at each
prefill; the residual stream, norms and log-probs are float32, as in the learner.
"""

from __future__ import annotations

import importlib.util
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.models.decoder import Cache, Decoder
from move37.models.head import logits

BUCKETS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512)  # rows a graph is captured for
MATRICES = ("qkv", "out", "gate_up", "down")


def obstacle(model: nn.Module, autocast: torch.dtype) -> str | None:
    """What keeps a step of this model from being captured here."""
    if not isinstance(model, Decoder):
        return "the model is not of the Llama / Qwen2 / Qwen3 family"
    if model.head.device.type != "cuda":
        return "they are for GPUs"
    if importlib.util.find_spec("triton") is None:
        return "Triton, which compiles the kernels, is not installed"
    if autocast is torch.bfloat16 and torch.cuda.get_device_capability(model.head.device)[0] < 8:
        return f"{torch.cuda.get_device_name(model.head.device)} has no bfloat16 units (hardware.dtype)"
    if model.shape.head_width % 2 or model.shape.head_width > 256:
        return f"head width {model.shape.head_width} is odd or above 256"
    return None


class GraphCache:
    """Keys and values of B rows: the pages of their prompts, then their own."""

    leave_at = 1.0  # a finished row leaves at once: nothing is copied

    def __init__(self, engine: GraphDecoder, lengths: np.ndarray, table: np.ndarray) -> None:
        self.engine = engine
        self.prompt = lengths.astype(np.int32)  # [B] tokens of the prompt
        self.own = 0  # tokens of each response that are in the cache
        self.table = table  # [B, W] int32 pages; what a row does not use is page 0, which is nobody's

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order. Before the first token is decoded a row may repeat, after it not."""
        index = rows.cpu().numpy()
        if self.own:
            left = np.ones(len(self.prompt), bool)
            left[index] = False
            for row in np.flatnonzero(left):
                self.engine.free += [int(p) for p in self.table[row, self._first[row] :] if p]
        self.prompt, self.table = self.prompt[index], self.table[index]
        self.engine.upload(self)

    def room(self, columns: int) -> None:
        """A page for every row whose next token has none."""
        if self.own % self.engine.page:
            return
        pages = self.engine.take(len(self.prompt))
        self.table[np.arange(len(self.prompt)), self._first + self.own // self.engine.page] = pages
        self.engine.upload(self)

    @property
    def _first(self) -> np.ndarray:
        """[B] the first page of its own in a row's list."""
        return -(-self.prompt // self.engine.page)


class GraphDecoder:
    """`prefill` and `decode` of a `Decoder`, the second as replayed graphs. Copies the weights at each prefill.

    Args:
        model: weights in any dtype. dtype: of matrices, keys and values.
        rows: the kernels (`move37.models.rows`, or the like of it in a test).
        capture: False launches the kernels one by one.
    """

    def __init__(self, model: Decoder, dtype: torch.dtype, rows: ModuleType, capture: bool = True) -> None:
        self.model, self.dtype, self.rows, self.capture = model, dtype, rows, capture
        s, device = model.shape, model.head.device
        self.device, self.page, most = device, rows.PAGE, BUCKETS[-1]
        self.weights = [
            {name: torch.empty_like(getattr(block, name).weight, dtype=dtype) for name in MATRICES} for block in model.blocks
        ]
        self.biases = [torch.empty_like(b.qkv.bias, dtype=dtype) if s.qkv_bias else None for b in model.blocks]
        self.head = torch.empty_like(model.head, dtype=dtype)
        angles = torch.stack([t[:, 0] for t in model.angles(torch.arange(s.context + 1, device=device))])
        self.angles = angles.to(dtype)  # rounded as in the learner
        self.tokens = torch.zeros(most, dtype=torch.int64, device=device)
        self.hidden = torch.zeros(most, s.hidden, dtype=dtype, device=device)
        self.free: list[int] = []
        self.pages = rows.Pages(
            pool=torch.zeros(1, s.layers, s.kv_heads, 2, self.page, s.head_width, dtype=dtype, device=device),
            table=torch.zeros(most, -(-s.context // self.page) + 2, dtype=torch.int32, device=device),
            prompt=torch.zeros(most, dtype=torch.int32, device=device),
            own=torch.zeros(1, dtype=torch.int32, device=device),
        )
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self.memory: tuple[int, int] | None = None  # what the graphs share: one runs at a time
        self.seen: list[int] = []

    @torch.no_grad()
    def prefill(self, tokens: Tensor, pad: Tensor) -> tuple[Tensor, GraphCache]:
        """As `Decoder.prefill`. Weights may have changed since the last one, not until the next, which ends this cache."""
        self._refresh()
        hidden, cache = self.model.prefill(tokens, pad)
        self.free = list(range(1, len(self.pages.pool)))
        self.pages.own.zero_()
        lengths = (tokens.shape[1] - pad).cpu().numpy()
        return hidden.to(self.dtype), GraphCache(self, lengths, self._prompts(cache, lengths))

    @torch.no_grad()
    def decode(self, tokens: Tensor, cache: GraphCache) -> Tensor:
        """As `Decoder.decode`; the result is overwritten by the next call."""
        rows = len(tokens)
        self.tokens[:rows] = tokens
        bucket = next(b for b in BUCKETS if b >= rows)
        if not self.capture:
            self._step(bucket)
        else:
            if bucket not in self.graphs:
                self._record(bucket)
            self.graphs[bucket].replay()
        self.pages.own += 1
        cache.own += 1
        return self.hidden[:rows]

    def draw(self, hidden: Tensor, uniform: np.ndarray, temperature: float) -> tuple[Tensor, Tensor]:
        """As `NativeDecoder.draw`."""
        scores = logits(hidden, self.head)
        if temperature > 0:
            return self.rows.draw(scores, torch.from_numpy(uniform).to(self.device), temperature)
        best = scores.max(-1)
        return best.indices, best.values - scores.logsumexp(-1)

    # ---------------------------------------------------------------------------------------------------- the step

    def _step(self, rows: int) -> None:
        """The forward pass of `rows` tokens, from and to the buffers. Running it twice does what once does."""
        s, k, eps, pages = self.model.shape, self.rows, self.model.shape.norm_eps, self.pages
        new = {"dtype": self.dtype, "device": self.device}
        x = F.embedding(self.tokens[:rows], self.model.embedding.weight).float()
        y, q = torch.empty(rows, s.hidden, **new), torch.empty(rows, s.heads, s.head_width, **new)
        mixed, act = torch.empty_like(q), torch.empty(rows, s.ffn, **new)
        delta = None
        for layer, (block, own, bias) in enumerate(zip(self.model.blocks, self.weights, self.biases, strict=True)):
            k.add_norm(x, delta, block.attention_norm.weight, eps, y)
            norms = (block.q_norm.weight, block.k_norm.weight, eps) if s.qk_norm else None
            k.place(F.linear(y, own["qkv"], bias), norms, self.angles, q, pages, layer)
            delta = F.linear(k.attend(q, mixed, pages, layer).view(rows, -1), own["out"])
            k.add_norm(x, delta, block.mlp_norm.weight, eps, y)
            delta = F.linear(k.gate(F.linear(y, own["gate_up"]), act), own["down"])
        k.add_norm(x, delta, self.model.norm.weight, eps, self.hidden[:rows])

    def _record(self, rows: int) -> None:
        with torch.autocast(self.device.type, enabled=False):
            side = torch.cuda.Stream(self.device)
            side.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(side):  # compiles what is not compiled yet: not allowed while recording
                self._step(rows)
            torch.cuda.current_stream(self.device).wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self.memory):
                self._step(rows)
        self.memory = graph.pool()
        self.graphs[rows] = graph

    def _forget(self) -> None:
        """Addresses have changed. What the graphs shared goes with the last of them."""
        self.graphs.clear()
        self.memory = None

    def _refresh(self) -> None:
        """Copy the weights. Graphs hold addresses: they are recorded anew where a weight lies elsewhere now."""
        model = self.model
        with torch.no_grad():
            self.head.copy_(model.head)
            for block, own, bias in zip(model.blocks, self.weights, self.biases, strict=True):
                for name, copy in own.items():
                    copy.copy_(getattr(block, name).weight)
                if bias is not None:
                    bias.copy_(block.qkv.bias)
        seen = [p.data_ptr() for p in model.parameters()]
        if seen != self.seen:
            self._forget()
        self.seen = seen

    # ------------------------------------------------------------------------------------------------------- pages

    def take(self, count: int) -> list[int]:
        """Pages that are nobody's. Where there are too few the pool doubles, and graphs are recorded anew."""
        if len(self.free) < count:
            have = len(self.pages.pool)
            more = max(have, count)
            larger = self.pages.pool.new_zeros(have + more, *self.pages.pool.shape[1:])
            larger[:have] = self.pages.pool
            self.pages.pool = larger
            self.free += range(have, have + more)
            self._forget()
        taken, self.free = self.free[:count], self.free[count:]
        return taken

    def upload(self, cache: GraphCache) -> None:
        """Tell the GPU which rows there are; what a bucket has beyond them writes to page 0."""
        rows = len(cache.prompt)
        self.pages.table[:rows] = torch.from_numpy(cache.table).to(self.device)
        self.pages.table[rows:] = 0
        self.pages.prompt[:rows] = torch.from_numpy(cache.prompt).to(self.device)
        self.pages.prompt[rows:] = 0

    def _prompts(self, cache: Cache, lengths: np.ndarray) -> np.ndarray:
        """Put keys and values of the prompts into pages. [P, W]: which."""
        prompts, columns, page = len(lengths), cache.used, self.page
        count = -(-columns // page)
        table = np.zeros((prompts, self.pages.table.shape[1]), np.int32)
        table[:, :count] = np.reshape(self.take(prompts * count), (prompts, count))
        used = np.arange(count)[None, :] < -(-lengths[:, None] // page)
        self.free += [int(p) for p in table[:, :count][~used]]
        table[:, :count][~used] = 0
        index = torch.from_numpy(table[:, :count].reshape(-1)).to(self.device, torch.int64)
        places = torch.arange(count * page, device=self.device)
        places = (cache.pad[:, None] + places).clamp(max=columns - 1)[:, None, :, None]
        for layer, both in enumerate(zip(cache.keys, cache.values, strict=True)):
            for kind, x in enumerate(both):
                _, heads, _, width = x.shape
                lined = x.gather(2, places.expand(-1, heads, -1, width)).view(prompts, heads, count, page, width)
                self.pages.pool[index, layer, :, kind] = lined.transpose(1, 2).flatten(0, 1).to(self.dtype)
        return table
