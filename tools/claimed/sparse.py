"""RL does not start where a model hardly ever solves a problem, and what rescues it."""

from __future__ import annotations

from collections.abc import Sequence

from claimed.numbers import Claim, over, table, verdict
from move37.runs import Run

HARDEST = ("hard_word",)
EASIER = {"2 to 4": ("word",), "4 to 6": ("middle_word",)}  # events of the easier levels
LIFT = 0.05  # of pass@1: what counts as a rescue
SPARSE = {
    "base": "before",
    "RL on hard problems": "alone_eval",
    "RL, easy ones first": "curriculum_eval",
    "RL with partial credit": "partial_eval",
}


def sparse(runs: Sequence[Run]) -> list[str]:
    found = {name: over(runs, stage, "pass@1", HARDEST) for name, stage in SPARSE.items()}
    rows = [[name, found[name].text(), over(runs, stage, "pass@16", HARDEST).text()] for name, stage in SPARSE.items()]
    easier = ", ".join(f"{over(runs, 'before', 'pass@1', tasks).text()} on {events}" for events, tasks in EASIER.items())
    alone = found["RL on hard problems"]
    return [
        *table(["hard problems", "pass@1", "pass@16"], rows),
        "",
        f"Hard problems are stories of 8 to 10 events. On shorter ones the base has a pass@1 of {easier} events.",
        "",
        *verdict(
            [
                ("RL moves a base that hardly ever solves one (the claim is that it does not)", alone.minus(found["base"]), 0),
                (f"a curriculum lifts it by more than {LIFT}", found["RL, easy ones first"].minus(alone).less(LIFT), 1),
                (f"partial credit lifts it by more than {LIFT}", found["RL with partial credit"].minus(alone).less(LIFT), 1),
            ]
        ),
    ]


CLAIMS = (
    Claim("Sparse reward", "RL needs a base that solves a problem now and then.", "sparse", tuple(SPARSE.values()), sparse),
)
