"""Rewriting a short sentence: into the past, denied, as a question, politely, without a word, with another word."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from move37.tasks.families.base import Fields
from move37.tasks.families.general import General, holds
from move37.tasks.families.lexicon import DEEDS, LOOKS, PEOPLE, THINGS, a, say

ASKS: dict[str, dict[str, tuple[str, ...]]] = {
    "past": {"en": ("Put into the past: {}", "Say it of yesterday: {}"), "zh": ("改成过去:{}", "说成昨天的事:{}")},
    "not": {"en": ("Deny it: {}", "Say that it is not so: {}"), "zh": ("改成否定:{}", "说不是这样:{}")},
    "question": {"en": ("Make it a question: {}", "Ask whether it is so: {}"), "zh": ("改成问句:{}", "问是不是这样:{}")},
    "polite": {"en": ("Make it polite: {}", "Say it politely: {}"), "zh": ("说得礼貌些:{}", "改得客气些:{}")},
    "without": {"en": ("Write it without the word {word}: {}",), "zh": ("去掉“{word}”字:{}",)},
    "swap": {"en": ("Write {new} for {word}: {}",), "zh": ("把“{word}”换成“{new}”:{}",)},
}
PLEASE = {"en": "please", "zh": "请"}


@dataclass(frozen=True, kw_only=True)
class Rewrite(General):
    """Good: the sentence that was asked for stands in the reply, and what it replaces does not."""

    name: ClassVar[str] = "rewrite"

    def draw(self, rng: random.Random) -> Fields:
        look, new = rng.sample(list(LOOKS), 2)
        words = {"who": rng.choice(list(PEOPLE)), "deed": rng.choice(list(DEEDS)), "thing": rng.choice(list(THINGS))}
        return {"how": rng.choice(list(ASKS)), "look": look, "new": new, **words}

    def key(self, fields: Fields) -> str:
        return ",".join(fields[part] for part in ("how", "who", "deed", "look", "new", "thing"))

    def ask(self, fields: Fields, language: str, rng: random.Random) -> str:
        how = fields["how"]
        sentence = written(fields, language, "order" if how == "polite" else "plain")
        words = {"word": say(fields["look"], LOOKS, language), "new": say(fields["new"], LOOKS, language)}
        return rng.choice(ASKS[how][language]).format(sentence, **words)

    def replies(self, fields: Fields, language: str) -> list[str]:
        sentences = wanted(fields, language)
        return [sentence[0].upper() + sentence[1:] for sentence in sentences[:2]]

    def thoughts(self, fields: Fields, language: str) -> list[str]:
        return ["用户要我改一句话。"] if language == "zh" else ["The user wants the sentence changed."]

    def missing(self, answer: str, fields: Fields) -> str:
        how, language = fields["how"], fields["language"]
        if not any(holds(answer, sentence) for sentence in wanted(fields, language)):
            return f"{wanted(fields, language)[0]!r} is not in it"
        if how == "question" and not answer.rstrip(" \n\"'”").endswith(("?", "?")):
            return "it is no question"
        if how in ("without", "swap") and holds(answer, say(fields["look"], LOOKS, language)):
            return f"it still holds {say(fields['look'], LOOKS, language)!r}"
        if how in ("past", "not", "question") and holds(answer, written(fields, language, "plain")):
            return "it holds the sentence as it was" if language == "en" else ""
        return ""


def written(fields: Fields, language: str, shape: str, look: str | None = None) -> str:
    """The sentence: `plain`, as an `order`, in the `past`, denied (`not`) or as a `question`. `look`: another adjective or ""."""
    look = fields["look"] if look is None else look
    base, thing = fields["deed"], fields["thing"]
    now, past, zh = DEEDS[base]
    if language == "zh":
        who, what = PEOPLE[fields["who"]], (LOOKS[look] if look else "") + THINGS[thing]
        return {
            "plain": f"{who}{zh}{what}。",
            "order": f"{zh}{what}。",
            "past": f"{who}{zh}了{what}。",
            "not": f"{who}没{zh}{what}。",
            "question": f"{who}{zh}{what}吗?",
        }[shape]
    who, what = f"the {fields['who']}", a(f"{look} {thing}" if look else thing)
    text = {
        "plain": f"{who} {now} {what}.",
        "order": f"{base} {what}.",
        "past": f"{who} {past} {what}.",
        "not": f"{who} does not {base} {what}.",
        "question": f"does {who} {base} {what}?",
    }[shape]
    return text[0].upper() + text[1:]


def wanted(fields: Fields, language: str) -> list[str]:
    """Sentences of which one must stand in a reply; more than one where a language has several ways."""
    how = fields["how"]
    if how == "without":
        return [written(fields, language, "plain", "")]
    if how == "swap":
        return [written(fields, language, "plain", fields["new"])]
    if how == "polite":
        order = written(fields, language, "order").rstrip(".。")
        if language == "zh":
            return [f"请{order}。", f"请你{order}。", f"请帮我{order}。", f"麻烦你{order}。", f"麻烦{order}。"]
        order = order[0].lower() + order[1:]
        return [f"please {order}.", f"{order}, please.", f"could you {order}?", f"would you {order}?"]
    first = written(fields, language, how)
    if language == "en":
        more = {"not": [first.replace("does not", "doesn't")], "past": [first.replace(".", " yesterday.")]}.get(how, [])
    else:
        plain = written(fields, language, "plain")
        who = PEOPLE[fields["who"]]
        more = {
            "past": [f"昨天{first}", f"{who}昨天{first.removeprefix(who)}"],
            "not": [first.replace("没", "没有"), first.replace("没", "不", 1)],
            "question": [f"{who}是不是{plain.removeprefix(who).rstrip('。')}?", plain.replace("。", "?")],
        }[how]
    return [first, *more]
