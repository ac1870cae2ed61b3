"""A value function, a process reward, tree search: what both papers do without, each beside what does without it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from claimed.numbers import Claim, Estimate, over, table, verdict
from move37.runs import Run

GAIN = 0.03  # of accuracy: what would count as a reason to have it
ARMS = {"GRPO": "grpo", "PPO, lambda 0.95": "ppo_95", "PPO, lambda 1": "ppo_1", "GRPO, paid for true steps": "process"}
STEPPED = ("countdown", "word")  # tasks whose thoughts have equations
SEARCHES = {"base": "base_search", "after GRPO": "grpo_search", "after PPO, guided by its value model": "ppo_search"}
LAST = 10  # steps of RL


def minutes(runs: Sequence[Run], stage: str) -> Estimate:
    return Estimate(tuple(run.log(stage).metrics()[-1]["wall_s"] / 60 for run in runs))


def true_steps(runs: Sequence[Run], stage: str) -> Estimate:
    """Share of the thoughts' equations that are true, in the last steps of RL."""
    return Estimate(tuple(mean(row["reward/steps"] for row in run.log(stage).metrics()[-LAST:]) for run in runs))


def valued(runs: Sequence[Run]) -> list[str]:
    found = {name: over(runs, f"{stage}_eval", "pass@1") for name, stage in ARMS.items()}
    rows = [
        [
            name,
            found[name].text(),
            over(runs, f"{stage}_eval", "cons@16").text(),
            over(runs, f"{stage}_eval", "pass@1", STEPPED).text(),
            true_steps(runs, stage).text(),
            minutes(runs, stage).text(1),
        ]
        for name, stage in ARMS.items()
    ]
    grpo, low, high, process = (found[name] for name in ARMS)
    return [
        *table(["", "pass@1", "cons@16", f"pass@1, {' and '.join(STEPPED)}", "true steps there", "RL, minutes"], rows),
        "",
        *verdict(
            [
                ("with lambda 0.95 PPO is worse than GRPO", low.minus(grpo), -1),
                ("lambda 1 is better than 0.95", high.minus(low), 1),
                (f"a value function (lambda 1) gains less than {GAIN} of pass@1 (gain less {GAIN})", _short(high, grpo), -1),
                (f"paying for true steps gains less than {GAIN} of pass@1 (gain less {GAIN})", _short(process, grpo), -1),
            ]
        ),
    ]


def searched(runs: Sequence[Run]) -> list[str]:
    keys = (("pass@1", 3), ("cons@16", 3), ("cons/steps", 3), ("search", 3), ("search/gain", 3))
    keys += (("tokens", 0), ("search/tokens", 0), ("search/responses", 1))
    rows = [[name, *(over(runs, stage, key).text(digits) for key, digits in keys)] for name, stage in SEARCHES.items()]
    gains = {name: over(runs, stage, "search/gain").less(GAIN) for name, stage in SEARCHES.items()}
    head = ["", "pass@1", "cons@16", "votes of samples with steps", "tree search", "gain over cons@16"]
    head += ["tokens of 16 samples", "of the search", "responses it finished"]
    return [
        *table(head, rows),
        "",
        *verdict([(f"{name}: tree search gains less than {GAIN} (gain less {GAIN})", gain, -1) for name, gain in gains.items()]),
    ]


def _short(arm: Estimate, plain: Estimate) -> Estimate:
    """By how much an arm beats the plain one, less what would count as a gain."""
    return arm.minus(plain).less(GAIN)


CLAIMS = (
    Claim(
        "No value function, no process reward",
        "GRPO needs no value model; PPO is clearly worse at lambda 0.95, nearly equal at 1 (R1 v2, Fig. 4). A process reward is "
        "not worth it in RL (R1, 4.2); Kimi k1.5 uses neither (2.3.2).",
        "value",
        tuple(f"{stage}_eval" for stage in ARMS.values()),
        valued,
    ),
    Claim(
        "No tree search",
        "MCTS did not get beyond its value model (R1, 4.2); a long thought searches by itself (Kimi k1.5, 2.3.1). Here: the same "
        "sampled tokens, problem by problem, on a tree of steps (valued by the votes of its responses, or by PPO's value model), "
        "against consensus.",
        "value",
        tuple(SEARCHES.values()),
        searched,
    ),
)
