"""The per-sample log of an evaluation in the formats of other tools.

    inspect     an EvalLog of inspect-ai, one JSON file; `inspect view` and `inspect_ai.log.read_eval_log` open it.
                One sample per response; the responses to a problem are its epochs.
    lm-eval     samples_<name>.jsonl as the evaluation harness writes with --log_samples: one line per problem, all
                responses in `resps`.

A response that could not be graded has no score there; it is told in the metadata.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from move37 import __version__
from move37.errors import UserError, nearest
from move37.files import write_atomic
from move37.types import Group, Rollout, Verdict


def write(kind: str, directory: Path, name: str, record: Mapping[str, Any], groups: Sequence[Group]) -> Path:
    """Write one evaluation's responses; `kind` is a key of FORMATS.

    Raises:
        UserError: unknown format.
        RunError: the file can not be written.
    """
    file, made = known(kind)(name, record, groups)
    return write_atomic(directory / file, made)


def known(kind: str) -> Callable[..., tuple[str, str]]:
    """Raises UserError for an unknown format."""
    if kind not in FORMATS:
        raise UserError(f"--export {kind!r} is not known; {nearest(kind, FORMATS)}")
    return FORMATS[kind]


# ------------------------------------------------------------------------------------------------------------- inspect


def inspect_log(name: str, record: Mapping[str, Any], groups: Sequence[Group]) -> tuple[str, str]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    model = str(record["model"])
    rollouts = [r for g in groups for r in g.rollouts]
    undecided = sum(r.verdict is Verdict.CANNOT_TELL for r in rollouts)
    metrics = {key: {"name": key, "value": v["value"]} for key, v in record["overall"].items() if v["value"] is not None}
    usage = {"input_tokens": record["prompt_tokens"], "output_tokens": record["tokens"]}
    usage["total_tokens"] = sum(usage.values())
    facts = {k: v for k, v in record.items() if k not in ("overall", "tasks", "styles")}
    log = {
        "version": 2,
        "status": "success",
        "eval": {
            "created": now,
            "task": name,
            "model": model,
            "dataset": {"name": name, "samples": len(groups), "sample_ids": [g.problem.id for g in groups]},
            "config": {"epochs": record["samples"]},
            "model_generate_config": {
                "temperature": record["temperature"],
                "top_p": record["top_p"],
                "max_tokens": record["max_new_tokens"],
            },
            "packages": {"move37": __version__},
            "metadata": facts,
        },
        "results": {
            "total_samples": len(rollouts),
            "completed_samples": len(rollouts),
            "scores": [
                {
                    "name": "move37",
                    "scorer": "move37",
                    "scored_samples": len(rollouts) - undecided,
                    "unscored_samples": undecided,
                    "metrics": metrics,
                }
            ],
        },
        "stats": {"started_at": now, "completed_at": now, "model_usage": {model: usage}},
        "samples": [_inspect_sample(g, r, model) for g in groups for r in g.rollouts],
    }
    return f"{name}.json", json.dumps(log, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _inspect_sample(group: Group, rollout: Rollout, model: str) -> dict[str, Any]:
    problem = group.problem
    said = {"role": "assistant", "content": rollout.prefill + rollout.text}
    stop = "max_tokens" if rollout.truncated else "stop"
    score = {"value": "C" if rollout.verdict is Verdict.RIGHT else "I", "answer": rollout.final, "explanation": _why(rollout)}
    return {
        "id": problem.id,
        "epoch": rollout.sample + 1,
        "input": problem.question,
        "target": problem.answer,
        "messages": [{"role": "user", "content": problem.question}, said],
        "output": {"model": model, "choices": [{"message": said, "stop_reason": stop}], "completion": said["content"]},
        "scores": {} if rollout.verdict is Verdict.CANNOT_TELL else {"move37": score},
        "metadata": {"task": problem.task, "verdict": rollout.verdict.value, "why": _why(rollout), "vote": rollout.vote},
    }


# ------------------------------------------------------------------------------------------------------------- lm-eval


def lm_eval_log(name: str, record: Mapping[str, Any], groups: Sequence[Group]) -> tuple[str, str]:
    settings = {
        "temperature": record["temperature"],
        "top_p": record["top_p"],
        "max_gen_toks": record["max_new_tokens"],
        "do_sample": True,
    }
    lines = [json.dumps(_lm_eval_line(n, g, settings), ensure_ascii=False) for n, g in enumerate(groups)]
    return f"samples_{name}.jsonl", "".join(f"{line}\n" for line in lines)


def _lm_eval_line(number: int, group: Group, settings: Mapping[str, Any]) -> dict[str, Any]:
    problem = group.problem
    decided = [r.verdict is Verdict.RIGHT for r in group.rollouts if r.verdict is not Verdict.CANNOT_TELL]
    return {
        "doc_id": number,
        "doc": {"id": problem.id, "question": problem.question, "answer": problem.answer},
        "target": problem.answer,
        "arguments": {"gen_args_0": {"arg_0": problem.question, "arg_1": dict(settings)}},
        "resps": [[r.prefill + r.text for r in group.rollouts]],
        "filtered_resps": [[r.final or "" for r in group.rollouts]],
        "filter": "none",
        "metrics": ["exact_match"],
        "doc_hash": _hash(problem.question + problem.answer),
        "prompt_hash": _hash(problem.question),
        "target_hash": _hash(problem.answer),
        "exact_match": sum(decided) / len(decided) if decided else None,
        "verdicts": [r.verdict.value for r in group.rollouts],
    }


def _why(rollout: Rollout) -> str:
    return rollout.scores["accuracy"].why


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# name -> (evaluation's name, its record, its groups) -> (file name, content)
FORMATS: dict[str, Callable[[str, Mapping[str, Any], Sequence[Group]], tuple[str, str]]] = {
    "inspect": inspect_log,
    "lm-eval": lm_eval_log,
}
