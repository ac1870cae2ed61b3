"""What an answer is: a value, a row (tuple or interval), several things, a matrix, an equation, words; and when two are equal.

`compare` says True or False only where that is certain by exact arithmetic; None hands the pair to math-verify.
The convention (order, labels, units, percent) is docs/grading.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache

from move37.rewards import exact, units
from move37.rewards.exact import Unsure, Value
from move37.rewards.formula import CLOSERS, OPENERS, canonical, read_value, tokenize
from move37.rewards.plain import parse_choice, parse_number, parse_text, unwrap
from move37.rewards.plain import plain as plain_characters

LONGEST = 2000  # characters
MOST_ITEMS = 32
FONTS = re.compile(r"\\(?:mathrm|mathbf|mathit|mathsf|mathbb|operatorname|textbf|textit|rm|bf|it)\s*\{([^{}]*)\}")
JOINED = re.compile(r"\\(?:text|mbox|mathrm)\s*\{\s*,?\s*(?:and|or)\s*\}|(?<![A-Za-z])(?:and|or)(?![A-Za-z])|;")
DIGITS = re.compile(r"[-+]?[0-9][0-9.,/ ]*")
LEADING = re.compile(r"^(?:\\approx|≈|=)\s*")
WORDS = re.compile(r"[^\W\d_][^\W\d_' -]*[^\W\d_]")
WRAPPED_WORDS = re.compile(r"\\(?:text|mbox|textbf|textit|mathrm)\s*\{([^{}\\$]*)\}")
BASED = re.compile(r"(?:\\text\{)?(?P<digits>[0-9A-Z]*[0-9][0-9A-Z]*)\}?\s*_\s*(?:\{\s*(?P<long>\d+)\s*\}|(?P<short>\d))")
LETTER = re.compile(r"\(([A-Z])\)")
ENVIRONMENT = re.compile(r"[pbBv]?(?:small)?matrix|array")


@dataclass(frozen=True, slots=True)
class Number:
    """One value; every name in it is a free variable."""

    value: Value


@dataclass(frozen=True, slots=True)
class Row:
    """(a, b), [a, b), (a, b, c): a tuple, a point or an interval. Order counts."""

    brackets: str
    items: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Several:
    """A list or a set. Order and repetition do not count."""

    items: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Union:
    items: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    rows: tuple[tuple[Shape, ...], ...]


@dataclass(frozen=True, slots=True)
class Equation:
    """left = right. `label` is the left side as written; `named` where that only names the right side (x, f(x), (x, y))."""

    label: str
    named: bool
    left: Value | None
    right: Shape


@dataclass(frozen=True, slots=True)
class Words:
    text: str


@dataclass(frozen=True, slots=True)
class Letter:
    """An option such as (C)."""

    letter: str


@dataclass(frozen=True, slots=True)
class Based:
    """A number written in a base other than ten: compared as written."""

    digits: str
    base: str


Shape = Number | Row | Several | Union | Matrix | Equation | Words | Letter | Based


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer as it was read. `shape` is None where only math-verify may know."""

    text: str  # what is compared: without wrappers and units
    canonical: str
    shape: Shape | None
    unit: str | None = None
    percent: bool = False
    raw: str = field(default="", compare=False)


@lru_cache(maxsize=16384)
def read(text: str) -> Reading:
    """Read an answer or a gold; never raises."""
    text = unwrap(plain_characters(text))
    raw = text
    if len(text) > LONGEST:
        return Reading(text, text, None, raw=raw)
    number = parse_number(text) if DIGITS.fullmatch(text) else None
    if number is not None:
        return Reading(text, str(number), Number(exact.number(number)), raw=raw)
    unit: str | None
    if found := LETTER.fullmatch(unwrap(FONTS.sub(r"\1", text))):
        return Reading(text, text, Letter(found[1]), raw=raw)
    text, percent = units.percent(text)
    text, unit = (text, None) if percent else units.split(text)
    text = unwrap(re.sub(r"\$\s*(?:,|;|and|or)\s*\$", ", ", text)).replace("\\$", " ").strip()
    tokens = tokenize(FONTS.sub(r"\1", text))
    shape = _shape(text)
    if percent:
        shape = Number(exact.over(shape.value, exact.number(100))) if isinstance(shape, Number) else None
    return Reading(text, canonical(tokens) + (" %" if percent else ""), shape, unit, percent, raw)


