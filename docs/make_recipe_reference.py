"""Writes docs/recipe.md from the schema and the algorithms, so that the reference can not lie.

python docs/make_recipe_reference.py
"""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from move37.algorithms import ALGORITHMS
from move37.recipe import Recipe
from move37.rewards import REWARDS
from move37.sections import (
    STAGE_KINDS,
    TASK_KINDS,
    Hardware,
    Optimizer,
    Partial,
    PreferenceOptimizer,
    RewardOptimizer,
    Search,
    SFTOptimizer,
)
from move37.tasks.draws import DRAWS

HEAD = """# Recipe reference

Made by `docs/make_recipe_reference.py` from the schema; do not edit. A recipe is a YAML file:

```yaml
name: r1_zero            # names the run directory
model: bundled
template: r1_zero
tasks:
  chain: {family: chain}
stages:                  # run in this order
  before: {stage: evaluate}
  rl: {stage: rl, steps: 50, algorithm: grpo}
  after: {stage: evaluate, init: rl}
```

Any key can be set from the command line: `move37 run recipe.yaml rl.steps=80 tasks.chain.weight=2 seed=1`. A first part
that names a stage means `stages.<name>`. Values are YAML. Unknown keys are refused, with the nearest valid name.
`move37 run recipe.yaml --dry-run` shows the recipe as it resolves.
"""


def reference() -> str:
    """The whole page."""
    parts = [HEAD, "## The file", _table(Recipe)]
    parts += ["## Hardware", _table(Hardware)]
    parts += ["## Tasks", "Which kind a task is shows in the one key that only that kind has."]
    for key, schema in TASK_KINDS.items():
        parts += [f"### `{key}`", _text(schema), _table(schema)]
    parts += ["## Stages", "`stage` says which kind it is."]
    for key, schema in STAGE_KINDS.items():
        parts += [f"### `stage: {key}`", _text(schema), _table(schema)]
    parts += ["### `partial` of `rl`", _text(Partial), _table(Partial)]
    parts += ["### `draw` of `rl`", "`draw: prioritised`, or `draw: {kind: prioritised, pool: 64}`; see docs/curriculum.md."]
    parts += [_draws()]
    parts += ["### `search` of `evaluate`", _text(Search), _table(Search)]
    parts += ["### `optimizer`", _text(Optimizer), _table(Optimizer)]
    for kind, own in (("sft", SFTOptimizer), ("reward_model", RewardOptimizer), ("preference", PreferenceOptimizer)):
        parts += [f"### `optimizer` of `{kind}`", _text(own), _table(own)]
    parts += [
        "## Algorithms",
        "`algorithm: grpo`, or `algorithm: {name: grpo, clip_low: 0.1}`. Equations: docs/algorithms.md.",
    ]
    parts += [_algorithms()]
    parts += [
        "## Rewards",
        "`format: 0.2`, or `format: {weight: 0.2}` with options beside the weight. What they mean: docs/rewards.md.",
    ]
    parts += [_rewards()]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _text(schema: type) -> str:
    return " ".join((schema.__doc__ or "").split())


def _table(schema: type[BaseModel]) -> str:
    rows = [
        f"| `{name}` | {_type(info)} | {_default(info)} | {_cell(info.description or '')} |"
        for name, info in schema.model_fields.items()
        if name != "stage"
    ]
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])


def _type(info: FieldInfo) -> str:
    if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
        return "section"
    return _limited(_name(info.annotation), info.metadata)


def _limited(name: str, parts: Sequence[Any]) -> str:
    limits = ", ".join(text for text in map(_limit, parts) if text)
    return f"{name} {limits}" if limits else name


def _limit(part: Any) -> str:
    """A constraint as text; pydantic keeps them as objects of one attribute each, or as a FieldInfo around such."""
    if isinstance(part, FieldInfo):
        return ", ".join(_limit(p) for p in part.metadata)
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    return ", ".join(
        f"{sign} {getattr(part, key)}" for key, sign in signs.items() if getattr(part, key, None) is not None
    )


def _name(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _limited(_name(arguments[0]), arguments[1:])
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys("empty" if a is type(None) else _name(a) for a in arguments))
    if origin is dict:
        inner = arguments[1]
        plain = typing.get_origin(inner) in (typing.Union, types.UnionType)
        return "mapping" if inner is Any or plain else f"mapping to {_name(inner)}"
    if origin is list:
        return f"list of {_name(arguments[0])}"
    if origin is tuple:
        return f"{len(arguments)} x {_name(arguments[0])}"
    return {str: "text", int: "integer", float: "number", bool: "true, false"}.get(
        kind, getattr(kind, "__name__", str(kind))
    )


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value is PydanticUndefined or isinstance(value, BaseModel):
        return ""
    return _value(value)


def _value(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, dict):
        inside = ", ".join(f"{key}: {item}" for key, item in value.items())
        return f"`{{{inside}}}`"
    if isinstance(value, list | tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "or")


def _algorithms() -> str:
    """Every option of every algorithm with the value it has there; a dash where an algorithm has no such option."""
    names = list(ALGORITHMS)
    options = list(dict.fromkeys(f.name for kind in ALGORITHMS.values() for f in fields(kind)))
    rows = ["| option | " + " | ".join(f"`{name}`" for name in names) + " |", "|---" * (len(names) + 1) + "|"]
    made = {name: kind().settings() for name, kind in ALGORITHMS.items()}
    for option in options:
        cells = [_value(made[name][option]) if option in made[name] else "–" for name in names]
        rows.append(f"| `{option}` | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _draws() -> str:
    """Every way to draw with its options and their defaults."""
    rows = ["| kind | options |", "|---|---|"]
    rows += [f"| `{name}` | {', '.join(_option(field) for field in fields(kind))} |" for name, kind in DRAWS.items()]
    return "\n".join(rows)


def _rewards() -> str:
    """Every built-in reward with its options and their defaults."""
    rows = ["| reward | sees | options |", "|---|---|---|"]
    for name, kind in REWARDS.items():
        options = ", ".join(_option(field) for field in fields(kind)) if is_dataclass(kind) else ""
        rows.append(f"| `{name}` | {kind.scope} | {options or 'none'} |")
    return "\n".join(rows)


def _option(field: Field[Any]) -> str:
    """`name: default`; the name alone where it has to be given."""
    if field.default is MISSING and field.default_factory is MISSING:
        return f"`{field.name}` (to be given)"
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return f"`{field.name}: {_value(default).strip('`')}`"


if __name__ == "__main__":
    target = Path(__file__).with_name("recipe.md")
    target.write_text(reference(), encoding="utf-8")
    print(f"wrote {target}")
