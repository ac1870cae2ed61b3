"""Things that a recipe names and gives options: a kind is a frozen pydantic dataclass, its fields are the options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from pydantic import ConfigDict, ValidationError

from move37.errors import RecipeError, nearest

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

Kind = TypeVar("Kind")


def build(what: str, kinds: Mapping[str, type[Kind]], name: str, options: Mapping[str, Any]) -> Kind:
    """The kind of that name with these options; the others keep their defaults. `what` is for errors: "algorithm".

    Raises:
        RecipeError: an unknown name or option (with the nearest valid one) or an impossible value.
    """
    if name not in kinds:
        raise RecipeError(f"{what} {name!r} is not known; {nearest(str(name), kinds)}")
    kind = kinds[name]
    valid = [f.name for f in fields(kind)]
    for option in options:
        if option not in valid:
            near = nearest(str(option), valid) if valid else "it has none"
            raise RecipeError(f"{what} {name} has no option {option!r}; {near}")
    try:
        return kind(**options)
    except ValidationError as problem:
        found = [f"{what} {name}: {_told(e)}" for e in problem.errors()]
        raise RecipeError("; ".join(found)) from None


def _told(error: Any) -> str:
    message = error["msg"].removeprefix("Value error, ")
    at = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{at} is missing and has no default"
    if error["type"] == "unexpected_keyword_argument":
        return f"{at} is no option of it"
    return f"{at}={error['input']!r}: {message}" if at else message
