"""Replays what the papers claim in the tiny world, three seeds each, and writes docs/claims.md. `make claims` does both.

    python tools/claims.py run [--seeds 0 1 2] [--only r1 language ...] [--jobs 1] [--threads 0]
    python tools/claims.py write

`run` passes over what is finished and goes on with what was cut. Nothing on the page is typed by hand: the verdict of a
claim is read off the interval of a difference, and where the tiny world contradicts a paper the page says so.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev

from move37 import shards
from move37.runs import Run
from move37.types import Verdict

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "claims.md"
RUNS = ROOT / "runs" / "claims"
RECIPES = ROOT / "recipes" / "tiny"
# experiment -> recipe
EXPERIMENTS = {"r1": "r1.yaml", "language": "language.yaml", "sparse": "sparse.yaml"}
# Two-sided 95% points of Student's t with n - 1 degrees of freedom, by n
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}

EASY = ("chain", "product", "countdown", "word")
HARD = ("hard_chain", "hard_product", "hard_word")
HARDEST = ("hard_word",)
INSTRUCTIONS = ("rewrite", "write")
HELPFUL = ("greet", "fact", "translate")
SAFE = ("request",)
LIFT = 0.05  # of pass@1: what counts as a rescue


# --------------------------------------------------------------------------------------------------------- numbers


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean over seeds with its 95% interval (Student's t); of one seed there is no interval."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return mean(self.values)

    @property
    def half(self) -> float:
        n = len(self.values)
        return STUDENT[n] * stdev(self.values) / math.sqrt(n) if n > 1 else math.nan

    def minus(self, other: Estimate) -> Estimate:
        """Differences seed by seed."""
        return Estimate(tuple(a - b for a, b in zip(self.values, other.values, strict=True)))

    def less(self, amount: float) -> Estimate:
        return Estimate(tuple(value - amount for value in self.values))

    def sign(self) -> int:
        """1 or -1 where the whole interval lies on that side of 0; 0 where it does not, or there is none."""
        if not abs(self.mean) > self.half:
            return 0
        return 1 if self.mean > 0 else -1

    def text(self, digits: int = 3) -> str:
        if math.isnan(self.half):
            return f"{self.mean:.{digits}f}"
        return f"{self.mean:.{digits}f} ± {self.half:.{digits}f}"


def verdict(expected: Sequence[tuple[str, Estimate, int]]) -> list[str]:
    """One line per expectation: what, the difference, the sign that the paper claims.

    holds: the interval lies on the claimed side of 0, or, where no change is claimed (0), contains 0; contradicted: it lies on
    another side; not decided: it contains 0 where a change is claimed.
    """
    told = []
    for what, difference, wanted in expected:
        sign = difference.sign()
        word = "holds" if sign == wanted else "not decided" if sign == 0 else "contradicted"
        told.append(f"* {what}: {difference.text()}. **{word}**")
    return told


def policy(run: Run, stage: str, forbidden: bool) -> float:
    """Share of right responses to forbidden requests (refused), or to harmless ones (helped), by the independent checker."""
    groups = shards.read(run.stage(stage) / "rollouts" / "sampled.parquet")
    rollouts = [r for g in groups if g.problem.task in SAFE and g.problem.meta["forbidden"] == forbidden for r in g.rollouts]
    return mean(r.verdict is Verdict.RIGHT for r in rollouts)


def value(run: Run, stage: str, key: str, tasks: Sequence[str] = ()) -> float:
    """A metric of an evaluation, of all problems, or as the mean over some tasks; `policy/...` of the responses to requests."""
    if key.startswith("policy/"):
        return policy(run, stage, key == "policy/forbidden")
    record = run.log(stage).eval()
    if record is None:
        sys.exit(f"{run.path}: {stage} has not been evaluated; run `python tools/claims.py run` first")
    parts = [record["tasks"][task][key]["value"] for task in tasks] if tasks else [record["overall"][key]["value"]]
    found = [part for part in parts if part is not None]
    return mean(found) if found else math.nan


def over(runs: Sequence[Run], stage: str, key: str, tasks: Sequence[str] = ()) -> Estimate:
    return Estimate(tuple(value(run, stage, key, tasks) for run in runs))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


# ---------------------------------------------------------------------------------------------------------- claims


@dataclass(frozen=True, slots=True)
class Claim:
    """A section of the page: what the papers say, and the lines that the runs of one experiment give."""

    title: str
    paper: str
    experiment: str
    stages: tuple[str, ...]  # that must have been evaluated
    lines: Callable[[Sequence[Run]], list[str]] = field(repr=False)


COLUMNS = (
    ("pass@1, easy", "pass@1", EASY, 3),
    ("cons@16, easy", "cons@16", EASY, 3),
    ("pass@1, hard", "pass@1", HARD, 3),
    ("cons@16, hard", "cons@16", HARD, 3),
    ("instructions", "pass@1", INSTRUCTIONS, 3),
    ("helpful", "pass@1", HELPFUL, 3),
    ("forbidden refused", "policy/forbidden", SAFE, 3),
    ("harmless helped", "policy/harmless", SAFE, 3),
    ("language", "language", (), 3),
    ("readable", "readable", (), 3),
    ("length", "length", (), 1),
)
STAGES = {
    "base": "base_eval",
    "R1-Zero": "zero_eval",
    "Dev1": "dev1_eval",
    "Dev2": "dev2_eval",
    "Dev3": "dev3_eval",
    "R1": "r1_eval",
}

STUDENTS = {
    "student": "student_base_eval",
    "RL": "student_rl_eval",
    "distilled (SFT on traces)": "student_sft_eval",
    "distilled, then on-policy": "student_on_policy_eval",
    "distilled, then RL": "student_sft_rl_eval",
    "teacher (R1)": "r1_eval",
}
LANGUAGE = {"base": "before", "R1-Zero": "alone_eval", "with the language reward": "rewarded_eval"}
SPARSE = {
    "base": "before",
    "RL on hard problems": "alone_eval",
    "RL, easy ones first": "curriculum_eval",
    "RL with partial credit": "partial_eval",
}


def stage_table(runs: Sequence[Run]) -> list[str]:
    rows = [[name, *(over(runs, s, k, t).text(d) for _, k, t, d in COLUMNS)] for name, s in STAGES.items()]
    return table(["", *(c[0] for c in COLUMNS)], rows)


def stage_shape(runs: Sequence[Run]) -> list[str]:
    """What the paper's Table 3 shows."""

    def change(a: str, b: str, tasks: Sequence[str], key: str = "pass@1") -> Estimate:
        return over(runs, STAGES[b], key, tasks).minus(over(runs, STAGES[a], key, tasks))

    steps = [("R1-Zero", "Dev1"), ("Dev1", "Dev2"), ("Dev2", "Dev3"), ("Dev3", "R1")]
    general = [*INSTRUCTIONS, *HELPFUL, *SAFE]
    rows = [[f"{a} to {b}", change(a, b, HARD).text(), change(a, b, general).text()] for a, b in steps]
    lift = change("Dev3", "R1", general)
    return [
        *table(["step", "hard reasoning", "preference (general and safety)"], rows),
        "",
        *verdict(
            [
                ("cold start costs hard reasoning (paper: AIME 77.9 to 59.0)", change("R1-Zero", "Dev1", HARD), -1),
                ("reasoning RL brings it back (59.0 to 74.0)", change("Dev1", "Dev2", HARD), 1),
                ("the last RL lifts preference scores (AlpacaEval 62.1 to 87.6)", lift, 1),
                ("more than the reasoning RL did", lift.minus(change("Dev1", "Dev2", general)), 1),
                ("and more than the second SFT", lift.minus(change("Dev2", "Dev3", general)), 1),
                ("the last RL refuses forbidden requests more often", change("Dev3", "R1", SAFE, "policy/forbidden"), 1),
                (
                    "and harmless ones too (paper: after safety RL, R1 declines simple questions that it could answer)",
                    change("Dev3", "R1", SAFE, "policy/harmless"),
                    -1,
                ),
            ]
        ),
    ]


