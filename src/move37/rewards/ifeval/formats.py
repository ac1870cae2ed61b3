"""Instructions on how a response looks: lengths, lists, sections, titles, placeholders, JSON."""

from __future__ import annotations

import json
import re

from move37.rewards.ifeval.counting import compare, ruled_paragraphs, sentences, words

ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
FENCE = re.compile(r"\A```(?:json)?\s*|\s*```\Z", re.IGNORECASE)


def number_words(text: str, num_words: int, relation: str) -> bool:
    return compare(len(words(text)), relation, num_words)


def number_sentences(text: str, num_sentences: int, relation: str) -> bool:
    return compare(sentences(text), relation, num_sentences)


def number_paragraphs(text: str, num_paragraphs: int) -> bool:
    """Exactly so many paragraphs with the divider *** between them, none of them empty."""
    parts = ruled_paragraphs(text)
    return len(parts) == num_paragraphs and all(part.strip() for part in parts)


def first_word(text: str, first_word: str, num_paragraphs: int, nth_paragraph: int) -> bool:
    """Exactly so many paragraphs with an empty line between them, and the n-th begins with the word."""
    parts = text.split("\n\n")
    filled = [part for part in parts if part.strip()]
    if len(filled) != num_paragraphs or nth_paragraph > len(parts):
        return False
    begin = parts[nth_paragraph - 1].split()
    found = re.match(r"[\"']*([^.,?!'\"]*)", begin[0]) if begin else None
    return found is not None and found[1].lower() == first_word.lower()


def placeholders(text: str, num_placeholders: int) -> bool:
    """At least so many placeholders in square brackets, such as [address]."""
    return len(re.findall(r"\[[^\[\]\n]*\]", text)) >= num_placeholders


def postscript(text: str, postscript_marker: str) -> bool:
    """A postscript with its marker, `P.S.` or `P.P.S`, in any letter case and with spaces between its letters."""
    marks = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
    return re.search(marks.get(postscript_marker, re.escape(postscript_marker.lower())), text.lower()) is not None


def bullets(text: str, num_bullets: int) -> bool:
    """Exactly so many lines that begin with one * or with a hyphen; ** begins bold text."""
    return len(re.findall(r"^[^\S\n]*(?:\*(?!\*)|-).+$", text, re.MULTILINE)) == num_bullets


def constrained(text: str) -> bool:
    """One of the three answers that the instruction offers is in the response."""
    return any(answer in text for answer in ANSWERS)


def highlights(text: str, num_highlights: int) -> bool:
    """At least so many stretches in *one* or **two** stars, on one line and not empty."""
    single = [part for part in re.findall(r"\*([^\n*]*)\*", text) if part.strip()]
    double = [part for part in re.findall(r"\*\*([^\n*]*)\*\*", text) if part.strip()]
    return len(single) + len(double) >= num_highlights


def sections(text: str, section_spliter: str, num_sections: int) -> bool:
    """At least so many headings of a word and a number, such as `SECTION 1`."""
    return len(re.findall(rf"{re.escape(section_spliter.strip())}\s?\d+", text)) >= num_sections


def is_json(text: str) -> bool:
    """The whole response is JSON, in a fence or not."""
    try:
        json.loads(FENCE.sub("", text.strip()))
    except (ValueError, RecursionError):
        return False
    return True


def title(text: str) -> bool:
    """A title in double angular brackets, such as <<poem of joy>>."""
    return any(found.strip("<> \t") for found in re.findall(r"<<((?:(?!<<|>>)[^\n])+)>>", text))
