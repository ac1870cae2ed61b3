"""Stages: the only package that puts the others together. `run_recipe` runs a recipe's stages in order."""

from __future__ import annotations

from typing import Any

from move37 import tasks
from move37.errors import TaskError
from move37.models import folder
from move37.recipe import Recipe
from move37.report.live import Live
from move37.runs import Run
from move37.sections import RL, AnyStage, Evaluate, Pretrain
from move37.stages.checking import check_model, check_tasks, evaluate_checkpoint
from move37.stages.context import Context, Device, Interrupt
from move37.stages.evaluate import Evaluation
from move37.stages.pretrain import Pretraining
from move37.stages.rl import RLTraining
from move37.stages.training import Training
from move37.tasks.base import Task
from move37.tasks.check import GOLD_PROBES, check

GOLDS = 4  # problems of each split whose golds are tried at the start of a run

__all__ = ["check_model", "check_tasks", "evaluate_checkpoint", "run_recipe"]


def run_recipe(recipe: Recipe, run: Run, display: Live) -> None:
    """Run every stage that is not done yet.

    Raises:
        Interrupted: Ctrl-C; the step at hand was finished and saved.
        Move37Error: see errors.py; everything before it is on disk.
    """
    device = Device.choose(recipe.hardware)
    with Interrupt() as interrupt:
        loaded = tasks.load_all(recipe.tasks, recipe.seed, run.base)
        context = Context(recipe=recipe, run=run, display=display, tasks=loaded, device=device, interrupt=interrupt)
        if any(not isinstance(section, Pretrain) for section in recipe.stages.values()):
            _check_golds(loaded, display)
        for name, section in recipe.stages.items():
            log = run.log(name)
            for note in log.notes:  # opening it repaired what was torn, so the stage's own log finds nothing any more
                display.note(f"{name}: {note}")
            if log.done is not None:
                display.note(f"{name}: done before")
                continue
            _begin(context, name, section).run()


def _check_golds(loaded: dict[str, Task], display: Live) -> None:
    """A look at a few golds of every task before anything is spent; `move37 check` looks at more.

    Raises:
        TaskError: no gold of a task earns its own marks, so nothing ever could.
    """
    for task in loaded.values():
        for note in task.notes:
            display.note(f"{task.name}: {note}")
        report = check({task.name: task}, GOLDS)
        golds = {(r.problem, r.answer) for r in report.records if r.probe in GOLD_PROBES}
        bad = report.bad_golds
        if not bad:
            continue
        told = f"{len(bad)} of the {len(golds)} golds looked at do not verify, such as {bad[0].answer[:60]!r}: {bad[0].why}"
        if len(bad) == len(golds):
            raise TaskError(f"tasks.{task.name}: {told}. Choose another verifier or layout; `move37 check` lists them")
        display.note(f"{task.name}: {told}; `move37 check` lists them")


def _begin(context: Context, name: str, section: AnyStage) -> Training | Evaluation:
    """Build a stage, put on record what it starts from, and show it."""
    lineage: dict[str, Any] = {"stage": section.stage, "seed": context.recipe.seed}
    if not isinstance(section, Pretrain):
        source = context.source(section)
        lineage |= {"init": section.init, "model": str(source), "weights_sha256": folder.fingerprint(source)}
    if isinstance(section, Evaluate):
        evaluation = Evaluation(context, name, section)
        stage: Training | Evaluation = evaluation
        total, sentence = evaluation.total, evaluation.sentence()
    elif isinstance(section, RL):
        stage, total, sentence = RLTraining(context, name, section), section.steps, section.sentence()
    else:
        stage, total = Pretraining(context, name, section), section.steps
        sentence = f"{section.steps} steps of {section.documents_per_step} documents."
    context.run.note_lineage(name, lineage)
    context.display.stage(name, section.stage, total, sentence)
    return stage
