"""`evaluate`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from move37.sections.base import INIT, READING, STOP, Artefact, Positive, Share, StageSection, StopEntry
from move37.sections.search import Search
from move37.types import Reading


class Evaluate(StageSection):
    """Held-out problems, sampled and greedy."""

    INPUTS: ClassVar[dict[str, Artefact]] = {"init": "checkpoint", "reward_model": "reward_model", "search": "checkpoint"}
    MAKES: ClassVar[Artefact | None] = "evaluation"

    stage: Literal["evaluate"]
    init: str = INIT
    tasks: list[str] | None = Field(None, description="task names; all where not given")
    problems: Positive | None = Field(30, description="held-out problems per task; null: all of a finite task")
    samples: Positive = Field(16, description="responses per problem")
    reading: Reading = READING
    instruction: str = Field("", description="a line added to every question")
    max_new_tokens: Positive = Field(256, description="longest response, in tokens")
    temperature: Annotated[float, Field(gt=0)] = Field(1.0, description="of the sampled responses")
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="nucleus; 1 is off")
    top_k: Annotated[int, Field(ge=0)] = Field(0, description="0 is off")
    min_p: Share = Field(0.0, description="0 is off")
    stop: list[StopEntry] = STOP
    greedy: bool = Field(True, description="one greedy response per problem as well")
    reward_model: str | None = Field(
        None, description="a reward_model stage (of labels) or its directory, whose verdicts are measured; tasks of family `same`"
    )
    search: Search | None = Field(
        None, description="a tree search beside the samples, with as many tokens: {width: 4, value, exploration: 1.0}"
    )

    @model_validator(mode="after")
    def _one(self) -> Evaluate:
        if self.reward_model and self.init != "model":
            raise ValueError(f"init={self.init!r} and reward_model={self.reward_model!r}: one is measured; leave the other out")
        return self

    @model_validator(mode="after")
    def _searched(self) -> Evaluate:
        if self.search is None:
            return self
        if self.reward_model:
            raise ValueError("search: a reward model writes no thought, so no tree grows; leave `search` or `reward_model` out")
        if self.samples <= self.search.width:
            raise ValueError(
                f"search: its budget is what samples={self.samples} take, and its root alone is given width={self.search.width}; "
                "set samples to a multiple of that, such as 16"
            )
        return self

    def inputs(self) -> dict[str, str]:
        if self.reward_model:
            return {"reward_model": self.reward_model}
        guide = self.search.value if self.search else None
        return {"init": self.init, **({"search.value": guide} if guide else {})}
