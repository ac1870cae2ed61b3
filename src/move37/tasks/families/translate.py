"""Set phrases, things and short sentences from English to Chinese and back: the language that is not the question's."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from move37.tasks.families.base import Fields
from move37.tasks.families.general import General, any_of, holds
from move37.tasks.families.lexicon import DEEDS, LOOKS, OTHER, PEOPLE, THINGS, a, say

# English -> ways to say it in Chinese; more ways in English stand after a bar
PHRASES: dict[str, tuple[str, ...]] = {
    "good morning": ("早上好", "早安"),
    "good evening": ("晚上好",),
    "good night": ("晚安",),
    "hello|hi": ("你好", "您好"),
    "thank you|thanks": ("谢谢", "谢谢你"),
    "goodbye|bye|see you": ("再见",),
    "I am sorry|sorry": ("对不起", "抱歉"),
    "how are you": ("你好吗",),
    "who are you": ("你是谁",),
    "no problem": ("没关系", "没问题"),
    "happy birthday": ("生日快乐",),
    "see you tomorrow": ("明天见",),
    "I am hungry": ("我饿了",),
    "I am tired": ("我累了",),
    "where is the station": ("车站在哪里", "车站在哪儿"),
    "how much is it": ("多少钱",),
}
FORMS = {
    "en": ("Translate into Chinese: {}", "Say in Chinese: {}", "What is this in Chinese: {}"),
    "zh": ("翻译成英语:{}", "用英语说:{}", "这句用英语怎么说:{}"),
}


@dataclass(frozen=True, kw_only=True)
class Translate(General):
    """Good: one of the accepted translations stands in the reply, which is in the other language."""

    name: ClassVar[str] = "translate"

    def draw(self, rng: random.Random) -> Fields:
        kind = rng.choice(("phrase", "thing", "sentence"))
        fields: Fields = {"kind": kind, "form": rng.randrange(3)}
        if kind == "phrase":
            return {**fields, "phrase": rng.choice(list(PHRASES))}
        if kind == "thing":
            return {**fields, "look": rng.choice(list(LOOKS)), "thing": rng.choice(list(THINGS))}
        words = {"who": rng.choice(list(PEOPLE)), "deed": rng.choice(list(DEEDS)), "thing": rng.choice(list(THINGS))}
        return {**fields, **words}

    def key(self, fields: Fields) -> str:
        return ",".join(str(value) for name, value in sorted(fields.items()) if name != "language")

    def ask(self, fields: Fields, language: str, rng: random.Random) -> str:
        return FORMS[language][fields["form"]].format(ways(fields, language)[0])

    def spoken(self, fields: Fields) -> str:
        return OTHER[fields["language"]]

    def replies(self, fields: Fields, language: str) -> list[str]:
        text = ways(fields, language)[0]
        return [f"{text}。"] if language == "zh" else [f"{text[0].upper()}{text[1:]}."]

    def thoughts(self, fields: Fields, language: str) -> list[str]:
        return ["用户要英语。"] if language == "zh" else ["The user wants it in Chinese."]

    def missing(self, answer: str, fields: Fields) -> str:
        language = self.spoken(fields)
        accepted = ways(fields, language)
        if not any_of(answer, accepted):
            return f"{accepted[0]!r} is not in it"
        beside = next((word for word in others(fields, language) if holds(answer, word)), "")
        return f"it says {beside!r} as well" if beside else ""


def others(fields: Fields, language: str) -> list[str]:
    """What a reply must not hold: other phrases, or other words of the kinds that the text is made of."""
    if fields["kind"] == "phrase":
        said = ways(fields, language)
        rest = [way for phrase in PHRASES for way in ways({**fields, "phrase": phrase}, language)]
        return [way for way in rest if not any(holds(mine, way) or holds(way, mine) for mine in said)]
    kinds = {"look": LOOKS, "who": PEOPLE, "thing": THINGS}
    return [
        say(word, table, language)
        for part, table in kinds.items()
        for word in table
        if part in fields and word != fields[part]
    ]


def ways(fields: Fields, language: str) -> list[str]:
    """Accepted ways to say it, the plainest first."""
    if fields["kind"] == "phrase":
        phrase = fields["phrase"]
        return list(PHRASES[phrase]) if language == "zh" else phrase.split("|")
    thing = fields["thing"]
    if fields["kind"] == "thing":
        look, zh = fields["look"], THINGS[thing]
        if language == "en":
            return [a(f"{look} {thing}"), f"{look} {thing}"]
        return [LOOKS[look] + zh, f"{LOOKS[look]}的{zh}", f"{LOOKS[look]}色{zh}", f"{LOOKS[look]}色的{zh}"]
    now, past, deed = DEEDS[fields["deed"]]
    if language == "en":
        who = fields["who"]
        return [
            f"{one} {who} {verb} {what}" for one in ("the", "a") for verb in (now, past) for what in (a(thing), f"the {thing}")
        ]
    who, what = PEOPLE[fields["who"]], THINGS[thing]
    return [f"{who}{deed}{middle}{what}" for middle in ("", "了", "一个", "了一个")]
