"""`summary.json`: what a run did, from its files alone.

Schema:
    recipe, seed, versions, hardware        from the lineage
    before, after       overall metrics of the first evaluate stage and of the last one over the same problems, each
                        {"value", "low", "high"}; `before` is null where there is only one
    evaluations         name -> {"model", "problems", "tasks", "overall"}: every evaluate stage
    change              after minus before on the same problems: {"problems", "pass@1", "cons@16"}
    held_out            {"evaluated", "drawn_in_training"}: problems of the last evaluate stage, and how many of them
                        occur in the rollouts of an RL stage (it must be none)
    tasks               name -> {"before", "after"}
    styles              {"before", "after"}: share and accuracy of direct, steps, checked
    stages              name -> {"kind", "wall_s", "seconds": {sample, grade, learn}, "tokens", "steps"}
    warnings            sentences about what makes the numbers doubtful
"""

from __future__ import annotations

from typing import Any

from move37 import shards
from move37.files import read_json, write_json
from move37.report import quality
from move37.report.estimators import paired
from move37.report.live import finite
from move37.report.parting import partings
from move37.runs import Run, StageLog
from move37.sections import RL, Distill, Evaluate, Preference, RewardModel

PHASES = ("sample", "grade", "learn")


def write(run: Run) -> dict[str, Any]:
    """Build the summary and put it into the run directory. Stages that have not run are left out."""
    found = build(run)
    write_json(run.path / "summary.json", found)
    return found


def build(run: Run) -> dict[str, Any]:
    """The summary as plain data."""
    lineage = run.lineage
    names = sides(run)
    records = [run.log(name).eval() or {} for name in names]
    before = records[0] if len(records) > 1 else {}
    after = records[-1] if records else {}
    held_out = _held_out(run, names)
    tasks = sorted({*before.get("tasks", {}), *after.get("tasks", {})})
    return {
        "recipe": run.recipe.name,
        "seed": run.recipe.seed,
        "versions": lineage.get("versions", {}),
        "hardware": lineage.get("hardware", {}),
        "before": before.get("overall"),
        "after": after.get("overall"),
        "change": _change(run, names),
        "held_out": held_out,
        "evaluations": {name: _evaluation(run.log(name).eval() or {}) for name in evaluations(run)},
        "tasks": {t: {"before": before.get("tasks", {}).get(t), "after": after.get("tasks", {}).get(t)} for t in tasks},
        "styles": {"before": before.get("styles"), "after": after.get("styles")},
        "stages": stages(run),
        "warnings": [*warnings(run), *_leak(held_out)],
    }


def evaluations(run: Run) -> list[str]:
    """Names of the evaluate stages that have run, in the recipe's order."""
    named = [name for name, stage in run.recipe.stages.items() if isinstance(stage, Evaluate)]
    return [name for name in named if run.log(name).eval() is not None]


def sides(run: Run) -> list[str]:
    """The first evaluation and the last one over the same problems: what can be compared. One name where there is no other."""
    names = evaluations(run)
    asked = [_asked(run.log(name).eval() or {}) for name in names]
    same = [name for name, problems in zip(names, asked, strict=True) if problems == asked[0]]
    return same if len(same) < 2 else [same[0], same[-1]]


def _asked(record: dict[str, Any]) -> tuple[int | None, list[str]]:
    """What tells whether two evaluations are over the same problems: their number and tasks; their order is fixed."""
    return record.get("problems"), sorted(record.get("tasks", {}))


def _evaluation(record: dict[str, Any]) -> dict[str, Any]:
    named = {key: record.get(key) for key in ("model", "problems", "overall")}
    return {**named, "tasks": sorted(record.get("tasks", {}))}


def trainings(run: Run) -> list[str]:
    """Names of the stages that sample and learn, and have metrics, in the recipe's order."""
    named = [name for name, stage in run.recipe.stages.items() if isinstance(stage, RL | Distill)]
    return [name for name in named if run.log(name).metrics()]


def comparisons(run: Run) -> list[str]:
    """Names of the stages that learn from preference data and have metrics, in the recipe's order."""
    named = [name for name, stage in run.recipe.stages.items() if isinstance(stage, RewardModel | Preference)]
    return [name for name in named if run.log(name).metrics()]


def quality_of(run: Run, name: str) -> dict[str, Any] | None:
    """A reward model's `quality.json`, once it is there."""
    path = run.stage(name) / "quality.json"
    return read_json(path) if path.exists() else None


def stages(run: Run) -> dict[str, dict[str, Any]]:
    """Time by phase, tokens and steps of every stage that left a record."""
    out = {}
    for name, section in run.recipe.stages.items():
        log = run.log(name)
        rows, evaluation = log.metrics(), log.eval()
        if rows or evaluation:
            out[name] = _stage(section.stage, rows, evaluation or {}, log)
    return out


