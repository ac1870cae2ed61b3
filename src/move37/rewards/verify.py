"""Verifiers: is `answer` the gold? Right, wrong, or can not tell; never "close enough".

A gold that a verifier can not read gives CANNOT_TELL, whatever the answer: nothing can be learnt from it. An answer
that it can not read is wrong.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from fractions import Fraction

from move37.rewards.worker import Pool
from move37.types import Score

LONGEST_NUMBER = 200  # characters; longer ones are no answers
LONGEST_FORMULA = 2000
MATH_LIMIT_S = 5.0
MATH_MEMORY_MB = 2048

CURRENCY = "$€£¥₹元"
LATEX = {"\\$": "$", "\\%": "%", "{,}": ",", "\\,": "", "\\!": "", "\\ ": " ", "\\dfrac": "\\frac", "\\tfrac": "\\frac"}
WRAPPED = re.compile(r"\$(.+)\$|\\\((.+)\\\)|\\\[(.+)\\\]|\\boxed\{(.+)\}|\\text\{(.+)\}", re.DOTALL)
FRAC = re.compile(r"(-?)\\frac\{([^{}]+)\}\{([^{}]+)\}")
PLAIN = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
NUMBER = re.compile(
    rf"(?P<sign>[+-]?) ?(?:(?P<whole>\d+) (?=\d+/))?(?P<top>{PLAIN})(?: ?/ ?(?P<bottom>{PLAIN}))?(?P<percent> ?%)?"
)
SAME = {"−": "-", "–": "-", "⁄": "/", "∕": "/", "。": ".", "\u00a0": " ", "\u3000": " "}


def plain(text: str) -> str:
    """One way to write a character: full-width forms and other scripts' digits as ASCII, every minus a hyphen.

    Not NFKC: it would turn the power in 5² into the number 52.
    """
    out = []
    for char in text:
        if char.isdecimal():
            out.append(str(unicodedata.decimal(char)))
        elif "！" <= char <= "～":
            out.append(chr(ord(char) - 0xFEE0))
        else:
            out.append(SAME.get(char, char))
    return "".join(out)


def unwrap(text: str) -> str:
    """Without the space, the full stop and the `$ $`, `\\( \\)`, `\\boxed{ }` or `\\text{ }` around it."""
    while True:
        text = text.strip()
        found = WRAPPED.fullmatch(text)
        inner = next((g for g in found.groups() if g is not None), None) if found else None
        if inner is not None and inner.count("{") == inner.count("}") and "$" not in inner.strip("$"):
            text = inner
        elif text.endswith(".") and not text.endswith(".."):
            text = text[:-1]
        else:
            return text


def parse_number(text: str) -> Fraction | None:
    """The one number a text is, exactly; None for anything else.

    Read: integers, decimals, `a/b`, `\\frac{a}{b}`, mixed `1 1/2`, well-placed thousands commas, a sign, a trailing
    full stop. Convention: one currency sign before or after the number is dropped; `%` divides by 100, so 10% is 1/10
    and not 10. Not read: units in words (2 million is not 2), powers of ten as `1e9`, two numbers.
    """
    if len(text) > LONGEST_NUMBER:
        return None
    text = unwrap(plain(text))
    for latex, short in LATEX.items():
        text = text.replace(latex, short)
    text = FRAC.sub(r"\1\2/\3", text).strip()
    sign = text[:1] if text[:1] in ("+", "-") else ""
    rest = text[len(sign) :].strip()
    if rest[:1] and rest[:1] in CURRENCY:
        rest = rest[1:].strip()
        if not sign and rest[:1] == "-":  # $-5
            sign, rest = "-", rest[1:]
    elif rest[-1:] and rest[-1:] in CURRENCY:
        rest = rest[:-1].strip()
    found = NUMBER.fullmatch(sign + rest)
    if not found:
        return None
    top, bottom = (Fraction(part.replace(",", "")) for part in (found["top"], found["bottom"] or "1"))
    if not bottom:
        return None
    value = Fraction(found["whole"] or 0) + top / bottom
    if found["percent"]:
        value /= 100
    return -value if found["sign"] == "-" else value


def _verdict(right: bool, answer: str, gold: str) -> Score:
    return Score(value=float(right), why="" if right else f"{answer.strip()[:40]!r} is not {gold.strip()[:40]!r}")


def number(answer: str, gold: str) -> Score:
    """Equal as exact rational numbers. What is read as a number: see `parse_number`."""
    want = parse_number(gold)
    if want is None:
        return Score.cannot_tell(f"the gold {gold[:40]!r} is no number")
    have = parse_number(answer)
    if have is None:
        return Score(value=0.0, why=f"{answer[:40]!r} is no number")
    return _verdict(have == want, answer, gold)


LETTER = re.compile(r"[(\[]?([A-Za-z])[)\].:]?")
LETTER_AND_TEXT = re.compile(r"(?:[(\[]([A-Z])[)\]]|([A-Z])[).:])\s*(.+)", re.DOTALL)


def parse_choice(text: str) -> str | None:
    """The letter of one option: `B`, `b`, `(B)`, `B.`, or `B) its text` where no other letter stands alone."""
    text = unwrap(plain(text))
    if found := LETTER.fullmatch(text):
        return found[1].upper()
    found = LETTER_AND_TEXT.fullmatch(text)
    if not found or re.search(r"(?<![A-Za-z])[A-Z](?![A-Za-z])", found[3]):
        return None
    return found[1] or found[2]


def choice(answer: str, gold: str) -> Score:
    """The same option letter."""
    want = parse_choice(gold)
    if want is None:
        return Score.cannot_tell(f"the gold {gold[:40]!r} is no option letter")
    have = parse_choice(answer)
    if have is None:
        return Score(value=0.0, why=f"{answer[:40]!r} is not one option letter")
    return _verdict(have == want, have, want)


def parse_text(text: str) -> str:
    """Unicode NFKC, case folded, one space for any whitespace, no trailing full stop."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.removesuffix(".").removesuffix("。").rstrip()


