"""What every section of a recipe shares: strict keys, inputs and outputs of stages, how a response is ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Union

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Base of all recipe sections: strict keys, frozen, no coercion surprises."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


JUDGE = ".checkpoint"  # how the key of an input ends that names a judge
Artefact = Literal["checkpoint", "data", "evaluation", "reward_model"]
Rows = Literal["replies", "pairs", "labels", "problems"]  # what the rows of a data set are: docs/data.md


class StageSection(Section):
    """Base of all stages: what one starts from, what it makes, and what of the recipe decides that.

    A subclass declares INPUTS (the keys that name an earlier stage, and what it must have made; for a checkpoint `model` is
    the recipe's, for data a file will do, for the keys in DIRECTORIES and a judge's `.checkpoint` a path with a slash), TAKES
    (of the keys that name data, the kinds of rows it can use), MAKES, READS (which of the recipe's `tasks` and `template` it
    depends on) and FREE (keys that may change under a finished stage, because they change nothing of what it made).
    """

    INPUTS: ClassVar[dict[str, Artefact]] = {}
    DIRECTORIES: ClassVar[frozenset[str]] = frozenset()
    TAKES: ClassVar[dict[str, tuple[Rows, ...]]] = {}
    MAKES: ClassVar[Artefact | None] = None
    READS: ClassVar[frozenset[str]] = frozenset({"tasks", "template"})
    FREE: ClassVar[frozenset[str]] = frozenset()

    def inputs(self) -> dict[str, str]:
        """Key -> the stage, model or file it names."""
        return {key: getattr(self, key) for key in self.INPUTS}

    def wants(self, key: str) -> Artefact:
        """What the stage that an input names must have made."""
        return "checkpoint" if key.endswith(JUDGE) else self.INPUTS[key.partition(".")[0]]

    def takes_directory(self, key: str) -> bool:
        """Whether an input may name a model directory as well, with a slash."""
        return key in self.DIRECTORIES or key.endswith(JUDGE)

    def makes_rows(self) -> Rows | None:
        """What the rows of the data it makes are; None where it makes none."""
        return None

    def check_tasks(self, drawn: Sequence[str]) -> None:
        """Look at what it says of the tasks, once the whole recipe is known; `drawn` are the names of those that it uses.

        Raises:
            ValueError: what can not be, beginning with the key.
        """

    def functions(self) -> list[str]:
        """The rewards it names, a user's own among them."""
        return []

    def sentence(self) -> str:
        """The derived sizes, for people, as far as the section alone tells them."""
        return ""


class Loop(Section):
    """An entry of `stop` that ends a response in a loop."""

    repeat: Annotated[int, Field(ge=16)] = Field(128, description="tokens at the end that are one block, 4 times or more")


StopEntry = Annotated[
    Union[Annotated[Loop, Tag("loop")], Annotated[str, Tag("string")]],
    Discriminator(lambda value: "loop" if isinstance(value, dict | Loop) else "string"),
]
STOP = Field(
    default_factory=list,
    description="what ends a response: strings, and `{repeat: 128}` for one whose last 128 tokens are a loop",
)


def stops(entries: list[str | Loop]) -> dict[str, Any]:
    """The settings of a `Sampling` that `stop` means: several loops are the shortest."""
    windows = [entry.repeat for entry in entries if isinstance(entry, Loop)]
    return {"stop": tuple(e for e in entries if isinstance(e, str)), "repeat": min(windows, default=0)}


INIT = Field("model", description="what to start from: `model` (the recipe's) or the name of an earlier training stage")
READING = Field(
    "tags",
    description="where the answer stands: in <answer> tags (or the \\boxed{} in there), in the last \\boxed{} after the thought, "
    "or all after it",
)
COUNTS = Field("model", description="whose tokenizer counts the tokens of a row: `model` or an earlier training stage")
