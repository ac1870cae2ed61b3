"""Wall-clock to a given accuracy with and without partial rollouts, on a task whose responses have a long tail of lengths.

    python benchmarks/partial_rollouts.py [--steps 60] [--target 0.5] [--new-tokens 48] [--seeds 0 1]

RL of the bundled model on countdowns (a search: most are short, a few try after try) and chains, each recipe in a fresh run
directory, one after the other on the same machine. `seconds` is the wall-clock of the steps, looks at the held-out problems left
out, up to the first look with at least `--target` pass@1; null where it is never reached. `tail` is the 99th percentile of
response length over the median. A line of JSON each in benchmarks/results/partial_rollouts.jsonl.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from common import write
from move37 import shards
from move37.recipe import Recipe, parse
from move37.report.live import Live
from move37.runs import Run, StageLog
from move37.stages import run_recipe

WITHOUT, WITH = "whole", "partial"
SIZES = {"steps": 60, "prompts": 12, "samples": 16, "limit": 192, "new-tokens": 48, "max-age": 4, "every": 5}


def recipe(asked: argparse.Namespace, kind: str, seed: int) -> Recipe:
    languages = {"en": 0.8, "zh": 0.2}
    rl = {
        "stage": "rl",
        "steps": asked.steps,
        "prompts_per_step": asked.prompts,
        "samples_per_prompt": asked.samples,
        "max_new_tokens": asked.limit,
        "rewards": {"accuracy": 1.0, "format": 0.1},
        "optimizer": {"lr": 3e-4},
        "tokens_per_microbatch": 2048,
        "probe_every": asked.every,
        "save_every": asked.steps,
        "partial": {"new_tokens": asked.new_tokens, "max_age": asked.max_age} if kind == WITH else None,
    }
    tasks = {name: {"family": name, "languages": languages} for name in ("countdown", "chain")}
    raw = {"name": f"{kind}-{seed}", "seed": seed, "model": asked.model, "template": asked.template, "tasks": tasks}
    return parse({**raw, "stages": {"rl": rl}, "hardware": {"device": "cpu"}}, "partial_rollouts")


def reach(looks: Sequence[dict[str, Any]], target: float) -> int | None:
    """The step of the first look after training began that is at least as good as the target."""
    return next((look["step"] for look in looks if look["step"] and (look["pass@1"] or 0) >= target), None)


def told(log: StageLog, target: float) -> dict[str, Any]:
    """What a finished stage says of its speed."""
    rows = {row["step"]: row for row in log.metrics()}
    looks = log.probes()
    reached = reach(looks, target)
    lengths = np.array([r.length for path in log.shards().values() for g in shards.read(path) for r in g.rollouts])
    if not lengths.size:
        sys.exit("no group of responses ended in these steps; raise --steps or --new-tokens")
    stale = [row["partial/stale"] for row in rows.values() if row.get("partial/stale") is not None]
    return {
        "steps": len(rows),
        "reached": reached,
        "seconds": None if reached is None else rows[reached]["wall_s"],
        "all_seconds": rows[max(rows)]["wall_s"],
        "pass@1": looks[-1]["pass@1"],
        "length": float(lengths.mean()),
        "tail": float(np.percentile(lengths, 99) / np.median(lengths)),
        "stale": float(np.mean(stale)) if stale else 0.0,
        "dropped": sum(row.get("partial/dropped", 0) for row in rows.values()),
    }


def measure(asked: argparse.Namespace, kind: str, seed: int, scratch: Path) -> dict[str, Any]:
    wanted = recipe(asked, kind, seed)
    with Run.create(scratch, wanted) as run, Live(plain=True) as display:
        run_recipe(wanted, run, display)
        found = told(run.log("rl"), asked.target)
    settings = {key: getattr(asked, key) for key in ("target", "prompts", "samples", "limit", "new_tokens", "max_age")}
    write("partial_rollouts", {"kind": kind, "seed": seed, **settings, "results": found})
    return found


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in SIZES.items():
        options.add_argument(f"--{name}", type=int, default=value)
    options.add_argument("--target", type=float, default=0.5)
    options.add_argument("--seeds", type=int, nargs="+", default=[0])
    options.add_argument("--model", default="bundled")
    options.add_argument("--template", default="r1_zero")
    return options.parse_args(words)


def main(words: list[str] | None = None) -> None:
    asked = parsed(words)
    print(f"{'':8} {'seed':>4} {'to target, s':>12} {'all, s':>8} {'pass@1':>7} {'length':>7} {'tail':>5} {'stale':>6} dropped")
    for seed in asked.seeds:
        for kind in (WITHOUT, WITH):
            with TemporaryDirectory() as scratch:
                found = measure(asked, kind, seed, Path(scratch))
            reached = "never" if found["seconds"] is None else f"{found['seconds']:.1f}"
            print(
                f"{kind:8} {seed:4} {reached:>12} {found['all_seconds']:8.1f} {found['pass@1']:7.3f} {found['length']:7.1f} "
                f"{found['tail']:5.1f} {found['stale']:6.1%} {found['dropped']:7}",
                flush=True,
            )


if __name__ == "__main__":
    main()
