"""Whether two models write with the same tokens: what a token id means, and how text is cut into tokens.

Names prove nothing (two models of one family may differ in a merge, two of different families be the same), so the
tokenizers' own definitions are compared.
"""

from __future__ import annotations

import json
from typing import Any

from transformers import PreTrainedTokenizerFast

# key of a tokenizer's definition -> what it is called in a message; the vocabulary and special tokens come first
PARTS = {
    "normalizer": "normaliser",
    "pre_tokenizer": "pre-tokenizer",
    "model": "merges or settings",
    "added_tokens": "added tokens",
}


def difference(student: PreTrainedTokenizerFast, teacher: PreTrainedTokenizerFast) -> str | None:
    """The first thing in which they differ, for people; None where they cut every text into the same ids.

    Compared: every token's id, added ones among them; EOS; normaliser, pre-tokenizer, merges and the model's settings. Left
    out is what changes no id of a response: padding, truncation, decoder, chat template, what is put before a prompt.
    """
    ours, theirs = student.get_vocab(), teacher.get_vocab()
    for token, number in sorted(ours.items(), key=lambda pair: pair[1]):
        if theirs.get(token) != number:
            other = f"is {theirs[token]} there" if token in theirs else "is no token there"
            return f"{token!r} is token {number} of the student and {other}"
    if more := sorted(set(theirs) - set(ours), key=theirs.__getitem__):
        return f"the teacher has {len(more)} tokens more, {more[0]!r} among them"
    if student.eos_token != teacher.eos_token:
        return f"the student ends with {student.eos_token!r}, the teacher with {teacher.eos_token!r}"
    one, other = (_definition(tokenizer) for tokenizer in (student, teacher))
    return next((f"they differ in their {name}" for key, name in PARTS.items() if one[key] != other[key]), None)


def _definition(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return json.loads(tokenizer.backend_tokenizer.to_str())
