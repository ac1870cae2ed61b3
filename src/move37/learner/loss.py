"""One pure function that executes a `LossSpec`, and the sums that tell how it went.

All tensors are flat over the M target tokens of a micro-batch (the tokens that may be learned from, prompts left out).
A whole sequence always lies in one micro-batch. The result is this micro-batch's PART of the loss of the whole update,
so that backward over any cut into micro-batches adds up to the same gradient.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from move37.types import Credit, LossSpec

LOG_LIMIT = 20.0  # log ratios above it are cut before exp: e^20 = 5e8 is far from any policy, and still finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The denominators of the whole update, over all micro-batches and processes; taken before micro-batching."""

    sequences: float  # sum of the sequences' weights
    tokens: float  # sum of the target tokens' weights

    @classmethod
    def of(cls, credits: Iterable[Credit]) -> Totals:
        """Weight 0 counts in neither."""
        pairs = [(c.weight, c.weight * c.rollout.length) for c in credits]
        return cls(sequences=sum(p[0] for p in pairs), tokens=sum(p[1] for p in pairs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """What belongs to each target token beside its log-prob. Floats are of the dtype of the log-probs, nats.

    Optional streams are needed when the specification uses them: `old` by the kinds clip and weight and where tau > 0
    (others only report the drift from it), `advantage` by all kinds but cross_entropy, `ref` where kl_coef > 0.
    """

    weight: Tensor  # [M] of the credit; 0 keeps the token out, ratio of its sequence included
    sequence: Tensor  # [M] int64, 0 .. S-1: which sequence of this micro-batch the token belongs to
    lengths: Tensor  # [S] float: target tokens of nonzero weight of each sequence; 1 or more
    advantage: Tensor | None = None  # [M]
    old: Tensor | None = None  # [M] log-probs of the policy that sampled
    ref: Tensor | None = None  # [M] log-probs of the reference model
    fresh: Tensor | None = None  # [M] 1 for tokens sampled with the weights before the update, 0 for older ones


def policy_loss(logprobs: Tensor, streams: Streams, spec: LossSpec, totals: Totals) -> tuple[Tensor, dict[str, Tensor]]:
    """This micro-batch's part of the update's loss, and its metrics.

    With w the weight, l the per-token loss of `spec.kind` plus the terms of kl_coef and tau, i the sequence of token t:

        normalise "sequence":  sum_t w_t l_t / lengths_i / totals.sequences
        normalise "token":     sum_t w_t l_t / totals.tokens
        normalise "constant":  sum_t w_t l_t / (totals.sequences * spec.max_tokens)

    Args:
        logprobs: [M] float32 or float64, log-probs of the target tokens at the policy's temperature, with gradient.
        streams: see `Streams`.
        spec: which loss; the formulas stand in `LossSpec`. `spec.temperature` is applied by whoever made the log-probs.
        totals: of the whole update; where they are 0 nothing can be learned and the loss is 0.

    Returns:
        The loss, a scalar of the dtype of `logprobs`, and detached scalars that `merge` adds up over micro-batches:
        `tokens` (of nonzero weight; the others below count only those), `clip_count` (tokens whose gradient the clip
        removed; for the kind weight those whose weight it capped), `ratio_max`, `drift_sum` (k3 of KL(old || new),
        nats; these three where `old` is given), `fresh_drift_sum` and `fresh_tokens` (the same of fresh tokens alone, and
        their number; where `fresh` is given), `kl_sum` (k3 of KL(new || reference), nats; where kl_coef > 0),
        `squared_sum` (of the squared log ratios of whole sequences) over `sequences` (both where tau > 0).

    Deviations: log ratios are cut at +20 before exp, where the gradient of that term becomes 0.
    """
    counted = streams.weight != 0
    metrics = {"tokens": counted.sum()}
    ratio = None if streams.old is None else _ratio(logprobs - streams.old, streams, spec)
    per_token, cut = _per_token(logprobs, ratio, streams, spec)
    if ratio is not None:
        metrics["clip_count"] = (cut & counted).sum()
        metrics["ratio_max"] = (ratio.detach() * counted).max() if len(ratio) else logprobs.new_zeros(())
        drift = k3(streams.old, logprobs.detach())
        metrics["drift_sum"] = _summed(drift, streams)
        if streams.fresh is not None:
            metrics["fresh_drift_sum"] = _summed(drift * streams.fresh, streams)
            metrics["fresh_tokens"] = (counted & (streams.fresh != 0)).sum()
    if spec.kl_coef > 0:
        kl = k3(logprobs, _need(streams.ref, "ref"))
        per_token = per_token + spec.kl_coef * kl
        metrics["kl_sum"] = _summed(kl, streams)
    if spec.tau > 0:
        squared = _squared_log_ratio(logprobs - _need(streams.old, "old"), streams)
        per_token = per_token + spec.tau / 2 * squared
        metrics["squared_sum"] = _summed(squared, streams)
        metrics["sequences"] = (_by_sequence(torch.ones_like(logprobs), streams) > 0).sum()
    return (_shares(streams, spec, totals) * per_token).sum(), metrics


def k3(logprobs: Tensor, other: Tensor) -> Tensor:
    """Per-token estimate of KL(pi || other) on tokens drawn from pi, >= 0, nats: d = other - logp, exp(d) - d - 1."""
    gap = (other - logprobs).clamp(max=LOG_LIMIT)
    return gap.expm1() - gap  # expm1: exp(d) - 1 loses all digits of a small d in float32


def merge(parts: Iterable[dict[str, Tensor]]) -> dict[str, float]:
    """Metrics of all micro-batches as one: `ratio_max` is the largest, everything else the sum."""
    whole: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            number = value.item()
            if name == "ratio_max":
                whole[name] = max(whole.get(name, number), number)
            else:
                whole[name] = whole.get(name, 0.0) + number
    return whole


def _per_token(logprobs: Tensor, ratio: Tensor | None, streams: Streams, spec: LossSpec) -> tuple[Tensor, Tensor]:
    """[M] loss before weights and KL, and [M] bool: gradient removed by the clip (weight: weight capped)."""
    none = torch.zeros_like(streams.sequence, dtype=torch.bool)
    if spec.kind == "cross_entropy":
        return -logprobs, none
    advantage = _need(streams.advantage, "advantage")
    if spec.kind == "squared":
        return (logprobs - advantage).square() / 2, none
    if spec.kind == "reinforce":
        return -advantage * logprobs, none
    ratio = _need(ratio, "old")
    if spec.kind == "weight":
        return -ratio.detach().clamp(max=spec.clip_high) * advantage * logprobs, ratio > spec.clip_high
    assert spec.kind == "clip", f"unknown kind of loss {spec.kind!r}"
    low, high = 1 - spec.clip_low, 1 + spec.clip_high
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(low, high) * advantage)
    return -surrogate, ((advantage > 0) & (ratio > high)) | ((advantage < 0) & (ratio < low))


def _ratio(log_ratio: Tensor, streams: Streams, spec: LossSpec) -> Tensor:
    """[M] pi / pi_old per token, or its geometric mean over the sequence given to each of the sequence's tokens."""
    if spec.ratio == "sequence":
        log_ratio = (_by_sequence(log_ratio, streams) / streams.lengths)[streams.sequence]
    else:
        assert spec.ratio == "token", f"unknown ratio {spec.ratio!r}"
    return log_ratio.clamp(max=LOG_LIMIT).exp()


def _squared_log_ratio(log_ratio: Tensor, streams: Streams) -> Tensor:
    """[M] (sum of the sequence's log ratios)^2 / its tokens, so that a sum over these tokens is the square."""
    return (_by_sequence(log_ratio, streams).square() / streams.lengths)[streams.sequence]


def _by_sequence(values: Tensor, streams: Streams) -> Tensor:
    """[S] sums over the learned tokens; forced ones have no log-prob of the sampler."""
    learned = values * (streams.weight != 0)
    return values.new_zeros(len(streams.lengths)).index_add(0, streams.sequence, learned)


def _shares(streams: Streams, spec: LossSpec, totals: Totals) -> Tensor:
    """[M] what each token's loss is multiplied with."""
    if spec.normalise == "token":
        return streams.weight * _inverse(totals.tokens)
    if spec.normalise == "sequence":
        return streams.weight / streams.lengths[streams.sequence] * _inverse(totals.sequences)
    assert spec.normalise == "constant", f"unknown normalisation {spec.normalise!r}"
    return streams.weight * _inverse(totals.sequences * spec.max_tokens)


def _inverse(total: float) -> float:
    return 1 / total if total > 0 else 0.0


def _summed(values: Tensor, streams: Streams) -> Tensor:
    return (values.detach() * (streams.weight != 0)).sum()


def _need(stream: Tensor | None, name: str) -> Tensor:
    assert stream is not None, f"this loss needs the stream {name!r}"
    return stream
