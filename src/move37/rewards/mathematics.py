"""The child's side of `equality`: math-verify, a guard before it and a closer look after it.

math-verify 0.9.0 calls some different things equal (1/2004! and 1/2006!, sqrt(2) and 1.414214, 5 and 6=5) and evaluates
powers of any size. So: what would explode is refused before parsing, and every "equal" of constants and equations is
confirmed exactly or to 50 digits. There is no tolerance but one that was asked for: 0.333333 is not 1/3.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import math_verify
import sympy

from move37.rewards.plain import unwrap

logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it warns that its time limits are off; ours is on

DIGITS = 50  # compared; relative tolerance below
FAR = sympy.Rational(1, 10**20)  # relative; what evalf gets wrong is far below
TOLERANCE = sympy.Rational(1, 10**40)
FONTS = re.compile(r"\\(?:mathrm|mathbf|mathit|mathsf|mathbb|operatorname)\s*\{([^{}]*)\}")
TOWER = re.compile(  # a power whose exponent is a power of a number; ** was made ^
    r"\^\s*[({\\a-z\s]*[0-9!]+\s*[)}]*\s*(?:\^|\*\*)|\^\s*\{[^{}]*\^\s*\{[^{}]*\^|(?:\^\{?\d+\}?\s*){3,}"
)
LARGE_POWER = re.compile(r"(?:\^|\*\*)\s*[({]?\s*-?\s*(\d{4,})")
POWER_OF_FACTORIAL = re.compile(r"(?:\^|\*\*)\s*[({]*\s*\d+\s*!")
LARGE_FACTORIAL = re.compile(r"(\d{4,})\s*[)}]*\s*!|!\s*[)}]*\s*!")
LARGE_RANGE = re.compile(r"\\(?:sum|prod)[^+]*?\^\s*\{?\s*(\d{4,})")
LONG_NUMBER = re.compile(r"\d{1000,}")
LOOSE_SPACE = re.compile(r"(?<![A-Za-z])\s+|\s+(?![A-Za-z])")  # between two letters it may end a command
LARGEST_POWER = 20_000
LARGEST_FACTORIAL = 5_000
LARGEST_RANGE = 2_000
DEEPEST = 40

Verdict = tuple[bool | None, str]
Tolerance = float | Sequence[float] | None


def judge(answer: str, gold: str, tolerance: Tolerance = None) -> Verdict:
    """(True, "") equal, (False, why) not, (None, why) can not tell."""
    want = prepare(gold)
    if why := too_large(want):
        return None, f"the gold {why}"
    have = prepare(answer)
    if why := too_large(have):
        return None, f"the answer {why}"
    if tolerance is not None:
        close = near(want, have, tolerance)
        return close, "" if close else f"{answer.strip()[:40]} is not {gold.strip()[:40]} within {tolerance}"
    wanted = read(want)
    if not wanted:
        return None, f"the gold {gold[:60]!r} can not be parsed"
    found = read(have)
    if not found:
        return False, f"the answer {answer[:60]!r} can not be parsed"
    told = f"{answer.strip()[:40]} is not {gold.strip()[:40]}"
    if len(wanted) == len(found) == 1 and unlike(wanted[0], found[0]):
        return False, told
    if not math_verify.verify(list(wanted), list(found), timeout_seconds=None):
        return False, told
    if not confirm(wanted[0], found[0]):
        return False, f"{answer.strip()[:40]} is close to {gold.strip()[:40]}, not equal to it"
    return True, ""


def prepare(text: str) -> str:
    """Only the formula, without spaces at its ends, dollars and font commands."""
    text = re.sub(r"\$\s*(?:,|;|and|or)\s*\$", ", ", unwrap(text)).replace("$", "")
    return unwrap(FONTS.sub(r"\1", text))


def near(gold: str, answer: str, tolerance: float | Sequence[float]) -> bool | None:
    """Within an absolute tolerance; of a list, each item of the gold within its own, in any order. None: no numbers."""
    golds, answers = ([read(part) for part in parts(text)] for text in (gold, answer))
    limits = [tolerance] * len(golds) if isinstance(tolerance, int | float) else list(tolerance)
    if not all(golds) or len(limits) != len(golds):
        return None
    if not all(answers) or len(golds) != len(answers):
        return False
    return _paired([g[0] for g in golds], [a[0] for a in answers], limits)


def parts(text: str) -> list[str]:
    """At the commas outside of brackets."""
    found, level = [""], 0
    for char in text:
        level += (char in "{([") - (char in "})]")
        if char == "," and not level:
            found.append("")
        else:
            found[-1] += char
    return found


def _paired(golds: list[Any], answers: list[Any], limits: list[float]) -> bool:
    if not golds:
        return True
    for place, answer in enumerate(answers):
        distance = abs(sympy.N(golds[0], DIGITS) - sympy.N(answer, DIGITS))
        close = distance.is_number and distance <= limits[0] * (1 + 1e-9)
        if close and _paired(golds[1:], answers[:place] + answers[place + 1 :], limits[1:]):
            return True
    return False


def too_large(text: str) -> str:
    """Why this should not be evaluated; empty if it may."""
    text = text.replace("**", "^")
    if depth(text) > DEEPEST:
        return "is nested too deeply"
    if LONG_NUMBER.search(text):
        return "has a very long number"
    if POWER_OF_FACTORIAL.search(text) or TOWER.search(text):
        return "is a tower of powers"
    if any(int(n) > LARGEST_POWER for n in LARGE_POWER.findall(text)):
        return "has a very large power"
    if any(not n or int(n) > LARGEST_FACTORIAL for n in LARGE_FACTORIAL.findall(text)):
        return "has a very large factorial"
    if any(int(n) > LARGEST_RANGE for n in LARGE_RANGE.findall(text)):
        return "has a very long sum or product"
    return ""


def depth(text: str) -> int:
    """Of brackets, whether they match or not."""
    level = deepest = 0
    for char in text:
        level += (char in "{([") - (char in "})]")
        deepest = max(deepest, level)
    return deepest


@lru_cache(maxsize=1024)
def read(text: str) -> tuple[Any, ...]:
    """SymPy objects of a formula, best first; empty where it is none."""
    found = math_verify.parse(f"${text}$", fallback_mode="no_fallback", parsing_timeout=None)
    if not found and (tight := LOOSE_SPACE.sub("", text)) != text:  # it reads a+b+c, but not a + b + c
        found = math_verify.parse(f"${tight}$", fallback_mode="no_fallback", parsing_timeout=None)
    if len(found) > 1 and isinstance(found[-1], str) and found[-1].count("{") != found[-1].count("}"):
        return ()  # only the beginning of the formula was understood
    return tuple(f for f in found if not isinstance(f, str))


def unlike(one: Any, other: Any) -> bool:
    """Whether two formulas certainly differ, by their values at a point: much quicker than showing that none is the other.

    Two equations differ where neither is a constant multiple of the other.
    """
    if isinstance(one, sympy.Eq) and isinstance(other, sympy.Eq):
        sides = (*one.args, *other.args)
        if not all(isinstance(side, sympy.Expr) for side in sides):
            return False
        if one.lhs == other.lhs:
            return unlike(one.rhs, other.rhs)
        points = [[_at(side, shift) for side in sides] for shift in (0, 1)]
        if any(value is None for values in points for value in values):
            return False
        first, second = ((a - b) * 1 for a, b, _, _ in points), ((c - d) * 1 for _, _, c, d in points)
        (a0, a1), (b0, b1) = tuple(first), tuple(second)
        return bool(abs(a0 * b1 - a1 * b0) > FAR * max(abs(a0 * b1), abs(a1 * b0)))
    if not (isinstance(one, sympy.Expr) and isinstance(other, sympy.Expr)):
        return False
    a, b = _at(one, 0), _at(other, 0)
    return a is not None and b is not None and bool(abs(a - b) > FAR * max(abs(a), abs(b)))


def _at(formula: sympy.Expr, shift: int) -> sympy.Expr | None:
    """Its value with a fixed positive number for every name, to DIGITS digits; None where it has none."""
    names = sorted(formula.free_symbols, key=str)
    places = {name: sympy.Rational(1 + sum(map(ord, str(name))) % 97 + 7 * shift, 61) for name in names}
    try:
        value = formula.doit().subs(places).evalf(DIGITS)
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        return None
    return value if value.is_number and value.is_finite and not value.has(sympy.Symbol, sympy.Integral, sympy.Sum) else None


def confirm(gold: Any, answer: Any) -> bool:
    """Whether two things that math-verify calls equal really are; True where this can not be decided."""
    if isinstance(gold, sympy.Eq) and isinstance(answer, sympy.Eq):
        return same_equation(gold, answer)
    for one, other in ((gold, answer), (answer, gold)):
        if isinstance(one, sympy.Eq) and isinstance(other, sympy.Expr):
            named = isinstance(one.lhs, sympy.Symbol | sympy.core.function.AppliedUndef)
            return named and confirm(one.rhs, other)
    if isinstance(gold, sympy.Expr) and isinstance(answer, sympy.Expr):
        return bool(gold.free_symbols or answer.free_symbols) or same_constant(gold, answer)
    if isinstance(gold, sympy.FiniteSet) and isinstance(answer, sympy.FiniteSet):
        return len(gold) == len(answer) and all(any(confirm(g, a) for a in answer) for g in gold)
    if isinstance(gold, sympy.Tuple | sympy.MatrixBase) and isinstance(answer, sympy.Tuple | sympy.MatrixBase):
        return len(gold) == len(answer) and all(confirm(g, a) for g, a in zip(gold, answer, strict=True))
    if isinstance(gold, sympy.Interval) and isinstance(answer, sympy.Interval):
        return confirm(gold.start, answer.start) and confirm(gold.end, answer.end)
    return True


def same_constant(one: sympy.Expr, other: sympy.Expr) -> bool:
    """Equal to DIGITS digits, relative to their size; decimals count as the fractions they are."""
    one, other = (sympy.nsimplify(x, rational=True) if x.has(sympy.Float) else x for x in (one, other))
    if one == other:
        return True
    if one.is_Rational and other.is_Rational:
        return False
    a, b = one.evalf(DIGITS), other.evalf(DIGITS)
    if not (a.is_number and b.is_number and a.is_finite and b.is_finite):
        return True  # infinities and the like: math-verify compared them by name
    return bool(abs(a - b) <= TOLERANCE * max(abs(a), abs(b)))


def same_equation(one: sympy.Eq, other: sympy.Eq) -> bool:
    """The same name for equal things, or one side minus the other differs by a constant factor only."""
    if one.lhs == other.lhs:
        return confirm(one.rhs, other.rhs)
    if not all(isinstance(side, sympy.Expr) for side in (*one.args, *other.args)):
        return True
    if not one.free_symbols and not other.free_symbols:  # of numbers alone: every two would be multiples
        return confirm(one.lhs, other.lhs) and confirm(one.rhs, other.rhs)
    a, b = one.lhs - one.rhs, other.lhs - other.rhs
    if sympy.simplify(b) == 0:
        return sympy.simplify(a) == 0
    ratio = sympy.simplify(a / b)
    return bool(ratio.is_number and ratio != 0)
