"""A student comes nearer to its teacher on its own responses, and a run that is cut off goes on to the same bits."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import numpy as np
import pytest

import tiny
from move37 import shards
from move37.errors import Interrupted
from move37.models import folder
from move37.report import page, summary
from move37.report.live import Live
from move37.runs import Run, deterministic
from move37.stages import run_recipe
from move37.stages.distill import Distillation

STEPS = 16
SECTION = {
    "stage": "distill",
    "teacher": "./teacher",
    "steps": STEPS,
    "prompts_per_step": 4,
    "samples_per_prompt": 8,
    "updates_per_step": 2,
    "max_new_tokens": 8,
    "loss": "clip",
    "optimizer": {"lr": 1e-2},
    "probe_every": 8,
    "save_every": 4,
}


def test_off_policy_by_text_whatever_the_tokenizers(tmp_path: Path) -> None:
    """The bundled model writes, a student with another tokenizer reads: rows are text, and each learns its own tokens."""
    sampled = {"stage": "rejection_sample", "prompts": 48, "samples_per_prompt": 8, "max_new_tokens": 32, "prompts_per_step": 48}
    tiny.run(tmp_path, tiny.recipe({"sampled": sampled}, name="teacher", model="bundled", template="r1_zero"))
    rows = list((tmp_path / "runs/teacher/stages/sampled/data").glob("*.jsonl"))
    assert rows
    folder.save(tiny.loaded(), tmp_path / "model")
    (tmp_path / "short.txt").write_text(tiny.SHORT)
    taught = {"stage": "sft", "data": "runs/teacher/stages/sampled/data", "epochs": 4, "examples_per_step": 4}
    log = tiny.run(tmp_path, tiny.recipe({"taught": taught}, name="student", model="model", template="short.txt")).log("taught")
    assert log.metrics()[0]["too_long"] == 0
    assert log.metrics()[-1]["loss"] < log.metrics()[0]["loss"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder.save(tiny.loaded(seed=0), tmp_path / "model")
    folder.save(tiny.loaded(seed=1), tmp_path / "teacher")
    (tmp_path / "short.txt").write_text(tiny.SHORT)
    return tmp_path


def recipe(name: str):
    return tiny.recipe({"distil": SECTION}, model="model", template="short.txt", name=name)


def test_reverse_kl_falls_and_a_resumed_run_is_the_same(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny.run(place, recipe("whole"))
    log = run.log("distil")
    curve = [row["reverse_kl"] for row in log.metrics()]
    assert mean(curve[-3:]) < 0.85 * mean(curve[:3]), curve
    assert max(row["mismatch_kl"] for row in log.metrics()) < 1e-6
    assert {"pass@1", "length", "task/chain/reverse_kl"} <= set(log.metrics()[0])
    assert [row["step"] for row in log.probes()] == [0, 8, 16]

    rollouts = [r for g in shards.read(log.shards()[1]) for r in g.rollouts]
    assert all(not r.graded for r in rollouts)  # no reward; the verdict is there
    told = np.average([r.scores["reverse_kl"].value for r in rollouts], weights=[r.length for r in rollouts])
    assert told == pytest.approx(curve[0])
    assert "reverse KL" in page.render(Run.open(run.path))
    assert summary.build(Run.open(run.path))["stages"]["distil"]["steps"] == STEPS

    step = Distillation.step

    def interrupted(self: Distillation, number: int) -> dict:
        self.context.interrupt.asked = number == 6
        return step(self, number)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Distillation, "step", interrupted)
        tiny.run(place, recipe("cut"))
    wanted = recipe("cut")
    with Run.create(place / "runs", wanted, "resume", source=place / "tiny.yaml") as cut:
        run_recipe(wanted, cut, Live(plain=True))
    again = Run.open(place / "runs/cut").log("distil")
    for one, other in ((log.metrics(), again.metrics()), (log.probes(), again.probes())):
        assert [deterministic(row) for row in other] == [deterministic(row) for row in one]
    assert (again.final / "model.safetensors").read_bytes() == (log.final / "model.safetensors").read_bytes()
