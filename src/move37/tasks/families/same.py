"""Does an answer say what the correct answer says? Answers of `forms` beside another form of theirs, or a wrong twin.

The response is a judge's: it works both out to one form, then gives the JSON verdict that `judge_reference` reads. A model
that is trained on it is a reward model that reasons (Kimi k1.5, arXiv 2501.12599, section 2.3.5). See docs/judges.md.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, ClassVar

from move37.endpoint import Reply
from move37.rewards import verdicts
from move37.tasks.families.base import Fields
from move37.tasks.families.forms import FORMS, Forms, read, reduced, twin, value_of, write
from move37.types import Score

# Not all is hard: share of given answers that are in the form of the correct one whatever is drawn, and of wrong ones that are no
# twins but the answer to another question
ALIKE, FAR = 0.3, 0.3
VERDICTS = {True: "correct", False: "incorrect"}


@dataclass(frozen=True, kw_only=True)
class Same(Forms):
    """As `forms`, one step up: half of the given answers are right, mostly in another form; most others are a slip away."""

    name: ClassVar[str] = "same"

    def draw(self, rng: random.Random) -> Fields:
        asked = super().draw(rng)
        first, second = rng.choices(FORMS[self.kind], k=2)
        second = first if rng.random() < ALIKE else second
        gold = write(asked, value_of(asked), first, rng)
        same = rng.random() < 0.5
        given = write(asked, value_of(asked), second, rng) if same else self._other(asked, gold, second, rng)
        return {"kind": self.kind, "asked": super().ask(asked, "en", rng), "gold": gold, "given": given, "same": same}

    def _other(self, asked: Fields, gold: str, form: str, rng: random.Random) -> str:
        """A wrong answer: a twin, or the answer to another question."""
        if rng.random() < FAR:
            another = super().draw(rng)
            text = write(another, value_of(another), form, rng)
            if read(self.kind, text) != read(self.kind, gold):
                return text
        return twin(asked, form, rng)

    def key(self, fields: Fields) -> str:
        return self.ask(fields, "en", random.Random(0))

    def ask(self, fields: Fields, language: str, rng: random.Random) -> str:
        return verdicts.brief(fields["asked"], fields["gold"], fields["given"])

    def answer(self, fields: Fields) -> str:
        return said(fields["same"])

    def verify(self, answer: str, fields: Fields) -> Score:
        try:
            correct, _ = verdicts.read_correctness(Reply(text=answer))
        except verdicts.Unreadable as problem:
            return Score(value=0.0, why=str(problem)[:200])
        return Score(value=float(correct == fields["same"]), why="" if correct == fields["same"] else "the other verdict")

    def wrong(self, fields: Fields) -> str:
        return said(not fields["same"])

    def demonstrate(self, fields: Fields, rng: random.Random) -> tuple[str, str]:
        """(both answers worked out to one form and compared sign by sign, the verdict)."""
        gold, given = (reduced(fields["kind"], fields[key]) for key in ("gold", "given"))
        signs, same = compared(ending(gold), ending(given))
        return "\n".join([*gold, *given, signs, "The same." if same else "Not the same."]), said(same)

    def labelled(self, fields: Fields) -> dict[str, Any]:
        """The same question for a reward model without reasoning: what it is shown, the answer, 1 or 0."""
        return {"shown": verdicts.brief(fields["asked"], fields["gold"]), "given": fields["given"], "label": int(fields["same"])}


def ending(lines: list[str]) -> str:
    """What the last line of `reduced` comes to: `9/20=9*5/100=45/100` to 45."""
    return lines[-1].rpartition("=")[2].rpartition("sorted ")[2].removesuffix("/100").replace(" ", "")


def compared(first: str, second: str) -> tuple[str, bool]:
    """Sign beside sign, up to where they part: `44= 57!`. A verdict in one glance is what a small model does not learn."""
    pairs = list(zip_longest(first, second, fillvalue="."))
    parts = next((at for at, (one, other) in enumerate(pairs) if one != other), None)
    shown = pairs if parts is None else pairs[: parts + 1]
    return " ".join(f"{one}{other}{'=' if one == other else '!'}" for one, other in shown), parts is None


def said(correct: bool) -> str:
    """A verdict as `verdicts.read_correctness` reads it."""
    return json.dumps({"correctness": VERDICTS[correct]})
