"""A run that is killed, torn or interrupted and then resumed ends bit by bit where an undisturbed one ends."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import tiny
from place import Place, rows

BASE_STEPS, RL_STEPS = 12, 9
REWARD = """
def early(rollout, problem):
    chosen = rollout.token_ids[rollout.sampled]
    return float((chosen < 150).mean()) if len(chosen) else 0.0
"""
# A process that kills itself inside a rollout phase: after the second of its third step's three updates.
DYING = """
import os, signal
from move37.learner.learner import Learner

step, calls = Learner.step, []

def dying(self, *given):
    told = step(self, *given)
    calls.append(told)
    if len(calls) == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return told

Learner.step = dying
"""


def recipe() -> dict:
    base = {**tiny.PRETRAIN, "steps": BASE_STEPS, "documents_per_step": 16, "save_every": 3}
    rl = {
        "stage": "rl",
        "init": "base",
        "steps": RL_STEPS,
        "prompts_per_step": 4,
        "samples_per_prompt": 4,
        "updates_per_step": 3,
        "max_new_tokens": 16,
        "rewards": {"reward.py:early": 1.0},
        "algorithm": {"name": "grpo", "kl_coef": 0.05, "reference_every": 3},
        "tokens_per_microbatch": 256,
        "optimizer": {"lr": 2e-3},
        "probe_every": 3,
        "save_every": 2,
        "starve_limit": 1000,
    }
    return {
        "name": "tiny",
        "seed": 3,
        "template": "short.txt",
        "tasks": {"chain": {"family": "chain"}, "product": {"family": "product"}},
        "stages": {"base": base, "rl": rl},
        "hardware": {"threads": 1, "device": "cpu"},
    }


def at(root: Path) -> Place:
    return Place(root, recipe(), reward__py=REWARD, short__txt=tiny.SHORT)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = at(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Place]]:
    """A run that nothing disturbs. It starts at once and is waited for where its end is needed."""
    made = at(tmp_path_factory.mktemp("undisturbed"))
    process = made.start()

    def finished() -> Place:
        if process.returncode is None:
            made.end(process)
        return made

    yield finished
    made.close()


def assert_equal(one: Place, two: Place) -> None:
    """Weights, metrics, looks at the held-out problems and every recorded response."""
    for stage, steps in (("base", BASE_STEPS), ("rl", RL_STEPS)):
        a, b = one.run / "stages" / stage, two.run / "stages" / stage
        found, expected = rows(a / "metrics.jsonl"), rows(b / "metrics.jsonl")
        assert [row["step"] for row in expected] == list(range(1, steps + 1))
        assert found == expected
        assert (a / "final/model.safetensors").read_bytes() == (b / "final/model.safetensors").read_bytes(), stage
    assert rows(a / "probe.jsonl") == rows(b / "probe.jsonl")
    for folder in ("rollouts", "probe"):
        names = [path.name for path in sorted((b / folder).iterdir())]
        assert [path.name for path in sorted((a / folder).iterdir())] == names
        assert all(pq.read_table(a / folder / name).equals(pq.read_table(b / folder / name)) for name in names)


def test_killed_at_any_moment(place: Place, undisturbed: Callable[[], Place]) -> None:
    """Four times: in each stage, inside a rollout phase with several updates, and with files torn besides."""
    moments = random.randint(1, BASE_STEPS // 2), random.randint(1, RL_STEPS // 2 - 1)
    print(f"killed after step {moments[0]} of base and step {moments[1]} of rl")  # shown when it fails

    process = place.start()
    place.wait_for(process, "base", moments[0])
    place.kill(process)

    process = place.start("--resume")
    place.wait_for(process, "rl", moments[1])
    place.kill(process)
    with (place.run / "stages/rl/metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "rewa')

    process = place.start("--resume", program=DYING)
    told = place.end(process, -signal.SIGKILL)
    assert "the last line was torn" in told

    saved = place.checkpoints("rl")
    torn = saved[-1] / "trainer.pt"
    torn.write_bytes(torn.read_bytes()[:1000])
    told = place.end(place.start("--resume"))
    assert f"{torn.parent.name}: trainer.pt is torn" in told
    assert_equal(place, undisturbed())


def test_interrupted_by_the_keyboard(place: Place, undisturbed: Callable[[], Place]) -> None:
    """Ctrl-C ends the step, saves, tells how to go on and returns 130; meanwhile nobody else gets at the run."""
    process = place.start()
    place.wait_for(process, "base", 2)
    process.send_signal(signal.SIGSTOP)  # so that it is not done before the other one has looked
    refused = place.command("--resume")
    assert refused.returncode == 3
    assert f"in use by process {process.pid}" in refused.stderr
    process.send_signal(signal.SIGCONT)
    told = place.interrupt(process)
    step = place.steps("base")
    assert f"interrupted: step {step} of base is saved" in told
    assert place.checkpoints("base")[-1].name == f"step-{step:06d}"
    assert re.search(r"move37 run \S*recipe\.yaml .*--resume", told)

    process = place.start("--resume")
    place.wait_for(process, "rl", 3)
    told = place.interrupt(process)
    assert f"interrupted: step {place.steps('rl')} of rl is saved" in told

    place.end(place.start("--resume"))
    assert_equal(place, undisturbed())


def test_a_changed_key_makes_its_stage_again_and_no_other(place: Place, undisturbed: Callable[[], Place]) -> None:
    """Fewer steps of rl: refused, then made again, killed on the way; base stays, and the steps are those of before."""
    whole = undisturbed()
    shutil.copytree(whole.run, place.run)
    refused = place.command("rl.steps=5", "--resume")
    assert refused.returncode == 2
    assert "stages.rl.steps: 9 -> 5" in refused.stderr and "--remake" in refused.stderr
    assert place.steps("rl") == RL_STEPS

    process = place.start("rl.steps=5", "--remake")
    place.until(process, lambda: 2 <= place.steps("rl") < 5)
    place.kill(process)
    told = place.end(place.start("rl.steps=5", "--resume"))
    assert "base: done before" in told
    a, b = place.run / "stages/rl", whole.run / "stages/rl"
    assert rows(a / "metrics.jsonl") == rows(b / "metrics.jsonl")[:5]
    untouched = "stages/base/lineage.json"
    assert (place.run / untouched).read_bytes() == (whole.run / untouched).read_bytes()
    parents = [json.loads((at / "lineage.json").read_text())["parents"] for at in (a, b)]
    assert parents[0] == parents[1]
    assert "rl: done before" in place.end(place.start("rl.steps=5", "--resume", "--only", "rl"))


def test_a_run_that_exists_needs_a_word(undisturbed: Callable[[], Place]) -> None:
    place = undisturbed()
    before = {path: path.stat().st_mtime_ns for path in place.run.rglob("*") if path.name != "run.lock"}
    done = place.command()
    assert (done.returncode, done.stdout) == (2, "")
    assert all(flag in done.stderr for flag in ("--resume", "--new", "--force"))
    assert {path: path.stat().st_mtime_ns for path in before} == before
