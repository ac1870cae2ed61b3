"""Who writes or judges the data of a stage: the script of the tiny world, an endpoint, or a model directory."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from move37.options import build
from move37.rewards.judge import Source

SCRIPTED: Literal["scripted"] = "scripted"


def _visible(value: Any) -> Any:
    """`scripted`, or every option of the source, defaults included, so that the resolved recipe shows them."""
    if value == SCRIPTED:
        return value
    if not isinstance(value, dict):
        raise ValueError("give `scripted`, {base_url, model} of an endpoint, or {checkpoint: a stage, or a model directory}")
    return dataclasses.asdict(build("the", {"source": Source}, "source", value))


Answering = Annotated[dict[str, Any] | Literal["scripted"], BeforeValidator(_visible)]


def judge_of(key: str, value: dict[str, Any] | str) -> dict[str, str]:
    """The input of a stage that this is: the checkpoint of the source, if it is one."""
    checkpoint = "" if isinstance(value, str) else value["checkpoint"]
    return {f"{key}.checkpoint": checkpoint} if checkpoint else {}


def source_of(value: dict[str, Any] | str) -> Source | None:
    """The source that a recipe names; None for the script."""
    return None if isinstance(value, str) else Source(**value)
