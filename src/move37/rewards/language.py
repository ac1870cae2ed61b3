"""Which language words are in: exact counts by script, and a library where a script serves several languages.

A word is a run of two letters or more of one script; a Chinese character, a kana or a Thai letter counts as one word.
Left out of every count: code, formulas, LaTeX commands, tags, addresses, numbers, single letters, names that touch a digit
or an operator (`sin(`, `x_1`, `2ab`), common units and functions, and up to four capitals (`ABC`, `GCD`).

A script that one language writes tells it (Han without kana: Chinese). Latin, Cyrillic, Arabic and Devanagari text is told
by py3langid, sentence by sentence, among the languages of that script; see `consistency` for what it may decide.
Measured: docs/rewards.md, `python benchmarks/language.py`.

Example:
    >>> identify("Das ist die richtige Antwort auf diese Frage.").code
    'de'
"""

from __future__ import annotations

import copy
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

# script -> its languages; the first of one that stands alone is the script's
LANGUAGES: dict[str, tuple[str, ...]] = {
    "latin": (
        *("en", "de", "fr", "es", "it", "pt", "nl", "pl", "cs", "sk", "hr", "hu", "ro", "sv", "da", "no", "fi", "et"),
        *("lv", "lt", "sl", "tr", "vi", "id", "ca", "sw", "tl", "sq"),
    ),
    "cyrillic": ("ru", "uk", "bg", "sr", "mk", "be", "kk"),
    "arabic": ("ar", "fa", "ur"),
    "devanagari": ("hi", "mr", "ne"),
    "han": ("zh",),
    "kana": ("ja",),
    "hangul": ("ko",),
    "greek": ("el",),
    "hebrew": ("he",),
    "thai": ("th",),
    "bengali": ("bn",),
    "gurmukhi": ("pa",),
    "gujarati": ("gu",),
    "tamil": ("ta",),
    "telugu": ("te",),
    "kannada": ("kn",),
    "malayalam": ("ml",),
    "georgian": ("ka",),
    "armenian": ("hy",),
}
SCRIPTS = {code: script for script, codes in LANGUAGES.items() for code in codes}
LETTERS = 30  # of a script: sentences are joined until they have so many, fewer tell too little
SURE = 0.6  # another language's share of the probability, above which a sentence is taken for it
ENOUGH = 2000  # characters of a text that tell its language

LEFT_OUT = re.compile(
    r"```.*?(?:```|\Z)"  # code
    r"|`[^`\n]*`"
    r"|\$\$.*?\$\$|\$[^$\n]*\$"  # formulas; those below end before the next one begins: nothing is read twice
    r"|\\\((?:[^\\]|\\[^(])*?\\\)|\\\[(?:[^\\]|\\[^\[])*?\\\]"
    r"|\\begin\{(\w+\*?)\}(?:[^\\]|\\(?!begin\{))*?\\end\{\1\}|\\(?:begin|end)\{\w*\*?\}"
    r"|\\[A-Za-z]+"  # LaTeX commands
    r"|</?[a-z]+>"  # tags
    r"|https?://\S+",
    re.DOTALL,
)
NAMES = (
    "sin|cos|tan|cot|sec|csc|log|ln|exp|lim|max|min|mod|gcd|lcm|det|dim|deg|arg|sup|inf"
    "|mm|cm|dm|km|mg|kg|ml|kw|hz|kb|mb|gb"
)
LATIN = "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"
CYRILLIC = "\u0400-\u0481\u048a-\u052f"
TOUCHING = r"0-9_=+*/^<>|\\"
ALONE = {
    "han": r"[\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]",
    "kana": r"[\u3041-\u309f\u30a1-\u30ff]",
    "hangul": r"[\u1100-\u11ff\uac00-\ud7a3]+",
    "greek": r"[\u0370-\u03ff\u1f00-\u1fff]{3,}",  # fewer are a formula
    "hebrew": r"[\u05d0-\u05f2]{2,}",
    "thai": r"[\u0e01-\u0e2e\u0e40-\u0e44]",
    "bengali": r"[\u0980-\u09ff]{2,}",
    "gurmukhi": r"[\u0a00-\u0a7f]{2,}",
    "gujarati": r"[\u0a80-\u0aff]{2,}",
    "tamil": r"[\u0b80-\u0bff]{2,}",
    "telugu": r"[\u0c00-\u0c7f]{2,}",
    "kannada": r"[\u0c80-\u0cff]{2,}",
    "malayalam": r"[\u0d00-\u0d7f]{2,}",
    "georgian": r"[\u10a0-\u10ff]{2,}",
    "armenian": r"[\u0530-\u058f]{2,}",
}
WORDS = {
    "latin": re.compile(
        rf"(?<![{LATIN}{TOUCHING}])(?!(?:{NAMES}|[A-Z]{{2,4}})(?![{LATIN}]))[{LATIN}]{{2,}}(?![{LATIN}{TOUCHING}(])"
    ),
    "cyrillic": re.compile(rf"(?<![{CYRILLIC}{TOUCHING}])[{CYRILLIC}]{{2,}}(?![{CYRILLIC}{TOUCHING}])"),
    "arabic": re.compile(r"[\u0620-\u065f\u0670-\u06d3\u06fa-\u06ff\u0750-\u077f\u200c]{2,}"),
    "devanagari": re.compile(r"[\u0900-\u0963\u0971-\u097f]{2,}"),
    **{script: re.compile(pattern) for script, pattern in ALONE.items()},
}
SENTENCE = re.compile(r"(?<=[.!?;:])\s+|[。！？；।؟\n]+")

