"""`rl`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from move37 import rewards
from move37.algorithms import ALGORITHMS, Algorithm, build
from move37.errors import nearest
from move37.options import build as build_option
from move37.sections.base import INIT, READING, STOP, Artefact, Positive, Rows, StopEntry
from move37.sections.partial import Partial
from move37.sections.training import TrainingSection
from move37.tasks.draws import DRAWS, Draw
from move37.types import Reading


class RL(TrainingSection):
    """Reinforcement learning from verifiable rewards."""

    INPUTS: ClassVar[dict[str, Artefact]] = {"init": "checkpoint", "rewards": "reward_model", "draw": "data"}
    TAKES: ClassVar[dict[str, tuple[Rows, ...]]] = {"draw": ("problems",)}
    FREE: ClassVar[frozenset[str]] = TrainingSection.FREE | {"starve_limit", "mismatch_limit"}

    stage: Literal["rl"]
    init: str = INIT
    tasks: list[str] | None = Field(None, description="task names; all where not given")
    steps: Positive = Field(description="rollout phases")
    save_every: Positive = Field(1, description="steps between checkpoints: a kill loses the steps since the last one")
    prompts_per_step: Positive = Field(16, description="problems drawn per step")
    samples_per_prompt: Positive = Field(16, description="responses per problem: the group")
    draw: dict[str, Any] = Field(
        default_factory=lambda: {"kind": "uniform"},
        validate_default=True,
        description="how problems are drawn: kind (uniform | curriculum | prioritised) and options; see docs/curriculum.md",
    )
    updates_per_step: Positive = Field(1, description="optimizer updates, each on its own part of the step's rollouts")
    max_new_tokens: Positive = Field(256, description="longest response, in tokens")
    temperature: Annotated[float, Field(gt=0)] = Field(1.0, description="of the policy, in sampling and in the loss")
    stop: list[StopEntry] = STOP
    partial: Partial | None = Field(
        None, description="keep unfinished responses for the next step: {new_tokens, max_age: 4, earlier: learn | leave_out}"
    )
    reading: Reading = READING
    rewards: dict[str, Any] = Field(
        default_factory=lambda: {"accuracy": 1.0},
        validate_default=True,
        description="reward -> weight, or weight, tasks (all where not given) and options",
    )
    algorithm: dict[str, Any] = Field(
        default_factory=lambda: {"name": "grpo"}, validate_default=True, description="name and options"
    )
    probe_every: Annotated[int, Field(ge=0)] = Field(
        0, description="steps between looks at fixed held-out problems; 0: never"
    )
    starve_limit: Positive = Field(10, description="steps without any signal before the run stops")
    mismatch_limit: Annotated[float, Field(gt=0)] = Field(
        0.01, description="largest sampler/learner KL, nats per token"
    )

    @field_validator("algorithm", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("algorithm")
    @classmethod
    def _resolved(cls, value: dict[str, Any]) -> dict[str, Any]:
        """A preset resolves to visible settings: the whole set is written back."""
        options = dict(value)
        name = options.pop("name", None)
        if name not in ALGORITHMS:
            raise ValueError(f"algorithm {name!r} is not known; {nearest(str(name), ALGORITHMS)}")
        return {"name": name, **build(name, options).settings()}

    @field_validator("draw", mode="before")
    @classmethod
    def _kind(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @field_validator("draw")
    @classmethod
    def _drawn(cls, value: dict[str, Any]) -> dict[str, Any]:
        return {"kind": value.get("kind"), **_draw(value).settings()}

    @field_validator("rewards")
    @classmethod
    def _visible(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """As for algorithms: what a reward's options are stands in the resolved recipe."""
        return rewards.settings(value, {"max_tokens": info.data.get("max_new_tokens"), "reading": info.data.get("reading")})

    @model_validator(mode="after")
    def _sizes(self) -> RL:
        total = self.prompts_per_step * self.samples_per_prompt
        if self.updates_per_step > total:
            raise ValueError(
                f"updates_per_step={self.updates_per_step} is more than the {total} rollouts of a step; lower it"
            )
        if self.samples_per_prompt == 1 and self.build_algorithm().needs_group:
            raise ValueError(
                f"algorithm {self.algorithm['name']} compares samples of a group: set samples_per_prompt to 2 or more"
            )
        rewards.check_stage(self.rewards, self.samples_per_prompt, self.steps)
        return self

    def check_tasks(self, drawn: Sequence[str]) -> None:
        try:
            rewards.check_tasks(self.rewards, drawn)
            rewards.check_paid(self.rewards, drawn)
        except ValueError as problem:
            raise ValueError(f"rewards: {problem}") from None
        for name in (n for n in self.build_draw().names() if n not in drawn):
            raise ValueError(f"draw.levels names {name!r}, which is none of its tasks; {nearest(name, drawn)}")

    @model_validator(mode="after")
    def _partial(self) -> RL:
        if self.partial is not None:
            if self.partial.new_tokens >= self.max_new_tokens:
                raise ValueError(
                    f"partial.new_tokens={self.partial.new_tokens} is not below max_new_tokens={self.max_new_tokens}: every "
                    "response would end in its first step; lower it, or leave `partial` out"
                )
            if self.algorithm["dynamic_sampling"]:
                raise ValueError("partial: dynamic_sampling samples a step's problems to their ends; set one of the two")
        return self

    @model_validator(mode="after")
    def _levels(self) -> RL:
        if late := [step for step in self.draw.get("at", []) if step > self.steps]:
            raise ValueError(f"draw.at: the level from step {late[0]} on is never reached in {self.steps} steps")
        return self

    def inputs(self) -> dict[str, str]:
        models = {f"rewards.{name}.model": at for name, at in rewards.models(self.rewards).items()}
        judges = {f"rewards.{name}.judge.checkpoint": at for name, at in rewards.judges(self.rewards).items()}
        problems = self.draw["problems"]
        return {"init": self.init, **models, **judges, **({"draw.problems": problems} if problems else {})}

    def functions(self) -> list[str]:
        return list(self.rewards)

    def build_draw(self) -> Draw:
        return _draw(self.draw)

    def build_algorithm(self) -> Algorithm:
        options = dict(self.algorithm)
        return build(options.pop("name"), options)

    def sentence(self) -> str:
        """The derived sizes, for people."""
        total = self.prompts_per_step * self.samples_per_prompt
        updates = (
            "one update"
            if self.updates_per_step == 1
            else f"{self.updates_per_step} updates of about {total // self.updates_per_step}"
        )
        epochs = self.build_algorithm().epochs
        updates += f" in each of {epochs} epochs" if epochs > 1 else ""
        return (
            f"{self.steps} steps; each samples {self.prompts_per_step} prompts x {self.samples_per_prompt} = {total} responses "
            f"of at most {self.max_new_tokens} tokens and makes {updates}, in micro-batches of at most "
            f"{self.tokens_per_microbatch} tokens."
        )


def _draw(options: dict[str, Any]) -> Draw:
    """Raises RecipeError for an unknown kind or option, or an impossible value."""
    return build_option("draw", DRAWS, options.get("kind", ""), {k: v for k, v in options.items() if k != "kind"})
