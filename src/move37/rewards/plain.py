"""Plain answers as they are read: a number, an option letter, a text. Exact, and without any library of mathematics."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from move37.rewards import units

LONGEST_NUMBER = 200  # characters; longer ones are no answers

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
    full stop. Convention: one currency sign before or after the number is dropped, and so is a known unit after it
    (`units.UNITS`); `%` divides by 100, so 10% is 1/10 and not 10. Not read: other words (2 million is not 2), powers of
    ten as `1e9`, two numbers.
    """
    if len(text) > LONGEST_NUMBER:
        return None
    text = unwrap(plain(text))
    value = _number(text)
    if value is None and re.search("[A-Za-z°]", text):
        rest, unit = units.split(text)
        return _number(rest.strip()) if unit else None
    return value


def _number(text: str) -> Fraction | None:
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


def parse_text(text: str) -> str:
    """Unicode NFKC, case folded, one space for any whitespace, no trailing full stop."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.removesuffix(".").removesuffix("。").rstrip()
