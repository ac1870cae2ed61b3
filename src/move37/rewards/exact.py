"""Exact values of small formulas: rational functions of names, with square roots of integers, i and powers of pi.

A value is a quotient of two sums of terms. A term is a fraction times sqrt(d) (d squarefree), i or not, and a product of
names. Such terms are linearly independent over the rationals (Besicovitch 1940 for the square roots; pi is transcendental
over the algebraic numbers; names are free), so two values are equal if and only if cross-multiplying gives the same terms.
Where that can not be said (functions, other roots, e beside pi), "not the same terms" means nothing: `same` says None.

Everything is bounded, so that this may run on any input in the caller's own process; what is past a bound is `Unsure`.

Example:
    >>> same(power(number(8), Fraction(1, 2)), times(number(2), power(number(2), Fraction(1, 2))))
    True
"""

from __future__ import annotations

import math
import re
import threading
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

LARGEST_BITS = 30_000  # of a numerator or denominator
LARGEST_TERMS = 64
LARGEST_EXPANSION = 12  # power of a sum
LARGEST_RADICAND = 10**8  # factorised by trial
LARGEST_FACTORIAL = 2_500
BUDGET = 15_000  # products of terms in one reading or comparing; long numbers count as several
BITS_A_PRODUCT = 10
LONGEST_KEY = 4_000  # characters; keys hold the keys of what is inside

Mono = tuple[int, int, tuple[tuple[str, int], ...]]  # squarefree radicand, power of i (0 or 1), ((name, power), ...) sorted
Terms = dict[Mono, Fraction]
UNIT: Mono = (1, 0, ())


class Unsure(Exception):
    """This is outside of what is read exactly."""


class Work(threading.local):
    """What a reading or comparing may still cost, in this thread."""

    left = BUDGET

    def refill(self) -> None:
        self.left = BUDGET

    def spend(self, products: int) -> None:
        self.left -= products
        if self.left < 0:
            raise Unsure("too much work")


work = Work()


@dataclass(frozen=True, slots=True)
class Value:
    """top / bottom. `bottom` is {UNIT: 1} unless something with several terms was divided by.

    Names that begin with @ are opaque (a function of something: equal names are equal, others may be); those that begin
    with # are integer powers too large to write out.
    """

    top: Terms
    bottom: Terms

    @property
    def names(self) -> set[str]:
        return {name for terms in (self.top, self.bottom) for _, _, powers in terms for name, _ in powers}

    @property
    def rational(self) -> Fraction | None:
        """The fraction it is, if it is one."""
        if self.bottom != {UNIT: 1} or any(mono != UNIT for mono in self.top):
            return None
        return self.top.get(UNIT, Fraction(0))

    def key(self) -> str:
        """Equal keys are equal values (not the other way round)."""
        scale = self.bottom[min(self.bottom)]
        parts = [
            "+".join(
                f"{_digits(coefficient / scale)}*{d}.{i}" + "".join(f"*{n}^{p}" for n, p in names)
                for (d, i, names), coefficient in sorted(terms.items())
            )
            for terms in (self.top, self.bottom)
        ]
        key = "/".join(parts)
        if len(key) > LONGEST_KEY:
            raise Unsure("too large inside of a function")
        return key


def number(value: Fraction | int) -> Value:
    return Value({UNIT: Fraction(value)} if value else {}, {UNIT: Fraction(1)})


def name(text: str) -> Value:
    return Value({(1, 0, ((text, 1),)): Fraction(1)}, {UNIT: Fraction(1)})


IMAGINARY = Value({(1, 1, ()): Fraction(1)}, {UNIT: Fraction(1)})
ONE = number(1)


def plus(one: Value, other: Value) -> Value:
    if one.bottom == other.bottom:
        return Value(_sum(one.top, other.top), one.bottom)
    top = _sum(_product(one.top, other.bottom), _product(other.top, one.bottom))
    return Value(top, _product(one.bottom, other.bottom))


def minus(value: Value) -> Value:
    return Value({mono: -c for mono, c in value.top.items()}, value.bottom)


def times(one: Value, other: Value) -> Value:
    return Value(_product(one.top, other.top), _product(one.bottom, other.bottom))


def over(one: Value, other: Value) -> Value:
    if not other.top:
        raise Unsure("division by nothing")
    if len(other.top) == 1:  # a single term has an inverse that is a single term
        [(mono, coefficient)] = other.top.items()
        return times(one, Value(_product(_inverse(mono, coefficient), other.bottom), {UNIT: Fraction(1)}))
    return Value(_product(one.top, other.bottom), _product(one.bottom, other.top))


