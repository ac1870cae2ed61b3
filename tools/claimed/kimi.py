"""Kimi k1.5: length and accuracy, negative gradients, the curriculum."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import correlation, mean

from claimed.numbers import Claim, Estimate, over, table, verdict
from move37.runs import Run

LEVELS = {level: tuple(f"{level}_{family}" for family in ("chain", "product", "word")) for level in ("easy", "middle", "hard")}
GROWTH = ("before", "uniform_eval")

LEARNING = {"mirror descent": "descent", "ReST": "best", "ReST, three times the rate": "best_fast"}
NEGATIVES = {"base": "before", **{name: f"{stage}_eval" for name, stage in LEARNING.items()}}

CURRICULUM = {
    "base": "before",
    "uniform": "uniform_eval",
    "mixed, then hard": "mixed_then_hard_eval",
    "easy, middle, hard": "ascending_eval",
}


def steps(run: Run, stage: str, key: str) -> list[float]:
    """A metric of every step of a stage."""
    found = [float(row[key]) for row in run.log(stage).metrics() if row.get(key) is not None]
    if not found:
        sys.exit(f"{run.path}: {stage} has no metric {key}; run `python tools/claims.py run` first")
    return found


def through(runs: Sequence[Run], stage: str, key: str, last: int | None = None) -> Estimate:
    """Mean of a metric over the steps of a stage, up to and with step `last`: the area under its curve."""
    return Estimate(tuple(mean(steps(run, stage, key)[:last]) for run in runs))


def together(runs: Sequence[Run], stage: str, one: str, other: str) -> Estimate:
    """Pearson's correlation of two metrics over the steps of a stage."""
    return Estimate(tuple(correlation(steps(run, stage, one), steps(run, stage, other)) for run in runs))


def growth(runs: Sequence[Run]) -> list[str]:
    before, after = GROWTH
    grown = {level: over(runs, after, "length", t).minus(over(runs, before, "length", t)) for level, t in LEVELS.items()}
    columns = [(stage, key, digits) for key, digits in (("pass@1", 3), ("length", 1)) for stage in GROWTH]
    rows = [[level, *(over(runs, s, k, tasks).text(d) for s, k, d in columns)] for level, tasks in LEVELS.items()]
    return [
        *table(["level", "pass@1, base", "pass@1, after RL", "tokens, base", "tokens, after RL"], rows),
        "",
        *verdict(
            [
                (
                    "length and accuracy rise together (correlation over the steps of RL)",
                    together(runs, "uniform", "pass@1", "length"),
                    1,
                ),
                ("responses to easy problems get longer, tokens", grown["easy"], 1),
                ("responses to hard problems get longer, tokens", grown["hard"], 1),
                ("more so than those to easy ones, tokens", grown["hard"].minus(grown["easy"]), 1),
            ]
        ),
    ]


def negatives(runs: Sequence[Run]) -> list[str]:
    after = {name: over(runs, stage, "pass@1") for name, stage in NEGATIVES.items()}
    during = {name: through(runs, stage, "pass@1") for name, stage in LEARNING.items()}
    rows = [
        [name, *(found[name].text() if name in found else "" for found in (during, after)), over(runs, stage, "length").text(1)]
        for name, stage in NEGATIVES.items()
    ]
    one, slow, fast = LEARNING
    return [
        *table(["", "pass@1, mean over the steps", "pass@1 after", "tokens"], rows),
        "",
        *verdict(
            [
                ("negative gradients need fewer samples: pass@1 over the steps, equal rates", during[one].minus(during[slow]), 1),
                ("and against ReST at three times the rate", during[one].minus(during[fast]), 1),
                ("pass@1 after the same steps, equal rates", after[one].minus(after[slow]), 1),
                ("and against ReST at three times the rate", after[one].minus(after[fast]), 1),
            ]
        ),
    ]


def curriculum(runs: Sequence[Run]) -> list[str]:
    sets = {**LEVELS, "all levels": tuple(task for tasks in LEVELS.values() for task in tasks)}
    found = {name: {of: over(runs, stage, "pass@1", tasks) for of, tasks in sets.items()} for name, stage in CURRICULUM.items()}
    rows = [[name, *(estimate.text() for estimate in levels.values())] for name, levels in found.items()]
    _, uniform, mixed, ascending = found.values()
    return [
        *table(["pass@1", *sets], rows),
        "",
        *verdict(
            [
                ("a mix, then hard problems alone, beats uniform draws on hard ones", mixed["hard"].minus(uniform["hard"]), 1),
                ("and on all levels", mixed["all levels"].minus(uniform["all levels"]), 1),
                ("level after level beats uniform draws on hard ones", ascending["hard"].minus(uniform["hard"]), 1),
                ("and on all levels", ascending["all levels"].minus(uniform["all levels"]), 1),
            ]
        ),
    ]


CLAIMS = (
    Claim(
        "Length grows with accuracy",
        "Kimi k1.5, Figures 5 and 6: responses get longer as accuracy rises, most on hard benchmarks. Here RL on all levels, "
        "without a length reward.",
        "curriculum",
        ("before", "uniform", "uniform_eval"),
        growth,
    ),
    Claim(
        "Negative gradients",
        "Kimi k1.5, Figure 10: mirror descent needs fewer samples than ReST, which fits the best response alone. Same start, "
        "problems, number of samples, steps and updates.",
        "negatives",
        (*LEARNING.values(), *NEGATIVES.values()),
        negatives,
    ),
    Claim(
        "Curriculum",
        "Kimi k1.5, Figure 9: a uniform mix and then hard problems alone beat uniform draws at equal steps (about .59 against "
        ".555). Beside it one level after the other (2.3.4).",
        "curriculum",
        tuple(CURRICULUM.values()),
        curriculum,
    ),
)
