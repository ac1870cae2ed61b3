"""Who answers in an evaluation: a checkpoint sampled here, an endpoint, or a policy without a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from move37.endpoint import Client, Endpoint
from move37.errors import TaskError
from move37.rollout.remote import Remote
from move37.rollout.scripted import Scripted, written
from move37.sections import Evaluate
from move37.stages.context import Context
from move37.stages.evaluate import Engine
from move37.types import Problem

Make = Callable[[Context, Evaluate], Engine]


def local() -> Make:
    """The recipe's model, loaded once for all stages."""
    loaded: list[Engine] = []

    def make(context: Context, section: Evaluate) -> Engine:
        if not loaded:
            loaded.append(context.sampler(context.load(section)))
        return loaded[0]

    return make


def remote(endpoint: Endpoint, ledger: Path) -> Make:
    """A model behind an endpoint; what it has answered once is read from the ledger.

    Raises:
        UserError: the libraries are missing, or the key's variable is not set.
    """
    engine = Remote(Client(endpoint, ledger))
    return lambda context, section: engine


def oracle() -> Make:
    """Says the gold. Anything below 100% is a fault of the suite: its file, its reading or its verifier."""

    def make(context: Context, section: Evaluate) -> Engine:
        def write(problem: Problem, sample: int) -> str:
            task = context.tasks[problem.task]
            golds = [] if task.open_ended else task.gold_answers(problem)
            if not golds:
                raise TaskError(f"task {problem.task}: it has no golds, so there is no oracle for it")
            return written(golds[0], section.reading)

        return Scripted(write)

    return make


def empty() -> Make:
    """Says nothing. Anything above 0% is a fault of the suite."""
    return lambda context, section: Scripted(lambda problem, sample: "")


# What stands for a checkpoint without being one
POLICIES: dict[str, Callable[[], Make]] = {"oracle": oracle, "empty": empty}
