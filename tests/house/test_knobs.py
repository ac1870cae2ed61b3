"""The knob budget: a stage shows at most 25 fields, and a new one is added on purpose."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from pydantic import BaseModel

from move37.recipe import Recipe
from move37.sections import STAGE_KINDS, TASK_KINDS, Hardware

BUDGET = 27  # 25, and two of `rl` that are groups of options: `draw` and `partial`
TRAINING = {
    *("tokens_per_microbatch", "save_every", "keep_last"),
    *("optimizer.kind", "optimizer.lr", "optimizer.schedule", "optimizer.warmup_steps", "optimizer.final_share"),
    *("optimizer.weight_decay", "optimizer.clip_norm"),
}
TASK = {"weight", "held_out"}
KNOBS = {
    "pretrain": TRAINING
    | {
        *("steps", "documents_per_step", "hidden", "layers", "heads", "kv_heads", "ffn", "context", "vocabulary"),
        *("documents", "template_documents", "template_share", "direct_right", "slips", "mixed"),
    },
    "rl": TRAINING
    | {
        *("init", "tasks", "steps", "prompts_per_step", "samples_per_prompt", "updates_per_step", "max_new_tokens"),
        *("temperature", "stop", "rewards", "algorithm", "reading", "probe_every", "starve_limit"),
        *("mismatch_limit", "draw", "partial"),
    },
    "distill": TRAINING
    | {
        *("init", "teacher", "tasks", "steps", "prompts_per_step", "samples_per_prompt", "updates_per_step", "max_new_tokens"),
        *("temperature", "stop", "reading", "loss", "probe_every", "mismatch_limit"),
    },
    "sft": TRAINING
    | {"init", "data", "columns", "epochs", "steps", "examples_per_step", "held_out", "max_tokens"},
    "rejection_sample": {
        *("init", "tasks", "prompts", "prompts_per_step", "samples_per_prompt", "max_new_tokens", "temperature", "top_p"),
        *("stop", "reading", "filters", "judged", "rows", "longer", "keep_per_prompt", "choose", "mix", "starve_limit"),
    },
    "curate": {
        *("init", "tasks", "prompts", "prompts_per_step", "samples_per_prompt", "max_new_tokens", "temperature", "stop"),
        *("reading", "trivial", "hopeless", "guesses", "guess_tokens", "leave_out", "balance", "most"),
    },
    "merge": {"init", "other", "share"},
    "rewrite": {"init", "data", "by", "longest", "rows_per_step"},
    "demonstrate": {"init", "tasks", "rows", "slips", "thoughts", "by"},
    "compare": {
        *("init", "tasks", "kind", "judge", "policy", "prompts", "prompts_per_step", "samples_per_prompt", "max_new_tokens"),
        *("temperature", "stop", "reading", "pairs_per_prompt", "judgements", "margin", "balance"),
    },
    "reward_model": TRAINING
    | {"init", "data", "columns", "part", "reading", "epochs", "examples_per_step", "held_out", "max_tokens"},
    "preference": TRAINING
    | {"init", "data", "columns", "beta", "length_normalised", "epochs", "examples_per_step", "held_out", "max_tokens"},
    "evaluate": {
        *("init", "tasks", "problems", "samples", "max_new_tokens", "temperature", "top_p", "top_k", "min_p"),
        *("stop", "greedy", "reading", "instruction", "reward_model", "search"),
    },
    "family": TASK | {"family", "knobs", "languages"},
    "reasoning_gym": TASK | {"reasoning_gym", "config"},
    "file": TASK | {"file", "layout", "question", "answer", "verifier", "held_out_file"},
    "hardware": {"device", "threads", "dtype", "kernels", "cache"},
    "recipe": {"name", "seed", "model", "template", "tasks", "stages", "sandbox", "hardware"},
}
SCHEMAS = {**STAGE_KINDS, **TASK_KINDS, "hardware": Hardware}


def _leaves(schema, prefix=""):
    """Fields a user sees; nested sections count by their leaves, `stage` (the kind) is no knob, `algorithm` is one."""
    out = set()
    for name, field in schema.model_fields.items():
        if name == "stage":
            continue
        inner = field.annotation
        nested = isinstance(inner, type) and issubclass(inner, BaseModel)
        out |= _leaves(inner, f"{prefix}{name}.") if nested else {f"{prefix}{name}"}
    return out


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_knobs_are_the_pinned_ones(name):
    assert _leaves(SCHEMAS[name]) == KNOBS[name]


def test_keys_of_a_recipe():
    assert set(Recipe.model_fields) == KNOBS["recipe"]


@pytest.mark.parametrize("name", sorted(STAGE_KINDS))
def test_the_budget(name):
    assert len(_leaves(STAGE_KINDS[name])) <= BUDGET


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_knob_is_described(name):
    for field, info in SCHEMAS[name].model_fields.items():
        nested = isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
        assert field == "stage" or nested or info.description, f"{name}.{field} has no description"


def test_the_recipe_reference_is_current():
    docs = Path(__file__).parents[2] / "docs"
    spec = importlib.util.spec_from_file_location("make_recipe_reference", docs / "make_recipe_reference.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert (docs / "recipe.md").read_text(encoding="utf-8") == script.reference(), (
        "the schema has changed: run `python docs/make_recipe_reference.py`"
    )
