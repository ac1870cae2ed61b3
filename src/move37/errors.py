"""Everything Move37 raises on purpose.

    Move37Error
    ├── UserError(ValueError)        what the user gave can not work; exit code 2
    │   ├── RecipeError              a recipe, an override or a combination of keys
    │   ├── ModelError               a model directory that lacks something or does not load
    │   ├── TaskError                a task that is empty, malformed or whose golds fail
    │   └── RewardError              a reward that can not be loaded, or raised, hung or returned nonsense too often
    ├── RunError(RuntimeError)       something went wrong while running; exit code 3
    │   ├── RunBusy                  another process holds the run directory
    │   ├── CheckpointError          a torn, missing or unwritable checkpoint
    │   ├── NonFinite                a loss or gradient that is not a number; the batch is on disk
    │   ├── NoSignal                 N steps in a row in which no group could teach anything
    │   ├── NothingAccepted          rejection sampling that keeps no response
    │   └── Mismatch                 sampler and learner disagree about log-probs
    └── Interrupted(RuntimeError)    Ctrl-C: the step was finished and saved; exit code 130

A user's mistake is told in one message: what, value, nearest valid name, fix. `assert` is for our own mistakes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Move37Error(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class UserError(Move37Error, ValueError):
    exit_code = 2


class RecipeError(UserError):
    pass


class ModelError(UserError):
    pass


class TaskError(UserError):
    pass


class RewardError(UserError):
    pass


class RunError(Move37Error, RuntimeError):
    exit_code = 3


class RunBusy(RunError):
    pass


class CheckpointError(RunError):
    pass


class NonFinite(RunError):
    pass


class NoSignal(RunError):
    pass


class NothingAccepted(RunError):
    pass


class Mismatch(RunError):
    pass


class Interrupted(Move37Error, RuntimeError):
    exit_code = 130


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint for a misspelt name: "did you mean 'steps'?", or the valid names where none is near."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(names)}"
