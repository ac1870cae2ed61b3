"""`report.html`: one file, no script, opens offline. Everything a model wrote is escaped by the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from move37 import graph
from move37.files import read_json, write_atomic
from move37.report import charts, curves, quality, transcripts
from move37.report.live import duration, number
from move37.report.summary import build, comparisons, mean, quality_of, sides, trainings
from move37.rewards.style import BEHAVIOURS
from move37.runs import Run
from move37.sections import Curate

# metric, label, how it is written
METRICS = (
    ("pass@1", "pass@1, sampled", "share"),
    ("pass@1_greedy", "pass@1, greedy", "share"),
    ("cons@16", "majority of 16 (cons@16)", "share"),
    ("cons@64", "majority of 64 (cons@64)", "share"),
    ("search", "majority of a tree search", "share"),
    ("pass@4", "pass@4", "share"),
    ("pass@16", "pass@16", "share"),
    ("pass@64", "pass@64", "share"),
    ("length", "response length, tokens", "number"),
    ("length/right", "length of right ones, tokens", "number"),
    ("style/direct", "direct answers", "share"),
    ("style/steps", "step by step", "share"),
    ("style/checked", "with checking", "share"),
    ("reflective", "reflective words per response", "fine"),
    ("language", "thought's words in the question's language", "share"),
    ("language/other", "thoughts wholly in another language", "share"),
    ("readable", "readable thoughts", "share"),
    ("extraction", "an answer was given", "share"),
    ("lenient", "right with tags ignored", "share"),
    ("truncated", "truncated", "share"),
)
# On the page alone: a terminal has no room for seven lines more.
BEHAVIOUR_METRICS = tuple((f"behaviour/{kind}", f"shows {kind.replace('_', ' ')}", "share") for kind in BEHAVIOURS)
TASK_METRICS = (
    ("pass@1", "pass@1", "share"),
    ("cons@16", "cons@16", "share"),
    ("length", "length", "number"),
    ("style/checked", "checking", "share"),
)
EVALUATION_METRICS = (
    ("pass@1", "pass@1", "share"),
    ("cons@16", "cons@16", "share"),
    ("search", "tree search", "share"),
    ("length", "length", "number"),
    ("language", "question's language", "share"),
    ("readable", "readable", "share"),
)
STYLE_NAMES = {"direct": "direct", "steps": "step by step", "checked": "with checking"}


def write(run: Run) -> Path:
    """Draw the page anew from the run's files and put it into the run directory."""
    return write_atomic(run.path / "report.html", render(run))