def text(answer: str, gold: str) -> Score:
    """The same text, as `parse_text` reads it."""
    want, have = parse_text(gold), parse_text(answer)
    if not want:
        return Score.cannot_tell("the gold is empty")
    return _verdict(have == want, answer, gold)


_math = Pool("move37.rewards.mathematics:judge", memory_mb=MATH_MEMORY_MB, size=2)


def math(answer: str, gold: str) -> Score:
    """Equal as mathematics, by math-verify in a killable process of its own; two plain numbers are compared exactly.

    Works in any thread. What takes longer than MATH_LIMIT_S or more than MATH_MEMORY_MB, and what the size guard of
    `rewards.mathematics` refuses to evaluate, gives CANNOT_TELL. Where math-verify says "equal" of two constants or two
    equations, that is checked again more exactly (see `mathematics.confirm`).

    Raises:
        RewardError: math-verify is not installed or its process does not start.
    """
    want, have = parse_number(gold), parse_number(answer)
    if want is not None and have is not None:
        return number(answer, gold)
    if not gold.strip() or len(gold) > LONGEST_FORMULA:
        return Score.cannot_tell(f"the gold is {'too long' if gold.strip() else 'empty'}")
    if not answer.strip() or len(answer) > LONGEST_FORMULA:
        return Score(value=0.0, why=f"the answer is {'too long' if answer.strip() else 'empty'}")
    [outcome] = _math.run([(answer, gold)], MATH_LIMIT_S)
    if outcome.kind != "ok":
        return Score.cannot_tell(f"the mathematics verifier {outcome.told()}")
    right, why = outcome.value
    return Score.cannot_tell(why) if right is None else Score(value=float(right), why=why)


Pairs = Sequence[tuple[str, str]]  # (answer, gold)


def one_by_one(verify: Callable[[str, str], Score]) -> Callable[[Pairs], list[Score]]:
    return lambda pairs: [verify(answer, gold) for answer, gold in pairs]


# name -> one score per (answer, gold), in order
VERIFIERS: dict[str, Callable[[Pairs], list[Score]]] = {
    "number": one_by_one(number),
    "choice": one_by_one(choice),
    "text": one_by_one(text),
    "math": one_by_one(math),
}