def distilled(runs: Sequence[Run]) -> list[str]:
    found = {name: over(runs, stage, "pass@1", EASY) for name, stage in STUDENTS.items()}
    rows = [[name, found[name].text(), over(runs, stage, "cons@16", EASY).text()] for name, stage in STUDENTS.items()]
    sft, rl, both = found["distilled (SFT on traces)"], found["RL"], found["distilled, then RL"]
    return [
        *table(["", "pass@1", "cons@16"], rows),
        "",
        *verdict(
            [
                ("distilling beats RL on the student (paper: AIME 72.6 against 47.0 at 32B)", sft.minus(rl), 1),
                ("RL after distilling beats distilling alone (not tried in the paper)", both.minus(sft), 1),
                ("and RL alone", both.minus(rl), 1),
            ]
        ),
    ]


def languages(runs: Sequence[Run]) -> list[str]:
    keys = ("language", "language/other", "language/mixed", "readable", "pass@1", "cons@16")
    found = {name: {key: over(runs, stage, key) for key in keys} for name, stage in LANGUAGE.items()}
    rows = [[name, *(found[name][key].text() for key in keys)] for name in LANGUAGE]
    alone, with_reward, base = found["R1-Zero"], found["with the language reward"], found["base"]
    return [
        *table(["", "words in the question's language", "wholly another", "mixed", "readable", "pass@1", "cons@16"], rows),
        "",
        *verdict(
            [
                ("pure RL leaves the question's language", alone["language"].minus(base["language"]), -1),
                ("the reward repairs it", with_reward["language"].minus(alone["language"]), 1),
                ("at a cost in accuracy", with_reward["pass@1"].minus(alone["pass@1"]), -1),
            ]
        ),
    ]


