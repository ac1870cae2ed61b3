"""Replays what the papers claim in the tiny world, three seeds each, and writes docs/claims.md. `make claims` does both.

    python tools/claims.py run [--seeds 0 1 2] [--only r1 language ...] [--jobs 1] [--threads 0]
    python tools/claims.py write

`run` passes over what is finished and goes on with what was cut. Nothing on the page is typed by hand: the verdict of a
claim is read off the interval of a difference, and where the tiny world contradicts a paper the page says so. `write` leaves
a section as it stands when none of its runs is in runs/claims.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean

from claimed import kimi, language, length, r1, reward_models, sparse, tulu3, value

from move37.recipe import load
from move37.runs import Run

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "claims.md"
RUNS = ROOT / "runs" / "claims"
RECIPES = ROOT / "recipes" / "tiny"
# experiment -> recipe
EXPERIMENTS = {
    "r1": "r1.yaml",
    "tulu3": "tulu3.yaml",
    "language": "language.yaml",
    "sparse": "sparse.yaml",
    "negatives": "negatives.yaml",
    "curriculum": "curriculum.yaml",
    "length": "length.yaml",
    "k1_5": "k1_5.yaml",
    "reward_models": "reward_models.yaml",
    "value": "value.yaml",
}
# sections of the page, in its order
CLAIMS = (
    *(*r1.CLAIMS, *tulu3.CLAIMS, *language.CLAIMS, *sparse.CLAIMS, *kimi.CLAIMS, *length.CLAIMS),
    *(*value.CLAIMS, *reward_models.CLAIMS),
)


def page(standing: str) -> str:
    """The whole page; `standing` is the page there is, for the sections whose runs are not here."""
    sections = {title: text.strip() for title, _, text in (s.partition("\n") for s in standing.split("\n## ")[1:])}
    parts = [
        "# Claims of the papers, replayed in the tiny world\n",
        "Made by `make claims` (`python tools/claims.py run`, then `write`); do not edit. Intervals are 95% over seeds",
        "(Student's t on the seeds' values, differences taken seed by seed). *holds*: the interval lies on the claimed side",
        "of 0, or, where no change is claimed, contains 0. *contradicted*: it lies on another side. *not decided*: it contains",
        "0 where a change is claimed. Models of 0.1 to 1.4 million parameters say nothing of large ones: a claim is replayed,",
        "not proved.\n",
    ]
    for claim in CLAIMS:
        runs = finished(claim.experiment, claim.stages)
        parts.append(f"## {claim.title}\n")
        if not runs:
            unrun = f"{claim.paper}\n\nNot run yet: `python tools/claims.py run --only {claim.experiment}`."
            parts.append(sections.get(claim.title, unrun) + "\n")
            continue
        parts.append(f"{claim.paper}\n")
        parts.append(f"`recipes/tiny/{EXPERIMENTS[claim.experiment]}`: {'; '.join(work(runs))}.\n")
        parts += [*claim.lines(runs), ""]
    return "\n".join(parts)


def finished(experiment: str, stages: Sequence[str]) -> list[Run]:
    """Its runs in which these stages have ended, by seed; runs of a recipe with other tasks are told and left out."""
    runs = [Run.open(path) for path in sorted(RUNS.glob(f"{experiment}-seed*")) if path.is_dir()]
    ended = [r for r in runs if all(r.log(s).done for s in stages)]
    tasks = load(RECIPES / EXPERIMENTS[experiment]).tasks.keys()
    for other in (r for r in ended if r.recipe.tasks.keys() != tasks):
        print(f"{other.path.name}: left out, its tasks are not those of {EXPERIMENTS[experiment]}; remove it and run again")
    return sorted((r for r in ended if r.recipe.tasks.keys() == tasks), key=lambda r: r.recipe.seed)


def work(runs: Sequence[Run]) -> list[str]:
    """How long which seeds took with how many threads, on what."""
    places: dict[tuple[int, str], list[Run]] = defaultdict(list)
    for run in runs:
        machine = run.lineage["hardware"]
        places[run.recipe.hardware.threads or machine["cores"], machine["cpu"]].append(run)
    told = []
    for (threads, cpu), mine in places.items():
        seeds = ", ".join(str(run.recipe.seed) for run in mine)
        told.append(f"seed {seeds}, {minutes(mine):.0f} minutes each with {threads} thread{'s' * (threads > 1)} on {cpu}")
    return told


def minutes(runs: Sequence[Run]) -> float:
    """Mean wall-clock of all stages of a run that have ended."""
    return mean(sum(float(done["seconds"]) for s in r.recipe.stages if (done := r.log(s).done)) for r in runs) / 60


def run(experiment: str, seed: int, threads: int) -> int:
    """One experiment with one seed; its output goes to a file beside the run."""
    RUNS.mkdir(parents=True, exist_ok=True)
    name = f"{experiment}-seed{seed}"
    settings = [f"name={name}", f"seed={seed}", *([f"hardware.threads={threads}"] if threads else [])]
    going = ["--resume"] if (RUNS / name).is_dir() else []
    recipe = str(RECIPES / EXPERIMENTS[experiment])
    command = [sys.executable, "-m", "move37", "run", recipe, *settings, "--runs", str(RUNS), *going]
    with (RUNS / f"{name}.log").open("w", encoding="utf-8") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "NO_COLOR": "1"}).returncode
    print(f"{name}: {'done' if code == 0 else f'exit code {code}, see {RUNS / name}.log'}", flush=True)
    return code


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("what", choices=["run", "write"])
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options.add_argument("--only", nargs="+", default=list(EXPERIMENTS), choices=list(EXPERIMENTS))
    options.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    options.add_argument("--threads", type=int, default=0, help="CPU threads of each; 0 is every core")
    asked = options.parse_args()
    if asked.what == "run":
        wanted = [(experiment, seed) for seed in asked.seeds for experiment in asked.only]
        with ThreadPoolExecutor(asked.jobs) as pool:
            codes = list(pool.map(lambda one: run(*one, asked.threads), wanted))
        if any(codes):
            sys.exit(1)
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
