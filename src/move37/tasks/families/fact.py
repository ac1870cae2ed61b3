"""Simple facts from a small table: opposites, capitals, colours, counts, what comes after what."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from move37.tasks.families.base import Fields
from move37.tasks.families.general import General, any_of, bare

Pair = tuple[str, str]  # English, Chinese
OPPOSITES: tuple[tuple[Pair, Pair], ...] = (
    (("hot", "热"), ("cold", "冷")), (("big", "大"), ("small", "小")), (("old", "旧"), ("new", "新")),
    (("long", "长"), ("short", "短")), (("fast", "快"), ("slow", "慢")), (("high", "高"), ("low", "低")),
    (("light", "亮"), ("dark", "暗")), (("full", "满"), ("empty", "空")), (("open", "开"), ("closed", "关")),
    (("early", "早"), ("late", "晚")), (("wet", "湿"), ("dry", "干")), (("hard", "硬"), ("soft", "软")),
)  # fmt: skip
CAPITALS: tuple[tuple[Pair, Pair], ...] = (
    (("France", "法国"), ("Paris", "巴黎")), (("China", "中国"), ("Beijing", "北京")), (("Japan", "日本"), ("Tokyo", "东京")),
    (("Italy", "意大利"), ("Rome", "罗马")), (("Spain", "西班牙"), ("Madrid", "马德里")), (("Egypt", "埃及"), ("Cairo", "开罗")),
    (("Germany", "德国"), ("Berlin", "柏林")), (("England", "英国"), ("London", "伦敦")),
    (("Cuba", "古巴"), ("Havana", "哈瓦那")), (("Russia", "俄国"), ("Moscow", "莫斯科")),
)  # fmt: skip
COLOURS: tuple[tuple[Pair, Pair], ...] = (
    (("snow", "雪"), ("white", "白")), (("grass", "草"), ("green", "绿")), (("coal", "煤"), ("black", "黑")),
    (("blood", "血"), ("red", "红")), (("a banana", "香蕉"), ("yellow", "黄")), (("the sky", "天空"), ("blue", "蓝")),
    (("a leaf", "树叶"), ("green", "绿")), (("milk", "牛奶"), ("white", "白")), (("a carrot", "胡萝卜"), ("orange", "橙")),
)  # fmt: skip
COUNTS: tuple[tuple[Pair, int], ...] = (
    (("legs of a dog", "狗的腿"), 4), (("legs of a bird", "鸟的腿"), 2), (("legs of an ant", "蚂蚁的腿"), 6),
    (("legs of a spider", "蜘蛛的腿"), 8), (("days in a week", "一周的天"), 7), (("months in a year", "一年的月"), 12),
    (("hours in a day", "一天的小时"), 24), (("minutes in an hour", "一小时的分钟"), 60),
    (("seasons in a year", "一年的季节"), 4), (("fingers of a hand", "一只手的手指"), 5),
)  # fmt: skip
NUMERALS = {2: ("two", "两"), 4: ("four", "四"), 5: ("five", "五"), 6: ("six", "六"), 7: ("seven", "七"), 8: ("eight", "八")}
DAYS: tuple[Pair, ...] = (
    ("Monday", "星期一"), ("Tuesday", "星期二"), ("Wednesday", "星期三"), ("Thursday", "星期四"), ("Friday", "星期五"),
    ("Saturday", "星期六"), ("Sunday", "星期天"),
)  # fmt: skip
MONTHS: tuple[Pair, ...] = (
    ("January", "一月"), ("February", "二月"), ("March", "三月"), ("April", "四月"), ("May", "五月"), ("June", "六月"),
    ("July", "七月"), ("August", "八月"), ("September", "九月"), ("October", "十月"), ("November", "十一月"),
    ("December", "十二月"),
)  # fmt: skip
NOT = {"en": ("not", "isn't", "no"), "zh": ("不", "没")}
FORMS = {
    "en": ("What is {}?", "Tell me {}.", "Please name {}.", "Do you know {}?", "I forgot {}."),
    "zh": ("{}是什么?", "请告诉我{}。", "说出{}。", "你知道{}吗?", "我忘了{}。"),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """What is asked for, the value, and its kind: no reply may hold another value of that kind."""

    kind: str
    asked: Pair
    value: Pair
    given: Pair | None = None  # a value of the kind that the question holds


@cache
def table() -> dict[str, Entry]:
    """Every fact, by the English words that ask for it."""
    facts = []
    for one, two in OPPOSITES:
        for given, value in ((one, two), (two, one)):
            facts.append(Entry("opposite", (f"the opposite of {given[0]}", f"{given[1]}的反义词"), value, given))
    for country, city in CAPITALS:
        facts.append(Entry("capital", (f"the capital of {country[0]}", f"{country[1]}的首都"), city))
        facts.append(Entry("country", (f"the country of {city[0]}", f"{city[1]}所在的国家"), country))
    facts += [Entry("colour", (f"the colour of {of[0]}", f"{of[1]}的颜色"), value) for of, value in COLOURS]
    facts += [Entry("count", (f"the number of {of[0]}", f"{of[1]}数"), (str(n), str(n))) for of, n in COUNTS]
    for kind, items, after, before in (("day", DAYS, "后一天", "前一天"), ("month", MONTHS, "下个月", "上个月")):
        for one, two in zip(items, [*items[1:], items[0]], strict=True):
            facts.append(Entry(kind, (f"the {kind} after {one[0]}", f"{one[1]}的{after}"), two, one))
            facts.append(Entry(kind, (f"the {kind} before {two[0]}", f"{two[1]}的{before}"), one, two))
    return {fact.asked[0]: fact for fact in facts}


@cache
def values(kind: str, place: int) -> tuple[str, ...]:
    """All values of a kind in a language (0 English, 1 Chinese), as they are compared; longer ones first."""
    found = {bare(fact.value[place]) for fact in table().values() if fact.kind == kind}
    return tuple(sorted(found, key=lambda value: (-len(value), value)))


def mentioned(text: str, kind: str, place: int) -> set[str]:
    """Values of a kind in a text; what stands inside a longer one (一月 in 十一月) is none."""
    left, found = f" {digits(text) if kind == 'count' else bare(text)} ", set()
    for value in values(kind, place):
        if f" {value} " in left:
            found.add(value)
            left = left.replace(f" {value} ", "  ")
    return found


def digits(text: str) -> str:
    """Number words as digits."""
    numerals = {word: str(n) for n, words in NUMERALS.items() for word in words}
    return " ".join(numerals.get(word, word) for word in bare(text).split())


@dataclass(frozen=True, kw_only=True)
class Fact(General):
    """Good: the value is named, and no other of its kind but the one in the question."""

    name: ClassVar[str] = "fact"

    def draw(self, rng: random.Random) -> Fields:
        return {"of": rng.choice(list(table())), "form": rng.randrange(5)}

    def key(self, fields: Fields) -> str:
        """With the form: a fact is known from its other forms, or not at all."""
        return f"{fields['of']},{fields['form']}"

    def ask(self, fields: Fields, language: str, rng: random.Random) -> str:
        return FORMS[language][fields["form"]].format(table()[fields["of"]].asked[language == "zh"])

    def replies(self, fields: Fields, language: str) -> list[str]:
        fact, zh = table()[fields["of"]], language == "zh"
        asked, value = fact.asked[zh], fact.value[zh]
        if zh:
            return [f"{asked}是{value}。", f"是{value}。"]
        return [f"{asked[0].upper()}{asked[1:]} is {value}.", f"It is {value}."]

    def thoughts(self, fields: Fields, language: str) -> list[str]:
        asked = table()[fields["of"]].asked[language == "zh"]
        return [f"用户问{asked}。"] if language == "zh" else [f"The user asks for {asked}."]

    def missing(self, answer: str, fields: Fields) -> str:
        fact, place = table()[fields["of"]], int(fields["language"] == "zh")
        if any_of(answer, NOT[fields["language"]]):
            return "it denies something"
        said = mentioned(answer, fact.kind, place)
        value = bare(fact.value[place])
        if value not in said:
            return f"{fact.value[place]!r} is not named"
        others = said - {value} - ({bare(fact.given[place])} if fact.given else set())
        return f"it names {sorted(others)} as well" if others else ""
