"""Which curves a run's metrics give. The page and the picture draw the same ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from move37.report.charts import Curve, Panel
from move37.report.live import finite
from move37.report.parting import partings
from move37.rewards.style import BEHAVIOURS

Rows = Sequence[dict[str, Any]]
KINDS = (("direct", "direct"), ("steps", "step by step"), ("checked", "with checking"))
DRAWN = (("none", "none right"), ("under_half", "under half"), ("half_or_more", "half or more"), ("all", "all right"))
ON_ONE_CHART = 3  # tasks of which reward and checker share a chart
FEW = 0.02  # share of responses below which their accuracy is left out of a step: it would be that of two or three


def curve(rows: Rows, key: str, label: str, dashed: bool = False, colour: int | None = None) -> Curve:
    """One metric over steps; steps that lack it are left out."""
    found = [(row["step"], row[key]) for row in rows if finite(row.get(key))]
    return Curve(label, [s for s, _ in found], [v for _, v in found], dashed=dashed, colour=colour)


def panels(metrics: Rows, probes: Rows) -> list[Panel]:
    """Every chart of an RL stage that has something to show, in reading order."""
    behind = (*_behaviours(metrics), *_drawn(metrics), *_tasks(metrics), *_domains(metrics), *_watch(probes), *_health(metrics))
    return [panel for panel in (*main(metrics, probes), *behind) if not panel.empty]


def main(metrics: Rows, probes: Rows) -> list[Panel]:
    """The four that tell the story; the picture of the README shows these."""
    return [
        Panel(
            "pass@1",
            _some(
                curve(metrics, "pass@1", "training problems"),
                curve(probes, "pass@1", "held-out probe", dashed=True, colour=1),
                *(curve(probes, key, f"held-out {key}", dashed=True, colour=2) for key in _majority(probes)),
            ),
            "share",
            "Training problems are new at every step; the probe is the same held-out problems at every look.",
        ),
        Panel(
            "response length, tokens",
            _some(
                curve(metrics, "length", "all"),
                curve(metrics, "length/right", "right ones", colour=2),
                curve(metrics, "length/wrong", "wrong ones", colour=1),
                curve(probes, "length", "held-out probe", dashed=True, colour=5),
            ),
            caption="If right ones alone were long from the start, growth of the mean is worked answers displacing "
            "direct ones; if right ones grow too, working itself gets longer.",
        ),
        Panel(
            "how it answers",
            _some(*(curve(metrics, f"style/{kind}", label, colour=i) for i, (kind, label) in enumerate(KINDS))),
            "share",
            "Direct: no worked equation. With checking: at least one reflective word beside at least one equation.",
        ),
        Panel(
            "accuracy of each way",
            _some(*(curve(_enough(metrics, kind), f"accuracy/{kind}", label, colour=i) for i, (kind, label) in enumerate(KINDS))),
            "share",
            f"Why the shares move: RL gives more of what is right more often. Steps with under {FEW:.0%} of a way are left out.",
        ),
    ]


def _behaviours(metrics: Rows) -> list[Panel]:
    curves = [curve(metrics, f"behaviour/{kind}", kind.replace("_", " "), colour=i) for i, kind in enumerate(BEHAVIOURS)]
    caption = "Responses with at least one word or mark of it. Counted, not judged: see docs/curriculum.md."
    return [Panel("behaviours", [_dash(c, i) for i, c in enumerate(_some(*curves))], "share", caption)]


def _drawn(metrics: Rows) -> list[Panel]:
    """How hard the drawn problems were: by their own responses, and by what was expected of them."""
    shares = _some(*(curve(metrics, f"drawn/{kind}", label, colour=i) for i, (kind, label) in enumerate(DRAWN)))
    expected = _some(curve(metrics, "drawn/pass_rate", "expected pass rate", dashed=True))
    return [
        Panel("difficulty of the drawn problems", shares, "share", "Groups by the share of their responses that are right."),
        Panel("expected pass rate of the drawn problems", expected, "share", "As measured by curate, or in this stage so far."),
        Panel("level of the curriculum", _some(curve(metrics, "drawn/level", "level"))),
    ]


def _enough(metrics: Rows, kind: str) -> Rows:
    return [row for row in metrics if finite(share := row.get(f"style/{kind}")) and share >= FEW]


def _majority(probes: Rows) -> list[str]:
    return sorted({key for row in probes for key in row if key.startswith("cons@")})


def tasks_of(metrics: Rows) -> list[str]:
    keys = {key for row in metrics for key in row if key.startswith("task/")}
    return sorted({key.removeprefix("task/").rpartition("/")[0] for key in keys})


def _tasks(metrics: Rows) -> list[Panel]:
    names = tasks_of(metrics)
    kinds = (
        ("pass@1", "pass@1 by task", "share", ""),
        ("checked", "responses with checking, by task", "share", "Grows where checking pays, fades where it does not."),
        ("length", "response length by task, tokens", "", ""),
    )
    out = [Panel("reflective words per response", _some(curve(metrics, "reflective", "reflective words")))]
    for key, title, unit, caption in kinds:
        curves = _some(*(curve(metrics, f"task/{name}/{key}", name, colour=i) for i, name in enumerate(names)))
        out.append(Panel(title, [_dash(c, i) for i, c in enumerate(curves)], unit, caption))
    return out


def _domains(metrics: Rows) -> list[Panel]:
    """Where a stage has problems of several domains."""
    names = sorted({key.split("/")[1] for row in metrics for key in row if key.startswith("domain/")})
    if len(names) < 2:
        return []
    kinds = (("reward", "reward by domain", ""), ("pass@1", "right by the tasks' own checkers, by domain", "share"))
    return [
        Panel(title, _some(*(curve(metrics, f"domain/{name}/{key}", name, colour=i) for i, name in enumerate(names))), unit)
        for key, title, unit in kinds
    ]


def _watch(probes: Rows) -> list[Panel]:
    """Reward and checker of the held-out problems on one chart, a few tasks to a chart; tasks where they part come first."""
    parted = [one.task for one in partings(probes)]
    names = [n for n in tasks_of(probes) if any(finite(row.get(f"task/{n}/reward")) for row in probes)]
    names = sorted(names, key=lambda name: (name not in parted, name))
    return [
        Panel(
            f"reward against checker: {', '.join(some)}",
            _some(
                *(curve(probes, f"task/{name}/reward", f"{name}, reward", colour=i) for i, name in enumerate(some)),
                *(curve(probes, f"task/{name}/pass@1", f"{name}, right", dashed=True, colour=i) for i, name in enumerate(some)),
            ),
            caption="On the held-out probe. A reward that rises while the task's own checker calls fewer right is being hacked. "
            + (f"They part on {', '.join(n for n in some if n in parted)}." if set(some) & set(parted) else ""),
        )
        for some in (names[at : at + ON_ONE_CHART] for at in range(0, len(names), ON_ONE_CHART))
    ]


def _dash(line: Curve, index: int) -> Curve:
    """More tasks than colours: the second round is dashed."""
    return Curve(line.label, line.x, line.y, dashed=index >= 6, colour=line.colour)


def _health(metrics: Rows) -> list[Panel]:
    single = (
        ("reward", "reward"),
        ("entropy", "entropy, nats per token"),
        ("reverse_kl", "reverse KL to the teacher, nats per token"),
        ("kl", "KL to the reference, nats per token"),
        ("mismatch_kl", "sampler against learner, nats per token"),
        ("grad_norm", "gradient norm before clipping"),
        ("tokens_per_s", "sampled tokens per second"),
    )
    shares = (
        ("signal", "groups with signal"),
        ("truncated", "truncated"),
        ("format", "form right"),
        ("off_language", "thinks in another language"),
        ("cannot_tell", "could not be graded"),
    )
    curves = _some(*(curve(metrics, key, label, colour=i) for i, (key, label) in enumerate(shares)))
    return [
        Panel("shares", curves, "share"),
        Panel(
            "partial rollouts",
            _some(curve(metrics, "partial/stale", "tokens of older weights")),
            "share",
            "Responses are written over several steps; the loss compares each token with the policy that wrote it.",
        ),
        *(Panel(title, _some(curve(metrics, key, title))) for key, title in single),
    ]


def of_quality(record: Mapping[str, Any]) -> list[Panel]:
    """A reward model's belief against truth, and its numbers by length (`report/quality.py`)."""
    bins, groups = record["calibration"]["bins"], record["length"]["groups"]
    if not bins:
        return []
    believed = [b["believed"] for b in bins]
    return [
        Panel(
            "calibration on held-out rows",
            [
                Curve("measured", believed, [b["so"] for b in bins]),
                Curve("ideal", [believed[0], believed[-1]], [believed[0], believed[-1]], dashed=True, colour=5),
            ],
            "share",
            "How often it is right, where it believes so with this probability. Below the dashed line it is too sure.",
            "probability that it gives",
        ),
        Panel(
            "score by length of what it was shown",
            [Curve("mean", [g["length"] for g in groups], [g["number"] for g in groups])],
            caption="Groups of equal size, by length. A line that climbs need not be a fault: chosen ones may be longer.",
            across="tokens",
        ),
    ]


def of_preferences(metrics: Rows) -> list[Panel]:
    """A stage that learns from preference data; what it lacks is left out."""
    pairs = (("loss", "loss, nats per row", ""), ("accuracy", "right on", "share"), ("margin", "chosen over rejected", ""))
    out = [
        Panel(
            title,
            _some(
                curve(metrics, key, "training rows"),
                curve(metrics, f"held_out_{key}", "held-out rows", dashed=True, colour=1),
            ),
            unit,
        )
        for key, title, unit in pairs
    ]
    changes = _some(curve(metrics, "chosen_change", "chosen"), curve(metrics, "rejected_change", "rejected", colour=1))
    told = "Against the reference. If both fall, the policy moves to what is in neither."
    return [p for p in (*out, Panel("change of log-prob, nats per reply", changes, caption=told)) if not p.empty]


def _some(*curves: Curve) -> list[Curve]:
    return [c for c in curves if c.x]
