"""A model as judge: against a reference answer, by a rubric, or by comparing responses in pairs.

The judge is any OpenAI-compatible endpoint or a model directory. Who asks it is handed in (`asked_by`): this package
knows no model. A verdict that can not be read is a Score of NaN; a response without an answer is 0 and costs nothing.
How a judged text is kept from speaking to the judge: `rewards/verdicts.py`. See docs/judges.md.
"""

from __future__ import annotations

import copy
import dataclasses
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field
from pydantic.dataclasses import dataclass

from move37.endpoint import Asker, Count, Endpoint, Reply, Request, Seconds
from move37.errors import RewardError
from move37.options import STRICT
from move37.rewards import verdicts
from move37.rewards.base import Item, Reward
from move37.rewards.verdicts import Messages, Unreadable
from move37.types import Scope, Score

Ask = Callable[[Sequence[Messages], int], list[Reply]]  # questions, and which repetition of them this is
SHOWN = 200  # characters of a judge's analysis that are kept as the reason


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Source:
    """Who judges: an endpoint (`base_url` and `model`), a stage of the recipe or a model directory (`checkpoint`)."""

    base_url: str = ""  # such as http://localhost:8000/v1
    model: str = ""  # as the endpoint calls it
    key_env: str = ""  # the environment variable that holds the key; empty: none is sent
    # Sampled here: an earlier stage, or `model`, asked in the recipe's template; or a directory with a chat template, relative
    # to the recipe and named with a slash
    checkpoint: str = ""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    max_tokens: Count = 1024  # of a reply, its thought included
    timeout_s: Seconds = 120.0
    attempts: Count = 6
    concurrency: Count = 8

    def __post_init__(self) -> None:
        if bool(self.base_url) == bool(self.checkpoint):
            raise ValueError("needs either base_url and model (an endpoint) or checkpoint (a stage, or a model directory)")
        if self.base_url:
            if not self.model:
                raise ValueError("model is missing: the judge's name at the endpoint")
            self.endpoint()

    def endpoint(self) -> Endpoint:
        names = ("base_url", "model", "key_env", "timeout_s", "attempts", "concurrency")
        return Endpoint(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Judged(Reward):
    """Base of the rewards that ask a judge. It sees the answer alone, never the thought."""

    scope: ClassVar[Scope] = "answer"

    judge: Source

    def asked_by(self, asker: Asker) -> Self:
        """This reward with somebody who answers its questions."""
        bound = copy.copy(self)
        object.__setattr__(bound, "_asker", asker)
        return bound

    def settings(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def _ask(self, questions: Sequence[Messages], sample: int = 0) -> list[Reply]:
        asker = vars(self).get("_asker")
        if asker is None:
            raise RewardError("nobody answers for this judge: bind it with `asked_by` (a stage does so by itself)")
        limits = {"temperature": self.judge.temperature, "max_tokens": self.judge.max_tokens}
        return asker.ask([Request(messages=messages, sample=sample, **limits) for messages in questions])


class One(Judged):
    """A judge that looks at one response at a time."""

    def scores(self, items: Sequence[Item]) -> list[Score]:
        asked = [place for place, (rollout, _) in enumerate(items) if rollout.text.strip()]
        replies = self._ask([self.question(items[place]) for place in asked])
        out = [Score(value=0.0, why="there is no answer")] * len(items)
        for place, reply in zip(asked, replies, strict=True):
            try:
                out[place] = self.read(reply)
            except Unreadable as problem:
                out[place] = Score.cannot_tell(str(problem)[:SHOWN])
        return out

    @abstractmethod
    def question(self, item: Item) -> Messages: ...

    @abstractmethod
    def read(self, reply: Reply) -> Score:
        """Raises Unreadable."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class JudgeReference(One):
    """1 where the judge finds that the answer says what the gold says, else 0.

    After DeepSeek-R1 (arXiv 2501.12948v2), Listing 4. Deviation: the wording of the prompt is ours. `brief` is three lines
    without instructions, for a judge that was trained on them (family `same`), as the CoT reward model of Kimi k1.5
    (arXiv 2501.12599, section 2.3.5) was.
    """

    verdict: ClassVar[bool] = True

    wording: Literal["full", "brief"] = "full"

    def question(self, item: Item) -> Messages:
        rollout, problem = item
        if self.wording == "brief":
            return ({"role": "user", "content": verdicts.brief(problem.question, problem.answer, rollout.text)},)
        return verdicts.reference_messages(problem.question, problem.answer, rollout.text)

    def read(self, reply: Reply) -> Score:
        right, analysis = verdicts.read_correctness(reply)
        return Score(value=float(right), why=analysis[:SHOWN])


@dataclass(frozen=True, kw_only=True, config=STRICT)
class JudgeRubric(One):
    """The share of the criteria that the judge finds met; `parts` has each."""

    criteria: Annotated[list[str], Field(min_length=1, max_length=20)]

    def question(self, item: Item) -> Messages:
        rollout, problem = item
        return verdicts.rubric_messages(problem.question, self.criteria, rollout.text)

    def read(self, reply: Reply) -> Score:
        met, analysis = verdicts.read_met(reply, len(self.criteria))
        parts = {f"criterion_{number}": float(one) for number, one in enumerate(met, 1)}
        return Score(value=sum(met) / len(met), parts=parts, why=analysis[:SHOWN])


@dataclass(frozen=True, kw_only=True, config=STRICT)
class JudgePair(Judged):
    """How a response does against others, each pair judged in both orders: 1 much better, 0.5 equal, 0 much worse.

    `against: reference` compares with the gold answer. `against: group` compares with other responses of the same
    group: they stand in a ring in the order of sampling and each meets its neighbours, so that a response has
    `opponents` comparisons (all others, where there are no more) at `opponents` requests each; the reward is the mean.
    Equal answers are equal and cost nothing; no answer is 0, and loses against any.

    Five verdicts, order swapped and averaged as DeepSeek-R1 (section B.2) and Arena-Hard do. Deviation: verdicts count
    1, 0.75, 0.5, 0.25 and 0, and two orders are asked, not four random ones. A pair of which one order can not be read
    is left out; a response without any pair can not be told.
    """

    against: Literal["group", "reference"] = "group"
    opponents: Count = 4

    def scores(self, items: Sequence[Item]) -> list[Score]:
        pairs = self._reference_pairs(items) if self.against == "reference" else self._group_pairs(items)
        questions = [(question, first, second) for question, first, second, _, _ in pairs]
        results: dict[int, list[Pair]] = defaultdict(list)
        for (_, _, _, one, other), pair in zip(pairs, self.compare(questions), strict=True):
            results[one].append(pair)
            if other is not None:
                results[other].append(pair.turned())
        empty = Score(value=0.0, why="there is no answer")
        return [_mean(results[place]) if r.text.strip() else empty for place, (r, _) in enumerate(items)]

    def compare(self, questions: Sequence[tuple[str, str, str]]) -> list[Pair]:
        """(question, first, second) -> what the first is worth against the second, in both orders."""
        return compare(self._ask, questions)

    def _reference_pairs(self, items: Sequence[Item]) -> list[tuple[str, str, str, int, int | None]]:
        return [(p.question, r.text, p.answer, place, None) for place, (r, p) in enumerate(items)]

    def _group_pairs(self, items: Sequence[Item]) -> list[tuple[str, str, str, int, int | None]]:
        groups: dict[int, list[int]] = defaultdict(list)
        for place, (rollout, _) in enumerate(items):
            groups[rollout.group].append(place)  # not by problem: a step may draw one twice
        pairs = []
        for places in groups.values():
            for one, other in ring(len(places), self.opponents):
                (first, problem), (second, _) = items[places[one]], items[places[other]]
                pairs.append((problem.question, first.text, second.text, places[one], places[other]))
        return pairs


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """One comparison: what the first is worth when shown first, and when shown second; `why` where not both are told.

    Where both orders were asked several times, these are means of what could be read.
    """

    shown_first: float | None
    shown_second: float | None
    why: str = ""

    @classmethod
    def read(cls, straight: Sequence[Reply], swapped: Sequence[Reply]) -> Pair:
        whys: list[str] = []
        first, second = _worth(straight, whys), _worth(swapped, whys)
        return cls(first, None if second is None else 1 - second, "; ".join(whys))

    @property
    def value(self) -> float | None:
        if self.shown_first is None or self.shown_second is None:
            return None
        return (self.shown_first + self.shown_second) / 2

    @property
    def consistent(self) -> bool | None:
        """Whether both orders prefer the same one (or both none); None where not both are told."""
        if self.shown_first is None or self.shown_second is None:
            return None
        return preferred(self.shown_first) == preferred(self.shown_second)

    def turned(self) -> Pair:
        """The same comparison from the other's side."""
        first = None if self.shown_second is None else 1 - self.shown_second
        second = None if self.shown_first is None else 1 - self.shown_first
        return Pair(first, second, self.why)


def _worth(replies: Sequence[Reply], whys: list[str]) -> float | None:
    """What A is worth, on average over the replies that can be read; why not goes to `whys`."""
    values = []
    for reply in replies:
        try:
            values.append(verdicts.read_pair(reply))
        except Unreadable as problem:
            whys.append(str(problem))
    return sum(values) / len(values) if values else None


def compare(ask: Ask, questions: Sequence[tuple[str, str, str]], rounds: int = 1) -> list[Pair]:
    """(question, first, second) -> what the first is worth against the second; both orders are asked in each round."""
    decided = [_without_asking(first, second) for _, first, second in questions]
    asked = [q for q, known in zip(questions, decided, strict=True) if known is None]
    messages = [m for q, a, b in asked for m in (verdicts.pair_messages(q, a, b), verdicts.pair_messages(q, b, a))]
    replies = [ask(messages, sample) for sample in range(rounds)]
    told = iter([Pair.read([r[at] for r in replies], [r[at + 1] for r in replies]) for at in range(0, len(messages), 2)])
    return [known or next(told) for known in decided]


def preferred(value: float) -> int:
    """1 the first, 2 the second, 0 neither."""
    return 1 if value > 0.5 else 2 if value < 0.5 else 0


def ring(size: int, opponents: int) -> list[tuple[int, int]]:
    """Pairs among `size` such that everybody is in `opponents` of them, or one more where that is odd; in all at most.

    >>> ring(4, 2)
    [(0, 1), (1, 2), (2, 3), (3, 0)]
    """
    pairs: dict[frozenset[int], tuple[int, int]] = {}
    for step in range(1, min((opponents + 1) // 2, size // 2) + 1):
        for one in range(size):
            other = (one + step) % size
            if other != one:
                pairs.setdefault(frozenset((one, other)), (one, other))
    return list(pairs.values())


def _without_asking(first: str, second: str) -> Pair | None:
    if " ".join(first.split()) == " ".join(second.split()):
        return Pair(0.5, 0.5)
    if not first.strip() or not second.strip():
        value = float(bool(first.strip()))
        return Pair(value, value)
    return None


def _mean(pairs: Sequence[Pair]) -> Score:
    values = [pair.value for pair in pairs if pair.value is not None]
    if not values:
        return Score.cannot_tell(next((pair.why for pair in pairs if pair.why), "nobody to compare with")[:SHOWN])
    consistent = [float(bool(pair.consistent)) for pair in pairs if pair.consistent is not None]
    parts = {"comparisons": float(len(values)), "order_consistent": sum(consistent) / len(consistent)}
    return Score(value=sum(values) / len(values), parts=parts, why=f"mean of {len(values)} comparisons")
