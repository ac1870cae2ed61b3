"""Small writing: a note of two lines, a list of things of a kind, a sentence with given words."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import ClassVar

from move37.tasks.families.base import Fields
from move37.tasks.families.general import General, bare, holds
from move37.tasks.families.lexicon import DEEDS, NAMES, PEOPLE, THINGS, a, say

KINDS: dict[tuple[str, str], dict[str, str]] = {
    ("fruits", "水果"): {"apple": "苹果", "pear": "梨", "banana": "香蕉", "orange": "橙子", "plum": "李子"},
    ("animals", "动物"): {"dog": "狗", "cat": "猫", "bird": "鸟", "cow": "牛", "horse": "马"},
    ("colours", "颜色"): {"red": "红", "blue": "蓝", "green": "绿", "white": "白", "black": "黑"},
    ("clothes", "衣服"): {"hat": "帽子", "coat": "大衣", "shirt": "衬衫", "shoe": "鞋"},
    ("drinks", "饮料"): {"water": "水", "milk": "牛奶", "tea": "茶", "juice": "果汁"},
}
COUNTED = {2: ("two", "两"), 3: ("three", "三"), 4: ("four", "四")}
GROUPS = {english: (chinese, members) for (english, chinese), members in KINDS.items()}
ASKS = {
    "note": {"en": ("Write a note of two lines to {who} about the {thing}.",), "zh": ("给{who}写两行便条,说说{thing}。",)},
    "list": {"en": ("List {n} {group}.", "Name {n} {group}."), "zh": ("列出{n}种{group}。", "写出{n}种{group}。")},
    "sentence": {
        "en": ("Write a sentence with the words {person} and {thing}.", "Make a sentence with {person} and {thing}."),
        "zh": ("用“{person}”和“{thing}”写一句话。", "用“{person}”和“{thing}”造句。"),
    },
}
NOTES = {
    "en": (
        "Dear {who},\nI found the {thing}.",
        "Hello {who},\nplease bring the {thing}.",
        "Dear {who},\nthank you for the {thing}.",
    ),
    "zh": ("{who}:\n我找到了{thing}。", "{who},你好:\n请把{thing}带来。", "{who}:\n谢谢你的{thing}。"),
}
INSTRUCTION = {"en": ("write", "sentence", "words", "list"), "zh": ("写一", "造句", "列出", "写出")}


@dataclass(frozen=True, kw_only=True)
class Write(General):
    """Good: the name, things and words asked for; two lines for a note, so many different members for a list."""

    name: ClassVar[str] = "write"

    def draw(self, rng: random.Random) -> Fields:
        kind = rng.choice(list(ASKS))
        if kind == "list":
            n, group = rng.choice(list(COUNTED)), rng.choice(list(GROUPS))
            return {"kind": kind, "n": n, "group": group, "mix": rng.randrange(20), "form": rng.randrange(2)}
        people = NAMES if kind == "note" else PEOPLE
        return {"kind": kind, "who": rng.choice(list(people)), "thing": rng.choice(list(THINGS))}

    def key(self, fields: Fields) -> str:
        if fields["kind"] == "list":
            return f"list,{fields['n']},{fields['group']},{fields['form']}"
        return f"{fields['kind']},{fields['who']},{fields['thing']}"

    def ask(self, fields: Fields, language: str, rng: random.Random) -> str:
        asks, zh = ASKS[fields["kind"]][language], language == "zh"
        if fields["kind"] == "list":
            group = GROUPS[fields["group"]][0] if zh else fields["group"]
            return asks[fields["form"]].format(n=COUNTED[fields["n"]][zh], group=group)
        return rng.choice(asks).format(**self._words(fields, language))

    def _words(self, fields: Fields, language: str) -> dict[str, str]:
        who = say(fields["who"], NAMES if fields["kind"] == "note" else PEOPLE, language)
        return {"who": who, "person": who, "thing": say(fields["thing"], THINGS, language)}

    def replies(self, fields: Fields, language: str) -> list[str]:
        if fields["kind"] == "list":
            members = GROUPS[fields["group"]][1]
            rng = random.Random(fields["mix"])  # which of them, and in which order
            chosen = [[say(m, members, language) for m in rng.sample(list(members), fields["n"])] for _ in range(3)]
            if language == "zh":
                return ["、".join(some) + "。" for some in chosen]
            lists = [f"{', '.join(some[:-1])} and {some[-1]}." for some in chosen]
            return [text[0].upper() + text[1:] for text in lists]
        words = self._words(fields, language)
        if fields["kind"] == "note":
            return [note.format(**words) for note in NOTES[language]]
        if language == "zh":
            return [f"{words['who']}{zh}了{words['thing']}。" for _, _, zh in DEEDS.values()]
        return [f"The {words['who']} {now} {a(words['thing'])}." for now, _, _ in DEEDS.values()]

    def thoughts(self, fields: Fields, language: str) -> list[str]:
        told = {"note": ("The user wants a note.", "用户要便条。"), "list": ("The user wants a list.", "用户要列表。")}
        return [told.get(fields["kind"], ("The user wants a sentence.", "用户要一句话。"))[language == "zh"]]

    def missing(self, answer: str, fields: Fields) -> str:
        kind, language = fields["kind"], fields["language"]
        if kind == "list":
            return self._listed(answer, fields, language)
        words = self._words(fields, language)
        for word in (words["who"], words["thing"]):
            if not holds(answer, word):
                return f"{word!r} is missing"
        if any(holds(answer, word) for word in INSTRUCTION[language]):
            return "it speaks of the writing"
        lines = len([line for line in answer.splitlines() if line.strip()])
        if kind == "note":
            return "" if lines == 2 else f"{lines} lines, two were asked for"
        ends = len(re.findall(r"[.!?。!?]+", answer.strip()))
        if ends != 1 or lines != 1 or not answer.strip().endswith((".", "!", "?", "。", "!", "?")):
            return "it is not one sentence"
        return "" if len(bare(answer).split()) >= 4 else "too short for a sentence"

    def _listed(self, answer: str, fields: Fields, language: str) -> str:
        """So many of the group, and nothing of another one."""
        chinese, members = GROUPS[fields["group"]]
        rest, found = f" {bare(answer)} ", 0
        rest = rest.replace(f" {bare(chinese)} ", " | ")
        for member in members:
            word = bare(say(member, members, language))
            named = re.compile(rf"(?<= ){word}(?:s|es)?(?= )")
            found += bool(named.search(rest))
            rest = named.sub("|", rest)
        if found != fields["n"]:
            return f"{found} of the {fields['group']}, {fields['n']} were asked for"
        others = [say(word, group, language) for _, group in GROUPS.values() for word in group]
        foreign = next((word for word in others if holds(rest, word)), "")
        return f"{foreign!r} is none of the {fields['group']}" if foreign else ""
