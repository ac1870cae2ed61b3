"""A process reward without a model: the share of a thought's equations that are true."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise
from typing import ClassVar

from pydantic.dataclasses import dataclass

from move37.options import STRICT
from move37.rewards.base import Each
from move37.types import Problem, Rollout, Scope, Score

# one side: whole numbers, + - * / and brackets; an operator has a space on both sides or on none
SIDE = r"[-(]*\d+\)*(?:(?: [-+*/×÷] |[-+*/×÷])[-(]*\d+\)*)*"
# two sides or more; not what begins or ends inside a formula with letters or a decimal fraction
CHAIN = re.compile(rf"(?<![\w.()+*/×÷-])(?<![-+*/×÷] ){SIDE}(?:\s*=\s*{SIDE})+(?!\w|\.\d|\s?[-+*/×÷(])")
TOKEN = re.compile(r"\d+|[-+*/()]")
DEPTH, DIGITS, TOKENS = 50, 30, 200  # of brackets, of one number, of one side: no thought that means well has more


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Steps(Each):
    """Of the thought's equations such as `12+7=19`, the share that is true; exact, over fractions.

    A step is what a process reward model would judge. DeepSeek-R1 (arXiv 2501.12948, section 4.2) names why it gave such
    models up, Kimi k1.5 (section 2.3.2) why a wrong step that is found and mended should cost nothing; this is for the
    comparison. Here an evaluator of whole numbers judges, which no text persuades; true steps that lead nowhere still earn.
    What is no equation of numbers is no step: words, names, `x=3`. A thought without a step earns 0. Deviation from a
    process reward: one number for the response, not one per step.
    """

    scope: ClassVar[Scope] = "thinking"

    def score(self, rollout: Rollout, problem: Problem) -> Score:
        verdicts = [true(left, right) for left, right in steps(rollout.text)]
        if not verdicts:
            return Score(value=0.0, parts={"steps": 0}, why="no equation in the thought")
        return Score(value=sum(verdicts) / len(verdicts), parts={"steps": len(verdicts)})


def steps(text: str) -> list[tuple[str, str]]:
    """Every equation of a text, left and right; of a chain each side with the next. One of the two has something to compute.

    Example:
        >>> steps("12+7=19 Wait. (2+3)*4=5*4=20, so x=20.")
        [('12+7', '19'), ('(2+3)*4', '5*4'), ('5*4', '20')]
    """
    found = []
    for match in CHAIN.finditer(text):
        sides = [side.strip() for side in match[0].split("=")]
        while sides[0].startswith("(") and sides[0].count("(") > sides[0].count(")"):
            sides[0] = sides[0][1:]  # the whole equation stands in brackets
        while sides[-1].endswith(")") and sides[-1].count(")") > sides[-1].count("("):
            sides[-1] = sides[-1][:-1]
        found += [pair for pair in pairwise(sides) if any(re.search(r"[\d)]\s?[-+*/×÷]", side) for side in pair)]
    return found


def true(left: str, right: str) -> bool:
    """Whether two arithmetic expressions have one value; False where either has none."""
    try:
        return evaluate(left) == evaluate(right)
    except (ValueError, ZeroDivisionError):
        return False


def evaluate(expression: str) -> Fraction:
    """The value of an expression of + - * / (also × and ÷), brackets and whole numbers. Nothing is run.

    Raises:
        ValueError: it is no such expression, or its brackets or numbers go beyond all bounds.
        ZeroDivisionError: it divides by 0.
    """
    plain = expression.replace("×", "*").replace("÷", "/")
    tokens = TOKEN.findall(plain)
    if "".join(tokens) != "".join(plain.split()) or any(len(t) > DIGITS for t in tokens) or len(tokens) > TOKENS:
        raise ValueError(f"{expression[:60]!r} is no arithmetic of whole numbers")
    value, rest = _sum(tokens, DEPTH)
    if rest:
        raise ValueError(f"{expression[:60]!r}: {rest[0]!r} is left over")
    return value


def _sum(tokens: list[str], depth: int) -> tuple[Fraction, list[str]]:
    value, rest = _product(tokens, depth)
    while rest and rest[0] in "+-":
        other, after = _product(rest[1:], depth)
        value, rest = (value + other if rest[0] == "+" else value - other), after
    return value, rest


def _product(tokens: list[str], depth: int) -> tuple[Fraction, list[str]]:
    value, rest = _atom(tokens, depth)
    while rest and rest[0] in "*/":
        other, after = _atom(rest[1:], depth)
        value, rest = (value * other if rest[0] == "*" else value / other), after
    return value, rest


def _atom(tokens: list[str], depth: int) -> tuple[Fraction, list[str]]:
    if not tokens or not depth:
        raise ValueError("a number is missing, or brackets are too deep")
    first, rest = tokens[0], tokens[1:]
    if first == "-":
        value, rest = _atom(rest, depth - 1)
        return -value, rest
    if first == "(":
        value, rest = _sum(rest, depth - 1)
        if rest[:1] != [")"]:
            raise ValueError("a bracket is not closed")
        return value, rest[1:]
    return Fraction(int(first)), rest
