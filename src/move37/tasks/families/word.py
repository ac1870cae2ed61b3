"""Short stories about things that are bought, found, lost, given away or doubled."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from move37.errors import TaskError
from move37.rewards.verify import number
from move37.tasks.families.base import Family, Fields
from move37.types import Score

NAMES = {"en": ("Tom", "Ann", "Sam", "Mia", "Ben"), "zh": ("小明", "小红", "小华")}
THINGS = {"en": ("apples", "books", "coins", "pens", "stones"), "zh": ("苹果", "书", "硬币")}
START = {"en": "{name} has {n} {thing}.", "zh": "{name}有{n}个{thing}。"}
EVENTS = {
    "en": {
        "add": ("{name} buys {n} more.", "{name} finds {n} more.", "A friend gives {name} {n} more."),
        "take": ("{name} loses {n}.", "{name} gives away {n}.", "{name} sells {n}."),
        "times": ("Then the number grows {n} times as large.",),
    },
    "zh": {
        "add": ("又买了{n}个。", "又找到{n}个。"),
        "take": ("丢了{n}个。", "送走{n}个。"),
        "times": ("后来变成{n}倍。",),
    },
}
ASK = {"en": "How many {thing} does {name} have now?", "zh": "现在有多少个{thing}?"}


@dataclass(frozen=True, kw_only=True)
class Word(Family):
    name: ClassVar[str] = "word"

    events: tuple[int, int] = (2, 4)  # fewest and most
    largest: int = 30

    def __post_init__(self) -> None:
        if not 1 <= self.events[0] <= self.events[1] or self.largest < 2:
            raise TaskError(
                f"word: events={list(self.events)} must be [fewest >= 1, most], largest={self.largest} at least 2"
            )

    def draw(self, rng: random.Random) -> Fields:
        have = rng.randint(2, self.largest)
        steps: list[tuple[str, int]] = [("start", have)]
        for _ in range(rng.randint(*self.events)):
            kind = rng.choices(("add", "take", "times"), (4, 4, 1))[0]
            value = rng.randint(2, 3) if kind == "times" else rng.randint(1, self.largest)
            if kind == "take" and value > have:
                kind = "add"
            if kind == "times" and have > 99:
                kind = "add"
            steps.append((kind, value))
            have = after(have, kind, value)
        return {"steps": [list(step) for step in steps]}

    def key(self, fields: Fields) -> str:
        return str(fields["steps"])

    def ask(self, fields: Fields, language: str, rng: random.Random) -> str:
        words = {"name": rng.choice(NAMES[language]), "thing": rng.choice(THINGS[language])}
        (_, first), *rest = fields["steps"]
        story = [START[language].format(n=first, **words)]
        story += [rng.choice(EVENTS[language][kind]).format(n=value, **words) for kind, value in rest]
        story.append(ASK[language].format(**words))
        return ("" if language == "zh" else " ").join(story)

    def answer(self, fields: Fields) -> str:
        (_, have), *rest = fields["steps"]
        for kind, value in rest:
            have = after(have, kind, value)
        return str(have)

    def verify(self, answer: str, fields: Fields) -> Score:
        return number(answer, self.answer(fields))


def after(have: int, kind: str, value: int) -> int:
    """What is there after one event."""
    return {"add": have + value, "take": have - value, "times": have * value}[kind]
