"""Sequences without padding: the one shape every forward pass of a training stage takes.

A `Packed` holds *prefixes* (prompts, computed once) and *bodies* (responses that continue a prefix, or whole documents
that continue nothing). Linear layers see the flat tokens; attention alone sees padded rows, one per prefix or body, and
a body's row attends to its own prefix and to itself. So nothing leaks between sequences and no prompt is computed twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """R + S sequences of queries, flat as they are, and for each the keys it sees: those of its prefix, then its own."""

    keys: Tensor  # [all keys] int64: flat index of each; a prefix comes once for itself and once per body
    query_ends: Tensor  # [R + S + 1] int32: where each sequence of queries ends, after a 0
    key_ends: Tensor  # [R + S + 1] int32
    longest_query: int
    longest_key: int


@dataclass(slots=True, kw_only=True)
class Packed:
    """Flat tokens and how they form rows. N tokens; R prefixes of up to P; S bodies of up to L tokens."""

    tokens: Tensor  # [N] int64: all prefixes, then all bodies
    positions: Tensor  # [N] int64: position within prefix + body
    prefix_rows: Tensor  # [R, P] int64: flat index of each token, 0 where padded
    body_rows: Tensor  # [S, L] int64
    parent: Tensor  # [S] int64: the prefix a body continues; all bodies have one, or none has (R = 0)
    unpad: Tensor  # [N] int64: where each flat token lies in the concatenated padded rows
    last_of_prefix: Tensor  # [R] int64: flat index of each prefix's last token
    prefix_lengths: list[int]
    body_lengths: list[int]

    def mask(self, dtype: torch.dtype) -> Tensor | None:
        """[S, 1, L, P + L] 0 or -inf: a body's row sees its own prefix, then itself causally. None where R = 0."""
        if not self.prefix_lengths:
            return None
        device, longest = self.tokens.device, self.body_rows.shape[1]
        lengths = torch.tensor(self.prefix_lengths, device=device)[self.parent]
        columns = torch.arange(self.prefix_rows.shape[1], device=device)
        mask = torch.full((len(self.parent), 1, longest, len(columns) + longest), -torch.inf, dtype=dtype, device=device)
        mask[..., : len(columns)].masked_fill_((columns < lengths[:, None])[:, None, None, :], 0.0)
        mask[..., len(columns) :].triu_(1)
        return mask

    def spans(self) -> Spans:
        """The same sequences for attention that needs no padding."""
        return _spans(self.prefix_lengths, self.body_lengths, self.parent)

    def to(self, device: torch.device) -> Packed:
        moved = {name: getattr(self, name) for name in self.__slots__}
        return Packed(**{k: v.to(device) if isinstance(v, Tensor) else v for k, v in moved.items()})


def pack(prefixes: Sequence[np.ndarray], bodies: Sequence[np.ndarray], parents: Sequence[int]) -> Packed:
    """Lay out prefixes and bodies.

    Args:
        prefixes: R arrays of token ids, each of at least one token; may be empty.
        bodies: S arrays of token ids, each of at least one token.
        parents: for each body the index of its prefix; -1 for all where there are no prefixes.
    """
    assert len(bodies) == len(parents) and len(bodies) > 0
    assert all((p >= 0) == bool(prefixes) for p in parents), "either every body has a prefix or none has"
    starts_of = [len(prefixes[p]) if p >= 0 else 0 for p in parents]
    tokens = np.concatenate([*prefixes, *bodies]).astype(np.int64)
    positions = np.concatenate(
        [np.arange(len(p)) for p in prefixes] + [np.arange(len(b)) + s for b, s in zip(bodies, starts_of, strict=True)]
    )
    prefix_rows, prefix_spots = _rows([len(p) for p in prefixes], 0, 0)
    first = sum(len(p) for p in prefixes)
    body_rows, body_spots = _rows([len(b) for b in bodies], first, prefix_rows.size)
    ends = np.cumsum([len(p) for p in prefixes]) - 1 if prefixes else np.zeros(0)
    parent = np.asarray(parents, np.int64)
    return Packed(
        tokens=torch.from_numpy(tokens),
        positions=torch.from_numpy(positions.astype(np.int64)),
        prefix_rows=torch.from_numpy(prefix_rows),
        body_rows=torch.from_numpy(body_rows),
        parent=torch.from_numpy(parent),
        unpad=torch.from_numpy(np.concatenate([prefix_spots, body_spots])),
        last_of_prefix=torch.from_numpy(ends.astype(np.int64)),
        prefix_lengths=[len(p) for p in prefixes],
        body_lengths=[len(b) for b in bodies],
    )


def _rows(lengths: list[int], first: int, spot: int) -> tuple[np.ndarray, np.ndarray]:
    """([rows, longest] flat indices, [tokens] padded spots)."""
    longest = max(lengths, default=0)
    columns = np.arange(longest)
    real = columns[None, :] < np.asarray(lengths, np.int64).reshape(-1, 1)
    starts = first + np.cumsum([0, *lengths[:-1]]) if lengths else np.zeros(0, np.int64)
    rows = np.where(real, starts[:, None] + columns[None, :], 0).astype(np.int64)
    spots = spot + np.arange(len(lengths))[:, None] * longest + columns[None, :]
    return rows, spots[real].astype(np.int64)


def _spans(prefixes: list[int], bodies: list[int], parent: Tensor) -> Spans:
    device, parents = parent.device, parent.tolist()
    starts = np.cumsum([0, *prefixes, *bodies])
    spans = [np.arange(n) + at for n, at in zip(prefixes, starts, strict=False)]
    for body, at, above in zip(bodies, starts[len(prefixes) :], parents, strict=False):
        own = np.arange(body) + at
        spans.append(own if above < 0 else np.concatenate([spans[above], own]))
    seen = [len(span) for span in spans]
    return Spans(
        keys=torch.from_numpy(np.concatenate(spans)).to(device),
        query_ends=torch.from_numpy(starts.astype(np.int32)).to(device),
        key_ends=torch.from_numpy(np.cumsum([0, *seen]).astype(np.int32)).to(device),
        longest_query=max([*prefixes, *bodies]),
        longest_key=max(seen),
    )
