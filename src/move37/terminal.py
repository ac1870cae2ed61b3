"""What commands share: tables for people and for pipes, and options that are a dataclass. Imports little, for `--help`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_type_hints

if TYPE_CHECKING:
    from rich.console import Console


def console(plain: bool, error: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=error, no_color=plain or None, highlight=False, soft_wrap=plain)


def table(out: Console, title: str, records: list[dict[str, Any]]) -> None:
    """Records as a table; its columns are the keys of the first ones, in order."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    keys = list(dict.fromkeys(key for record in records for key in record))
    made = Table(title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for key in keys:
        made.add_column(Text(key), overflow="fold")
    for record in records:
        made.add_row(*(Text(cell(record.get(key))) for key in keys))
    if out.is_terminal:
        out.print(made)
    else:  # a pipe has no width: one line per record
        if title:
            out.print(Text(title))
        for record in records:
            out.print(Text("  ".join(f"{key} {cell(value)}".strip() for key, value in record.items())))


def cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def comparison(out: Console, found: dict[str, Any], title: str = "") -> None:
    from move37.report.page import comparison as compare

    sides = ("before", "after") if found["before"] else ("after",)
    rows = compare(found["before"], found["after"])
    if rows:
        table(out, title, [{"": row["label"], **{side: row[side] for side in sides}} for row in rows])


def options_of(group: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command take `group`, a dataclass of typer options, as its last parameter: typer reads options off a signature."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        hints = [get_type_hints(one, include_extras=True) for one in (function, group)]
        signatures = [inspect.signature(one).parameters.values() for one in (function, group)]
        own, fields = (
            [p.replace(annotation=hint[p.name], kind=p.KEYWORD_ONLY) for p in signature]
            for signature, hint in zip(signatures, hints, strict=True)
        )
        last = own.pop().name

        @functools.wraps(function)
        def command(**given: Any) -> None:
            function(**{p.name: given[p.name] for p in own}, **{last: group(**{f.name: given[f.name] for f in fields})})

        command.__signature__ = inspect.Signature([*own, *fields])  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in (*own, *fields)}
        del command.__wrapped__
        return command

    return decorate
