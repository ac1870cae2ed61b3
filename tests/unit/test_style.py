"""Styles and languages are counted, exactly."""

from pathlib import Path

import pytest

from move37.rewards.style import BEHAVIOURS, behaviours, language, read

LINGUA = Path(__file__).parents[3] / "shared" / "data" / "lingua_sentences"


@pytest.mark.parametrize(
    ("text", "kind", "steps", "reflective"),
    [
        ("", "direct", 0, 0),
        ("The answer is 5.", "direct", 0, 0),
        ("Wait, it is 5.", "direct", 0, 1),  # a doubt without any working is no check
        ("2+3=5", "steps", 1, 0),
        ("2+3 = 5\n5-9= -4", "steps", 2, 0),
        ("x = y", "direct", 0, 0),
        ("2+3=6 Wait, WRONG. Retry: 2+3=5", "checked", 2, 3),
        ("2+3=5. Checking unverified await butter errors", "steps", 1, 0),  # whole words only
        ("2+3=6 等等,错误。检查:2+3=5", "checked", 2, 3),  # 等等, 错误 (not also 错), 检查
        ("2+3=6,错了,但是2+3=5不对", "checked", 2, 3),
    ],
)
def test_read(text, kind, steps, reflective):
    style = read(text)
    assert (style.kind, style.steps, style.reflective) == (kind, steps, reflective)


def test_english_words_beside_chinese_ones():
    assert read("2+3=5等等wait检查").reflective == 3


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", None),
        ("2+3=5", None),
        ("x = 3y", None),
        ("$\\text{speed}$ `code here` \\frac", None),
        ("The answer is 5", "en"),
        ("答案是5", "zh"),
        ("So 3+4=7, 然后7+5=12,答案是12", "zh"),  # 1 word against 5 characters: 然后答案是
        ("the total is seven 米", "en"),
        ("これは5です", "other"),
        ("정답은 5입니다", "other"),
        ("Ответ равен пяти", "other"),
        ("<think>答案</think>", "zh"),
        ("apple 米", "en"),  # a tie goes to the first
        ("米 apple", "zh"),
    ],
)
def test_language(text, code):
    assert language(text) == code


@pytest.mark.skipif(not LINGUA.is_dir(), reason="../shared/data/lingua_sentences is not here")
@pytest.mark.parametrize(
    ("name", "code"), [("en", "en"), ("zh", "zh"), ("ko", "other"), ("ru", "other"), ("ar", "other")]
)
def test_language_of_real_sentences(name, code):
    lines = [line for line in (LINGUA / f"{name}.txt").read_text(encoding="utf-8").splitlines() if line.strip()]
    right = sum(language(line) == code for line in lines)
    assert right / len(lines) > 0.98


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", {}),
        ("2+3=5", {}),
        ("2+3=6\nCheck:\n6-3=3\nWait, that is wrong. Retry:\n2+3=5",
         {"evaluation": 1, "reflection": 1, "error_identification": 1, "backtracking": 1}),
        ("2+3=6\n检查:\n6-3=3\n等等,错了。重试:\n2+3=5",
         {"evaluation": 1, "reflection": 1, "error_identification": 1, "backtracking": 1}),
        ("3*4+5=17 wrong\n3*4-5=7", {"exploration": 1, "error_identification": 1}),  # a try that is thrown away
        ("3*4+5=17 错\n3*4-5=7", {"exploration": 1, "error_identification": 1}),
        ("First, add. Alternatively, subtract. More precisely: 5.", {"planning": 1, "exploration": 1, "refinement": 1}),
        ("首先相加。或者换一种方法。简化以后得5。", {"planning": 1, "exploration": 2, "refinement": 1}),
        ("Checkers await a planet; errorless butter, terror and prefixes.", {}),  # whole words only
        ("Let me go back and double-check: it does not make sense, maybe a mistake.",
         {"backtracking": 1, "evaluation": 2, "exploration": 1, "error_identification": 1}),
    ],
)  # fmt: skip
def test_behaviours(text, shown):
    assert {name: times for name, times in behaviours(text).items() if times} == shown
    assert set(behaviours(text)) == set(BEHAVIOURS) and len(BEHAVIOURS) == 7
