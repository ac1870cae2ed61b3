"""General data by the tasks' writers, and how rejection sampling mixes it in."""

from __future__ import annotations

import json

import pytest

import tiny
from chat_server import Answer, chat, serve
from move37 import tasks
from move37.endpoint import Reply
from move37.errors import NothingAccepted, RunError, TaskError
from move37.report.live import Live
from move37.rewards.reading import READINGS
from move37.rewards.style import BEHAVIOURS
from move37.runs import Run
from move37.stages import demonstrate, instructions, run_recipe
from move37.types import Verdict

TASKS = {
    "chain": {"family": "chain", "languages": {"en": 0.5, "zh": 0.5}},
    "greet": {"family": "greet", "weight": 3.0},
    "request": {"family": "request"},
}
GENERAL = {"stage": "demonstrate", "tasks": ["greet", "request", "chain"], "rows": 50}


def run(root, stages, mode=None, **top):
    wanted = tiny.recipe(stages, **{"model": "bundled", "template": "r1_zero", "tasks": TASKS, **top})
    root.mkdir(exist_ok=True)
    (root / "tiny.yaml").write_text(wanted.to_yaml())
    with Run.create(root / "runs", wanted, mode, root / "tiny.yaml") as made, Live(plain=True) as display:
        run_recipe(wanted, made, display)
    return made, wanted


def rows(log):
    return [json.loads(line) for line in (log.data / "part-00001.jsonl").read_text().splitlines()]


def samples(told):
    return {name: sizes["samples"] for name, sizes in told.items()}


def test_the_tasks_write_what_their_checkers_like(tmp_path):
    made, wanted = run(tmp_path, {"general": GENERAL})
    found = rows(made.log("general"))
    statistics = json.loads((made.log("general").data / "statistics.json").read_text())
    assert samples(statistics["by_task"]) == {"chain": 10, "greet": 30, "request": 10}
    assert samples(statistics["domains"]) == {"general": 30, "reasoning": 10, "safety": 10}
    assert statistics["total"]["tokens"] == pytest.approx(sum(row["tokens"] for row in found) / 50)
    assert statistics["behaviours"].keys() == BEHAVIOURS.keys()
    known = tasks.load_all(wanted.tasks, wanted.seed, tmp_path)
    asked = {p.id: p for task in known.values() for p in (task.problem(index, "train") for index in range(60))}
    for row in found:
        read = READINGS["tags"]("", row["response"])
        task = known[row["task"]]
        said = f"{read.thinking}\n{read.answer}" if task.whole else read.answer if task.open_ended else read.final
        assert read.ok and task.verify(said, asked[row["problem"]]).verdict is Verdict.RIGHT


def test_the_same_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr(demonstrate, "ROWS_PER_STEP", 20)
    whole, _ = run(tmp_path / "whole", {"general": GENERAL})
    again, _ = run(tmp_path / "again", {"general": GENERAL})
    again.log("general").truncate_after(1)
    again, _ = run(tmp_path / "again", {"general": GENERAL}, "resume")
    assert [metrics["step"] for metrics in again.log("general").metrics()] == [1, 2, 3]
    files = [made.log("general").data / "part-00001.jsonl" for made in (whole, again)]
    assert files[0].read_bytes() == files[1].read_bytes()
    other, _ = run(tmp_path / "other", {"general": GENERAL}, seed=1)
    assert (other.log("general").data / "part-00001.jsonl").read_bytes() != files[0].read_bytes()


