"""The one-GPU recipe on a CPU: two steps on real GSM8K problems with a small random Qwen2 model from a model directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny
from move37 import shards
from move37.recipe import load
from move37.report.live import Live
from move37.runs import Run
from move37.stages import run_recipe

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "one_gpu" / "gsm8k_r1_zero.yaml"
DATA = ROOT.parent / "shared" / "data" / "gsm8k"


@pytest.mark.skipif(not DATA.is_dir(), reason="GSM8K is not beside the repository (../shared/data/gsm8k)")
def test_two_steps_on_real_problems(tmp_path):
    model = tiny.save(tmp_path / "qwen2", "qwen2", max_position_embeddings=2048)
    settings = {
        "model": model,
        "tasks.gsm8k.file": DATA / "train.jsonl",
        "tasks.gsm8k.held_out_file": DATA / "test.jsonl",
        "rl.steps": 2,
        "rl.prompts_per_step": 2,
        "rl.samples_per_prompt": 4,
        "rl.max_new_tokens": 24,
        "rl.probe_every": 0,
        # a random model earns nothing; this reward gives it something to learn from, so that an update happens
        "rl.rewards": json.dumps({f"{Path(__file__).parent / 'rewards.py'}:plain": 1.0}),
        "before.problems": 2,
        "before.samples": 2,
        "before.max_new_tokens": 24,
        "after.problems": 2,
        "after.samples": 2,
        "after.max_new_tokens": 24,
    }
    recipe = load(RECIPE, [f"{key}={value}" for key, value in settings.items()])
    with Run.create(tmp_path / "runs", recipe, source=RECIPE) as run, Live(plain=True) as display:
        run_recipe(recipe, run, display)
        log = run.log("rl")
        rows = log.metrics()
        assert [row["step"] for row in rows] == [1, 2]
        assert all(row["mismatch_kl"] < 1e-6 and row["grad_norm"] > 0 for row in rows)
        assert all(row["kl"] is not None for row in rows)  # the recipe has a reference model
        [group, _] = shards.read(log.shards()[1])
        assert "####" not in group.problem.answer and group.problem.question in (DATA / "train.jsonl").read_text().replace(
            '\\"', '"'
        ).replace("\\n", "\n")
        assert (log.final / "model.safetensors").is_file()
        assert run.log("after").eval()["problems"] == 2
