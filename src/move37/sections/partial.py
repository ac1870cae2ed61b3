"""`partial` of `rl`: responses that go on in a later iteration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from move37.sections.base import Positive, Section


class Partial(Section):
    """How much of a response is written at a time, and for how long it may go on."""

    new_tokens: Positive = Field(description="tokens of a response that one iteration writes at most")
    max_age: Positive = Field(4, description="iterations after its first in which a response may go on; older ones are dropped")
    earlier: Literal["learn", "leave_out"] = Field(
        "learn", description="segments of a response before its last: learned with the log-probs they had, or context alone"
    )