def _shape(text: str) -> Shape | None:
    exact.work.refill()
    if found := BASED.fullmatch(text):
        return Based(found["digits"], found["long"] or found["short"])
    bare = WRAPPED_WORDS.sub(r"\1", text).strip()
    wrapped = WRAPPED_WORDS.fullmatch(text.strip())
    if wrapped and len(bare) == 1 and bare.isupper():
        return Letter(bare)
    if WORDS.fullmatch(bare) and (wrapped or len(bare) > 2) and bare not in ("pi", "xyz", "abc"):
        return Words(parse_text(bare))
    try:
        number = parse_number(text)
        if number is not None:
            return Number(exact.number(number))
        text = FONTS.sub(r"\1", LEADING.sub("", JOINED.sub(",", text)))
        return _items(tokenize(text.rstrip(".,; ")))
    except (Unsure, RecursionError):
        return None


# ------------------------------------------------------------------------------------------------------- reading


def _items(tokens: list[str]) -> Shape:
    """One thing, or several with commas between them. A name before the first (x = 1, 2) is one of all."""
    parts = [part for part in _split(tokens, ",") if part]
    if not parts or len(parts) > MOST_ITEMS:
        raise Unsure("nothing, or too many things")
    found = [item for part in parts for item in _item(part)]
    if len(found) == 1:
        return found[0]
    first, rest = found[0], found[1:]
    if isinstance(first, Equation) and first.named and not any(isinstance(item, Equation) for item in rest):
        found[0] = first.right
    return Several(tuple(found))


def _item(tokens: list[str]) -> list[Shape]:
    """One item; two where it holds plus-minus."""
    if not tokens:
        raise Unsure("an empty item")
    for sign in ("=", "\\approx", "\\in"):
        parts = _split(tokens, sign)
        if len(parts) > 2:
            raise Unsure("a chain")
        if len(parts) == 2:
            return [_equation(parts[0], right, sign) for right in _item(parts[1])]
    parts = _split(tokens, "\\cup")
    if len(parts) > 1:
        return [Union(tuple(one for part in parts for one in _item(part)))]
    if "\\pm" in tokens or "\\mp" in tokens:
        swaps = ({"\\pm": "+", "\\mp": "-"}, {"\\pm": "-", "\\mp": "+"})
        return [_single([swap.get(token, token) for token in tokens]) for swap in swaps]
    return [_single(tokens)]


def _single(tokens: list[str]) -> Shape:
    if tokens[0] == "\\begin":
        return _matrix(tokens)
    if tokens[0] in ("(", "[") and tokens[1:2] == ["\\begin"] and _closing(tokens) == len(tokens) - 1:
        return _matrix(tokens[1:-1])
    if tokens[0] in ("(", "[", "\\{") and _closing(tokens) == len(tokens) - 1:
        parts = _split(tokens[1:-1], ",")
        brackets = tokens[0] + tokens[-1]
        if len(parts) > 1 or brackets == "\\{\\}":
            inner = [item for part in parts for item in _item(part)]
            if brackets == "\\{\\}":
                return Several(tuple(inner))
            if len(inner) != len(parts) or brackets not in ("()", "[]", "(]", "[)"):
                raise Unsure("plus-minus in a tuple")
            return Row(brackets, tuple(inner))
    return Number(read_value(tokens))


def _equation(left: list[str], right: Shape, sign: str) -> Equation:
    label = canonical(left)
    named = re.fullmatch(r"\\?[A-Za-z]+(?: [A-Za-z])?(?: [_^] .*)?(?: ')*(?: \( .* \))?", label) is not None or (
        re.fullmatch(r"\( [\\A-Za-z_0-9 ]+(?:, [\\A-Za-z_0-9 ]+)+ \)", label) is not None
    )
    if sign == "\\in" and not named:
        raise Unsure("membership of something that is no name")
    try:
        value = read_value(left)
    except Unsure:
        value = None
    if value is not None and value.rational is not None:
        named = False
    elif value is not None and named:
        named = len(value.top) == 1 and len(value.names) == 1 and value.names != {"pi"}
    if value is None and not named:
        raise Unsure("an equation whose left side is not known")
    return Equation(label, named, None if sign == "\\in" else value, right)


def _matrix(tokens: list[str]) -> Shape:
    """\\begin{pmatrix} a & b \\\\ c & d \\end{pmatrix}, with any brackets; vmatrix is a determinant and is not read."""
    text = " ".join(tokens)
    found = re.fullmatch(r"\\begin \{ ([A-Za-z ]+) \}(?: \{ [clr| ]* \})? (.*) \\end \{ ([A-Za-z ]+) \}", text)
    if not found or found[1] != found[3] or not ENVIRONMENT.fullmatch(found[1].replace(" ", "")) or found[1][0] == "v":
        raise Unsure("an environment")
    body = found[2].split(" ")
    if "\\begin" in body:
        raise Unsure("a matrix in a matrix")
    rows = [row for row in _split(body, "\\\\") if row and row != ["\\hline"]]
    cells = tuple(tuple(_single(cell) if cell else _raise("an empty cell") for cell in _split(row, "&")) for row in rows)
    if not cells or len({len(row) for row in cells}) != 1 or sum(map(len, cells)) > MOST_ITEMS:
        raise Unsure("no matrix")
    return Matrix(cells)


