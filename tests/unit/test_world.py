"""The tiny world: solutions that are right, checks that see errors, documents in the shares the recipe asks for."""

from __future__ import annotations

import dataclasses
import json
import random
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from move37 import tasks
from move37.errors import RecipeError, TaskError
from move37.models import folder
from move37.rewards.form import split
from move37.rewards.reading import READINGS
from move37.rewards.style import BEHAVIOURS, behaviours
from move37.sections import FamilyTask, GymTask
from move37.tasks.base import Task
from move37.tasks.curriculum import Curriculum
from move37.templates import R1_ZERO
from move37.types import Verdict
from move37.world import documents
from move37.world.demonstrations import demonstrate
from move37.world.documents import document, solution
from move37.world.solutions import CHECKERS, SOLVERS, read_equation, search_countdown
from move37.world.speech import WORDS
from move37.world.thoughts import worked
from move37.world.tokenizer import EOS, PAD, TAGS, train_tokenizer

INDEX = st.integers(0, 10**6)
DRAWN = settings(max_examples=60, deadline=None)
SOURCES = sorted(SOLVERS)


@cache
def by_source() -> dict[str, Task]:
    """A task for every kind of problem the world can solve."""
    legs = {"min_animals": 1, "max_animals": 4, "min_instances": 1, "max_instances": 9}
    equations = {"min_terms": 2, "max_terms": 3, "operators": ["+", "-", "*"], "operators_weights": [0.4, 0.4, 0.2]}
    gym = {
        "leg_counting": GymTask(reasoning_gym="leg_counting", config=legs),
        "simple_equations": GymTask(reasoning_gym="simple_equations", config=equations),
    }
    return {**tiny.families(), **tasks.load_all(gym, 0, Path())}


def known(name: str) -> dict[str, Task]:
    return {name: by_source()[name]}


# --------------------------------------------------------------------------------------------------------- solutions


@pytest.mark.parametrize("source", SOURCES)
@given(index=INDEX)
@DRAWN
def test_a_worked_solution_without_slips_is_right(source: str, index: int) -> None:
    task = by_source()[source]
    problem = task.problem(index, "train")
    lines, result = SOLVERS[source](problem.meta, random.Random(index), 0.0)
    assert task.verify(result, problem).value == 1, (problem, lines)
    assert result == problem.answer
    assert all(line == line.strip() and line for line in lines)


@pytest.mark.parametrize("source", SOURCES)
@given(index=INDEX)
@DRAWN
def test_every_line_of_a_solution_is_true(source: str, index: int) -> None:
    """a=b wherever both sides are arithmetic; lines that begin with = go on from the line before."""
    problem = by_source()[source].problem(index, "train")
    lines, _ = SOLVERS[source](problem.meta, random.Random(index), 0.0)
    last = None
    for line in lines:
        line = line.split(" ")[-1]  # "sea slug 3*0=0"
        left, equals, right = line.partition("=")
        value = value_of(right or left)
        expected = value_of(left) if equals and left else last if equals else value
        assert value == expected, (line, lines)
        last = value


def value_of(text: str) -> int:
    assert set(text) <= set("0123456789+-*/()"), text
    value = eval(text)
    assert value == int(value), text
    return int(value)


@pytest.mark.parametrize("source", SOURCES)
@given(index=INDEX, off=st.integers(-30, 30))
@DRAWN
def test_a_check_agrees_with_the_right_result_alone(source: str, index: int, off: int) -> None:
    problem = by_source()[source].problem(index, "train")
    lines, agrees = CHECKERS[source](problem.meta, str(int(problem.answer) + off))
    assert agrees == (off == 0), (problem, lines)
    assert lines


@pytest.mark.parametrize("source", SOURCES)
def test_slips_make_errors_that_a_check_sees(source: str) -> None:
    task = by_source()[source]
    wrong = 0
    for index in range(60):
        problem = task.problem(index, "train")
        _, result = SOLVERS[source](problem.meta, random.Random(index), 0.4)
        _, agrees = CHECKERS[source](problem.meta, result)
        assert agrees == (result == problem.answer)
        wrong += not agrees
    assert wrong >= 15


