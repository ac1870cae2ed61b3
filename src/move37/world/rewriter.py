"""How the tiny world rewrites a thought for readers: one language, nothing twice, short paragraphs; and sums it up.

Stands for DeepSeek-V3 in the cold start of DeepSeek-R1 (v2, section B.3.2). It knows the few words that people of the world
put around their workings; equations and numbers are left as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from move37.world.speech import CONNECTORS, OPENINGS, TRIES, WORDS

LINES = 6  # of a paragraph, at most
OPENERS = ("check", "retry")  # what begins a new paragraph


def rewrite(thought: str, language: str) -> str:
    """The thought in that language, without what is said twice in a row, in short paragraphs.

    >>> rewrite("First 2+3\\n所以=5\\n=5\\n=5\\n检查:\\n5-3\\n=2\\n对。", "en")
    'First 2+3\\nso =5\\n=5\\n\\nCheck:\\n5-3\\n=2\\nOK.'
    """
    lines = [translate(line.strip(), language) for line in thought.splitlines() if line.strip()]
    return paragraphs(once(lines), language)


def summary(answer: str, language: str) -> str:
    """One sentence with the answer in a box."""
    return WORDS[language]["answer"].format(f"\\boxed{{{answer}}}")


def translate(line: str, language: str) -> str:
    """A line with the world's words in that language; other words stay."""
    words = dict(pair for other in WORDS if other != language for pair in _phrases(other, language))
    for other in sorted(words, key=len, reverse=True):  # a longer phrase may hold a shorter one
        line = re.sub(_pattern(other), lambda found, word=words[other]: word.format(*found.groups()), line)
    return _connected(line, language)


def once(lines: list[str]) -> list[str]:
    """The lines without those that repeat what stands right before them, one line or several."""
    kept: list[str] = []
    for line in lines:
        kept.append(line)
        for size in range(1, len(kept) // 2 + 1):
            if kept[-size:] == kept[-2 * size : -size]:
                del kept[-size:]
                break
    return kept


def paragraphs(lines: list[str], language: str) -> str:
    """Lines with an empty one before each check and each new try, and after so many."""
    openers = tuple(WORDS[language][key] for key in OPENERS)
    out: list[str] = []
    length = 0
    for line in lines:
        if out and (length == LINES or line.startswith(openers)):
            out.append("")
            length = 0
        out.append(line)
        length += 1
    return "\n".join(out)


def _phrases(other: str, language: str) -> Iterator[tuple[str, str]]:
    """What one language says -> what the other says for it."""
    yield from ((WORDS[other][key], WORDS[language][key]) for key in WORDS[other])
    for sentences in (OPENINGS, TRIES):
        yield from zip(sentences[other], sentences[language], strict=True)


def _connected(line: str, language: str) -> str:
    """The word that a line begins with, in that language."""
    for other, words in CONNECTORS.items():
        for word, mine in zip(words, CONNECTORS[language], strict=True):
            begins = f"{word} " if other == "en" else word
            if other != language and line.startswith(begins):
                return mine + (" " if language == "en" else "") + line.removeprefix(begins)
    return line


def _pattern(words: str) -> str:
    """A phrase, whose slot takes what stands there up to its end. Latin words are whole words."""
    before, slot, after = words.partition("{}")
    pattern = re.escape(before) + ("(.+?)" if slot else "") + re.escape(after)
    end = r"(?!\w)" if slot or words[-1].isalpha() else ""  # 3.5 has no sentence's end in it
    return rf"\b{pattern}{end}" if words[0].isascii() else pattern