# Frequent words of a language that are no words of another one here: a sentence with two of them and none of the others'
# needs no library. They decide nothing that the library would decide otherwise (tests/unit/test_language.py).
FREQUENT: dict[str, frozenset[str]] = {
    code: frozenset(words.split())
    for code, words in {
        "en": "the of and that this with are from which have there then since because where what gives their would you "
        "they has when these those been than if let we can our need find number first equation equals it is to",
        "de": "der das und ist nicht eine einen einem wir auch aber wenn oder durch wird werden sind sich dass mit für von",
        "fr": "les des une est dans nous avec qui vous cette aux donc mais avons pour sont être ainsi deux alors",
        "es": "el los las una por con como para entonces pero más está esta también tenemos cuando",
        "it": "il gli della che sono di perché quindi anche questo nella alla più abbiamo allora",
        "pt": "não uma também então os dos pelo pela temos isso são é",
    }.items()
}


@dataclass(frozen=True, slots=True)
class Finding:
    """The language of a text; `confidence` is 1 where the script alone tells it, else the library's probability."""

    code: str
    confidence: float
    words: int  # of that language's script


def plain(text: str) -> str:
    """The text that is counted: composed letters, without code and formulas."""
    return LEFT_OUT.sub(" ", text if text.isascii() else unicodedata.normalize("NFC", text))


def identify(text: str) -> Finding | None:
    """The language most words of a text are in; None where no word is left. A tie is the script that comes first.

    Japanese writes Han and kana: a fifth as much kana as Han, or more, makes both Japanese.
    """
    text = plain(text)
    found = {script: pattern.findall(text) for script, pattern in _present(text)}
    if 5 * len(found.get("kana", ())) >= len(found.get("han", ())):
        found["kana"] = [*found.get("kana", ()), *found.pop("han", ())]
    words = {script: mine for script, mine in found.items() if mine}
    if not words:
        return None
    script = max(words, key=lambda s: (len(words[s]), -WORDS[s].search(text).start()))
    if len(LANGUAGES[script]) == 1:
        return Finding(LANGUAGES[script][0], 1.0, len(words[script]))
    code, confidence = classify(script, " ".join(words[script])[:ENOUGH])
    return Finding(code, confidence, len(words[script]))


def consistency(text: str, target: str) -> Counter[str]:
    """Words of a text by language, as a language reward counts them.

    Words of other scripts than the target's are of another language, always. Where the target's script serves several
    languages, sentences are joined until they have LETTERS letters of it, and the words of each such unit are the
    target's unless the library is SURE of another language: what it doubts counts for the target. A unit is credited
    as a whole, so a few foreign words of the same script inside a sentence do not show.

    Returns:
        Counts by language code; a script of several languages that is not the target's counts under its own name.
    """
    text = plain(text)
    script = SCRIPTS[target]
    counts: Counter[str] = Counter()
    for other, pattern in _present(text):
        if other == script and len(LANGUAGES[script]) > 1:
            for unit in _units(text, pattern):
                counts[_language(script, target, " ".join(unit)[:ENOUGH])] += len(unit)
        else:
            name = LANGUAGES[other][0] if len(LANGUAGES[other]) == 1 else other
            counts[name] += len(pattern.findall(text))
    if target == "ja" or 5 * counts["ja"] >= counts["zh"] > 0 < counts["ja"]:
        counts["ja"] += counts.pop("zh", 0)
    return +counts


def _present(text: str) -> Iterator[tuple[str, re.Pattern[str]]]:
    """The scripts worth looking for."""
    yield "latin", WORDS["latin"]
    if not text.isascii():
        yield from ((script, pattern) for script, pattern in WORDS.items() if script != "latin" and pattern.search(text))


def _units(text: str, pattern: re.Pattern[str]) -> Iterator[list[str]]:
    """Words of whole sentences, at least LETTERS letters of them; what is left at the end joins the last unit."""
    unit: list[str] = []
    ready: list[str] = []
    letters = 0
    for sentence in SENTENCE.split(text):
        words = pattern.findall(sentence)
        unit += words
        letters += sum(map(len, words))
        if letters >= LETTERS:
            if ready:
                yield ready
            ready, unit, letters = unit, [], 0
    if ready or unit:
        yield ready + unit


def _language(script: str, target: str, unit: str) -> str:
    """The target, or another language where the library is sure of it."""
    if plainly(target, unit):
        return target
    code, confidence = classify(script, unit)
    return code if confidence >= SURE else target


def plainly(target: str, unit: str) -> bool:
    """Whether frequent words alone tell that the unit is in the target: it saves most calls of the library."""
    if target not in FREQUENT:
        return False
    words = set(unit.lower().split())
    if len(words & FREQUENT[target]) < 2:
        return False
    return not any(words & frequent for code, frequent in FREQUENT.items() if code != target)


@lru_cache(maxsize=1 << 16)
def classify(script: str, words: str) -> tuple[str, float]:
    """The library's word on text of a script that several languages write: code, probability."""
    return _identifier(script).classify(words)


@cache
def _identifier(script: str) -> LanguageIdentifier:
    """The library's model for the languages of one script; the whole model is loaded once (a few seconds)."""
    mine = copy.copy(_model())
    mine.set_languages(LANGUAGES[script])
    return mine


@cache
def _model() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # here: most runs never need it

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
