"""Recipes: the YAML file, its schema, dotted overrides and every error a reader of the file can make.

Loading a recipe imports no torch. Unknown keys are refused with the nearest valid name; nothing has an alias.

Example:
    >>> recipe = load("recipes/tiny/r1_zero.yaml", overrides=["rl.steps=50"])
    >>> recipe.stages["rl"].steps
    50
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from move37.algorithms import ALGORITHMS, Algorithm, build
from move37.errors import RecipeError, nearest

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Base of all recipe sections: strict keys, frozen, no coercion surprises."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


# ---------------------------------------------------------------------------------------------------------- tasks


class TaskSection(Section):
    """Fields every kind of task has."""

    weight: Annotated[float, Field(gt=0)] = Field(1.0, description="share of the draws, relative to the other tasks")
    held_out: Share = Field(0.1, description="share of the problems, by hash, that training never draws")


class FamilyTask(TaskSection):
    """One of our own families, with difficulty knobs."""

    family: str = Field(description="chain | product | countdown | word")
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

# --------------------------------------------------------------------------------------------------------- stages


class Optimizer(Section):
    """What turns gradients into steps, a schedule and a clip by global norm. Moments are 0.9 and 0.95."""

    kind: Literal["adamw", "muon"] = Field(
        "adamw", description="muon: orthogonalised steps for the blocks' matrices, AdamW for the rest"
    )
    lr: Annotated[float, Field(gt=0)] = Field(1e-4, description="peak learning rate")
    schedule: Literal["constant", "cosine", "linear"] = Field("constant", description="after the warm-up")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(0, description="updates of linear warm-up")
    final_share: Share = Field(0.0, description="share of lr left at the end of cosine and linear")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.0, description="decoupled; matrices only")
    clip_norm: Annotated[float, Field(gt=0)] = Field(1.0, description="global gradient norm")


class StageSection(Section):
    """Base of all stages."""


INIT = Field("model", description="what to start from: `model` (the recipe's) or the name of an earlier training stage")


class TrainingSection(StageSection):
    tokens_per_microbatch: Positive = Field(8192, description="memory knob; never changes the gradient")
    optimizer: Optimizer = Field(default_factory=Optimizer)
    save_every: Positive = Field(10, description="steps between checkpoints")
    keep_last: Positive = Field(2, description="checkpoints kept beside the best one")


class Pretrain(TrainingSection):
    """A new language model on documents of the tiny world."""

    stage: Literal["pretrain"]
    steps: Positive = Field(description="optimizer updates")
    documents_per_step: Positive = Field(128, description="documents per update")
    hidden: Positive = Field(128, description="width")
    layers: Positive = Field(6, description="decoder layers")
    heads: Positive = Field(4, description="attention heads")
    kv_heads: Positive = Field(2, description="key/value heads")
    ffn: Positive = Field(384, description="inner width of the MLP")
    context: Positive = Field(1024, description="longest sequence, in tokens")
    vocabulary: Annotated[int, Field(ge=262)] = Field(1024, description="size of the BPE vocabulary trained for it")
    documents: dict[str, Share] = Field(description="direct, worked, checked, corrected -> share, in ordinary layouts")
    template_documents: dict[str, Share] = Field(description="the same in the layout of the R1-Zero template")
    template_share: Share = Field(0.2, description="share of documents in that layout")
    direct_right: Share = Field(0.9, description="how often a direct answer to the easiest problem is right")
    slips: Share = Field(0.02, description="chance that one worked step goes wrong")
    mixed: Share = Field(0.05, description="share whose solution is in another language than the question")

    @model_validator(mode="after")
    def _shapes(self) -> Pretrain:
        if self.hidden % self.heads or self.heads % self.kv_heads:
            raise ValueError(
                f"heads={self.heads} must divide hidden={self.hidden}, and kv_heads={self.kv_heads} divide heads"
            )
        kinds = {"direct", "worked", "checked", "corrected"}
        for key, shares in (("documents", self.documents), ("template_documents", self.template_documents)):
            for kind in shares:
                if kind not in kinds:
                    raise ValueError(f"{key}.{kind} is no kind of document; {nearest(kind, kinds)}")
            if abs(sum(shares.values()) - 1) > 1e-6:
                raise ValueError(f"{key} must sum to 1, they sum to {sum(shares.values()):g}")
        return self


class RL(TrainingSection):
    """Reinforcement learning from verifiable rewards."""

    stage: Literal["rl"]
    init: str = INIT
    tasks: list[str] | None = Field(None, description="task names; all where not given")
    steps: Positive = Field(description="rollout phases")
    prompts_per_step: Positive = Field(16, description="problems drawn per step")
    samples_per_prompt: Positive = Field(16, description="responses per problem: the group")
    updates_per_step: Positive = Field(1, description="optimizer updates, each on its own part of the step's rollouts")
    max_new_tokens: Positive = Field(256, description="longest response, in tokens")
    temperature: Annotated[float, Field(gt=0)] = Field(1.0, description="of the policy, in sampling and in the loss")
    stop: list[str] = Field(default_factory=list, description="strings that end a response")
    rewards: dict[str, float] = Field(default_factory=lambda: {"accuracy": 1.0}, description="reward -> weight")
    algorithm: dict[str, Any] = Field(default_factory=lambda: {"name": "grpo"}, description="name and options")
    reward_deadline_s: Annotated[float, Field(gt=0)] = Field(10.0, description="seconds a reward may take per rollout")
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
        return self

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
        return (
            f"{self.steps} steps; each samples {self.prompts_per_step} prompts x {self.samples_per_prompt} = {total} responses "
            f"of at most {self.max_new_tokens} tokens and makes {updates}, in micro-batches of at most "
            f"{self.tokens_per_microbatch} tokens."
        )


class Evaluate(StageSection):
    """Held-out problems, sampled and greedy."""

    stage: Literal["evaluate"]
    init: str = INIT
    tasks: list[str] | None = Field(None, description="task names; all where not given")
    problems: Positive = Field(30, description="held-out problems per task")
    samples: Positive = Field(16, description="responses per problem")
    max_new_tokens: Positive = Field(256, description="longest response, in tokens")
    temperature: Annotated[float, Field(gt=0)] = Field(1.0, description="of the sampled responses")
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="nucleus; 1 is off")
    top_k: Annotated[int, Field(ge=0)] = Field(0, description="0 is off")
    min_p: Share = Field(0.0, description="0 is off")
    stop: list[str] = Field(default_factory=list, description="strings that end a response")
    greedy: bool = Field(True, description="one greedy response per problem as well")


STAGE_KINDS: dict[str, type[StageSection]] = {"pretrain": Pretrain, "rl": RL, "evaluate": Evaluate}
AnyStage = Annotated[Union[Pretrain, RL, Evaluate], Field(discriminator="stage")]


class Hardware(Section):
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU where there is one")
    threads: Annotated[int, Field(ge=0)] = Field(0, description="CPU threads; 0 is every core this process may use")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: float32 on a CPU, bfloat16 on a GPU"
    )
    kernels: Literal["auto", "native", "torch"] = Field(
        "auto", description="on a CPU: our compiled kernels where they fit, demanded (native), or PyTorch alone"
    )


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
    hardware: Hardware = Field(default_factory=Hardware)

    @model_validator(mode="after")
    def _names(self) -> Recipe:
        earlier: list[str] = ["model"]
        for name, stage in self.stages.items():
            if not self.tasks:
                raise ValueError(f"stages.{name} needs problems, but the recipe has no `tasks`")
            if not isinstance(stage, Pretrain):
                self._check_start(name, stage, earlier)
            if isinstance(stage, TrainingSection):
                earlier.append(name)
        return self

    def _check_start(self, name: str, stage: RL | Evaluate, earlier: list[str]) -> None:
        if stage.init not in earlier:
            raise ValueError(
                f"stages.{name}.init={stage.init!r} is no earlier training stage; {nearest(stage.init, earlier)}"
            )
        if stage.init == "model" and self.model is None:
            raise ValueError(
                f"stages.{name} starts from `model`, but the recipe names no model; set `model: bundled` or init"
            )
        for task in stage.tasks or []:
            if task not in self.tasks:
                raise ValueError(f"stages.{name}.tasks names {task!r}, which is no task; {nearest(task, self.tasks)}")

    def to_yaml(self) -> str:
        """The resolved recipe: every field that applies, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


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
    for part in parts[:-1]:
        child = node.get(part)
        if isinstance(child, str) and part == "algorithm":
            child = {"name": child}
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
    sections = {"optimizer": Optimizer, "hardware": Hardware}
    return list(sections.get(location[-1] if location else "", Recipe).model_fields)
