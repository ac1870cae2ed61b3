"""Stages: the only package that puts the others together. `run_recipe` runs a recipe's stages in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from move37 import graph, tasks
from move37.errors import TaskError
from move37.files import fingerprint
from move37.recipe import Recipe
from move37.report.live import Live
from move37.runs import Run, StageLog
from move37.sections import (
    RL,
    SFT,
    AnyStage,
    Compare,
    Curate,
    Demonstrate,
    Distill,
    Evaluate,
    Merge,
    Preference,
    Pretrain,
    RejectionSample,
    RewardModel,
    Rewrite,
    StageSection,
)
from move37.stages.checking import check_data, check_model, check_tasks, evaluate_checkpoint
from move37.stages.compare import Comparing
from move37.stages.context import Context, Device, Interrupt
from move37.stages.curate import Curating
from move37.stages.demonstrate import Demonstration
from move37.stages.distill import Distillation, check_teachers
from move37.stages.evaluate import Evaluation
from move37.stages.merge import Merging
from move37.stages.preference import PreferenceTraining
from move37.stages.pretrain import Pretraining
from move37.stages.rejection import RejectionSampling
from move37.stages.reward_model import RewardModelling
from move37.stages.rewrite import Rewriting
from move37.stages.rl import RLTraining
from move37.stages.sft import FineTuning
from move37.tasks.base import Task
from move37.tasks.check import GOLD_PROBES, check

GOLDS = 4  # problems of each split whose golds are tried at the start of a run

__all__ = ["check_data", "check_model", "check_tasks", "evaluate_checkpoint", "run_recipe"]


class Stage(Protocol):
    """What `run_recipe` needs: how many steps there are (of the display), what they are, and doing them."""

    @property
    def total(self) -> int: ...

    def sentence(self) -> str: ...

    def run(self) -> None: ...


# kind of stage -> what runs it, made from (context, name, section)
RUNNERS: dict[type[StageSection], type[Stage]] = {
    Pretrain: Pretraining,
    SFT: FineTuning,
    RL: RLTraining,
    Distill: Distillation,
    RejectionSample: RejectionSampling,
    Curate: Curating,
    Merge: Merging,
    Rewrite: Rewriting,
    Demonstrate: Demonstration,
    Compare: Comparing,
    RewardModel: RewardModelling,
    Preference: PreferenceTraining,
    Evaluate: Evaluation,
}


def run_recipe(recipe: Recipe, run: Run, display: Live, names: Sequence[str] | None = None) -> None:
    """Run every stage that is not done yet; of `names`, where given.

    Raises:
        Interrupted: Ctrl-C; the step at hand was finished and saved.
        RecipeError: a stage's parent is missing, or is not what it was.
        Move37Error: see errors.py; everything before it is on disk.
    """
    device = Device.choose(recipe.hardware)
    with Interrupt() as interrupt:
        loaded = tasks.load_all(recipe.tasks, recipe.seed, run.base, recipe.sandbox)
        context = Context(recipe=recipe, run=run, display=display, tasks=loaded, device=device, interrupt=interrupt)
        if any(not isinstance(section, Pretrain) for section in recipe.stages.values()):
            _check_golds(loaded, display)
        names = names or list(recipe.stages)
        left = [n for n in names if not StageLog(run.stage(n), writing=False).done]
        check_data(recipe, run.base, left)
        check_teachers(recipe, context, left)
        for name in names:
            log = run.log(name)
            for note in log.notes:  # opening it repaired what was torn, so the stage's own log finds nothing any more
                display.note(f"{name}: {note}")
            if log.done is not None:
                display.note(f"{name}: done before")
                continue
            _begin(context, name).run()


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


def _begin(context: Context, name: str) -> Stage:
    """Check what a stage starts from, build it, put on record what it is made from, and show it."""
    section = context.recipe.stages[name]
    log = context.run.log(name)
    before = log.lineage
    lineage = graph.begin(context.run, name, _model(context, section))
    if before and before["code"][-1] != graph.code():
        version = before["code"][-1]["version"]
        context.display.note(f"{name}: begun by other code of Move37 ({version}); equal bits are promised for equal code")
    stage = RUNNERS[type(section)](context, name, section)
    log.begin(lineage)
    context.display.stage(name, section.stage, stage.total, stage.sentence())
    return stage


def _model(context: Context, section: AnyStage) -> dict[str, str]:
    """The recipe's model by path and hash, where a stage starts from it."""
    if "model" not in section.inputs().values():
        return {}
    path = context.model()
    return {"path": str(path), "sha256": fingerprint(path, "*.safetensors")}
