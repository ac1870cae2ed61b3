"""Accuracy against tokens, read off made-up evaluations: which models, their numbers, what is refused."""

from __future__ import annotations

from pathlib import Path
from statistics import stdev
from xml.etree import ElementTree

import long2short
import pytest

import fabricate
from move37.errors import UserError
from move37.recipe import load, parse
from move37.report.estimators import summarise
from move37.runs import Run

ROOT = Path(__file__).parents[2]


STAGES = {
    "before": {"stage": "evaluate", "problems": 4, "samples": 4},
    "long": {"stage": "rl", "steps": 1},
    "rows": {"stage": "rejection_sample", "init": "long", "prompts": 4, "choose": "shortest"},
    "sft": {"stage": "sft", "init": "model", "data": "rows", "steps": 1},
    "of_sft": {"stage": "evaluate", "init": "sft", "problems": 4, "samples": 4},
    "of_long": {"stage": "evaluate", "init": "long", "problems": 4, "samples": 4},
    "merged": {"stage": "merge", "init": "model", "other": "long"},
    "of_merged": {"stage": "evaluate", "init": "merged", "problems": 4, "samples": 4},
}


def recipe(**changes):
    tasks = {"chain": {"family": "chain"}, "product": {"family": "product"}}
    stages = {name: stage for name, stage in {**STAGES, **changes}.items() if stage}
    return parse({"name": "l2s", "model": "bundled", "template": "r1_zero", "tasks": tasks, "stages": stages}, "l2s.yaml")


def run(root, measured=("before", "of_long", "of_sft", "of_merged"), seed=0, **changes):
    chances = {"before": 0.1, "of_long": 0.9, "of_sft": 0.7, "of_merged": 0.4}
    made_by = recipe(**changes).model_copy(update={"name": f"l2s-seed{seed}", "seed": seed})
    with Run.create(root, made_by, source=None) as made:
        for stage in measured:
            checked = 0.3 * (stage == "of_long")
            sampled = [fabricate.group(i, chances[stage], samples=8, checked=checked, seed=seed) for i in range(8)]
            log = made.log(stage)
            log.path.mkdir(parents=True, exist_ok=True)
            log.evaluation({"stage": stage, **summarise(sampled, [])}, sampled, [])
        return made.path


def test_the_long_model_first_then_those_made_from_it_by_weights_or_by_data():
    assert long2short.evaluations(recipe(), "long") == {"of_long": "long", "of_sft": "sft", "of_merged": "merged"}


@pytest.mark.parametrize("size", ["tiny", "one_gpu", "cluster"])
def test_the_recipes_of_kimi_compare_the_long_model_with_four_short_ones(size):
    found = long2short.evaluations(load(ROOT / "recipes" / size / "k1_5.yaml"), "long")
    assert list(found.values()) == ["long", "short_rl", "short_dpo", "short_merge", "short_sft"]


def test_points_are_the_records_numbers_with_their_intervals(tmp_path):
    made = Run.open(run(tmp_path))
    [panel] = long2short.points([made], "long").values()
    assert [p.model for p in panel] == ["long", "sft", "merged"]
    for point, stage in zip(panel, ("of_long", "of_sft", "of_merged"), strict=True):
        wanted = made.log(stage).eval()["overall"]
        for measure, key in ((point.accuracy, "pass@1"), (point.tokens, "length")):
            assert {"value": measure.value, "low": measure.low, "high": measure.high} == wanted[key]
            assert measure.low <= measure.value <= measure.high
    [chain] = long2short.points([made], "long", ["chain"]).values()
    assert chain[0].accuracy.value == made.log("of_long").eval()["tasks"]["chain"]["pass@1"]["value"]


def test_the_command_prints_a_table_and_draws_one_panel_a_task(tmp_path, capsys):
    path, file = run(tmp_path), tmp_path / "new" / "picture.svg"
    long2short.main([str(path), "--picture", str(file), "--tasks", "chain", "product"])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| merged ")]
    assert len(rows) == 2
    texts = [e.text for e in ElementTree.parse(file).iter("{http://www.w3.org/2000/svg}text")]
    assert all(texts.count(model) == 2 for model in ("long", "sft", "merged"))
    assert "chain" in texts and "product" in texts


def test_several_seeds_give_means_with_intervals_over_runs(tmp_path, capsys):
    """Three runs: the mean of their values, and 4.303 standard deviations / sqrt(3) on either side."""
    paths, file = [run(tmp_path, seed=seed) for seed in range(3)], tmp_path / "seeds.svg"
    [panel] = long2short.points([Run.open(path) for path in paths], "long").values()
    for point, stage in zip(panel, ("of_long", "of_sft", "of_merged"), strict=True):
        records = [Run.open(path).log(stage).eval()["overall"] for path in paths]
        for measure, key in ((point.accuracy, "pass@1"), (point.tokens, "length")):
            values = [record[key]["value"] for record in records]
            assert measure.value == pytest.approx(sum(values) / 3)
            half = 4.303 * stdev(values) / 3**0.5
            assert (measure.low, measure.high) == pytest.approx((measure.value - half, measure.value + half))
    long2short.main([*map(str, paths), "--picture", str(file)])
    assert capsys.readouterr().out.count("| sft ") == 1
    texts = [e.text for e in ElementTree.parse(file).iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("merged") == 1 and any("seed 0, 1, 2" in text and "over runs" in text for text in texts if text)


def test_runs_that_do_not_belong_together_are_refused(tmp_path):
    one = Run.open(run(tmp_path))
    other = Run.open(run(tmp_path, seed=1, long={"stage": "rl", "steps": 2}))
    with pytest.raises(UserError, match=r"l2s-seed1 and .*l2s-seed0 are of unlike recipes"):
        long2short.points([one, other], "long")
    with pytest.raises(UserError, match="given twice"):
        long2short.points([one, one], "long")


@pytest.mark.parametrize(
    ("changes", "long", "said"),
    [
        ({}, "lnog", "no stage of the run.*long"),
        ({"of_long": None}, "long", "evaluate stage with init: long"),
        ({"of_sft": None, "of_merged": None}, "long", "one of a model made from it"),
        ({"of_sft": {**STAGES["of_sft"], "max_new_tokens": 64}}, "long", "of_sft and of_long evaluate in different ways"),
    ],
)
def test_a_recipe_without_the_comparison_is_refused(changes, long, said):
    with pytest.raises(UserError, match=said):
        long2short.evaluations(recipe(**changes), long)


def test_what_is_missing_is_told(tmp_path):
    path = run(tmp_path, measured=("of_long", "of_sft"))
    with pytest.raises(UserError, match="not finished: of_merged"):
        long2short.points([Run.open(path)], "long")
    made = Run.open(run(tmp_path / "other"))
    with pytest.raises(UserError, match=r"no task 'chian'.*chain"):
        long2short.points([made], "long", ["chian"])
    with pytest.raises(UserError, match=r"svg or a \.png"):
        long2short.picture(long2short.points([made], "long"), [made], tmp_path / "x.pdf")