@pytest.mark.parametrize("source", [*SOURCES, "countdown"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_long_thoughts_end_right_and_show_all_behaviours(source: str, language: str) -> None:
    """Each in a tenth of them or more; some are taken back once, the others are looked at and stand."""
    task = by_source()[source]
    shown: Counter[str] = Counter()
    for index in range(60):
        problem = task.problem(index, "train")
        problem = dataclasses.replace(problem, meta={**problem.meta, "language": language})
        thought, reply = demonstrate(task, problem, random.Random(index), thoughts="long")
        final = READINGS["tags"]("", f"<think>{thought}</think><answer>{reply}</answer>").final
        assert task.verify(final, problem).verdict is Verdict.RIGHT, (problem, thought)
        shown.update(name for name, times in behaviours(thought).items() if times)
    assert set(shown) == set(BEHAVIOURS) and min(shown.values()) >= 6, shown


def test_a_thought_that_is_taken_back_was_wrong() -> None:
    task, retry = by_source()["word"], WORDS["en"]["retry"]
    taken_back = 0
    for index in range(60):
        problem = task.problem(index, "train")
        lines, answer = worked(problem, "word", "en", random.Random(index))
        ends = [line.rpartition("=")[2] for line in lines if "=" in line]
        if retry in lines:
            claimed = lines[lines.index(WORDS["en"]["check"]) - 1].rpartition("=")[2]
            assert claimed != answer and ends[-1] == answer
            taken_back += 1
    assert 6 <= taken_back <= 36


def test_nobody_thinks_at_length_about_a_greeting() -> None:
    task = tasks.load_all({"greet": FamilyTask(family="greet")}, 0, Path())["greet"]
    with pytest.raises(TaskError, match="thoughts=short"):
        demonstrate(task, task.problem(0, "train"), random.Random(0), thoughts="long")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8*t + 12 = 44", (8, 12, 44)),
        ("9 - 15*e = -186", (-15, 9, -186)),
        ("-3*x - 4 = -19", (-3, -4, -19)),
        ("5 + y = 7", (1, 5, 7)),
        ("7 - y = 2", (-1, 7, 2)),
        ("2*x + 3 - 1 = 8", (2, 2, 8)),
    ],
)
def test_equations_are_read(text: str, expected: tuple[int, int, int]) -> None:
    assert read_equation(text) == expected


# --------------------------------------------------------------------------------------------------------- countdown


def test_countdown_search_mostly_ends_on_a_right_expression() -> None:
    """And what it says of each try is true."""
    task = tiny.families()["countdown"]
    right = {2: 0, 12: 0}
    for index in range(200):
        problem = task.problem(index, "train")
        for patience in right:
            lines, answer = search_countdown(problem.meta, random.Random(index), "wrong", patience)
            assert 1 <= len(lines) <= patience
            tried = [line.removesuffix(" wrong").partition("=") for line in lines]
            for line, (text, _, value) in zip(lines, tried, strict=True):
                assert value_of(text) == int(value)
                assert line.endswith("wrong") == (int(value) != problem.meta["target"])
            assert len({value for _, _, value in tried}) == len(tried)  # no value is tried twice
            assert answer == tried[-1][0]
            right[patience] += task.verify(answer, problem).value == 1
    assert right[12] > 150  # of 200
    assert 30 < right[2] < right[12]


def test_countdown_answers_that_are_not_right() -> None:
    task = tiny.families()["countdown"]
    problem = task.problem(0, "train")
    numbers, target = problem.meta["numbers"], problem.meta["target"]
    assert task.verify(problem.answer, problem).value == 1
    for answer in ("", str(target), f"{target}+0", f"{problem.answer}+0", "+".join(map(str, numbers * 2)), "abc", "1+"):
        assert task.verify(answer, problem).value == 0, answer


# --------------------------------------------------------------------------------------------------------- documents


def kinds_of(
    monkeypatch: pytest.MonkeyPatch, mixture: documents.Mixture, n: int
) -> tuple[list[str], list[tuple[str, str]]]:
    """The first n documents; kind and source of each."""
    kinds: list[tuple[str, str]] = []

    def watched(problem, kind, *rest):
        kinds.append((kind, problem.meta["source"]))
        return solution(problem, kind, *rest)

    monkeypatch.setattr(documents, "solution", watched)
    return [document(list(by_source().values()), mixture, 0, i) for i in range(n)], kinds


def in_template(text: str) -> bool:
    return text.startswith(R1_ZERO.split("{question}")[0])


def test_documents_depend_on_seed_and_index_alone() -> None:
    members = list(by_source().values())
    once = [document(members, tiny.mixture(), 3, i) for i in range(40)]
    again = [document(members, tiny.mixture(), 3, i) for i in reversed(range(40))]
    assert again == once[::-1]
    assert len(set(once)) == 40
    assert not set(once) & {document(members, tiny.mixture(), 4, i) for i in range(40)}


