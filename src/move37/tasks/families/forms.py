"""Questions whose answer has many forms: a number, a set, a product, a sum. The checker is exact, whatever the form.

    numbers    What is 1/4 plus 1/5?                    9/20, 45/100, 0.45, 45%
    sets       Which of 7, 12, 3, 20 are more than 5?   {7, 12, 20}, 20, 7, 12
    products   What is a+2 times a-2?                   a^2-4, (a+2)(a-2), -4+a^2
    sums       What is 12 plus 7?                       19, 9+10, 4+12+3
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from move37.errors import TaskError, nearest
from move37.rewards.plain import parse_number
from move37.tasks.families.base import Family, Fields
from move37.types import Score

KINDS = ("numbers", "sets", "products", "sums")
PARTS = (2, 4, 5, 10, 20, 25, 50)  # denominators: all divide 100
LETTERS = "abkmnptx"
LIST = re.compile(r"\d+(?:\s*,\s*\d+)*")
SUM = re.compile(r"\d+(?:\+\d+)*")
FACTORS = re.compile(r"\(([a-z])([+-]\d+)\)\(\1([+-]\d+)\)")
TERM = re.compile(r"([+-]?)(\d*)([a-z]?)(?:\^(\d))?")


@dataclass(frozen=True, kw_only=True)
class Forms(Family):
    """Short calculations; an answer is right in every form that has its value."""

    name: ClassVar[str] = "forms"
    languages: ClassVar[tuple[str, ...]] = ("en",)

    kind: str = "numbers"  # of KINDS

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise TaskError(f"{self.name}: kind={self.kind!r} is not known; {nearest(self.kind, KINDS)}")

    def draw(self, rng: random.Random) -> Fields:
        return {"kind": self.kind, **_draw(self.kind, rng)}

    def key(self, fields: Fields) -> str:
        return _asked(fields)

    def ask(self, fields: Fields, language: str, rng: random.Random) -> str:
        return _asked(fields)

    def answer(self, fields: Fields) -> str:
        return write(fields, value_of(fields), "plain", random.Random(0))

    def verify(self, answer: str, fields: Fields) -> Score:
        found = read(fields["kind"], answer)
        if found is None:
            return Score(value=0.0, why=f"{answer[:40]!r} is none of the {fields['kind']}")
        right = found == read(fields["kind"], self.answer(fields))
        return Score(value=float(right), why="" if right else f"{answer[:40]!r} is not {self.answer(fields)!r}")

    def wrong(self, fields: Fields) -> str:
        return twin(fields, "plain", random.Random(0))

    def demonstrate(self, fields: Fields, rng: random.Random) -> tuple[str, str]:
        """(worked lines, the answer in a form that is drawn)."""
        return "\n".join(_worked(fields)), write(fields, value_of(fields), rng.choice(FORMS[fields["kind"]]), rng)


# ---------------------------------------------------------------------------------------------------- problems


def _draw(kind: str, rng: random.Random) -> Fields:
    if kind == "numbers":
        first, second = (_part(rng) for _ in range(2))
        minus = rng.random() < 0.5 and Fraction(*first) != Fraction(*second)
        if minus and Fraction(*first) < Fraction(*second):
            first, second = second, first
        return {"first": first, "second": second, "sign": "minus" if minus else "plus"}
    if kind == "sets":
        pool = rng.sample(range(1, 40), rng.randint(4, 6))
        bar = sorted(pool)[rng.randint(0, len(pool) - 3)]
        return {"pool": pool, "bar": bar}
    if kind == "products":
        return {"letter": rng.choice(LETTERS), "roots": [rng.choice((-1, 1)) * rng.randint(1, 9) for _ in range(2)]}
    return {"terms": [rng.randint(2, 49) for _ in range(2)]}


def _part(rng: random.Random) -> list[int]:
    below = rng.choice(PARTS)
    return [rng.randint(1, below - 1), below]


def _asked(fields: Fields) -> str:
    kind = fields["kind"]
    if kind == "numbers":
        first, second = (f"{top}/{below}" for top, below in (fields["first"], fields["second"]))
        return f"What is {first} {fields['sign']} {second}?"
    if kind == "sets":
        return f"Which of {', '.join(map(str, fields['pool']))} are more than {fields['bar']}?"
    if kind == "products":
        first, second = (f"{fields['letter']}{root:+d}" for root in fields["roots"])
        return f"What is {first} times {second}?"
    return f"What is {fields['terms'][0]} plus {fields['terms'][1]}?"


def _worked(fields: Fields) -> list[str]:
    kind = fields["kind"]
    if kind == "numbers":
        first, second = (top * 100 // below for top, below in (fields["first"], fields["second"]))
        parts = (f"{top}/{below}" for top, below in (fields["first"], fields["second"]))
        sign = "+" if fields["sign"] == "plus" else "-"
        total = first + second if sign == "+" else first - second
        return [*(line for part in parts for line in reduced(kind, part)), f"{first}{sign}{second}={total}"]
    if kind == "sets":
        return [f"{n}{'>' if n > fields['bar'] else '<' if n < fields['bar'] else '='}{fields['bar']}" for n in fields["pool"]]
    if kind == "products":
        return reduced(kind, "".join(f"({fields['letter']}{root:+d})" for root in fields["roots"]))
    return reduced(kind, "+".join(map(str, fields["terms"])))


# ------------------------------------------------------------------------------------------- values and their forms

# A value: hundredths, the members of a set, (letter, middle, last) of a square with one letter, a whole number.
FORMS = {
    "numbers": ("plain", "hundredths", "decimal", "percent"),
    "sets": ("plain", "shuffled", "bare"),
    "products": ("plain", "factored", "swapped", "reversed"),
    "sums": ("plain", "two", "three"),
}


def value_of(fields: Fields) -> Any:
    """The value of the answer."""
    kind = fields["kind"]
    if kind == "numbers":
        first, second = (top * 100 // below for top, below in (fields["first"], fields["second"]))
        return first + second if fields["sign"] == "plus" else first - second
    if kind == "sets":
        return [n for n in fields["pool"] if n > fields["bar"]]
    if kind == "products":
        return [fields["letter"], *fields["roots"]]
    return sum(fields["terms"])


def write(fields: Fields, value: Any, form: str, rng: random.Random) -> str:
    """A value in one of the FORMS of its kind."""
    return {"numbers": _number, "sets": _set, "products": _product, "sums": _sum}[fields["kind"]](value, form, rng)


def _number(value: int, form: str, rng: random.Random) -> str:
    if form == "percent":
        return f"{value}%"
    if form == "decimal":
        return f"{value / 100:.2f}".removesuffix("0")
    exact = Fraction(value, 100)
    return f"{value}/100" if form == "hundredths" else str(exact)


def _set(value: list[int], form: str, rng: random.Random) -> str:
    members = value if form == "plain" else rng.sample(value, len(value))
    text = ", ".join(map(str, members))
    return text if form == "bare" else f"{{{text}}}"


def _product(value: list[Any], form: str, rng: random.Random) -> str:
    letter, first, second = value
    if form in ("factored", "swapped"):
        return "".join(f"({letter}{root:+d})" for root in ((first, second) if form == "factored" else (second, first)))
    square, *rest = _terms(letter, first + second, first * second)
    return "".join((square, *rest)) if form == "plain" else f"{''.join(reversed(rest))}+{square}".removeprefix("+")


def _terms(letter: str, middle: int, last: int) -> list[str]:
    """a^2, the term with a (empty where there is none), the last one."""
    return [f"{letter}^2", {0: "", 1: f"+{letter}", -1: f"-{letter}"}.get(middle, f"{middle:+d}{letter}"), f"{last:+d}"]


def _sum(value: int, form: str, rng: random.Random) -> str:
    if form == "plain" or value < 3:
        return str(value)
    cuts = sorted(rng.sample(range(1, value), 2 if form == "three" else 1))
    return "+".join(str(b - a) for a, b in zip([0, *cuts], [*cuts, value], strict=True))


def twin(fields: Fields, form: str, rng: random.Random) -> str:
    """A wrong answer one small slip away from the right one, in a form."""
    right = value_of(fields)
    while True:
        text = write(fields, _slip(fields, right, rng), form, rng)
        if read(fields["kind"], text) not in (None, read(fields["kind"], write(fields, right, "plain", rng))):
            return text


def _slip(fields: Fields, value: Any, rng: random.Random) -> Any:
    """Off by one or ten, digits turned; a member missing, too many or off by one; a sign; a root off by one."""
    kind = fields["kind"]
    if kind in ("numbers", "sums"):
        turned = int(str(value)[::-1]) if value > 9 else value + 1
        return max(1, rng.choice((value - 10, value - 1, value + 1, value + 10, turned)))
    if kind == "products":
        letter, *roots = value
        at = rng.randrange(2)
        roots[at] = rng.choice((-roots[at], roots[at] + 1, roots[at] - 1)) or -roots[at]
        return [letter, *roots]
    members, at = list(value), rng.randrange(len(value))
    others = [n for n in fields["pool"] if n not in value]
    how = rng.choice(("missing", "off", "more"))
    if how == "missing" and len(members) > 1:
        del members[at]
    elif how == "more" and others:
        members.insert(at, rng.choice(others))
    else:
        members[at] += rng.choice((-1, 1))
    return members


def read(kind: str, text: str) -> Any:
    """What an answer says, exactly; None where it is none of the kind. Equal values read alike, whatever their form."""
    text = text.strip()
    if kind == "numbers":
        return parse_number(text)
    if kind == "sets":
        inner = text[1:-1].strip() if text[:1] == "{" and text[-1:] == "}" else text
        return sorted(map(int, inner.split(","))) if LIST.fullmatch(inner) else None
    text = text.replace(" ", "")
    if kind == "sums":
        return sum(map(int, text.split("+"))) if SUM.fullmatch(text) else None
    found = FACTORS.fullmatch(text)
    if found:
        first, second = int(found[2]), int(found[3])
        return found[1], (first * second, first + second, 1)
    return _polynomial(text)


def _polynomial(text: str) -> tuple[str, tuple[int, ...]] | None:
    """`a^2-4` -> ("a", (-4, 0, 1)): its letter, and what stands before each power."""
    powers, letters, at = [0, 0, 0], set(), 0
    while at < len(text):
        found = TERM.match(text, at)
        if not found or not found[0] or (at and not found[1]) or not (found[2] or found[3]) or (found[4] and not found[3]):
            return None
        power = int(found[4] or 1) if found[3] else 0
        if power > 2:
            return None
        powers[power] += int(f"{found[1]}{found[2] or 1}")
        letters |= {found[3]} - {""}
        at = found.end()
    return (letters.pop(), tuple(powers)) if len(letters) == 1 else None


def reduced(kind: str, text: str) -> list[str]:
    """Lines that bring an answer to the form in which two are compared: hundredths, sorted, multiplied out, added up."""
    if kind == "numbers":
        if "/" in text:
            top, below = map(int, text.split("/"))
            return [f"{text}={top}*{100 // below}/100={top * 100 // below}/100"] if below != 100 else [text]
        return [f"{text}={_hundredths(text)}/100"]
    if kind == "sets":
        return [f"{text} sorted {', '.join(map(str, read(kind, text)))}"]
    if kind == "sums":
        terms, lines = [int(term) for term in text.split("+")], [text]
        while len(terms) > 1:
            terms = [terms[0] + terms[1], *terms[2:]]
            lines.append("=" + "+".join(map(str, terms)))
        return lines
    letter, (last, middle, _) = read(kind, text)
    plain = "".join(_terms(letter, middle, last))
    if found := FACTORS.fullmatch(text):
        return [text, f"={letter}^2{int(found[3]):+d}{letter}{int(found[2]):+d}{letter}{last:+d}", f"={plain}"]
    return [text] if text == plain else [text, f"={plain}"]


def _hundredths(text: str) -> int:
    value = parse_number(text)
    assert value is not None
    return int(value * 100)
