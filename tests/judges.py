"""Scripted judges: deterministic, so that what is made of their verdicts can be worked out by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from move37.endpoint import Reply, Request


def data(request: Request) -> list[str]:
    """The judged texts of a request, taken apart by its mark: what an obedient judge sees as data."""
    content = request.messages[-1]["content"]
    mark = re.search(r"^BEGIN (\w+)$", content, re.MULTILINE)[1]
    return re.findall(rf"^BEGIN {mark}\n(.*?)\nEND {mark}$", content, re.MULTILINE | re.DOTALL)


class Scripted:
    """`say(texts)` is the reply to the texts between the marks; None is an endpoint that gave nothing."""

    def __init__(self, say: Callable[..., str | None]) -> None:
        self.say = say
        self.requests: list[Request] = []

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        self.requests += requests
        said = [self.say(*data(request)) for request in requests]
        return [Reply.none("down") if text is None else Reply(text=text) for text in said]
