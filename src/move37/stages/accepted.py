"""The data set of a rejection-sampling stage: chosen responses and other data, as JSONL, with its statistics.

    data/part-00001.jsonl ...   rows: prompt, response, task, problem, answer, tokens, source; or messages of other data
    data/statistics.json        as Table 5 of DeepSeek-R1 v2: samples, rounds and tokens by domain; pass rates; the mixture

A pure function of the stage's shards, the seed and the other files.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from move37 import shards
from move37.checkpoint import write_directory
from move37.stages import conversations, watch
from move37.stages.context import Context
from move37.types import Problem, Rollout

if TYPE_CHECKING:
    from move37.stages.rejection import RejectionSampling

ROWS_PER_FILE = 10_000
Row = dict[str, Any]


def collect(stage: RejectionSampling) -> list[Row]:
    """The accepted responses that are kept, in the order in which their problems were first asked."""
    found: dict[str, list[Row]] = defaultdict(list)
    for path in stage.log.shards().values():
        for group in shards.read(path):
            mine = found[group.problem.id]
            for rollout in group.rollouts:
                if stage.passes(rollout):
                    row = _row(stage.name, group.problem, rollout)
                    if row["response"] not in {other["response"] for other in mine}:
                        mine.append(row)
    kept = []
    for problem, rows in found.items():
        if stage.section.choose == "shortest":
            order = sorted(range(len(rows)), key=lambda i: rows[i]["tokens"])
        else:
            order = list(_random(stage.context.recipe.seed, stage.name, "keep", problem).permutation(len(rows)))
        kept += [rows[i] for i in order[: stage.section.keep_per_prompt]]
    return kept


def _row(source: str, problem: Problem, rollout: Rollout) -> Row:
    """`response` is all the reader of the prompt gets: what the template wrote before it, and what was sampled."""
    return {
        "prompt": problem.question,
        "response": rollout.prefill + rollout.text,
        "task": problem.task,
        "problem": problem.id,
        "answer": problem.answer,
        "tokens": rollout.length,
        "source": source,
    }


def read_other(context: Context, name: str, mix: Mapping[str, float]) -> dict[str, list[Row]]:
    """The rows of the other data; read before anything is sampled, so that what is wrong with them is told at once."""
    return {s: conversations.rows(f"stages.{name}.mix", context.data(s)) for s in mix}


def write(stage: RejectionSampling, kept: list[Row]) -> dict[str, Any]:
    """Mix, shuffle and write the data set; returns its statistics."""
    rows, mixture = _mixed(stage, kept)
    order = _random(stage.context.recipe.seed, stage.name, "order").permutation(len(rows))
    rows = [rows[i] for i in order]
    statistics = {**_domains(rows), "tasks": rates(stage.log.metrics()), "mixture": mixture}

    def fill(path: Path) -> None:
        for first in range(0, len(rows), ROWS_PER_FILE):
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows[first : first + ROWS_PER_FILE]]
            (path / f"part-{first // ROWS_PER_FILE + 1:05d}.jsonl").write_text("".join(lines), encoding="utf-8")
        (path / "statistics.json").write_text(json.dumps(statistics, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    write_directory(stage.log.data, fill)
    return statistics


def _mixed(stage: RejectionSampling, kept: list[Row]) -> tuple[list[Row], dict[str, Any]]:
    """Every accepted row once; of each other source so many that its share of the whole is the declared one.

    A source with fewer rows than that gives each of them several times.
    """
    shares = stage.section.mix
    whole = len(kept) / (1 - sum(shares.values()))
    rows, told = list(kept), {stage.name: {"rows": len(kept), "share": 1 - sum(shares.values()), "times": 1.0}}
    for source, share in shares.items():
        other = stage.other[source]
        wanted = round(share * whole)
        rng = _random(stage.context.recipe.seed, stage.name, "mix", source)
        rounds = [rng.permutation(len(other)) for _ in range(-(-wanted // len(other)))]
        picked = np.concatenate(rounds)[:wanted] if wanted else []
        rows += [_counted(stage, other[i], Path(source).stem) for i in picked]
        told[source] = {"rows": wanted, "share": share, "times": wanted / len(other)}
    return rows, told


def _counted(stage: RejectionSampling, row: Row, source: str) -> Row:
    """A row of other data with what the statistics need."""
    replies = [m["content"] for m in conversations.messages(row) if m["role"] == "assistant"]
    tokens = sum(len(stage.loaded.tokenizer.encode(text, add_special_tokens=False)) + 1 for text in replies)
    return {"task": source, **row, "tokens": tokens, "source": source}


def _domains(rows: list[Row]) -> dict[str, Any]:
    """Samples, rounds and mean tokens, by domain and in all (DeepSeek-R1 v2, Table 5)."""
    by_domain: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_domain[row["task"]].append(row)
    return {"domains": {name: _sizes(mine) for name, mine in sorted(by_domain.items())}, "total": _sizes(rows)}


def _sizes(rows: list[Row]) -> dict[str, float]:
    rounds = [sum(m["role"] == "user" for m in conversations.messages(row)) for row in rows]
    return {"samples": len(rows), "rounds": float(np.mean(rounds)), "tokens": float(np.mean([row["tokens"] for row in rows]))}


def rates(rows: list[Row]) -> dict[str, dict[str, int]]:
    """task -> sampled, right, accepted, filter/<name>: responses."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        for key, value in row.items():
            if key.startswith("tally/"):
                task, _, what = key.removeprefix("tally/").partition("/")
                counts[task][what] += value
    return {task: dict(sorted(mine.items())) for task, mine in sorted(counts.items())}


def table(statistics: Mapping[str, Any]) -> list[str]:
    """The domains for people, one line each."""
    rows = {**statistics["domains"], "total": statistics["total"]}
    return [f"{name}: {s['samples']} samples, {s['rounds']:.1f} rounds, {s['tokens']:.1f} tokens" for name, s in rows.items()]


def _random(*parts: Any) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=watch.mix(*parts)))
