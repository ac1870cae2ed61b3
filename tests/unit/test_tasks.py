"""Tasks: splits, ids, determinism; reasoning-gym by name."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from move37.errors import TaskError
from move37.sections import FamilyTask, GymTask
from move37.tasks import load, load_all, problem_id, split_of
from move37.tasks.base import stream
from move37.tasks.gym import unsafe
from move37.types import Verdict

HERE = Path(".")
LEGS = GymTask(reasoning_gym="leg_counting", config={"max_animals": 4})


@given(st.text(), st.floats(0, 1))
def test_split_ignores_white_space_and_grows_with_the_share(question, share):
    spaced = f" {question}\n\t "
    assert split_of(spaced, share) == split_of(question, share)
    if split_of(question, share) == "held_out":
        assert split_of(question, min(1.0, share + 0.1)) == "held_out"


def test_split_shares():
    held_out = sum(split_of(f"question {k}", 0.1) == "held_out" for k in range(5000))
    assert 400 < held_out < 600
    assert split_of("x", 0.0) == "train" and split_of("x", 1.0) == "held_out"


def test_ids():
    assert problem_id("t", "a  b\n") == problem_id("t", "a b") != problem_id("u", "a b")
    assert re.fullmatch("[0-9a-f]{16}", problem_id("t", "a"))
    # the first 8 bytes of the sha256 of "1/2", halved
    assert stream(1, 2) == stream("1", "2") != stream(12)


@pytest.fixture(scope="module")
def legs():
    return load("legs", LEGS, 3, HERE)


def test_gym_problems_are_a_function_of_split_and_index(legs):
    again = load("legs", LEGS, 3, HERE)
    for split in ("train", "held_out"):
        for index in (5, 0, 12345):
            assert again.problem(index, split) == legs.problem(index, split)
            assert split_of(legs.problem(index, split).question, 0.1) == split
    assert legs.problem(0, "train").id != legs.problem(1, "train").id
    other = load("legs", LEGS, 4, HERE)
    assert other.problem(0, "train") != legs.problem(0, "train")
    assert other.problem(0, "held_out") == legs.problem(0, "held_out")  # measured on the same problems


def test_gym_in_another_process(legs):
    """Nothing hangs on the hash seed of a process."""
    code = (
        "from pathlib import Path; from move37.sections import GymTask; from move37.tasks import load\n"
        "t = load('legs', GymTask(reasoning_gym='leg_counting', config={'max_animals': 4}), 3, Path('.'))\n"
        "print(t.problem(7, 'train').id, t.problem(7, 'held_out').id)"
    )
    environment = os.environ | {"PYTHONHASHSEED": "77", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    ).stdout
    assert out.split() == [legs.problem(7, "train").id, legs.problem(7, "held_out").id]


def test_gym_verdicts_and_held_out(legs):
    problem = legs.problem(0, "train")
    assert legs.verify(problem.answer, problem).verdict is Verdict.RIGHT
    assert legs.verify(legs.wrong_answer(problem), problem).verdict is Verdict.WRONG
    assert legs.verify(" ", problem).verdict is Verdict.WRONG
    held_out = legs.held_out_problems(30)
    assert len({p.id for p in held_out}) == 30 and held_out[:10] == legs.held_out_problems(10)
    assert problem.meta["source"] == "leg_counting" and problem.meta["language"] == "en"


def test_gym_partial_marks_are_kept_apart():
    task = load("count", GymTask(reasoning_gym="countdown"), 0, HERE)
    problem = task.problem(0, "train")
    assert task.verify(problem.answer, problem).verdict is Verdict.RIGHT
    score = task.verify("1+1", problem)
    assert score.value == 0.0 and 0 < score.parts["marks"] < 1


def test_gym_never_evaluates_code(tmp_path):
    task = load("count", GymTask(reasoning_gym="countdown"), 0, HERE)
    problem = task.problem(0, "train")
    for attack in (f"open('{tmp_path}/x','w')", "().__class__", "[exit][0]()", "exit()", "(lambda: 1)()", "9**9**9**9"):
        assert task.verify(attack, problem).verdict is not Verdict.RIGHT
    assert not (tmp_path / "x").exists()
    assert task.verify(problem.answer, problem).verdict is Verdict.RIGHT  # and it still works


@pytest.mark.parametrize("answer", ["3*x**2 + sin(x)", "[['Q', '_'], ['_', 'Q']]", "-7/2", "exp(-x) + C", "1 2 3"])
def test_formulas_and_lists_are_safe(answer):
    assert not unsafe(answer)


@pytest.mark.parametrize(
    "answer", ["__import__", "open('x')", "ｅｖａｌ('x')", "x.y", "[f][0]()", "lambda: 1", "f (1)"]
)
def test_code_is_not(answer):
    assert unsafe(answer)


@pytest.mark.parametrize(
    ("section", "part"),
    [
        (GymTask(reasoning_gym="leg_countin"), "did you mean 'leg_counting'"),
        (GymTask(reasoning_gym="leg_counting", config={"max_animal": 4}), "did you mean 'max_animals'"),
        (GymTask(reasoning_gym="leg_counting", config={"max_animals": 0}), "tasks.x.config: leg_counting refuses"),
        (GymTask(reasoning_gym="composite"), "refuses"),
        (FamilyTask(family="chian"), "did you mean 'chain'"),
    ],
)
def test_bad_sections(section, part):
    with pytest.raises(TaskError, match=part):
        load("x", section, 0, HERE)


@pytest.mark.skipif(not sys.flags.hash_randomization, reason="PYTHONHASHSEED is fixed here")
def test_data_sets_that_are_not_reproducible_are_refused():
    with pytest.raises(TaskError, match="PYTHONHASHSEED=0"):
        load("x", GymTask(reasoning_gym="ransom_note"), 0, HERE)


def test_no_problem_of_a_split():
    task = load("x", GymTask(reasoning_gym="leg_counting", held_out=0.0), 0, HERE)
    with pytest.raises(TaskError, match="no held_out problem"):
        task.problem(0, "held_out")


def test_load_all_and_strangers():
    tasks = load_all({"a": LEGS, "b": FamilyTask(family="chain", weight=2.0)}, 0, HERE)
    assert {name: task.weight for name, task in tasks.items()} == {"a": 1.0, "b": 2.0}
    with pytest.raises(TaskError, match="str is no task section"):
        load("x", "gsm8k", 0, HERE)
