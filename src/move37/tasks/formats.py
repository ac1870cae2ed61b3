"""Problems whose answers prove little: multiple choice, true or false, and proofs.

Kimi k1.5 (arXiv 2501.12599), section 2.1, leaves them out of its RL prompt set: the first two are guessed right too often, and
no verifier can tell a proof. The paper does not say how it finds them; the signs here are our own, in English and Chinese.
"""

from __future__ import annotations

import re
from typing import Literal

Format = Literal["multiple_choice", "true_false", "proof"]
FORMATS: tuple[Format, ...] = ("multiple_choice", "true_false", "proof")

# Two options in a row, A and B, each marked: (A) (B), A. B., A) B), A、B、 at the start of a line or after white space.
_OPTION = r"(?:^|[\s((,;,;。::??])[((]?{}\s?[).、))::．]\s*\S"
OPTIONS = re.compile(_OPTION.format("A") + r".{0,400}?" + _OPTION.format("B"), re.DOTALL)
CHOICE = re.compile(
    r"\b(?:which|what) (?:one )?of the following\b|\b(?:choose|select|pick) the (?:correct|right|best)\b|\bmultiple[- ]choice\b|"
    r"选择题|下列.{0,30}(?:的是|是哪|有哪)|以下.{0,30}(?:的是|是哪)|选出正确",
    re.IGNORECASE,
)
BINARY = frozenset(
    {"true", "false", "yes", "no", "correct", "incorrect", "对", "错", "是", "否", "不是", "正确", "错误", "不正确"}
)
TRUE_FALSE = re.compile(
    r"\btrue or false\b|\btrue/false\b|\b(?:answer|say|reply) (?:with )?[\"'“]?yes[\"'”]? or [\"'“]?no\b|"
    r"判断(?:题|对错|正误|真假)|是否正确|对还是错|是真是假",
    re.IGNORECASE,
)
PROOF = re.compile(
    r"\bprove\b|\bshow that\b|\bgive a proof\b|\bdisprove\b|\bjustify (?:your|the) (?:claim|statement)\b|证明|求证", re.IGNORECASE
)


def format_of(question: str, answer: str) -> Format | None:
    """Which of the three a problem is, by its words; None where it is none of them.

    Example:
        >>> format_of("What is 2+3? (A) 4 (B) 5 (C) 6", "B")
        'multiple_choice'
        >>> format_of("Is 7 a prime?", "yes"), format_of("Show that 7 is prime.", ""), format_of("What is 2+3?", "5")
        ('true_false', 'proof', None)
    """
    if PROOF.search(question):
        return "proof"
    if TRUE_FALSE.search(question) or answer.strip().strip(".。!").lower() in BINARY:
        return "true_false"
    return "multiple_choice" if CHOICE.search(question) or OPTIONS.search(question) else None
