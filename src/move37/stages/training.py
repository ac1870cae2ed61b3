"""What all training stages share: the loop over steps with checkpoints, resume, Ctrl-C and the final model."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from typing import Any

from move37 import checkpoint
from move37.learner.learner import Learner
from move37.models import folder
from move37.runs import StageLog
from move37.sections import TrainingSection
from move37.stages.context import Context


class Training(ABC):
    """A stage that makes a model in steps. A subclass provides `loaded`, `learner` and `step`.

    A step is a pure function of the weights, the state saved in checkpoints and its own number; that is what makes a
    resumed run equal, bit by bit, to one that was never interrupted.
    """

    loaded: folder.Loaded
    learner: Learner

    def __init__(self, context: Context, name: str, section: TrainingSection, steps: int) -> None:
        self.context = context
        self.name = name
        self.section = section
        self.steps = steps
        self.log: StageLog = context.run.log(name)
        self.wall_s = 0.0  # of all steps so far, over resumes
        self.best: tuple[float, int] | None = None  # score and step of the best checkpoint

    @property
    def total(self) -> int:
        return self.steps

    @abstractmethod
    def sentence(self) -> str:
        """The derived sizes, for people."""

    @abstractmethod
    def step(self, number: int) -> dict[str, Any]:
        """One step, numbered from 1; returns its metrics and has recorded what else it leaves."""

    def extra_state(self) -> dict[str, Any]:
        """JSON-able state beside weights, optimizer and clock."""
        return {}

    def restore_extra(self, state: dict[str, Any]) -> None:
        """The inverse of `extra_state`."""
        assert not state

    def extra_trainer(self) -> dict[str, Any]:
        """Tensors beside the optimizer's, such as a reference policy's."""
        return {}

    def restore_trainer(self, trainer: dict[str, Any]) -> None:
        """The inverse of `extra_trainer`."""
        assert not trainer

    def score(self, metrics: dict[str, Any]) -> float | None:
        """What "best checkpoint" means; None: there is no such thing."""
        return None

    def before(self) -> None:
        """Called once before the first step of a stage that starts from nothing; forgets what an earlier try left."""
        self.log.truncate_after(0)

    def after(self) -> dict[str, Any]:
        """Called once after the last step, before the final model is written; what the lineage tells of it."""
        return {}

    def run(self) -> None:
        """All steps that are left, then the final model."""
        done = self._resume()
        if done == 0:
            self.before()
        for number in range(done + 1, self.steps + 1):
            started = time.perf_counter()
            metrics = self.step(number)
            metrics["seconds"] = time.perf_counter() - started - metrics.get("seconds/probe", 0.0)
            self.wall_s += metrics["seconds"]
            metrics["wall_s"] = self.wall_s
            self.log.record(number, metrics)
            self.context.display.step({"step": number, **metrics})
            interrupted = self.context.interrupt.asked
            if number % self.section.save_every == 0 or number == self.steps or interrupted:
                self._save(number, metrics)
            if interrupted and number < self.steps:
                self.context.interrupt.stop(f"step {number} of {self.name}", self.context.run.resume_command())
        told = self.after()
        checkpoint.export(self.log.final, self.loaded)
        tokens = sum(row["tokens"] for row in self.log.metrics())
        spent = {"steps": self.steps, "updates": self.learner.version, "tokens": tokens, "seconds": self.wall_s}
        self.log.finish({**spent, **told}, self.section.MAKES)

    def _save(self, number: int, metrics: dict[str, Any]) -> None:
        score = self.score(metrics)
        if score is not None and not math.isnan(score) and (self.best is None or score > self.best[0]):
            self.best = (score, number)
        state = {"wall_s": self.wall_s, "updates": self.learner.version, "best": self.best, "extra": self.extra_state()}
        trainer = {"optimizer": self.learner.optimizer.state_dict(), "extra": self.extra_trainer()}
        checkpoint.save(self.log.checkpoints, number, self.loaded, trainer, state)
        checkpoint.prune(self.log.checkpoints, number, self.section.keep_last, self.best[1] if self.best else None)

    def _resume(self) -> int:
        """Steps that are done according to the newest intact checkpoint; its state is restored."""
        path, notes = checkpoint.newest(self.log.checkpoints)
        for note in notes:
            self.context.display.note(note)
        if path is None:
            return 0
        saved = checkpoint.load(path)
        fresh = folder.load(path, self.learner.model.head.dtype, self.learner.device, self.loaded.scalar)
        self.loaded.model.load_state_dict(fresh.model.state_dict())
        self.learner.optimizer.load_state_dict(saved.trainer["optimizer"])
        self.restore_trainer(saved.trainer["extra"])
        self.learner.version = saved.state["updates"]
        self.wall_s = saved.state["wall_s"]
        self.best = tuple(saved.state["best"]) if saved.state["best"] else None
        self.restore_extra(saved.state["extra"])
        self.log.truncate_after(saved.state["step"])
        self.context.display.note(f"{self.name}: going on after step {saved.state['step']} of {self.steps}")
        return int(saved.state["step"])
