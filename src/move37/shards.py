"""Rollouts as Parquet: one shard per step, one row per response, everything that a learner or a reader may ask for.

Columns: step, group, problem, task, question, gold, meta (JSON), sample, token_ids, sampled, logprobs,
sampling_logprobs, text, prefill, thinking, answer, final, vote, stop, version, segments (JSON; null: one), reward, verdict,
error, style, steps, reflective, and for every reward `reward/<name>`, `why/<name>` and `part/<name>/<part>`. A reward that is
NaN is stored as null.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from move37.errors import RunError
from move37.files import write_atomic
from move37.rewards import style
from move37.types import Group, Problem, Rollout, Score, Stop, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

ARRAYS = {"token_ids": np.int32, "sampled": np.bool_, "logprobs": np.float32, "sampling_logprobs": np.float32}
COLUMNS = ("group", "problem", "task", "question", "gold", "meta", "sample", "stop", "version", "reward", "verdict")
TEXTS = ("text", "prefill", "thinking", "answer", "final", "vote", "error")


def name(step: int, ending: str = "parquet") -> str:
    return f"step-{step:06d}.{ending}"


def step_of(path: Path) -> int | None:
    """The step of a shard's file name, None for other names."""
    found = re.fullmatch(r"step-(\d+)\.(?:parquet|jsonl)", path.name)
    return int(found[1]) if found else None


def write(path: Path, step: int, groups: list[Group]) -> Path:
    """Write groups as one shard, atomically.

    Raises:
        RunError: the file can not be written; what was there before is intact.
    """
    import pyarrow.parquet as pq  # here, so that listing runs does not wait for it

    table = _table(step, groups)
    return write_atomic(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))


def read(path: Path) -> list[Group]:
    """The groups of a shard, equal to those written.

    Raises:
        RunError: the shard is torn, missing, or another version's; names it.
    """
    import pyarrow.parquet as pq

    try:
        _has(path, (*COLUMNS, *ARRAYS, *TEXTS))
        table = pq.read_table(path)
    except (OSError, ValueError) as problem:  # ArrowInvalid is a ValueError
        raise RunError(f"{path}: can not be read as a shard of rollouts: {problem}") from None
    arrays = {key: _split(table.column(key), kind) for key, kind in ARRAYS.items()}
    groups: dict[int, Group] = {}
    for index, row in enumerate(table.drop_columns(list(ARRAYS)).to_pylist()):
        if row["group"] not in groups:
            groups[row["group"]] = Group(problem=_problem(row), rollouts=[])
        tokens = {key: columns[index] for key, columns in arrays.items()}
        groups[row["group"]].rollouts.append(_rollout(row, tokens))
    return list(groups.values())


