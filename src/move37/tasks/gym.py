"""reasoning-gym data sets as tasks, graded by their own verifiers. The library is slow to import: only when used."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from move37.errors import TaskError, nearest
from move37.rewards.worker import Outcome, Pool
from move37.tasks.base import ATTEMPTS, Split, Task, problem_id, split_of, stream
from move37.types import Problem, Score

SIZE = 1 << 31  # positions of a data set; each is a problem
SMALLER = {"acre": 2000, "gsm_symbolic": 100_000, "list_functions": 100_000, "word_ladder": 2000}  # built all at once
DATA_SEED = 1  # position p is drawn with seed DATA_SEED + p, inside reasoning-gym
DEADLINE_S = 5.0
MEMORY_MB = 4096

# Data sets whose verifier evaluates the answer as Python or SymPy does (seen in the source of reasoning-gym 0.1.25).
EVALUATED = {
    "binary_matrix",
    "countdown",
    "intermediate_integration",
    "n_queens",
    "polynomial_multiplication",
    "puzzle24",
    "simple_integration",
    "spiral_matrix",
    "string_insertion",
}
# Data sets that make another problem in every process, because they go through Python sets.
UNSTABLE = {"isomorphic_strings", "knight_swap", "polynomial_multiplication", "ransom_note", "word_ladder"}
EXAMPLES = ("example_answer", "example_correct_answer")  # where the gold is one of many, and `answer` is empty
ALLOWED = re.compile(r"a?(?:sin|cos|tan)h?|cot|sec|csc|exp|log|ln|sqrt|[Aa]bs|Integral")  # functions an answer may call
CALL = re.compile(r"([^\W\d]\w*)\s*\(")
UNSAFE = re.compile(r"__|[)\]'\"]\s*\(|\.\s*[^\W\d]|\b(?:lambda|import|for|while|yield|await)\b|[:@\\]")


class GymTask(Task):
    """A data set by name and config; endless."""

    def __init__(
        self, name: str, dataset: str, config: Mapping[str, Any], seed: int, weight: float, held_out: float
    ) -> None:
        super().__init__(name, weight=weight, held_out=held_out)
        self.dataset = dataset
        self.config = dict(config)
        self.seed = seed
        self.data = create(name, dataset, self.config)

    def problem(self, index: int, split: Split) -> Problem:
        """Positions are spread by a hash, and drawn again until one falls into the split."""
        seed = self.seed if split == "train" else "held out"
        for attempt in range(ATTEMPTS):
            position = stream(self.dataset, seed, index, attempt) % len(self.data)
            entry = self.data[position]
            if split_of(entry["question"], self.held_out) == split:
                return self._problem(entry, position)
        raise TaskError(
            f"tasks.{self.name}: no {split} problem in {ATTEMPTS:,} draws; the config leaves too few problems, "
            f"or held_out={self.held_out:g} leaves none"
        )

    def verify(self, answer: str, problem: Problem) -> Score:
        """The data set's own score; full marks are right, what it gives below that is kept in `parts`.

        Runs in a process of its own, with a deadline: several of these verifiers evaluate what they are given.
        """
        return self.verify_all([(answer, problem)])[0]

    def verify_all(self, pairs: Sequence[tuple[str, Problem]]) -> list[Score]:
        """One conversation with the scoring process for all of them."""
        scores = [self._refused(answer) for answer, _ in pairs]
        asked = [place for place, score in enumerate(scores) if score is None]
        key = (self.dataset, tuple(sorted((k, repr(v)) for k, v in self.config.items())))
        items = [(key, self.config, p.meta["position"], p.question, a) for a, p in (pairs[place] for place in asked)]
        for place, outcome in zip(asked, _scorer.run(items, DEADLINE_S), strict=True):
            scores[place] = self._score(outcome)
        return scores

    def _refused(self, answer: str) -> Score | None:
        """Wrong without asking: nothing, or what looks like code for a verifier that evaluates."""
        if not answer.strip():
            return Score(value=0.0, why="the answer is empty")
        if self.dataset in EVALUATED and (word := unsafe(answer)):
            return Score(value=0.0, why=f"the answer holds {word!r}, which is no mathematics")
        return None

    def _score(self, outcome: Outcome) -> Score:
        if outcome.kind != "ok":
            return Score.cannot_tell(f"the verifier of {self.dataset} {outcome.told()}", cause=outcome.kind)
        marks = float(outcome.value)
        return Score(
            value=float(marks >= 1.0), parts={"marks": marks}, why="" if marks >= 1.0 else f"{marks:g} marks of 1"
        )

    def gold_answers(self, problem: Problem) -> list[str]:
        """None for the data sets that only verify (such as rush_hour)."""
        return [problem.answer] if problem.answer else []

    def _problem(self, entry: dict[str, Any], position: int) -> Problem:
        question = entry["question"].strip()
        meta = {k: v for k, v in entry["metadata"].items() if not k.startswith("source_")}
        meta |= {"source": self.dataset, "domain": self.domain, "language": "en", "position": position}
        golds = (entry["answer"], *(entry["metadata"].get(key) for key in EXAMPLES))
        answer = next((str(gold) for gold in golds if gold is not None), "")
        return Problem(id=problem_id(self.name, question), task=self.name, question=question, answer=answer, meta=meta)


def unsafe(answer: str) -> str:
    """The first piece of an answer that looks like code rather than a number, a list or a formula; empty if none."""
    for word in CALL.findall(answer):
        if not ALLOWED.fullmatch(word):
            return f"{word}("
    found = UNSAFE.search(answer)
    return found[0] if found else ""


def create(name: str, dataset: str, config: Mapping[str, Any]) -> Any:
    """A reasoning-gym data set; its problems depend on the config and the position alone.

    Raises:
        TaskError: no such data set or config field (with the nearest name), or a value it refuses.
    """
    try:
        from reasoning_gym.factory import DATASETS, create_dataset
    except ImportError as problem:
        raise TaskError(f"tasks.{name}.reasoning_gym: can not import reasoning-gym: {problem}; install it") from None
    if dataset not in DATASETS:
        raise TaskError(f"tasks.{name}.reasoning_gym={dataset!r} is no data set of it; {nearest(dataset, DATASETS)}")
    if dataset in UNSTABLE and sys.flags.hash_randomization:
        raise TaskError(
            f"tasks.{name}.reasoning_gym={dataset!r} makes other problems in every process; "
            "set PYTHONHASHSEED=0 in the environment, or choose another data set"
        )
    fields = {field.name for field in dataclasses.fields(DATASETS[dataset][1])} - {"seed", "size"}
    for key in config:
        if key not in fields:
            raise TaskError(f"tasks.{name}.config.{key} is no field of {dataset}; {nearest(key, fields)}")
    try:
        return create_dataset(dataset, seed=DATA_SEED, size=SMALLER.get(dataset, SIZE), **config)
    except (AssertionError, ValueError, TypeError) as problem:
        raise TaskError(f"tasks.{name}.config: {dataset} refuses {dict(config)}: {problem}") from None


def load_gym(name: str, section: Any, seed: int) -> GymTask:
    """Build from a recipe's section with `reasoning_gym`, `config`, `weight` and `held_out`."""
    return GymTask(name, section.reasoning_gym, section.config, seed, section.weight, section.held_out)


# ------------------------------------------------------------------------------------------- in the scoring process

_scorer = Pool("move37.tasks.gym:score", memory_mb=MEMORY_MB, size=1)
_datasets: dict[Any, Any] = {}


def score(key: Any, config: Mapping[str, Any], position: int, question: str, answer: str) -> float:
    """Marks of an answer to the problem at `position`, between 0 and 1."""
    if key not in _datasets:
        _datasets[key] = create(key[0], key[0], config)
    entry = _entry(key, position)
    if entry["question"].strip() != question:
        raise ValueError("this data set does not make the same problem twice")
    return float(_datasets[key].score_answer(answer, entry))


@lru_cache(maxsize=256)
def _entry(key: Any, position: int) -> dict[str, Any]:
    return _datasets[key][position]
