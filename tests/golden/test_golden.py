"""Four steps of pretraining and four of RL, against the numbers they gave before.

A change that is meant to leave results alone must leave these alone. Within one machine and one build of PyTorch runs
are equal bit by bit (tests/e2e/test_resume.py); between machines they are not, because the order in which a matrix
product sums depends on the width of the CPU's vectors and on the library chosen for it. So these compare to a relative
1e-4: far below what any change of an algorithm does, far above what the order of sums does in so few steps.

After a change that is meant to alter results: `pytest tests/golden --remake-golden`, and look at the difference.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic.dataclasses import dataclass

import tiny
from move37 import rewards
from move37.models import folder
from move37.options import STRICT
from move37.rewards import Each
from move37.runs import deterministic
from move37.stages import pretrain
from move37.types import Problem, Rollout, Score

HERE = Path(__file__).parent
RL = {
    "stage": "rl",
    "steps": 4,
    "prompts_per_step": 4,
    "samples_per_prompt": 4,
    "updates_per_step": 2,
    "max_new_tokens": 12,
    "rewards": {"early": 1.0, "format": 0.1},
    "algorithm": {"name": "grpo", "kl_coef": 0.05, "reference_every": 2},
    "tokens_per_microbatch": 128,
    "optimizer": {"lr": 2e-3},
    "probe_every": 2,
}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Early(Each):
    """Something a random model differs in: the share of sampled tokens of the vocabulary's first half."""

    def score(self, rollout: Rollout, problem: Problem) -> Score:
        early = (rollout.token_ids[rollout.sampled] < tiny.VOCABULARY // 2).sum()
        return Score(value=float(early / max(1, rollout.length)))


def compare(name: str, found: dict[str, Any], remake: bool) -> None:
    path = HERE / f"{name}.json"
    if remake:
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        pytest.skip(f"{path.name} was written anew")
    expected = json.loads(path.read_text(encoding="utf-8"))
    assert found.keys() == expected.keys()
    for part, rows in expected.items():
        assert len(found[part]) == len(rows)
        for one, two in zip(found[part], rows, strict=True):
            assert one.keys() == two.keys(), part
            for key, value in two.items():
                assert one[key] == close(key, value), f"{part}, step {two['step']}: {key}"


def close(key: str, value: float | None) -> Any:
    if key == "mismatch_kl":  # sampler and learner differ by rounding alone: it has no digits to compare
        return pytest.approx(0, abs=1e-6)
    return value if value is None else pytest.approx(value, rel=1e-4, abs=1e-7)


@pytest.fixture
def remake(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--remake-golden"))


def test_four_steps_of_pretraining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remake: bool) -> None:
    monkeypatch.setattr(pretrain, "TOKENIZER_DOCUMENTS", 400)
    log = tiny.run(tmp_path, tiny.recipe({"base": tiny.PRETRAIN})).log("base")
    rows = [deterministic(row) for row in log.metrics()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["loss"] < rows[0]["loss"]
    compare("pretrain", {"metrics": rows}, remake)


def test_four_steps_of_rl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remake: bool) -> None:
    monkeypatch.setitem(rewards.REWARDS, "early", Early)
    folder.save(tiny.loaded(), tmp_path / "model")
    (tmp_path / "short.txt").write_text(tiny.SHORT)
    log = tiny.run(tmp_path, tiny.recipe({"rl": RL}, model="model", template="short.txt")).log("rl")
    rows = [deterministic(row) for row in log.metrics()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(0 <= row["mismatch_kl"] < 1e-6 for row in rows)
    probes = [deterministic(row) for row in log.probes()]
    assert [row["step"] for row in probes] == [0, 2, 4]
    compare("rl", {"metrics": rows, "probes": probes}, remake)
