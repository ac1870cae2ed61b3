"""Chains of additions and subtractions: 12+7-5+9. No partial result falls below zero."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from move37.errors import TaskError
from move37.rewards.verify import number
from move37.tasks.families.base import Family, Fields
from move37.types import Score

WORDING = {
    "en": ("Calculate {}.", "What is {}?", "Work out {}."),
    "zh": ("计算{}。", "{}等于多少?"),
}


@dataclass(frozen=True, kw_only=True)
class Chain(Family):
    name: ClassVar[str] = "chain"

    operands: tuple[int, int] = (2, 5)  # fewest and most
    largest: int = 40  # of an operand

    def __post_init__(self) -> None:
        if not 2 <= self.operands[0] <= self.operands[1] or self.largest < 1:
            raise TaskError(
                f"chain: operands={list(self.operands)} must be [fewest >= 2, most], largest={self.largest} positive"
            )

    def draw(self, rng: random.Random) -> Fields:
        terms = [rng.randint(1, self.largest)]
        for _ in range(rng.randint(*self.operands) - 1):
            value = rng.randint(1, self.largest)
            minus = rng.random() < 0.5 and value <= sum(terms)
            terms.append(-value if minus else value)
        return {"terms": terms}

    def key(self, fields: Fields) -> str:
        return expression(fields["terms"])

    def ask(self, fields: Fields, language: str, rng: random.Random) -> str:
        return rng.choice(WORDING[language]).format(expression(fields["terms"]))

    def answer(self, fields: Fields) -> str:
        return str(sum(fields["terms"]))

    def verify(self, answer: str, fields: Fields) -> Score:
        return number(answer, self.answer(fields))


def expression(terms: list[int]) -> str:
    """[12, 7, -5] -> "12+7-5"."""
    return "".join(f"{term:+d}" for term in terms).lstrip("+")
