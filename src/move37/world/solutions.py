"""How people in the tiny world work a problem out: worked lines with slips, and ways to check a result.

Each solver is `(fields, rng, slips) -> (lines, result)`, each checker `(fields, claimed) -> (lines, agrees)`.
Lines hold digits and signs alone, so one text serves every language. `slips` is the chance that a step goes wrong;
later steps then go on from the wrong number, as they do in life.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from typing import Any

from move37.tasks.families.chain import expression
from move37.tasks.families.countdown import expressions
from move37.tasks.families.word import after

Fields = dict[str, Any]
Solver = Callable[[Fields, random.Random, float], tuple[list[str], str]]
Checker = Callable[[Fields, str], tuple[list[str], bool]]

LEGS = {
    "snake": 0, "sea slug": 0, "jellyfish": 0, "flatworm": 0, "leech": 0, "chicken": 2, "bird": 2, "human": 2, "duck": 2,
    "dog": 4, "cat": 4, "cow": 4, "horse": 4, "lion": 4, "elephant": 4, "giraffe": 4, "tiger": 4, "deer": 4, "sheep": 4,
    "starfish": 5, "insect": 6, "ant": 6, "butterfly": 6, "beetle": 6, "bee": 6, "wasp": 6, "grasshopper": 6,
    "cricket": 6, "cockroach": 6, "praying mantis": 6, "firefly": 6, "spider": 8, "scorpion": 8, "crab": 10,
    "lobster": 10, "shrimp": 10, "woodlouse": 14,
}  # fmt: skip


LARGEST_TRY = 99  # nobody tries what is far beyond any target


def slip(value: int, rng: random.Random, rate: float) -> int:
    """The value, or with chance `rate` a number one is likely to write instead."""
    if rng.random() >= rate:
        return value
    return max(0, value + rng.choice((-10, -2, -1, 1, 2, 10)))


# ---------------------------------------------------------------------------------------------------------- chain


def solve_chain(fields: Fields, rng: random.Random, slips: float) -> tuple[list[str], str]:
    """12+7-5 / =19-5 / =14: every line copies what is left to do."""
    terms = list(fields["terms"])
    lines = [expression(terms)]
    while len(terms) > 1:
        terms = [slip(terms[0] + terms[1], rng, slips), *terms[2:]]
        lines.append("=" + expression(terms))
    return lines, str(terms[0])


def check_chain(fields: Fields, claimed: str) -> tuple[list[str], bool]:
    """Backwards: undo every term from the result; the first operand must come out."""
    terms = fields["terms"]
    back = [int(claimed), *(-t for t in reversed(terms[1:]))]
    lines = [expression(back)]
    while len(back) > 1:
        back = [back[0] + back[1], *back[2:]]
        lines.append("=" + expression(back))
    return lines, back[0] == terms[0]


# -------------------------------------------------------------------------------------------------------- product


def solve_product(fields: Fields, rng: random.Random, slips: float) -> tuple[list[str], str]:
    """47*36 / =47*30+47*6 / =1410+282 / =1692."""
    return _split_product(fields["a"], fields["b"], rng, slips * 3)


def check_product(fields: Fields, claimed: str) -> tuple[list[str], bool]:
    """The factors the other way round, with the other one taken apart."""
    lines, again = _split_product(fields["b"], fields["a"], random.Random(0), 0.0)
    return lines, again == claimed


def _split_product(a: int, b: int, rng: random.Random, slips: float) -> tuple[list[str], str]:
    tens, ones = b - b % 10, b % 10
    if not tens or not ones:  # one factor of one digit: take the other apart
        if a < 10:
            value = slip(a * b, rng, slips)
            return [f"{a}*{b}", f"={value}"], str(value)
        parts = ((a - a % 10, b), (a % 10, b))
    else:
        parts = ((a, tens), (a, ones))
    parts = tuple(p for p in parts if p[0] and p[1])
    values = [slip(x * y, rng, slips) for x, y in parts]
    lines = [f"{a}*{b}", "=" + "+".join(f"{x}*{y}" for x, y in parts), "=" + "+".join(map(str, values))]
    total = sum(values)
    if len(values) > 1:
        total = slip(total, rng, slips)
        lines.append(f"={total}")
    return lines, str(total)


# ------------------------------------------------------------------------------------------------------ countdown


def search_countdown(fields: Fields, rng: random.Random, no: str, limit: int) -> tuple[list[str], str]:
    """Try after try, none twice, until the target appears or patience (`limit`) ends."""
    lines = []
    text = ""
    for text, value in _tries(fields, rng, limit):
        hit = value == fields["target"]
        lines.append(f"{text}={value}" + ("" if hit else f" {no}"))
        if hit:
            break
    return lines, text


def find_countdown(fields: Fields, rng: random.Random, no: str, patience: int) -> tuple[list[str], str]:
    """The same, tried anew with more patience until it ends on the target."""
    while True:
        lines, text = search_countdown(fields, rng, no, patience)
        if not lines[-1].endswith(no):
            return lines, text
        patience += 1


def _tries(fields: Fields, rng: random.Random, n: int) -> list[tuple[str, int]]:
    """Expressions with distinct values in the order of a vague hunch: values near the target rather first."""
    target = fields["target"]
    distinct: dict[int, str] = {}
    ways = expressions(tuple(fields["numbers"]))
    rng.shuffle(ways)
    for text, value in ways:
        if 0 <= value <= LARGEST_TRY:
            distinct.setdefault(value, text)
    hunch = [(abs(math.log((v + 2) / (target + 2))) + rng.gauss(0, 1.0), t, v) for v, t in distinct.items()]
    return [(text, value) for _, text, value in sorted(hunch)[:n]]


# ----------------------------------------------------------------------------------------------------------- word


def solve_word(fields: Fields, rng: random.Random, slips: float) -> tuple[list[str], str]:
    """12+7=19 / 19-5=14: one line per event."""
    (_, have), *rest = fields["steps"]
    lines = []
    for kind, value in rest:
        then = slip(after(have, kind, value), rng, slips)
        lines.append(f"{have}{'+-*'[('add', 'take', 'times').index(kind)]}{value}={then}")
        have = then
    return lines, str(have)


def check_word(fields: Fields, claimed: str) -> tuple[list[str], bool]:
    """Backwards from the end of the story; what was there at the start must come out."""
    (_, start), *rest = fields["steps"]
    have, lines = int(claimed), []
    for kind, value in reversed(rest):
        if kind == "times" and have % value:
            return [*lines, f"{have}/{value}"], False
        then = {"add": have - value, "take": have + value, "times": have // value}[kind]
        lines.append(f"{have}{'-+/'[('add', 'take', 'times').index(kind)]}{value}={then}")
        have = then
    return lines, have == start


# ----------------------------------------------------------------------------------- reasoning-gym: legs, equation


def solve_legs(fields: Fields, rng: random.Random, slips: float) -> tuple[list[str], str]:
    """8 tigers 8*4=32 / 3 birds 3*2=6 / 32+6=38."""
    lines, parts = [], []
    for animal, count in fields["animals"].items():
        parts.append(slip(count * LEGS[animal], rng, slips))
        lines.append(f"{animal} {count}*{LEGS[animal]}={parts[-1]}")
    chain, total = solve_chain({"terms": parts}, rng, slips)
    return lines + (chain if len(parts) > 1 else []), total


def check_legs(fields: Fields, claimed: str) -> tuple[list[str], bool]:
    """Take each kind of animal away from the total again."""
    have, lines = int(claimed), []
    for animal, count in reversed(fields["animals"].items()):
        lines.append(f"{have}-{count}*{LEGS[animal]}={have - count * LEGS[animal]}")
        have -= count * LEGS[animal]
    return lines, have == 0


def read_equation(text: str) -> tuple[int, int, int]:
    """`9 - 15*e = -186` -> (-15, 9, -186): coefficient, constant, right side. Both orders, both signs."""
    left, right = text.split(" = ")
    coefficient = constant = 0
    for sign, body in re.findall(r"(-|\+|^)\s*([0-9a-z*]+)", left.replace("- -", "+ ")):
        factor = -1 if sign == "-" else 1
        match = re.fullmatch(r"(?:(\d+)\*)?[a-z]", body)
        if match:
            coefficient += factor * int(match[1] or 1)
        else:
            constant += factor * int(body)
    return coefficient, constant, int(right)


def solve_equation(fields: Fields, rng: random.Random, slips: float) -> tuple[list[str], str]:
    """8*t+12=44: 44-12=32 / 32/8=4."""
    coefficient, constant, right = read_equation(fields["equation"])
    rest = slip_signed(right - constant, rng, slips)
    lines = [f"{right}{-constant:+d}={rest}"] if constant else []
    value = slip(rest // coefficient, rng, slips)
    if coefficient != 1:
        lines.append(f"{rest}/{coefficient}={value}")
    return lines, str(value)


def slip_signed(value: int, rng: random.Random, rate: float) -> int:
    return slip(value, rng, rate) if value >= 0 else -slip(-value, rng, rate)


def check_equation(fields: Fields, claimed: str) -> tuple[list[str], bool]:
    """Put the value into the equation."""
    coefficient, constant, right = read_equation(fields["equation"])
    product = coefficient * int(claimed)
    lines = [f"{coefficient}*{claimed}={product}", f"{product}{constant:+d}={product + constant}"]
    return lines, product + constant == right


SOLVERS: dict[str, Solver] = {
    "chain": solve_chain,
    "product": solve_product,
    "word": solve_word,
    "leg_counting": solve_legs,
    "simple_equations": solve_equation,
}
CHECKERS: dict[str, Checker] = {
    "chain": check_chain,
    "product": check_product,
    "word": check_word,
    "leg_counting": check_legs,
    "simple_equations": check_equation,
}
