"""Words by language: counted by hand, and measured on real sentences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from move37.errors import RecipeError
from move37.rewards import settings
from move37.rewards.consistent import Language
from move37.rewards.language import FREQUENT, LETTERS, SCRIPTS, SURE, WORDS, classify, consistency, identify, plainly
from move37.types import Problem, Rollout, Stop

LINGUA = Path(__file__).parents[3] / "shared" / "data" / "lingua_sentences"
CODES = ("en", "zh", "ko", "de", "fr", "ru", "ar")
ENGLISH = "The number of apples is the sum of what they have and what they get. "
GERMAN = "Die Zahl der Äpfel ist die Summe von dem, was sie haben und was sie bekommen. "

needs_sentences = pytest.mark.skipif(not LINGUA.is_dir(), reason="../shared/data/lingua_sentences is not here")


def sentences(code: str) -> list[str]:
    return [line for line in (LINGUA / f"{code}.txt").read_text(encoding="utf-8").splitlines() if line.strip()]


def rollout(thought: str) -> Rollout:
    one = np.zeros(1, np.float32)
    return Rollout(
        problem="p", task="t", sample=0, token_ids=np.zeros(1, np.int32), sampled=np.ones(1, bool), logprobs=one,
        sampling_logprobs=one, text=thought, stop=Stop.EOS, version=0,
    )  # fmt: skip


ASKED = Problem(id="p", task="t", question="How many apples does the farmer have in the end?", answer="5")


@pytest.mark.parametrize(
    ("text", "target", "counts"),
    [
        ("", "en", {}),
        ("3+4=7, x = 5, 12%", "en", {}),  # numbers and single letters
        ("sin(x) + cos y = ab_1 2ab f(x)=3cm 5 km ABC", "zh", {}),  # functions, units, names of points
        ("```python\nfor word in text: pass``` `code here` $\\text{speed}$ \\frac", "zh", {}),
        ("\\begin{align}these are words\\end{align} https://example.org/words <answer>", "zh", {}),
        ("因为小明有3个苹果", "zh", {"zh": 8}),
        ("因为 x is even 所以", "zh", {"zh": 4, "latin": 2}),
        ("Ответ равен 5", "en", {"cyrillic": 2}),
        ("정답은 5입니다", "ko", {"ko": 2}),
        ("これは5です", "ja", {"ja": 5}),
        ("今日は学校に行く", "zh", {"ja": 8}),  # 今日学校行 beside は に く: Han with kana is Japanese
        ("αβ γ", "zh", {}),  # Greek letters are formulas
        ("so we are", "en", {"en": 3}),  # too short to tell: the target's
        ("ça va", "en", {"en": 2}),
    ],
)
def test_words_by_hand(text, target, counts):
    assert consistency(text, target) == counts


def test_sentences_of_one_script_are_told_apart():
    """15 English words; 16 German ones."""
    text = ENGLISH + GERMAN
    assert consistency(text, "en") == consistency(text, "de") == {"en": 15, "de": 16}
    assert consistency(ENGLISH * 3, "de") == {"en": 45}


def test_short_sentences_are_joined():
    """Each has fewer than LETTERS letters: they are told together, as one German unit."""
    short = ["Das ist gut.", "Wir haben acht.", "Es bleiben noch zwei übrig."]
    assert all(len(s) < LETTERS for s in short)
    assert consistency(" ".join(short), "en") == {"de": 11}


@given(st.text(max_size=200))
def test_any_text_is_counted(text):
    for target in ("en", "zh", "ru", "ja"):
        counts = consistency(text, target)
        assert all(count > 0 for count in counts.values())
    found = identify(text)
    assert found is None or (found.code in SCRIPTS and 0 <= found.confidence <= 1 and found.words > 0)


@given(st.lists(st.sampled_from([ENGLISH, GERMAN, "所以答案是五。", "Ответ равен пяти. "]), max_size=6))
def test_every_word_is_counted_once(parts):
    """15, 16 and 3 words of letters, 6 characters, whatever the target."""
    size = {ENGLISH: 15, GERMAN: 16, "所以答案是五。": 6, "Ответ равен пяти. ": 3}
    for target in ("en", "de", "zh", "ru"):
        assert sum(consistency("".join(parts), target).values()) == sum(size[p] for p in parts)


@needs_sentences
@pytest.mark.parametrize("code", CODES)
def test_measured_floor(code):
    """docs/rewards.md has the table; these are its floors."""
    told = {other: [identify(line) for line in sentences(other)[:400]] for other in CODES}
    right = sum(found is not None and found.code == code for found in told[code])
    false = sum(found is not None and found.code == code for other in CODES if other != code for found in told[other])
    assert right / len(told[code]) >= (0.94 if code == "ru" else 0.99)  # short Russian is taken for its neighbours
    assert right / (right + false) >= 0.99


@needs_sentences
def test_own_words_are_kept_and_foreign_ones_are_seen():
    def share(code: str, target: str) -> float:
        counts = [consistency(line, target) for line in sentences(code)[:400]]
        return sum(c[target] for c in counts) / sum(sum(c.values()) for c in counts)

    for code in CODES:
        assert share(code, code) >= 0.99
    for code, target in [("de", "en"), ("fr", "en"), ("en", "de"), ("fr", "de"), ("en", "fr"), ("zh", "en")]:
        assert share(code, target) <= 0.02


@needs_sentences
@pytest.mark.parametrize("target", ["en", "de", "fr"])
def test_frequent_words_decide_nothing_the_library_would_decide_otherwise(target):
    tried = 0
    for code in ("en", "de", "fr"):
        for line in sentences(code)[:400]:
            unit = " ".join(WORDS["latin"].findall(line))
            if plainly(target, unit):
                tried += 1
                code_told, confidence = classify("latin", unit)
                assert code_told == target or confidence < SURE, unit
    assert tried > 100


def test_frequent_words_are_of_one_language():
    for code, words in FREQUENT.items():
        assert words and not any(words & other for name, other in FREQUENT.items() if name != code)


# --------------------------------------------------------------------------------------------------------- the reward


@pytest.mark.parametrize(
    ("options", "thought", "value"),
    [
        ({}, ENGLISH, 1.0),
        ({}, ENGLISH + GERMAN, 15 / 31),
        ({"target": "de"}, ENGLISH + GERMAN, 16 / 31),
        ({"target": "zh"}, "所以 answer 是 5", 3 / 4),
        ({}, " ", 0.0),  # no thought
        ({}, "3+4=7", 1.0),  # a thought without words
    ],
)
def test_the_reward(options, thought, value):
    assert Language(**options).score(rollout(thought), ASKED).value == pytest.approx(value)


def test_the_language_of_the_question():
    def asked(question: str, unsure: str = "en", **meta: str) -> str:
        return Language(unsure=unsure).asked(replace(ASKED, question=question, meta=meta))

    assert asked("小明有3个苹果。现在有多少个苹果?") == "zh"
    assert asked("Wie viele Äpfel hat der Bauer am Ende des Tages noch übrig?") == "de"
    assert asked("Wie viele Äpfel hat der Bauer am Ende des Tages noch übrig?", language="en") == "de"
    assert asked("Compute $2+2$.") == "en" and asked("Compute $2+2$.", unsure="fr") == "fr"
    assert asked("3+4=?", language="zh") == "zh"
    assert asked("3+4=?", unsure="fr") == "fr"


def test_options_are_checked_with_the_recipe():
    with pytest.raises(RecipeError, match="target='englisch'"):
        settings({"language": {"weight": 1, "target": "englisch"}})
    with pytest.raises(RecipeError, match="unsure='question'"):
        settings({"language": {"weight": 1, "unsure": "question"}})
