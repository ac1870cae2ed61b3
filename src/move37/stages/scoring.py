"""What a reward model reads, and a trained one that answers `helpful` and `harmless`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from move37.errors import ModelError, TaskError
from move37.learner.batch import Example
from move37.learner.learner import Learner
from move37.models import folder
from move37.models.scalar import says_scalar
from move37.rewards.modelled import Scale
from move37.rollout.draw import Sampling
from move37.rollout.prompt import Prompter
from move37.rollout.remote import made_rollout
from move37.rollout.scripted import written
from move37.sections import Optimizer
from move37.stages.context import Device
from move37.stages.conversations import Message
from move37.tasks.base import Task
from move37.tasks.families import Same
from move37.tasks.families.same import said
from move37.tasks.family import FamilyProblems
from move37.types import Group, Problem, Reading

TOKENS = 8192  # of a micro-batch


class Inputs:
    """Sequences of a reward model: the prompt as the template writes it, the part it is shown, EOS.

    A thought that the template has opened is left out of the prompt: a whole response brings its own, an answer has none.
    The number is read at EOS, after all else.
    """

    def __init__(self, prompter: Prompter, limit: int) -> None:
        self.prompter, self.limit = prompter, limit

    def example(self, messages: Sequence[Message], part: str) -> Example | None:
        """One sequence with its number at the last target; None where it is longer than the limit, in tokens."""
        text = self.prompter.render_messages(messages)
        if self.prompter.prefill:
            text = text.rstrip().removesuffix(self.prompter.prefill)
        prompt, eos = self.prompter.encode_text(text), self.prompter.tokenizer.eos_token_id
        reply = self.prompter.tokenizer.encode(part, add_special_tokens=False)
        if len(prompt) + len(reply) + 1 > self.limit:
            return None
        tokens = np.array([*prompt, *reply, eos, eos], np.int32)  # the last one is never seen: it has a source, EOS
        weight = np.zeros(len(reply) + 2, np.float32)
        weight[-1] = 1
        return Example(tokens=tokens, start=len(prompt), weight=weight)


def size(example: Example) -> int:
    """Tokens of the part that is shown."""
    return example.targets - 2


def scores_of(learner: Learner, examples: Sequence[Example]) -> np.ndarray:
    """[N] float64: the number of each sequence."""
    return np.array([values[-1] for values in learner.values(examples)], np.float64)


def read_scale(path: Path) -> Scale:
    """How a reward model's numbers are to be read, from its `config.json`; loads no weights.

    Raises:
        ModelError: it is no reward model of a `reward_model` stage.
    """
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ModelError(f"reward model {path}: config.json does not read ({problem})") from None
    if not says_scalar(config) or folder.REWARD not in config:
        foreign = "a reward model of another make, or a checkpoint of a stage that has not ended"
        what = foreign if says_scalar(config) else "a language model"
        raise ModelError(f"reward model {path}: this is {what}; name a reward_model stage, or the `final` directory of one")
    return Scale(**config[folder.REWARD])


class Scorer:
    """A reward model, asked for the numbers of (question, part)."""

    def __init__(self, path: Path, device: Device) -> None:
        self.scale = read_scale(path)
        loaded = folder.load(path, device.autocast, device.device, scalar=True)
        self.inputs = Inputs(Prompter.of(loaded.tokenizer, self.scale.template), loaded.context)
        self.learner = Learner(loaded.model, Optimizer(), 1, TOKENS, device.autocast, path)

    def ask(self, asked: Sequence[tuple[str, str]]) -> list[float | None]:
        """Numbers as the model gives them; None where prompt and part are longer than it reads. Equal ones are one."""
        made: Mapping[tuple[str, str], Any] = {
            one: self.inputs.example(({"role": "user", "content": one[0]},), one[1]) for one in dict.fromkeys(asked)
        }
        fitting = [one for one, example in made.items() if example is not None]
        found = scores_of(self.learner, [made[one] for one in fitting]) if fitting else ()
        known = dict(zip(fitting, map(float, found), strict=True))
        return [known.get(one) for one in asked]


class Verdicts:
    """A reward model of labels that answers an evaluation of `same`: correct where its number is above 0.

    So it is measured on the same problems, and by the same estimators, as a judge that writes.
    """

    def __init__(self, scorer: Scorer, tasks: Mapping[str, Task], reading: Reading) -> None:
        """Raises ModelError for a model of pairs, whose numbers have no zero."""
        if scorer.scale.kind != "labels":
            raise ModelError("an evaluation of verdicts needs a reward model of labels; this one was trained on pairs")
        self.scorer, self.families, self.reading = scorer, {name: verdict_family(task) for name, task in tasks.items()}, reading

    def render(self, question: str) -> str:
        return self.scorer.inputs.prompter.render(question)

    def sample(self, problems: Sequence[Problem], n: int, sampling: Sampling, seed: int) -> list[Group]:
        """n times the one verdict; a number needs no sampling."""
        shown = [self.families[problem.task].labelled(dict(problem.meta)) for problem in problems]
        numbers = self.scorer.ask([(one["shown"], one["given"]) for one in shown])
        return [self._group(problem, n, number) for problem, number in zip(problems, numbers, strict=True)]

    def _group(self, problem: Problem, n: int, number: float | None) -> Group:
        text = "" if number is None else written(said(number > 0), self.reading)
        return Group(problem=problem, rollouts=[made_rollout(problem, sample, text) for sample in range(n)])


def verdict_family(task: Task) -> Same:
    """The family of a task whose answers are verdicts.

    Raises:
        TaskError: it is another one.
    """
    if isinstance(task, FamilyProblems) and isinstance(task.family, Same):
        return task.family
    raise TaskError(f"tasks.{task.name}: a reward model gives verdicts on tasks of family `same` alone; name those in `tasks`")