def test_a_quarter_of_the_accepted_is_general(tmp_path, capsys):
    """As 600k and 200k. Two rows are too few: each comes again and again, and the display says so."""
    stages = {
        "general": {**GENERAL, "tasks": ["greet"], "rows": 2},
        "accepted": {
            "stage": "rejection_sample", "tasks": ["chain"], "prompts": 16, "samples_per_prompt": 6, "max_new_tokens": 48,
            "filters": {}, "keep_per_prompt": 6, "mix": {"general": 0.25},
        },
    }  # fmt: skip
    made, _ = run(tmp_path, stages)
    statistics = json.loads((made.log("accepted").data / "statistics.json").read_text())
    taken, other = statistics["mixture"]["accepted"]["rows"], statistics["mixture"]["general"]["rows"]
    assert other == round(taken / 3) > 2
    assert samples(statistics["domains"]) == {"general": other, "reasoning": taken}
    assert statistics["total"]["samples"] == taken + other
    assert f"each of its rows comes {other / 2:.1f} times" in capsys.readouterr().out


def test_what_nobody_can_demonstrate_is_refused_at_once(tmp_path):
    gym = {"common": {"reasoning_gym": "gcd"}}
    with pytest.raises(TaskError, match=r"tasks\.common: nobody.*gcd"):
        run(tmp_path, {"general": {"stage": "demonstrate", "rows": 5}}, tasks=gym)


# ------------------------------------------------------------------------------------------------------ by an endpoint


def asked(url, **section):
    by = {"base_url": url, "model": "writer", "attempts": 2, "concurrency": 1}
    return {"general": {"stage": "demonstrate", "tasks": ["greet", "request"], "rows": 12, "by": by, **section}}


def test_by_an_endpoint_that_goes_down_in_between(tmp_path, monkeypatch):
    """What was written is not paid again; what is in no form is dropped, by cause."""
    monkeypatch.setattr(demonstrate, "ROWS_PER_STEP", 6)
    failing = True
    bad = {2: chat("Well, <answer>hi</answer>"), 4: chat("", finish="stop"), 5: chat("<think>so", finish="length")}

    def script(body, number):
        if failing and number >= 8:
            return Answer(b"busy", status=503)
        return bad.get(number, chat("<think>A greeting.</think>\n\nGood day!"))

    with serve(script) as server:
        with pytest.raises(RunError, match=r"requests without a text: status 503.*--resume"):
            run(tmp_path, asked(server.url))
        failing = False
        before = {json.dumps(body) for body in server.seen[:8]}
        done = len(server.seen)
        made, _ = run(tmp_path, asked(server.url), "resume")
        assert not before & {json.dumps(body) for body in server.seen[done:]}
        told = server.seen[0]["messages"][0]["content"]
    log = made.log("general")
    statistics = json.loads((log.data / "statistics.json").read_text())
    assert "Think first" in told and "Refuse what would do harm" in told
    assert set(statistics["dropped"]) <= {"tags", "empty", "cut_off"} and sum(statistics["dropped"].values()) >= 2
    kept = rows(log)
    assert len(kept) == 12 - sum(statistics["dropped"].values())
    assert {row["response"] for row in kept} == {"<think>A greeting.</think><answer>Good day!</answer>"}
    assert {row["answer"] for row in kept} == {"Good day!"} and "dropped" not in kept[0]


def test_garbage_nobody_there_and_tasks_with_a_rule(tmp_path):
    with serve(lambda body, number: chat("<answer>")) as server:
        with pytest.raises(NothingAccepted, match=r"none of 12 rows is left. Dropped: tags 12"):
            run(tmp_path, asked(server.url))
        with pytest.raises(TaskError, match=r"general.by: task chain has an answer that a rule verifies.*rejection_sample"):
            run(tmp_path, asked(server.url, tasks=["greet", "chain"]), "force")
        gone = server.url
    with pytest.raises(RunError, match=r"requests without a text: no connection"):
        run(tmp_path, asked(gone), "force")


def test_a_thought_that_the_server_parts_from_the_text():
    assert instructions.replied(Reply(text="Hello!", thinking=" A greeting. ")) == ("A greeting.", "Hello!", "")
    assert instructions.replied(Reply(text="<think>One.</think>Hello!", thinking="Two.")) == ("One.", "Hello!", "")
    assert instructions.replied(Reply(text="Hello!")) == ("", "Hello!", "")
    assert instructions.replied(Reply(text="<answer>x</answer>")) == ("", "", "tags")
