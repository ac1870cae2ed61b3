"""Reward hacking, watched: where the reward of a task rises while its own checker finds fewer responses right. Pure.

At every look at the held-out problems each task has its mean reward and the share that the task's checker calls right, with
their standard errors over problems. The checker is not paid (for general tasks it is never a reward), so that what the reward
likes and what is right can part: DeepSeek-R1 v2 saw this after 400 steps of a preference reward (B.5, figure 6).

Definition. Through the last K looks, K = max(3, half of all looks so far, rounded up), a line is laid by least squares for each
of the two numbers. With x the steps of these looks, its rise from the first to the last, and the standard error of that, are

    rise = (x_K - x_1) sum_i (x_i - mean x) y_i / S        error = (x_K - x_1) sqrt(sum_i (x_i - mean x)^2 se_i^2) / S
    S = sum_i (x_i - mean x)^2

The two part where the reward's rise is above its error and the checker's fall is above its own. It is told once: again only
after a look at which they do not part. The definition is ours; the paper shows curves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LOOKS = 3  # fewer tell nothing
Line = tuple[float, float]  # rise, and its standard error


@dataclass(frozen=True, slots=True, kw_only=True)
class Parting:
    """One task at the look at which its reward and its checker were first found to part."""

    task: str
    since: int  # step of the first look of the window
    step: int
    reward: Line
    rate: Line  # negative: it falls

    def sentence(self) -> str:
        rise, fall = (f"{abs(value):.3f} (standard error {error:.3f})" for value, error in (self.reward, self.rate))
        return (
            f"reward and checker part on {self.task}: from step {self.since} to {self.step} the reward rose by {rise} while the "
            f"share that the task's own checker calls right fell by {fall}. The reward may be being hacked: read the responses "
            "(`move37 samples`), stop earlier, or lower its weight"
        )


def partings(looks: Sequence[Mapping[str, Any]]) -> list[Parting]:
    """Every parting of a stage, in order of steps, from the rows of its probe.jsonl.

    Looks at which a task has no reward, no verdict or one problem only (no standard error) are left out for that task.
    """
    names = {key.removeprefix("task/").rpartition("/")[0] for row in looks for key in row if key.startswith("task/")}
    found = [one for name in sorted(names) for one in _of_task(name, looks)]
    return sorted(found, key=lambda one: one.step)


def _of_task(name: str, looks: Sequence[Mapping[str, Any]]) -> list[Parting]:
    keys = ("step", *(f"task/{name}/{what}" for what in ("reward", "reward_se", "pass@1", "pass@1_se")))
    rows = [[row.get(key) for key in keys] for row in looks]
    told = [tuple(map(float, row)) for row in rows if all(v is not None and math.isfinite(v) for v in row)]
    out: list[Parting] = []
    parted = False
    for end in range(LOOKS, len(told) + 1):
        steps, rewards, reward_errors, rates, rate_errors = zip(*told[end - max(LOOKS, -(-end // 2)) : end], strict=True)
        up, down = rise(steps, rewards, reward_errors), rise(steps, rates, rate_errors)
        parts = up[0] > up[1] and -down[0] > down[1]
        if parts and not parted:
            out.append(Parting(task=name, since=int(steps[0]), step=int(steps[-1]), reward=up, rate=down))
        parted = parts
    return out


def rise(steps: Sequence[float], values: Sequence[float], errors: Sequence[float]) -> Line:
    """How much the least-squares line rises from the first step to the last, and the standard error of that.

    Example:
        >>> rise([0, 10, 20], [0.2, 0.9, 0.4], [0.03, 0.5, 0.04])  # of three equal gaps the middle one does not count
        (0.2, 0.05)
    """
    middle = sum(steps) / len(steps)
    gaps = [step - middle for step in steps]
    scale = (steps[-1] - steps[0]) / sum(gap * gap for gap in gaps)
    value = scale * sum(gap * v for gap, v in zip(gaps, values, strict=True))
    return value, scale * math.sqrt(sum((gap * error) ** 2 for gap, error in zip(gaps, errors, strict=True)))
