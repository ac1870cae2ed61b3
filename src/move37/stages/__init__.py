"""Stages: the only package that puts the others together. `run_recipe` runs a recipe's stages in order."""

from __future__ import annotations

from typing import Any

from move37 import tasks
from move37.models import folder
from move37.recipe import RL, AnyStage, Evaluate, Pretrain, Recipe
from move37.report.live import Live
from move37.runs import Run
from move37.stages.checking import check_model, check_tasks, evaluate_checkpoint
from move37.stages.context import Context, Device, Interrupt
from move37.stages.evaluate import Evaluation
from move37.stages.pretrain import Pretraining
from move37.stages.rl import RLTraining
from move37.stages.training import Training

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
        for task in loaded.values():
            for note in task.notes:
                display.note(f"{task.name}: {note}")
        for name, section in recipe.stages.items():
            if run.log(name).done is not None:
                display.note(f"{name}: done before")
                continue
            _begin(context, name, section).run()


def _begin(context: Context, name: str, section: AnyStage) -> Training | Evaluation:
    """Build a stage, put on record what it starts from, and show it."""
    lineage: dict[str, Any] = {"stage": section.stage, "seed": context.recipe.seed}
    if not isinstance(section, Pretrain):
        source = context.source(section)
        lineage |= {"init": section.init, "model": str(source), "weights_sha256": folder.fingerprint(source)}
    if isinstance(section, Pretrain):
        stage: Training | Evaluation = Pretraining(context, name, section)
        sentence = f"{section.steps} steps of {section.documents_per_step} documents."
    elif isinstance(section, RL):
        stage, sentence = RLTraining(context, name, section), section.sentence()
    else:
        stage = Evaluation(context, name, section)
        sentence = stage.sentence()
    context.run.note_lineage(name, lineage)
    context.display.stage(name, section.stage, 0 if isinstance(section, Evaluate) else section.steps, sentence)
    return stage
