"""Training does what it is for: the loss falls, and a reward that can be had is had more and more often."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import numpy as np
import pytest
from pydantic.dataclasses import dataclass

import tiny
from move37 import rewards
from move37.algorithms import ALGORITHMS
from move37.models import folder
from move37.options import STRICT
from move37.rewards import Each
from move37.stages import pretrain
from move37.types import Problem, Rollout, Score

STEPS = 30


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Early(Each):
    """The share of sampled tokens below 60 of 300; a random policy has about a fifth."""

    def score(self, rollout: Rollout, problem: Problem) -> Score:
        return Score(value=float((rollout.token_ids[rollout.sampled] < 60).sum() / max(1, rollout.length)))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_raises_a_reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str) -> None:
    monkeypatch.setitem(rewards.REWARDS, "early", Early)
    folder.save(tiny.loaded(), tmp_path / "model")
    (tmp_path / "short.txt").write_text(tiny.SHORT)
    options = {"dynamic_sampling": False} if algorithm == "dapo" else {}  # it looks at accuracy, which is 0 here
    section = {
        "stage": "rl",
        "steps": STEPS,
        "prompts_per_step": 4,
        "samples_per_prompt": 8,
        "max_new_tokens": 8,
        "rewards": {"early": 1.0},
        "algorithm": {"name": algorithm, "overlong": "keep", **options},
        "optimizer": {"lr": 1e-2},
        "save_every": STEPS,
        "starve_limit": STEPS + 1,
    }
    log = tiny.run(tmp_path, tiny.recipe({"rl": section}, model="model", template="short.txt")).log("rl")
    curve = [row["reward"] for row in log.metrics()]
    assert np.isfinite(curve).all()
    assert mean(curve[:3]) < 0.35
    assert mean(curve[-5:]) > mean(curve[:3]) + 0.3, curve
    assert max(row["mismatch_kl"] for row in log.metrics()) < 1e-6


def test_pretraining_learns_the_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the logarithm of the vocabulary, 5.7 nats, down by more than two; on documents it has not seen as well."""
    monkeypatch.setattr(pretrain, "TOKENIZER_DOCUMENTS", 400)
    base = {**tiny.PRETRAIN, "steps": 50, "documents_per_step": 16, "save_every": 50}
    log = tiny.run(tmp_path, tiny.recipe({"base": base})).log("base")
    losses = [row["loss"] for row in log.metrics()]
    assert losses[0] == pytest.approx(np.log(tiny.VOCABULARY), abs=0.3)
    assert mean(losses[-5:]) < losses[0] - 2
    assert log.metrics()[-1]["held_out_loss"] < losses[0] - 2
