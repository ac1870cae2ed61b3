"""The R1-Zero form of a response: `<think> ... </think> <answer> ... </answer>`, and nothing else.

Source: DeepSeek-R1 (arXiv 2501.12948v1), Table 1 and section 2.2.2. Deviations: the paper does not say what it does
with an empty thought, two blocks or text after the answer; here all of them break the form, and such a response has no
answer to grade, so that it earns nothing.

Example:
    >>> split("<think>", "6*7=42</think> <answer>42</answer>").answer
    '42'
    >>> split("", "<think></think><answer>42</answer>").why
    'the thought is empty'
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TAG = re.compile(r"</?(?:think|answer)>")
WHOLE = ["<think>", "</think>", "<answer>", "</answer>"]


@dataclass(frozen=True, slots=True)
class Form:
    """What was found. `answer` may be set although `ok` is False: see `split`."""

    thinking: str | None  # stripped; None where no thought was opened and closed before the answer
    answer: str | None  # stripped; None where there is none to grade
    ok: bool
    why: str = ""  # what breaks the form; empty when ok


def split(prefill: str, text: str) -> Form:
    """Take a response apart.

    A `<think>` that the template prefilled counts as the response's own. The form is ok for one thought that is not
    empty, one answer that is not empty, in that order, and only whitespace around them.

    A broken form still yields an `answer` (so that accuracy can be told from format) when exactly one answer block ends
    the response and no thought contains it: the tags of the thought are missing, or there is text outside the blocks.
    It yields none when the thought is empty, a block comes twice, the answer is inside the thought, or text follows it.
    """
    opened = prefill.rfind("<think>")
    whole = (prefill[opened:] if opened >= 0 else "") + text
    tags = TAG.findall(whole)
    gaps = [gap.strip() for gap in TAG.split(whole)]  # the text before, between and after the tags
    if tags == WHOLE:
        before, thought, between, answer, after = gaps
        thinking = thought or None
        if why := _fatal(thought, answer, after):
            return Form(thinking, None, False, why)
        if before or between:
            place = "before <think>" if before else "between the blocks"
            return Form(thinking, answer, False, f"there is text {place}")
        return Form(thinking, answer, True)
    thinking = (gaps[1] or None) if tags[:2] == WHOLE[:2] and tags.count("<think>") == 1 else None
    why = _misplaced(tags)
    if tags in (WHOLE[2:], WHOLE[1:]):  # an answer that ends the response, with no thought around it
        fatal = _fatal("-", gaps[-2], gaps[-1])
        return Form(thinking, None, False, fatal) if fatal else Form(thinking, gaps[-2], False, why)
    return Form(thinking, None, False, why)


def _fatal(thought: str, answer: str, after: str) -> str:
    if not thought:
        return "the thought is empty"
    if not answer:
        return "the answer is empty"
    return "there is text after </answer>" if after else ""


def _misplaced(tags: list[str]) -> str:
    """Why these tags are not the four in order."""
    for tag in WHOLE:
        if tags.count(tag) > 1:
            return f"{tag} comes {tags.count(tag)} times"
    missing = [tag for tag in WHOLE if tag not in tags]
    if missing:
        return f"{' '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    return f"the tags are in the wrong order: {' '.join(tags)}"
