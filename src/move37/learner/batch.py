"""From sequences to micro-batches: shared prompts once, no padding, totals taken before anything is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from move37.learner.loss import Streams, Totals
from move37.models.packed import Packed, pack
from move37.types import Credit


@dataclass(slots=True, kw_only=True)
class Example:
    """One training sequence. `start` tokens are context (shared with others that have the same ones); 0 for documents.

    The streams have one entry per target; targets are tokens[start:], or tokens[1:] where start is 0.
    """

    tokens: np.ndarray  # [T] int32
    start: int
    weight: np.ndarray  # [M] float32: 0 keeps a token out of loss and denominators
    advantage: np.ndarray | None = None  # [M] float32
    old: np.ndarray | None = None  # [M] float32: log-probs the sampler recorded
    ref: np.ndarray | None = None  # [M] float32: log-probs of the reference policy
    fresh: np.ndarray | None = None  # [M] bool: sampled with the weights at hand; None: all

    @classmethod
    def of(cls, credit: Credit) -> Example:
        """A rollout with its credit: the prompt is context, forced tokens weigh nothing."""
        rollout = credit.rollout
        start = int(np.argmax(rollout.sampled))
        sampled = rollout.sampled[start:]
        return cls(
            tokens=rollout.token_ids,
            start=start,
            weight=np.where(sampled, np.float32(credit.weight), np.float32(0)),
            advantage=np.full(len(sampled), credit.advantage, np.float32),
            old=rollout.logprobs[start:],
        )

    @property
    def targets(self) -> int:
        return len(self.tokens) - max(self.start, 1)


@dataclass(slots=True, kw_only=True)
class MicroBatch:
    """A part of an update as tensors; `source` is the flat index each of the M targets is predicted from."""

    packed: Packed
    source: Tensor  # [M] int64
    targets: Tensor  # [M] int64
    streams: Streams
    examples: list[int]  # which examples of the update, in order

    def to(self, device: torch.device) -> MicroBatch:
        return MicroBatch(
            packed=self.packed.to(device),
            source=self.source.to(device),
            targets=self.targets.to(device),
            streams=_moved(self.streams, device),
            examples=self.examples,
        )


def totals(examples: Sequence[Example]) -> Totals:
    """Weighted counts of a whole update; a sequence weighs what its heaviest token does."""
    return Totals(
        sequences=float(sum(e.weight.max() for e in examples)),
        tokens=float(sum(e.weight.sum(dtype=np.float64) for e in examples)),
    )


def split(examples: Sequence[Example], budget: int) -> list[list[int]]:
    """Indices of the examples of each micro-batch, of at most `budget` tokens (one example at least).

    Examples with the same prompt stay together where they fit, so that it is computed once.
    """
    groups: dict[bytes, list[int]] = {}
    for i, example in enumerate(examples):
        key = example.tokens[: example.start].tobytes() if example.start else b""
        groups.setdefault(key, []).append(i)
    parts: list[list[int]] = []
    used = budget + 1
    for key, members in groups.items():
        shared = len(key) // 4 if key else 0
        opened = False
        for i in sorted(members, key=lambda m: len(examples[m].tokens)):
            body = len(examples[i].tokens) - shared
            cost = body + (0 if opened else shared)
            if used + cost > budget or (shared == 0) != (parts and examples[parts[-1][0]].start == 0):
                parts.append([])
                used, cost = 0, body + shared
            parts[-1].append(i)
            used += cost
            opened = True
    return parts


def microbatch(examples: Sequence[Example], indices: list[int]) -> MicroBatch:
    """Tensors of the chosen examples."""
    chosen = [examples[i] for i in indices]
    prefixes: dict[bytes, int] = {}
    heads: list[np.ndarray] = []
    parents = []
    for example in chosen:
        if not example.start:
            parents.append(-1)
            continue
        head = example.tokens[: example.start]
        if head.tobytes() not in prefixes:
            prefixes[head.tobytes()] = len(heads)
            heads.append(head)
        parents.append(prefixes[head.tobytes()])
    packed = pack(heads, [e.tokens[e.start :] for e in chosen], parents)
    source, targets = _sources(chosen, parents, packed)
    counts = np.array([e.targets for e in chosen])
    real = np.array([max(1, int((e.weight != 0).sum())) for e in chosen], np.float32)
    return MicroBatch(
        packed=packed,
        source=torch.from_numpy(source),
        targets=torch.from_numpy(targets),
        streams=Streams(
            weight=_join([e.weight for e in chosen]),
            advantage=_join([e.advantage for e in chosen]),
            old=_join([e.old for e in chosen]),
            ref=_join([e.ref for e in chosen]),
            fresh=_join([e.fresh for e in chosen]),
            sequence=torch.from_numpy(np.repeat(np.arange(len(chosen)), counts)),
            lengths=torch.from_numpy(real),
        ),
        examples=indices,
    )


def _moved(streams: Streams, device: torch.device) -> Streams:
    values = {f.name: getattr(streams, f.name) for f in fields(streams)}
    return Streams(**{name: value if value is None else value.to(device) for name, value in values.items()})


def _join(streams: list[np.ndarray | None]) -> Tensor | None:
    given = [s for s in streams if s is not None]
    assert len(given) in (0, len(streams)), "a stream is given for all sequences or for none"
    return torch.from_numpy(np.concatenate(given).astype(np.float32)) if given else None


def _sources(chosen: list[Example], parents: list[int], packed: Packed) -> tuple[np.ndarray, np.ndarray]:
    """Flat index each target is predicted from, and the targets."""
    sources, targets = [], []
    first = sum(packed.prefix_lengths)
    ends = packed.last_of_prefix.numpy()
    for example, parent in zip(chosen, parents, strict=True):
        body = len(example.tokens) - example.start
        places = np.arange(first, first + body)
        sources.append(places[:-1] if parent < 0 else np.concatenate([ends[parent : parent + 1], places[:-1]]))
        targets.append(example.tokens[max(example.start, 1) :])
        first += body
    return np.concatenate(sources).astype(np.int64), np.concatenate(targets).astype(np.int64)
