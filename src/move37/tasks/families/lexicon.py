"""Words that the general families share: English to Chinese. Few, so that a very small model can learn them."""

from __future__ import annotations

from collections.abc import Mapping

NAMES = {
    "Tom": "小明", "Ann": "小红", "Sam": "小华", "Mia": "小美", "Ben": "小刚", "Leo": "小亮", "Eva": "小兰", "Max": "小东",
    "Lily": "丽丽", "Jack": "小杰", "Rosa": "小玫", "Kim": "小金", "Paul": "大山", "Nina": "妮妮", "Otto": "大力", "Zoe": "小雪",
    "Dan": "阿丹", "Amy": "阿梅", "Finn": "阿方", "Ida": "阿兰", "Bob": "阿宝", "Sue": "小苏", "Tim": "小田", "Joy": "小乐",
}  # fmt: skip
PEOPLE = {
    "boy": "男孩", "girl": "女孩", "teacher": "老师", "friend": "朋友", "farmer": "农民", "doctor": "医生", "king": "国王",
    "cook": "厨师",
}  # fmt: skip
THINGS = {
    "hat": "帽子", "book": "书", "ball": "球", "cup": "杯子", "flower": "花", "key": "钥匙", "bag": "包", "clock": "钟",
    "lamp": "灯", "box": "盒子", "boat": "船", "bell": "铃",
}  # fmt: skip
LOOKS = {"red": "红", "blue": "蓝", "big": "大", "small": "小", "new": "新", "old": "旧"}
# what one does with things: base form -> (third person, past, Chinese)
DEEDS = {
    "see": ("sees", "saw", "看见"),
    "find": ("finds", "found", "找到"),
    "buy": ("buys", "bought", "买"),
    "draw": ("draws", "drew", "画"),
    "lose": ("loses", "lost", "丢"),
    "sell": ("sells", "sold", "卖"),
}
OTHER = {"en": "zh", "zh": "en"}


def say(word: str, table: Mapping[str, str], language: str) -> str:
    """A word of a table in a language."""
    return word if language == "en" else table[word]


def a(noun: str) -> str:
    """With its article: a red hat, an old hat."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
