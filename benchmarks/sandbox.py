"""What a trivial program costs in the sandbox, beside starting Python and bubblewrap anew for it.

    python benchmarks/sandbox.py [--cases 100]

The program adds two numbers; it is run one at a time in the warm sandbox, then many at once. Prints milliseconds (median,
95th percentile) and appends a line of JSON to benchmarks/results/sandbox.jsonl.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from move37 import machine
from move37.rewards import code
from move37.rewards.code import Case
from move37.runs import versions

ROOT = Path(__file__).parents[1]
PROGRAM = "a, b = map(int, input().split())\nprint(a + b)"
BARE = ("bwrap", "--ro-bind", "/", "/", "--unshare-all", "--die-with-parent", sys.executable, "-I", "-S", "-c", PROGRAM)


def warm() -> None:
    score = code.program(PROGRAM, [Case(given="2 3", expected="5")])
    assert score.value == 1, score.why


def anew() -> None:
    done = subprocess.run(BARE, input="2 3", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "5"


def milliseconds(work: Callable[[], None], times: int) -> dict[str, float]:
    taken = []
    work()
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - started))
    return {"median_ms": statistics.median(taken), "p95_ms": statistics.quantiles(taken, n=20)[-1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100)
    asked = parser.parse_args()
    found = {"warm": milliseconds(warm, asked.cases), "anew": milliseconds(anew, asked.cases)}
    for name, told in found.items():
        print(f"{name:6} median {told['median_ms']:6.1f} ms   95th percentile {told['p95_ms']:6.1f} ms")
    started = time.perf_counter()
    score = code.program(PROGRAM, [Case(given=f"{i} 1", expected=str(i + 1)) for i in range(asked.cases)])
    assert score.value == 1, score.why
    each = 1000 * (time.perf_counter() - started) / asked.cases
    print(f"{asked.cases} cases of one answer: {each:.1f} ms each")
    line = {"benchmark": "sandbox", **found, "case_ms": each, "cases": asked.cases}
    line |= {"command": " ".join(sys.argv), "hardware": machine.describe(), "versions": versions()}
    with (ROOT / "benchmarks" / "results" / "sandbox.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
