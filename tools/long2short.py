"""Accuracy against tokens: a long model and the short ones made from it, as in Figure 7 of Kimi k1.5 (arXiv 2501.12599).

    python tools/long2short.py runs/k1_5 [runs/k1_5-seed1 ...] --picture long2short.svg [--long long] [--tasks chain word]

Reads the evaluations of a run and prints them as a table: of the stage `--long` and of every stage that descends from it. With
`--tasks` there is a picture of each of these tasks; without, one of all problems. Of one run the bars are 95% intervals over
problems; of several runs of one recipe the points are means, and the bars 95% intervals over runs (Student's t).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from claimed.numbers import STUDENT, Estimate
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from move37.errors import UserError, nearest
from move37.recipe import Recipe
from move37.report.charts import PAPER, SETTINGS, save
from move37.runs import Run
from move37.sections.evaluate import Evaluate

ALL = "all problems"
ACCURACY, TOKENS = "pass@1", "length"


@dataclass(frozen=True, slots=True)
class Measure:
    """An estimate with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Point:
    """One model on one set of problems."""

    model: str
    accuracy: Measure  # pass@1 of sampled responses
    tokens: Measure  # mean response length

    def line(self) -> str:
        a, t = self.accuracy, self.tokens
        return f"| {self.model} | {a.value:.3f} ({a.low:.3f} to {a.high:.3f}) | {t.value:.1f} ({t.low:.1f} to {t.high:.1f}) |"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="accuracy against tokens of a long model and the short ones made from it")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="one run, or several of one recipe")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="an .svg or a .png")
    parser.add_argument("--long", default="long", metavar="STAGE", help="the stage that made the long model (%(default)s)")
    parser.add_argument("--tasks", nargs="+", default=[], metavar="TASK", help="a picture of each, instead of all problems")
    options = parser.parse_args(arguments)
    try:
        runs = [Run.open(path) for path in options.runs]
        panels = points(runs, options.long, options.tasks)
        print("\n\n".join(table(title, panel) for title, panel in panels.items()))
        if options.picture:
            picture(panels, runs, options.picture)
    except UserError as problem:
        sys.exit(f"error: {problem}")


def points(runs: Sequence[Run], long: str, tasks: Sequence[str] = ()) -> dict[str, list[Point]]:
    """Title -> the models, the long one first, the others in the order of the recipe; of several runs, their means.

    Raises:
        UserError: no such stage or task; no evaluation of the long model or of one made from it; evaluations that are not
            finished, or that differ in more than their model; runs of unlike recipes, or more than the intervals are known of.
    """
    _alike(runs)
    stages = evaluations(runs[0].recipe, long)
    records = [_records(run, stages) for run in runs]
    found: dict[str, list[Point]] = {}
    for title in tasks or [ALL]:
        panel = []
        for stage, model in stages.items():
            if tasks and title not in records[0][stage]["tasks"]:
                raise UserError(f"{stage} has no task {title!r}; {nearest(title, records[0][stage]['tasks'])}")
            numbers = [(r[stage]["tasks"][title] if tasks else r[stage]["overall"]) for r in records]
            panel.append(Point(model, _over(stage, numbers, ACCURACY), _over(stage, numbers, TOKENS)))
        found[title] = panel
    return found


def _alike(runs: Sequence[Run]) -> None:
    settings = [run.recipe.model_dump(mode="json", exclude={"name", "seed", "hardware"}) for run in runs]
    if unlike := [str(run.path) for run, one in zip(runs, settings, strict=True) if one != settings[0]]:
        raise UserError(
            f"{', '.join(unlike)} and {runs[0].path} are of unlike recipes; only name, seed and hardware may differ: compare "
            "their recipe.yaml"
        )
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise UserError("a run is given twice, which would narrow the intervals; give each once")
    if len(runs) > max(STUDENT):
        raise UserError(f"{len(runs)} runs are given; intervals are known of up to {max(STUDENT)}")


