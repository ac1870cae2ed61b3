"""`curate`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from move37.sections.base import INIT, READING, STOP, Artefact, Positive, Rows, Share, StageSection, StopEntry
from move37.tasks.formats import FORMATS, Format
from move37.types import Reading


class Curate(StageSection):
    """The problems worth training on: neither trivial nor guessed, of a kind that can be verified, balanced."""

    INPUTS: ClassVar[dict[str, Artefact]] = {"init": "checkpoint"}
    MAKES: ClassVar[Artefact | None] = "data"

    stage: Literal["curate"]
    init: str = INIT
    tasks: list[str] | None = Field(None, description="task names; all where not given")
    prompts: Positive = Field(description="problems looked at, of those training may see")
    prompts_per_step: Positive = Field(32, description="problems between two saves")
    samples_per_prompt: Positive = Field(10, description="responses per problem, whose pass rate is its difficulty")
    max_new_tokens: Positive = Field(256, description="longest response, in tokens")
    temperature: Annotated[float, Field(gt=0)] = Field(1.0, description="of responses and guesses; the paper: relatively high")
    stop: list[StopEntry] = STOP
    reading: Reading = READING
    trivial: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="pass rate from which on a problem is dropped")
    hopeless: Share | None = Field(None, description="pass rate up to which a problem is dropped; null keeps the hardest")
    guesses: Annotated[int, Field(ge=0)] = Field(8, description="tries without a thought; one that is right drops a problem")
    guess_tokens: Positive = Field(16, description="longest guess, in tokens")
    leave_out: list[Format] = Field(list(FORMATS), description="kinds of problems that are dropped unseen, by their words")
    balance: Literal["task", "domain", "source", "language", "pass_rate"] = Field(
        "task", description="what `most` counts by; `pass_rate` in tenths"
    )
    most: Positive | None = Field(None, description="problems kept of each task (domain, ...), at random; null: all")

    @model_validator(mode="after")
    def _apart(self) -> Curate:
        if self.hopeless is not None and self.hopeless >= self.trivial:
            raise ValueError(f"hopeless={self.hopeless:g} is not below trivial={self.trivial:g}, so that nothing would be kept")
        return self

    def makes_rows(self) -> Rows:
        return "problems"

    def sentence(self) -> str:
        """The derived sizes, for people."""
        steps = -(-self.prompts // self.prompts_per_step)
        return (
            f"{steps} steps of {min(self.prompts, self.prompts_per_step)} problems x {self.samples_per_prompt} responses of "
            f"at most {self.max_new_tokens} tokens and {self.guesses} guesses of at most {self.guess_tokens}."
        )
