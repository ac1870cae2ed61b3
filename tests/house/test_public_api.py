"""Public names are few, and change on purpose: this list is the record."""

from __future__ import annotations

import move37
from move37 import cli, errors, runs, sections, types

PUBLIC = {
    move37: {"Move37Error", "__version__"},
    cli: {"app", "main"},
}
RECORDS = {"Credit", "Group", "LossSpec", "Problem", "Rollout", "Scope", "Score", "Stop", "Verdict"}
ERRORS = {
    *("Move37Error", "UserError", "RecipeError", "ModelError", "TaskError", "RewardError", "RunError", "RunBusy"),
    *("CheckpointError", "NonFinite", "NoSignal", "NothingAccepted", "Mismatch", "Interrupted"),
}
RUN = {"create", "open", "base", "lineage", "changes", "adopt", "forget", "resume_command", "stage", "log", "close"}
LOG = {
    *("checkpoints", "final", "value", "data", "record", "rollouts", "rows", "probe", "evaluation", "truncate_after"),
    *("begin", "finish", "lineage", "done"),
    *("metrics", "probes", "eval", "shards"),
}


def _own_classes(module):
    return {
        name for name, value in vars(module).items() if isinstance(value, type) and value.__module__ == module.__name__
    }


def test_what_modules_declare():
    for module, names in PUBLIC.items():
        assert set(module.__all__) == names


def test_the_records():
    assert _own_classes(types) | {"Scope"} == RECORDS


def test_the_errors():
    assert _own_classes(errors) == ERRORS


def test_a_run_and_its_log():
    assert {name for name in vars(runs.Run) if not name.startswith("_")} == RUN
    assert {name for name in vars(runs.StageLog) if not name.startswith("_")} == LOG


def test_kinds_of_stages_and_tasks():
    assert set(sections.STAGE_KINDS) == {
        *("pretrain", "sft", "rl", "distill", "rejection_sample", "merge", "evaluate"),
        *("rewrite", "curate", "demonstrate", "compare", "reward_model", "preference"),
    }
    assert set(sections.TASK_KINDS) == {"family", "reasoning_gym", "file"}
