"""Where the answer of a response stands. The convention, with examples, is docs/grading.md.

Example:
    >>> answer_of("<think>5? no, 6</think> The answer is \\boxed{7}.")
    '7'
"""

from __future__ import annotations

import re

LONGEST_LINE = 200  # a response that is one line of at most this many characters is itself the answer
BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL)
MARKED = re.compile(
    r"(?:^|\n)[ \t]*####[ \t]*(?P<hashes>[^\n]+)"
    r"|(?:^|\n)[ \t]*(?:\*\*)?A(?:nswer)?(?:\*\*)?[ \t]*[:：](?:\*\*)?[ \t]*(?P<line>[^\n]+)"
    r"|\b(?:final )?answer(?: to [^.\n]{0,80})? (?:is|equals)(?:[ \t]*:)?\s*(?P<sentence>[^\n]+)"
    r"|答案(?:是|为|：|:)\s*(?P<chinese>[^\n。]+)",
    re.IGNORECASE,
)
SENTENCE_END = re.compile(r"\.(?=\s|$)")


def visible(response: str) -> str:
    """What follows the thinking. A thought that was opened and not closed takes the rest of the response with it.

    A `</think>` without its opening tag closes a thought that the prompt opened.
    """
    after = response.rpartition("</think>")[2] if "</think>" in response else response
    return after.partition("<think>")[0]


def answer_of(response: str) -> str | None:
    """The answer: the last `<answer>` (the box in it, where it has one), else the last box, else what follows the last mark,
    else a single short line."""
    text = visible(response)
    if blocks := ANSWER.findall(text):
        return settled(blocks[-1])
    if found := boxes(text):
        return found[-1].strip()
    if marks := list(MARKED.finditer(text)):
        marked = marks[-1]
        said = marked["hashes"] or marked["line"] or marked["sentence"] or marked["chinese"]
        if marked["sentence"]:
            said = SENTENCE_END.split(said)[0]
        return said.strip().strip("*").strip()
    text = text.strip()
    return text if text and "\n" not in text and len(text) <= LONGEST_LINE else None


def settled(answer: str) -> str:
    """What the box in an answer holds, where all its boxes hold the same; else the answer as it is, for a verifier to judge."""
    found = {inside.strip() for inside in boxes(answer)}
    return found.pop() if len(found) == 1 and "" not in found else answer.strip()


def boxes(text: str) -> list[str]:
    """What every complete box holds, in order; an inner box is part of the outer one."""
    return [inside for _, inside, _ in _boxes(text)]


def outside(text: str) -> str:
    """A text without its boxes."""
    kept, at = [], 0
    for start, _, end in _boxes(text):
        kept.append(text[at:start])
        at = end
    return " ".join([*kept, text[at:]])


def _boxes(text: str) -> list[tuple[int, str, int]]:
    """(start, inside, end) of each."""
    found, at = [], 0
    while opened := BOX.search(text, at):
        depth, end = 1, opened.end()
        while end < len(text) and depth:
            depth += (text[end] == "{") - (text[end] == "}")
            end += 1
        if depth:
            break
        found.append((opened.start(), text[opened.end() : end - 1], end))
        at = end
    return found
