"""Judges in a run: an endpoint that answers, one that is down, and a checkpoint sampled here."""

from __future__ import annotations

import json
import re

import pytest

import tiny
from chat_server import Answer, chat, serve
from judges import data
from move37 import shards
from move37.endpoint import Request
from move37.errors import ModelError, NoSignal, RecipeError, UserError
from move37.recipe import parse
from move37.report.live import Live
from move37.rewards import weighted
from move37.rewards.judge import Source
from move37.runs import Run
from move37.stages import run_recipe
from move37.stages.context import Device
from move37.stages.judges import Place, asker_of, bind
from move37.types import Verdict

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


def recipe(url, **rl):
    judge = {"base_url": url, "model": "judge", "key_env": "", "attempts": 1}
    stage = {"stage": "rl", "steps": 1, "prompts_per_step": 2, "samples_per_prompt": 6, "max_new_tokens": 128}
    rewards = {"judge_reference": {"weight": 1.0, "judge": judge}, "accuracy": 0.0}
    raw = {"name": "judged", "model": "bundled", "template": "r1_zero", "tasks": {"chain": {"family": "chain"}}}
    return parse({**raw, "stages": {"rl": {**stage, "rewards": rewards, **rl}}}, "judged.yaml")


def run(root, wanted):
    with Run.create(root, wanted) as made, Live(plain=True) as display:
        run_recipe(wanted, made, display)
    return made


def test_an_endpoint_pays(tmp_path):
    def script(body, number):
        _, gold, answer = data(Request(messages=tuple(body["messages"])))
        return chat(json.dumps({"analysis": "", "correctness": "correct" if answer == gold else "incorrect"}))

    with serve(script) as server:
        made = run(tmp_path, recipe(server.url))
    [groups] = [shards.read(path) for path in made.log("rl").shards().values()]
    rollouts = [r for group in groups for r in group.rollouts]
    answered = {(r.problem, r.answer) for r in rollouts if r.answer is not None}
    assert len(server.seen) == len(answered) > 1  # equal answers to one problem are one question
    for r in rollouts:
        assert r.reward == r.scores["judge_reference"].value == r.scores["accuracy"].value
    assert len((made.log("rl").path / "judged.jsonl").read_text().splitlines()) == len(server.seen)
    asked = " ".join(m["content"] for body in server.seen for m in body["messages"])
    assert not re.search(r"Let me|<think>", asked) and all(r.thinking not in asked for r in rollouts if r.thinking)


def test_an_endpoint_filters_what_is_accepted(tmp_path):
    """Of the right ones, those whose gold is even."""

    def script(body, number):
        _, gold, _ = data(Request(messages=tuple(body["messages"])))
        return chat(json.dumps({"analysis": "", "correctness": "correct" if int(gold) % 2 == 0 else "incorrect"}))

    with serve(script) as server:
        judge = {"base_url": server.url, "model": "judge", "attempts": 1}
        stage = {"stage": "rejection_sample", "prompts": 24, "samples_per_prompt": 8, "max_new_tokens": 48}
        stage["filters"] = {"judge_reference": {"least": 1.0, "judge": judge}}
        raw = {"name": "judged", "model": "bundled", "template": "r1_zero", "tasks": {"chain": {"family": "chain"}}}
        made = run(tmp_path, parse({**raw, "stages": {"kept": stage}}, "judged.yaml"))
    kept = [json.loads(line) for line in (made.log("kept").data / "part-00001.jsonl").read_text().splitlines()]
    assert kept and all(int(row["answer"]) % 2 == 0 for row in kept)
    tally = json.loads((made.log("kept").data / "statistics.json").read_text())["tasks"]["chain"]
    assert tally["right"] > tally["filter/judge_reference"] == tally["accepted"] >= len(kept)


