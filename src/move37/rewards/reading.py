"""Where the answer of a response stands: the three readings, and the reward for keeping to one.

A response has a thought and a summary (`answer`): all that the reader is given. What is verified and voted on (`final`) is
often a part of it.

    reading   summary                               final
    tags      what is inside <answer>               its \\boxed{...}; all of it where it has none, or several that differ
    box       all after the thought                 its last \\boxed{...}
    text      all after the thought                 all of it

`tags` is the R1-Zero form (`form.split`). The others read what instruct models write: a thought that ends in `</think>`, or
none, and then a summary; of several boxes there the last counts. A box inside the thought is never an answer.

Example:
    >>> read = READINGS["tags"]("", "<think>7+7=14</think><answer>Twice 7 is \\\\boxed{14}.</answer>")
    >>> read.answer, read.final
    ('Twice 7 is \\\\boxed{14}.', '14')
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic.dataclasses import dataclass as options

from move37.options import STRICT
from move37.rewards.base import Each
from move37.rewards.extract import settled
from move37.rewards.form import split
from move37.types import Problem, Reading, Rollout, Score

BOX = "\\boxed{"


@dataclass(frozen=True, slots=True)
class Read:
    """A response taken apart. Texts are stripped and not empty."""

    thinking: str | None
    answer: str | None  # the summary
    final: str | None  # what of it is verified; None only where `why` says so
    ok: bool  # the form of the reading was kept
    why: str = ""  # what breaks the form; empty when ok


def tagged(prefill: str, text: str) -> Read:
    """What is inside <answer>, or in the box in there. A broken form may still have an answer: see `form.split`."""
    form = split(prefill, text)
    final = None if form.answer is None else settled(form.answer)
    return Read(form.thinking, form.answer, final, form.ok, form.why)


def boxed(prefill: str, text: str) -> Read:
    """The last box of the summary."""
    thinking, rest = summary(prefill, text)
    return _read(text, thinking, rest, last_box(rest or ""), "there is no \\boxed{} after the thought")


def whole(prefill: str, text: str) -> Read:
    """All of the summary."""
    thinking, rest = summary(prefill, text)
    return _read(text, thinking, rest, rest, "there is no answer")


def _read(text: str, thinking: str | None, rest: str | None, final: str | None, missing: str) -> Read:
    why = "" if thinking else "there is no thought"
    if final is None:
        why = "the thought never ends" if thinking and "</think>" not in text else missing
    return Read(thinking, rest, final, not why, why)


def summary(prefill: str, text: str) -> tuple[str | None, str | None]:
    """(thinking, what follows it). The second is None where nothing does, or a thought was opened and never closed."""
    whole = ("<think>" if prefill.rfind("<think>") >= 0 else "") + text
    thought, closed, rest = whole.rpartition("</think>")
    if closed:
        return thought.replace("<think>", "").strip() or None, rest.strip() or None
    if "<think>" in whole:
        return whole.replace("<think>", "").strip() or None, None
    return None, whole.strip() or None


def last_box(text: str) -> str | None:
    """What is inside the last `\\boxed{...}`, braces balanced; None where there is none, or it is empty or not closed."""
    start = text.rfind(BOX)
    if start < 0:
        return None
    depth = 1
    for place in range(start + len(BOX), len(text)):
        escaped = text[place - 1] == "\\"
        depth += (text[place] == "{" and not escaped) - (text[place] == "}" and not escaped)
        if depth == 0:
            return text[start + len(BOX) : place].strip() or None
    return None


# reading -> (prefill, text) -> what was found
READINGS: dict[Reading, Callable[[str, str], Read]] = {"tags": tagged, "box": boxed, "text": whole}


@options(frozen=True, kw_only=True, config=STRICT)
class Format(Each):
    """The format reward: 1 where the form is kept, else 0 with the reason.

    The form is that of the stage's `reading`. `tags`: <think> ... </think> <answer> ... </answer> and nothing else
    (DeepSeek-R1, arXiv 2501.12948v1, section 2.2.2). `box` and `text`: a thought that is not empty and ends, and after it
    a box, or anything; these two are our own.
    """

    reading: Reading | None = None  # not given: the stage's

    def score(self, rollout: Rollout, problem: Problem) -> Score:
        read = READINGS[self.reading or "tags"](rollout.prefill, rollout.text)
        return Score(value=float(read.ok), why=read.why)
