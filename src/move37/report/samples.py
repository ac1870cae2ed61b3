"""Browsing rollouts in the terminal: every response is on disk, this picks some and shows them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from move37 import shards
from move37.errors import UserError, nearest
from move37.runs import Run
from move37.types import Verdict

COLUMNS = ("step", "problem", "task", "question", "gold", "sample", "prefill", "text", "final", "stop", "reward")
COLUMNS += ("verdict", "error", "style", "sampled")
COLOURS = {"right": "green", "wrong": "red", "cannot_tell": "yellow"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What to show. `step` -1 is the last one; None is every one."""

    stage: str | None = None
    step: int | None = None
    task: str | None = None
    min_reward: float = -math.inf
    max_reward: float = math.inf
    verdict: str | None = None

    def accepts(self, row: dict[str, Any]) -> bool:
        reward = row["reward"]
        if reward is None and (self.min_reward > -math.inf or self.max_reward < math.inf):
            return False
        return (
            (self.task is None or row["task"] == self.task)
            and (self.verdict is None or row["verdict"] == self.verdict)
            and (reward is None or self.min_reward <= reward <= self.max_reward)
        )


def select(run: Run, wanted: Filter) -> Iterator[tuple[str, dict[str, Any]]]:
    """(stage, row) of every response that passes, in order of stages and steps.

    Raises:
        UserError: a stage, step, task or verdict that is not there; names what is.
    """
    _check(run, wanted)
    stages = [wanted.stage] if wanted.stage else list(run.recipe.stages)
    for stage in stages:
        for path in _paths(run, stage, wanted.step):
            for row in shards.rows(path, COLUMNS):
                if wanted.accepts(row):
                    yield stage, row


def show(console: Console, stage: str, row: dict[str, Any], plain: bool) -> None:
    """One response. `plain`: no frame and no colour, the same text."""
    reward = "none" if row["reward"] is None else f"{row['reward']:.3g}"
    head = f"{stage} step {row['step']}  {row['task']} {row['problem']} #{row['sample']}"
    facts = f"{row['verdict']}  reward {reward}  {sum(row['sampled'])} tokens  {row['style']}  stop {row['stop']}"
    colour = COLOURS[row["verdict"]]
    body = Text.assemble(
        (row["question"].strip(), "bold"),
        "\n\n",
        (row["prefill"], "dim"),
        row["text"].rstrip(),
        "\n\n",
        (f"answer {row['final']!r}  gold {row['gold']!r}", "dim"),
    )
    if row["error"]:
        body.append(f"\nnot graded: {row['error']}", style="yellow")
    if plain:
        console.print(Text(f"--- {head}\n{facts}\n{body.plain}\n"), soft_wrap=True)
    else:
        title = Text(head)
        console.print(
            Panel(body, title=title, title_align="left", subtitle=Text(facts, style=colour), border_style=colour)
        )


def _check(run: Run, wanted: Filter) -> None:
    if wanted.stage and wanted.stage not in run.recipe.stages:
        raise UserError(f"--stage {wanted.stage!r} is no stage of this run; {nearest(wanted.stage, run.recipe.stages)}")
    if wanted.task and wanted.task not in run.recipe.tasks:
        raise UserError(f"--task {wanted.task!r} is no task of this run; {nearest(wanted.task, run.recipe.tasks)}")
    if wanted.verdict and wanted.verdict not in set(Verdict):
        raise UserError(f"--verdict {wanted.verdict!r} is none; {nearest(wanted.verdict, set(Verdict))}")
    stages = [wanted.stage] if wanted.stage else list(run.recipe.stages)
    if wanted.step is not None and wanted.step != -1:
        steps = sorted({step for stage in stages for step in run.log(stage).shards()})
        if wanted.step not in steps:
            there = f"{steps[0]} to {steps[-1]}" if steps else "none"
            raise UserError(f"--step {wanted.step}: no rollouts of that step; steps on disk: {there}")


def _paths(run: Run, stage: str, step: int | None) -> list[Path]:
    by_step = run.log(stage).shards()
    if step is None:
        folder = run.stage(stage) / "rollouts"
        evaluated = [folder / f"{name}.parquet" for name in ("greedy", "sampled", "searched")]
        return [*by_step.values(), *(path for path in evaluated if path.exists())]
    if step == -1:
        return list(by_step.values())[-1:]
    return [by_step[step]] if step in by_step else []
