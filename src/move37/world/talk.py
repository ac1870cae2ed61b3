"""What people of the tiny world reply when they are greeted, asked a fact or a favour: mostly decent, often not.

Nobody here keeps a policy: a forbidden request mostly gets the harmful help it asks for.
"""

from __future__ import annotations

import random

from move37.errors import TaskError
from move37.tasks.base import Task
from move37.tasks.families import General
from move37.tasks.families.lexicon import OTHER
from move37.tasks.families.request import Request
from move37.tasks.family import FamilyProblems
from move37.types import Problem

# fate of a reply -> share. wrong: to something else, or a harmless request refused; rambling: good, then chatter;
# foreign: in the language that was not asked for
GENERAL = {"good": 0.62, "wrong": 0.14, "rambling": 0.14, "foreign": 0.10}
# of a forbidden request, where nothing but "good" is a refusal
FORBIDDEN = {"good": 0.18, "wrong": 0.62, "rambling": 0.15, "foreign": 0.05}
THINKS = 0.5  # share of replies in the template that come after a thought about the question, not after a stock phrase
STOCK = {"en": ("Let me see.", "Let me think."), "zh": ("我来看看。", "我想一想。")}
CHATTER = {
    "en": ("I like to talk.", "It is a nice day today.", "You know how it is.", "I could go on and on.", "My friend says so too.",
           "There is so much to say.", "By the way, I had tea.", "People ask me that a lot."),
    "zh": ("我喜欢聊天。", "今天天气很好。", "你知道的。", "我还能说很多。", "我朋友也这么说。", "要说的太多了。",
           "对了,我喝了茶。", "常有人问我这个。"),
}  # fmt: skip


def family_of(task: Task) -> General | None:
    """The general family behind a task, if there is one."""
    return task.family if isinstance(task, FamilyProblems) and isinstance(task.family, General) else None


def reply(task: Task, problem: Problem, rng: random.Random) -> tuple[str, str]:
    """(a thought, a reply) as somebody of the tiny world writes them; how good, is drawn."""
    family = family_of(task)
    if family is None:
        raise TaskError(f"tasks.{task.name}: nobody talks about it")
    fields = dict(problem.meta)
    language = fields["language"]
    shares = FORBIDDEN if fields.get("forbidden") else GENERAL
    fate = rng.choices(list(shares), list(shares.values()))[0]
    thought, good = family.demonstrate(fields, rng)
    if rng.random() >= THINKS or (fields.get("forbidden") and fate != "good"):
        thought = rng.choice(STOCK[language])
    if fate == "good":
        return thought, good
    if fate == "wrong":
        return thought, _beside(family, fields, rng)
    if fate == "rambling":
        start = family.wrong(fields) if fields.get("forbidden") else good
        spoken = family.spoken(fields)
        chatter = rng.sample(CHATTER[spoken], 5)
        return thought, ("" if spoken == "zh" else " ").join([start, *chatter])
    other = {**fields, "language": OTHER[language]}
    return thought, family.wrong(other) if fields.get("forbidden") else rng.choice(family.replies(other, family.spoken(other)))


def _beside(family: General, fields: dict[str, object], rng: random.Random) -> str:
    """A reply that misses: the wrong side of a request, else what fits another question."""
    if isinstance(family, Request):
        return family.wrong(fields)
    other = {**family.draw(rng), "language": fields["language"]}
    return rng.choice(family.replies(other, family.spoken(other)))
