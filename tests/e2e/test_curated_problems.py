"""Curating and RL on what it keeps: killed and resumed the same data, and nothing but kept problems is trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny
from move37 import shards
from move37.errors import NothingAccepted, TaskError
from move37.recipe import Recipe
from move37.report import page
from move37.report.live import Live
from move37.runs import Run, deterministic
from move37.stages import run_recipe
from move37.stages.curate import Curating

CURATED = {
    "stage": "curate",
    "prompts": 11,
    "prompts_per_step": 4,
    "samples_per_prompt": 3,
    "max_new_tokens": 32,
    "guesses": 2,
    "guess_tokens": 6,
    "most": 5,
}


def recipe(curated: dict | None = None, **draw: object) -> Recipe:
    rl = {"stage": "rl", "steps": 2, "prompts_per_step": 3, "samples_per_prompt": 2, "max_new_tokens": 16, "starve_limit": 99}
    draws = {"kind": "prioritised", "problems": "curated", **draw}
    chain = {"chain": {"family": "chain", "knobs": {"operands": [3, 3]}}}
    return tiny.recipe(
        {"curated": {**CURATED, **(curated or {})}, "rl": {**rl, "draw": draws}}, model="bundled", template="r1_zero", tasks=chain
    )


def go(root: Path, wanted: Recipe, mode: str | None = None) -> Run:
    root.mkdir(exist_ok=True)
    source = root / "tiny.yaml"
    source.write_text(wanted.to_yaml(), encoding="utf-8")
    with Run.create(root / "runs", wanted, mode, source=source) as made, Live(plain=True) as display:
        run_recipe(wanted, made, display)
    return made


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_curated_resumed_and_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = go(tmp_path / "whole", recipe())
    step = Curating.step

    def breaking(self: Curating, number: int) -> dict:
        if number == 3:
            raise RuntimeError("pulled the plug")
        return step(self, number)

    monkeypatch.setattr(Curating, "step", breaking)
    with pytest.raises(RuntimeError, match="plug"):
        go(tmp_path / "broken", recipe())
    monkeypatch.setattr(Curating, "step", step)
    broken = go(tmp_path / "broken", recipe(), "resume")
    logs = [run.log("curated") for run in (whole, broken)]
    for file in ("part-00001.jsonl", "statistics.json"):
        assert (logs[0].data / file).read_bytes() == (logs[1].data / file).read_bytes()
    metrics = [[deterministic(row) for row in log.metrics()] for log in logs]
    assert metrics[0] == metrics[1] and len(metrics[0]) == 3

    kept = rows(logs[0].data / "part-00001.jsonl")
    told = json.loads((logs[0].data / "statistics.json").read_text())
    assert 3 <= len(kept) == told["kept"] <= 5 and told["asked"] == told["kept"] + sum(told["dropped"].values())
    asked = {g.problem.id: g.rollouts for path in logs[0].shards().values() for g in shards.read(path)}
    for row in kept:
        right = [r.scores["accuracy"].value == 1 for r in asked[row["problem"]]]
        assert row["pass_rate"] == pytest.approx(sum(right[:3]) / 3) and row["pass_rate"] < 1
        assert not any(right[3:]) and len(right) == 5  # no guess was right
        assert {r.prefill for r in asked[row["problem"]][3:]} == {"<think></think><answer>"}
    trained = {g.problem.id for path in whole.log("rl").shards().values() for g in shards.read(path)}
    assert trained <= {row["problem"] for row in kept}
    assert all(row["drawn/pass_rate"] is not None for row in whole.log("rl").metrics())
    assert "problems kept" in page.render(whole)


PROBLEMS = [
    {"question": "What is 2+3?\n(A) 4\n(B) 5\n(C) 6", "answer": "B", "subject": "Prealgebra"},
    {"question": "Is 91 a prime number?", "answer": "no", "subject": "Number Theory"},
    {"question": "Prove that the sum of two even numbers is even.", "answer": "n+m=2(k+l)", "subject": "Number Theory"},
    {"question": "How many sides has a heptagon?", "answer": "seven sides", "subject": "Geometry"},
]


def test_what_can_not_be_verified_well_is_dropped_unseen(tmp_path: Path) -> None:
    """One of each kind in a file, and a plain one that the base never gets right: it stays, with the domain of its file."""
    held_out = {"question": "How many sides has a square?", "answer": "four sides", "subject": "Geometry"}
    for name, mine in (("train", PROBLEMS), ("test", [held_out])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in mine), encoding="utf-8")
    columns = {"question": "question", "answer": "answer", "verifier": "text"}
    files = {"mine": {"file": "train.jsonl", "held_out_file": "test.jsonl", **columns}}
    section = {**CURATED, "prompts": 4, "samples_per_prompt": 2, "max_new_tokens": 16, "balance": "domain"}
    log = go(tmp_path, tiny.recipe({"curated": section}, model="bundled", template="r1_zero", tasks=files)).log("curated")
    told = json.loads((log.data / "statistics.json").read_text())
    assert told["dropped"] == {"multiple_choice": 1, "proof": 1, "true_false": 1} and told["tags"] == {"Geometry": 1}
    (kept,) = rows(log.data / "part-00001.jsonl")
    assert (kept["prompt"], kept["domain"], kept["pass_rate"]) == (PROBLEMS[3]["question"], "Geometry", 0.0)
    sampled = {g.problem.question for path in log.shards().values() for g in shards.read(path)}
    assert sampled == {kept["prompt"]}


def test_nothing_kept_is_told_by_reason_and_an_empty_level_by_its_number(tmp_path: Path) -> None:
    with pytest.raises(NothingAccepted, match=r"curated: none of \d+ problems was kept: .*dropped: .*(trivial|hopeless) \d+"):
        go(tmp_path / "none", recipe({"trivial": 0.01, "hopeless": 0.0, "prompts": 4}))
    levels = {"kind": "curriculum", "levels": [[0, 1], [0.99, 1]], "at": [2]}
    with pytest.raises(TaskError, match="level 2 has no problem to draw"):
        go(tmp_path / "level", recipe(**levels))
