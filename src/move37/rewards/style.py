"""How a response reasons, by counting: direct, in steps, or with checking; which behaviours it shows; and its language.

These are readings for the records, and for filters. None of them is a reward.

Sources: the English list of reflective words is that of DeepSeek-R1 v2 (arXiv 2501.12948v2), appendix C.2; the seven
behaviours are those that Kimi k1.5 (arXiv 2501.12599), sections 2.2 and 2.3, names without saying how to find them. Their
words, and all Chinese ones, are our own.
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

# Behaviour -> what tells of it: English words, Chinese ones, and what the tiny world writes.
_SIGNS: dict[str, tuple[str, str]] = {
    "planning": (
        r"plan|strategy|first of all|first,|step 1|step one|let me start|let's start|we need to|i need to|break (?:it|this) down",
        "首先|第一步|计划|思路|先算|先求|需要先",
    ),
    "evaluation": (
        r"(?:double[- ])?check(?:ing|ed)?|verif(?:y|ies|ied|ying)|evaluat(?:e|es|ing)|make sense|makes sense|confirm",
        "检查|验证|验算|核对|确认",
    ),
    "reflection": (
        r"wait|hmm+|actually|on second thought|let me think again|reconsider|rethink|think about (?:it|this) again",
        "等等|等一下|再想想|重新考虑|重新思考|其实",
    ),
    "exploration": (
        r"alternatively|another (?:way|approach|idea|option)|other (?:way|approach)|what if|suppose|let me try|let's try|maybe",
        "或者|另一种|另外一种|换一种|换个|试试|尝试|假设|如果换",
    ),
    "error_identification": (
        r"mistakes?|errors?|wrong|incorrect|not right|not correct|miscalculated",
        "错误|错|不对|有误|算错",
    ),
    "backtracking": (
        r"retry|try again|go(?:ing)? back|start(?:ing)? over|start again|redo|from the beginning",
        "重试|重来|重新开始|重新算|重算|回到|从头",
    ),
    "refinement": (
        r"more (?:precisely|exactly|carefully)|refine[sd]?|improve[sd]?|simplif(?:y|ies|ied)|"
        r"correct(?:ed|ing) (?:it|this|that)|fix(?:ed|ing)?",
        "更准确|更精确|改进|简化|修正|更正|优化",
    ),
}
# A line that throws an attempt away, `3*4+5=17 wrong`, is one of several tries: how countdowns are searched here.
TRY = r"=\s*-?\d+ (?:wrong\b|错)"
BEHAVIOURS: dict[str, re.Pattern[str]] = {
    name: re.compile(
        rf"(?<![A-Za-z])(?:{english})(?![A-Za-z])|{chinese}" + (f"|{TRY}" if name == "exploration" else ""), re.IGNORECASE
    )
    for name, (english, chinese) in _SIGNS.items()
}

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


def behaviours(text: str) -> dict[str, int]:
    """How often a text shows each behaviour, by its words; no count is a judgement of what is meant.

    Example:
        >>> found = behaviours("2+3=6 Check: 6-3=3 Wait, that is wrong. Retry: 2+3=5")
        >>> [name for name, times in found.items() if times]
        ['evaluation', 'reflection', 'error_identification', 'backtracking']
    """
    return {name: len(signs.findall(text)) for name, signs in BEHAVIOURS.items()}


def shown(text: str) -> list[str]:
    """The behaviours that a text shows at least once, in the order of `BEHAVIOURS`.

    Example:
        >>> shown("2+3=6 Wait, that is wrong.")
        ['reflection', 'error_identification']
    """
    return [name for name, signs in BEHAVIOURS.items() if signs.search(text)]


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
