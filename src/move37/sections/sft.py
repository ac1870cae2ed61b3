"""`sft`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from move37.sections.base import INIT, Artefact, Positive, Rows, Share
from move37.sections.training import Optimizer, TrainingSection


class SFTOptimizer(Optimizer):
    """As `optimizer`, with the published schedule: cosine from 5e-5 to a tenth (DeepSeek-R1 v2, B.4.2)."""

    lr: Annotated[float, Field(gt=0)] = Field(5e-5, description="peak learning rate")
    schedule: Literal["constant", "cosine", "linear"] = Field("cosine", description="after the warm-up")
    final_share: Share = Field(0.1, description="share of lr left at the end of cosine and linear")


class SFT(TrainingSection):
    """Supervised fine-tuning on replies. Prompts are context; only replies and their end are learned."""

    INPUTS: ClassVar[dict[str, Artefact]] = {"init": "checkpoint", "data": "data"}
    TAKES: ClassVar[dict[str, tuple[Rows, ...]]] = {"data": ("replies",)}
    READS: ClassVar[frozenset[str]] = frozenset({"template"})

    stage: Literal["sft"]
    init: str = INIT
    data: str = Field(description="an earlier stage's data set, or a file (JSONL, JSON, Parquet, CSV, a datasets directory)")
    columns: dict[Literal["prompt", "response", "messages"], str] = Field(
        default_factory=dict, description="what the file calls prompt and response, or messages, where it is not that"
    )
    epochs: Positive | None = Field(None, description="times through the data (paper: 2 to 3); this or steps")
    steps: Positive | None = Field(None, description="optimizer updates; this or epochs")
    examples_per_step: Positive = Field(128, description="replies per update")
    held_out: Share = Field(0.02, description="share of the prompts, by hash, that are only measured")
    max_tokens: Positive | None = Field(
        None, description="longest prompt with reply; longer ones are left out and counted. Empty: the model's context"
    )
    optimizer: SFTOptimizer = Field(default_factory=SFTOptimizer)

    @model_validator(mode="after")
    def _length(self) -> SFT:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give epochs or steps, one of the two")
        if "messages" in self.columns and len(self.columns) > 1:
            raise ValueError("columns names messages, or prompt and response, not both")
        return self