def _raise(why: str) -> Shape:
    raise Unsure(why)


def _split(tokens: list[str], mark: str) -> list[list[str]]:
    """At every mark outside of brackets."""
    parts: list[list[str]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token in OPENERS) - (token in CLOSERS) + (token == "\\begin") - (token == "\\end")
        if depth < 0:
            raise Unsure("a bracket that nothing opened")
        if token == mark and not depth:
            parts.append([])
        else:
            parts[-1].append(token)
    if depth:
        raise Unsure("a bracket that nothing closes")
    return parts


def _closing(tokens: list[str]) -> int:
    """Where the bracket that the first token opens is closed."""
    depth = 0
    for place, token in enumerate(tokens):
        depth += (token in OPENERS) - (token in CLOSERS)
        if not depth:
            return place
    return -1


# ----------------------------------------------------------------------------------------------------- comparing


def compare(answer: Reading, gold: Reading) -> tuple[bool | None, str]:
    """(equal, how it was decided); (None, "") where it is not certain."""
    if agreed := _units_disagree(answer, gold):
        return False, agreed
    if gold.canonical and answer.canonical == gold.canonical and answer.percent == gold.percent:
        return True, "the same text"
    if isinstance(gold.shape, Letter):
        letter = parse_choice(WRAPPED_WORDS.sub(r"\1", answer.raw))
        return (letter == gold.shape.letter, "an option letter") if letter or answer.shape else (None, "")
    if isinstance(gold.shape, Based) and answer.shape is None:  # math-verify would drop the base
        return False, "digits of a base are compared as written"
    if answer.shape is None or gold.shape is None:
        return None, ""
    if gold.unit and answer.unit is None:
        answer = _with_unit_of(answer, gold.unit)
    return certain(answer.shape, gold.shape), "exact"


def certain(one: Shape, other: Shape) -> bool | None:
    """`equal`, within the bounds of exact arithmetic; None past them."""
    exact.work.refill()
    try:
        return equal(one, other)
    except Unsure:
        return None


def _units_disagree(answer: Reading, gold: Reading) -> str:
    """Where both name a unit of the table, it must be the same one."""
    if answer.unit and gold.unit and answer.unit != gold.unit:
        return f"the unit {answer.unit} is not {gold.unit}"
    if (answer.percent and gold.unit) or (gold.percent and answer.unit):
        return "a percentage is no number with a unit"
    return ""


def _with_unit_of(answer: Reading, unit: str) -> Reading:
    """A bare `5 m` where the gold is in m: the letter is the unit."""
    symbol, _, power = unit.partition("^")
    found = re.fullmatch(rf"(.*[0-9)}}])\s*{re.escape(symbol)}\s*(?:\^\s*\{{?{power}\}}?)?", answer.text, re.DOTALL)
    return replace(answer, shape=read(found[1]).shape) if found else answer


def equal(one: Shape, other: Shape) -> bool | None:
    """Whether two shapes are equal; `other` is the gold."""
    if isinstance(one, Several) or isinstance(other, Several):
        return _several(one, other)
    if isinstance(one, Equation) or isinstance(other, Equation):
        return _equations(one, other)
    if isinstance(one, Number) and isinstance(other, Number):
        return exact.same(one.value, other.value)
    if isinstance(one, Row) and isinstance(other, Row):
        if one.brackets != other.brackets:
            return False if len(one.items) == 2 == len(other.items) else None
        return _in_order(one.items, other.items)
    if isinstance(one, Matrix) and isinstance(other, Matrix):
        if [len(row) for row in one.rows] != [len(row) for row in other.rows]:
            return None if 1 in (len(one.rows), len(one.rows[0])) else False  # a column may be written as a row
        return _in_order([c for row in one.rows for c in row], [c for row in other.rows for c in row])
    if isinstance(one, Union) and isinstance(other, Union):
        return _union(one, other)
    if isinstance(one, Words) and isinstance(other, Words):
        return True if one == other else (False if " " not in one.text + other.text else None)
    if isinstance(one, Based) or isinstance(other, Based):
        return _based(one, other)
    return _different(one, other)


