"""Preferences and labels from the bundled model: by the script, by an endpoint, resumed, and where nothing is left."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

import tiny
from chat_server import Answer, chat, serve
from judges import data
from move37 import shards
from move37.endpoint import Request
from move37.errors import NothingAccepted, RunError
from move37.report.live import Live
from move37.runs import Run
from move37.stages import run_recipe

STAGE = {"stage": "compare", "prompts": 24, "prompts_per_step": 8, "samples_per_prompt": 4, "max_new_tokens": 40}


def recipe(**section):
    kind = section.get("kind", "pair")
    tasks = {"write": {"family": "write"}, "greet": {"family": "greet"}, "request": {"family": "request"}}
    mine = {"tasks": ["request"] if kind == "label" else ["write", "greet"]}
    return tiny.recipe({"judged": {**STAGE, **mine, **section}}, model="bundled", template="r1_zero", tasks=tasks)


def run(root, mode=None, **section):
    wanted = recipe(**section)
    root.mkdir(exist_ok=True)
    (root / "tiny.yaml").write_text(wanted.to_yaml())
    with Run.create(root / "runs", wanted, mode, root / "tiny.yaml") as made, Live(plain=True) as display:
        run_recipe(wanted, made, display)
    return made.log("judged")


def read(log):
    kept = [json.loads(line) for line in (log.data / "part-00001.jsonl").read_text().splitlines()]
    return kept, json.loads((log.data / "statistics.json").read_text())


def test_pairs_by_the_script_and_again_after_a_kill(tmp_path):
    log = run(tmp_path / "whole", balance=0.5)
    kept, statistics = read(log)
    assert set(kept[0]) == {
        *("prompt", "chosen", "rejected", "margin", "task", "problem", "chosen_tokens", "rejected_tokens", "source")
    }
    assert all(1 < row["margin"] <= 2 and row["chosen"] != row["rejected"] for row in kept)
    assert statistics["kept"] == len(kept) == statistics["pairs"] - sum(statistics["dropped"].values())
    chosen, rejected = (sum(row[f"{side}_tokens"] for row in kept) / len(kept) for side in ("chosen", "rejected"))
    assert statistics["tokens"]["kept"] == {"chosen": pytest.approx(chosen), "rejected": pytest.approx(rejected)}
    before = statistics["tokens"]["before_balance"]
    assert abs(chosen - rejected) <= 0.5 * (before["chosen"] + before["rejected"]) / 2 + 1e-6
    assert 0 <= statistics["order_consistent"] <= 1 and 0 <= statistics["first_shown"] <= 1
    sampled = {r.prefill + r.text for path in log.shards().values() for g in shards.read(path) for r in g.rollouts}
    assert all(row["chosen"] in sampled and row["rejected"] in sampled for row in kept)

    again = run(tmp_path / "again", balance=0.5)
    again.truncate_after(1)  # killed in the second step, which had sampled and not judged
    again.rollouts(2, [])
    first = again.shards("rows")[1].stat().st_mtime_ns
    again = run(tmp_path / "again", "resume", balance=0.5)
    assert again.shards("rows")[1].stat().st_mtime_ns == first
    for file in ("data/part-00001.jsonl", "data/statistics.json", "rows/step-000003.jsonl"):
        assert (again.path / file).read_bytes() == (log.path / file).read_bytes()


def longer(body, number):
    """Prefers the longer summary, much."""
    _, first, second = data(Request(messages=tuple(body["messages"])))
    return chat("[[A=B]]" if len(first) == len(second) else "[[A>>B]]" if len(first) > len(second) else "[[B>>A]]")


def test_pairs_by_an_endpoint_that_fails_in_between(tmp_path):
    failing = True

    def script(body, number):
        return Answer(b"busy", status=503) if failing and number >= 40 else longer(body, number)

    with serve(script) as server:
        judge = {"base_url": server.url, "model": "judge", "attempts": 1, "concurrency": 1}
        with pytest.raises(RunError, match=r"requests without a text: status 503.*--resume"):
            run(tmp_path, judge=judge, balance=None)
        failing = False
        log = run(tmp_path, "resume", judge=judge, balance=None)
        bodies = [json.dumps(body) for body in server.seen]
    kept, statistics = read(log)
    assert statistics["dropped"] == {"length": 0, "margin": statistics["pairs"] - len(kept)} and statistics["judged"] > 12
    answered = len((log.path / "judged.jsonl").read_text().splitlines())
    asked = Counter(json.dumps(body) for body in server.seen)
    assert answered == 2 * len(asked) <= 4 * statistics["pairs"]  # both orders, twice; the same question once for all
    assert all(asked[body] == 2 for body in bodies[:40])  # what was answered before the failure is not paid again
    assert "<think>" not in "".join(m["content"] for body in server.seen for m in body["messages"])  # summaries alone
    assert statistics["order_consistent"] == 1.0 and statistics["first_shown"] == 0.5


def test_labels(tmp_path):
    log = run(tmp_path, kind="label", samples_per_prompt=3)
    kept, statistics = read(log)
    assert set(kept[0]) == {"prompt", "response", "label", "task", "problem", "tokens", "source"}
    assert {row["label"] for row in kept} == {0, 1} and {row["task"] for row in kept} == {"request"}
    assert statistics["safe"] + statistics["unsafe"] == len(kept) and 0 <= statistics["agreement"] <= 1
    assert len({(row["problem"], row["response"]) for row in kept}) == len(kept)


def test_nothing_left_says_why(tmp_path):
    said = random.Random(0)
    with serve(lambda body, number: chat(said.choice(("[[A=B]]", "[[A>B]]", "[[B>A]]")))) as server:
        judge = {"base_url": server.url, "model": "judge", "attempts": 1}
        with pytest.raises(NothingAccepted, match=r"none is left of \d+ pairs; \d+ dropped by length.*margin 1: lower it"):
            run(tmp_path, judge=judge, prompts=8)
    with serve(lambda body, number: chat("Both are lovely, A>B or so")) as server:
        judge = {"base_url": server.url, "model": "judge", "attempts": 1}
        with pytest.raises(NothingAccepted, match=r"\d+ dropped by unreadable. The judge gave no verdict that can be read"):
            run(tmp_path, "force", judge=judge, prompts=4)
    with serve(lambda body, number: chat('{"analysis": "", "safe": true}')) as server:
        judge = {"base_url": server.url, "model": "judge", "attempts": 1}
        with pytest.raises(NothingAccepted, match=r"only one class, or none, of \d+ responses: \d+ safe, 0 unsafe"):
            run(tmp_path, "force", kind="label", judge=judge, prompts=8)