def _stage(kind: str, rows: list[dict[str, Any]], evaluation: dict[str, Any], log: StageLog) -> dict[str, Any]:
    if kind == "evaluate":
        wall = evaluation.get("seconds")
        return {"kind": kind, "wall_s": wall, "seconds": {}, "tokens": evaluation.get("tokens"), "steps": 0}
    return {
        "kind": kind,
        "wall_s": rows[-1].get("wall_s"),
        "seconds": {p: _total(rows, f"seconds/{p}") for p in PHASES if any(f"seconds/{p}" in row for row in rows)},
        "tokens": _total(rows, "tokens"),
        "steps": rows[-1]["step"],
        "ended": log.done is not None,
    }


def _total(rows: list[dict[str, Any]], key: str) -> float:
    return round(sum(row[key] for row in rows if finite(row.get(key))), 3)


def _change(run: Run, names: list[str]) -> dict[str, Any] | None:
    paths = [run.stage(name) / "rollouts" / "sampled.parquet" for name in names]
    if len(paths) < 2 or not (paths[0].exists() and paths[-1].exists()):
        return None
    return paired(shards.read(paths[0]), shards.read(paths[-1]))


def _held_out(run: Run, names: list[str]) -> dict[str, int]:
    """Compares problem ids, over every rollout on disk: cheap, and it does not trust the split that it checks."""
    path = run.stage(names[-1]) / "rollouts" / "sampled.parquet" if names else None
    evaluated = {row["problem"] for row in shards.rows(path, ["problem"])} if path and path.exists() else set()
    drawn: set[str] = set()
    for name in trainings(run):
        for shard in run.log(name).shards().values():
            drawn |= {row["problem"] for row in shards.rows(shard, ["problem"])}
    return {"evaluated": len(evaluated), "drawn_in_training": len(evaluated & drawn)}


def _leak(held_out: dict[str, int]) -> list[str]:
    count = held_out["drawn_in_training"]
    return [f"{count} of {held_out['evaluated']} evaluated problems were drawn in training"] if count else []


def warnings(run: Run) -> list[str]:
    """What a reader must know before believing the numbers, judged on the last tenth of the steps of each stage that samples."""
    out = []
    for name in trainings(run):
        section = run.recipe.stages[name]
        assert isinstance(section, RL | Distill)
        rows = run.log(name).metrics()
        last = rows[-max(1, len(rows) // 10) :]
        told = [*_warnings(rows, last, section), *(parting.sentence() for parting in partings(run.log(name).probes()))]
        out += [f"{name}: {sentence}" for sentence in told]
    for name in evaluations(run):
        record = run.log(name).eval() or {}
        cut = (record.get("overall", {}).get("truncated") or {}).get("value") or 0.0
        if cut > 0.2:
            out.append(f"{name}: {cut:.0%} of the responses hit the token limit; raise {name}.max_new_tokens")
        if record.get("cannot_tell"):
            out.append(f"{name}: {record['cannot_tell']} responses could not be graded and enter no mean")
    for name in comparisons(run):
        record = quality_of(run, name)
        out += [f"{name}: {doubt}" for doubt in quality.doubts(record)] if record else []
    return out


def _warnings(rows: list[dict[str, Any]], last: list[dict[str, Any]], section: RL | Distill) -> list[str]:
    out = []
    cut, no_eos, unknown = (mean(last, key) or 0.0 for key in ("truncated", "no_eos", "cannot_tell"))
    if cut > 0.2:
        out.append(f"{cut:.0%} of the responses hit the limit of {section.max_new_tokens} tokens; raise max_new_tokens")
    if no_eos > 0.5 and not section.stop:
        out.append(f"{no_eos:.0%} of the responses end without EOS; the model may never have learnt to stop")
    if unknown > 0.01:
        out.append(f"{unknown:.1%} of the responses could not be graded; see error/... in metrics.jsonl")
    starved = sum(row.get("signal") == 0 for row in rows)
    if starved:
        out.append(f"{starved} of {len(rows)} steps taught nothing: every group was all right or all wrong")
    worst = max((row["mismatch_kl"] for row in rows if finite(row.get("mismatch_kl"))), default=0.0)
    if worst > section.mismatch_limit:
        out.append(f"sampler and learner disagree by up to {worst:.2g} nats a token (limit {section.mismatch_limit:g})")
    return out


def mean(rows: list[dict[str, Any]], key: str) -> float | None:
    """Mean over the rows that have a finite value."""
    values = [row[key] for row in rows if finite(row.get(key))]
    return sum(values) / len(values) if values else None
