"""The readability filters of R1's rejection sampling: mixed languages, long paragraphs, code blocks.

DeepSeek-R1 (arXiv 2501.12948v1), section 2.3.3, drops chains of thought with any of these and gives no numbers; the limits
are our own. Each filter is a function of a text that returns why it fails, or an empty text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from move37.options import STRICT
from move37.rewards.base import Each
from move37.rewards.language import WORDS, consistency, identify, plain
from move37.types import Problem, Rollout, Scope, Score

FENCED = re.compile(r"^[^\S\n]*(?:```|~~~)", re.MULTILINE)
PARAGRAPHS = re.compile(r"\n\s*\n")


def mixed_languages(text: str, least: float) -> str:
    """Fails where less than a share `least` of the words is in the language that most are in."""
    found = identify(text)
    if found is None:
        return ""
    counts = consistency(text, found.code)
    share = counts[found.code] / max(1, sum(counts.values()))
    return f"{1 - share:.0%} of the words are not in {found.code}" if share < least else ""


def long_paragraph(text: str, most: int) -> str:
    """Fails where a paragraph (up to an empty line) has more than `most` words."""
    longest = max((sum(1 for _ in _words(part)) for part in PARAGRAPHS.split(text)), default=0)
    return f"a paragraph has {longest} words" if longest > most else ""


def code_block(text: str) -> str:
    """Fails where a fence opens a block of code. Code in a line of text is no block."""
    return "there is a code block" if FENCED.search(text) else ""


def _words(text: str) -> Iterator[str]:
    text = plain(text)
    for pattern in WORDS.values():
        yield from pattern.findall(text)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Readable(Each):
    """1 where a thought passes all three filters, else 0 with the reasons; `parts` has each."""

    scope: ClassVar[Scope] = "thinking"

    own_language: Annotated[float, Field(ge=0, le=1)] = 0.9  # least share of words in the main language
    paragraph_words: Annotated[int, Field(gt=0)] = 200  # most in one paragraph; a Chinese character is a word

    def score(self, rollout: Rollout, problem: Problem) -> Score:
        failed = self.failed(rollout.text)
        parts = {name: float(not why) for name, why in failed.items()}
        return Score(value=min(parts.values()), parts=parts, why="; ".join(why for why in failed.values() if why))

    def failed(self, text: str) -> dict[str, str]:
        """Filter -> why it fails; empty where it passes."""
        return {
            "one_language": mixed_languages(text, self.own_language),
            "short_paragraphs": long_paragraph(text, self.paragraph_words),
            "no_code": code_block(text),
        }
