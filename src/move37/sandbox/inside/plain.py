"""Plain data between two processes that do not trust each other: what arrives is built of exact builtins and nothing else.

An object that equals everything, a list that lies about its length: they stay in the process that made them. No pickle.

Example:
    >>> decode(encode([1, (2.5, None), {"a": {3}}]))
    [1, (2.5, None), {'a': {3}}]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

LARGEST = 1_000_000  # values in one message
LONGEST = 16 << 20  # bytes of one message


class NotPlain(TypeError):
    """A value that can not be sent; the text names its type."""


class TooLarge(NotPlain):
    """More than can be sent, or nested too deep."""


def encode(value: Any, functions: list[Callable[..., Any]] | None = None) -> Any:
    """A value as what JSON can write. Subclasses of builtins are sent as the builtin, iterators as what they yield.

    Plain are None, bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict, range and iterators. Where
    `functions` is given, a function is sent as its place in that list, and put there.

    Raises:
        NotPlain: it holds anything else, more than LARGEST values, or itself.
    """
    try:
        return _encode(value, [LARGEST], functions)
    except RecursionError:
        raise TooLarge("a value nested too deep, or in itself") from None


def _encode(value: Any, left: list[int], functions: list[Callable[..., Any]] | None) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise TooLarge(f"more than {LARGEST} values")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return ["n", format(int(value), "x")]  # hexadecimal: decimal digits of a long number take quadratic time
    if isinstance(value, float):
        return ["f", float.hex(float(value))]
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes | bytearray):
        return ["b", bytes(value).hex()]
    if isinstance(value, complex):
        return ["c", float.hex(value.real), float.hex(value.imag)]
    if isinstance(value, dict):
        return ["d", *([_encode(k, left, functions), _encode(v, left, functions)] for k, v in dict.items(value))]
    if isinstance(value, range):
        return ["r", *(format(part, "x") for part in (value.start, value.stop, value.step))]
    for tag, kind in (("l", list), ("t", tuple), ("s", set), ("z", frozenset)):
        if isinstance(value, kind):
            return [tag, *(_encode(item, left, functions) for item in kind.__iter__(value))]
    if isinstance(value, Iterator | type({}.keys()) | type({}.values()) | type({}.items())):
        return ["i", *(_encode(item, left, functions) for item in value)]
    if functions is not None and callable(value):
        functions.append(value)
        return ["x", len(functions) - 1]
    raise NotPlain(f"a value of type {type(value).__name__}")


def _no_function(place: int) -> Callable[..., Any]:
    raise ValueError("a function is not expected here")


def decode(data: Any, function: Callable[[int], Callable[..., Any]] = _no_function) -> Any:
    """What `encode` wrote. Whoever wrote `data`, only builtins come out, and what `function` makes of a place.

    Raises:
        ValueError, TypeError, KeyError, IndexError, RecursionError: it is not what `encode` writes.
    """
    if data is None or type(data) in (bool, str):
        return data
    if type(data) is not list or not data or type(data[0]) is not str:
        raise ValueError(f"{data!r:.40} is no message")
    tag, *rest = data
    if tag in SCALARS:
        return SCALARS[tag](rest)
    if tag == "x":
        return function(rest[0])
    if tag == "d":
        return {decode(k, function): decode(v, function) for k, v in rest}
    return MANY[tag]([decode(item, function) for item in rest])


SCALARS: dict[str, Callable[[list], Any]] = {
    "n": lambda rest: int(rest[0], 16),
    "f": lambda rest: float.fromhex(rest[0]),
    "b": lambda rest: bytes.fromhex(rest[0]),
    "c": lambda rest: complex(float.fromhex(rest[0]), float.fromhex(rest[1])),
    "r": lambda rest: range(*(int(part, 16) for part in rest)),
}
MANY: dict[str, Callable[[list], Any]] = {"l": list, "t": tuple, "s": set, "z": frozenset, "i": iter}
