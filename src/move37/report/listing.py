"""`move37 ls`: one row per run, read from small files alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from move37.errors import Move37Error
from move37.report.page import text_of
from move37.report.summary import evaluations, sides
from move37.runs import Run


def rows(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Directory, seed, how far it is, pass@1 before and after, and when it was started."""
    return [_row(path) for path in paths]


def _row(path: Path) -> dict[str, Any]:
    try:
        run = Run.open(path)
    except Move37Error as problem:
        return {"run": str(path), "at": f"does not load: {str(problem).splitlines()[0]}"}
    names = evaluations(run)
    told = [run.log(n).eval() or {} for n in sides(run)]
    values = [text_of(record.get("overall", {}).get("pass@1"), "share").split(" ")[0] for record in told]
    before = values[0] if len(values) > 1 else ""
    return {
        "run": str(path),
        "seed": run.recipe.seed,
        "at": _at(run, names),
        "pass@1 before": before,
        "pass@1 after": values[-1] if values else "",
        "started": run.lineage.get("started", ""),
    }


def _at(run: Run, evaluated: Sequence[str]) -> str:
    """The first stage that has not ended, with its step; `done` where all have."""
    for name in run.recipe.stages:
        log = run.log(name)
        if log.done is None and name not in evaluated:
            steps = log.metrics()
            return f"{name} step {steps[-1]['step']}" if steps else name
    return "done"