def power(base: Value, exponent: Fraction) -> Value:
    """base ** exponent; roots other than square roots of rationals are opaque."""
    whole = exponent.denominator == 1
    value = base.rational
    natural = value is not None and value.denominator == 1 and value > 1
    if natural and whole and exponent * value.numerator.bit_length() > LARGEST_BITS:
        return name(f"#{value.numerator:x}^{number(exponent).key()}")
    if whole:
        return _whole_power(base, exponent.numerator)
    if value is not None:
        if not value:
            raise Unsure("a power of nothing")
        if exponent.denominator == 2:
            return _whole_power(_root(value), exponent.numerator)
        found = _exact_root(value, exponent.denominator)
        if found is not None:
            return _whole_power(number(found), exponent.numerator)
    root = name(f"@root{exponent.denominator}({base.key()})")
    return _whole_power(root, exponent.numerator)


def tower(base: Value, exponent: Value) -> Value:
    """base ** exponent for an exponent that is no rational number: opaque, except for an integer above one raised to
    something that is itself too large to write out."""
    value = base.rational
    [mono] = exponent.top if len(exponent.top) == 1 else [UNIT]
    bare = exponent.top.get(mono) == 1 and exponent.bottom == {UNIT: 1} and len(mono[2]) == 1 and mono[2][0][0][0] == "#"
    if value is not None and value.denominator == 1 and value > 1 and bare:
        return name(f"#{value.numerator:x}^{exponent.key()}")
    return name(f"@pow({base.key()};{exponent.key()})")


def factorial(value: Value) -> Value:
    n = value.rational
    if n is not None and n.denominator == 1 and 0 <= n <= LARGEST_FACTORIAL:
        return number(math.factorial(n.numerator))
    return name(f"@!({value.key()})")


def opaque(function: str, argument: Value) -> Value:
    return name(f"@{function}({argument.key()})")


def same(one: Value, other: Value) -> bool | None:
    """Whether two values are equal; None where this arithmetic can not know."""
    if _product(one.top, other.bottom) == _product(other.top, one.bottom):
        return True
    names = one.names | other.names
    if any(n[0] == "#" for n in names):
        return _same_large(one, other)
    if any(n[0] == "@" for n in names) or {"e", "pi"} <= names or "infinity" in names & _mixed(one, other):
        return None
    return False


def _same_large(one: Value, other: Value) -> bool | None:
    """Two powers of one base are equal if their exponents are; one is no number that can be written out."""
    bases = set()
    for value in (one, other):
        if value.rational is None:
            if len(value.top) != 1 or value.bottom != {UNIT: 1}:
                return None
            [(mono, coefficient)] = value.top.items()
            if coefficient != 1 or mono[:2] != (1, 0) or len(mono[2]) != 1 or mono[2][0][1] != 1:
                return None
            if "@" in mono[2][0][0] or mono[2][0][0][0] != "#":
                return None
            bases |= set(re.findall(r"#([0-9a-f]+)\^", mono[2][0][0]))
    return False if len(bases) == 1 else None


def _mixed(*values: Value) -> set[str]:
    """{"infinity"} where it is more than plus or minus infinity by itself."""
    allowed = {(1, 0, (("infinity", 1),))}
    for value in values:
        if "infinity" in value.names and (set(value.top) != allowed or abs(next(iter(value.top.values()))) != 1):
            return {"infinity"}
    return set()


def proportional(one: Value, other: Value) -> bool | None:
    """Whether two values differ by a rational factor other than 0; None where this can not be known."""
    if not one.top or not other.top or one.bottom != {UNIT: 1} or other.bottom != {UNIT: 1}:
        return None
    if one.top.keys() == other.top.keys():
        ratios = {one.top[mono] / other.top[mono] for mono in one.top}
        if len(ratios) == 1:
            return True
    names = one.names | other.names
    rational = all(mono[:2] == (1, 0) and all(p > 0 for _, p in mono[2]) for v in (one, other) for mono in v.top)
    return False if rational and not any(n[0] in "@#" or n in ("e", "pi", "infinity") for n in names) else None


# ------------------------------------------------------------------------------------------------------------ terms


def _sum(one: Terms, other: Terms) -> Terms:
    out = dict(one)
    for mono, coefficient in other.items():
        total = out.get(mono, 0) + coefficient
        if total:
            out[mono] = _bounded(total)
        else:
            del out[mono]
    return out


