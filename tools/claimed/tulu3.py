"""Tülu 3's order of the stages: SFT, then preferences, then RL with verifiable rewards."""

from __future__ import annotations

from collections.abc import Sequence

from claimed.numbers import Claim, over, table
from claimed.r1 import COLUMNS
from move37.runs import Run

STAGES = {"base": "base_eval", "SFT": "sft_eval", "DPO": "dpo_eval", "RL": "rlvr_eval"}


def order(runs: Sequence[Run]) -> list[str]:
    """The columns of R1's table. Tülu 3 reports no sign that these tasks could replay, so no verdict is read off."""
    rows = [[name, *(over(runs, s, key, tasks).text(digits) for _, key, tasks, digits in COLUMNS)] for name, s in STAGES.items()]
    return table(["", *(column[0] for column in COLUMNS)], rows)


CLAIMS = (
    Claim(
        "Tülu 3's order",
        "Tülu 3 (arXiv 2411.15124): SFT, DPO, RL with verifiable rewards; beside R1's order above. Nothing is claimed.",
        "tulu3",
        tuple(STAGES.values()),
        order,
    ),
)
