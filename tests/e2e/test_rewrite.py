"""The cold start's second half: by the tiny world's writer, and by an endpoint in every mood."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import tiny
from chat_server import Answer, chat, serve
from judges import data
from move37 import tasks
from move37.endpoint import Request
from move37.errors import NothingAccepted, RunError, TaskError
from move37.report.live import Live
from move37.rewards.form import split
from move37.rewards.reading import last_box
from move37.runs import Run
from move37.sections import FamilyTask
from move37.stages import run_recipe

LANGUAGES = {"en": 0.5, "zh": 0.5}


def problems(count):
    task = tasks.load_all({"chain": FamilyTask(family="chain", languages=LANGUAGES)}, 0, Path())["chain"]
    return [task.problem(index, "train") for index in range(count)]


def row(problem, thought="First 1+1\nso =2", answer=None):
    response = f"<think>{thought}</think><answer>{answer or problem.answer}</answer>"
    return {"prompt": problem.question, "response": response, "task": "chain", "problem": problem.id, "answer": problem.answer}


def recipe(**section):
    stage = {"stage": "rewrite", "data": "rows.jsonl", "rows_per_step": 4, **section}
    raw = {"model": "bundled", "tasks": {"chain": {"family": "chain", "languages": LANGUAGES}}}
    return tiny.recipe({"cold": stage}, **raw)


def run(root, rows, mode=None, **section):
    (root / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    wanted = recipe(**section)
    (root / "tiny.yaml").write_text(wanted.to_yaml())
    with Run.create(root / "runs", wanted, mode, root / "tiny.yaml") as made, Live(plain=True) as display:
        run_recipe(wanted, made, display)
    log = made.log("cold")
    kept = [json.loads(line) for line in (log.data / "part-00001.jsonl").read_text().splitlines()]
    return kept, json.loads((log.data / "statistics.json").read_text()), log


def by(url, **more):
    return {"base_url": url, "model": "writer", "attempts": 1, "concurrency": 1, **more}


def obedient(body, number):
    """Writes what it is told; the summary holds the answer it was given."""
    texts = data(Request(messages=tuple(body["messages"])))
    return chat(f"I think: {texts[1]}" if len(texts) == 2 else f"We find \\boxed{{{texts[2]}}}.")


def test_by_the_script(tmp_path):
    asked = problems(12)
    chinese = next(p for p in asked if p.meta["language"] == "zh")
    general = {"prompt": "hi", "response": "<think>a</think><answer>hello</answer>", "task": "greet", "domain": "general"}
    rows = [row(p) for p in asked] + [row(chinese, answer="no number"), {**row(chinese), "response": "= 5"}, general]
    kept, statistics, log = run(tmp_path, rows)
    assert statistics["dropped"] == {"answer_changed": 1, "layout": 1} and statistics["given"] == 15 and len(kept) == 13
    [mine] = [one for one in kept if one.get("problem") == chinese.id]
    summary = f"答案是\\boxed{{{chinese.answer}}}。"
    assert mine["response"] == f"<think>先1+1\n所以=2</think><answer>{summary}</answer>"
    assert mine["source"] == "cold" and mine["domain"] == "reasoning" and mine["tokens"] > 10
    assert {**kept[-1], "tokens": 0} == {**general, "tokens": 0}
    share = sum(p.meta["language"] == "en" for p in asked)
    assert statistics["language"] == {"before": pytest.approx(share / 13, abs=0.1), "after": 1.0}
    assert statistics["domains"]["general"]["samples"] == 1 and statistics["domains"]["reasoning"]["samples"] == 12
    assert sum(metrics["accepted"] for metrics in log.metrics()) == 13


def test_by_an_endpoint(tmp_path):
    """Of eight rows: a changed answer, no box, tags, a reply cut off, one that is refused, nothing; two are good."""
    rows = [row(p, thought=f"This is {number}.") for number, p in enumerate(problems(8))]

    def script(body, number):
        texts = data(Request(messages=tuple(body["messages"])))
        which = int(re.search(r"This is (\d)", texts[1])[1])
        if len(texts) == 2:
            moods = {2: chat("<answer>5</answer>"), 3: chat("cut", finish="length"), 4: Answer(b"too long", status=400)}
            return moods.get(which, chat(f"<think>hm</think>I see. This is {which}."))
        return {0: chat("We find \\boxed{-7}."), 1: chat("It is clear."), 5: chat(" ")}.get(which, obedient(body, number))

    with serve(script) as server:
        kept, statistics, _ = run(tmp_path, rows, by=by(server.url))
    assert statistics["dropped"] == dict.fromkeys(("answer_changed", "cut_off", "empty", "no_box", "refused", "tags"), 1)
    assert [split("", one["response"]).thinking for one in kept] == ["I see. This is 6.", "I see. This is 7."]
    assert all(last_box(one["response"]) == one["answer"] for one in kept)
    assert len(server.seen) == 8 + 5  # no summary of a thought that was not written
    told = [body["messages"][0]["content"] for body in server.seen]
    assert "Translate the thinking process to the same language as the question" in told[0]
    summary = next(text for text in told if "\\boxed{}" in text)
    assert all(words in summary for words in ("faithful", "LaTeX", "Do not solve the question yourself", "add no step"))


def test_what_was_written_is_not_paid_again(tmp_path):
    """The endpoint fails in the middle of the second step of three; going on asks for the rest alone."""
    rows = [row(p, thought=f"This is {number}.") for number, p in enumerate(problems(10))]
    whole, again = tmp_path / "whole", tmp_path / "again"
    whole.mkdir()
    again.mkdir()
    failing = True

    def script(body, number):
        return Answer(b"busy", status=503) if failing and number >= 10 else obedient(body, number)

    with serve(script) as server:
        with pytest.raises(RunError, match=r"left 2 of 4 requests without a text: status 503.*--resume"):
            run(again, rows, by=by(server.url))
        failing = False
        paid = [json.dumps(body) for body in server.seen[:10]]
        _, statistics, log = run(again, rows, "resume", by=by(server.url))
        after = [json.dumps(body) for body in server.seen if json.dumps(body) not in paid]
        assert len(set(after)) == 20 - 10 and not set(paid) & {json.dumps(body) for body in server.seen[12:]}
        run(whole, rows, by=by(server.url))
    assert statistics["dropped"] == {} and [metrics["step"] for metrics in log.metrics()] == [1, 2, 3]
    parts = [root / "runs/tiny/stages/cold/data/part-00001.jsonl" for root in (whole, again)]
    assert parts[0].read_bytes() == parts[1].read_bytes()


def test_nothing_left_says_why(tmp_path):
    with serve(lambda body, number: chat("Easy.")) as server, pytest.raises(NothingAccepted, match=r"none of 3.*no_box 3"):
        run(tmp_path, [row(p) for p in problems(3)], by=by(server.url))
    gone = by(server.url)
    with pytest.raises(RunError, match=r"3 of 3 requests without a text: no connection"):
        run(tmp_path, [row(p) for p in problems(3)], "force", by=gone)


def test_wrong_data_is_refused_before_anything_is_asked(tmp_path):
    [problem] = problems(1)
    with pytest.raises(TaskError, match="row 1 has no 'problem'"):
        run(tmp_path, [{key: value for key, value in row(problem).items() if key != "problem"}])
    with pytest.raises(TaskError, match="task 'chains', which is none of this recipe; did you mean 'chain'"):
        run(tmp_path, [{**row(problem), "task": "chains"}], "force")
    with pytest.raises(TaskError, match="row 2 answers problem 'x', which is no training problem of task chain"):
        run(tmp_path, [row(problem), {**row(problem), "problem": "x"}], "force")


def test_one_row_that_never_comes_does_not_stop_the_rest(tmp_path):
    rows = [row(p, thought=f"This is {number}.") for number, p in enumerate(problems(12))]

    def script(body, number):
        texts = data(Request(messages=tuple(body["messages"])))
        return Answer(b"overflow", status=500) if "This is 7." in texts[1] else obedient(body, number)

    with serve(script) as server:
        kept, statistics, _ = run(tmp_path, rows, by=by(server.url), rows_per_step=12)
    assert statistics["dropped"] == {"no_reply": 1} and len(kept) == 11
