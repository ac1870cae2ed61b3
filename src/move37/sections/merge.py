"""`merge`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from move37.sections.base import Artefact, StageSection

KINDS = "`model`, an earlier training stage, or a model directory (a path with a slash)"


class Merge(StageSection):
    """The weights of two checkpoints averaged, without training (Kimi k1.5, section 2.4)."""

    INPUTS: ClassVar[dict[str, Artefact]] = {"init": "checkpoint", "other": "checkpoint"}
    DIRECTORIES: ClassVar[frozenset[str]] = frozenset({"init", "other"})
    MAKES: ClassVar[Artefact | None] = "checkpoint"
    READS: ClassVar[frozenset[str]] = frozenset()

    stage: Literal["merge"]
    init: str = Field("model", description=f"one model: {KINDS}; configuration and tokenizer are its own")
    other: str = Field(description=f"the other, of the same shape and tokenizer: {KINDS}")
    share: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="of `other` in the average (paper: 0.5)")

    @model_validator(mode="after")
    def _two(self) -> Merge:
        if self.init == self.other:
            raise ValueError(f"init and other are both {self.init!r}; the average of a model with itself is that model")
        return self

    def sentence(self) -> str:
        """What it does, for people."""
        return f"{1 - self.share:g} of the weights of {self.init}, {self.share:g} of those of {self.other}."