def rows(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Some columns of a shard as plain dictionaries.

    Raises:
        RunError: the shard is torn, missing, or another version's; names it.
    """
    import pyarrow.parquet as pq

    try:
        _has(path, columns)
        return pq.read_table(path, columns=list(columns)).to_pylist()
    except (OSError, ValueError) as problem:
        raise RunError(f"{path}: can not be read as a shard of rollouts: {problem}") from None


def _has(path: Path, columns: Sequence[str]) -> None:
    import pyarrow.parquet as pq

    missing = sorted(set(columns) - set(pq.read_schema(path).names))
    if missing:
        stage = path.parents[1].name
        raise RunError(
            f"{path}: it has no column {missing[0]!r}: another version of Move37 wrote it. Make that stage again "
            f"(move37 run RECIPE --only {stage} --remake), or read the run with the version in its lineage.json"
        )


def _table(step: int, groups: list[Group]) -> pa.Table:
    import pyarrow as pa

    pairs = [(number, group.problem, r) for number, group in enumerate(groups) for r in group.rollouts]
    rollouts = [r for _, _, r in pairs]
    styles = [style.read(r.text if r.thinking is None else r.thinking) for r in rollouts]
    columns: dict[str, Any] = {
        "step": pa.array([step] * len(pairs), pa.int32()),
        "group": pa.array([number for number, _, _ in pairs], pa.int32()),
        "problem": pa.array([r.problem for r in rollouts], pa.string()),
        "task": pa.array([r.task for r in rollouts], pa.string()),
        "question": pa.array([problem.question for _, problem, _ in pairs], pa.string()),
        "gold": pa.array([problem.answer for _, problem, _ in pairs], pa.string()),
        "meta": pa.array([_meta(problem) for _, problem, _ in pairs], pa.string()),
        "sample": pa.array([r.sample for r in rollouts], pa.int32()),
    }
    for key, kind in ARRAYS.items():
        columns[key] = _joined([getattr(r, key) for r in rollouts], kind)
    for key in TEXTS:
        columns[key] = pa.array([getattr(r, key) for r in rollouts], pa.string())
    columns |= {
        "stop": pa.array([r.stop.value for r in rollouts], pa.string()),
        "version": pa.array([r.version for r in rollouts], pa.int64()),
        "segments": pa.array([json.dumps(r.segments) if r.segments else None for r in rollouts], pa.string()),
        "reward": pa.array([_null(r.reward) for r in rollouts], pa.float64()),
        "verdict": pa.array([r.verdict.value for r in rollouts], pa.string()),
        "style": pa.array([s.kind for s in styles], pa.string()),
        "steps": pa.array([s.steps for s in styles], pa.int32()),
        "reflective": pa.array([s.reflective for s in styles], pa.int32()),
    }
    return pa.table(columns | _score_columns(rollouts))


def _score_columns(rollouts: list[Rollout]) -> dict[str, pa.Array]:
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for reward in sorted({key for r in rollouts for key in r.scores}):
        scores = [r.scores.get(reward) for r in rollouts]
        columns[f"reward/{reward}"] = pa.array([_null(s.value) if s else None for s in scores], pa.float64())
        columns[f"why/{reward}"] = pa.array([s.why if s else None for s in scores], pa.string())
        for part in sorted({key for s in scores if s for key in s.parts}):
            values = [_null(s.parts[part]) if s and part in s.parts else None for s in scores]
            columns[f"part/{reward}/{part}"] = pa.array(values, pa.float64())
    return columns


def _joined(rows: list[np.ndarray], kind: type) -> pa.Array:
    """A list column from arrays, without a detour over Python numbers."""
    import pyarrow as pa

    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)]).astype(np.int32)
    flat = np.concatenate(rows).astype(kind) if rows else np.zeros(0, kind)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))


def _split(column: pa.ChunkedArray, kind: type) -> list[np.ndarray]:
    array = column.combine_chunks()
    offsets = array.offsets.to_numpy()
    flat = array.values.to_numpy(zero_copy_only=False).astype(kind)
    return [flat[start:end].copy() for start, end in itertools.pairwise(offsets)]


def _problem(row: dict[str, Any]) -> Problem:
    return Problem(
        id=row["problem"], task=row["task"], question=row["question"], answer=row["gold"], meta=json.loads(row["meta"])
    )


def _rollout(row: dict[str, Any], tokens: dict[str, np.ndarray]) -> Rollout:
    plain = {key: row[key] for key in ("problem", "task", "sample", "version", *TEXTS)}
    return Rollout(
        **plain,
        **tokens,
        stop=Stop(row["stop"]),
        segments=tuple((tokens, version) for tokens, version in json.loads(row["segments"] or "[]")),
        verdict=Verdict(row["verdict"]),
        reward=_nan(row["reward"]),
        scores=_scores(row),
    )


def _scores(row: dict[str, Any]) -> dict[str, Score]:
    """A reward's `why` is null where that reward was not computed for the row."""
    scores = {}
    for key, why in row.items():
        if key.startswith("why/") and why is not None:
            reward = key.removeprefix("why/")
            prefix = f"part/{reward}/"
            parts = {k.removeprefix(prefix): v for k, v in row.items() if k.startswith(prefix) and v is not None}
            scores[reward] = Score(value=_nan(row[f"reward/{reward}"]), parts=parts, why=why)
    return scores


def _meta(problem: Problem) -> str:
    return json.dumps(dict(problem.meta), ensure_ascii=False, default=str)


def _null(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
