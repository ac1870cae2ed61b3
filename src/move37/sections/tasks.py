"""`tasks`: where problems come from."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from pydantic import Discriminator, Field, Tag

from move37.sections.base import Section, Share


class TaskSection(Section):
    """Fields every kind of task has."""

    weight: Annotated[float, Field(gt=0)] = Field(1.0, description="share of the draws, relative to the other tasks")
    held_out: Share = Field(0.1, description="share of the problems, by hash, that training never draws")


class FamilyTask(TaskSection):
    """One of our own families, with difficulty knobs."""

    family: str = Field(
        description="chain | product | countdown | word | greet | fact | rewrite | translate | write | request | forms | same"
    )
    knobs: dict[str, Any] = Field(default_factory=dict, description="difficulty knobs of the family")
    languages: dict[str, Share] = Field(default_factory=lambda: {"en": 1.0}, description="language -> share")


class GymTask(TaskSection):
    """A reasoning-gym data set, graded by its own verifier."""

    reasoning_gym: str = Field(description="data set name in reasoning-gym")
    config: dict[str, Any] = Field(default_factory=dict, description="its config fields")


class FileTask(TaskSection):
    """Problems from a file or a `datasets` directory on disk."""

    file: str = Field(description="JSONL, JSON, Parquet, CSV or a datasets directory; relative to the recipe file")
    layout: str | None = Field(
        None, description="a known layout (gsm8k, math500, ...); sets the columns and the verifier"
    )
    question: str | None = Field(None, description="column of the question, where no layout is named")
    answer: str | None = Field(None, description="column of the gold answer")
    verifier: Literal["number", "choice", "text", "math"] | None = Field(None, description="how answers are compared")
    held_out_file: str | None = Field(None, description="a file of held-out problems, instead of the split by hash")


TASK_KINDS: dict[str, type[TaskSection]] = {"family": FamilyTask, "reasoning_gym": GymTask, "file": FileTask}


def _task_kind(task: Any) -> str:
    """The kind of a task is the key that only that kind has."""
    keys = task if isinstance(task, dict) else type(task).model_fields
    return next(kind for kind in TASK_KINDS if kind in keys)


AnyTask = Annotated[
    Union[Annotated[FamilyTask, Tag("family")], Annotated[GymTask, Tag("reasoning_gym")], Annotated[FileTask, Tag("file")]],
    Discriminator(_task_kind),
]
