"""Verifiers: is `answer` the gold? Right, wrong, or can not tell; never "close enough".

A gold that a verifier can not read gives CANNOT_TELL, whatever the answer: nothing can be learnt from it. An answer
that it can not read is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from move37.rewards import equality
from move37.rewards.plain import parse_choice, parse_number, parse_text
from move37.types import Score

Pairs = Sequence[tuple[str, str]]  # (answer, gold)


def _verdict(right: bool, answer: str, gold: str) -> Score:
    return Score(value=float(right), why="" if right else f"{answer.strip()[:40]!r} is not {gold.strip()[:40]!r}")


def number(answer: str, gold: str) -> Score:
    """Equal as exact rational numbers. What is read as a number: see `parse_number`."""
    want = parse_number(gold)
    if want is None:
        return Score.cannot_tell(f"the gold {gold[:40]!r} is no number")
    have = parse_number(answer)
    if have is None:
        return Score(value=0.0, why=f"{answer[:40]!r} is no number")
    return _verdict(have == want, answer, gold)


def choice(answer: str, gold: str) -> Score:
    """The same option letter."""
    want = parse_choice(gold)
    if want is None:
        return Score.cannot_tell(f"the gold {gold[:40]!r} is no option letter")
    have = parse_choice(answer)
    if have is None:
        return Score(value=0.0, why=f"{answer[:40]!r} is not one option letter")
    return _verdict(have == want, have, want)


def text(answer: str, gold: str) -> Score:
    """The same text, as `parse_text` reads it."""
    want, have = parse_text(gold), parse_text(answer)
    if not want:
        return Score.cannot_tell("the gold is empty")
    return _verdict(have == want, answer, gold)


def math(answer: str, gold: str) -> Score:
    """Equal as mathematics: see `equality.verify_all`."""
    return equality.verify_all([(answer, gold)])[0]


def one_by_one(verify: Callable[[str, str], Score]) -> Callable[[Pairs], list[Score]]:
    return lambda pairs: [verify(answer, gold) for answer, gold in pairs]


# name -> one score per (answer, gold), in order
VERIFIERS: dict[str, Callable[[Pairs], list[Score]]] = {
    "number": one_by_one(number),
    "choice": one_by_one(choice),
    "text": one_by_one(text),
    "math": equality.verify_all,
}
