"""The sections of a recipe: tasks, stages, hardware. Loading and everything about the whole file is in recipe.py.

Strict keys, frozen, no torch. A field is a knob: tests/house/test_knobs.py pins them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Union

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from move37 import rewards
from move37.algorithms import ALGORITHMS, Algorithm, build
from move37.errors import nearest

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


Artefact = Literal["checkpoint", "data", "evaluation"]


class StageSection(Section):
    """Base of all stages: what one starts from, what it makes, and what of the recipe decides that.

    A subclass declares INPUTS (the keys that name an earlier stage, and what it must have made; for a checkpoint `model` is
    the recipe's, for data a file will do), MAKES, READS (which of the recipe's `tasks` and `template` it depends on) and FREE
    (keys that may change under a finished stage, because they change nothing of what it made).
    """

    INPUTS: ClassVar[dict[str, Artefact]] = {}
    MAKES: ClassVar[Artefact | None] = None
    READS: ClassVar[frozenset[str]] = frozenset({"tasks", "template"})
    FREE: ClassVar[frozenset[str]] = frozenset()

    def inputs(self) -> dict[str, str]:
        """Key -> the stage, model or file it names."""
        return {key: getattr(self, key) for key in self.INPUTS}

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


class TrainingSection(StageSection):
    MAKES = "checkpoint"
    FREE = frozenset({"tokens_per_microbatch", "save_every", "keep_last"})

    tokens_per_microbatch: Positive = Field(8192, description="memory knob; never changes the gradient")
    optimizer: Optimizer = Field(default_factory=Optimizer)
    save_every: Positive = Field(10, description="steps between checkpoints")
    keep_last: Positive = Field(2, description="checkpoints kept beside the best one")


class Pretrain(TrainingSection):
    """A new language model on documents of the tiny world."""

    READS = frozenset({"tasks"})

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

    INPUTS = {"init": "checkpoint"}
    FREE = TrainingSection.FREE | {"starve_limit", "mismatch_limit"}

    stage: Literal["rl"]
    init: str = INIT
    tasks: list[str] | None = Field(None, description="task names; all where not given")
    steps: Positive = Field(description="rollout phases")
    prompts_per_step: Positive = Field(16, description="problems drawn per step")
    samples_per_prompt: Positive = Field(16, description="responses per problem: the group")
    updates_per_step: Positive = Field(1, description="optimizer updates, each on its own part of the step's rollouts")
    max_new_tokens: Positive = Field(256, description="longest response, in tokens")
    temperature: Annotated[float, Field(gt=0)] = Field(1.0, description="of the policy, in sampling and in the loss")
    stop: list[StopEntry] = STOP
    rewards: dict[str, Any] = Field(
        default_factory=lambda: {"accuracy": 1.0},
        validate_default=True,
        description="reward -> weight, or weight and options",
    )
    algorithm: dict[str, Any] = Field(
        default_factory=lambda: {"name": "grpo"}, validate_default=True, description="name and options"
    )
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

    @field_validator("rewards")
    @classmethod
    def _visible(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """As for algorithms: what a reward's options are stands in the resolved recipe."""
        return rewards.settings(value, info.data.get("max_new_tokens"))

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

    def functions(self) -> list[str]:
        return list(self.rewards)

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


class SFTOptimizer(Optimizer):
    """As `optimizer`, with the published schedule: cosine from 5e-5 to a tenth (DeepSeek-R1 v2, B.4.2)."""

    lr: Annotated[float, Field(gt=0)] = Field(5e-5, description="peak learning rate")
    schedule: Literal["constant", "cosine", "linear"] = Field("cosine", description="after the warm-up")
    final_share: Share = Field(0.1, description="share of lr left at the end of cosine and linear")


class SFT(TrainingSection):
    """Supervised fine-tuning on replies. Prompts are context; only replies and their end are learned."""

    INPUTS = {"init": "checkpoint", "data": "data"}
    READS = frozenset({"template"})

    stage: Literal["sft"]
    init: str = INIT
    data: str = Field(description="an earlier stage's data set, or a file (JSONL, JSON, Parquet, CSV, a datasets directory)")
    columns: dict[Literal["prompt", "response", "messages"], str] = Field(
        default_factory=dict, description="what the file calls prompt and response, or messages, where it is not that"
    )
    epochs: Positive | None = Field(None, description="times through the data (paper: 2 to 3); this or steps")
    steps: Positive | None = Field(None, description="optimizer updates; this or epochs")
    examples_per_step: Positive = Field(128, description="replies per update")
    held_out: Share = Field(0.02, description="share of the prompts, by hash, that are only measured")
    max_tokens: Positive | None = Field(
        None, description="longest prompt with reply; longer ones are left out and counted. Empty: the model's context"
    )
    optimizer: SFTOptimizer = Field(default_factory=SFTOptimizer)

    @model_validator(mode="after")
    def _length(self) -> SFT:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give epochs or steps, one of the two")
        if "messages" in self.columns and len(self.columns) > 1:
            raise ValueError("columns names messages, or prompt and response, not both")
        return self


