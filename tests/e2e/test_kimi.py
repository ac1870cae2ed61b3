"""The optimisation of Kimi k1.5 as a stage (epochs, an optimizer that forgets, rewards with a warm-up), and PPO beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tiny
from move37 import checkpoint
from move37.learner.learner import Learner
from move37.models import folder
from move37.recipe import Recipe
from move37.report.live import Live
from move37.runs import Run, deterministic
from move37.stages import run_recipe

STEPS, EPOCHS, UPDATES = 4, 2, 2


REWARDS = """
def early(rollout, problem):
    return float((rollout.token_ids < 60).mean())

def late(rollout, problem):
    return float((rollout.token_ids > 200).mean())
"""


class Killed(Exception):
    pass


def recipe(root: Path, lr: float = 5e-3, **algorithm: object) -> Recipe:
    folder.save(tiny.loaded(), root / "model")
    (root / "short.txt").write_text(tiny.SHORT)
    (root / "reward.py").write_text(REWARDS)
    section = {
        "stage": "rl",
        "steps": STEPS,
        "prompts_per_step": 3,
        "samples_per_prompt": 4,
        "updates_per_step": UPDATES,
        "max_new_tokens": 8,
        "rewards": {"reward.py:early": 1.0, "length": 0.5, "reward.py:late": {"weight": 0.5, "from_step": 3}},
        "algorithm": {"name": "mirror_descent", "epochs": EPOCHS, **algorithm},
        "optimizer": {"lr": lr},
        "save_every": 1,
        "starve_limit": 100,
    }
    return tiny.recipe({"rl": section}, model="model", template="short.txt", seed=2)


@pytest.mark.parametrize(("name", "models"), [("mirror_descent", 1), ("ppo", 2)])
def test_killed_in_an_iteration_and_resumed_it_ends_in_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, models: int
) -> None:
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
    whole = tiny.run(tmp_path / "one", recipe(tmp_path / "one", name=name))
    learn, calls = Learner.step, []

    def dying(self, *given):
        calls.append(given)
        if len(calls) == models * (2 * EPOCHS * UPDATES + 3):  # in the second epoch of the third iteration
            raise Killed
        return learn(self, *given)

    root = tmp_path / "two"
    wanted = recipe(root, name=name)
    (root / "tiny.yaml").write_text(wanted.to_yaml())
    with monkeypatch.context() as patched, Run.create(root / "runs", wanted, source=root / "tiny.yaml") as made:
        patched.setattr(Learner, "step", dying)
        with Live(plain=True) as display, pytest.raises(Killed):
            run_recipe(wanted, made, display)
    with Run.create(root / "runs", wanted, "resume", source=root / "tiny.yaml") as made, Live(plain=True) as display:
        run_recipe(wanted, made, display)
    rows = [[deterministic(row) for row in run.log("rl").metrics()] for run in (whole, made)]
    assert len(rows[0]) == STEPS and rows[0] == rows[1]
    final = [(run.log("rl").final / "model.safetensors").read_bytes() for run in (whole, made)]
    assert final[0] == final[1]


def test_every_iteration_begins_with_a_fresh_optimizer_and_sees_its_samples_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, counts, seen = Learner.step, [], []

    def watched(self, examples, spec):
        state = self.optimizer.parts[0].state
        counts.append(max((int(s["step"]) for s in state.values()), default=0))
        seen.append({example.tokens.tobytes() for example in examples})
        return learn(self, examples, spec)

    monkeypatch.setattr(Learner, "step", watched)
    run = tiny.run(tmp_path, recipe(tmp_path))
    assert counts == list(range(EPOCHS * UPDATES)) * STEPS  # updates that the moments have seen
    first, second = seen[0] | seen[1], seen[2] | seen[3]
    assert first == second and seen[0] != seen[2]  # all samples again, otherwise divided
    rows = run.log("rl").metrics()
    assert [row["log_ratio_rms"] > 0 for row in rows] == [True] * STEPS
    assert max(row["mismatch_kl"] for row in rows) < 1e-6  # of the first update: it is still the policy that sampled


def test_a_reward_is_watched_before_its_step_and_counts_from_there(tmp_path: Path) -> None:
    for row in tiny.run(tmp_path, recipe(tmp_path)).log("rl").metrics():
        late = 0.5 * row["reward/late"]
        assert late > 0
        paid = late if row["step"] >= 3 else 0.0
        assert row["reward"] == pytest.approx(row["reward/early"] + 0.5 * row["reward/length"] + paid)


def test_tau_holds_the_policy_near_the_one_that_sampled(tmp_path: Path) -> None:
    """The larger tau is, the smaller the log ratio of whole responses at the end of an iteration."""
    drift = []
    for tau in (0.01, 100.0):
        root = tmp_path / str(tau)
        root.mkdir()
        run = tiny.run(root, recipe(root, lr=5e-4, tau=tau, epochs=15))
        drift.append(run.log("rl").metrics()[0]["log_ratio_rms"])
    assert drift[1] < drift[0] / 2


def test_the_stage_says_what_an_iteration_is(tmp_path: Path) -> None:
    section = recipe(tmp_path).stages["rl"]
    assert "2 updates of about 6 in each of 2 epochs" in section.sentence()


def test_the_value_model_learns_what_responses_earn_and_is_saved(tmp_path: Path) -> None:
    made = tiny.run(tmp_path, recipe(tmp_path, name="ppo", epochs=4, value_rate=2.0))
    rows = made.log("rl").metrics()
    assert rows[0]["value"] == 0  # a head of zeros
    assert abs(rows[-1]["value"] - rows[-1]["reward"]) < abs(rows[0]["reward"])
    trainer = checkpoint.load(checkpoint.newest(made.log("rl").checkpoints)[0]).trainer["extra"]["critic"]
    assert trainer["updates"] == STEPS * 4 * UPDATES
    assert trainer["weights"]["score.weight"].abs().sum() > 0
    assert "score.weight" not in folder.load(made.log("rl").final, torch.float32, torch.device("cpu")).model.state_dict()
