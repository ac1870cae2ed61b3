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


@dataclass(slots=True, kw_only=True)
class Packed:
    """Flat tokens and how they form rows. N tokens; R prefixes of up to P; S bodies of up to L tokens."""

    tokens: Tensor  # [N] int64: all prefixes, then all bodies
    positions: Tensor  # [N] int64: position within prefix + body
    prefix_rows: Tensor  # [R, P] int64: flat index of each token, 0 where padded
    body_rows: Tensor  # [S, L] int64
    parent: Tensor  # [S] int64: the prefix a body continues; all bodies have one, or none has (R = 0)
    unpad: Tensor  # [N] int64: where each flat token lies in the concatenated padded rows
    body_mask: Tensor | None  # [S, 1, L, P + L] float: 0 or -inf; None where R = 0 (plain causal)
    last_of_prefix: Tensor  # [R] int64: flat index of each prefix's last token
    prefix_lengths: list[int]
    body_lengths: list[int]

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
    prefix_rows, prefix_spots, prefix_real = _rows([len(p) for p in prefixes], 0, 0)
    first = sum(len(p) for p in prefixes)
    body_rows, body_spots, _ = _rows([len(b) for b in bodies], first, prefix_rows.size)
    ends = np.cumsum([len(p) for p in prefixes]) - 1 if prefixes else np.zeros(0)
    parent = np.asarray(parents, np.int64)
    return Packed(
        tokens=torch.from_numpy(tokens),
        positions=torch.from_numpy(positions.astype(np.int64)),
        prefix_rows=torch.from_numpy(prefix_rows),
        body_rows=torch.from_numpy(body_rows),
        parent=torch.from_numpy(parent),
        unpad=torch.from_numpy(np.concatenate([prefix_spots, body_spots])),
        body_mask=_mask(prefix_real[parent], body_rows.shape[1]) if prefixes else None,
        last_of_prefix=torch.from_numpy(ends.astype(np.int64)),
        prefix_lengths=[len(p) for p in prefixes],
        body_lengths=[len(b) for b in bodies],
    )


def _rows(lengths: list[int], first: int, spot: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """([rows, longest] flat indices, [tokens] padded spots, [rows, longest] bool of real entries)."""
    longest = max(lengths, default=0)
    columns = np.arange(longest)
    real = columns[None, :] < np.asarray(lengths, np.int64).reshape(-1, 1)
    starts = first + np.cumsum([0, *lengths[:-1]]) if lengths else np.zeros(0, np.int64)
    rows = np.where(real, starts[:, None] + columns[None, :], 0).astype(np.int64)
    spots = spot + np.arange(len(lengths))[:, None] * longest + columns[None, :]
    return rows, spots[real].astype(np.int64), real


def _mask(prefix_real: np.ndarray, longest: int) -> Tensor:
    """[S, P] real prefix entries -> [S, 1, L, P + L] additive mask: own prefix, then causal in the body."""
    bodies, prefix = prefix_real.shape
    mask = torch.full((bodies, 1, longest, prefix + longest), -torch.inf)
    mask[..., :prefix].masked_fill_(torch.from_numpy(prefix_real)[:, None, None, :], 0.0)
    mask[..., prefix:] = torch.full((longest, longest), -torch.inf).triu(1)
    return mask