def render(run: Run) -> str:
    """The page as text. It works on unfinished runs: what is not there yet is left out."""
    environment = Environment(
        loader=PackageLoader("move37.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(**_content(run))


def _content(run: Run) -> dict[str, Any]:
    found = build(run)
    training = trainings(run)
    logs = {name: run.log(name) for name in training}
    first = logs[training[0]] if training else None
    evaluated = sides(run)
    record = run.log(evaluated[-1]).eval() if evaluated else None
    return {
        "title": run.recipe.name,
        "sentence": sentence(run, found),
        "warnings": found["warnings"],
        "evaluation": record,
        "change": found["change"],
        "held_out": found["held_out"],
        "overall": comparison(found["before"], found["after"], (*METRICS, *BEHAVIOUR_METRICS)),
        "task_metrics": [label for _, label, _ in TASK_METRICS],
        "tasks": {name: _task(sides) for name, sides in found["tasks"].items()},
        "styles": _styles(found["styles"]),
        **_evaluations(found["evaluations"]),
        "charts": {name: _charts(log.metrics(), log.probes()) for name, log in logs.items()},
        "compared": {name: _compared(run, name) for name in comparisons(run)},
        "transcripts": transcripts.over_training(first) if first else [],
        "doubt": transcripts.first_doubt(first) if first else None,
        "chosen": _chosen(run),
        "stages": {name: _stage(stage) for name, stage in found["stages"].items()},
        "recipe": run.recipe.to_yaml(),
        "lineage": {**run.lineage, "stages": {name: run.log(name).lineage for name in run.recipe.stages}},
        "command": " ".join(str(part) for part in run.lineage.get("command", [])),
    }


def _evaluations(found: Mapping[str, Any]) -> dict[str, Any]:
    """The table of all evaluations, where there are more than two, with the metrics that one of them has."""
    overall = {name: it["overall"] or {} for name, it in found.items()} if len(found) > 2 else {}
    columns = [column for column in EVALUATION_METRICS if any(column[0] in mine for mine in overall.values())]
    rows = {
        name: {
            "problems": found[name]["problems"],
            "tasks": ", ".join(found[name]["tasks"]),
            "cells": [text_of(mine.get(key), form) for key, _, form in columns],
        }
        for name, mine in overall.items()
    }
    return {"evaluation_metrics": [label for _, label, _ in columns], "evaluations": rows}


def sentence(run: Run, found: Mapping[str, Any]) -> str:
    """What happened, in one sentence with the numbers: by the RL that led to the last evaluation, not by other arms."""
    led = graph.ancestors(run.recipe, sides(run)[-1:])
    training = [name for name, stage in found["stages"].items() if stage["kind"] == "rl" and (not led or name in led)]
    spent = ", ".join(
        f"{found['stages'][name]['steps']} steps ({duration(found['stages'][name]['wall_s'] or 0)})"
        for name in training
    )
    start = f"In {spent} of reinforcement learning, " if training else ""
    before, after = found["before"], found["after"]
    if before and after and training:
        pieces = [_went("sampled pass@1 on held-out problems", "pass@1", before, after, "share")]
        pieces.append(_went("cons@16", "cons@16", before, after, "share"))
        pieces.append(_went("the mean response", "length", before, after, "number", " tokens"))
        pieces.append(_went("direct answers", "style/direct", before, after, "share"))
        told = [piece for piece in pieces if piece]
        return start + ", ".join(told[:-1]) + (" and " if len(told) > 1 else "") + told[-1] + "."
    if after:
        value = text_of(after.get("pass@1"), "share")
        return f"{start}The model answers held-out problems with a sampled pass@1 of {value}.".replace(", The", ", the")
    if training:
        rows = run.log(training[0]).metrics()
        tenth = max(1, len(rows) // 10)
        first, last = mean(rows[:tenth], "pass@1"), mean(rows[-tenth:], "pass@1")
        if first is not None and last is not None:
            went = f"pass@1 on training problems went from {first:.1%} to {last:.1%}"
            return f"{start}{went}; held-out numbers are not there yet."
    return "This run has left no numbers yet."


def _went(what: str, key: str, before: Mapping[str, Any], after: Mapping[str, Any], kind: str, unit: str = "") -> str:
    if (before.get(key) or {}).get("value") is None or (after.get(key) or {}).get("value") is None:
        return ""
    first, last = (write_number(side[key]["value"], kind) for side in (before, after))
    return f"{what} went from {first} to {last}{unit}"


def comparison(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, metrics: Sequence[tuple[str, str, str]] = METRICS
) -> list[dict[str, str]]:
    """Rows of the before/after table: label and the two numbers with their intervals. The terminal shows METRICS too.

    What neither side has is left out: a record of an older version has fewer metrics.
    """
    rows = []
    for key, label, kind in metrics:
        sides = [(side or {}).get(key) for side in (before, after)]
        if any(side and side["value"] is not None for side in sides):
            rows.append({"label": label, "before": text_of(sides[0], kind), "after": text_of(sides[1], kind)})
    return rows


def text_of(interval: Mapping[str, float | None] | None, kind: str) -> str:
    """`64.5% [60.1, 68.8]`."""
    if not interval or interval["value"] is None:
        return "–"
    value, low, high = interval["value"], interval["low"], interval["high"]
    text = write_number(value, kind)
    if low is None or high is None:
        return text
    ends = [write_number(end, kind).rstrip("%") for end in (low, high)]
    return f"{text} [{ends[0]}, {ends[1]}]"


def write_number(value: float, kind: str) -> str:
    return {"share": f"{100 * value:.1f}%", "number": f"{value:.1f}", "fine": f"{value:.2f}"}[kind]


def _task(sides: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {side: text_of((sides[side] or {}).get(key), kind) for side in ("before", "after")}
        for key, _, kind in TASK_METRICS
    ]


def _styles(sides: Mapping[str, Any]) -> list[dict[str, str]]:
    if not sides["after"]:
        return []
    rows = []
    for kind, label in STYLE_NAMES.items():
        row = {"label": label}
        for side in ("before", "after"):
            for what in ("share", "accuracy"):
                value = ((sides[side] or {}).get(kind) or {}).get(what)
                row[f"{side}_{what}"] = "–" if value is None else write_number(value, "share")
        rows.append(row)
    return rows


def _compared(run: Run, name: str) -> dict[str, Any]:
    """A reward model or a preference stage: what is known of its quality, and curves."""
    record = quality_of(run, name)
    panels = [*(curves.of_quality(record) if record else []), *curves.of_preferences(run.log(name).metrics())]
    return {"sentences": quality.sentences(record) if record else [], "figures": _drawn(panels)}


def _chosen(run: Run) -> dict[str, dict[str, Any]]:
    """What each `curate` stage has kept and dropped, by task."""
    found = {}
    for name in (n for n, section in run.recipe.stages.items() if isinstance(section, Curate)):
        path = run.log(name).data / "statistics.json"
        if path.exists():
            told = read_json(path)
            reasons = ["asked", "kept", *told["dropped"]]
            rows = {task: [counts.get(reason, 0) for reason in reasons] for task, counts in told["tasks"].items()}
            found[name] = {"told": told["told"][0], "reasons": [r.replace("_", " ") for r in reasons], "rows": rows}
    return found


def _charts(metrics: list[dict[str, Any]], probes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return _drawn(curves.panels(metrics, probes))


def _drawn(panels: Sequence[charts.Panel]) -> list[dict[str, Any]]:
    return [
        {
            "title": panel.title,
            "caption": panel.caption,
            "svg": Markup(charts.inline(charts.draw([panel]), panel.title)),
            "ends": _ends(panel),
        }
        for panel in panels
    ]


def _ends(panel: charts.Panel) -> str:
    """First and last value of each curve, for those who can not see the picture or want numbers."""
    kind = "share" if panel.unit == "share" else "number"
    pieces = []
    for curve in panel.curves:
        values = [value for value in curve.y if value is not None]
        if values:
            first, last = (write_number(v, kind) if kind == "share" else number(v) for v in (values[0], values[-1]))
            pieces.append(f"{curve.label} {first} → {last}")
    return "; ".join(pieces)


def _stage(stage: Mapping[str, Any]) -> dict[str, str]:
    phases = ", ".join(f"{name} {duration(seconds)}" for name, seconds in stage["seconds"].items())
    return {
        "kind": stage["kind"],
        "steps": str(stage["steps"] or ""),
        "time": duration(stage["wall_s"]) if stage["wall_s"] is not None else "–",
        "phases": phases,
        "tokens": f"{stage['tokens']:,.0f}" if stage["tokens"] else "–",
    }
