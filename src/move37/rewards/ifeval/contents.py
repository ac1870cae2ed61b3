"""Instructions on what a response says: keywords, letters, language, letter case, punctuation, beginnings and ends."""

from __future__ import annotations

import re
from collections.abc import Sequence

from move37.errors import nearest
from move37.rewards.ifeval.counting import compare, tokens
from move37.rewards.language import SCRIPTS, consistency, identify

OWN = 0.5  # least share of the words that is in the language asked for; names and keywords may be in others


def existence(text: str, keywords: Sequence[str]) -> bool:
    """Every keyword occurs, in any letter case, inside other words too."""
    return all(word.lower() in text.lower() for word in keywords)


def frequency(text: str, keyword: str, frequency: int, relation: str) -> bool:
    """A keyword occurs so often, counted as for `existence`."""
    return compare(text.lower().count(keyword.strip().lower()), relation, frequency)


def forbidden(text: str, forbidden_words: Sequence[str]) -> bool:
    """None of the words occurs as a whole word, in any letter case."""
    return not any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in forbidden_words)


def letters(text: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    """A letter or sign occurs so often, in any letter case."""
    return compare(text.lower().count(letter.lower()), let_relation, let_frequency)


def language(text: str, language: str) -> bool:
    """A response is in a language: by most words (`identify`) and by OWN of all (`consistency`). No words are in no wrong one.

    Raises:
        ValueError: no such language here.
    """
    if language not in SCRIPTS:
        raise ValueError(f"language {language!r} is not known; {nearest(language, SCRIPTS)}")
    found = identify(text)
    if found is None:
        return True
    counts = consistency(text, language)
    return found.code == language and counts[language] >= OWN * sum(counts.values())


def capital_words(text: str, capital_frequency: int, capital_relation: str) -> bool:
    """So many words are all capitals; "I" and "A" are."""
    return compare(sum(word.isupper() for word in tokens(text)), capital_relation, capital_frequency)


def all_capital(text: str) -> bool:
    """English in capitals alone."""
    return text.isupper() and language(text.lower(), "en")


def all_lowercase(text: str) -> bool:
    """English in small letters alone."""
    return text.islower() and language(text, "en")


def no_comma(text: str) -> bool:
    return "," not in text


def quotation(text: str) -> bool:
    """The whole response is wrapped in double quotation marks."""
    text = text.strip()
    return len(text) > 1 and text.startswith('"') and text.endswith('"')


def ends_with(text: str, end_phrase: str) -> bool:
    """The response ends with the phrase, in any letter case; quotation marks around the response do not count."""
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def repeats(text: str, prompt_to_repeat: str) -> bool:
    """The response begins with the prompt, word for word, in any letter case."""
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def two_responses(text: str) -> bool:
    """Two different answers with ****** between them; the divider may stand at the beginning or end as well."""
    parts = [part.strip() for part in text.split("******")]
    if any(not part for part in parts[1:-1]):
        return False
    filled = [part for part in parts if part]
    return len(filled) == 2 and filled[0] != filled[1]