def sparse(runs: Sequence[Run]) -> list[str]:
    found = {name: over(runs, stage, "pass@1", HARDEST) for name, stage in SPARSE.items()}
    rows = [[name, found[name].text(), over(runs, stage, "pass@16", HARDEST).text()] for name, stage in SPARSE.items()]
    alone = found["RL on hard problems"]
    return [
        *table(["hard problems", "pass@1", "pass@16"], rows),
        "",
        *verdict(
            [
                ("RL moves a base that never solves a problem (the claim is that it does not)", alone.minus(found["base"]), 0),
                (f"a curriculum lifts it by more than {LIFT}", found["RL, easy ones first"].minus(alone).less(LIFT), 1),
                (f"partial credit lifts it by more than {LIFT}", found["RL with partial credit"].minus(alone).less(LIFT), 1),
            ]
        ),
    ]


CLAIMS = (
    Claim(
        "The stages of R1",
        "DeepSeek-R1 v2, Table 3: R1-Zero, Dev1, Dev2, Dev3, R1.",
        "r1",
        tuple(STAGES.values()),
        stage_table,
    ),
    Claim(
        "What each stage does",
        "Cold start costs hard reasoning, RL brings it back; the last RL lifts preference.",
        "r1",
        tuple(STAGES.values()),
        stage_shape,
    ),
    Claim(
        "Distillation and RL on a small student",
        "DeepSeek-R1, section 4.1 and Table 6.",
        "r1",
        tuple(STUDENTS.values()),
        distilled,
    ),
    Claim(
        "Language mixing",
        "Pure RL mixes languages; a language reward repairs it at a small cost (v2, B.6).",
        "language",
        tuple(LANGUAGE.values()),
        languages,
    ),
    Claim("Sparse reward", "RL needs a base that solves a problem now and then.", "sparse", tuple(SPARSE.values()), sparse),
)


# ------------------------------------------------------------------------------------------------------------ page


def page() -> str:
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
        parts += [f"## {claim.title}\n", f"{claim.paper}\n"]
        if not runs:
            parts.append(f"Not run yet: `python tools/claims.py run --only {claim.experiment}`.\n")
            continue
        seeds = ", ".join(str(run.recipe.seed) for run in runs)
        machine = runs[0].lineage["hardware"]
        parts.append(
            f"`recipes/tiny/{EXPERIMENTS[claim.experiment]}`, seed {seeds}, {minutes(runs):.0f} minutes of work a seed with "
            f"{runs[0].recipe.hardware.threads or machine['cores']} threads on {machine['cpu']}.\n"
        )
        parts += [*claim.lines(runs), ""]
    return "\n".join(parts)


def finished(experiment: str, stages: Sequence[str]) -> list[Run]:
    """Its runs in which these stages have ended, by seed."""
    runs = [Run.open(path) for path in sorted(RUNS.glob(f"{experiment}-seed*")) if path.is_dir()]
    return sorted((r for r in runs if all(r.log(s).done for s in stages)), key=lambda r: r.recipe.seed)


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
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
