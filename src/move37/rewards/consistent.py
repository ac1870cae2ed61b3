"""The language reward: the share of the words of the thought that are in the language they should be in."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

from pydantic import ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from move37.errors import nearest
from move37.options import STRICT
from move37.rewards.base import Each
from move37.rewards.language import LANGUAGES, SCRIPTS, SURE, consistency, identify
from move37.types import Problem, Rollout, Scope, Score


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Language(Each):
    """Language consistency of R1's reasoning RL (DeepSeek-R1 v2, arXiv 2501.12948v2, eq. 7).

        words of the target language in the thought / words in the thought

    R1 adds it to the other rewards with weight 1. What a word is and what is left out: `rewards.language`. No thought
    earns 0; a thought without any word (formulas alone) is in no wrong language and earns 1. The paper says of neither.
    """

    scope: ClassVar[Scope] = "thinking"

    target: str = "question"  # the language of the question, or a code such as `en`
    unsure: str = "en"  # with `question`: taken where a question is too short to tell ("Compute $2+2$")

    @field_validator("target", "unsure")
    @classmethod
    def _known(cls, value: str, info: ValidationInfo) -> str:
        valid = [*SCRIPTS, "question"] if info.field_name == "target" else [*SCRIPTS]
        if value not in valid:
            raise ValueError(f"no language code here; {nearest(value, valid)}")
        return value

    def score(self, rollout: Rollout, problem: Problem) -> Score:
        return share(rollout.text, self.target if self.target != "question" else self.asked(problem))

    def asked(self, problem: Problem) -> str:
        """The language of the question: by what it looks like, else what the task says of it, else `unsure`.

        A task that reads files tells scripts apart and no more: it calls every Latin text `en`.
        """
        told = problem.meta.get("language")
        told = told if told in SCRIPTS else self.unsure
        alone = len(LANGUAGES[SCRIPTS[told]]) == 1
        return told if alone and "language" in problem.meta else question_language(problem.question, told)


@lru_cache(maxsize=1 << 14)
def question_language(question: str, unsure: str) -> str:
    found = identify(question)
    return found.code if found and found.confidence >= SURE else unsure


def share(thought: str, target: str) -> Score:
    """Words of the target language / words, of a thought; what stands beside them is told."""
    if not thought.strip():
        return Score(value=0.0, why="there is no thought")
    counts = consistency(thought, target)
    total, inside = sum(counts.values()), counts[target]
    parts = {"words": float(total), "inside": float(inside)}
    if not total:
        return Score(value=1.0, parts=parts, why="the thought has no words")
    others = ", ".join(f"{count} {code}" for code, count in counts.most_common() if code != target)
    return Score(value=inside / total, parts=parts, why=f"not in {target}: {others}" if others else "")