def _product(one: Terms, other: Terms) -> Terms:
    if len(one) * len(other) > LARGEST_TERMS**2:
        raise Unsure("too many terms")
    work.spend(len(one) * len(other))
    out: Terms = {}
    for (d, i, names), c in one.items():
        for (d2, i2, names2), c2 in other.items():
            shared = math.gcd(d, d2)
            sign = -1 if i and i2 else 1
            mono = (d * d2 // shared**2, (i + i2) % 2, _merge(names, names2))
            total = out.get(mono, 0) + sign * c * c2 * shared
            if total:
                out[mono] = _bounded(total)
            else:
                del out[mono]
    if len(out) > LARGEST_TERMS:
        raise Unsure("too many terms")
    return out


def _merge(one: tuple, other: tuple) -> tuple:
    if not one or not other:
        return one or other
    powers = dict(one)
    for text, exponent in other:
        powers[text] = powers.get(text, 0) + exponent
    return tuple(sorted((n, p) for n, p in powers.items() if p))


def _inverse(mono: Mono, coefficient: Fraction) -> Terms:
    """1 / (c sqrt(d) i^k names) = sqrt(d) / (c d) (-i)^k names^-1."""
    d, i, names = mono
    value = 1 / (coefficient * d)
    return {(d, i, tuple((n, -p) for n, p in names)): -value if i else value}


def _digits(value: Fraction) -> str:
    """In hexadecimal: quick for long numbers, and without Python's limit of 4,300 decimal digits."""
    return f"{value.numerator:x}|{value.denominator:x}"


def _whole_power(base: Value, exponent: int) -> Value:
    if exponent < 0:
        return over(ONE, _whole_power(base, -exponent))
    if len(base.top) <= 1 and base.bottom == {UNIT: 1}:
        if not base.top:
            return base if exponent else _raise("0^0")
        [((d, i, names), c)] = base.top.items()
        if exponent * max(c.numerator.bit_length(), c.denominator.bit_length(), d.bit_length()) > 2 * LARGEST_BITS:
            raise Unsure("too large a power")
        rest = name_power(names, exponent)
        scale = c**exponent * d ** (exponent // 2) * (-1 if i and exponent % 4 in (2, 3) else 1)
        return Value({(d if exponent % 2 else 1, i * exponent % 2, rest): _bounded(scale)}, {UNIT: Fraction(1)})
    if exponent > LARGEST_EXPANSION:
        return name(f"@pow({base.key()};{exponent})")
    out = ONE
    for _ in range(exponent):
        out = times(out, base)
    return out


def name_power(names: tuple[tuple[str, int], ...], exponent: int) -> tuple[tuple[str, int], ...]:
    return tuple((n, p * exponent) for n, p in names) if exponent else ()


def _raise(why: str) -> Value:
    raise Unsure(why)


def _root(value: Fraction) -> Value:
    """sqrt(a/b) = sqrt(a b) / b; of a negative number times i."""
    outside, inside = _squarefree(abs(value.numerator * value.denominator))
    mono = (inside, int(value < 0), ())
    return Value({mono: Fraction(outside, value.denominator)}, {UNIT: Fraction(1)})


@lru_cache(maxsize=4096)
def _squarefree(n: int) -> tuple[int, int]:
    """n = outside^2 * inside."""
    whole = math.isqrt(n)
    if whole * whole == n:
        return whole, 1
    if n > LARGEST_RADICAND:
        raise Unsure("too large a radicand")
    outside, inside, divisor = 1, n, 2
    while divisor * divisor <= inside:
        while inside % (divisor * divisor) == 0:
            inside //= divisor * divisor
            outside *= divisor
        divisor += 1
    return outside, inside


def _exact_root(value: Fraction, n: int) -> Fraction | None:
    """The rational n-th root of a positive rational, if there is one."""
    if value < 0 or n > 64:
        return None
    parts = []
    for part in (value.numerator, value.denominator):
        if part.bit_length() > 500:
            return None
        near = round(part ** (1 / n))
        parts.append(next((r for r in (near - 1, near, near + 1) if r >= 0 and r**n == part), None))
    return None if None in parts else Fraction(*parts)


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > LARGEST_BITS:
        raise Unsure("too large a number")
    work.spend(max(value.numerator.bit_length(), value.denominator.bit_length()) // BITS_A_PRODUCT)
    return value


