"""`sft`: supervised fine-tuning on replies, those of a file or of an earlier stage's data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from move37.errors import TaskError
from move37.learner.batch import Example
from move37.learner.learner import Learner
from move37.sections import SFT
from move37.stages import conversations
from move37.stages.context import Context
from move37.stages.conversations import Turn
from move37.stages.epochs import Epochs
from move37.stages.training import Training
from move37.tasks import split_of
from move37.types import LossSpec

HELD_OUT_TURNS = 256  # at most, for the held-out loss
LOSS = LossSpec(kind="cross_entropy", normalise="token")


class FineTuning(Training):
    """Next-token prediction on the replies and their EOS; prompts are context. No sequence sees another.

    As DeepSeek-R1 v2, B.4.2: 2 to 3 epochs, cosine from 5e-5 to 5e-6, 128 sequences a step. The order is a function of
    (seed, epoch); a step that ends an epoch goes on with the next one's first turns.
    """

    section: SFT

    def __init__(self, context: Context, name: str, section: SFT) -> None:
        path = context.data(section.data)
        turns = conversations.read(f"stages.{name}.data", path, section.columns)
        self.train = [t for t in turns if split_of(t.key, section.held_out) == "train"]
        self.held_out = [t for t in turns if split_of(t.key, section.held_out) == "held_out"][:HELD_OUT_TURNS]
        if not self.train:
            told = f"leaves none of the {len(turns)} replies of {path}"
            raise TaskError(f"stages.{name}.held_out={section.held_out:g} {told}; lower it")
        batch = section.examples_per_step
        steps = section.steps or -(-len(self.train) * (section.epochs or 0) // batch)
        super().__init__(context, name, section, steps)
        self.loaded = context.load(section)
        self.prompter = context.prompter(self.loaded)
        self.limit = min(section.max_tokens or self.loaded.context, self.loaded.context)
        self.order = Epochs(len(self.train), context.recipe.seed, name)
        self._check(turns, f"stages.{name}.data: {path}")
        self.learner = Learner(
            self.loaded.model,
            section.optimizer,
            steps,
            section.tokens_per_microbatch,
            context.device.autocast,
            self.log.path,
            context.recipe.hardware.kernels,
        )

    def sentence(self) -> str:
        epochs = self.section.epochs or self.steps * self.section.examples_per_step / len(self.train)
        return (
            f"{self.steps} steps of {self.section.examples_per_step} of {len(self.train)} replies ({epochs:.3g} epochs), "
            f"{len(self.held_out)} more held out."
        )

    def step(self, number: int) -> dict[str, Any]:
        size = self.section.examples_per_step
        first, last = (number - 1) * size, number * size
        if self.section.steps is None:
            last = min(last, len(self.train) * (self.section.epochs or 0))
        examples = self._examples([self._turn(place) for place in range(first, last)])
        if not examples:
            told = f"all {last - first} replies of step {number} are longer than {self.limit} tokens"
            raise TaskError(f"stages.{self.name}: {told}; raise max_tokens")
        metrics: dict[str, Any] = {}
        if number == 1 and self.held_out:
            metrics["held_out_loss/start"] = self._held_out_loss()
        sums = self.learner.step(examples, LOSS)
        metrics |= {"loss": sums["loss"], "grad_norm": sums["grad_norm"], "lr": sums["lr"], "epoch": last / len(self.train)}
        metrics |= {"tokens": sum(len(e.tokens) for e in examples), "tokens/learned": int(sums["tokens"])}
        metrics["too_long"] = last - first - len(examples)
        if self.held_out and (number % self.section.save_every == 0 or number == self.steps):
            metrics["held_out_loss"] = self._held_out_loss()
        return metrics

    def score(self, metrics: dict[str, Any]) -> float | None:
        return -metrics["held_out_loss"] if "held_out_loss" in metrics else None

    def _check(self, turns: Sequence[Turn], where: str) -> None:
        """Whether the template can write these turns, and what it writes before every reply stands in them."""
        if self.prompter.template is not None and (long := [t for t in turns if not t.plain]):
            raise TaskError(
                f"{where}, row {long[0].row}: a conversation of several messages; the template of this recipe has room for one "
                f"question. Use `template: chat` with a model that has a chat template, or leave such rows out"
            )
        prefill = self.prompter.prefill
        bare = sum(not turn.response.lstrip().startswith(prefill) for turn in turns)
        if bare:
            told = f"{bare} of {len(turns)} replies do not begin with {prefill}, which the template writes before all of them"
            self.context.display.note(f"{where}: {told}")

    def _turn(self, place: int) -> Turn:
        """The turn at a place of the endless sequence of epochs."""
        return self.train[self.order.row(place)]

    def _examples(self, turns: Sequence[Turn]) -> list[Example]:
        """Tokens and weights; those longer than the limit are left out. What all prompts begin with is run once."""
        prompts = [self.prompter.encode_messages(turn.messages) for turn in turns]
        texts = [self.prompter.after_prefill(turn.response) for turn in turns]
        replies = self.loaded.tokenizer(texts, add_special_tokens=False)["input_ids"]
        eos = self.loaded.tokenizer.eos_token_id
        pairs = [(p, [*r, eos]) for p, r in zip(prompts, replies, strict=True) if len(p) + len(r) < self.limit]
        start = _shared([p for p, _ in pairs])
        return [_example(prompt, reply, start) for prompt, reply in pairs]

    def _held_out_loss(self) -> float:
        """Nats per token of held-out replies."""
        examples = self._examples(self.held_out)
        if not examples:
            return float("nan")
        values = np.concatenate(self.learner.logprobs(examples, 1.0))
        weights = np.concatenate([e.weight for e in examples])
        return -float((values * weights).sum(dtype=np.float64) / weights.sum(dtype=np.float64))


def _shared(prompts: Sequence[list[int]]) -> int:
    """How many tokens all prompts begin with: the fixed words of the template, at least."""
    if not prompts:
        return 0
    low, high = min(prompts), max(prompts)  # in lexical order: what these two share, all do
    length = min(len(low), len(high))
    return next((i for i in range(length) if low[i] != high[i]), length)


def _example(prompt: list[int], reply: list[int], start: int) -> Example:
    tokens = np.asarray([*prompt, *reply], np.int32)
    weight = np.zeros(len(tokens) - max(start, 1), np.float32)
    weight[-len(reply) :] = 1
    return Example(tokens=tokens, start=start, weight=weight)
