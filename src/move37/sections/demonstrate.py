"""`demonstrate`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from move37.sections.answering import SCRIPTED, Answering, judge_of
from move37.sections.base import COUNTS, Artefact, Positive, Rows, Share, StageSection


class Demonstrate(StageSection):
    """Good responses by the tasks' own writers, careless ones where `slips` says so, or by a model: data for SFT."""

    INPUTS: ClassVar[dict[str, Artefact]] = {"init": "checkpoint"}
    MAKES: ClassVar[Artefact | None] = "data"
    READS: ClassVar[frozenset[str]] = frozenset({"tasks"})

    stage: Literal["demonstrate"]
    init: str = COUNTS
    tasks: list[str] | None = Field(None, description="task names, drawn by their weights; all where not given")
    rows: Positive = Field(description="rows of the data set: problems of those training may see, one response each")
    slips: Share = Field(0.0, description="chance that one worked step goes wrong; searches and general replies have no slips")
    thoughts: Literal["short", "long"] = Field(
        "short", description="long: of reasoning tasks, planned, tried, checked, taken back and done anew, and right at the end"
    )
    by: Answering = Field(
        SCRIPTED, description="`scripted` (the tasks' own writers); for tasks in free words also an endpoint or checkpoint"
    )

    @model_validator(mode="after")
    def _long(self) -> Demonstrate:
        if self.thoughts == "long" and (self.slips or self.by != SCRIPTED):
            raise ValueError("thoughts=long is written by the tasks' own writers, without slips; leave `by` and `slips` away")
        return self

    def inputs(self) -> dict[str, str]:
        return {**super().inputs(), **judge_of("by", self.by)}

    def makes_rows(self) -> Rows:
        return "replies"

    def sentence(self) -> str:
        """The derived sizes, for people."""
        by = "the tasks' own writers" if isinstance(self.by, str) else self.by["model"] or self.by["checkpoint"]
        return f"{self.rows} rows of {', '.join(self.tasks) if self.tasks else 'all tasks'}, by {by}."
