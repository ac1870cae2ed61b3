"""The words people of the tiny world put around their workings, so that a thought is in a language.

English workings are the commoner ones, and the better: see COPIED, CLUMSY. That is what lets pure RL drift into English on
Chinese questions, as R1-Zero mixed languages.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

OPENINGS = {"en": ("Let me compute.", "Let me work it out."), "zh": ("我来算一下。", "我们来算算。")}
TRIES = {"en": ("Let me try.", "Let me see."), "zh": ("我来试试。", "我来看看。")}  # before a search
CONNECTORS = {"en": ("First", "then", "so"), "zh": ("先", "再", "所以")}  # of the first line, the next ones, the last
WORDS = {
    "en": {
        "answer": "The answer is {}.",
        "check": "Check:",
        "ok": "OK.",
        "retry": "Wait, that is wrong. Retry:",
        "no": "wrong",
    },
    "zh": {"answer": "答案是{}。", "check": "检查:", "ok": "对。", "retry": "等等,错了。重试:", "no": "错"},
}
OPENED = 0.35  # share of workings that begin with a sentence; of one line, all do
COPIED = 0.65  # share of Chinese questions whose worked solution is copied from somebody who wrote it in English
CLUMSY = 3.0  # times as many slips in Chinese workings
SWITCHES = 0.04  # share of worked solutions that go on in the other language from the middle
BOXED = 0.1  # share of answers that stand in a box, as textbooks have it


def written_in(asked: str, kind: str, mixed: float, rng: random.Random) -> str:
    """The language of a solution to a question in `asked`: any with chance `mixed`, English if Chinese people copied it."""
    if rng.random() < mixed:
        return rng.choice(sorted(WORDS))
    return "en" if asked == "zh" and kind != "direct" and rng.random() < COPIED else asked


def voiced(lines: Sequence[str], language: str, rng: random.Random, switches: float = SWITCHES) -> list[str]:
    """Worked lines with a word each, and some with an opening: First 12+7-5 / then =19-5 / so =14.

    Two words at least, so that a language can be told.
    """
    languages = [language] * len(lines)
    if len(lines) > 1 and rng.random() < switches:
        middle = len(lines) // 2
        languages[middle:] = ["zh" if language == "en" else "en"] * (len(lines) - middle)
    told = [rng.choice(OPENINGS[language])] if len(lines) == 1 or rng.random() < OPENED else []
    for place, (line, own) in enumerate(zip(lines, languages, strict=True)):
        first, then, so = CONNECTORS[own]
        word = first if not place else so if place == len(lines) - 1 > 1 else then
        told.append(word + (" " if own == "en" else "") + line)
    return told


def concluded(answer: str, language: str, rng: random.Random) -> str:
    """The sentence that tells the answer, boxed now and then."""
    return WORDS[language]["answer"].format(f"\\boxed{{{answer}}}" if rng.random() < BOXED else answer)
