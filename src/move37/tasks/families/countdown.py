"""Countdown with three numbers: reach a target with + - * and each number once. Only search finds the way."""

from __future__ import annotations

import ast
import itertools
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from move37.errors import TaskError
from move37.tasks.families.base import Family, Fields
from move37.types import Score

WORDING = {
    "en": (
        "Use {numbers} and + - * to make {target}. Use each number once.",
        "Make {target} from {numbers} with + - *, each number once.",
    ),
    "zh": ("用{numbers}和+-*得到{target},每个数用一次。",),
}
OPERATIONS = {ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b}


@dataclass(frozen=True, kw_only=True)
class Countdown(Family):
    name: ClassVar[str] = "countdown"

    largest: int = 9  # of the three numbers
    largest_target: int = 50

    def __post_init__(self) -> None:
        if self.largest < 3 or self.largest_target < 2:
            raise TaskError(
                f"countdown: largest={self.largest} must be at least 3, largest_target={self.largest_target} at least 2"
            )

    def draw(self, rng: random.Random) -> Fields:
        while True:
            numbers = [rng.randint(1, self.largest) for _ in range(3)]
            targets = [
                t for t in reachable(tuple(sorted(numbers))) if 1 <= t <= self.largest_target and t not in numbers
            ]
            if targets:
                return {"numbers": numbers, "target": rng.choice(targets)}

    def key(self, fields: Fields) -> str:
        return f"{sorted(fields['numbers'])}->{fields['target']}"

    def ask(self, fields: Fields, language: str, rng: random.Random) -> str:
        first, second, third = fields["numbers"]
        numbers = f"{first}、{second}、{third}" if language == "zh" else f"{first}, {second} and {third}"
        return rng.choice(WORDING[language]).format(numbers=numbers, target=fields["target"])

    def answer(self, fields: Fields) -> str:
        return reachable(tuple(sorted(fields["numbers"])))[fields["target"]]

    def verify(self, answer: str, fields: Fields) -> Score:
        used: list[int] = []
        value = evaluate(answer, used)
        if value is None:
            return Score(value=0.0, why=f"{answer[:40]!r} is no expression of numbers and + - *")
        if sorted(used) != sorted(fields["numbers"]):
            return Score(value=0.0, why=f"uses {sorted(used)} instead of {sorted(fields['numbers'])}")
        right = value == fields["target"]
        return Score(
            value=float(right), why=f"{answer.strip()}={value}" + ("" if right else f", not {fields['target']}")
        )

    def wrong(self, fields: Fields) -> str:
        first, second, third = fields["numbers"]
        return f"{first}+{second}+{third}+1"


def evaluate(text: str, used: list[int]) -> int | None:
    """Value of an expression of whole numbers, + - * and brackets; None if it is anything else. Fills `used`."""
    if len(text) > 64 or not set(text) <= set("0123456789+-*() "):
        return None
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return None

    def walk(node: ast.expr) -> int | None:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            used.append(node.value)
            return node.value
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
            left, right = walk(node.left), walk(node.right)
            return None if left is None or right is None else OPERATIONS[type(node.op)](left, right)
        return None

    return walk(tree)


def expressions(numbers: tuple[int, ...]) -> list[tuple[str, int]]:
    """Every way to combine three numbers with + - *, as (text, value), one text per shape and order."""
    found: dict[str, int] = {}
    for a, b, c in itertools.permutations(numbers):
        for first, second in itertools.product("+-*", repeat=2):
            for text in (f"{a}{first}{b}{second}{c}", f"({a}{first}{b}){second}{c}"):
                if text.startswith("(") and not (second == "*" and first in "+-"):
                    continue  # brackets that change nothing
                value = evaluate(text, [])
                assert value is not None
                found.setdefault(text, value)
    return sorted(found.items())


@lru_cache(maxsize=4096)
def reachable(numbers: tuple[int, ...]) -> dict[int, str]:
    """Each value that three numbers can make -> one canonical expression for it."""
    ways: dict[int, str] = {}
    for text, value in expressions(numbers):
        if value >= 0 and (value not in ways or len(text) < len(ways[value])):
            ways[value] = text
    return ways
