"""Stages: the only package that puts the others together. `run_recipe` runs a recipe's stages in order."""

from __future__ import annotations

from move37 import tasks
from move37.recipe import RL, Evaluate, Pretrain, Recipe
from move37.report.live import Live
from move37.runs import Run
from move37.stages.context import Context, Device, Interrupt
from move37.stages.evaluate import Evaluation
from move37.stages.pretrain import Pretraining
from move37.stages.rl import RLTraining


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
            if isinstance(section, Pretrain):
                stage: Pretraining | RLTraining | Evaluation = Pretraining(context, name, section)
                display.stage(name, "pretrain", section.steps, f"{section.steps} steps of {section.documents_per_step} documents.")
            elif isinstance(section, RL):
                stage = RLTraining(context, name, section)
                display.stage(name, "rl", section.steps, section.sentence())
            else:
                assert isinstance(section, Evaluate)
                stage = Evaluation(context, name, section)
                display.stage(name, "evaluate", 0, stage.sentence())
            stage.run()
