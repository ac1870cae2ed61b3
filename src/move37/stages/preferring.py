"""What stages that learn from preference data share: rows, the held-out split, their order, one update per step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from move37.errors import TaskError
from move37.learner.batch import Example
from move37.learner.learner import Learner
from move37.learner.preference import SPEC
from move37.rollout.prompt import Prompter
from move37.sections import Preference, RewardModel
from move37.stages import preferences
from move37.stages.context import Context
from move37.stages.epochs import Epochs
from move37.stages.preferences import Row
from move37.stages.training import Training
from move37.tasks import split_of

HELD_OUT_ROWS = 2000  # at most, of those that are measured


class Preferring(Training):
    """An update per step on the rows that are next. Rows of one prompt are on one side of the held-out split."""

    section: RewardModel | Preference

    def __init__(self, context: Context, name: str, section: RewardModel | Preference, rows: Sequence[Row], scalar: bool) -> None:
        self.train = [row for row in rows if split_of(row.key, section.held_out) == "train"]
        self.held_out = [row for row in rows if split_of(row.key, section.held_out) == "held_out"][:HELD_OUT_ROWS]
        if not self.train:
            told = f"held_out={section.held_out:g} leaves none of the {len(rows)} rows"
            raise TaskError(f"stages.{name}: {told}; lower it, or give more prompts")
        preferences.refuse(f"stages.{name}.data, of what is trained on", self.train)
        super().__init__(context, name, section, -(-len(self.train) * section.epochs // section.examples_per_step))
        self.order = Epochs(len(self.train), context.recipe.seed, name)
        self.loaded = context.load(section, scalar)
        self.prompter = context.prompter(self.loaded)
        check_prompts(f"stages.{name}.data", rows, self.prompter)
        self.limit = min(section.max_tokens or self.loaded.context, self.loaded.context)
        hardware = context.recipe.hardware
        self.learner = Learner(
            self.loaded.model,
            section.optimizer,
            self.steps,
            section.tokens_per_microbatch,
            context.device.autocast,
            self.log.path,
            hardware.kernels,
        )

    def sentence(self) -> str:
        of = "pairs" if self.train[0].label is None else "labelled responses"
        return (
            f"{self.steps} steps of {min(self.section.examples_per_step, len(self.train))} of {len(self.train)} {of} "
            f"({self.section.epochs} epochs), {len(self.held_out)} more held out."
        )

    @abstractmethod
    def examples(self, row: Row) -> list[Example] | None:
        """One per response, with weights; None where one is too long."""

    @abstractmethod
    def weigh(self, rows: Sequence[Row], examples: list[Example]) -> dict[str, Any]:
        """Give the examples of a step their advantages; the step's metrics."""

    @abstractmethod
    def measure(self) -> dict[str, float]:
        """Metrics of the held-out rows."""

    def step(self, number: int) -> dict[str, Any]:
        size = self.section.examples_per_step
        first, last = (number - 1) * size, min(number * size, len(self.train) * self.section.epochs)
        rows, examples = self.fitting([self.train[self.order.row(place)] for place in range(first, last)])
        if not rows:
            told = f"all {last - first} rows of step {number} are longer than {self.limit} tokens"
            raise TaskError(f"stages.{self.name}: {told}; raise max_tokens, or leave long rows out")
        metrics = self.weigh(rows, examples)
        sums = self.learner.step(examples, SPEC)
        metrics |= {"grad_norm": sums["grad_norm"], "lr": sums["lr"], "epoch": last / len(self.train)}
        metrics |= {"tokens": sum(len(e.tokens) for e in examples), "rows": len(rows), "too_long": last - first - len(rows)}
        if self.held_out and (number % self.section.save_every == 0 or number == self.steps):
            metrics |= {f"held_out_{key}": value for key, value in self.measure().items()}
        return metrics

    def score(self, metrics: dict[str, Any]) -> float | None:
        return -metrics["held_out_loss"] if "held_out_loss" in metrics else None

    def fitting(self, rows: Sequence[Row]) -> tuple[list[Row], list[Example]]:
        """The rows that are not too long, and the examples of their responses, in order."""
        made = [(row, self.examples(row)) for row in rows]
        kept = [(row, examples) for row, examples in made if examples is not None]
        return [row for row, _ in kept], [example for _, examples in kept for example in examples]


def check_prompts(where: str, rows: Sequence[Row], prompter: Prompter) -> None:
    """Raises TaskError where the template has no room for a prompt of several messages."""
    long = [row for row in rows if len(row.messages) > 1] if prompter.template is not None else []
    if long:
        told = f"row {long[0].number} is a conversation of several messages; the template has room for one question"
        raise TaskError(f"{where}: {told}. Use `template: chat` with a model that has a chat template, or leave such rows out")
