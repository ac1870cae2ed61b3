"""How long it takes to get going: `import move37`, `move37 --help`, and from the command to the first RL step.

    python benchmarks/start.py [--rounds 5] [--no-run]

The last one starts recipes/tiny/r1_zero.yaml as `make quickstart` does, waits for the first line of the RL stage's metrics,
and ends the run; the look at held-out problems before training is part of it, and is told apart. Kernels are compiled
already, as after any first run; --first compiles them anew, in a cache of its own.
Lines of JSON go to benchmarks/results/start.jsonl.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import meter
from common import write

ROOT = Path(__file__).parents[1]
RECIPE = "recipes/tiny/r1_zero.yaml"
COMMANDS = {"import move37": ["-c", "import move37"], "move37 --help": ["-m", "move37", "--help"]}
PATIENCE = 900  # seconds


def tell(measure: str, seconds: float, foreign: float, rounds: int) -> None:
    write("start", {"measure": measure, "seconds": seconds, "foreign": foreign, "rounds": rounds})
    remark = f"  ({foreign:.0%} foreign load)" if foreign > meter.LIMIT else ""
    print(f"{measure:44} {seconds:8.2f} s{remark}", flush=True)


def command(measure: str, rounds: int) -> None:
    def once() -> dict[str, float]:
        started = time.perf_counter()
        subprocess.run([sys.executable, *COMMANDS[measure]], cwd=ROOT, check=True, capture_output=True)
        return {"seconds": time.perf_counter() - started}

    once()  # its files are in the cache from here on
    taken = [meter.undisturbed(once) for _ in range(rounds)]
    tell(measure, statistics.median(t.seconds for t in taken), max(t.foreign for t in taken), rounds)


def first_step(scratch: Path, fresh: bool) -> dict[str, float]:
    """Seconds from the command to the first RL step's metrics, and to the beginning of the RL stage."""
    runs = scratch / "runs"
    stages = runs / "r1_zero" / "stages"
    environment = {**os.environ, **({"XDG_CACHE_HOME": str(scratch / "cache")} if fresh else {})}
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "move37", "--plain", "run", RECIPE, "--runs", str(runs)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    seen: dict[str, float] = {}
    try:
        while "first RL step" not in seen:
            now = time.perf_counter() - started
            if process.poll() is not None or now > PATIENCE:
                raise RuntimeError(f"the run ended or took more than {PATIENCE} s before its first RL step")
            if (stages / "before" / "eval.json").is_file():
                seen.setdefault("evaluation before", now)
            metrics = stages / "rl" / "metrics.jsonl"
            if metrics.is_file() and metrics.stat().st_size:
                seen["first RL step"] = now
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return seen


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--no-run", action="store_true", help="leave the run out")
    options.add_argument("--first", action="store_true", help="compile the kernels as on a machine that never ran Move37")
    asked = options.parse_args()
    for measure in COMMANDS:
        command(measure, asked.rounds)
    if asked.no_run:
        return
    with TemporaryDirectory() as scratch:
        before = meter.read()
        seen = first_step(Path(scratch), asked.first)
        load = meter.foreign(before, meter.read())
    kind = "compiling kernels" if asked.first else "kernels compiled"
    for what, seconds in seen.items():
        tell(f"command to {what}, {kind}", seconds, load, 1)


if __name__ == "__main__":
    main()
