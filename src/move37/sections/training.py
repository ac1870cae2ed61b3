"""What training stages share, and `optimizer`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from move37.sections.base import Artefact, Positive, Section, Share, StageSection


class Optimizer(Section):
    """What turns gradients into steps, a schedule and a clip by global norm. Moments are 0.9 and 0.95."""

    kind: Literal["adamw", "muon"] = Field(
        "adamw", description="muon: orthogonalised steps for the blocks' matrices, AdamW for the rest"
    )
    lr: Annotated[float, Field(gt=0)] = Field(1e-4, description="peak learning rate")
    schedule: Literal["constant", "cosine", "linear"] = Field("constant", description="after the warm-up")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(0, description="updates of linear warm-up")
    final_share: Share = Field(0.0, description="share of lr left at the end of cosine and linear")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.0, description="decoupled; matrices only")
    clip_norm: Annotated[float, Field(gt=0)] = Field(1.0, description="global gradient norm")


class TrainingSection(StageSection):
    MAKES: ClassVar[Artefact | None] = "checkpoint"
    FREE: ClassVar[frozenset[str]] = frozenset({"tokens_per_microbatch", "save_every", "keep_last"})

    tokens_per_microbatch: Positive = Field(8192, description="memory knob; never changes the gradient")
    optimizer: Optimizer = Field(default_factory=Optimizer)
    save_every: Positive = Field(10, description="steps between checkpoints: a kill loses the steps since the last one")
    keep_last: Positive = Field(2, description="checkpoints kept beside the best one")
