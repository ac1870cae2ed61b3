"""An evaluation that is cut goes on with the problems that are left, and its numbers are those of one that was not."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

import tiny
from move37.report.live import Live
from move37.rollout.sampler import Sampler
from move37.runs import Run, deterministic
from move37.stages import run_recipe

PROBLEMS = 40  # in two parts
LOOK = {"look": {"stage": "evaluate", "problems": PROBLEMS, "samples": 2, "max_new_tokens": 8}}


@pytest.fixture
def wanted(tmp_path):
    return tiny.recipe(LOOK, model=str(tiny.save(tmp_path / "model", "llama")), template="r1_zero")


def counted(monkeypatch, dies_at=None):
    """Notes how many problems each call of the sampler was asked; from call `dies_at` on it raises."""
    asked, sample = [], Sampler.sample

    def watched(self, problems, *given):
        if dies_at is not None and len(asked) >= dies_at:
            raise KeyboardInterrupt
        asked.append(len(problems))
        return sample(self, problems, *given)

    monkeypatch.setattr(Sampler, "sample", watched)
    return asked


@pytest.mark.parametrize("dies_at", [1, 3])
def test_only_what_is_left_is_asked(tmp_path, wanted, monkeypatch, dies_at):
    """Two parts of samples, two greedy ones: cut before the second, and before the last."""
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = tiny.run(tmp_path / "whole", wanted)
    with monkeypatch.context() as patch:
        asked = counted(patch, dies_at)
        with pytest.raises(KeyboardInterrupt):
            tiny.run(tmp_path / "cut", wanted)
    assert asked == [32, 8, 32, 8][:dies_at]
    asked = counted(monkeypatch)
    with Run.create(tmp_path / "cut" / "runs", wanted, "resume") as cut, Live(plain=True) as display:
        run_recipe(wanted, cut, display)
    assert asked == [32, 8, 32, 8][dies_at:]
    one, other = (made.log("look") for made in (whole, cut))
    assert deterministic(one.eval()) == deterministic(other.eval())
    assert other.eval()["seconds"] > 0 and not (other.path / "parts").exists()
    for name in ("sampled", "greedy"):
        first, second = (pq.read_table(log.path / "rollouts" / f"{name}.parquet") for log in (one, other))
        assert first.equals(second)


def test_time_of_the_first_try_counts(tmp_path, wanted, monkeypatch):
    with monkeypatch.context() as patch:
        counted(patch, dies_at=1)
        with pytest.raises(KeyboardInterrupt):
            tiny.run(tmp_path, wanted)
    log = Run.open(tmp_path / "runs" / "tiny").log("look")
    clock = log.path / "parts" / "clock.json"
    clock.write_text('{"seconds": 1000.0}')
    with Run.create(tmp_path / "runs", wanted, "resume") as made, Live(plain=True) as display:
        run_recipe(wanted, made, display)
    assert 1000 < log.eval()["seconds"] < 1900 and log.done["seconds"] == log.eval()["seconds"]