class RejectionSample(StageSection):
    """Several samples a prompt, of which right and readable ones are kept as a data set."""

    INPUTS = {"init": "checkpoint", "mix": "data"}
    MAKES = "data"
    FREE = frozenset({"starve_limit"})

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
    filters: dict[str, Any] = Field(
        default_factory=lambda: {"format": 1.0},
        validate_default=True,
        description="reward -> least score of a right response that is kept, or {least, and the reward's options}",
    )
    keep_per_prompt: Positive = Field(1, description="most responses kept per problem")
    choose: Literal["random", "shortest"] = Field("random", description="which, where there are more")
    mix: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(
        default_factory=dict, description="other data, a file or an earlier stage's -> its share of the whole (paper: 0.25)"
    )
    starve_limit: Positive = Field(10, description="steps without one accepted response before the run stops")

    @field_validator("filters")
    @classmethod
    def _visible(cls, value: dict[str, Any]) -> dict[str, Any]:
        return {name: {"least": given.pop("weight"), **given} for name, given in rewards.settings(_weights(value)).items()}

    @model_validator(mode="after")
    def _shares(self) -> RejectionSample:
        if sum(self.mix.values()) >= 1:
            raise ValueError(f"mix: the shares sum to {sum(self.mix.values()):g}, which leaves nothing for what is accepted")
        return self

    def inputs(self) -> dict[str, str]:
        return {"init": self.init, **{f"mix.{source}": source for source in self.mix}}

    def functions(self) -> list[str]:
        return list(self.filters)

    def least(self) -> dict[str, Any]:
        """The filters as a recipe's rewards: the weight is the least score."""
        return _weights(self.filters)

    def sentence(self) -> str:
        """The derived sizes, for people."""
        steps = -(-self.prompts // self.prompts_per_step)
        return (
            f"{steps} steps of {min(self.prompts, self.prompts_per_step)} prompts x {self.samples_per_prompt} samples of at most "
            f"{self.max_new_tokens} tokens; right ones that pass {', '.join(self.filters) or 'no filter'} are kept, at most "
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


class Evaluate(StageSection):
    """Held-out problems, sampled and greedy."""

    INPUTS = {"init": "checkpoint"}
    MAKES = "evaluation"

    stage: Literal["evaluate"]
    init: str = INIT
    tasks: list[str] | None = Field(None, description="task names; all where not given")
    problems: Positive | None = Field(30, description="held-out problems per task; null: all of a finite task")
    samples: Positive = Field(16, description="responses per problem")
    reading: Literal["tags", "box", "text"] = Field(
        "tags", description="where the answer stands: in <answer> tags, in the last \\boxed{} after the thought, all after it"
    )
    instruction: str = Field("", description="a line added to every question")
    max_new_tokens: Positive = Field(256, description="longest response, in tokens")
    temperature: Annotated[float, Field(gt=0)] = Field(1.0, description="of the sampled responses")
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="nucleus; 1 is off")
    top_k: Annotated[int, Field(ge=0)] = Field(0, description="0 is off")
    min_p: Share = Field(0.0, description="0 is off")
    stop: list[StopEntry] = STOP
    greedy: bool = Field(True, description="one greedy response per problem as well")


STAGE_KINDS: dict[str, type[StageSection]] = {
    "pretrain": Pretrain,
    "sft": SFT,
    "rl": RL,
    "rejection_sample": RejectionSample,
    "evaluate": Evaluate,
}
AnyStage = Annotated[Union[Pretrain, SFT, RL, RejectionSample, Evaluate], Field(discriminator="stage")]


class Hardware(Section):
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU where there is one")
    threads: Annotated[int, Field(ge=0)] = Field(0, description="CPU threads; 0 is every core this process may use")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: float32 on a CPU, bfloat16 on a GPU"
    )
    kernels: Literal["auto", "native", "torch"] = Field(
        "auto",
        description="our kernels where they fit (compiled on a CPU, CUDA graphs on a GPU), demanded (native), or PyTorch alone",
    )
