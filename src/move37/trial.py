"""`move37 eval` as a recipe of one evaluate stage, so that a checkpoint is measured by the code that measures runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from move37 import recipe as recipes
from move37.errors import TaskError, UserError, nearest
from move37.recipe import Recipe
from move37.runs import Run, is_run
from move37.sections import Evaluate, FileTask
from move37.tasks.families import FAMILIES


def model_of(checkpoint: Path) -> Path:
    """The model directory meant: the one given, or the last model that a run left.

    Raises:
        UserError: no such directory, or a run that has left no model yet.
    """
    if not is_run(checkpoint):
        if str(checkpoint) != "bundled" and not checkpoint.is_dir():
            raise UserError(f"{checkpoint}: no such directory; give a model directory, a run, or `bundled`")
        return checkpoint
    run = Run.open(checkpoint)
    for stage in reversed(run.recipe.stages):
        log = run.log(stage)
        for path in (log.final, *sorted(log.checkpoints.glob("step-*"), reverse=True)):
            if path.is_dir():
                return path
    raise UserError(f"{checkpoint}: this run has left no model yet")


def template_of(checkpoint: Path) -> str | None:
    """The template a run was trained with; None for a model directory, which brings its own."""
    return Run.open(checkpoint).recipe.template if is_run(checkpoint) else None


def build(checkpoint: Path, tasks: Sequence[str], settings: dict[str, Any]) -> Recipe:
    """A recipe that evaluates `checkpoint` on `tasks`.

    Args:
        tasks: each a recipe (its tasks, template and evaluate settings), a problem file, `layout:file`, one of our
            families, or a reasoning-gym data set.
        settings: of the evaluate stage, and `template`; None leaves the recipe's or the default.

    Raises:
        TaskError: nothing of that name.
        RecipeError: a setting that can not be.
    """
    sections: dict[str, Any] = {}
    stage: dict[str, Any] = {}
    template = None
    for spec in tasks:
        if Path(spec).suffix in {".yaml", ".yml"}:
            found = recipes.load(spec)
            sections |= {name: _anchored(task, Path(spec)) for name, task in found.tasks.items()}
            template = template or found.template
            stage = stage or next((_given(s) for s in found.stages.values() if isinstance(s, Evaluate)), {})
        else:
            name, section = _section(spec)
            sections[name] = section
    given = {key: value for key, value in settings.items() if value is not None}
    template = given.pop("template", template)
    model = str(checkpoint) if str(checkpoint) == "bundled" else str(checkpoint.resolve())
    raw = {
        "name": "eval",
        "model": model,
        "template": template,
        "tasks": sections,
        "stages": {"eval": {**stage, "stage": "evaluate", **given}},
    }
    return recipes.parse(raw, "move37 eval")


def _given(stage: Evaluate) -> dict[str, Any]:
    return stage.model_dump(mode="json", exclude={"init", "tasks"}, exclude_unset=True)


def _anchored(task: Any, recipe: Path) -> dict[str, Any]:
    """A recipe's file tasks are relative to it; here they become absolute."""
    section = task.model_dump(mode="json")
    if isinstance(task, FileTask):
        for key in ("file", "held_out_file"):
            if section[key]:
                section[key] = str((recipe.resolve().parent / section[key]).resolve())
    return section


def _section(spec: str) -> tuple[str, dict[str, Any]]:
    layout, separator, rest = spec.rpartition(":")
    path = Path(rest if separator else spec)
    if path.exists() and (separator or path.suffix or path.is_dir()):
        section: dict[str, Any] = {"file": str(path.resolve()), "held_out": 1.0}  # all of a test file is held out
        return path.stem or path.name, section | ({"layout": layout} if separator else {})
    if spec in FAMILIES:
        return spec, {"family": spec}
    from reasoning_gym.factory import DATASETS  # late: it takes a second

    if spec in DATASETS:
        return spec, {"reasoning_gym": spec}
    near = nearest(spec, [*FAMILIES, *DATASETS]) if not separator and not path.suffix else "no such file"
    raise TaskError(f"--task {spec!r}: no recipe, file, family or reasoning-gym data set; {near}")
