"""The check of a task finds what is wrong with golds and verifiers."""

import math
from pathlib import Path

import pytest

from move37.errors import TaskError
from move37.sections import FamilyTask, FileTask, GymTask
from move37.tasks import load, load_all
from move37.tasks.base import Task, problem_id
from move37.tasks.check import check, check_task, truncated
from move37.types import Problem, Score

DATA = Path(__file__).parents[3] / "shared" / "data"


class Scripted(Task):
    """Golds 100, 101, ...; `marks` says what its verifier gives."""

    def __init__(self, marks, held_out=0.0, golds=None):
        super().__init__("s", held_out=held_out)
        self.marks, self.golds = marks, golds

    def problem(self, index, split):
        question = f"{split} {index}"
        return Problem(id=problem_id("s", question), task="s", question=question, answer=str(100 + index))

    def gold_answers(self, problem):
        return [problem.answer] if self.golds is None else self.golds

    def verify(self, answer, problem):
        return Score(value=self.marks(answer, problem))


def failing(marks, **options):
    return {record.probe for record in check({"s": Scripted(marks, **options)}, 3).failures}


def test_a_good_task_passes_every_probe():
    report = check({"s": Scripted(lambda a, p: float(a == p.answer), held_out=0.5)}, 3)
    assert report.ok and not report.bad_golds and "6 problems" in report.summary() and ": ok" in report.summary()
    assert {r.probe for r in report.records} >= {
        "gold", "gold, prefilled", "wrong answer", "truncated gold", "empty answer", "empty response", "empty thought",
        "no tags", "answer only in the thought", "two answers", "text after the answer",
    }  # fmt: skip


def test_what_is_found():
    assert failing(lambda a, p: 1.0) == {"wrong answer", "truncated gold"}  # the form catches the rest
    assert failing(lambda a, p: 0.0) == {"gold", "gold, prefilled"}
    assert failing(lambda a, p: float(p.answer.startswith(a[:2]))) == {"wrong answer", "truncated gold"}
    assert "gold" in failing(lambda a, p: math.nan)


def test_bad_golds_are_listed_once_each():
    report = check({"s": Scripted(lambda a, p: float(a == p.answer and a != "101"))}, 3)
    assert [(r.answer, r.gold) for r in report.bad_golds] == [("101", "101")]
    assert "1 bad golds" in report.summary() and "'101'" in report.summary()


def test_several_golds_and_none():
    report = check({"s": Scripted(lambda a, p: float(a in ("1", "one")), golds=["1", "one"])}, 2)
    assert report.ok and sum(r.probe == "gold" for r in report.records) == 4
    assert check({"s": Scripted(lambda a, p: 0.0, golds=[])}, 2).ok


def test_truncated():
    for gold, short in {"123": "12", "0.55": "0.5", "x+1": "x+", "knave": "knav"}.items():
        assert truncated(gold) == short
    for gold in ("", "5", "0.50", "(1,2)", r"90^\circ"):  # nothing left, or maybe the same value
        assert truncated(gold) == ""


def test_own_families_and_gym():
    sections = {
        "chain": FamilyTask(family="chain"),
        "countdown": FamilyTask(family="countdown"),
        "product": FamilyTask(family="product"),
        "word": FamilyTask(family="word", languages={"en": 0.5, "zh": 0.5}),
        "legs": GymTask(reasoning_gym="leg_counting"),
        "equations": GymTask(reasoning_gym="simple_equations"),
    }
    report = check(load_all(sections, 0, Path(".")), 10)
    assert report.ok, report.summary()


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")
@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("gsm8k", "gsm8k/test.jsonl"),
        ("aqua", "qwen_other_math/aqua.jsonl"),
        ("knights_knaves", "knights_knaves/4ppl_test.parquet"),
        ("math500", "math500/test.jsonl"),
        ("olymmath", "olymmath/OlymMATH-ZH-EASY.jsonl"),
    ],
)
def test_real_files(layout, name):
    task = load(layout, FileTask(file=name, layout=layout), 0, DATA)
    assert not [record for record in check_task(task, 15) if not record.ok]


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")
def test_a_gold_that_nobody_can_read_is_listed(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"q": "Is it?", "a": "Yes. It has a unique solution."}\n')
    section = FileTask(file="rows.jsonl", question="q", answer="a", verifier="math", held_out=0.0)
    report = check({"x": load("x", section, 0, tmp_path)}, 5)
    assert report.bad_golds == [] and not report.ok  # the same text is right; of another nothing can be told
    assert [(r.probe, r.answer) for r in report.failures] == [("wrong answer", "1234567")]
    assert "can not be parsed" in report.summary()


def test_a_task_without_problems():
    with pytest.raises(TaskError, match="no train problem"):
        check({"x": load("x", GymTask(reasoning_gym="leg_counting", held_out=1.0 - 1e-12), 0, Path("."))}, 1)