def _records(run: Run, stages: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Stage -> what its evaluation found."""
    records = {stage: run.log(stage).eval() for stage in stages}
    if missing := [stage for stage, record in records.items() if record is None]:
        raise UserError(f"{run.path}: not finished: {', '.join(missing)}; go on with --resume")
    return {stage: record for stage, record in records.items() if record is not None}


def evaluations(recipe: Recipe, long: str) -> dict[str, str]:
    """Evaluate stage -> the model that it measures: of the long model and of those made from it."""
    stages = recipe.stages
    if long not in stages:
        raise UserError(f"--long {long!r} is no stage of the run; {nearest(long, stages)}")
    family = {long}
    for name, section in stages.items():  # a stage starts from stages above it
        if family & set(section.inputs().values()):
            family.add(name)
    found = {n: s.init for n, s in stages.items() if isinstance(s, Evaluate) and s.init in family}
    of_long = [name for name, model in found.items() if model == long]
    if not of_long or len(of_long) == len(found):
        raise UserError(f"there must be an evaluate stage with init: {long}, and one of a model made from it")
    settings = {name: stages[name].model_dump(exclude={"init"}) for name in found}
    if unlike := [name for name in found if settings[name] != settings[of_long[0]]]:
        raise UserError(f"{', '.join(unlike)} and {of_long[0]} evaluate in different ways; only their init may differ")
    return {name: found[name] for name in [*of_long[:1], *(n for n in found if n not in of_long)]}


def table(title: str, panel: Sequence[Point]) -> str:
    lines = [f"| {title} | pass@1 | tokens a response |", "| --- | --- | --- |", *(point.line() for point in panel)]
    return "\n".join(lines)


def picture(panels: dict[str, list[Point]], runs: Sequence[Run], path: Path) -> Path:
    """Raises UserError for an ending other than .svg and .png."""
    if path.suffix not in {".svg", ".png"}:
        raise UserError(f"{path}: a picture is an .svg or a .png")
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(4.8 * len(panels), 3.6), layout="constrained")
        for axes, (title, panel) in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels.items(), strict=True):
            _panel(axes, title, panel)
        seeds = ", ".join(str(run.recipe.seed) for run in runs)
        told = "bars are 95% intervals over problems" if len(runs) == 1 else "means, bars are 95% intervals over runs"
        figure.supxlabel(f"{runs[0].recipe.name}, seed {seeds}; {told}", fontsize=7.5, color=PAPER.ink)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(figure, path)
    return path


def _panel(axes: Axes, title: str, panel: Sequence[Point]) -> None:
    for index, point in enumerate(panel):
        a, t = point.accuracy, point.tokens
        colour = PAPER.series[index % len(PAPER.series)]
        axes.errorbar(
            t.value,
            a.value,
            xerr=[[t.value - t.low], [t.high - t.value]],
            yerr=[[a.value - a.low], [a.high - a.value]],
            fmt="o",
            color=colour,
            linewidth=1,
            capsize=2,
            label=point.model,
        )
    axes.set_title(title, loc="left", fontsize=9.5, color=PAPER.ink, fontweight="bold")
    axes.set_xlabel("tokens a response", color=PAPER.ink, fontsize=8)
    axes.set_ylabel("pass@1", color=PAPER.ink, fontsize=8)
    axes.legend(frameon=False, fontsize=8, labelcolor=PAPER.ink, loc="best")
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    axes.grid(True, color=PAPER.grid, linewidth=0.6)
    axes.tick_params(colors=PAPER.ink, length=0, labelsize=8)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _measure(stage: str, numbers: dict[str, Any], key: str) -> Measure:
    found = numbers.get(key)
    if found is None or found["value"] is None:
        raise UserError(f"{stage} has no {key}: nothing could be graded")
    return Measure(found["value"], found["low"], found["high"])


def _over(stage: str, numbers: Sequence[dict[str, Any]], key: str) -> Measure:
    """Of one run with the interval over its problems; of several their mean with the interval over runs."""
    each = [_measure(stage, one, key) for one in numbers]
    if len(each) == 1:
        return each[0]
    estimate = Estimate(tuple(one.value for one in each))
    return Measure(estimate.mean, estimate.mean - estimate.half, estimate.mean + estimate.half)


if __name__ == "__main__":
    main(sys.argv[1:])
