"""`reward_model`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from move37.rewards.reading import Reading
from move37.sections.base import INIT, READING, Artefact, Positive, Rows, Share
from move37.sections.training import Optimizer, TrainingSection

PAIRS, LABELS = {"prompt", "chosen", "rejected"}, {"prompt", "response", "label"}


class RewardOptimizer(Optimizer):
    """As `optimizer`, with the published rate (DeepSeek-R1, arXiv 2501.12948v2)."""

    lr: Annotated[float, Field(gt=0)] = Field(6e-6, description="peak learning rate")


class RewardModel(TrainingSection):
    """A model that scores responses, from pairs (chosen, rejected) or labels (1 good, 0 bad). See docs/preferences.md."""

    INPUTS: ClassVar[dict[str, Artefact]] = {"init": "checkpoint", "data": "data"}
    TAKES: ClassVar[dict[str, tuple[Rows, ...]]] = {"data": ("pairs", "labels")}
    MAKES: ClassVar[Artefact | None] = "reward_model"
    READS: ClassVar[frozenset[str]] = frozenset({"template"})

    stage: Literal["reward_model"]
    init: str = INIT
    data: str = Field(description="a stage's data set, or a file; rows of prompt, chosen, rejected or prompt, response, label")
    columns: dict[Literal["prompt", "chosen", "rejected", "response", "label"], str] = Field(
        default_factory=dict, description="what the file calls these, where it is not that"
    )
    part: Literal["answer", "response"] = Field(
        "response", description="what of a response it is shown (paper: the answer for helpfulness, all for safety)"
    )
    reading: Reading = READING
    epochs: Positive = Field(1, description="times through the data")
    examples_per_step: Positive = Field(256, description="rows per update")
    held_out: Share = Field(0.05, description="share of the prompts, by hash, that are only measured")
    max_tokens: Positive = Field(
        8192, description="longest prompt with response, at most the model's context; longer rows are left out and counted"
    )
    optimizer: RewardOptimizer = Field(default_factory=RewardOptimizer)

    @model_validator(mode="after")
    def _kind(self) -> RewardModel:
        given = set(self.columns)
        if not (given <= PAIRS or given <= LABELS):
            raise ValueError("columns names prompt, chosen and rejected, or prompt, response and label, not both")
        return self
