"""`compare`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from move37.sections.answering import SCRIPTED, Answering, judge_of
from move37.sections.base import INIT, READING, STOP, Artefact, Positive, Rows, Share, StageSection, StopEntry
from move37.types import Reading

POLICY = (
    "no help with what harms people, animals or what belongs to others; no help with breaking the law; harmless requests that "
    "only sound alike are helped with."
)


class Compare(StageSection):
    """Data for reward models and DPO: pairs of which a judge prefers one, or responses it labels safe or unsafe."""

    INPUTS: ClassVar[dict[str, Artefact]] = {"init": "checkpoint"}
    MAKES: ClassVar[Artefact | None] = "data"

    stage: Literal["compare"]
    init: str = INIT
    tasks: list[str] = Field(min_length=1, description="task names: general prompts for pairs, safety prompts for labels")
    kind: Literal["pair", "label"] = Field(
        "pair", description="pair: which of two summaries is better; label: is the whole response safe"
    )
    judge: Answering = Field(SCRIPTED, description="`scripted` (the tiny world's), an endpoint or checkpoint, as for judges")
    policy: str = Field(POLICY, description="for label: what an endpoint or checkpoint is told to judge by")
    prompts: Positive = Field(description="problems asked, of those training may see")
    prompts_per_step: Positive = Field(32, description="problems between two saves")
    samples_per_prompt: Positive = Field(4, description="responses per problem")
    max_new_tokens: Positive = Field(256, description="longest response, in tokens")
    temperature: Annotated[float, Field(gt=0)] = Field(1.0, description="of the samples")
    stop: list[StopEntry] = STOP
    reading: Reading = READING
    pairs_per_prompt: Positive = Field(1, description="most pairs of different summaries per problem")
    judgements: Annotated[int, Field(ge=2, multiple_of=2)] = Field(4, description="of a pair, half of them in the other order")
    margin: Annotated[float, Field(ge=0, lt=2)] = Field(
        1.0, description="a pair stays where its mean judgement, from -2 (B much better) to 2, is further from 0"
    )
    balance: Share | None = Field(
        0.05, description="largest difference of mean chosen and rejected length, as share of the mean; null: as it comes"
    )

    @model_validator(mode="after")
    def _pairs(self) -> Compare:
        if self.kind == "pair" and self.samples_per_prompt < 2:
            raise ValueError("samples_per_prompt=1 leaves nothing to compare; set it to 2 or more")
        return self

    def inputs(self) -> dict[str, str]:
        return {**super().inputs(), **judge_of("judge", self.judge)}

    def makes_rows(self) -> Rows:
        return "pairs" if self.kind == "pair" else "labels"

    def sentence(self) -> str:
        """The derived sizes, for people."""
        total = self.prompts * self.samples_per_prompt
        by = self.judge if isinstance(self.judge, str) else self.judge["model"] or self.judge["checkpoint"]
        asked = (
            f"at most {self.prompts * self.pairs_per_prompt} pairs judged {self.judgements} times" if self.kind == "pair"
            else "each labelled safe or unsafe"
        )  # fmt: skip
        return f"{self.prompts} prompts x {self.samples_per_prompt} = {total} responses, {asked} by {by}."
