"""`preference`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from move37.sections.base import Artefact, Positive, Rows, Share
from move37.sections.training import Optimizer, TrainingSection


class PreferenceOptimizer(Optimizer):
    """As `optimizer`, with the rate and schedule of Tulu 3 (arXiv 2411.15124), whose warm-up is a tenth of the updates."""

    lr: Annotated[float, Field(gt=0)] = Field(5e-7, description="peak learning rate")
    schedule: Literal["constant", "cosine", "linear"] = Field("linear", description="after the warm-up")


class Preference(TrainingSection):
    """Direct preference optimisation (DPO, arXiv 2305.18290): from pairs to a policy, without a reward model."""

    INPUTS: ClassVar[dict[str, Artefact]] = {"init": "checkpoint", "data": "data"}
    TAKES: ClassVar[dict[str, tuple[Rows, ...]]] = {"data": ("pairs",)}
    READS: ClassVar[frozenset[str]] = frozenset({"template"})

    stage: Literal["preference"]
    init: str = Field("model", description="what to start from, and the reference: `model` or an earlier training stage")
    data: str = Field(description="a stage's data set, or a file; rows of prompt, chosen, rejected")
    columns: dict[Literal["prompt", "chosen", "rejected"], str] = Field(
        default_factory=dict, description="what the file calls these, where it is not that"
    )
    beta: Annotated[float, Field(gt=0)] = Field(0.1, description="how much the reference holds (length-normalised: about 5)")
    length_normalised: bool = Field(False, description="mean log-prob per token in place of the sum (Tulu 3)")
    epochs: Positive = Field(1, description="times through the data")
    examples_per_step: Positive = Field(128, description="pairs per update")
    held_out: Share = Field(0.05, description="share of the prompts, by hash, that are only measured")
    max_tokens: Positive | None = Field(
        None, description="longest prompt with response; longer pairs are left out and counted. Empty: the model's context"
    )
    optimizer: PreferenceOptimizer = Field(default_factory=PreferenceOptimizer)
