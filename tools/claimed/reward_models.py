"""Kimi k1.5: a reward model that reasons before its verdict against a classic one, and both as rewards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean

from claimed.numbers import Claim, Estimate, over, table, verdict
from move37.runs import Run

KINDS = {
    "fractions, decimals, percentages": ("same_numbers",),
    "sets": ("same_sets",),
    "products": ("same_products",),
    "sums": ("same_sums",),
    "all": ("same_numbers", "same_sets", "same_products", "same_sums"),
}
MODELS = {"classic (value head)": "classic_eval", "reasons, then JSON verdict": "cot_eval"}
RL = {"classic": ("by_classic", "matches", "by_classic_eval"), "reasoning": ("by_cot", "judge_reference", "by_cot_eval")}
ENDS = 10  # steps of RL at the end over which reward and checker are compared


def quality(runs: Sequence[Run]) -> list[str]:
    """Held-out accuracy side by side, by kind of question; the same questions, one verdict each, nothing drawn at random."""
    found = {name: {kind: over(runs, stage, "pass@1_greedy", of) for kind, of in KINDS.items()} for name, stage in MODELS.items()}
    rows = [[kind, *(found[name][kind].text() for name in MODELS)] for kind in KINDS]
    classic, cot = (found[name]["all"] for name in MODELS)
    return [
        *table(["held-out questions", *MODELS], rows),
        "",
        *verdict([("the one that reasons is right more often (paper: 98.5 against 84.4)", cot.minus(classic), 1)]),
    ]


def last(runs: Sequence[Run], stage: str, key: str) -> Estimate:
    """A metric of training, as the mean over its last steps; those in which nothing could be told (null) are left out."""
    told = [[float(row[key]) for row in run.log(stage).metrics()[-ENDS:] if row[key] is not None] for run in runs]
    return Estimate(tuple(mean(values) if values else math.nan for values in told))


def paid(runs: Sequence[Run]) -> list[str]:
    before = over(runs, "before", "pass@1")
    after = {name: over(runs, stage, "pass@1") for name, (_, _, stage) in RL.items()}
    parts = {
        name: {what: last(runs, stage, f"{what}/{reward}") for what in ("paid_wrong", "unpaid_right")}
        for name, (stage, reward, _) in RL.items()
    }
    rows = [["before RL", before.text(), "", ""]]
    rows += [[f"RL paid by the {name} one", after[name].text(), *(one.text() for one in parts[name].values())] for name in RL]
    gap = after["reasoning"].minus(after["classic"])
    wrong = parts["reasoning"]["paid_wrong"].minus(parts["classic"]["paid_wrong"])
    return [
        *table(["by the rule checker", "pass@1", "wrong, but paid", "right, but not paid"], rows),
        "",
        f"The last two are shares of the responses of the last {ENDS} steps; paid is a reward above a half.",
        "",
        *verdict(
            [
                ("RL paid by the classic one makes the policy better", after["classic"].minus(before), 1),
                ("RL paid by the reasoning one makes it better", after["reasoning"].minus(before), 1),
                ("more than the classic one (the paper uses the reasoning one; it shows no such comparison)", gap, 1),
                ("the reasoning one pays fewer wrong answers", wrong, -1),
            ]
        ),
    ]


CLAIMS = (
    Claim(
        "Reward models of mathematics",
        "A reward model that reasons, then gives a JSON verdict, beats one with a value head (Kimi k1.5, 2.3.5).",
        "reward_models",
        tuple(MODELS.values()),
        quality,
    ),
    Claim(
        "Both as rewards",
        "Kimi k1.5 trains with the one that reasons. Here both pay in a short RL run; the rule checker only measures.",
        "reward_models",
        ("before", *(name for stage, _, after in RL.values() for name in (stage, after))),
        paid,
    ),
)
