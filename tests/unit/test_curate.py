"""What becomes of a problem, how a guess is read, and how what is left is balanced."""

from __future__ import annotations

import math
from collections import Counter

import pytest

import tiny
from move37.errors import RecipeError
from move37.rollout.prompt import Prompter
from move37.stages.curate import capped, counted, difficulty, said, tagged


def row(problem: str, fate: str = "kept", task: str = "a", rate: float | None = 0.5) -> dict:
    return {"problem": problem, "fate": fate, "task": task, "domain": "reasoning", "pass_rate": rate, "tokens": 10.0}


@pytest.mark.parametrize(
    ("rate", "trivial", "hopeless", "fate"),
    [
        (1.0, 1.0, None, "trivial"),
        (0.9, 1.0, None, "kept"),
        (0.9, 0.9, None, "trivial"),
        (0.0, 1.0, None, "kept"),
        (0.0, 1.0, 0.0, "hopeless"),
        (0.1, 1.0, 0.0, "kept"),
        (math.nan, 1.0, 0.0, "cannot_tell"),
    ],
)
def test_difficulty(rate: float, trivial: float, hopeless: float | None, fate: str) -> None:
    assert difficulty(rate, trivial, hopeless) == fate


@pytest.mark.parametrize(
    ("reading", "opening", "text", "answer"),
    [
        ("tags", "<think></think><answer>", "14</answer>", "14"),
        ("tags", "</think><answer>", " 14 ", "14"),
        ("tags", "<think></think><answer>", "</answer>", None),
        ("tags", "<think></think><answer>", "14<think>7+7</think>", "14"),  # a thought that comes later is none
        ("box", "</think>The answer is \\boxed{", "14}. Because", "14"),
        ("box", "The answer is \\boxed{", "14", None),  # never closed
        ("text", "The answer is", " 14.\nBecause 7+7=14.", "14"),
    ],
)
def test_how_a_guess_is_read(reading: str, opening: str, text: str, answer: str | None) -> None:
    assert said(reading, opening, text) == answer


def test_at_most_so_many_of_a_tag() -> None:
    rows = [row(f"a{i}") for i in range(9)] + [row(f"b{i}", task="b") for i in range(2)]
    kept = capped(rows, "task", 3, seed=1)
    assert Counter(r["task"] for r in kept) == {"a": 3, "b": 2}
    assert [r["problem"] for r in kept] == sorted(r["problem"] for r in kept)  # in the order they had
    assert capped(rows, "task", 3, seed=1) == kept != capped(rows, "task", 3, seed=2)
    assert capped(rows, "task", None, seed=1) == rows


def test_at_most_so_many_of_a_difficulty() -> None:
    """Of tenths: 0.1 + 0.2 and 0.3 are one, and so are 0.26 and 0.34."""
    rates = (0.0, 0.04, 0.1 + 0.2, 0.3, 0.26, 0.34, 0.9)
    rows = [row(str(i), rate=rate) for i, rate in enumerate(rates)]
    kept = capped(rows, "pass_rate", 2, seed=1)
    assert Counter(tagged(r, "pass_rate") for r in kept) == {"0.0": 2, "0.3": 2, "0.9": 1}
    assert counted(kept, "pass_rate")["tags"] == {"0.0": 2, "0.3": 2, "0.9": 1}


def test_statistics() -> None:
    rows = [row("1"), row("2", "trivial", rate=1.0), row("3", "proof", rate=None)]
    rows += [row("4", "trivial", "b", 1.0), row("5", task="b")]
    told = counted(rows, "task")
    assert (told["asked"], told["kept"], told["dropped"]) == (5, 2, {"proof": 1, "trivial": 2})
    assert told["tasks"] == {"a": {"asked": 3, "kept": 1, "proof": 1, "trivial": 1}, "b": {"asked": 2, "kept": 1, "trivial": 1}}
    assert told["tags"] == {"a": 1, "b": 1}
    assert told["pass_rates"] == {"asked": {"0.5": 2, "1.0": 2}, "kept": {"0.5": 2}}


def test_a_prompt_that_opens_the_answer() -> None:
    """Template and chat: what is opened stands at the end of the prompt, and is part of the response."""
    words = tiny.tokenizer()
    plain = Prompter(words, tiny.SHORT, "")
    opened = plain.opened("<think></think><answer>")
    assert opened.render("1+1?") == plain.render("1+1?") + opened.prefill and opened.prefill == "<think></think><answer>"
    begun = Prompter(words, "{question}<think>", "<think>").opened("</think><answer>")
    assert begun.render("1+1?") == "1+1?<think></think><answer>" and begun.prefill == "<think></think><answer>"
    assert words.decode(begun.encode("1+1?")).endswith("<think></think><answer>")


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"hopeless": 0.5, "trivial": 0.5}, "hopeless=0.5 is not below trivial=0.5"),
        ({"leave_out": ["riddle"]}, "leave_out"),
        ({"trivial": 0}, "trivial"),
    ],
)
def test_refused_when_the_recipe_is_read(section: dict, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        tiny.recipe({"curated": {"stage": "curate", "prompts": 4, **section}}, model="bundled")
