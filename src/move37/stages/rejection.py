"""`rejection_sample`: several samples a prompt; those that are right and pass the filters become a data set."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from move37 import rewards
from move37.errors import NothingAccepted
from move37.rewards import Weighted
from move37.rewards.combine import ACCURACY, grade
from move37.rollout.draw import Sampling
from move37.sections import RejectionSample, stops
from move37.stages import accepted, shorter, watch
from move37.stages.context import Context
from move37.stages.dataset import Row
from move37.stages.judges import Place, bind
from move37.stages.making import Making
from move37.tasks.curriculum import Curriculum
from move37.types import Group, Rollout, Verdict

JUDGE = "judge_reference"


class RejectionSampling(Making):
    """As DeepSeek-R1, section 2.3.3: sample, keep what is right, drop what is hard to read, mix with other data.

    A step asks some prompts and leaves a shard of all responses; the data set is made from the shards in the end, so that
    nothing that was sampled is sampled again. Filters are rewards with a least score: a judge or a function of yours too.
    """

    FOLDERS = ("rollouts",)

    def __init__(self, context: Context, name: str, section: RejectionSample) -> None:
        super().__init__(context, name, -(-section.prompts // section.prompts_per_step))
        self.section = section
        self.tasks = context.chosen(section.tasks)
        named, ledger = rewards.weighted(section.least(), context.run.base), self.log.path / "judged.jsonl"
        self.filters = bind(named, ledger, Place.of(context, section))
        self.curriculum = Curriculum(self.tasks, context.recipe.seed)
        self.sampling = Sampling(
            temperature=section.temperature,
            top_p=section.top_p,
            max_new_tokens=section.max_new_tokens,
            **stops(section.stop),
        )
        self.other = accepted.read_other(context, name, section.mix)
        self.loaded = context.load(section)
        self.sampler = context.sampler(self.loaded)

    def sentence(self) -> str:
        return self.section.sentence()

    def collect(self) -> tuple[list[Row], dict[str, Any]]:
        rows = self.log.metrics()
        if not any(row["accepted"] for row in rows):
            raise NothingAccepted(f"{self.name}: none of {len(rows)} steps' responses was accepted. {_told(rows)}")
        return shorter.collect(self) if self.section.rows == "pairs" else accepted.mixed(self, accepted.collect(self))

    def step(self, number: int) -> dict[str, Any]:
        """Ask the next prompts; every response is kept with its scores."""
        problems = self.curriculum.draw(number, self._size(number))
        seed = watch.mix(self.context.recipe.seed, self.name, number)
        groups = self.sampler.sample(problems, self.section.samples_per_prompt, self.sampling, seed)
        watched = [dataclasses.replace(f, weight=0.0) for f in self.filters]
        grade(groups, [*ACCURACY, *watched], self.tasks, self.section.reading)
        self.log.rollouts(number, groups)
        tokens = sum(r.length for g in groups for r in g.rollouts)
        taken = sum(self.passes(r) for g in groups for r in g.rollouts)
        return {"tokens": tokens, "accepted": taken, **self._tally(groups), **watch.sample_metrics(groups)}

    def passes(self, rollout: Rollout) -> bool:
        """Right, ended, and of at least the least score by every filter of its task."""
        return self._right(rollout) and all(self._at_least(f, rollout) for f in self.filters)

    def verdict(self, rollout: Rollout) -> Verdict:
        """The verifier's; the judge's where no rule can check a task (section 2.3.3 of the paper)."""
        return rollout.scores[JUDGE].verdict if rollout.task in self.section.judged else rollout.verdict

    def _right(self, rollout: Rollout) -> bool:
        return self.verdict(rollout) is Verdict.RIGHT and not rollout.truncated

    def _at_least(self, one: Weighted, rollout: Rollout) -> bool:
        return not one.covers(rollout.task) or rollout.scores[one.name].value >= one.weight  # NaN is not

    def _tally(self, groups: list[Group]) -> dict[str, int]:
        """`tally/<task>/<what>`: responses, right ones, and of these those that pass each filter and each of its parts."""
        counts: Counter[str] = Counter()
        for group in groups:
            prefix = f"tally/{group.problem.task}"
            right = [r for r in group.rollouts if self._right(r)]
            counts[f"{prefix}/sampled"] += len(group.rollouts)
            counts[f"{prefix}/right"] += len(right)
            counts[f"{prefix}/accepted"] += sum(self.passes(r) for r in right)
            for one in (f for f in self.filters if f.covers(group.problem.task)):
                counts[f"{prefix}/filter/{one.name}"] += sum(self._at_least(one, r) for r in right)
                for part, value in ((p, v) for r in right for p, v in r.scores[one.name].parts.items()):
                    counts[f"{prefix}/filter/{one.name}/{part}"] += value >= 1
        return dict(sorted(counts.items()))

    def _size(self, number: int) -> int:
        return self.share(number, self.section.prompts, self.section.prompts_per_step)

    def skip(self, number: int) -> None:
        self.curriculum.draw(number, self._size(number))

    def check(self) -> None:
        """Stop where nothing has been accepted for `starve_limit` steps in a row."""
        rows = self.log.metrics()
        last = rows[-self.section.starve_limit :]
        if len(last) == self.section.starve_limit and not any(row["accepted"] for row in last):
            raise NothingAccepted(f"{self.name}: {len(last)} steps in a row without one accepted response. {_told(last)}")


def _told(rows: list[dict[str, Any]]) -> str:
    """What became of the responses, by task and filter, for people."""
    told = []
    for task, counts in accepted.rates(rows).items():
        passed = ", ".join(f"{k.removeprefix('filter/')} {v}" for k, v in counts.items() if k.startswith("filter/"))
        more = f", of which pass {passed}" if counts["right"] and passed else ""
        told.append(f"{task}: {counts['right']} of {counts['sampled']} right{more}")
    hint = "Try more samples, easier problems or a stronger model, or a filter that lets more through."
    return f"{'; '.join(told)}. {hint}"
