"""Our own families as tasks: endless problems, each a pure function of (seed, split, index)."""

from __future__ import annotations

import random
from typing import Any

from move37.errors import TaskError, nearest
from move37.tasks.base import Split, Task, problem_id, split_of
from move37.tasks.families import FAMILIES, Family
from move37.types import Problem, Score


class FamilyProblems(Task):
    """A family with its knobs and languages."""

    def __init__(
        self, name: str, family: Family, languages: dict[str, float], seed: int, weight: float, held_out: float
    ) -> None:
        super().__init__(name=name, weight=weight, held_out=held_out, size=None)
        self.family = family
        self.languages = languages
        self.seed = seed

    @property
    def domain(self) -> str:
        return self.family.domain

    @property
    def open_ended(self) -> bool:
        return self.family.open_ended

    @property
    def whole(self) -> bool:
        return self.family.whole

    def problem(self, index: int, split: Split) -> Problem:
        for attempt in range(10_000):
            seed = self.seed if split == "train" else "held out"  # every seed is measured on the same problems
            rng = random.Random(f"{seed}/{self.family.name}/{split}/{index}/{attempt}")
            fields = self.family.draw(rng)
            key = f"{self.family.name}: {self.family.key(fields)}"
            if split_of(key, self.held_out) == split:
                language = rng.choices(list(self.languages), list(self.languages.values()))[0]
                meta = {"source": self.family.name, "domain": self.family.domain, "language": language, **fields}
                return Problem(
                    id=problem_id(self.name, key),
                    task=self.name,
                    question=self.family.ask(fields, language, rng),
                    answer=self.family.answer(meta),
                    meta=meta,
                )
        raise TaskError(
            f"task {self.name}: no {split} problem in 10,000 draws; widen the knobs or change held_out={self.held_out}"
        )

    def verify(self, answer: str, problem: Problem) -> Score:
        return self.family.verify(answer, {**problem.meta, "question": problem.question})

    def wrong_answer(self, problem: Problem) -> str:
        return self.family.wrong(dict(problem.meta))


def load_family(name: str, section: Any, seed: int) -> FamilyProblems:
    """Build from a recipe's task section with `family`, `knobs`, `languages`, `weight` and `held_out`."""
    if section.family not in FAMILIES:
        raise TaskError(f"tasks.{name}.family={section.family!r} is not known; {nearest(section.family, FAMILIES)}")
    kind = FAMILIES[section.family]
    knobs = {}
    for key, value in section.knobs.items():
        if key not in kind.__dataclass_fields__:
            raise TaskError(
                f"tasks.{name}.knobs.{key} is no knob of {section.family}; {nearest(key, kind.__dataclass_fields__)}"
            )
        knobs[key] = tuple(value) if isinstance(value, list) else value
    for language in section.languages:
        if language not in kind.languages:
            raise TaskError(
                f"tasks.{name}.languages: {section.family} does not speak {language!r}; {nearest(language, kind.languages)}"
            )
    try:
        family = kind(**knobs)
    except TypeError as problem:
        raise TaskError(f"tasks.{name}.knobs: {problem}") from None
    return FamilyProblems(name, family, dict(section.languages), seed, section.weight, section.held_out)
