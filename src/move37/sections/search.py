"""`search` of `evaluate`: a tree search over the steps of a thought, beside plain sampling."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from move37.sections.base import Section


class Search(Section):
    """How the tree grows. What it may spend is what the plain samples of the same problem took."""

    width: Annotated[int, Field(ge=2)] = Field(4, description="continuations that a node is given at a time")
    value: str | None = Field(
        None, description="an earlier rl stage of ppo, whose value model says what a response is worth; empty: the votes say it"
    )
    exploration: Annotated[float, Field(ge=0)] = Field(
        1.0, description="weight of what was tried seldom against what is agreed upon; 0 follows the votes alone"
    )
