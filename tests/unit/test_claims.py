"""The statistics of docs/claims.md: intervals over seeds by hand, and the words that are read off them."""

from __future__ import annotations

import math

import claims
import pytest
from claimed import kimi, length
from claimed.numbers import Estimate, verdict

import fabricate
import tiny
from move37.files import write_json
from move37.recipe import load
from move37.runs import Run


def test_the_interval_of_three_seeds_by_hand():
    """1, 2, 3: mean 2, standard deviation 1, so half the interval is 4.303 / sqrt(3)."""
    found = Estimate((1.0, 2.0, 3.0))
    assert found.mean == 2 and found.half == pytest.approx(4.303 / math.sqrt(3))
    assert found.sign() == 0  # 2 - 2.48 < 0


def test_differences_are_taken_seed_by_seed():
    """Seeds move both arms alike: the difference is 1 each time, without any spread."""
    after, before = Estimate((2.0, 5.0, 9.0)), Estimate((1.0, 4.0, 8.0))
    assert after.minus(before).values == (1.0, 1.0, 1.0) and after.minus(before).sign() == 1
    assert after.sign() == 0


def test_one_seed_decides_nothing():
    found = Estimate((0.7,))
    assert math.isnan(found.half) and found.sign() == 0 and "±" not in found.text()


@pytest.mark.parametrize(
    ("values", "wanted", "word"),
    [
        ((0.1, 0.1, 0.1), 1, "holds"),
        ((0.1, 0.1, 0.1), -1, "contradicted"),
        ((0.1, 0.1, 0.1), 0, "contradicted"),
        ((-0.1, 0.1, 0.0), 1, "not decided"),
        ((-0.1, 0.1, 0.0), 0, "holds"),
    ],
)
def test_the_word_follows_from_the_interval(values, wanted, word):
    [line] = verdict([("it", Estimate(values), wanted)])
    assert f"**{word}**" in line


def test_every_experiment_has_a_recipe_and_every_claim_an_experiment():
    assert all((claims.RECIPES / recipe).is_file() for recipe in claims.EXPERIMENTS.values())
    assert {claim.experiment for claim in claims.CLAIMS} <= set(claims.EXPERIMENTS)


@pytest.mark.parametrize("claim", claims.CLAIMS, ids=lambda claim: claim.title)
def test_every_stage_of_a_claim_is_one_of_its_recipe(claim):
    assert set(claim.stages) <= set(load(claims.RECIPES / claims.EXPERIMENTS[claim.experiment]).stages)


def test_arms_of_an_ablation_differ_in_what_is_compared_alone():
    """Same start, tasks, steps, samples, updates and limits."""
    unlike = {
        "negatives": (kimi.LEARNING.values(), {"algorithm", "optimizer"}),
        "length": (length.ARMS.values(), {"rewards"}),
        "curriculum": (("uniform", "mixed_then_hard", "ascending"), {"draw"}),
    }
    for experiment, (arms, only) in unlike.items():
        stages = load(claims.RECIPES / claims.EXPERIMENTS[experiment]).stages
        first, *others = (stages[arm].model_dump(exclude=only) for arm in arms)
        assert all(other == first for other in others)


def test_the_page_looks_at_the_phase_before_the_length_reward_and_at_all_levels():
    late = load(claims.RECIPES / "length.yaml").stages["late"]
    assert late.rewards["length"]["from_step"] == length.WARM_UP + 1
    recipe = load(claims.RECIPES / "curriculum.yaml")
    assert {task for tasks in kimi.LEVELS.values() for task in tasks} == set(recipe.tasks)
    mixed, ascending = (recipe.stages[arm].draw["levels"] for arm in ("mixed_then_hard", "ascending"))
    assert set(mixed[0]) == set(recipe.tasks) and tuple(mixed[1]) == kimi.LEVELS["hard"]
    assert tuple(map(tuple, ascending)) == tuple(kimi.LEVELS.values())


def test_curves_are_read_off_the_metrics_of_a_stage(tmp_path):
    """Forty steps whose accuracy rises by .65 / 40 a step: up to the second the mean is .08 + 1.5 * .65 / 40 and noise."""
    runs = [Run.open(fabricate.run(tmp_path))]
    rows = runs[0].log("rl").metrics()
    assert kimi.through(runs, "rl", "pass@1", 2).mean == pytest.approx((rows[0]["pass@1"] + rows[1]["pass@1"]) / 2)
    assert kimi.together(runs, "rl", "length/right", "style/steps").mean == pytest.approx(1)
    assert kimi.together(runs, "rl", "length/right", "style/direct").mean == pytest.approx(-1)
    with pytest.raises(SystemExit, match="no metric heigth"):
        kimi.through(runs, "rl", "heigth")


def test_a_run_of_a_recipe_with_other_tasks_is_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(claims, "RUNS", tmp_path)
    mine = claims.load(claims.RECIPES / claims.EXPERIMENTS["tulu3"], ["name=tulu3-seed0"])
    other = mine.model_copy(update={"name": "tulu3-seed1", "tasks": {**mine.tasks, "sums": mine.tasks["chain"]}})
    for recipe in (mine, other):
        with claims.Run.create(tmp_path, recipe):
            pass
    assert [run.path.name for run in claims.finished("tulu3", ())] == ["tulu3-seed0"]
    assert "tulu3-seed1: left out" in capsys.readouterr().out


def test_a_section_whose_runs_are_not_here_stays_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "RUNS", tmp_path)
    kept = "## The stages of R1\n\nWhat runs of elsewhere gave: 0.9.\n"
    standing = f"# Claims\n\nAn old introduction.\n\n{kept}\n## No claim of ours\n\nx\n"
    made = claims.page(standing)
    assert kept in made
    assert "An old introduction" not in made and "No claim of ours" not in made
    assert made.count("\nNot run yet: ") == len(claims.CLAIMS) - 1
    assert claims.page(made) == made


def test_the_page_tells_threads_and_machine_of_every_seed(tmp_path):
    """Seeds 0 and 1 with one thread, 30 and 50 minutes; seed 2 with two."""
    stages = {"look": {"stage": "evaluate"}}
    runs = []
    for seed, (threads, minutes) in enumerate([(1, 30), (1, 50), (2, 25)]):
        top = {"name": f"r{seed}", "seed": seed, "model": "bundled", "template": "r1_zero", "hardware": {"threads": threads}}
        recipe = tiny.recipe(stages, **top)
        with Run.create(tmp_path, recipe) as run:
            write_json(run.path / "lineage.json", {**run.lineage, "hardware": {"cpu": "C", "cores": 8}})
            log = run.log("look")
            log.evaluation({}, [], [])
            log.finish({"seconds": 60.0 * minutes}, "evaluation")
        runs.append(Run.open(run.path))
    assert claims.work(runs) == ["seed 0, 1, 40 minutes each with 1 thread on C", "seed 2, 25 minutes each with 2 threads on C"]
