"""How many different behaviours of long reasoning a thought shows: the filter for a warm-up set of long thoughts."""

from __future__ import annotations

from typing import ClassVar

from pydantic import field_validator
from pydantic.dataclasses import dataclass

from move37.errors import nearest
from move37.options import STRICT
from move37.rewards import style
from move37.rewards.base import Each
from move37.types import Problem, Rollout, Scope, Score


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Behaviours(Each):
    """The number of different behaviours of `of` in the thought, 0 to all of them; `parts` counts each.

    After Kimi k1.5 (arXiv 2501.12599), section 2.2: a small warm-up set of verified long thoughts that plan, evaluate,
    reflect and explore. The paper builds it by prompting and names no test; ours counts words (`style.behaviours`). It is
    meant for `filters`, where the verdict has been passed already. As a reward it would pay for words.
    """

    scope: ClassVar[Scope] = "thinking"

    of: tuple[str, ...] = tuple(style.BEHAVIOURS)  # which ones count

    @field_validator("of")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in style.BEHAVIOURS:
                raise ValueError(f"{name!r} is no behaviour; {nearest(name, style.BEHAVIOURS)}")
        return value

    def score(self, rollout: Rollout, problem: Problem) -> Score:
        counts = {name: times for name, times in style.behaviours(rollout.text).items() if name in self.of}
        missing = [name for name, times in counts.items() if not times]
        return Score(
            value=float(len(counts) - len(missing)),
            parts={name: float(times) for name, times in counts.items()},
            why=f"no {', '.join(missing)}" if missing else "",
        )
