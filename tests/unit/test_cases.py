"""Test cases from generators: the rules of agreement, with scripted generators and submissions of every kind."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import sandboxed
from move37 import cases
from move37.cases import Rules
from move37.cli import app
from move37.rewards import code
from move37.sandbox import Ended, Outcome

GOOD = "print(sum(map(int, input().split())))"
OTHER = "a = input().split()\nprint(sum(int(x) for x in a), '')"  # prints a space more
WRONG = "print(sum(map(int, input().split())) + 1)"
SOMETIMES = "s = sum(map(int, input().split()))\nprint(s + (s > 150))"  # wrong for large sums
CHANCE = "import random\nprint(random.random())"
HANGS = "while True: pass"
CRASHES = "1 / 0"
INPUTS = "import random\nprint(random.randint(0, 99), random.randint(0, 99))"
RULES = Rules(tests=5, least=3)
QUICK = {"time_s": 0.3, "memory_mb": 128}


def built(submissions, generators=(INPUTS,), rules=RULES):
    sandboxed.required()
    row = {"question": "Add two numbers.", "generators": list(generators), "submissions": submissions, "id": 5, **QUICK}
    return cases.build(cases.parse(json.dumps(row)), rules)


def test_nine_of_ten_that_pass_are_enough():
    for odd in (WRONG, CHANCE, HANGS, CRASHES):
        row, report = built([GOOD] * 5 + [OTHER] * 4 + [odd])
        assert report["kept"] and report["passing"] == 9, (odd, report)
        assert set(row) == {"question", "id", "cases", "solution", "time_s", "memory_mb"}
        assert row["solution"] in (GOOD, OTHER) and report["cases"] == len(row["cases"]) > 2
        assert all(sum(map(int, case["input"].split())) == int(case["output"]) for case in row["cases"])
        given = code.cases_of(row["cases"])
        assert code.program(GOOD, given).value == 1 and code.program(WRONG, given).value == 0


def test_seven_of_ten_make_a_case_but_not_a_problem():
    row, report = built([GOOD] * 7 + [WRONG, CHANCE, CRASHES])
    assert row is None and report["cases"] > 2 and report["passing"] == 7
    assert report["why"] == "7 submissions pass every case; 9 must"


def test_six_of_ten_make_no_case():
    row, report = built([GOOD] * 6 + [WRONG] * 4)
    assert row is None and report["cases"] == 0 and report["dropped"]["disagree"] > 2
    assert report["why"] == "0 cases are kept; 3 are needed"


def test_a_test_on_which_they_differ_is_dropped_and_the_others_stay():
    """By hand: of ten, five are wrong for sums above 150, so there at most five agree; elsewhere all ten do."""
    spread = "import random\nprint(random.choice(['1 2', '3 4', '5 6', '100 99', '98 97', '7 8', '9 1', '2 2']))"
    row, report = built([GOOD] * 5 + [SOMETIMES] * 5, [spread], Rules(tests=40, least=3))
    assert report["kept"] and report["passing"] == 10
    assert 1 <= report["dropped"]["disagree"] <= 2
    assert report["cases"] + sum(report["dropped"].values()) == 40
    assert max(int(case["output"]) for case in row["cases"]) <= 150


def test_generators_of_every_kind():
    """Four take turns: of 12 runs three are good, three crash, three print nothing, three the same."""
    report = built([GOOD] * 10, [INPUTS, CRASHES, "print()", "print(1, 2)"], Rules(tests=12, least=4))[1]
    assert report["dropped"] == {"generator_crash": 3, "generator_empty": 3, "repeated": 2} and report["cases"] == 4
    hung = built([GOOD] * 10, [HANGS], Rules(tests=2, least=1))[1]
    assert hung["dropped"] == {"generator_timeout": 2} and not hung["kept"]


def test_the_same_again():
    assert built([GOOD] * 9 + [CHANCE]) == built([GOOD] * 9 + [CHANCE])


def test_agreement_by_hand():
    def ended(*outputs):
        return [Ended(failure=None, stdout=o) if o is not None else Ended(failure=Outcome.CRASH) for o in outputs]

    assert cases.agreed(ended("1\n", "1", "2", None), 2) == "1\n"
    assert cases.agreed(ended("1\n", "1", "2", None), 3) is None
    assert cases.agreed(ended("", "", ""), 2) is None
    assert cases.agreed(ended(None, None), 1) is None


def test_a_models_answer_is_a_generator():
    assert "Add two numbers." in cases.prompt("Add two numbers.")
    fenced = f"Here it is:\n```python\n{INPUTS}\n```\nDone."
    parsed = cases.parse(json.dumps({"question": "q", "generators": [fenced], "submissions": [GOOD]}))
    assert parsed.generators == (INPUTS,)


def test_the_command(tmp_path):
    sandboxed.required()
    good = {"question": "Add.", "generators": [INPUTS], "submissions": [GOOD] * 10, **QUICK}
    rows = [good, {**good, "question": "Add!", "submissions": [GOOD] * 3}, {**good, "submissions": [WRONG] * 5 + [GOOD] * 5}]
    source, out, report = (tmp_path / name for name in ("in.jsonl", "out.jsonl", "report.jsonl"))
    source.write_text("\n".join(map(json.dumps, rows)))
    given = ["cases", str(source), "--out", str(out), "--report", str(report), "--tests", "6", "--least", "4"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert [json.loads(line)["question"] for line in out.read_text().splitlines()] == ["Add."]
    told = [json.loads(line) for line in report.read_text().splitlines()]
    assert [t["kept"] for t in told] == [True, False, False] and [t["line"] for t in told] == [1, 2, 3]
    assert "1 of 3 problems are kept" in done.output


@pytest.mark.parametrize(
    ("line", "options", "told"),
    [
        ("{", [], "line 1: no JSON"),
        ('{"question": "q"}', [], "`generators` must be a list"),
        ('{"question": "q", "generators": ["x"], "submissions": []}', [], "`submissions` must be a list"),
        ('{"question": "q", "generators": ["x"], "submissions": ["x"], "time_s": 0}', [], "`time_s` is 0"),
        ("{}", ["--agree", "5"], "no majority"),
        ("{}", ["--passing", "11"], "at most --submissions 10"),
        ("{}", ["--least", "60"], "at most --tests 50"),
    ],
)
def test_what_can_not_be_is_told(tmp_path, line, options, told):
    (tmp_path / "in.jsonl").write_text(line)
    done = CliRunner().invoke(app, ["cases", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out.jsonl"), *options])
    assert done.exit_code == 2 and told in done.output
