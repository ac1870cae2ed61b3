"""What the instructions of IFEval count: words, sentences, paragraphs; and how a number is compared."""

from __future__ import annotations

import re

WORD = re.compile(r"\w+")
END = re.compile(r"(?<![.!?])[.!?]++[\"'”’)\]*]*+(?=\s|$)")  # possessive: a million dots cost no more than once
# After these a full stop ends no sentence, nor after a single capital (an initial).
ABBREVIATIONS = frozenset(
    (
        *("mr", "mrs", "ms", "dr", "prof", "sr", "jr", "st", "vs", "etc", "e.g", "i.e", "a.m", "p.m", "u.s", "u.k"),
        *("no", "vol", "fig", "al", "inc", "ltd", "co", "corp", "dept", "approx"),
    )
)
RULE = re.compile(r"\s?\*\*\*\s?")


def words(text: str) -> list[str]:
    """Runs of letters, digits and underscores: "don't" is two."""
    return WORD.findall(text)


def tokens(text: str) -> list[str]:
    """What white space separates, without punctuation at the ends; a hyphen or a point inside stays: "U.S", "X-RAY"."""
    return [bare for part in re.split(r"[\s/—–]+", text) if (bare := part.strip("\"'“”‘’()[]{}<>*_#`~.,;:!?…|=+-"))]


def sentences(text: str) -> int:
    """Stretches of text that end in . ! or ?, and what is left after the last; abbreviations and initials end none.

    A line break ends no sentence: a heading or an item of a list without a stop belongs to what follows.
    """
    count, begin = 0, 0
    for end in END.finditer(text):
        before = text[begin : end.start()].split()
        last = before[-1].lstrip("(\"'“[*") if before else ""
        single = end[0].startswith(".") and (last.lower() in ABBREVIATIONS or re.fullmatch(r"[A-Z]", last))
        if not single and WORD.search(text, begin, end.start()):
            count, begin = count + 1, end.end()
    return count + bool(WORD.search(text[begin:]))


def ruled_paragraphs(text: str) -> list[str]:
    """What the divider *** separates; nothing before the first or after the last is no paragraph."""
    parts = RULE.split(text)
    if not parts[0].strip():
        parts = parts[1:]
    if parts and not parts[-1].strip():
        parts = parts[:-1]
    return parts


def compare(found: int, relation: str, wanted: int) -> bool:
    """`less than` or `at least`, the two relations of IFEval.

    Raises:
        ValueError: another relation.
    """
    if relation not in ("less than", "at least"):
        raise ValueError(f"relation {relation!r} is neither 'less than' nor 'at least'")
    return found < wanted if relation == "less than" else found >= wanted
