"""`compare`: responses to general prompts, and what a judge says of them: preferences, or safe and unsafe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from move37.errors import NothingAccepted
from move37.rewards import verdicts
from move37.rewards.agreement import orders
from move37.rewards.combine import ACCURACY, grade
from move37.rewards.judge import Pair, compare
from move37.rewards.verdicts import Unreadable
from move37.rollout.draw import Sampling
from move37.sections import Compare, stops
from move37.sections.answering import source_of
from move37.stages import dataset, pairs, watch
from move37.stages.context import Context
from move37.stages.dataset import Row
from move37.stages.judges import Asking, Place, asker_of
from move37.stages.making import Making
from move37.tasks.curriculum import Curriculum
from move37.types import Group, Problem, Rollout, Verdict
from move37.world.judge import Judge

KEPT = ("prompt", "chosen", "rejected", "margin", "task", "problem", "chosen_tokens", "rejected_tokens", "source")
LABELLED = ("prompt", "response", "label", "task", "problem", "tokens", "source")


class Comparing(Making):
    """Data of the reward models of DeepSeek-R1 (section 2.3.4; v2, section 3.1 and B.2).

    Pairs: the judge sees the summaries alone, several times with the order swapped each time; a pair stays where the mean
    of its judgements is further from equal than `margin`; then lengths are balanced over the data set. Labels: the judge sees
    the whole response. A row of a shard keeps what was dropped too, and the verdicts of the task's own checker beside those
    of the judge: they measure the judge (`agreement`) and choose nothing.

    Deviations: orders alternate where the paper draws them; what verdicts count and how lengths are balanced are ours
    (`pairs.py`), since the paper does not say.
    """

    FOLDERS = ("rollouts", "rows")

    def __init__(self, context: Context, name: str, section: Compare) -> None:
        super().__init__(context, name, -(-section.prompts // section.prompts_per_step))
        self.section = section
        self.tasks = context.chosen(section.tasks)
        self.curriculum = Curriculum(self.tasks, context.recipe.seed)
        self.sampling = Sampling(
            temperature=section.temperature, max_new_tokens=section.max_new_tokens, **stops(section.stop)
        )
        self.asking = _judge(context, section, self.log.path / "judged.jsonl")
        self.sampler = context.sampler(context.load(section))

    def sentence(self) -> str:
        return self.section.sentence()

    def step(self, number: int) -> dict[str, Any]:
        """Sample, judge, and keep every response and every judgement."""
        problems = self.curriculum.draw(number, self._size(number))
        seed = watch.mix(self.context.recipe.seed, self.name, number)
        groups = self.sampler.sample(problems, self.section.samples_per_prompt, self.sampling, seed)
        grade(groups, ACCURACY, self.tasks, self.section.reading)
        self.log.rollouts(number, groups)
        rows = self._pairs(groups, seed) if self.section.kind == "pair" else self._labels(groups)
        self.log.rows(number, rows)
        tokens = sum(r.length for g in groups for r in g.rollouts)
        accepted = sum(not row["dropped"] for row in rows)
        return {"tokens": tokens, "judged": len(rows), "accepted": accepted, **watch.sample_metrics(groups)}

    def skip(self, number: int) -> None:
        self.curriculum.draw(number, self._size(number))

    def collect(self) -> tuple[list[Row], dict[str, Any]]:
        made = self.made()
        kept, statistics = self._preferences(made) if self.section.kind == "pair" else self._labelled(made)
        rows = dataset.shuffled(kept, self.context.recipe.seed, self.name)
        columns = KEPT if self.section.kind == "pair" else LABELLED
        return [{key: row[key] for key in columns} for row in rows], statistics

    def _size(self, number: int) -> int:
        return self.share(number, self.section.prompts, self.section.prompts_per_step)

    # ------------------------------------------------------------------------------------------------------------ pairs

    def _pairs(self, groups: Sequence[Group], seed: int) -> list[Row]:
        found = [
            (group.problem, *pair)
            for group in groups
            for pair in pairs.drawn(
                group.rollouts, self.section.pairs_per_prompt, dataset.random(seed, "pairs", group.problem.id)
            )
        ]
        questions = [(problem.question, first.answer or "", second.answer or "") for problem, first, second in found]
        results = compare(self.asking, questions, self.section.judgements // 2)
        return [self._pair(*one, result) for one, result in zip(found, results, strict=True)]

    def _pair(self, problem: Problem, first: Rollout, second: Rollout, result: Pair) -> Row:
        difference = pairs.difference(result)
        chosen, rejected = (first, second) if (difference or 0.0) >= 0 else (second, first)
        near = difference is None or abs(difference) <= self.section.margin
        return {
            "prompt": problem.question,
            "chosen": chosen.prefill + chosen.text,
            "rejected": rejected.prefill + rejected.text,
            "margin": abs(difference or 0.0),
            "task": problem.task,
            "problem": problem.id,
            "chosen_tokens": chosen.length,
            "rejected_tokens": rejected.length,
            "source": self.name,
            "shown": [result.shown_first, result.shown_second],
            "checked": [chosen.verdict.value, rejected.verdict.value],
            "dropped": "unreadable" if difference is None else "margin" if near else "",
        }

    def _preferences(self, made: Sequence[Row]) -> tuple[list[Row], dict[str, Any]]:
        clear = [row for row in made if not row["dropped"]]
        kept = clear
        if self.section.balance is not None and clear:
            lengths = _lengths(clear)
            allowed = self.section.balance * (lengths["chosen"] + lengths["rejected"]) / 2
            gaps = [row["chosen_tokens"] - row["rejected_tokens"] for row in clear]
            kept = [clear[place] for place in pairs.balanced(gaps, allowed)]
        dropped = Counter(row["dropped"] for row in made if row["dropped"])
        dropped["length"] = len(clear) - len(kept)
        told = f"{len(made)} pairs; {', '.join(f'{count} dropped by {cause}' for cause, count in sorted(dropped.items()))}"
        if not kept:
            raise NothingAccepted(f"{self.name}: none is left of {told}. {_lost(made, clear, self.section.margin)}")
        told_pairs = [Pair(*row["shown"]) for row in made if row["dropped"] != "unreadable"]
        statistics = {
            "prompts": self.section.prompts,
            "pairs": len(made),
            "judged": len(told_pairs),
            "dropped": dict(sorted(dropped.items())),
            "kept": len(kept),
            "tasks": dict(sorted(Counter(row["task"] for row in kept).items())),
            "tokens": {"before_balance": _lengths(clear), "kept": _lengths(kept)},
            "margin": watch.mean([row["margin"] for row in kept]),
            **orders(told_pairs),
            "agreement": _agreement(kept),
            "told": [f"{told}; {len(kept)} kept"],
        }
        return kept, statistics

    # ----------------------------------------------------------------------------------------------------------- labels

    def _labels(self, groups: Sequence[Group]) -> list[Row]:
        found = [(group.problem, rollout) for group in groups for rollout in _different(group.rollouts)]
        ended = [(problem, r) for problem, r in found if not r.truncated]
        questions = [verdicts.policy_messages(p.question, r.prefill + r.text, self.section.policy) for p, r in ended]
        replies = iter(self.asking(questions))
        rows = []
        for problem, rollout in found:
            label, dropped = None, "truncated"
            if not rollout.truncated:
                try:
                    label, dropped = int(verdicts.read_safe(next(replies))), ""
                except Unreadable:
                    dropped = "unreadable"
            row = {"prompt": problem.question, "response": rollout.prefill + rollout.text, "label": label, "task": problem.task}
            row |= {"problem": problem.id, "tokens": rollout.length, "source": self.name}
            rows.append({**row, "checked": rollout.verdict.value, "dropped": dropped})
        return rows

    def _labelled(self, made: Sequence[Row]) -> tuple[list[Row], dict[str, Any]]:
        kept = [row for row in made if not row["dropped"]]
        dropped = dict(sorted(Counter(row["dropped"] for row in made if row["dropped"]).items()))
        classes = {name: [row for row in kept if row["label"] == label] for name, label in (("safe", 1), ("unsafe", 0))}
        counts = {name: len(rows) for name, rows in classes.items()}
        told = f"{len(made)} responses: {counts['safe']} safe, {counts['unsafe']} unsafe"
        told += "".join(f", {count} {cause}" for cause, count in dropped.items())
        if not all(counts.values()):
            hint = "A reward model needs both: ask more prompts, others, or a model of other habits."
            raise NothingAccepted(f"{self.name}: only one class, or none, of {told}. {hint}")
        statistics = {
            "prompts": self.section.prompts,
            "responses": len(made),
            "dropped": dropped,
            **counts,
            "tasks": dict(sorted(Counter(row["task"] for row in kept).items())),
            "tokens": {name: watch.mean([row["tokens"] for row in rows]) for name, rows in classes.items()},
            "agreement": _share([(row["label"] == 1) == (row["checked"] == Verdict.RIGHT) for row in kept if _checked(row)]),
            "told": [told],
        }
        return kept, statistics


def _judge(context: Context, section: Compare, ledger: Path) -> Asking:
    source = source_of(section.judge)
    if source is None:
        return Asking(Judge(context.recipe.seed), None)
    if section.kind == "pair" and section.judgements > 2 and source.temperature == 0:
        told = f"at temperature 0 the {section.judgements} judgements of a pair repeat each other; set judge.temperature"
        context.display.note(f"compare: {told}, or judgements=2")
    return Asking(asker_of(source, ledger, Place.of(context, section)), source)


def _different(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """The responses without those that are written like an earlier one."""
    return list({rollout.text: rollout for rollout in reversed(rollouts)}.values())[::-1]


def _lengths(rows: Sequence[Row]) -> dict[str, float]:
    """Mean tokens of the whole responses."""
    return {side: watch.mean([row[f"{side}_tokens"] for row in rows]) for side in ("chosen", "rejected")}


def _agreement(rows: Sequence[Row]) -> float | None:
    """Of the pairs that the tasks' checkers tell apart, the share in which the better one is the chosen one."""
    checked = [tuple(row["checked"]) for row in rows]
    return _share([pair == (Verdict.RIGHT, Verdict.WRONG) for pair in checked if set(pair) == {Verdict.RIGHT, Verdict.WRONG}])


def _checked(row: Row) -> bool:
    return row["checked"] != Verdict.CANNOT_TELL


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _lost(made: Sequence[Row], clear: Sequence[Row], margin: float) -> str:
    """What to do where no pair is left."""
    if not made:
        return "No problem had two responses with different summaries: sample more, or a model that keeps the form."
    if all(row["dropped"] == "unreadable" for row in made):
        return "The judge gave no verdict that can be read: look at judged.jsonl, and choose a model that keeps to the form."
    if not clear:
        most = max(row["margin"] for row in made)
        return f"The largest mean judgement is {most:g}, the margin {margin:g}: lower it, or choose a judge that tells more."
    means = _lengths(clear)
    told = f"chosen ones have {means['chosen']:.1f} tokens, rejected ones {means['rejected']:.1f}"
    return f"Lengths can not be balanced: {told}; raise balance, or ask more prompts."
