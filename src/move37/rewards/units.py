"""Units and signs around a number: what is dropped, and what two answers must agree on.

One table of names, by canonical name. There is no conversion: 1 m is not 100 cm.
"""

from __future__ import annotations

import re

# canonical name -> how it is written, in lower case; "s" for a plural is understood
UNITS: dict[str, tuple[str, ...]] = {
    **{"mm": ("millimeter", "millimetre"), "cm": ("centimeter", "centimetre"), "m": ("meter", "metre")},
    **{"km": ("kilometer", "kilometre"), "in": ("inch", "inches"), "ft": ("foot", "feet"), "yd": ("yard",), "mi": ("mile",)},
    **{"mg": ("milligram",), "g": ("gram",), "kg": ("kilogram",), "lb": ("pound",), "oz": ("ounce",), "ton": ("tonne",)},
    **{"s": ("second", "sec"), "min": ("minute",), "h": ("hour", "hr"), "day": (), "week": (), "month": (), "year": ("yr",)},
    **{"l": ("liter", "litre"), "ml": ("milliliter", "millilitre"), "gallon": ("gal",), "quart": (), "pint": (), "cup": ()},
    **{"mph": ("miles per hour", "mi/h"), "km/h": ("kilometers per hour", "kph"), "m/s": ("meters per second",)},
    **{"ft/s": ("feet per second", "ft/sec"), "cm/s": (), "dollar": ("usd",), "cent": (), "euro": ("eur",), "yuan": ("rmb",)},
    **{"degree": ("deg",), "radian": ("rad",), "unit": (), "square unit": ("sq unit",), "cubic unit": (), "n": ("newton",)},
    **{"j": ("joule",), "w": ("watt",), "v": ("volt",), "hz": ("hertz",), "pa": ("pascal",), "k": ("kelvin",)},
}
POWERS = {"square": "^2", "sq": "^2", "cubic": "^3", "cu": "^3"}
CANONICAL = {form: unit for unit, forms in UNITS.items() for form in (unit, *forms)}
PLAIN_WORD = {form for form in CANONICAL if len(form) > 2}  # a bare "m" or "in" after a number may be a name or a word
LOOKED_AT = 80  # characters at the end: a unit is short, and the patterns below stay quick
SET = re.compile(  # \text{ cm}^2, \mathrm{~km}, \mbox{ inches}
    r"(?P<rest>.*[0-9A-Za-z)}\]!])[~\s]*\\(?:text|mbox|mathrm|textrm|textnormal|textit|rm|hbox)\s*\{[~\s]*"
    r"(?P<words>[A-Za-z][A-Za-z .~/-]*?)[~\s.]*\}\s*(?:\^\s*\{?\s*(?P<power>[23])\s*\}?)?",
    re.DOTALL,
)
BARE = re.compile(
    r"(?P<rest>.*[0-9)}])[~\s]*(?P<words>[A-Za-z][A-Za-z /]*?)\.?\s*"
    r"(?:\^\s*\{?\s*(?P<power>[23])\s*\}?|(?P<raised>[²³]))?",
    re.DOTALL,
)
DEGREES = re.compile(r"(?P<rest>.*[0-9)}A-Za-z])\s*(?:\^\s*\{?\s*\\circ\s*\}?|°|\\degree)", re.DOTALL)
PERCENT = re.compile(r"(?P<rest>.*[0-9)}])\s*(?:\\?%|\\?\s*percent|\\text\s*\{\s*(?:percent|\\?%)\s*\})", re.DOTALL)


def split(text: str) -> tuple[str, str | None]:
    """(what is left, unit): the canonical unit at the end of a text, "" for words in \\text{ } that are none, None.

    A unit in \\text or \\mathrm may be any words; without them it must be in the table and longer than two letters, or
    follow a plain number.
    """
    text = text.strip()
    head, text = text[:-LOOKED_AT], text[-LOOKED_AT:]
    rest, unit = _split(text)
    return head + rest, unit


def _split(text: str) -> tuple[str, str | None]:
    if found := DEGREES.fullmatch(text):
        return found["rest"], "degree"
    if found := SET.fullmatch(text):
        words = " ".join(found["words"].replace("~", " ").lower().split())
        return found["rest"], known(words, found["power"]) or ""
    if found := BARE.fullmatch(text):
        words = " ".join(found["words"].lower().split())
        number = re.fullmatch(r"[\s+\-\\$€£¥]*[0-9][0-9.,/ ]*", found["rest"])
        exact = found["words"].strip()
        if len(words) > 2 and (words in PLAIN_WORD or singular(words) in CANONICAL):
            power = found["power"] or {"²": "2", "³": "3"}.get(found["raised"] or "")
            return found["rest"], known(words, power)
        if number and len(exact) == 2 and exact in CANONICAL and exact not in ("in",):
            power = found["power"] or {"²": "2", "³": "3"}.get(found["raised"] or "")
            return found["rest"], known(words, power)
    return text, None


def known(words: str, power: str | None = None) -> str | None:
    """The canonical unit of some words, with its power; None where it is not in the table."""
    first, _, rest = words.partition(" ")
    if first in POWERS and rest and rest not in ("unit", "units") and not power:
        words, power = rest, POWERS[first][1]
    unit = CANONICAL.get(words) or CANONICAL.get(singular(words))
    return unit and (f"{unit}^{power}" if power else unit)


def singular(words: str) -> str:
    return words.removesuffix("s")


def percent(text: str) -> tuple[str, bool]:
    """Without the percent sign or word at its end, and whether there was one."""
    text = text.strip()
    found = PERCENT.fullmatch(text[-LOOKED_AT:])
    return (text[:-LOOKED_AT] + found["rest"], True) if found else (text, False)
