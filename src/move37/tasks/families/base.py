"""What a task family of our own is: numbers first, then words in a language, then the answer."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from move37.types import Score

Fields = dict[str, Any]  # the numbers of one problem; JSON-able, kept in Problem.meta


@dataclass(frozen=True, kw_only=True)
class Family(ABC):
    """Knobs are the dataclass fields of a subclass; `languages` what `ask` can speak.

    `answer`, `verify` and `wrong` are given the fields with `language` added, `verify` with `question` as well.
    """

    name: ClassVar[str]
    languages: ClassVar[tuple[str, ...]] = ("en", "zh")
    domain: ClassVar[str] = "reasoning"  # or "general", "safety"
    open_ended: ClassVar[bool] = False  # whether answers are free text, of which the whole is verified
    whole: ClassVar[bool] = False  # whether thought and answer are verified together

    @abstractmethod
    def draw(self, rng: random.Random) -> Fields:
        """The numbers of one problem."""

    @abstractmethod
    def key(self, fields: Fields) -> str:
        """One text per distinct problem, whatever its wording: the train/held-out split hashes it."""

    @abstractmethod
    def ask(self, fields: Fields, language: str, rng: random.Random) -> str:
        """The question in words."""

    @abstractmethod
    def answer(self, fields: Fields) -> str:
        """A gold answer."""

    @abstractmethod
    def verify(self, answer: str, fields: Fields) -> Score:
        """Whether `answer` solves the problem."""

    def wrong(self, fields: Fields) -> str:
        """An answer of the right form that is wrong."""
        return str(int(self.answer(fields)) + 1)
