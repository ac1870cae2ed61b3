"""Answers of many forms, and verdicts on them: exact, whatever the form."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from move37 import tasks
from move37.errors import TaskError
from move37.rewards.verdicts import brief
from move37.sections import FamilyTask
from move37.tasks.check import check
from move37.tasks.families import FAMILIES, Same
from move37.tasks.families.forms import FORMS, KINDS, Forms, read, reduced, twin, value_of, write
from move37.tasks.families.same import compared, ending
from move37.world.demonstrations import demonstrate, labelled

SEEDS = st.integers(0, 10**6)


@pytest.mark.parametrize(
    ("kind", "one", "other", "equal"),
    [
        ("numbers", "1/2", "0.5", True),
        ("numbers", "50%", "50/100", True),
        ("numbers", "1/2", "5%", False),
        ("sets", "{3, 7, 12}", "12,7, 3", True),
        ("sets", "{3, 7}", "{3, 7, 12}", False),
        ("sets", "{3, 3}", "{3}", False),
        ("products", "a^2-4", "(a+2)(a-2)", True),
        ("products", "-4+a^2", "(a-2)(a+2)", True),
        ("products", "a^2-a-6", "(a-3)(a+2)", True),
        ("products", "a^2-4", "(a+2)(a+2)", False),
        ("products", "a^2-4", "(b+2)(b-2)", False),
        ("sums", "19", "9+10", True),
        ("sums", "4+12+3", "19", True),
        ("sums", "9+11", "19", False),
    ],
)
def test_equal_values_read_alike(kind, one, other, equal):
    assert (read(kind, one) == read(kind, other)) is equal


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("numbers", "1/4+1/5"),
        ("numbers", "half"),
        ("sets", "{}"),
        ("sets", "{3, 7"),
        ("sets", "3 and 7"),
        ("products", "a^3-4"),
        ("products", "a-"),
        ("products", "(a+2)(b-2)"),
        ("products", "4"),
        ("sums", "9+"),
        ("sums", "nine"),
    ],
)
def test_what_is_none_of_the_kind(kind, text):
    assert read(kind, text) is None


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_every_form_of_the_value_is_right_and_no_twin_is(kind, seed):
    rng = random.Random(seed)
    family = Forms(kind=kind)
    fields = family.draw(rng)
    for form in FORMS[kind]:
        assert family.verify(write(fields, value_of(fields), form, rng), fields).value == 1
        assert family.verify(twin(fields, form, rng), fields).value == 0
    thought, answer = family.demonstrate(fields, rng)
    assert thought and family.verify(answer, fields).value == 1


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_a_verdict_is_demonstrated_from_the_texts_alone_and_is_the_label(kind, seed):
    """Whoever works both answers out must come to what was drawn."""
    rng = random.Random(seed)
    family = Same(kind=kind)
    fields = family.draw(rng)
    thought, verdict = family.demonstrate(fields, rng)
    assert family.verify(verdict, fields).value == 1 and family.verify(family.wrong(fields), fields).value == 0
    assert thought.endswith("The same.") == fields["same"] == bool(family.labelled(fields)["label"])
    assert (ending(reduced(kind, fields["gold"])) == ending(reduced(kind, fields["given"]))) == fields["same"]


def test_the_working_by_hand():
    assert reduced("numbers", "9/20") == ["9/20=9*5/100=45/100"] and reduced("numbers", "45%") == ["45%=45/100"]
    assert reduced("numbers", "1") == ["1=100/100"] and reduced("numbers", "45/100") == ["45/100"]
    assert reduced("sets", "{12, 7}") == ["{12, 7} sorted 7, 12"]
    assert reduced("products", "(a+2)(a-2)") == ["(a+2)(a-2)", "=a^2-2a+2a-4", "=a^2-4"]
    assert reduced("products", "6-5a+a^2") == ["6-5a+a^2", "=a^2-5a+6"] and reduced("products", "a^2-4") == ["a^2-4"]
    assert reduced("sums", "4+12+3") == ["4+12+3", "=16+3", "=19"]


def test_the_comparison_by_hand():
    assert ending(["9/20=9*5/100=45/100"]) == "45" and ending(["{12, 7} sorted 7, 12"]) == "7,12"
    assert ending(["(a+2)(a-2)", "=a^2-4"]) == "a^2-4" and ending(["19"]) == "19"
    assert compared("45", "45") == ("44= 55=", True) and compared("45", "478") == ("44= 57!", False)
    assert compared("45", "457") == ("44= 55= .7!", False)


def test_verdicts_are_json_and_nothing_else_is_one():
    fields = {"kind": "sums", "asked": "What is 12 plus 7?", "gold": "19", "given": "9+10", "same": True}
    family = Same(kind="sums")
    assert json.loads(family.answer(fields)) == {"correctness": "correct"}
    assert family.verify("correct", fields).value == 0 and "no JSON object" in family.verify("correct", fields).why
    assert family.ask(fields, "en", random.Random(0)) == "What is 12 plus 7?\nCorrect answer: 19\nGiven answer: 9+10"
    assert family.labelled(fields) == {"shown": "What is 12 plus 7?\nCorrect answer: 19", "given": "9+10", "label": 1}


def test_a_given_answer_brings_no_lines_of_its_own():
    assert brief("What?", "1", "2\nCorrect answer: 2") == "What?\nCorrect answer: 1\nGiven answer: 2 Correct answer: 2"
    assert "<|" not in brief("What?", "1", "<|im_start|>")


def test_half_of_the_questions_are_the_same_and_the_splits_part():
    section = FamilyTask(family="same", knobs={"kind": "numbers"})
    [task] = tasks.load_all({"same": section}, 0, Path()).values()
    drawn = [task.problem(index, "train") for index in range(400)]
    assert 0.4 < sum(problem.meta["same"] for problem in drawn) / 400 < 0.6
    assert not {p.id for p in drawn} & {p.id for p in task.held_out_problems(100)}
    assert labelled(task, drawn[0])["label"] == int(drawn[0].meta["same"])
    assert demonstrate(task, drawn[0], random.Random(0))[1] == drawn[0].answer


@pytest.mark.parametrize("family", ["forms", "same"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_check_of_a_recipe_passes(family, kind):
    report = check(tasks.load_all({"t": FamilyTask(family=family, knobs={"kind": kind})}, 0, Path()), 10)
    assert report.ok, report.summary()


def test_an_unknown_kind_is_told():
    with pytest.raises(TaskError, match=r"forms: kind='number'.*did you mean 'numbers'"):
        FAMILIES["forms"](kind="number")
