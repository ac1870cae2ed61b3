"""`move37 eval` as a recipe of evaluate stages, so that a checkpoint is measured by the code that measures runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from move37 import recipe as recipes
from move37 import suites
from move37.asked import EvalOptions
from move37.errors import TaskError, UserError, nearest
from move37.recipe import Recipe
from move37.runs import Run, is_run
from move37.sections import Evaluate, FileTask
from move37.tasks.families import FAMILIES

POLICIES = ("oracle", "empty")  # instead of a checkpoint: says the gold, says nothing; a check of suites


def model_of(checkpoint: Path) -> Path:
    """The model directory meant: the one given, or the last model that a run left, reward models apart.

    Raises:
        UserError: no such directory, or a run that has left no model yet.
    """
    if not is_run(checkpoint):
        if str(checkpoint) != "bundled" and not checkpoint.is_dir():
            raise UserError(f"{checkpoint}: no such directory; give a model directory, a run, or `bundled`")
        return checkpoint
    run = Run.open(checkpoint)
    for stage, section in reversed(run.recipe.stages.items()):
        if section.MAKES == "reward_model":  # it writes nothing
            continue
        log = run.log(stage)
        for path in (log.final, *sorted(log.checkpoints.glob("step-*"), reverse=True)):
            if path.is_dir():
                return path
    raise UserError(f"{checkpoint}: this run has left no model yet")


def template_of(checkpoint: Path) -> str | None:
    """The template a run was trained with; None for a model directory, which brings its own."""
    return Run.open(checkpoint).recipe.template if is_run(checkpoint) else None


def plan(given: EvalOptions, data: Path | None, scratch: Path) -> Recipe:
    """What `move37 eval` was asked for, as a recipe: one evaluate stage for all tasks, and one for each suite.

    Args:
        data: directory of the suites' files where `--data` does not name one.
        scratch: where files of suites are downloaded to.

    Raises:
        UserError: options that lack or exclude each other, or nothing of that name.
    """
    if not given.task and not given.suite:
        raise UserError(f"what is to be measured? Give --task, or --suite ({', '.join(suites.SUITES)})")
    model, trained = _model(given)
    template = given.template or trained
    settings = {"samples": given.samples, "problems": given.problems, "max_new_tokens": given.max_new_tokens}
    settings = {k: v for k, v in settings.items() if v is not None} | ({"reading": given.reading} if given.reading else {})
    ruled = suites.protocol(given.protocol) if given.protocol else {}
    raw: dict[str, Any] = {"tasks": {}, "stages": {}, "template": template}
    if given.task:
        raw = _raw(given.task, {**ruled, **settings, "template": template})
        raw["stages"]["eval"]["tasks"] = list(raw["tasks"])
    raw["tasks"] |= suites.sections(given.suite or [], given.data or data, scratch)
    for name in given.suite or []:
        tags = raw["template"] == "r1_zero" or given.reading == "tags"
        raw["stages"][name] = suites.stage(name, given.protocol, tags) | settings
    return recipes.parse({**raw, "name": "eval", "model": model, "seed": given.seed}, "move37 eval")


def _model(given: EvalOptions) -> tuple[str, str | None]:
    """What is measured, as the recipe's `model`; and the template it was trained with, where that is known."""
    if given.endpoint:
        if given.checkpoint:
            raise UserError(f"CKPT {given.checkpoint} and --endpoint {given.endpoint} exclude each other; choose one")
        return f"{given.model} at {given.endpoint}", None
    if not given.checkpoint:
        raise UserError("which model? Give a model directory, a run, `bundled`, or --endpoint URL --model NAME")
    if given.checkpoint in POLICIES:
        return given.checkpoint, None
    path = Path(given.checkpoint)
    found = model_of(path)
    return (str(found) if str(found) == "bundled" else str(found.resolve())), template_of(path)


def cost(record: Mapping[str, Any], price_in: float | None, price_out: float | None) -> dict[str, float]:
    """What the tokens of an evaluation cost, at prices per million; nothing where no price is given."""
    if price_in is None and price_out is None:
        return {}
    return {"cost": (record["prompt_tokens"] * (price_in or 0.0) + record["tokens"] * (price_out or 0.0)) / 1e6}


def footnote(record: Mapping[str, Any]) -> str:
    """What somebody needs who wants to repeat or to doubt the numbers, in one line."""
    undecided = f", {record['cannot_tell']} responses could not be graded" if record["cannot_tell"] else ""
    paid = f", cost {record['cost']:.4g}" if "cost" in record else ""
    return (
        f"{record['stage']}: n {record['problems']}, k {record['samples']}, seed {record['seed']}, temperature "
        f"{record['temperature']:g}, top-p {record['top_p']:g}, at most {record['max_new_tokens']} tokens, read from "
        f"{record['reading']}, template {record['template_sha256'][:12]}, tokens {record['prompt_tokens']} in and "
        f"{record['tokens']} out{paid}{undecided}"
    )


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
    model = str(checkpoint) if str(checkpoint) == "bundled" else str(checkpoint.resolve())
    return recipes.parse({**_raw(tasks, settings), "name": "eval", "model": model}, "move37 eval")


def _raw(tasks: Sequence[str], settings: dict[str, Any]) -> dict[str, Any]:
    sections: dict[str, Any] = {}
    stage: dict[str, Any] = {}
    template, holder = None, "bubblewrap"
    for spec in tasks:
        if Path(spec).suffix in {".yaml", ".yml"}:
            found = recipes.load(spec)
            sections |= {name: _anchored(task, Path(spec)) for name, task in found.tasks.items()}
            template = template or found.template
            holder = found.sandbox
            stage = stage or next((_given(s) for s in found.stages.values() if isinstance(s, Evaluate)), {})
        else:
            name, section = _section(spec)
            sections[name] = section
    given = {key: value for key, value in settings.items() if value is not None}
    template = given.pop("template", template)
    stages = {"eval": {**stage, "stage": "evaluate", **given}}
    return {"template": template, "tasks": sections, "sandbox": holder, "stages": stages}


def _given(stage: Evaluate) -> dict[str, Any]:
    return stage.model_dump(mode="json", exclude={"init", "tasks", "search"}, exclude_unset=True)


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
