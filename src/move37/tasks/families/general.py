"""What the general families share: a reply is good when it meets criteria that a program checks, whatever its wording.

This checker measures. It is never a reward: what a model is paid for (a judge, a reward model) may be fooled, and the
checker is there to show it.
"""

from __future__ import annotations

import random
import re
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from move37.tasks.families.base import Family, Fields
from move37.tasks.families.lexicon import OTHER
from move37.types import Score

WORDS = {"en": re.compile(r"[A-Za-z]+(?:'[a-z]+)?"), "zh": re.compile(r"[\u4e00-\u9fff]")}
NUMBER = re.compile(r"\d+")
SENTENCE_END = re.compile(r"[.!?。!?\n]+")


@dataclass(frozen=True, kw_only=True)
class General(Family):
    """A family whose replies are in words; see `verify` for what makes one good."""

    domain: ClassVar[str] = "general"
    open_ended: ClassVar[bool] = True
    most: ClassVar[int] = 24  # English words, Chinese characters and numbers of a reply, together
    share: ClassVar[float] = 0.9  # of the words in the language that was asked for

    @abstractmethod
    def replies(self, fields: Fields, language: str) -> list[str]:
        """Good replies in a language, the plainest first."""

    @abstractmethod
    def thoughts(self, fields: Fields, language: str) -> list[str]:
        """Short lines somebody may think before replying."""

    @abstractmethod
    def missing(self, answer: str, fields: Fields) -> str:
        """Why the answer does not do what was asked; empty where it does."""

    def spoken(self, fields: Fields) -> str:
        """The language the reply should be in."""
        return fields["language"]

    def answer(self, fields: Fields) -> str:
        return self.replies(fields, self.spoken(fields))[0]

    def wrong(self, fields: Fields) -> str:
        """The reply in the language that was not asked for."""
        return self.replies(fields, OTHER[self.spoken(fields)])[0]

    def demonstrate(self, fields: Fields, rng: random.Random) -> tuple[str, str]:
        """(thought in the question's language, good reply)."""
        thought = rng.choice(self.thoughts(fields, fields["language"]))
        return thought, rng.choice(self.replies(fields, self.spoken(fields)))

    def verify(self, answer: str, fields: Fields) -> Score:
        """1 where all criteria are met, else 0. Each is in `parts` as 1 or 0, and `why` names those that are not.

        `asked`: it does what was asked, and is not the question again. `language`: of its words at least `share` are in
        the language asked for (by script; a reply of numbers alone is in no wrong one). `short`: at most `most` words, no
        sentence twice.
        """
        wanted = self.spoken(fields)
        counts = {language: len(pattern.findall(answer)) for language, pattern in WORDS.items()}
        total = sum(counts.values())
        size = total + len(NUMBER.findall(answer))
        repeats = bool(fields.get("question")) and bare(answer) == bare(fields["question"])
        whys = {
            "asked": "it repeats the question" if repeats else self.missing(answer, fields),
            "language": "" if counts[wanted] >= self.share * total else f"{counts[wanted]} of {total} words in {wanted}",
            "short": f"{size} words, {self.most} allowed" if size > self.most else twice(answer),
        }
        why = "; ".join(f"{name}: {text}" for name, text in whys.items() if text)
        return Score(value=float(not why), parts={name: float(not text) for name, text in whys.items()}, why=why)


def bare(text: str) -> str:
    """Lower case, signs and white space as single spaces: what is compared."""
    return " ".join(re.findall(r"[a-z0-9']+|[\u4e00-\u9fff]", text.lower()))


def holds(text: str, phrase: str) -> bool:
    """Whether the words of a phrase stand in a text, one after the other. Chinese is compared by character."""
    return f" {bare(phrase)} " in f" {bare(text)} "


def any_of(text: str, phrases: Iterable[str]) -> bool:
    return any(holds(text, phrase) for phrase in phrases)


def twice(text: str) -> str:
    """Which sentence comes more than once; empty where none does."""
    sentences = [bare(sentence) for sentence in SENTENCE_END.split(text)]
    sentences = [sentence for sentence in sentences if sentence]
    return next((f"{s!r} comes twice" for s in sentences if sentences.count(s) > 1), "")
