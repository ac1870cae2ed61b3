"""Which responses of a rejection-sampling stage make its data set, and the other data mixed in.

A pure function of the stage's shards, the seed and the other files. The files themselves: dataset.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from move37 import shards
from move37.stages import conversations, dataset
from move37.stages.context import Context
from move37.stages.dataset import Row

if TYPE_CHECKING:
    from move37.stages.rejection import RejectionSampling


def collect(stage: RejectionSampling) -> list[Row]:
    """The accepted responses that are kept, in the order in which their problems were first asked."""
    found: dict[str, list[Row]] = defaultdict(list)
    for path in stage.log.shards().values():
        for group in shards.read(path):
            mine = found[group.problem.id]
            for rollout in group.rollouts:
                if stage.passes(rollout):
                    row = dataset.row(stage.name, group.problem, rollout.prefill + rollout.text, rollout.length)
                    if row["response"] not in {other["response"] for other in mine}:
                        mine.append(row)
    kept = []
    for problem, rows in found.items():
        if stage.section.choose == "shortest":
            order = sorted(range(len(rows)), key=lambda i: rows[i]["tokens"])
        else:
            order = list(dataset.random(stage.context.recipe.seed, stage.name, "keep", problem).permutation(len(rows)))
        kept += [rows[i] for i in order[: stage.section.keep_per_prompt]]
    return kept


def read_other(context: Context, name: str, mix: Mapping[str, float]) -> dict[str, list[Row]]:
    """The rows of the other data; read before anything is sampled, so that what is wrong with them is told at once."""
    return {s: conversations.rows(f"stages.{name}.mix", context.data(s)) for s in mix}


def mixed(stage: RejectionSampling, kept: list[Row]) -> tuple[list[Row], dict[str, Any]]:
    """Every accepted row once, and of each other source so many that its share of the whole is the declared one.

    A source with fewer rows than that gives each of them several times.

    Returns:
        The rows in the order of the data set, and its statistics.
    """
    shares = stage.section.mix
    whole = len(kept) / (1 - sum(shares.values()))
    rows, mixture = list(kept), {stage.name: {"rows": len(kept), "share": 1 - sum(shares.values()), "times": 1.0}}
    for source, share in shares.items():
        other = stage.other[source]
        wanted = round(share * whole)
        rng = dataset.random(stage.context.recipe.seed, stage.name, "mix", source)
        rounds = [rng.permutation(len(other)) for _ in range(-(-wanted // len(other)))]
        picked = np.concatenate(rounds)[:wanted] if wanted else []
        name = Path(source).stem
        rows += [{**dataset.counted(other[i], name, stage.loaded.tokenizer), "source": name} for i in picked]
        mixture[source] = {"rows": wanted, "share": share, "times": wanted / len(other)}
    statistics = {
        **dataset.sizes(rows),
        "tasks": rates(stage.log.metrics()),
        "behaviours": dataset.behaviours(kept, stage.section.reading),
        "mixture": mixture,
        "told": [_repeated(source, told) for source, told in mixture.items() if told["times"] > 1],
    }
    return dataset.shuffled(rows, stage.context.recipe.seed, stage.name), statistics


def _repeated(source: str, told: Mapping[str, Any]) -> str:
    fix = "more rows of it, or a smaller share in mix, would not repeat"
    return f"{source} is smaller than its share of {told['share']:g}: each of its rows comes {told['times']:.1f} times; {fix}"


def rates(rows: list[Row]) -> dict[str, dict[str, int]]:
    """task -> sampled, right, accepted, filter/<name>: responses."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        for key, value in row.items():
            if key.startswith("tally/"):
                task, _, what = key.removeprefix("tally/").partition("/")
                counts[task][what] += value
    return {task: dict(sorted(mine.items())) for task, mine in sorted(counts.items())}
