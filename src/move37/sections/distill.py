"""`distill`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from move37.sections.base import INIT, READING, STOP, Artefact, Positive, StopEntry
from move37.sections.training import TrainingSection
from move37.types import Reading


class Distill(TrainingSection):
    """On-policy distillation: the student writes, a teacher weighs every token."""

    INPUTS: ClassVar[dict[str, Artefact]] = {"init": "checkpoint", "teacher": "checkpoint"}
    DIRECTORIES: ClassVar[frozenset[str]] = frozenset({"teacher"})
    FREE: ClassVar[frozenset[str]] = TrainingSection.FREE | {"mismatch_limit"}

    stage: Literal["distill"]
    init: str = INIT
    teacher: str = Field(description="an earlier training stage, `model`, or a model directory (a path with a slash)")
    tasks: list[str] | None = Field(None, description="task names; all where not given")
    steps: Positive = Field(description="rollout phases")
    save_every: Positive = Field(1, description="steps between checkpoints: a kill loses the steps since the last one")
    prompts_per_step: Positive = Field(16, description="problems drawn per step")
    samples_per_prompt: Positive = Field(4, description="responses per problem")
    updates_per_step: Positive = Field(1, description="optimizer updates, each on its own part of the step's rollouts")
    max_new_tokens: Positive = Field(256, description="longest response, in tokens")
    temperature: Annotated[float, Field(gt=0)] = Field(1.0, description="of student and teacher, in sampling and in the loss")
    stop: list[StopEntry] = STOP
    reading: Reading = READING
    loss: Literal["reinforce", "clip"] = Field(
        "reinforce", description="policy gradient, or with the ratio to the policy that sampled, clipped at 0.2"
    )
    probe_every: Annotated[int, Field(ge=0)] = Field(
        0, description="steps between looks at fixed held-out problems; 0: never"
    )
    mismatch_limit: Annotated[float, Field(gt=0)] = Field(
        0.01, description="largest sampler/learner KL, nats per token"
    )

    @model_validator(mode="after")
    def _sizes(self) -> Distill:
        total = self.prompts_per_step * self.samples_per_prompt
        if self.updates_per_step > total:
            raise ValueError(f"updates_per_step={self.updates_per_step} is more than the {total} rollouts of a step; lower it")
        if self.teacher == self.init:
            raise ValueError(f"teacher and init are both {self.init!r}; a model has nothing to learn from itself")
        return self

    def sentence(self) -> str:
        """The derived sizes, for people."""
        total = self.prompts_per_step * self.samples_per_prompt
        updates = "makes one update" if self.updates_per_step == 1 else f"makes {self.updates_per_step} updates"
        return (
            f"{self.steps} steps; in each {self.init} writes {self.prompts_per_step} x {self.samples_per_prompt} = {total} "
            f"responses of at most {self.max_new_tokens} tokens, {self.teacher} weighs their tokens, and it "
            f"{updates}, in micro-batches of at most {self.tokens_per_microbatch} tokens."
        )
