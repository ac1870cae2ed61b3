"""Any causal LM of transformers behind the interface of the lean decoder: slower, padded, but everything loads."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, DynamicCache

from move37.errors import ModelError
from move37.models.packed import Packed


class HFCache:
    """transformers' cache with what the sampler asks for."""

    leave_at = 0.75

    def __init__(self, past: DynamicCache, pad: Tensor, used: int) -> None:
        self.past, self.pad, self.used = past, pad, used

    def select(self, rows: Tensor) -> None:
        self.past.batch_select_indices(rows)
        self.pad = self.pad.index_select(0, rows)

    def room(self, columns: int) -> None:
        """It grows by itself."""


class HFModel(nn.Module):
    """`net` is a transformers causal LM; hidden states come from its decoder, logits from `head`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    @classmethod
    def load(cls, path: Path, dtype: torch.dtype) -> HFModel:
        """Raises ModelError where logits are not `head @ hidden` (capped or scaled outputs)."""
        transformers.utils.logging.disable_progress_bar()  # it would run through our own display
        net = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, local_files_only=True)
        model = cls(net.eval())
        with torch.no_grad():
            probe = torch.arange(1, 5)[None]
            given = {"input_ids": probe, "attention_mask": torch.ones_like(probe)}
            ours = model._body(**given).last_hidden_state @ model.head.T
            gap = (ours - net(**given).logits).abs().max().item()
        if gap > 1e-3 * max(1.0, ours.abs().max().item()):
            raise ModelError(
                f"model {path}: its logits are not its output matrix times its hidden state (off by {gap:.3g}); not supported yet"
            )
        return model

    @property
    def head(self) -> Tensor:
        return self.net.get_output_embeddings().weight

    @property
    def _body(self) -> nn.Module:
        return self.net.get_decoder()

    def hidden(self, packed: Packed) -> Tensor:
        """[N, hidden]; sequences are run whole and padded, a shared prompt once per response."""
        rows, fresh = [], []
        written: set[int] = set()
        for i, (parent, size) in enumerate(zip(packed.parent.tolist(), packed.body_lengths, strict=True)):
            body = packed.body_rows[i, :size]
            shared = packed.prefix_lengths[parent] if parent >= 0 else 0
            row = torch.cat((packed.prefix_rows[parent, :shared], body)) if parent >= 0 else body
            rows.append(row)
            fresh.append(torch.arange(len(row)) >= (shared if parent in written else 0))
            written.add(parent)
        longest = max(len(r) for r in rows)
        grid = torch.stack([nn.functional.pad(r, (0, longest - len(r))) for r in rows])
        real = torch.stack([torch.arange(longest) < len(r) for r in rows]).to(grid.device)
        kept = torch.stack([nn.functional.pad(f, (0, longest - len(f))) for f in fresh]).to(grid.device)
        out = self._body(input_ids=packed.tokens[grid], attention_mask=real.long(), use_cache=False).last_hidden_state
        flat = torch.zeros(len(packed.tokens), out.shape[-1], dtype=out.dtype, device=out.device)
        return flat.index_put((grid[kept],), out[kept])  # every flat token is written once

    def prefill(self, tokens: Tensor, pad: Tensor) -> tuple[Tensor, HFCache]:
        places = torch.arange(tokens.shape[1], device=tokens.device)[None, :]
        past = DynamicCache()
        out = self._body(
            input_ids=tokens,
            attention_mask=(places >= pad[:, None]).long(),
            position_ids=(places - pad[:, None]).clamp(min=0),
            past_key_values=past,
            use_cache=True,
        )
        return out.last_hidden_state[:, -1], HFCache(past, pad, tokens.shape[1])

    def decode(self, tokens: Tensor, cache: HFCache) -> Tensor:
        places = torch.arange(cache.used + 1, device=tokens.device)[None, :]
        out = self._body(
            input_ids=tokens[:, None],
            attention_mask=(places >= cache.pad[:, None]).long(),
            position_ids=(cache.used - cache.pad)[:, None],
            past_key_values=cache.past,
            use_cache=True,
        )
        cache.used += 1
        return out.last_hidden_state[:, -1]
