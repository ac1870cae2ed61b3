"""The code graders on HumanEval and CRUXEval, all rows, against what is known of them.

    python benchmarks/code_data.py [--data ../shared/data] [--rows 800]

HumanEval: the 164 reference solutions as whole functions and as completions, and each with its body replaced by `pass`.
CRUXEval: `f(input) == output` of every row, and the 10 outputs of codellama-7b per row against their published scores: an
output is a Python expression; one that calls `f(input)` itself counts as wrong, as in CRUXEval's own evaluation.
Prints a table and appends a line of JSON to benchmarks/results/code_data.jsonl.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from move37 import machine, sandbox
from move37.report.estimators import pass_at_k
from move37.rewards import code
from move37.sandbox import Function, Outcome
from move37.tasks.code import fenced, nothing

ROOT = Path(__file__).parents[1]


def humaneval(data: Path, completions: bool = True) -> dict:
    """Counts over the 164 problems."""
    rows = [json.loads(line) for line in (data / "humaneval" / "HumanEval.jsonl").open(encoding="utf-8")]
    answers = {
        "references passed": [fenced(row["prompt"] + row["canonical_solution"]) for row in rows],
        "completions passed": [row["canonical_solution"].strip() for row in rows],
        "bodies of `pass` passed": [nothing("") for _ in rows],
    }
    if not completions:
        del answers["completions passed"]
    found = {"problems": len(rows)}
    unknown = 0
    for name, given in answers.items():
        pairs = list(zip(given, rows, strict=True))
        scores = sandbox.parallel(lambda p: code.function(p[0], p[1]["test"], p[1]["entry_point"], p[1]["prompt"]), pairs)
        found[name] = sum(score.value == 1 for score in scores)
        unknown += sum(score.verdict == "cannot_tell" for score in scores)
    return found | {"unknown": unknown}


def cruxeval(data: Path, limit: int) -> dict:
    """Counts over the first `limit` rows and their outputs."""
    rows = [json.loads(line) for line in (data / "cruxeval" / "cruxeval.jsonl").open(encoding="utf-8")][:limit]
    published = json.loads((data / "cruxeval" / "sample_scored_codellama-7b_temp0.2_output.json").read_text(encoding="utf-8"))
    ended = sandbox.run([Function([r["code"]], "f", f"assert f({r['input']}) == {r['output']}", r["code"]) for r in rows])
    outputs = [(row, text) for row in rows for text in dict.fromkeys(published["raw_generations"][row["id"]])]
    honest = [(row, text) for row, text in outputs if f"f({row['input']})" not in text]
    jobs = [
        Function([f"{row['code']}\ndef output():\n    return ({text})\n"], "output", f"assert {row['output']} == output()")
        for row, text in honest
    ]
    told = {(row["id"], text): e for (row, text), e in zip(honest, sandbox.run(jobs), strict=True)}
    agree = unknown = 0
    ones = []
    for row in rows:
        texts, scores = (published[key][row["id"]] for key in ("raw_generations", "raw_scored_generations"))
        ours = [told.get((row["id"], text)) for text in texts]
        right = [e is not None and e.failure is None for e in ours]
        unknown += sum(e is not None and e.failure is Outcome.INFRASTRUCTURE for e in ours)
        agree += sum(mine == theirs for mine, theirs in zip(right, scores, strict=True))
        ones.append(pass_at_k(len(right), sum(right), 1))
    return {
        "rows": len(rows),
        "rows passed": sum(e.failure is None for e in ended),
        "outputs": 10 * len(rows),
        "verdicts as published": agree,
        "unknown": unknown,
        "pass@1": round(100 * sum(ones) / len(ones), 4),
        "published pass@1": round(published["pass_at_1"], 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="the code graders on HumanEval and CRUXEval")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--rows", type=int, default=800)
    given = parser.parse_args()
    sandbox.require()
    record: dict = {"benchmark": "code_data", "date": time.strftime("%Y-%m-%d"), "machine": machine.describe()}
    for name, work in (("humaneval", lambda: humaneval(given.data)), ("cruxeval", lambda: cruxeval(given.data, given.rows))):
        started = time.monotonic()
        record[name] = work() | {"seconds": round(time.monotonic() - started, 1)}
        for key, value in record[name].items():
            print(f"{name:10} {key:26} {value}")
    with (ROOT / "benchmarks" / "results" / "code_data.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