def _different(one: Shape, other: Shape) -> bool | None:
    """Two kinds of things. A plain number is no tuple, no word and no matrix; about the rest nothing is certain."""
    kinds = {type(one), type(other)}
    plain = all(not isinstance(x, Number) or not any(n[0] == "@" for n in x.value.names) for x in (one, other))
    return False if plain and Number in kinds and kinds & {Row, Words, Matrix} else None


def _several(one: Shape, other: Shape) -> bool | None:
    """As sets: each item of either is an item of the other."""
    sides = [x.items if isinstance(x, Several) else (x,) for x in (one, other)]
    simple = all(isinstance(item, Number | Equation) for side in sides for item in side)
    if not simple and not (isinstance(one, Several) and isinstance(other, Several)):
        return None  # (1, 2) against 1, 2
    table = [[equal(a, b) for b in sides[1]] for a in sides[0]]
    lines = [*table, *([row[k] for row in table] for k in range(len(sides[1])))]
    if not table or not sides[1]:
        return len(sides[0]) == len(sides[1])
    if all(True in line for line in lines):
        return True
    return False if any(all(cell is False for cell in line) for line in lines) else None


def _in_order(one: Sequence[Shape], other: Sequence[Shape]) -> bool | None:
    if len(one) != len(other):
        return False
    found = [equal(a, b) for a, b in zip(one, other, strict=True)]
    return False if False in found else None if None in found else True


def _union(one: Union, other: Union) -> bool | None:
    """The same points, where all ends are rational or infinite; else the same parts in any order."""
    spans = [_spans(x.items) for x in (one, other)]
    if None not in spans:
        return spans[0] == spans[1]
    return True if _several(Several(one.items), Several(other.items)) else None


Side = tuple[float | Fraction, int]  # a place, and -1, 0 or 1: just before it, at it, just after it


def _spans(items: Sequence[Shape]) -> list[tuple[Side, Side]] | None:
    """Disjoint spans from a side to a side, in order: (1, 2] is from after 1 to after 2. None where an end is not plain."""
    spans: list[tuple[Side, Side]] = []
    for item in items:
        if isinstance(item, Several):  # {5} is from before 5 to after 5
            ends = [_end(point) for point in item.items]
            spans += [((end, -1), (end, 1)) for end in ends if end is not None]
        elif isinstance(item, Row) and len(item.items) == 2:
            ends = [_end(item.items[0]), _end(item.items[1])]
            if None not in ends:
                spans.append(((ends[0], 1 if item.brackets[0] == "(" else -1), (ends[1], -1 if item.brackets[1] == ")" else 1)))
        else:
            return None
        if None in ends:
            return None
    merged: list[tuple[Side, Side]] = []
    for low, high in sorted(span for span in spans if span[0] < span[1]):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def _end(shape: Shape) -> float | Fraction | None:
    if not isinstance(shape, Number):
        return None
    if shape.value.names == {"infinity"} and exact.same(shape.value, shape.value):
        for sign in (1, -1):
            if exact.same(shape.value, exact.times(exact.number(sign), exact.name("infinity"))):
                return sign * float("inf")
    return shape.value.rational


def _based(one: Shape, other: Shape) -> bool | None:
    """Digits and base as written. An answer may leave the base of the gold out; a base that only it has must be ten."""
    if isinstance(one, Based) and isinstance(other, Based):
        return one == other
    if isinstance(one, Based) and isinstance(other, Number):
        return one.base == "10" and other.value.rational == Fraction(one.digits) if one.digits.isdecimal() else False
    if isinstance(other, Based) and isinstance(one, Number):
        value = one.value.rational
        return value is not None and str(value) == other.digits
    return None


def _equations(one: Shape, other: Shape) -> bool | None:
    """A name on the left only names (x = 5 is 5); two equations are equal up to a constant factor."""
    if not isinstance(one, Equation) or not isinstance(other, Equation):
        equation, rest = (one, other) if isinstance(one, Equation) else (other, one)
        return equal(equation.right, rest) if equation.named else None
    rights = equal(one.right, other.right)
    if one.label == other.label and rights:
        return True
    if one.named and one.label == other.label and rights is False and not _mentions(one) and not _mentions(other):
        return False
    if one.left is None or other.left is None or not (isinstance(one.right, Number) and isinstance(other.right, Number)):
        return None
    if not any(x.left.names | x.right.value.names for x in (one, other)):
        return rights if one.label == other.label else None  # of numbers alone: every two would be multiples
    differences = [exact.plus(x.left, exact.minus(x.right.value)) for x in (one, other)]
    return exact.proportional(*differences)


def _mentions(equation: Equation) -> bool:
    """Whether the name on the left comes on the right as well."""
    names = equation.left.names if equation.left else set()
    return not isinstance(equation.right, Number) or bool(names & equation.right.value.names)
