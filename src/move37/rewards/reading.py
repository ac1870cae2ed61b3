"""Where the answer of a response stands, for models that were not trained on the R1-Zero form.

Training reads tags (`form.split`). An evaluation may also read what instruct models and endpoints write: a thought that
ends in `</think>`, or none, and then a summary in which the last `\\boxed{...}` is the answer, or all of which is it. A
box inside the thought is never an answer; of several boxes in the summary the last counts.

Example:
    >>> boxed("", "<think>\\\\boxed{1}?</think> It is \\\\boxed{\\\\frac{1}{2}}.").answer
    '\\\\frac{1}{2}'
"""

from __future__ import annotations

from collections.abc import Callable

from move37.rewards.form import Form, split

BOX = "\\boxed{"


def summary(prefill: str, text: str) -> tuple[str | None, str | None]:
    """(thinking, what follows it). The second is None where a thought was opened and never closed."""
    whole = ("<think>" if prefill.rfind("<think>") >= 0 else "") + text
    thought, closed, rest = whole.rpartition("</think>")
    if closed:
        return thought.replace("<think>", "").strip() or None, rest.strip()
    if "<think>" in whole:
        return whole.replace("<think>", "").strip() or None, None
    return None, whole.strip()


def boxed(prefill: str, text: str) -> Form:
    """The last box of the summary."""
    thinking, rest = summary(prefill, text)
    if rest is None:
        return Form(thinking, None, False, "the thought never ends")
    answer = last_box(rest)
    return Form(thinking, answer, answer is not None, "" if answer else "there is no \\boxed{} after the thought")


def whole(prefill: str, text: str) -> Form:
    """All of the summary."""
    thinking, rest = summary(prefill, text)
    if rest is None:
        return Form(thinking, None, False, "the thought never ends")
    return Form(thinking, rest or None, bool(rest), "" if rest else "there is no answer")


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


# How a response is read -> (prefill, text) -> what was found
READINGS: dict[str, Callable[[str, str], Form]] = {"tags": split, "box": boxed, "text": whole}
