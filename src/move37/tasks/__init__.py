"""Tasks: where problems come from. See docs/tasks.md.

A recipe's task section is passed in as a plain object; which loader it needs is read off its one distinguishing key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from move37 import sandbox
from move37.errors import TaskError
from move37.tasks.base import Split, Task, problem_id, split_of
from move37.tasks.family import load_family
from move37.tasks.files import load_file
from move37.tasks.gym import load_gym

# section class -> loader(name, section, seed, base)
LOADERS = {
    "FamilyTask": lambda name, section, seed, base: load_family(name, section, seed),
    "GymTask": lambda name, section, seed, base: load_gym(name, section, seed),
    "FileTask": load_file,
}


def load(name: str, section: Any, seed: int, base: Path) -> Task:
    """One task of a recipe.

    Args:
        name: its key under `tasks`.
        section: a recipe's FamilyTask, GymTask or FileTask.
        seed: of the recipe; it orders and draws training problems. Held-out problems do not depend on it in the tasks
            of files and of reasoning-gym, so that runs of different seeds are measured on the same ones.
        base: the recipe file or its directory; problem files are relative to it.

    Raises:
        TaskError: naming the task, the key, the value and the fix.
    """
    kind = type(section).__name__
    if kind not in LOADERS:
        raise TaskError(f"tasks.{name}: a {kind} is no task section; valid: {', '.join(LOADERS)}")
    return LOADERS[kind](name, section, seed, base if base.is_dir() else base.parent)


def load_all(sections: Mapping[str, Any], seed: int, base: Path, holder: str = "bubblewrap") -> dict[str, Task]:
    """Every task of a recipe, by name. `holder` is the recipe's `sandbox`: what holds answers that are code."""
    sandbox.use(holder)
    return {name: load(name, section, seed, base) for name, section in sections.items()}


__all__ = ["Split", "Task", "load", "load_all", "problem_id", "split_of"]
