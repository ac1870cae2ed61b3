"""How good a reward model is on rows it has not seen: accuracy, calibration, and whether it pays for length.

Pure functions of numbers; the records are what `quality.json` holds.

    kind                pairs | labels
    rows, accuracy      of held-out rows, accuracy with its 95% interval; of a pair: the chosen one has the higher number
    loss                nats per row
    calibration         bins of what it believes against what is so; `ece` is the mean gap, by rows (Guo et al., arXiv 1706.04599)
    always_...          what a rule is right on that looks at length (pairs) or at nothing (labels): the least to beat
    length              correlation of number and length, and accuracy where the longer one is right and where it is not
    numbers             mean and std of the numbers on the responses it was trained on

What can not be told (no rows, no spread) is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from move37.report.estimators import wilson

BINS = 10
GROUPS = 8  # of responses by length


def of_pairs(numbers: np.ndarray, lengths: np.ndarray, losses: np.ndarray) -> dict[str, Any]:
    """The record of pairs.

    Args:
        numbers: [P, 2] of chosen and rejected. lengths: [P, 2] tokens. losses: [P] nats.

    A tie counts half. Calibration: the higher number is believed to be the chosen one with probability sigmoid(|gap|).
    """
    gaps = numbers[:, 0] - numbers[:, 1]
    right = np.where(gaps == 0, 0.5, gaps > 0)
    longer = lengths[:, 0] - lengths[:, 1]
    believed = 1 / (1 + np.exp(-np.abs(gaps)))
    return {
        "kind": "pairs",
        "rows": len(gaps),
        "accuracy": _share(right),
        "always_the_longer": mean(np.where(longer == 0, 0.5, longer > 0)),
        "loss": mean(losses),
        "margin": mean(gaps),
        "calibration": calibration(believed, right, 0.5),
        "length": {
            "correlation": correlation(numbers.ravel(), lengths.ravel()),
            "correlation_in_pairs": correlation(gaps, longer),
            "chosen_longer": _share(right[longer > 0]),
            "chosen_shorter": _share(right[longer < 0]),
            "groups": _by_length(numbers.ravel(), lengths.ravel()),
        },
    }


def of_labels(numbers: np.ndarray, labels: np.ndarray, lengths: np.ndarray, losses: np.ndarray) -> dict[str, Any]:
    """The record of labelled responses, all [N]; good is believed with probability sigmoid(number), and said above a half."""
    believed = np.exp(-np.logaddexp(0.0, -numbers))
    right = np.where(numbers == 0, 0.5, (numbers > 0) == (labels > 0))
    middle = np.median(lengths) if len(lengths) else 0
    return {
        "kind": "labels",
        "rows": len(numbers),
        "accuracy": _share(right),
        "accuracy_good": _share(right[labels > 0]),
        "accuracy_bad": _share(right[labels == 0]),
        "always_the_commoner": None if not len(labels) else float(max(labels.mean(), 1 - labels.mean())),
        "loss": mean(losses),
        "calibration": calibration(believed, (labels > 0).astype(float), 0.0),
        "length": {
            "correlation": correlation(numbers, lengths),
            "longer_half": _share(right[lengths > middle]),
            "shorter_half": _share(right[lengths <= middle]),
            "groups": _by_length(numbers, lengths),
        },
    }


def calibration(believed: np.ndarray, so: np.ndarray, lowest: float) -> dict[str, Any]:
    """Bins of equal width from `lowest` to 1, those that are not empty: mean belief, share that is so, rows."""
    edges = np.linspace(lowest, 1.0, BINS + 1)
    place = np.clip(np.searchsorted(edges, believed, side="right") - 1, 0, BINS - 1)
    bins = []
    for number in range(BINS):
        mine = place == number
        if mine.any():
            bins.append({"believed": float(believed[mine].mean()), "so": float(so[mine].mean()), "rows": int(mine.sum())})
    rows = sum(b["rows"] for b in bins)
    ece = sum(b["rows"] * abs(b["believed"] - b["so"]) for b in bins) / rows if rows else None
    return {"ece": ece, "bins": bins}


def correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Pearson's; None where one of them does not vary."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def mean(values: np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None


def sentences(record: Mapping[str, Any]) -> list[str]:
    """The record for people."""
    if not record["rows"]:
        return ["No row was held out, so nothing is known of it."]
    told = [f"Right on {_told(record['accuracy'])} of {record['rows']} held-out {record['kind']}."]
    length = record["length"]
    if record["kind"] == "pairs":
        told.append(
            f"Where the chosen one is longer: {_told(length['chosen_longer'])}; where it is shorter: "
            f"{_told(length['chosen_shorter'])}. Always taking the longer one is right on {record['always_the_longer']:.1%}."
        )
    else:
        told.append(
            f"Of good ones {_told(record['accuracy_good'])}, of bad ones {_told(record['accuracy_bad'])}. Always saying the "
            f"commoner label is right on {record['always_the_commoner']:.1%}."
        )
    if length["correlation"] is not None:
        told.append(f"Correlation of score and length: {length['correlation']:+.2f}.")
    told.append(f"Expected calibration error: {record['calibration']['ece']:.3f}.")
    return told


def doubts(record: Mapping[str, Any]) -> list[str]:
    """What a reader must know before a policy is trained on it."""
    if not record["rows"]:
        return ["no row was held out, so nothing is known of it; raise held_out"]
    key = "always_the_longer" if record["kind"] == "pairs" else "always_the_commoner"
    found, simple = record["accuracy"], record[key]
    if found["low"] > simple:
        return []
    what = key.replace("_", " ").removeprefix("always ")
    return [f"right on {found['value']:.1%} of {found['rows']} held-out rows; always saying {what} is right on {simple:.1%}"]


def _share(right: np.ndarray) -> dict[str, Any] | None:
    """A proportion with its 95% interval (Wilson)."""
    if not len(right):
        return None
    low, high = wilson(float(right.sum()), len(right))
    return {"value": float(right.mean()), "low": low, "high": high, "rows": len(right)}


def _told(share: Mapping[str, Any] | None) -> str:
    return "–" if share is None else f"{share['value']:.1%} [{share['low']:.1%}, {share['high']:.1%}]"


def _by_length(numbers: np.ndarray, lengths: np.ndarray) -> list[dict[str, Any]]:
    order = np.argsort(lengths, kind="stable")
    parts: Sequence[np.ndarray] = np.array_split(order, min(GROUPS, max(1, len(order))))
    return [
        {"length": float(lengths[part].mean()), "number": float(numbers[part].mean()), "rows": len(part)}
        for part in parts
        if len(part)
    ]
