"""The child's side of `verify.math`: math-verify, a guard before it and a closer look after it.

math-verify 0.9.0 calls some different things equal (1/2004! and 1/2006!, sqrt(2) and 1.414214, 5 and 6=5) and evaluates
powers of any size. So: what would explode is refused before parsing, and every "equal" of constants and equations is
confirmed exactly or to 50 digits. There is no tolerance: 0.333333 is not 1/3.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

import math_verify
import sympy

from move37.rewards.verify import unwrap

logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it warns that its time limits are off; ours is on

DIGITS = 50  # compared; relative tolerance below
TOLERANCE = sympy.Rational(1, 10**40)
FONTS = re.compile(r"\\(?:mathrm|mathbf|mathit|mathsf|mathbb|operatorname)\s*\{([^{}]*)\}")
TOWER = re.compile(  # a power whose exponent is a power of a number
    r"\^\s*[({\\a-z\s]*[0-9!]+\s*[)}]*\s*(?:\^|\*\*)|\^\s*\{[^{}]*\^\s*\{[^{}]*\^|(?:\^\{?\d+\}?\s*){3,}"
)
LARGE_POWER = re.compile(r"(?:\^|\*\*)\s*[({]?\s*-?\s*(\d{4,})")
LARGE_FACTORIAL = re.compile(r"(\d{4,})\s*[)}]*\s*!|!\s*[)}]*\s*!")
BASED = re.compile(r"(?P<digits>[0-9A-Za-z]*\d[0-9A-Za-z]*)\s*_\s*\{?\s*(?P<base>\d*)\s*\}?")
LOOSE_SPACE = re.compile(r"(?<![A-Za-z])\s+|\s+(?![A-Za-z])")  # between two letters it may end a command
LARGEST_POWER = 20_000
LARGEST_FACTORIAL = 5_000

Verdict = tuple[bool | None, str]


def judge(answer: str, gold: str) -> Verdict:
    """(True, "") equal, (False, why) not, (None, why) can not tell."""
    want = prepare(gold)
    if why := too_large(want):
        return None, f"the gold {why}"
    wanted = read(want)
    if not wanted:
        return None, f"the gold {gold[:60]!r} can not be parsed"
    have = prepare(answer)
    if have is None:
        return False, "the answer has several boxes, or numbers outside its box"
    if have == want:
        return True, "the same text"
    if BASED.fullmatch(want) or BASED.fullmatch(have):
        return same_based(want, have), "digits of a base are compared as written"
    if why := too_large(have):
        return None, f"the answer {why}"
    found = read(have)
    if not found:
        return False, f"the answer {answer[:60]!r} can not be parsed"
    if not math_verify.verify(list(wanted), list(found), timeout_seconds=None):
        return False, f"{answer.strip()[:40]} is not {gold.strip()[:40]}"
    if not confirm(wanted[0], found[0]):
        return False, f"{answer.strip()[:40]} is close to {gold.strip()[:40]}, not equal to it"
    return True, ""


def prepare(text: str) -> str | None:
    """Only the formula, without spaces at its ends, dollars and font commands; None where several things are boxed."""
    text = unwrap(text)
    if "\\boxed" in text:
        text = boxed(text)
        if text is None:
            return None
    text = re.sub(r"\$\s*(?:,|;|and|or)\s*\$", ", ", text).replace("$", "")
    return unwrap(FONTS.sub(r"\1", text))


def boxed(text: str) -> str | None:
    """What the only box holds; None for several boxes, an open one, or digits outside it."""
    before, _, rest = text.partition("\\boxed{")
    depth = 1
    for end, char in enumerate(rest):
        depth += (char == "{") - (char == "}")
        if not depth:
            outside = before + rest[end + 1 :]
            return None if re.search(r"\d|\\boxed", outside) else rest[:end]
    return None


def too_large(text: str | None) -> str:
    """Why this should not be evaluated; empty if it may."""
    if text is None:
        return ""
    if TOWER.search(text):
        return "is a tower of powers"
    if any(int(n) > LARGEST_POWER for n in LARGE_POWER.findall(text)):
        return "has a very large power"
    if any(not n or int(n) > LARGEST_FACTORIAL for n in LARGE_FACTORIAL.findall(text)):
        return "has a very large factorial"
    return ""


@lru_cache(maxsize=1024)
def read(text: str) -> tuple[Any, ...]:
    """SymPy objects of a formula, best first; empty where it is none."""
    found = math_verify.parse(f"${text}$", fallback_mode="no_fallback", parsing_timeout=None)
    if not found and (tight := LOOSE_SPACE.sub("", text)) != text:  # it reads a+b+c, but not a + b + c
        found = math_verify.parse(f"${tight}$", fallback_mode="no_fallback", parsing_timeout=None)
    if len(found) > 1 and isinstance(found[-1], str) and found[-1].count("{") != found[-1].count("}"):
        return ()  # only the beginning of the formula was understood
    return tuple(f for f in found if not isinstance(f, str))


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


def same_based(gold: str, answer: str) -> bool:
    """Digits and base agree, for numbers such as 4343_6, of which math-verify drops the base.

    An answer may leave the base of the gold out; a base the gold does not have must be ten.
    """
    pairs = [BASED.fullmatch(text) for text in (gold, answer)]
    digits = [pair["digits"] if pair else text.strip() for pair, text in zip(pairs, (gold, answer), strict=True)]
    bases = [pair["base"] if pair else None for pair in pairs]
    return digits[0] == digits[1] and (bases[1] in (None, bases[0]) or (bases[0] is None and bases[1] == "10"))


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
    a, b = one.lhs - one.rhs, other.lhs - other.rhs
    if sympy.simplify(b) == 0:
        return sympy.simplify(a) == 0
    ratio = sympy.simplify(a / b)
    return bool(ratio.is_number and ratio != 0)
