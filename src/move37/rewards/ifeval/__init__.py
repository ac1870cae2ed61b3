"""IFEval: instructions that a program can verify (Zhou et al., arXiv 2311.07911), the 25 English ones.

Written from their definitions. Deviations, and where our verdicts differ from published ones: docs/grading-ifeval.md.

Example:
    >>> verify("No comma here", [{"id": "punctuation:no_comma"}]).value
    1.0
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from move37.errors import nearest
from move37.rewards.ifeval import contents, formats
from move37.types import Score

# One entry per instruction; nothing registers itself.
CHECKERS: dict[str, Callable[..., bool]] = {
    "keywords:existence": contents.existence,
    "keywords:frequency": contents.frequency,
    "keywords:forbidden_words": contents.forbidden,
    "keywords:letter_frequency": contents.letters,
    "language:response_language": contents.language,
    "length_constraints:number_sentences": formats.number_sentences,
    "length_constraints:number_paragraphs": formats.number_paragraphs,
    "length_constraints:number_words": formats.number_words,
    "length_constraints:nth_paragraph_first_word": formats.first_word,
    "detectable_content:number_placeholders": formats.placeholders,
    "detectable_content:postscript": formats.postscript,
    "detectable_format:number_bullet_lists": formats.bullets,
    "detectable_format:constrained_response": formats.constrained,
    "detectable_format:number_highlighted_sections": formats.highlights,
    "detectable_format:multiple_sections": formats.sections,
    "detectable_format:json_format": formats.is_json,
    "detectable_format:title": formats.title,
    "combination:two_responses": contents.two_responses,
    "combination:repeat_prompt": contents.repeats,
    "startend:end_checker": contents.ends_with,
    "startend:quotation": contents.quotation,
    "change_case:capital_word_frequency": contents.capital_words,
    "change_case:english_capital": contents.all_capital,
    "change_case:english_lowercase": contents.all_lowercase,
    "punctuation:no_comma": contents.no_comma,
}
LONGEST = 200_000  # characters of a response that are looked at; a longer one can not be told

Instruction = Mapping[str, Any]  # {"id": ..., and the arguments of its checker}


def instructions(ids: Sequence[str], arguments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The columns `instruction_id_list` and `kwargs` of IFEval's files; a prefix `en:` and empty arguments are dropped."""
    return [
        {"id": name.removeprefix("en:"), **{key: value for key, value in given.items() if value is not None}}
        for name, given in zip(ids, arguments, strict=True)
    ]


def follows(text: str, instruction: Instruction) -> bool:
    """Whether a text follows one instruction, strictly. An empty text follows none.

    Raises:
        ValueError, TypeError: the instruction is not known, or an argument is missing or can not be.
    """
    arguments = dict(instruction)
    name = arguments.pop("id")
    if name not in CHECKERS:
        raise ValueError(f"instruction {name!r} is not known; {nearest(str(name), CHECKERS)}")
    return bool(text.strip()) and CHECKERS[name](text, **arguments)


def loosened(text: str) -> Iterator[str]:
    """The text as it is, without its first line, its last, and both; each as it is and without any star.

    The loose verdict: one of these follows. It forgives "Sure, here it is:" and bold type.
    """
    lines = text.split("\n")
    for part in (text, "\n".join(lines[1:]).strip(), "\n".join(lines[:-1]).strip(), "\n".join(lines[1:-1]).strip()):
        yield part
        yield part.replace("*", "")


def verify(text: str, asked: Sequence[Instruction]) -> Score:
    """1 where a response follows every instruction, strictly, else 0.

    `parts`: `strict` and `loose` of the whole prompt (1 or 0), `followed` and `followed_loosely`, the share of its
    instructions; averaged over a data set these are the four accuracies that are published.
    """
    if not asked:
        return Score.cannot_tell("the problem has no instructions")
    if len(text) > LONGEST:
        return Score.cannot_tell(f"the response has more than {LONGEST} characters", cause="too_long")
    try:
        strict = [follows(text, one) for one in asked]
        loose = [done or any(follows(part, one) for part in loosened(text)) for done, one in zip(strict, asked, strict=True)]
    except Exception as problem:  # an argument of a kind that nobody thought of
        return Score.cannot_tell(f"an instruction can not be checked: {problem}"[:500])
    missed = [str(one["id"]) for one, done in zip(asked, strict, strict=True) if not done]
    parts = {
        "strict": float(all(strict)),
        "loose": float(all(loose)),
        "followed": sum(strict) / len(strict),
        "followed_loosely": sum(loose) / len(loose),
    }
    return Score(value=parts["strict"], parts=parts, why=f"not followed: {', '.join(missed)}" if missed else "")
