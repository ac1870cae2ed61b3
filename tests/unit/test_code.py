"""Verifiers of code and their two layouts. The sandbox itself: test_sandbox.py, test_hostile.py."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sandboxed
from move37 import grading, recipe, sandbox
from move37.errors import RewardError, TaskError
from move37.rewards import code, resolve
from move37.rewards.accuracy import Accuracy
from move37.rewards.code import Case
from move37.sandbox import Limits
from move37.tasks import load_all
from move37.tasks.check import check
from move37.types import Score

SUM = "print(sum(map(int, input().split())))"
CASES = [Case(given="1 2\n", expected="3\n"), Case(given="5\n", expected="5\n"), Case(given="7 -9 1", expected="-1")]


# ------------------------------------------------------------------------------------------- extraction


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("x = 1", "x = 1"),
        ("Here:\n```python\nx = 1\n```\nThat is all.", "x = 1"),
        ("```\na\n```\nno, better:\n```py\nb\n\nc\n```", "b\n\nc"),
        ("```python\nx = '''\n~~~\n'''\n```", "x = '''\n~~~\n'''"),
        ("````python\nx = '```'\n```\ny\n````", "x = '```'\n```\ny"),
        ("```python\nx = 1", "x = 1"),
        ("  ```python\n  x = 1\n  ```", "  x = 1"),
        ("use `x` and ```y``` here", "use `x` and ```y``` here"),
        ("```python\n```", ""),
        ("", ""),
    ],
)
def test_the_last_fenced_block(answer, found):
    assert code.extract(answer) == found


@given(st.text())
def test_extraction_never_fails(text):
    assert isinstance(code.extract(text), str)


@pytest.mark.parametrize(
    ("told", "expected", "same"),
    [
        ("3\n", "3", True),
        ("3", "3\n\n\n", True),
        ("1  2\t3 \n4", "1 2 3\n4\n", True),
        ("1\r\n2\r\n", "1\n2", True),
        ("  1", "1", True),
        ("1\n2", "1 2", False),
        ("1\n\n2", "1\n2", False),
        ("12", "1 2", False),
        ("Yes", "YES", False),
        ("1.0", "1", False),
        ("", "\n \n", True),
        ("", "0", False),
    ],
)
def test_white_space_is_forgiven_and_nothing_else(told, expected, same):
    assert code.same(told, expected) is same


def test_a_completion_may_have_lost_its_indentation():
    prompt = "def f(x):\n    '''Double.'''\n"
    for lost in ("return x * 2", "    return x * 2", "y = x\n    return y * 2", "y = x\nreturn y * 2"):
        first = next(s for s in code.completed(lost, prompt, "f") if compiles(s))
        space = {}
        exec(first, space)
        assert space["f"](4) == 8
    whole = code.completed("def f(x):\n    return x * 2", prompt, "f")
    assert whole[0].startswith(prompt) and whole[1].startswith("def f")
    assert code.completed("g = 1", "", "f") == ["g = 1"]


def compiles(source):
    try:
        compile(source, "", "exec")
    except SyntaxError:
        return False
    return True


# --------------------------------------------------------------------------------------------- programs


def test_full_and_partial_credit_of_programs():
    sandboxed.required()
    right = code.program(f"```python\n{SUM}\n```", CASES)
    assert (right.value, right.parts, right.why) == (1.0, {"passed": 1.0, "cases": 3.0}, "")
    # by hand: the first number alone is right for one case of three
    some = code.program("print(input().split()[0])", CASES)
    assert some.value == some.parts["passed"] == pytest.approx(1 / 3) and some.parts["wrong"] == 2
    assert some.why == "case 1: wrong: it printed '1', not '3'"


def test_outcomes_of_programs():
    sandboxed.required()
    quick = Limits(time_s=0.3, memory_mb=128)
    for source, outcome in (
        ("while True: pass", "timeout"),
        ("x = bytearray(10**9)", "memory"),
        ("1 / 0", "crash"),
        ("print(", "did_not_compile"),
        ("print(0)", "wrong"),
    ):
        score = code.program(source, CASES, quick)
        assert score.value == 0 and score.parts == {"passed": 0.0, "cases": 3.0, outcome: 3.0}, score
    assert code.program("```python\n```", CASES).value == 0
    assert math.isnan(code.program(SUM, []).value)


def test_what_the_sandbox_gets_wrong_is_no_verdict(monkeypatch):
    broken = sandbox.Ended(failure=sandbox.Outcome.INFRASTRUCTURE, why="it failed twice")
    monkeypatch.setattr(sandbox, "one", lambda job: broken)
    for score in (code.program(SUM, CASES), code.function("def f(): 1", "assert f()", "f")):
        assert math.isnan(score.value) and score.cause == "infrastructure"
        assert "infrastructure error: it failed twice" in score.why


def test_full_and_partial_credit_of_functions():
    sandboxed.required()
    tests = "def check(candidate):\n    assert candidate(1) == 1\n    assert candidate(2) == 4\n    assert candidate(3) == 9\n"
    assert code.function("def f(x): return x * x", tests, "f").value == 1
    score = code.function("def f(x): return x if x < 2 else 0", tests, "f")
    assert score.value == pytest.approx(1 / 3) and score.parts == {"passed": 1 / 3, "cases": 3.0, "wrong": 2.0}
    late = tests + "    candidate(1 / 0)\n"  # after the last assert
    score = code.function("def f(x): return x * x", late, "f")
    assert score.value == 0.75 and score.verdict == "wrong"  # three of four: what came after counts as one


def test_accuracy_pays_the_share_only_where_a_recipe_says_so():
    half = SimpleNamespace(scores={"accuracy": Score(value=0.0, parts={"passed": 0.5, "cases": 4.0})})
    full = SimpleNamespace(scores={"accuracy": Score(value=1.0, parts={"passed": 1.0})})
    lost = SimpleNamespace(scores={"accuracy": Score.cannot_tell("infrastructure error")})
    items = [(r, None) for r in (half, full, lost)]
    assert [s.value for s in Accuracy().scores(items[:2])] == [0.0, 1.0]
    partial = resolve("accuracy", None, {"credit": "partial"}).scores(items)
    assert [s.value for s in partial[:2]] == [0.5, 1.0] and math.isnan(partial[2].value)


# ---------------------------------------------------------------------------------------------- layouts

FUNCTION = {
    "prompt": 'def double(x):\n    """Twice x."""\n',
    "entry_point": "double",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-3) == -6\n",
    "canonical_solution": "    return 2 * x\n",
}
PROGRAM = {"question": "Add the numbers.", "cases": [{"input": "1 2", "output": "3"}], "solution": SUM}


def loaded(tmp_path, layout, rows, **more):
    (tmp_path / "problems.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    raw = {
        "name": "code",
        "model": "bundled",
        "tasks": {"t": {"file": "problems.jsonl", "layout": layout, "held_out": 0}},
        "stages": {"before": {"stage": "evaluate"}},
        **more,
    }
    given = recipe.parse(raw, "test")
    return load_all(given.tasks, 0, tmp_path, given.sandbox)["t"]


@pytest.mark.parametrize(
    ("layout", "row"),
    [("humaneval", FUNCTION), ("contest", PROGRAM), ("contest", {**PROGRAM, "cases": json.dumps(PROGRAM["cases"])})],
)
def test_golds_earn_their_marks_and_nothing_else_does(tmp_path, layout, row):
    sandboxed.required()
    task = loaded(tmp_path, layout, [row])
    assert check({"t": task}).ok
    assert task.notes == []


def test_a_problem_without_a_reference_solution(tmp_path):
    sandboxed.required()
    task = loaded(tmp_path, "contest", [{key: PROGRAM[key] for key in ("question", "cases")}])
    problem = task.problem(0, "train")
    assert task.gold_answers(problem) == [] and check({"t": task}).ok
    assert task.verify(SUM, problem).value == 1 and task.verify("print(4)", problem).value == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cases": []}, "column 'cases'|not empty"),
        ({"cases": "[{"}, "no JSON"),
        ({"cases": [{"in": "1"}]}, "case 1 of `cases` must have `input` and `output`"),
        ({"cases": [{"input": 1, "output": "2"}]}, "both text"),
        ({"time_s": "soon"}, "`time_s` is 'soon', no number"),
        ({"memory_mb": -5}, "`memory_mb` is -5; it must be above 0"),
    ],
)
def test_a_bad_row_is_told(tmp_path, change, told):
    sandboxed.required()
    with pytest.raises(TaskError, match=told):
        loaded(tmp_path, "contest", [{**PROGRAM, **change}])


def test_limits_of_a_row(tmp_path):
    sandboxed.required()
    task = loaded(tmp_path, "contest", [{**PROGRAM, "time_s": 0.2, "memory_mb": 100}])
    problem = task.problem(0, "train")
    assert problem.meta["limits"] == {"time_s": 0.2, "memory_mb": 100}
    assert "timeout: it used more than 0.2 s" in task.verify("while True: pass", problem).why


def test_a_recipe_is_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    sandbox.use("none-i-accept-the-risk")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RewardError, match="apt-get install bubblewrap"):
        loaded(tmp_path, "humaneval", [FUNCTION])
    task = loaded(tmp_path, "humaneval", [FUNCTION], sandbox="none-i-accept-the-risk")
    assert task.notes == ["answers run WITHOUT a sandbox, as the recipe says (sandbox: none-i-accept-the-risk)"]
    assert check({"t": task}).ok
    sandbox.use("bubblewrap")


# ------------------------------------------------------------------------------------------ move37 grade


def graded(*records):
    return [line.out() for line in grading_lines(records)]


def grading_lines(records):
    lines = [grading.parse(k, json.dumps({"kind": "code", **record})) for k, record in enumerate(records, 1)]
    grading.grade(lines)
    return lines


def test_the_kind_code_of_grade():
    sandboxed.required()
    tests = {"entry_point": "f", "tests": "assert f(2) == 4\nassert f(3) == 9"}
    cases = {"cases": [{"input": "1 2", "output": "3"}, {"input": "4", "output": "4"}]}
    right, half, thought, lacking, both, odd = graded(
        {**tests, "answer": "def f(x): return x * x", "id": 7},
        {**cases, "answer": "print(3)"},
        {**tests, "response": "<think>```python\ndef f(x): return x * x\n```</think> I do not know"},
        {"tests": "assert f(2)", "answer": "x"},
        {**tests, **cases, "answer": "x"},
        {**cases, "answer": "x", "time_s": -1},
    )
    assert (right["verdict"], right["score"], right["parts"], right["id"]) == ("right", 1.0, {"passed": 1.0, "cases": 2.0}, 7)
    assert (half["verdict"], half["score"]) == ("wrong", 0.5) and half["why"].startswith("case 2: wrong: it printed '3', not '4'")
    assert thought["verdict"] == "wrong"  # the code is in the thought alone
    assert lacking["verdict"] == both["verdict"] == odd["verdict"] == "unknown"
    assert "needs 'entry_point'" in lacking["why"] and "either 'cases'" in both["why"] and "`time_s` is -1" in odd["why"]
