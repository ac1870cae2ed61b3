"""Kimi k1.5: what the length reward saves and costs, and four ways from a long model to a short one."""

from __future__ import annotations

from collections.abc import Sequence

from claimed.kimi import through
from claimed.numbers import Claim, Estimate, over, table, verdict
from move37.runs import Run

SMALL = 0.05  # of pass@1: what counts as a small loss
ARMS = {"no length reward": "none", "after a warm-up": "late", "from the first step": "early"}
WARM_UP = 30  # steps before the late length reward
PENALTY = ("before", *ARMS.values(), *(f"{stage}_eval" for stage in ARMS.values()))

WAYS = {
    "base, the short model of the merge": "before",
    "long": "after_long",
    "RL with the length reward": "after_short_rl",
    "DPO": "after_short_dpo",
    "shortest rejection sampling": "after_short_sft",
    "merge": "after_short_merge",
}


def penalty(runs: Sequence[Run]) -> list[str]:
    during = {arm: through(runs, stage, "pass@1", WARM_UP) for arm, stage in ARMS.items()}
    after = {arm: over(runs, f"{stage}_eval", "pass@1") for arm, stage in ARMS.items()}
    tokens = {arm: over(runs, f"{stage}_eval", "length") for arm, stage in ARMS.items()}
    rows = [["base", "", over(runs, "before", "pass@1").text(), over(runs, "before", "length").text(1)]]
    rows += [[arm, during[arm].text(), after[arm].text(), tokens[arm].text(1)] for arm in ARMS]
    none, late, early = ARMS
    loss = after[none].minus(after[late])
    first = f"over steps 1 to {WARM_UP}"
    return [
        *table(["length reward", f"pass@1, mean {first}", "pass@1 after", "tokens after"], rows),
        "",
        *verdict(
            [
                ("after a warm-up it saves tokens", tokens[late].minus(tokens[none]), -1),
                (f"and costs less than {SMALL} of pass@1 (the loss, less {SMALL})", loss.less(SMALL), -1),
                (f"from the first step it slows learning: pass@1 {first}", during[early].minus(during[none]), -1),
                ("and ends below the one with a warm-up: pass@1 after", after[early].minus(after[late]), -1),
            ]
        ),
    ]


def ratio(runs: Sequence[Run], stage: str) -> Estimate:
    """pass@1 per hundred tokens of a response."""
    accuracy, tokens = over(runs, stage, "pass@1"), over(runs, stage, "length")
    return Estimate(tuple(100 * a / t for a, t in zip(accuracy.values, tokens.values, strict=True)))


def long2short(runs: Sequence[Run]) -> list[str]:
    accuracy = {way: over(runs, stage, "pass@1") for way, stage in WAYS.items()}
    tokens = {way: over(runs, stage, "length") for way, stage in WAYS.items()}
    dense = {way: ratio(runs, stage) for way, stage in WAYS.items()}
    rows = [[way, accuracy[way].text(), tokens[way].text(1), dense[way].text(2)] for way in WAYS]
    _, long, rl, dpo, sft, merge = WAYS
    return [
        *table(["", "pass@1", "tokens", "pass@1 per 100 tokens"], rows),
        "",
        *verdict(
            [
                *((f"{way}: saves tokens", tokens[way].minus(tokens[long]), -1) for way in (rl, dpo, sft, merge)),
                ("RL is the most efficient, pass@1 per 100 tokens: above DPO", dense[rl].minus(dense[dpo]), 1),
                ("DPO above shortest rejection sampling", dense[dpo].minus(dense[sft]), 1),
                ("shortest rejection sampling above the merge", dense[sft].minus(dense[merge]), 1),
                ("RL keeps the accuracy best: pass@1 above DPO", accuracy[rl].minus(accuracy[dpo]), 1),
            ]
        ),
    ]


CLAIMS = (
    Claim(
        "The length reward",
        "Kimi k1.5, 2.3.3: it saves tokens, but from the first step on it slows learning; so it begins after a warm-up.",
        "length",
        PENALTY,
        penalty,
    ),
    Claim(
        "From long to short",
        "Kimi k1.5, 2.4 and Figure 7: RL is the most token-efficient, then DPO, then merge with rejection sampling, then merge. "
        "On AIME 2024 that is the order of pass@1 per token (60.8 at 3,272 tokens, then about 47 at 3,110, 43 at 3,030, 39 at "
        "3,130); on MATH-500 it is not. Here rejection sampling starts from the long model, not from a merged one.",
        "k1_5",
        tuple(WAYS.values()),
        long2short,
    ),
)
