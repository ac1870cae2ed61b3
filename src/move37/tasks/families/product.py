"""Products of two numbers of up to two digits, where single steps often fail and a check can pay."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from move37.errors import TaskError
from move37.rewards.verify import number
from move37.tasks.families.base import Family, Fields
from move37.types import Score

WORDING = {
    "en": ("Multiply {a} by {b}.", "What is {a}*{b}?", "Calculate {a}*{b}."),
    "zh": ("{a}乘以{b}等于多少?", "计算{a}*{b}。"),
}


@dataclass(frozen=True, kw_only=True)
class Product(Family):
    name: ClassVar[str] = "product"

    long_share: float = 0.2  # how often both factors have two digits
    largest: int = 50  # of the first factor
    largest_second: int = 20  # of the second, where it has two digits

    def __post_init__(self) -> None:
        if not 0 <= self.long_share <= 1 or self.largest < 12 or self.largest_second < 12:
            raise TaskError(
                f"product: long_share={self.long_share} must lie in 0..1, largest={self.largest} and "
                f"largest_second={self.largest_second} be at least 12"
            )

    def draw(self, rng: random.Random) -> Fields:
        first = rng.randint(12, self.largest)
        long = rng.random() < self.long_share
        return {"a": first, "b": rng.randint(12, self.largest_second) if long else rng.randint(3, 9)}

    def key(self, fields: Fields) -> str:
        return f"{fields['a']}*{fields['b']}"

    def ask(self, fields: Fields, language: str, rng: random.Random) -> str:
        return rng.choice(WORDING[language]).format(**fields)

    def answer(self, fields: Fields) -> str:
        return str(fields["a"] * fields["b"])

    def verify(self, answer: str, fields: Fields) -> Score:
        return number(answer, self.answer(fields))
