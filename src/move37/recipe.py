"""Recipes: the YAML file, dotted overrides and every error a reader of the file can make.

Loading a recipe imports no torch. Unknown keys are refused with the nearest valid name; nothing has an alias.

Example:
    >>> recipe = load("recipes/tiny/r1_zero.yaml", overrides=["rl.steps=50"])
    >>> recipe.stages["rl"].steps
    50
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from move37.errors import RecipeError, nearest
from move37.rewards import REWARDS
from move37.rewards.modelled import mismatch
from move37.sections import (
    RL,
    STAGE_KINDS,
    TASK_KINDS,
    AnyStage,
    AnyTask,
    Hardware,
    Loop,
    Merge,
    Pretrain,
    RewardModel,
    Section,
    StageSection,
)
from move37.sections.pretrain import SHAPE

NAMED = {"algorithm": "name", "draw": "kind"}  # a bare name stands for a mapping with this key


class Recipe(Section):
    """The whole file."""

    name: str = Field(description="names the run directory")
    seed: int = Field(0, ge=0, description="every random stream derives from it")
    model: str | None = Field(
        None, description="`bundled`, a Hugging Face model directory, or empty where a stage makes it"
    )
    template: str | None = Field(
        None, description="`r1_zero`, `chat`, or a file with a {question} slot; empty: the model's own"
    )
    tasks: dict[str, AnyTask] = Field(default_factory=dict, description="name -> where the problems come from")
    stages: dict[str, AnyStage] = Field(description="name -> stage, run in this order")
    sandbox: Literal["bubblewrap", "none-i-accept-the-risk"] = Field(
        "bubblewrap", description="what holds answers that are code; see docs/security.md"
    )
    hardware: Hardware = Field(default_factory=Hardware)

    @field_validator("model")
    @classmethod
    def _weights(cls, value: str | None) -> str | None:
        if value is not None and re.match(r"\w+://", value):  # what `move37 eval` measures is named "m at http://..."
            raise ValueError(
                "an endpoint has no weights to train and can not go on from given tokens; give `bundled` or a model directory, "
                "and measure an endpoint with move37 eval --endpoint"
            )
        return value

    @model_validator(mode="after")
    def _names(self) -> Recipe:
        earlier: dict[str, StageSection] = {}
        for name, stage in self.stages.items():
            if name == "model" or not re.fullmatch(r"[\w-]+", name):
                raise ValueError(f"stages.{name}: a stage is named with letters, digits, _ and -, and not `model`")
            if "tasks" in stage.READS and not self.tasks:
                raise ValueError(f"stages.{name} needs problems, but the recipe has no `tasks`")
            for key, value in stage.inputs().items():
                if key == "search.value":
                    _check_value(f"stages.{name}.{key}", value, earlier)
                if "/" not in value or not stage.takes_directory(key):
                    self._check_input(f"stages.{name}.{key}", value, stage, earlier)
                if value in earlier:
                    _check_rows(f"stages.{name}.{key}", stage, value, earlier[value])
            if isinstance(stage, Merge):
                _check_shapes(name, stage, earlier)
            for task in dict(stage).get("tasks") or []:
                if task not in self.tasks:
                    raise ValueError(f"stages.{name}.tasks names {task!r}, which is no task; {nearest(task, self.tasks)}")
            if "tasks" in stage.READS:
                self._check_tasks(name, stage)
            earlier[name] = stage
        return self

    def _check_tasks(self, name: str, stage: StageSection) -> None:
        try:
            stage.check_tasks(dict(stage).get("tasks") or list(self.tasks))
        except ValueError as problem:
            raise ValueError(f"stages.{name}.{problem}") from None

    def _check_input(self, key: str, value: str, stage: StageSection, earlier: dict[str, StageSection]) -> None:
        """An input is an earlier stage that makes what is wanted, or the recipe's model, or (for data, reward models) a path."""
        wanted = stage.wants(own := key.split(".", 2)[2])
        makers = [name for name, maker in earlier.items() if wanted == maker.MAKES]
        if value in makers:
            maker = earlier[value]
            if isinstance(maker, RewardModel) and key.endswith(".model"):
                reward = key.split(".")[-2]
                if maker.part != REWARDS[reward].scope:
                    raise ValueError(f"{key}: " + mismatch(reward, value, maker.part, REWARDS[reward].scope))
            return
        if wanted == "checkpoint":
            if value != "model":
                told = nearest(value, [*makers, "model"]) + " (a directory is named with a slash)" * stage.takes_directory(own)
                raise ValueError(f"{key}={value!r} is no earlier training stage; {told}")
            if self.model is None:
                raise ValueError(f"{key} is `model`, but the recipe names no model; set `model: bundled` or {key}")
        elif value in self.stages or (not Path(value).suffix and "/" not in value):
            told = nearest(value, makers) if makers else "no earlier stage makes any"
            what = "file is named with its ending" if wanted == "data" else "directory is named with a slash"
            raise ValueError(f"{key}={value!r} is no earlier stage that makes {wanted}; {told} (a {what})")

    def to_yaml(self) -> str:
        """The resolved recipe: every field that applies, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _check_value(key: str, value: str, earlier: dict[str, StageSection]) -> None:
    """Raises ValueError where no earlier stage of that name has trained a value model."""
    valued = [name for name, stage in earlier.items() if isinstance(stage, RL) and stage.build_algorithm().needs_values]
    if value not in valued:
        told = nearest(value, valued) if valued else "no earlier stage does; set `algorithm: ppo` in one"
        raise ValueError(f"{key}={value!r} is no earlier rl stage that trains a value model; {told}")


def _check_rows(key: str, stage: StageSection, value: str, maker: StageSection) -> None:
    """Raises ValueError where a stage can not use what the rows of an earlier one are. `columns` may make others of them."""
    takes, rows = stage.TAKES.get(key.split(".")[2]), maker.makes_rows()
    if takes and rows not in takes and not dict(stage).get("columns"):
        raise ValueError(f"{key}={value!r} makes data of another kind: its rows are {rows}, needed are {' or '.join(takes)}")


def _check_shapes(name: str, stage: Merge, earlier: dict[str, StageSection]) -> None:
    """Raises ValueError where a merge is of models that this recipe makes in unlike shapes; the rest is told from headers."""
    one, other = origin(stage.init, earlier), origin(stage.other, earlier)
    made, against = earlier.get(one), earlier.get(other)
    if isinstance(made, Pretrain) and isinstance(against, Pretrain):
        for key in SHAPE:
            a, b = dict(made)[key], dict(against)[key]
            if a != b:
                told = f"{stage.init!r} and {stage.other!r}: {key} is {a} in stages.{one} and {b} in stages.{other}"
                raise ValueError(f"stages.{name} merges {told}; set them alike: an average needs one shape and tokenizer")


def origin(value: str, stages: Mapping[str, StageSection]) -> str:
    """Of which weights a checkpoint descends: `model`, a directory, or the stage that made them from nothing."""
    while value in stages and "init" in (given := stages[value].inputs()):
        value = given["init"]
    return value


# -------------------------------------------------------------------------------------------------------- loading


def load(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Read a recipe file, apply `key.path=value` overrides and check all of it.

    Raises:
        RecipeError: naming the file, the key, the value, the nearest valid name and the fix.
    """
    path = Path(path)
    if not path.is_file():
        near = sorted(str(p) for p in Path("recipes").rglob("*.yaml"))
        raise RecipeError(
            f"{path}: no such recipe file; {nearest(str(path), near)}" if near else f"{path}: no such recipe file"
        )
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise RecipeError(f"{path}: not valid YAML: {problem}") from None
    if not isinstance(raw, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys, this file holds {type(raw).__name__}")
    for override in overrides:
        _apply(raw, override)
    return parse(raw, str(path))


def parse(raw: dict[str, Any], where: str) -> Recipe:
    """Check a recipe given as plain data; `where` names its origin in errors."""
    _check_kinds(raw, where)
    try:
        return Recipe.model_validate(raw)
    except ValidationError as problem:
        raise RecipeError("\n".join(_explain(where, e) for e in problem.errors())) from None


def _apply(raw: dict[str, Any], override: str) -> None:
    """`rl.steps=50` sets stages.rl.steps; a first part that names no stage starts at the top of the recipe."""
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise RecipeError(f"override {override!r} must look like key.path=value, for example rl.steps=50")
    stages = raw.get("stages")
    stages = stages if isinstance(stages, dict) else {}  # anything else is told by `parse`
    if parts[0] in stages:
        parts = ["stages", *parts]
    elif parts[0] not in Recipe.model_fields:
        names = [*stages, *Recipe.model_fields]
        raise RecipeError(
            f"override {override!r}: {parts[0]!r} is neither a stage nor a key of this recipe; {nearest(parts[0], names)}"
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        raise RecipeError(f"override {override!r}: the value is not valid YAML: {problem}") from None
    if isinstance(value, str):  # YAML reads 1e-4 as text
        with contextlib.suppress(ValueError):
            value = float(value)
    node = raw
    for above, part in itertools.pairwise(["", *parts[:-1]]):
        child = node.get(part)
        if isinstance(child, str) and part in NAMED:
            child = {NAMED[part]: child}
        elif isinstance(child, int | float) and above == "rewards":
            child = {"weight": child}
        if child is None:
            child = {}
        if not isinstance(child, dict):
            raise RecipeError(f"override {override!r}: {part!r} holds {child!r}, which has no keys below it")
        node[part] = child
        node = child
    node[parts[-1]] = value


def _check_kinds(raw: dict[str, Any], where: str) -> None:
    """Which schema a task or stage follows is read off one key; say so in our words."""
    for section in ("tasks", "stages"):
        if not isinstance(raw.get(section) or {}, dict):
            raise RecipeError(f"{where}: `{section}` is a mapping of names, it holds {raw[section]!r}")
    for name, task in (raw.get("tasks") or {}).items():
        kinds = [k for k in TASK_KINDS if isinstance(task, dict) and k in task]
        if len(kinds) != 1:
            raise RecipeError(
                f"{where}: tasks.{name} needs exactly one of the keys {', '.join(TASK_KINDS)}; it has {kinds or task!r}"
            )
        _known_keys(where, f"tasks.{name}", task, TASK_KINDS[kinds[0]])
    for name, stage in (raw.get("stages") or {}).items():
        kind = stage.get("stage") if isinstance(stage, dict) else None
        if kind not in STAGE_KINDS:
            raise RecipeError(f"{where}: stages.{name}.stage is {kind!r}; {nearest(str(kind), STAGE_KINDS)}")
        _known_keys(where, f"stages.{name}", stage, STAGE_KINDS[kind])


def _known_keys(where: str, at: str, section: dict[str, Any], schema: type[Section]) -> None:
    for key in section:
        if key not in schema.model_fields:
            raise RecipeError(f"{where}: {at}.{key} is not a key; {nearest(str(key), schema.model_fields)}")


def _explain(where: str, error: Any) -> str:
    """One pydantic error as one sentence: file, key, value, what is valid."""
    location = [str(part) for part in error["loc"]]
    if location[:1] in (["stages"], ["tasks"]):
        del location[2:3]  # which kind of stage or task it is, not a key
    key = ".".join(location) or "the recipe"
    if error["type"] == "extra_forbidden":
        return f"{where}: {key} is not a key; {nearest(location[-1], _schema_at(location[:-1]))}"
    if error["type"] == "missing":
        return f"{where}: {key} is missing and has no default"
    message = error["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(error["input"], dict | BaseModel) else f" (given: {error['input']!r})"
    return f"{where}: {key}: {message}{shown}"


def _schema_at(location: list[str]) -> list[str]:
    """The keys that may stand there: of a sub-section by its own key, else of the recipe."""
    sections: dict[str, type[Section]] = {"loop": Loop}  # no key: how the entries of `stop` are told apart
    for schema in (Recipe, *STAGE_KINDS.values()):
        for key, field in schema.model_fields.items():
            for part in (field.annotation, *get_args(field.annotation)):  # `Search`, or `Search | None`
                if isinstance(part, type) and issubclass(part, Section):
                    sections.setdefault(key, part)
    return list(sections.get(location[-1] if location else "", Recipe).model_fields)
