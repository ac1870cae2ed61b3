"""How a response reasons, by counting: direct, in steps, or with checking; and which language it is in.

These are readings for the records. None of them is a reward.

Source of the English word list: DeepSeek-R1 v2 (arXiv 2501.12948v2), appendix C.2. The Chinese words are our own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from move37.rewards.language import LEFT_OUT

ENGLISH = ("wait", "mistake", "however", "but", "retry", "error", "verify", "wrong", "evaluate", "check")
CHINESE = ("等等", "错误", "错", "不对", "检查", "验证", "重试", "但是")  # longer first: 错误 is one word

STEP = re.compile(r"=\s*-?\d")
REFLECTIVE = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(ENGLISH)})(?![A-Za-z])|{'|'.join(CHINESE)}", re.IGNORECASE)

LATIN_WORD = re.compile(r"[A-Za-z\u00c0-\u024f]{2,}")  # one letter is a variable
HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
KANA = re.compile(r"[\u3040-\u30ff]")
# Cyrillic, Hebrew and Arabic, Indic to Thai, Hangul. Greek is left out: in this field it is formulas.
OTHER_WORD = re.compile(r"[\u0400-\u04ff]{2,}|[\u0590-\u06ff]{2,}|[\u0900-\u0e7f]{2,}|[\u1100-\u11ff\uac00-\ud7a3]+")


@dataclass(frozen=True, slots=True)
class Style:
    """`direct`: no worked equation. `steps`: at least one. `checked`: at least one, and a reflective word beside it."""

    kind: Literal["direct", "steps", "checked"]
    steps: int  # worked equations: an equals sign with a number after it
    reflective: int  # reflective words, each occurrence


def read(text: str) -> Style:
    """Read the thinking of a response, or its whole text where it has no thinking."""
    steps = len(STEP.findall(text))
    reflective = len(REFLECTIVE.findall(text))
    kind = "direct" if not steps else "checked" if reflective else "steps"
    return Style(kind, steps, reflective)


def language(text: str) -> Literal["en", "zh", "other"] | None:
    """The language most of the words are in, by script: Latin words against Chinese characters.

    Code, formulas, digits and single letters are left out. None where nothing is left. A script can not tell English
    from French, so every Latin text is "en"; Japanese (a fifth as much kana as Han, or more), Korean, Cyrillic, Arabic,
    Hebrew and Indic text is "other". A tie is the language of the first word.
    """
    text = LEFT_OUT.sub(" ", text)
    han, kana = len(HAN.findall(text)), len(KANA.findall(text))
    other = len(OTHER_WORD.findall(text)) + kana
    if kana and 5 * kana >= han:
        other, han = other + han, 0
    counts = {"en": len(LATIN_WORD.findall(text)), "zh": han, "other": other}
    most = max(counts.values())
    if not most:
        return None
    tied = [name for name, count in counts.items() if count == most]
    if len(tied) == 1:
        return tied[0]
    first = {"en": LATIN_WORD, "zh": HAN, "other": re.compile(f"{OTHER_WORD.pattern}|{KANA.pattern}")}
    return min(tied, key=lambda name: first[name].search(text).start())
