"""Write the figures of README.md from runs of recipes/tiny/r1_zero.yaml, between its two FIGURES marks.

    python tools/figures.py runs/r1_zero runs/r1_zero-seed1 runs/r1_zero-seed2

The first run fills the table of one run; all of them the tables of spread and of tasks. No number here is typed by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean
from typing import Any

from move37.runs import Run

ROOT = Path(__file__).parents[1]
START, END = "<!-- FIGURES:START -->", "<!-- FIGURES:END -->"
ROWS = (
    ("pass@1", "pass@1, sampled (mean of 16)", ".3f"),
    ("pass@1_greedy", "pass@1, greedy", ".3f"),
    ("cons@16", "cons@16", ".3f"),
    ("pass@16", "pass@16", ".3f"),
    ("length", "response length, tokens", ".1f"),
    ("length/right", "length of right responses", ".1f"),
    ("style/direct", "direct answers", ".3f"),
    ("style/steps", "step by step", ".3f"),
    ("style/checked", "with checking or correction", ".3f"),
    ("reflective", "reflective words per response", ".2f"),
    ("truncated", "truncated", ".3f"),
)


def main(paths: list[str]) -> None:
    runs = [Run.open(path) for path in paths]
    text = "\n\n".join([one(runs[0]), spread(runs), by_task(runs)])
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{START}\n{text}\n{END}{after}", encoding="utf-8")


def sides(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    before, after = run.log("before").eval(), run.log("after").eval()
    if before is None or after is None:
        sys.exit(f"{run.path}: not finished")
    return before, after


def one(run: Run) -> str:
    """Before and after, with intervals."""
    before, after = sides(run)
    machine = run.lineage["hardware"]
    rows = run.log("rl").metrics()
    head = (
        f"One run, seed {run.recipe.seed}: {len(rows)} steps of {rows[-1]['wall_s'] / len(rows):.1f} s, "
        f"{rows[-1]['wall_s'] / 60:.1f} minutes of RL, {sum(r['tokens'] for r in rows) / 1e6:.2f} million sampled tokens, on "
        f"{machine['cores']} cores ({machine['cpu']}, {', '.join(machine['features']) or 'no vector extensions'}). "
        f"{before['problems']} held-out problems, never drawn in training, the same before and after; 95% intervals."
    )
    lines = ["| | before | after |", "|---|---|---|"]
    for key, label, form in ROWS:
        cells = [_cell(side["overall"].get(key), form) for side in (before, after)]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return head + "\n\n" + "\n".join(lines)


def spread(runs: list[Run]) -> str:
    """The same figures of every seed."""
    seeds = "one seed" if len(runs) == 1 else f"{len(runs)} seeds"
    head = f"Spread over {seeds} (of sampling and training problems; base model and held-out problems are the same):"
    lines = ["| seed | RL minutes | pass@1 | cons@16 | length | worked or checked |", "|---|---|---|---|---|---|"]
    for run in runs:
        before, after = sides(run)
        pairs = [
            _pair(before["overall"]["pass@1"]["value"], after["overall"]["pass@1"]["value"], ".3f"),
            _pair(before["overall"]["cons@16"]["value"], after["overall"]["cons@16"]["value"], ".3f"),
            _pair(before["overall"]["length"]["value"], after["overall"]["length"]["value"], ".1f"),
            _pair(_worked(before["overall"]), _worked(after["overall"]), ".3f"),
        ]
        minutes = run.log("rl").metrics()[-1]["wall_s"] / 60
        lines.append(f"| {run.recipe.seed} | {minutes:.1f} | {' | '.join(pairs)} |")
    return head + "\n\n" + "\n".join(lines)


def by_task(runs: list[Run]) -> str:
    """Where checking grew and where it faded."""
    head = "By task, means over the seeds; the last column tells where the seeds agree:"
    lines = ["| task | pass@1 | length | responses that check | the same by seed, after |", "|---|---|---|---|---|"]
    both = [sides(run) for run in runs]
    for task in both[0][0]["tasks"]:

        def values(side: int, key: str, task: str = task) -> list[float]:
            return [pair[side]["tasks"][task][key]["value"] for pair in both]

        pairs = [
            _pair(mean(values(0, key)), mean(values(1, key)), form)
            for key, form in (("pass@1", ".3f"), ("length", ".1f"), ("style/checked", ".3f"))
        ]
        seeds = ", ".join(f"{value:.2f}" for value in values(1, "style/checked"))
        lines.append(f"| {task} | {' | '.join(pairs)} | {seeds} |")
    return head + "\n\n" + "\n".join(lines)


def _worked(overall: dict[str, Any]) -> float:
    return overall["style/steps"]["value"] + overall["style/checked"]["value"]


def _pair(before: float, after: float, form: str) -> str:
    return f"{before:{form}} to {after:{form}}"


def _cell(value: dict[str, Any] | None, form: str) -> str:
    if value is None or value["value"] is None:
        return ""
    return f"{value['value']:{form}} ({value['low']:{form}} to {value['high']:{form}})"


if __name__ == "__main__":
    main(sys.argv[1:])
