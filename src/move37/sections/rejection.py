"""`rejection_sample`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from move37 import rewards
from move37.errors import nearest
from move37.sections.base import INIT, READING, STOP, Artefact, Positive, Rows, StageSection, StopEntry
from move37.types import Reading


class RejectionSample(StageSection):
    """Several samples a prompt, of which right and readable ones are kept as a data set."""

    INPUTS: ClassVar[dict[str, Artefact]] = {"init": "checkpoint", "mix": "data", "filters": "reward_model"}
    TAKES: ClassVar[dict[str, tuple[Rows, ...]]] = {"mix": ("replies",)}
    MAKES: ClassVar[Artefact | None] = "data"
    FREE: ClassVar[frozenset[str]] = frozenset({"starve_limit"})

    stage: Literal["rejection_sample"]
    init: str = INIT
    tasks: list[str] | None = Field(None, description="task names; all where not given")
    prompts: Positive = Field(description="problems asked, of those training may see")
    prompts_per_step: Positive = Field(32, description="problems between two saves")
    samples_per_prompt: Positive = Field(8, description="responses per problem")
    max_new_tokens: Positive = Field(256, description="longest response, in tokens")
    temperature: Annotated[float, Field(gt=0)] = Field(1.0, description="of the samples")
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="nucleus; 1 is off")
    stop: list[StopEntry] = STOP
    reading: Reading = READING
    filters: dict[str, Any] = Field(
        default_factory=lambda: {"format": 1.0},
        validate_default=True,
        description="reward -> least score of a right response that is kept, or {least, tasks, and the reward's options}",
    )
    judged: list[str] = Field(
        default_factory=list,
        description="tasks that no rule can check: there the filter judge_reference says what is right, not the verifier",
    )
    rows: Literal["responses", "pairs"] = Field(
        "responses", description="pairs: preferences for DPO, the shortest accepted response above longer ones; see docs/kimi.md"
    )
    longer: Annotated[float, Field(ge=1)] = Field(
        1.5, description="tokens of a right response that is rejected in a pair, as a multiple of the chosen one's"
    )
    keep_per_prompt: Positive = Field(1, description="most responses (or pairs) kept per problem")
    choose: Literal["random", "shortest"] = Field("random", description="which, where there are more")
    mix: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(
        default_factory=dict, description="other data, a file or an earlier stage's -> its share of the whole (paper: 0.25)"
    )
    starve_limit: Positive = Field(10, description="steps without one accepted response before the run stops")

    @field_validator("filters")
    @classmethod
    def _visible(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        stage = {"max_tokens": info.data.get("max_new_tokens"), "reading": info.data.get("reading")}
        found = rewards.settings(_weights(value), stage)
        for name, given in found.items():
            if given.pop("from_step") != 1:
                raise ValueError(f"{name}: a filter has no from_step; that is for the rewards of rl")
        return {name: {"least": given.pop("weight"), **given} for name, given in found.items()}

    @model_validator(mode="after")
    def _shares(self) -> RejectionSample:
        if sum(self.mix.values()) >= 1:
            raise ValueError(f"mix: the shares sum to {sum(self.mix.values()):g}, which leaves nothing for what is accepted")
        if self.rows == "pairs" and self.mix:
            raise ValueError("mix: other data can not be mixed into pairs; leave it out, or use rows: responses")
        if self.rows == "pairs" and self.samples_per_prompt == 1:
            raise ValueError("rows: pairs compares the responses to one problem; set samples_per_prompt to 2 or more")
        if self.rows == "responses" and "longer" in self.model_fields_set and self.longer != 1.5:
            raise ValueError(f"longer={self.longer:g} is for rows: pairs; leave it out")
        if self.judged and "judge_reference" not in self.filters:
            raise ValueError(f"judged={self.judged}: nobody judges; add the filter judge_reference with a judge")
        rewards.check_stage(rewards.settings(self.least()), self.samples_per_prompt, 1)
        return self

    def inputs(self) -> dict[str, str]:
        models = {f"filters.{name}.model": at for name, at in rewards.models(self.filters).items()}
        judges = {f"filters.{name}.judge.checkpoint": at for name, at in rewards.judges(self.filters).items()}
        return {"init": self.init, **{f"mix.{source}": source for source in self.mix}, **models, **judges}

    def check_tasks(self, drawn: Sequence[str]) -> None:
        try:
            rewards.check_tasks(self.filters, drawn)
        except ValueError as problem:
            raise ValueError(f"filters: {problem}") from None
        covered = self.filters["judge_reference"]["tasks"] if self.judged else None
        for task in self.judged:
            if task not in drawn:
                raise ValueError(f"judged: {task!r} is no task of this stage; {nearest(task, drawn)}")
            if covered is not None and task not in covered:
                raise ValueError(f"judged: {task!r} is not among the tasks of the filter judge_reference; add it there")

    def functions(self) -> list[str]:
        return list(self.filters)

    def least(self) -> dict[str, Any]:
        """The filters as a recipe's rewards: the weight is the least score."""
        return _weights(self.filters)

    def makes_rows(self) -> Rows:
        return "pairs" if self.rows == "pairs" else "replies"

    def sentence(self) -> str:
        """The derived sizes, for people."""
        steps = -(-self.prompts // self.prompts_per_step)
        what = "pairs of a short and a longer one" if self.rows == "pairs" else "right ones"
        return (
            f"{steps} steps of {min(self.prompts, self.prompts_per_step)} prompts x {self.samples_per_prompt} samples of at most "
            f"{self.max_new_tokens} tokens; {what} that pass {', '.join(self.filters) or 'no filter'} are kept, at most "
            f"{self.keep_per_prompt} a prompt."
        )


def _weights(filters: dict[str, Any]) -> dict[str, Any]:
    """`{least: 0.9, target: en}` and `0.9` as the rewards know them."""
    return {
        name: {"weight": given.get("least"), **{k: v for k, v in given.items() if k != "least"}}
        if isinstance(given, dict)
        else given
        for name, given in filters.items()
    }
