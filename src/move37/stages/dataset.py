"""A data set on disk: rows as JSONL, with its statistics.

    data/part-00001.jsonl ...   rows: prompt, response, task, problem, answer, tokens, source, domain; or messages of other data
    data/statistics.json        as Table 5 of DeepSeek-R1 v2: samples, rounds and tokens by domain and in all; and by task
                                (`behaviours`, where a stage has written thoughts: share of rows that show each)
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from move37.checkpoint import write_directory
from move37.rewards import style
from move37.rewards.reading import READINGS
from move37.stages import conversations, watch
from move37.types import Problem, Reading

ROWS_PER_FILE = 10_000
Row = dict[str, Any]


def row(source: str, problem: Problem, response: str, tokens: int) -> Row:
    """A row for SFT. `response` is all the reader of the prompt gets: what the template wrote before it as well."""
    return {
        "prompt": problem.question,
        "response": response,
        "task": problem.task,
        "problem": problem.id,
        "answer": problem.answer,
        "tokens": tokens,
        "source": source,
        "domain": watch.domain(problem),
    }


def counted(row: Row, source: str, tokenizer: PreTrainedTokenizerFast) -> Row:
    """A row of other data with what the statistics need; `source` is its task and domain where it tells none."""
    replies = [m["content"] for m in conversations.messages(row) if m["role"] == "assistant"]
    return {"task": source, "domain": source, **row, "tokens": sum(length(text, tokenizer) for text in replies)}


def length(text: str, tokenizer: PreTrainedTokenizerFast) -> int:
    """Tokens of a reply, its EOS included."""
    return len(tokenizer.encode(text, add_special_tokens=False)) + 1


def shuffled(rows: Sequence[Row], *parts: Any) -> list[Row]:
    """The rows in an order of their own for these parts (seed, stage ...)."""
    return [rows[i] for i in random(*parts, "order").permutation(len(rows))]


def write(path: Path, rows: Sequence[Row], statistics: Mapping[str, Any]) -> None:
    """Write the whole directory, or nothing of it."""

    def fill(partial: Path) -> None:
        for first in range(0, len(rows), ROWS_PER_FILE):
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows[first : first + ROWS_PER_FILE]]
            part = partial / f"part-{first // ROWS_PER_FILE + 1:05d}.jsonl"
            part.write_text("".join(lines), encoding="utf-8")
        text = json.dumps(statistics, indent=1, ensure_ascii=False)
        (partial / "statistics.json").write_text(f"{text}\n", encoding="utf-8")

    write_directory(path, fill)


def sizes(rows: Sequence[Row]) -> dict[str, Any]:
    """Samples, rounds and mean tokens of SFT rows: `domains`, `by_task`, `total`."""
    return {
        **{key: {name: _sizes(mine) for name, mine in _by(rows, column)} for key, column in COLUMNS.items()},
        "total": _sizes(rows),
    }


COLUMNS = {"domains": "domain", "by_task": "task"}


def _by(rows: Sequence[Row], column: str) -> list[tuple[str, list[Row]]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for one in rows:
        found[one[column]].append(one)
    return sorted(found.items())


def _sizes(rows: Sequence[Row]) -> dict[str, float]:
    rounds = [sum(m["role"] == "user" for m in conversations.messages(row)) for row in rows]
    return {"samples": len(rows), "rounds": float(np.mean(rounds)), "tokens": float(np.mean([row["tokens"] for row in rows]))}


def behaviours(rows: Sequence[Row], reading: Reading) -> dict[str, float]:
    """Share of the rows whose thought shows each behaviour; the whole response is read where it has no thought."""
    shown: Counter[str] = Counter()
    for one in rows:
        thought = READINGS[reading]("", one["response"]).thinking
        shown.update(style.shown(one["response"] if thought is None else thought))
    return {kind: shown[kind] / len(rows) for kind in style.BEHAVIOURS}


def table(statistics: Mapping[str, Any]) -> list[str]:
    """The domains for people, one line each, and what else is to be told (`told`)."""
    rows = {**statistics["domains"], "total": statistics["total"]} if "domains" in statistics else {}
    lines = [f"{name}: {s['samples']} samples, {s['rounds']:.1f} rounds, {s['tokens']:.1f} tokens" for name, s in rows.items()]
    return [*lines, *statistics.get("told", [])]


def random(*parts: Any) -> np.random.Generator:
    """A random stream of its own for these parts."""
    return np.random.Generator(np.random.Philox(key=watch.mix(*parts)))
