"""`rewrite`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from move37.sections.answering import SCRIPTED, Answering, judge_of
from move37.sections.base import COUNTS, Artefact, Positive, Rows, StageSection


class Rewrite(StageSection):
    """Right responses written anew for readers: the thought in the question's language, and a summary with \\boxed{}."""

    INPUTS: ClassVar[dict[str, Artefact]] = {"init": "checkpoint", "data": "data"}
    TAKES: ClassVar[dict[str, tuple[Rows, ...]]] = {"data": ("replies",)}
    MAKES: ClassVar[Artefact | None] = "data"
    READS: ClassVar[frozenset[str]] = frozenset({"tasks"})

    stage: Literal["rewrite"]
    init: str = COUNTS
    data: str = Field(description="right responses: an earlier stage's data set, or a file with its columns")
    by: Answering = Field(SCRIPTED, description="`scripted` (the tiny world's writer), an endpoint or checkpoint, as for judges")
    longest: Positive = Field(40_000, description="characters of a thought that is written anew; longer ones are dropped")
    rows_per_step: Positive = Field(64, description="rows between two saves")

    def inputs(self) -> dict[str, str]:
        return {**super().inputs(), **judge_of("by", self.by)}

    def makes_rows(self) -> Rows:
        return "replies"

    def sentence(self) -> str:
        """The derived sizes, for people."""
        by = self.by if isinstance(self.by, str) else self.by["model"] or self.by["checkpoint"]
        return f"steps of {self.rows_per_step} rows, written anew by {by}, the final answers verified again."
