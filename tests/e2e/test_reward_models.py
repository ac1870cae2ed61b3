"""A reward model that reasons is a stage like any other: it pays, it is measured, and what it was is on record."""

from __future__ import annotations

import json

import pytest

import tiny
from move37 import graph, shards
from move37.errors import ModelError, RecipeError, TaskError
from move37.recipe import parse
from move37.report.live import Live
from move37.rewards.verdicts import brief
from move37.runs import Run
from move37.stages import run_recipe

SAME = {"family": "same", "knobs": {"kind": "sums"}}
STAGES = {
    "questions": {"stage": "demonstrate", "tasks": ["same"], "rows": 48},
    "classic": {
        "stage": "reward_model", "data": "questions", "columns": {"prompt": "shown", "response": "given", "label": "label"},
        "part": "answer", "reading": "text", "examples_per_step": 16,
    },
    "cot": {"stage": "sft", "data": "questions", "steps": 1, "examples_per_step": 8},
    "classic_eval": {"stage": "evaluate", "reward_model": "classic", "tasks": ["same"], "problems": 6, "samples": 2},
    "paid": {
        "stage": "rl", "tasks": ["sums"], "steps": 1, "prompts_per_step": 2, "samples_per_prompt": 4, "max_new_tokens": 24,
        "reading": "text",
        "rewards": {
            "judge_reference": {"weight": 1.0, "wording": "brief", "judge": {"checkpoint": "cot", "max_tokens": 8}},
            "matches": {"weight": 1.0, "model": "classic"},
        },
    },
}  # fmt: skip


def recipe(**changes):
    stages = {name: {**section, **changes.get(name, {})} for name, section in STAGES.items()}
    tasks = {"same": SAME, "sums": {"family": "forms", "knobs": {"kind": "sums"}}}
    return parse({"name": "rm", "model": "bundled", "template": "short.txt", "tasks": tasks, "stages": stages}, "rm.yaml")


def run(root, wanted):
    (root / "short.txt").write_text(tiny.SHORT)
    with Run.create(root / "runs", wanted, None, root / "rm.yaml") as made, Live(plain=True) as display:
        run_recipe(wanted, made, display)
    return made


def paid(**judge):
    return {"paid": {"rewards": {"judge_reference": {"weight": 1.0, "judge": judge}}}}


def test_both_pay_and_the_judge_is_on_record(tmp_path):
    (tmp_path / "rm.yaml").write_text("")
    made = run(tmp_path, recipe())
    rows = [json.loads(line) for line in (made.log("questions").data / "part-00001.jsonl").read_text().splitlines()]
    assert all(row["prompt"] == f"{row['shown']}\nGiven answer: {row['given']}" for row in rows)
    assert {json.loads(row["answer"])["correctness"] == "correct" for row in rows if row["label"]} == {True}
    record = made.log("classic_eval").eval()["tasks"]["same"]
    assert record["extraction"]["value"] == 1 and record["pass@1"]["value"] == record["pass@1_greedy"]["value"]
    [groups] = [shards.read(path) for path in made.log("paid").shards().values()]
    answered = [r for group in groups for r in group.rollouts if r.answer]
    assert answered and all(0 < r.scores["matches"].value < 1 for r in answered)
    judge = [r.scores["judge_reference"].why for r in answered]  # after one step it writes no verdict: it was asked, and read
    assert all("the reply" in why for why in judge)
    parents = made.log("paid").lineage["parents"]
    assert parents["rewards.judge_reference.judge.checkpoint"]["sha256"] == made.log("cot").done["sha256"]
    told = graph.stale(recipe(cot={"steps": 2}), made)
    assert set(told) == {"cot", "paid"} and told["paid"] == ["it starts from cot"]


@pytest.mark.parametrize(
    ("judge", "told"),
    [
        ({"checkpoint": "cto"}, r"judge_reference\.judge\.checkpoint='cto' is no earlier training stage; did you mean 'cot'"),
        ({"checkpoint": "questions"}, r"checkpoint='questions' is no earlier training stage"),
        ({"checkpoint": "classic"}, r"checkpoint='classic' is no earlier training stage"),
        ({"checkpoint": "paid"}, r"checkpoint='paid' is no earlier training stage"),
    ],
)
def test_a_judge_that_is_no_earlier_checkpoint_is_refused_with_the_recipe(judge, told):
    with pytest.raises(RecipeError, match=told):
        recipe(**paid(**judge))


def test_a_judge_of_a_directory_is_looked_at_first_and_its_content_is_on_record(tmp_path):
    (tmp_path / "rm.yaml").write_text("")
    with pytest.raises(ModelError, match="no such directory"):
        run(tmp_path, recipe(**paid(checkpoint="./judge")))
    judge = tiny.save(tmp_path / "judge", "qwen2")
    wanted = recipe(**paid(checkpoint="./judge"))
    before = graph.contents(wanted, "paid", tmp_path)["./judge"]
    (judge / "chat_template.jinja").write_text("another")
    assert graph.contents(wanted, "paid", tmp_path)["./judge"] != before


def test_an_evaluation_of_verdicts_needs_questions_of_verdicts(tmp_path):
    (tmp_path / "rm.yaml").write_text("")
    with pytest.raises(TaskError, match=r"tasks\.sums: .*`same` alone"):
        run(tmp_path, recipe(classic_eval={"tasks": ["same", "sums"]}))
    with pytest.raises(RecipeError, match="one is measured"):
        recipe(classic_eval={"init": "cot"})


def test_brief_is_what_the_judge_was_trained_on():
    assert brief("q", "g", "a").startswith(brief("q", "g"))
