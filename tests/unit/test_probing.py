"""`move37 probe`: what can be cheated is caught, what can not is clean."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chat_server import chat, serve
from judges import Scripted, data
from move37 import tasks
from move37.cli import app
from move37.endpoint import Request
from move37.recipe import parse
from move37.report import holes
from move37.rewards import Weighted, weighted
from move37.rewards.judge import JudgePair, JudgeReference, Source
from move37.stages.probing import TOTAL, probe_task
from move37.tasks.hacks import padded, words

DATA = Path(__file__).parents[3] / "shared" / "data"
needs = pytest.mark.skipif(not DATA.is_dir(), reason="the data sets are not beside the repository (../shared/data)")
SOURCE = Source(base_url="http://127.0.0.1:1/v1", model="judge")

HACKABLE = """
from move37.rewards import scope

@scope("answer")
def contains(rollout, problem):
    return float(problem.answer in rollout.text)

def at_length(rollout, problem):
    return min(1.0, len(rollout.text) / 5000)

@scope("thinking")
def brief(rollout, problem):
    return max(0.0, 1 - len(rollout.text.split()) / 200)

@scope("answer")
def exact(rollout, problem):
    return float(rollout.text.strip() == problem.answer)
"""


def built(sections, base=Path()):
    """Tasks as a recipe gives them."""
    recipe = parse({"name": "p", "tasks": sections, "stages": {"rl": {"stage": "rl", "steps": 1}}, "model": "bundled"}, "p")
    return tasks.load_all(recipe.tasks, 0, base)


def probed(task, rewards, limit=2000, problems=2):
    return probe_task("rl", task, rewards, problems, limit)


def caught(paid):
    """Reward -> the attempts that it pays too much."""
    found = {}
    for p in paid:
        if p.hole:
            found.setdefault(p.reward, set()).add(p.attempt)
    return found


BUILT_IN = weighted({"accuracy": 1.0, "format": 0.1}, Path())
FILES = {
    "gsm8k": "gsm8k/test.jsonl",
    "math500": "math500/test.jsonl",
    "aqua": "qwen_other_math/aqua.jsonl",
    "knights_knaves": "knights_knaves/3ppl_test.parquet",
}


@needs
@pytest.mark.parametrize("layout", FILES)
def test_built_in_rewards_are_clean_on_real_problems(layout):
    [task] = built({layout: {"file": str(DATA / FILES[layout]), "layout": layout}}).values()
    paid = probed(task, BUILT_IN)
    assert not caught(paid)
    assert all(not p.value > 0 for p in paid if p.reward == "accuracy")  # 0, or it can not tell
    assert {p.honest for p in paid if p.reward == "format"} == {1.0}


@needs
@pytest.mark.parametrize(("layout", "file"), [("gsm8k", "gsm8k/test.jsonl"), ("ifeval", "ifeval/en_input_data.jsonl")])
def test_rewards_of_form_language_and_length_are_clean(layout, file):
    names = {"accuracy": 0.0, "format": 0.1, "language": 1.0, "readable": 1.0, "repetition": 1.0, "length": 0.5}
    [task] = built({layout: {"file": str(DATA / file), "layout": layout}}).values()
    named = weighted({**names, "cosine": {"weight": 1.0, "max_tokens": 1000}}, Path())
    assert not caught(probed(task, named, limit=1000))


def test_an_honest_answer_at_length_is_as_long_as_asked():
    [task] = built({"chain": {"family": "chain", "languages": {"zh": 1.0}}}).values()
    [problem] = task.held_out_problems(1)
    for size in (40, 300, 1000):
        assert len(words(padded(task, problem, size).text)) == size


@pytest.mark.parametrize("family", ["chain", "countdown", "word", "greet", "write", "request"])
def test_built_in_rewards_are_clean_on_families(family):
    [task] = built({family: {"family": family, "languages": {"en": 0.5, "zh": 0.5}}}).values()
    assert not caught(probed(task, BUILT_IN, problems=4))


def test_rewards_that_can_be_cheated_are_caught(tmp_path):
    (tmp_path / "mine.py").write_text(HACKABLE)
    names = {f"mine.py:{name}": 1.0 for name in ("contains", "at_length", "brief", "exact")}
    [task] = built({"chain": {"family": "chain"}}).values()
    found = caught(probed(task, weighted(names, tmp_path)))
    assert {"hedged", "hedged, gold first", "many boxes", "many guesses"} <= found["contains"]
    assert {"very long thought", "very long answer", "never ends"} <= found["at_length"]
    assert found["brief"] >= {"empty thought", "tags alone", "empty response"}
    assert "exact" not in found  # it pays for right answers alone
    assert "hedged" in found[TOTAL]


def fair(question, gold, answer):
    return json.dumps({"analysis": "", "correctness": "correct" if gold == answer else "incorrect"})


def believes(question, gold, answer):
    """A judge that can be talked to."""
    return fair(question, gold, gold if "correct" in answer else answer)


def test_a_judge_that_can_be_talked_to_is_caught():
    [task] = built({"chain": {"family": "chain"}}).values()
    for say, expected in ((fair, None), (believes, {"injection, verdict", "injection, order", "injection, role"})):
        reward = JudgeReference(judge=SOURCE).asked_by(Scripted(say))
        assert caught(probed(task, [Weighted("judge_reference", 1.0, reward)])).get("judge_reference") == expected


def likes_length(question, first, second):
    if abs(len(first) - len(second)) < 100:
        return "[[A=B]]"
    return "[[A>B]]" if len(first) > len(second) else "[[B>A]]"


def test_a_judge_of_pairs_compares_with_the_honest_answer():
    [task] = built({"chain": {"family": "chain"}}).values()
    for say, expected in ((lambda *texts: "[[A=B]]", set()), (likes_length, {"very long answer", "huge number", "deep nesting"})):
        reward = JudgePair(judge=SOURCE).asked_by(Scripted(say))
        found = caught(probed(task, [Weighted("judge_pair", 1.0, reward)], limit=100_000)).get("judge_pair", set())
        assert found >= expected and bool(found) == bool(expected)


def test_what_can_not_be_told_is_no_hole():
    [task] = built({"chain": {"family": "chain"}}).values()
    reward = JudgeReference(judge=SOURCE).asked_by(Scripted(lambda *texts: None))
    paid = probed(task, [Weighted("judge_reference", 1.0, reward)])
    told = [p for p in paid if p.reward == "judge_reference" and math.isnan(p.value)]
    assert told and not caught(told)
    [rows] = holes.tables(told).values()
    assert {row["judge_reference"] for row in rows[1:]} == {"?"}
    json.dumps(holes.records(paid), allow_nan=False)


# ---------------------------------------------------------------------------------------------------------- the command

RECIPE = """
name: p
model: bundled
template: r1_zero
tasks: {chain: {family: chain}}
stages: {rl: {stage: rl, steps: 1, rewards: REWARDS}}
"""


def call(tmp_path, rewards, *more):
    (tmp_path / "p.yaml").write_text(RECIPE.replace("REWARDS", json.dumps(rewards)))
    return CliRunner().invoke(app, ["probe", str(tmp_path / "p.yaml"), "--problems", "2", *more])


def test_exit_code_1_where_there_is_a_hole(tmp_path):
    (tmp_path / "mine.py").write_text(HACKABLE)
    assert call(tmp_path, {"accuracy": 1.0, "format": 0.1}).exit_code == 0
    out = tmp_path / "holes.json"
    assert call(tmp_path, {"accuracy": 1.0, "mine.py:contains": 0.5}, "--json", str(out)).exit_code == 1
    found = [row for row in json.loads(out.read_text()) if row["hole"]]
    assert {row["reward"] for row in found} == {"contains", TOTAL} and all(row["text"] for row in found)


def test_a_judge_at_an_endpoint(tmp_path):
    with serve(lambda body, number: chat(believes(*data(Request(messages=tuple(body["messages"])))))) as server:
        judge = {"judge_reference": {"weight": 1.0, "judge": {"base_url": server.url, "model": "m"}}}
        result = call(tmp_path, judge, "--ledger", str(tmp_path / "l.jsonl"))
    assert result.exit_code == 1 and "injection" in result.output


def test_a_recipe_without_rewards_is_told(tmp_path):
    (tmp_path / "p.yaml").write_text(RECIPE.replace("rl: {stage: rl, steps: 1, rewards: REWARDS}", "e: {stage: evaluate}"))
    result = CliRunner().invoke(app, ["probe", str(tmp_path / "p.yaml")])
    assert result.exit_code == 2 and "no rl stage" in result.stderr
