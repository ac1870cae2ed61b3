"""Weights, optimizer and one `step` for every stage that trains. Knows no algorithm by name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from move37.errors import NonFinite
from move37.learner.batch import Example, MicroBatch, microbatch, split, totals
from move37.learner.fused import FusedDecoder, fused
from move37.learner.logprobs import by_rows, pick_logprobs
from move37.learner.loss import Totals, merge, policy_loss
from move37.learner.optim import Optimizer, OptimizerSettings, learning_rate
from move37.models.head import numbers
from move37.models.scalar import is_scalar
from move37.types import LossSpec

Result = TypeVar("Result")
FAR = 0.01  # nats: no rounding in float32 is as large
OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)


class Learner:
    """Trains one model.

    Args:
        model: a `models.folder.Model`, its weights in float32 where they are trained. Of a scalar model
            (`models.scalar`) a target has no log-prob: what stands for it everywhere is the model's number at the
            position before it, after all that precedes the target.
        settings: the recipe's `optimizer` section; `updates` in all, for the schedule.
        tokens_per_microbatch: the memory knob. It never changes the gradient.
        autocast: dtype of the forward pass; float32 switches autocast off.
        wreck: where the batch of an update that went wrong is left.
        kernels: the recipe's `hardware.kernels`: auto, native or torch.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: OptimizerSettings,
        updates: int,
        tokens_per_microbatch: int,
        autocast: torch.dtype,
        wreck: Path,
        kernels: str = "auto",
    ) -> None:
        self.model = model
        self.settings = settings
        self.updates = updates
        self.budget = tokens_per_microbatch
        self.autocast_dtype = autocast
        on_cpu = model.head.device.type == "cpu"
        self.fused = fused(model, autocast, kernels) if on_cpu else None
        self.rows = by_rows(model.head.device, kernels)
        self.wreck = wreck
        self.optimizer = Optimizer(model, settings)
        self.version = 0  # optimizer updates made
        self.found: dict[int, Tensor] = {}  # of the last update: an example's index -> its log-probs [M] before it

    @property
    def device(self) -> torch.device:
        return self.model.head.device

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        enabled = self.autocast_dtype is not torch.float32
        return torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=enabled)

    def step(self, examples: Sequence[Example], spec: LossSpec) -> dict[str, float]:
        """One optimizer update on all of `examples`.

        Normalisation uses counts over the whole update. When memory runs out the update starts again with half the
        micro-batch.

        Returns:
            loss, grad_norm, lr, and the sums of `learner.loss.policy_loss` (tokens, clip_count, drift_sum, kl_sum ...) with
            entropy_sum, in nats.

        Raises:
            NonFinite: loss or gradient is not finite; nothing was stepped and the batch is on disk.
        """
        counts = totals(examples)
        assert counts.tokens > 0, "an update without a single token to learn from"
        sums = self._with_less_memory(lambda: self._accumulate(examples, spec, counts))
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        if not (np.isfinite(sums["loss"]) and torch.isfinite(norm)):
            self._abandon(examples, sums["loss"], float(norm))
        rate = learning_rate(self.settings, self.version, self.updates)
        self.optimizer.step(rate)
        self.version += 1
        return {**sums, "grad_norm": float(norm), "lr": rate}

    def reset_optimizer(self) -> None:
        """Forget the moments; the count of updates, and with it the schedule of the learning rate, goes on."""
        self.optimizer = Optimizer(self.model, self.settings)

    @torch.no_grad()
    def logprobs(
        self, examples: Sequence[Example], temperature: float, model: nn.Module | None = None
    ) -> list[np.ndarray]:
        """Log-probs of every target, in the order of `examples`, [M] float32 each; of `model`, or of the one in training."""
        model = self.model if model is None else model

        def run() -> list[np.ndarray]:
            found: dict[int, np.ndarray] = {}
            for part in split(examples, self.budget):
                micro = microbatch(examples, part).to(self.device)
                values = self._forward(model, micro, temperature)[0].cpu().numpy()
                ends = np.cumsum([examples[i].targets for i in part])[:-1]
                found.update(zip(part, np.split(values, ends), strict=True))
            return [found[i] for i in range(len(examples))]

        return self._with_less_memory(run)

    def values(self, examples: Sequence[Example]) -> list[np.ndarray]:
        """A scalar model's number before every target, [M] float32 each: V of the state that the target is an action in."""
        assert is_scalar(self.model), "a language model has log-probs"
        return self.logprobs(examples, 1.0)

    def _accumulate(self, examples: Sequence[Example], spec: LossSpec, counts: Totals) -> dict[str, float]:
        """Gradients of the whole update, and its metrics."""
        self.optimizer.zero_grad()
        self.found = {}
        parts: list[dict[str, Tensor]] = []
        for part in split(examples, self.budget):
            micro = microbatch(examples, part).to(self.device)
            logprobs, entropy = self._forward(self.model, micro, spec.temperature)
            self.found.update(zip(part, logprobs.detach().split([examples[i].targets for i in part]), strict=True))
            loss, metrics = policy_loss(logprobs, micro.streams, spec, counts)
            loss.backward()
            told = {"loss": loss.detach(), "entropy_sum": (entropy * (micro.streams.weight != 0)).sum()}
            parts.append({**told, **metrics})
        return merge(parts)

    def _forward(self, model: nn.Module, micro: MicroBatch, temperature: float) -> tuple[Tensor, Tensor]:
        """Log-probs (or numbers) and entropies [M]."""
        fused = self.fused if self.fused is None or model is self.model else self.fused.sharing(model)
        if is_scalar(model):
            values = numbers(self._states(model, micro, fused), model.head)
            return values, torch.zeros_like(values)
        if fused is not None:
            return fused.logprobs(micro.packed, micro.source, micro.targets, temperature)
        return pick_logprobs(self._states(model, micro, None), model.head, micro.targets, temperature, self.rows)

    def _states(self, model: nn.Module, micro: MicroBatch, fused: FusedDecoder | None) -> Tensor:
        """Hidden states that the targets are predicted from, [M, D]."""
        if fused is not None:
            return fused.states(micro.packed, micro.source)
        with self.autocast():
            return model.hidden(micro.packed).index_select(0, micro.source)

    def _with_less_memory(self, work: Callable[[], Result]) -> Result:
        """Do it; when memory runs out, again with half the tokens per micro-batch."""
        while True:
            try:
                return work()
            except OUT_OF_MEMORY:
                if self.budget < 64:
                    raise
            self.optimizer.zero_grad()
            self.budget //= 2
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def leave(self, examples: Sequence[Example], name: str) -> Path:
        """Write the examples of the last update to `name`.npz, for whoever wants to know what went wrong; its path.

        Arrays are named example/stream: tokens [T] int32 and, one entry per target, weight, advantage, old, ref, and `found`,
        the log-probs of the update's own forward pass.
        """
        self.wreck.mkdir(parents=True, exist_ok=True)
        path = self.wreck / f"{name}.npz"
        streams = ("tokens", "weight", "advantage", "old", "ref")
        arrays = {f"{i}/{s}": getattr(e, s) for i, e in enumerate(examples) for s in streams if getattr(e, s) is not None}
        arrays |= {f"{i}/found": values.float().cpu().numpy() for i, values in self.found.items()}
        np.savez_compressed(path, **arrays)
        return path

    def parting(self, examples: Sequence[Example]) -> str:
        """Where the last update's own log-probs part from the recorded ones (`old`), in a sentence."""
        gaps = [
            np.abs(self.found[i].float().cpu().numpy() - e.old) * (e.weight != 0) * (True if e.fresh is None else e.fresh)
            for i, e in enumerate(examples)
            if e.old is not None
        ]
        far = [int((gap > FAR).sum()) for gap in gaps]
        worst = int(np.argmax([gap.max() for gap in gaps]))
        return (
            f"{sum(far)} of {sum(map(len, gaps))} tokens in {sum(map(bool, far))} of {len(gaps)} responses are off by more than "
            f"{FAR:g}, at most by {gaps[worst].max():.2g}: token {int(gaps[worst].argmax())} of response {worst}."
        )

    def _abandon(self, examples: Sequence[Example], loss: float, norm: float) -> None:
        self.optimizer.zero_grad()
        path = self.leave(examples, f"non-finite-update-{self.version}")
        raise NonFinite(
            f"update {self.version}: loss {loss:g}, gradient norm {norm:g}. Nothing was stepped; the batch is in {path}. "
            "Usual causes: a learning rate that is too high, bfloat16 where float32 is needed, a broken checkpoint."
        )
