"""Partial rollouts and prioritised draws: stopped at a step and resumed, the same bits as undisturbed."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

import tiny
from move37.models import folder
from move37.recipe import Recipe
from move37.report.live import Live
from move37.runs import Run, deterministic
from move37.stages import run_recipe
from move37.stages.rl import RLTraining

STEPS = 6
REWARD = """
def early(rollout, problem):
    chosen = rollout.token_ids[rollout.sampled]
    return float((chosen < 150).mean()) if len(chosen) else 0.0
"""


def recipe(earlier: str) -> Recipe:
    rl = {
        "stage": "rl",
        "steps": STEPS,
        "prompts_per_step": 3,
        "samples_per_prompt": 3,
        "max_new_tokens": 20,
        "partial": {"new_tokens": 6, "max_age": 3, "earlier": earlier},
        "draw": {"kind": "prioritised", "pool": 8},
        "rewards": {"reward.py:early": 1.0},
        "optimizer": {"lr": 2e-3},
        "updates_per_step": 2,
        "save_every": 1,
        "starve_limit": 1000,
    }
    return tiny.recipe({"rl": rl}, model="model", template="short.txt")


def go(root: Path, wanted: Recipe, mode: str | None = None) -> Run:
    source = root / "tiny.yaml"
    source.write_text(wanted.to_yaml(), encoding="utf-8")
    with Run.create(root / "runs", wanted, mode, source=source) as made, Live(plain=True) as display:
        run_recipe(wanted, made, display)
    return made


@pytest.mark.parametrize("earlier", ["learn", "leave_out"])
def test_stopped_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: str) -> None:
    folder.save(tiny.loaded(), tmp_path / "model")
    places = {}
    for name in ("whole", "broken"):
        places[name] = tmp_path / name
        places[name].mkdir()
        (places[name] / "short.txt").write_text(tiny.SHORT)
        (places[name] / "reward.py").write_text(REWARD)
        (places[name] / "model").symlink_to(tmp_path / "model")
    whole = go(places["whole"], recipe(earlier)).log("rl")
    step = RLTraining.step

    def breaking(self: RLTraining, number: int) -> dict:
        if number == 4:
            raise RuntimeError("pulled the plug")
        return step(self, number)

    monkeypatch.setattr(RLTraining, "step", breaking)
    with pytest.raises(RuntimeError, match="plug"):
        go(places["broken"], recipe(earlier))
    monkeypatch.setattr(RLTraining, "step", step)
    broken = go(places["broken"], recipe(earlier), "resume").log("rl")
    assert [deterministic(row) for row in broken.metrics()] == [deterministic(row) for row in whole.metrics()]
    a, b = ((log.final / "model.safetensors").read_bytes() for log in (whole, broken))
    assert a == b
    shards = [log.shards() for log in (whole, broken)]
    assert all(pq.read_table(shards[0][n]).equals(pq.read_table(shards[1][n])) for n in range(1, STEPS + 1))
    rows = whole.metrics()
    assert rows[0]["partial/open"] > 0 and any(row["partial/stale"] for row in rows[1:])  # it was no case of none
    assert all(row["mismatch_kl"] < 1e-6 for row in rows if row.get("mismatch_kl") is not None)
    assert any(row.get("partial/drift", 0) > 1e-6 for row in rows)