def test_where_no_rule_can_check_the_judge_says_what_is_right(tmp_path):
    """The judge holds that exactly the wrong answers are right: of a task that is left to it these are kept, and no other."""

    def script(body, number):
        _, gold, answer = data(Request(messages=tuple(body["messages"])))
        return chat(json.dumps({"analysis": "", "correctness": "incorrect" if answer == gold else "correct"}))

    with serve(script) as server:
        judge = {"base_url": server.url, "model": "judge", "attempts": 1}
        stage = {"stage": "rejection_sample", "prompts": 12, "samples_per_prompt": 4, "max_new_tokens": 48, "judged": ["chain"]}
        stage["filters"] = {"judge_reference": {"least": 1.0, "judge": judge, "tasks": ["chain"]}}
        tasks = {"chain": {"family": "chain"}, "product": {"family": "product"}}
        raw = {"name": "judged", "model": "bundled", "template": "r1_zero", "tasks": tasks}
        made = run(tmp_path, parse({**raw, "stages": {"kept": stage}}, "judged.yaml"))
    kept = [json.loads(line) for line in (made.log("kept").data / "part-00001.jsonl").read_text().splitlines()]
    shown = {(r.problem, r.text): r for path in made.log("kept").shards().values() for g in shards.read(path) for r in g.rollouts}
    verdicts = {task: {r.verdict for r in shown.values() if _written(r) in _texts(kept, task)} for task in tasks}
    assert verdicts == {"chain": {Verdict.WRONG}, "product": {Verdict.RIGHT}}


def _texts(rows, task):
    return {row["response"] for row in rows if row["task"] == task}


def _written(rollout):
    return rollout.prefill + rollout.text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"filters": {"format": 1.0}}, "nobody judges; add the filter judge_reference"),
        ({"judged": ["chian"]}, "'chian' is no task of this stage.*did you mean 'chain'"),
        ({"tasks": ["product"]}, "'chain' is not among the tasks of the filter"),
    ],
)
def test_a_judged_task_needs_its_judge(changes, told):
    tasks = {"chain": {"family": "chain"}, "product": {"family": "product"}}
    judge = {"least": 1.0, "judge": {"base_url": "http://h/v1", "model": "m"}}
    stage = {"stage": "rejection_sample", "prompts": 1, "judged": ["chain"], "filters": {"judge_reference": judge}}
    if "tasks" in changes:
        stage["filters"] = {"judge_reference": {**judge, **changes}}
    else:
        stage |= changes
    raw = {"name": "judged", "model": "bundled", "template": "r1_zero", "tasks": tasks, "stages": {"kept": stage}}
    with pytest.raises(RecipeError, match=told):
        parse(raw, "judged.yaml")


def test_an_endpoint_that_is_down_starves_the_run_and_is_named(tmp_path):
    with serve(lambda body, number: Answer(b"")) as server:
        gone = server.url
    with pytest.raises(NoSignal, match="no connection to"):
        run(tmp_path, recipe(gone, starve_limit=1))


def test_a_key_that_is_not_set_is_told_before_the_model_loads(tmp_path, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    judge = {"base_url": "http://127.0.0.1:1/v1", "model": "m", "key_env": "NO_SUCH_KEY"}
    with pytest.raises(UserError, match="NO_SUCH_KEY"):
        run(tmp_path, recipe("http://h/v1", rewards={"judge_reference": {"weight": 1, "judge": judge}}))


def test_a_checkpoint_as_judge(tmp_path):
    path = tiny.save(tmp_path / "judge", "qwen2")
    device = Device.choose(tiny.recipe({"p": tiny.PRETRAIN}).hardware)
    source, place = Source(checkpoint=str(path)), Place(base=tmp_path, device=device)
    (path / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="chat template"):
        asker_of(source, None, place)
    (path / "chat_template.jinja").write_text(TEMPLATE)
    local = asker_of(source, None, place)
    eos = local.loaded.tokenizer.eos_token
    question = Request(messages=({"role": "user", "content": f"Is it 4? {eos}"},), max_tokens=8)
    assert local._text(question) == f"user: Is it 4? {eos[0]} {eos[1:]}\nassistant:"
    first, again, long = local.ask([question, question, Request(messages=question.messages, max_tokens=10_000)])
    assert first == again and first.text is not None and 0 < first.completion_tokens <= 8 and first.prompt_tokens > 5
    assert long.text is None and "leaves" in long.why
    named = weighted({"judge_reference": {"weight": 1, "judge": {"checkpoint": "judge"}}}, tmp_path)
    [bound] = bind(named, None, place)
    assert bound.reward._asker.loaded.tokenizer.chat_template == TEMPLATE
