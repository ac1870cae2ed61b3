"""The curve picture of the README, made from run directories: one run, or several seeds as mean and spread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from move37.errors import UserError
from move37.report.charts import PAPER, Curve, Panel, draw, save
from move37.report.curves import main
from move37.report.live import duration
from move37.report.summary import trainings
from move37.runs import Run


def picture(runs: Sequence[Run], path: Path) -> Path:
    """Draw the first RL stage of each run: accuracy, length, ways of answering, accuracy of each way.

    Several runs (seeds of one recipe) give a line for the mean and a band from lowest to highest. Seed and command
    stand in the caption.

    Raises:
        UserError: no run, a run without RL metrics, different recipes, or an ending other than .svg and .png.
    """
    if path.suffix not in {".svg", ".png"}:
        raise UserError(f"{path}: a picture is an .svg or a .png")
    if not runs:
        raise UserError("a picture needs at least one run: move37 report RUN --picture FILE.svg")
    for run in runs[1:]:
        if _settings(run) != _settings(runs[0]):
            raise UserError(
                f"a picture shows runs of one recipe, which may differ in name, seed and hardware alone; {run.path} and "
                f"{runs[0].path} differ in more: compare their recipe.yaml"
            )
    sets = []
    for run in runs:
        names = trainings(run)
        if not names:
            raise UserError(f"{run.path}: no RL stage has left metrics yet; there is nothing to draw")
        log = run.log(names[0])
        sets.append(main(log.metrics(), log.probes()))
    panels = sets[0] if len(sets) == 1 else [_spread(same) for same in zip(*sets, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    save(draw([p for p in panels if not p.empty], PAPER, columns=2, caption=_caption(runs)), path)
    return path


def _settings(run: Run) -> dict[str, Any]:
    return run.recipe.model_dump(exclude={"name", "seed", "hardware"})


def _spread(same: Sequence[Panel]) -> Panel:
    """Mean and range over runs of each curve that every run has, at the steps that all of them have."""
    first = same[0]
    curves = []
    for curve in first.curves:
        twins = [c for panel in same for c in panel.curves if c.label == curve.label]
        if len(twins) == len(same):
            curves.append(_mean(twins))
    return Panel(first.title, curves, first.unit, first.caption)


def _mean(twins: Sequence[Curve]) -> Curve:
    values = [dict(zip(c.x, c.y, strict=True)) for c in twins]
    steps = sorted(set.intersection(*(set(v) for v in values)))
    columns: list[list[Any]] = [[v[step] for v in values] for step in steps]
    first = twins[0]
    return Curve(
        first.label,
        steps,
        [sum(column) / len(column) for column in columns],
        low=[min(column) for column in columns],
        high=[max(column) for column in columns],
        dashed=first.dashed,
        colour=first.colour,
    )


def _caption(runs: Sequence[Run]) -> str:
    lineage = runs[0].lineage
    file = "/".join(Path(lineage.get("recipe_file") or runs[0].recipe.name).parts[-3:])  # no path of the machine
    command = " ".join(["move37 run", file, *(o for o in lineage.get("overrides", []) if not o.startswith("name="))])
    walls = [run.log(trainings(run)[0]).metrics()[-1].get("wall_s") or 0.0 for run in runs]
    cores = runs[0].lineage.get("hardware", {}).get("cores")
    where = f", {cores} CPU cores" if cores and not runs[0].lineage.get("hardware", {}).get("gpus") else ""
    seeds = ", ".join(str(run.recipe.seed) for run in runs)
    if len(runs) == 1:
        return f"{command}    seed {seeds}, {duration(walls[0])} of RL{where}"
    times = f"{duration(min(walls))} to {duration(max(walls))} of RL each{where}"
    return f"{command}\nseeds {seeds}: lines are means, bands reach from lowest to highest; {times}"