def test_shares_are_those_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within four standard errors."""
    n = 1500
    ordinary = {"direct": 0.5, "worked": 0.3, "checked": 0.15, "corrected": 0.05}
    template = {"direct": 0.8, "worked": 0.1, "checked": 0.1}
    wanted = tiny.mixture(ordinary=ordinary, template=template, template_share=0.3)
    texts, kinds = kinds_of(monkeypatch, wanted, n)
    inside = [in_template(text) for text in texts]
    assert sum(inside) / n == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / n) ** 0.5)
    for shares, where in ((ordinary, False), (template, True)):
        found = Counter(kind for (kind, _), at in zip(kinds, inside, strict=True) if at == where)
        assert set(found) == set(shares)
        for kind, share in shares.items():
            total = found.total()
            assert found[kind] / total == pytest.approx(share, abs=4 * (share * (1 - share) / total) ** 0.5)


def test_what_the_kinds_look_like(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, kinds = kinds_of(monkeypatch, tiny.mixture(template_share=0.0, mixed=0.0), 400)
    for text, (kind, source) in zip(texts, kinds, strict=True):
        checks = any(word in text for word in ("Check:", "检查:"))
        retries = any(word in text for word in ("Retry:", "重试:"))
        if kind in ("direct", "worked"):
            assert not checks and not retries
        if kind in ("checked", "corrected"):
            assert checks == (source != "countdown")  # there a search is its own check
        assert not retries or checks
    assert any("Wait, that is wrong. Retry:" in text for text in texts)
    assert any("等等,错了。重试:" in text for text in texts)


def test_template_documents_mostly_keep_the_form() -> None:
    mixture = tiny.mixture(template_share=1.0)
    texts = [document(list(by_source().values()), mixture, 0, i) for i in range(300)]
    assert all(in_template(text) for text in texts)
    kept = sum(split("", text.rpartition("Assistant:")[2]).ok for text in texts)
    assert kept / 300 == pytest.approx(0.9, abs=4 * (0.9 * 0.1 / 300) ** 0.5)


@pytest.mark.parametrize("source", [*SOURCES, "countdown"])
def test_held_out_problems_are_in_no_document_and_no_training_draw(source: str) -> None:
    members = known(source)
    (task,) = members.values()
    held_out = task.held_out_problems(60)
    assert len({p.id for p in held_out}) == len(held_out) >= 20
    asked = {p.question for p in held_out}
    for i in range(300):
        text = document([task], tiny.mixture(), 0, i)
        assert not any(question in text for question in asked)
    curriculum = Curriculum(members, seed=0)
    drawn = [p for step in range(30) for p in curriculum.draw(step, 10)]
    assert not {p.id for p in drawn} & {p.id for p in held_out}
    assert not {p.question for p in drawn} & asked


# --------------------------------------------------------------------------------------------------------- tokenizer


def test_the_tokenizer_has_single_digits_and_tags_and_loses_nothing() -> None:
    words = tiny.tokenizer()
    assert len(words) == tiny.VOCABULARY
    assert words.tokenize("1024") == ["1", "0", "2", "4"]
    for tag in (*TAGS, EOS, PAD):
        assert len(words.encode(tag)) == 1
    for text in ("<think>12+7=19</think><answer>19</answer>", "小明有3个苹果。", "naïve 🙂\ttab\n\nlines  spaces "):
        assert words.decode(words.encode(text)) == text
    assert (words.eos_token, words.pad_token) == (EOS, PAD)


def test_the_same_texts_give_the_same_tokenizer() -> None:
    texts = [document(list(tiny.families().values()), tiny.mixture(), 0, i) for i in range(60)]
    one, two = (train_tokenizer(texts, 290) for _ in range(2))
    assert one.get_vocab() == two.get_vocab()
    assert one.encode(texts[0]) == two.encode(texts[0])


def test_pretraining_with_the_tokenizer_of_the_recipes_model(tmp_path: Path) -> None:
    """A student that is to share its teacher's tokens has the same files and as many logits."""
    folder.save(tiny.loaded(), tmp_path / "model")
    student = {**tiny.PRETRAIN, "vocabulary": "model", "steps": 1}
    log = tiny.run(tmp_path, tiny.recipe({"student": student}, model="model")).log("student")
    assert (log.final / "tokenizer.json").read_text() == (tmp_path / "model" / "tokenizer.json").read_text()
    assert json.loads((log.final / "config.json").read_text())["vocab_size"] == tiny.VOCABULARY
    assert log.lineage["recipe"]["model"] == "model"  # another model makes another student


def test_a_vocabulary_is_a_number_or_the_models() -> None:
    for vocabulary, told in (("modle", "`model`"), (100, "at least 262"), ("model", "the recipe names no model")):
        with pytest.raises(RecipeError, match=told) as raised:
            tiny.recipe({"base": {**tiny.PRETRAIN, "vocabulary": vocabulary}})
        assert "stages.base.vocabulary" in str(raised.value)
