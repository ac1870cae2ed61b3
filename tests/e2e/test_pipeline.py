"""Rejection sampling and SFT: killed at any moment they end where an undisturbed run ends, and the model gets better."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import tiny
from move37 import recipe as recipes
from move37 import shards, tasks
from move37.errors import NothingAccepted
from move37.models import folder
from move37.report.live import Live
from move37.runs import Run
from move37.stages import run_recipe
from move37.types import Verdict
from place import Place, rows

ACCEPTED_STEPS, SFT_STEPS = 5, 6


def recipe() -> dict:
    return {
        "name": "pipeline",
        "seed": 5,
        "model": "bundled",
        "template": "r1_zero",
        "tasks": {"chain": {"family": "chain"}},
        "stages": {
            "accepted": {
                "stage": "rejection_sample",
                "prompts": 4 * ACCEPTED_STEPS - 1,
                "prompts_per_step": 4,
                "samples_per_prompt": 5,
                "max_new_tokens": 24,
                "keep_per_prompt": 2,
                "mix": {"general.jsonl": 0.25},
            },
            "sft": {
                "stage": "sft",
                "data": "accepted",
                "steps": SFT_STEPS,
                "examples_per_step": 4,
                "held_out": 0.2,
                "save_every": 3,
                "optimizer": {"lr": 1e-3, "warmup_steps": 2},
            },
        },
        "hardware": {"threads": 1, "device": "cpu"},
    }


def at(root: Path) -> Place:
    general = [{"prompt": f"Say {word}.", "response": f"<think>easy</think><answer>{word}</answer>"} for word in ("yes", "no")]
    return Place(root, recipe(), general__jsonl="".join(json.dumps(row) + "\n" for row in general))


@pytest.fixture
def places(tmp_path: Path) -> Iterator[tuple[Place, Place]]:
    made = []
    for name in ("killed", "undisturbed"):
        (tmp_path / name).mkdir()
        made.append(at(tmp_path / name))
    yield made[0], made[1]
    for place in made:
        place.close()


def test_killed_at_any_moment(places: tuple[Place, Place]) -> None:
    """Twice: in rejection sampling, with a shard that nobody recorded, and in SFT between two checkpoints."""
    place, whole = places
    undisturbed = whole.start()
    moments = random.randint(1, ACCEPTED_STEPS - 2), random.randint(1, SFT_STEPS - 2)
    print(f"killed after step {moments[0]} of accepted and step {moments[1]} of sft")  # shown when it fails

    process = place.start()
    place.wait_for(process, "accepted", moments[0])
    place.kill(process)
    stage = place.run / "stages/accepted"
    recorded = place.steps("accepted")
    before = {path.name: path.stat().st_mtime_ns for path in (stage / "rollouts").iterdir()}
    (stage / "rollouts" / f"step-{recorded + 1:06d}.parquet").write_bytes(b"torn")

    process = place.start("--resume")
    place.wait_for(process, "sft", moments[1])
    place.kill(process)
    after = {path.name: path.stat().st_mtime_ns for path in (stage / "rollouts").iterdir()}
    kept = [f"step-{number:06d}.parquet" for number in range(1, recorded + 1)]
    assert [after[name] for name in kept] == [before[name] for name in kept]  # finished prompts are not asked again

    place.end(place.start("--resume"))
    whole.end(undisturbed)
    for name, steps in (("accepted", ACCEPTED_STEPS), ("sft", SFT_STEPS)):
        found, expected = (rows(p.run / "stages" / name / "metrics.jsonl") for p in places)
        assert [row["step"] for row in expected] == list(range(1, steps + 1))
        assert found == expected
    a, b = (p.run / "stages/accepted" for p in places)
    for file in ("part-00001.jsonl", "statistics.json"):
        assert (a / "data" / file).read_bytes() == (b / "data" / file).read_bytes()
    names = [path.name for path in sorted((b / "rollouts").iterdir())]
    assert [path.name for path in sorted((a / "rollouts").iterdir())] == names
    assert all(pq.read_table(a / "rollouts" / n).equals(pq.read_table(b / "rollouts" / n)) for n in names)
    weights = [(p.run / "stages/sft/final/model.safetensors").read_bytes() for p in places]
    assert weights[0] == weights[1]
    statistics = json.loads((b / "data/statistics.json").read_text())
    mixed = {source: told["rows"] for source, told in statistics["mixture"].items()}
    assert mixed["general.jsonl"] == round(mixed["accepted"] / 3) > 0


def test_sft_on_its_own_right_answers_makes_the_base_better(tmp_path: Path) -> None:
    """recipes/tiny/rejection.yaml on one task, at a fraction of its size."""
    overrides = [
        "name=toy",
        "accepted.tasks=[chain]",
        "hardware.threads=1",
        "accepted.prompts=128",
        "accepted.samples_per_prompt=8",
        "accepted.max_new_tokens=64",
        "sft.examples_per_step=16",
        "sft.held_out=0.2",
        "sft.save_every=50",
        *(f"{stage}.{key}" for stage in ("before", "after") for key in ("tasks=[chain]", "problems=16", "samples=8")),
        *(f"{stage}.{key}" for stage in ("before", "after") for key in ("greedy=false", "max_new_tokens=64")),
    ]
    path = Path(__file__).parents[2] / "recipes/tiny/rejection.yaml"
    loaded = recipes.load(path, overrides)
    with Run.create(tmp_path, loaded, source=path) as run, Live(plain=True) as display:
        run_recipe(loaded, run, display)
    known = tasks.load_all({"chain": loaded.tasks["chain"]}, loaded.seed, path.parent)["chain"]
    asked = {g.problem.id: g.problem for path in run.log("accepted").shards().values() for g in shards.read(path)}
    kept = [json.loads(line) for line in (run.log("accepted").data / "part-00001.jsonl").read_text().splitlines()]
    assert len(kept) > 30
    for row in kept:
        told = row["response"].partition("<answer>")[2].removesuffix("</answer>").strip()
        assert known.verify(told, asked[row["problem"]]).verdict is Verdict.RIGHT
    losses = run.log("sft").metrics()
    assert losses[-1]["held_out_loss"] < losses[0]["held_out_loss/start"]
    before, after = (run.log(name).eval()["overall"]["pass@1"] for name in ("before", "after"))
    assert after["value"] > before["value"] + 0.08, (before, after)
    parents = run.log("sft").lineage["parents"]
    assert parents["data"] == {"from": "accepted", "sha256": run.log("accepted").done["sha256"]}


def test_nothing_accepted_is_told_by_task_and_filter(tmp_path: Path) -> None:
    folder.save(tiny.loaded(), tmp_path / "model")
    (tmp_path / "short.txt").write_text(tiny.SHORT)
    section = {"stage": "rejection_sample", "prompts": 99, "prompts_per_step": 2, "samples_per_prompt": 2, "max_new_tokens": 4}
    wanted = tiny.recipe({"kept": {**section, "starve_limit": 3}}, model="model", template="short.txt")
    with pytest.raises(NothingAccepted, match=r"kept: 3 steps in a row without one accepted response. chain: 0 of 12 right"):
        tiny.run(tmp_path, wanted)
    wanted = tiny.recipe({"kept": {**section, "prompts": 4, "filters": {}}}, name="short", model="model", template="short.txt")
    with pytest.raises(NothingAccepted, match=r"kept: .*none.* was accepted. chain: 0 of 8 right"):
        tiny.run(tmp_path, wanted)
    assert not (tmp_path / "runs/short/stages/kept/data").exists()
