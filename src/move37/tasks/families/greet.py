"""Greetings, thanks, goodbyes, and who it is that answers; some people say their name."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from move37.errors import TaskError
from move37.tasks.families.base import Fields
from move37.tasks.families.general import General, any_of, holds
from move37.tasks.families.lexicon import NAMES, say


@dataclass(frozen=True, slots=True)
class Turn:
    """One occasion in one language: what is said, good replies ({name} is empty or a comma and the name), signs of them."""

    asks: tuple[str, ...]
    replies: tuple[str, ...]
    signs: tuple[str, ...]  # one of these must be in a reply
    thought: str


TURNS: dict[str, dict[str, Turn]] = {
    "hello": {
        "en": Turn(
            ("Hello!", "Hi there!", "Hey!"),
            ("Hello{name}! How can I help?", "Hi{name}! What can I do for you?"),
            ("hello", "hi", "hey", "welcome", "good day"),
            "The user says hello.",
        ),
        "zh": Turn(
            ("你好!", "您好!", "嗨!"),
            ("你好{name}!我能帮你什么?", "嗨{name}!要我做什么?"),
            ("你好", "您好", "嗨", "欢迎"),
            "用户在问好。",
        ),
    },
    "morning": {
        "en": Turn(
            ("Good morning!", "A good morning to you!"),
            ("Good morning{name}! How can I help?", "Good morning{name}! Have a nice day!"),
            ("morning",),
            "It is morning.",
        ),
        "zh": Turn(
            ("早上好!", "早安!"), ("早上好{name}!我能帮你什么?", "早上好{name}!祝你一天愉快!"), ("早上好", "早安"), "现在是早上。"
        ),
    },
    "evening": {
        "en": Turn(
            ("Good evening!", "A good evening to you!"),
            ("Good evening{name}! How can I help?", "Good evening{name}! What can I do for you?"),
            ("evening",),
            "It is evening.",
        ),
        "zh": Turn(
            ("晚上好!", "晚上好啊!"), ("晚上好{name}!我能帮你什么?", "晚上好{name}!要我做什么?"), ("晚上好",), "现在是晚上。"
        ),
    },
    "how": {
        "en": Turn(
            ("How are you?", "How are you today?", "How is it going?"),
            ("I am well, thank you{name}!", "I am fine{name}, and you?"),
            ("well", "fine", "good", "great"),
            "The user asks how I am.",
        ),
        "zh": Turn(
            ("你好吗?", "你今天好吗?", "最近怎么样?"),
            ("我很好,谢谢{name}!", "我很好{name},你呢?"),
            ("很好", "不错", "挺好"),
            "用户问我好不好。",
        ),
    },
    "who": {
        "en": Turn(
            ("Who are you?", "What are you?", "What is your name?"),
            ("I am your assistant{name}.", "I am an assistant{name}. I am here to help."),
            ("assistant", "helper", "program", "model"),
            "The user asks who I am.",
        ),
        "zh": Turn(
            ("你是谁?", "你叫什么?", "你是什么?"),
            ("我是你的助手{name}。", "我是助手{name},我来帮你。"),
            ("助手", "程序", "模型"),
            "用户问我是谁。",
        ),
    },
    "can": {
        "en": Turn(
            ("What can you do?", "How can you help me?"),
            ("I can answer questions{name}.", "I can help you with numbers and words{name}."),
            ("i can",),
            "The user asks what I can do.",
        ),
        "zh": Turn(
            ("你会做什么?", "你能帮我什么?"),
            ("我能回答问题{name}。", "我能帮你算数和写字{name}。"),
            ("我能", "我会", "我可以"),
            "用户问我会什么。",
        ),
    },
    "meet": {
        "en": Turn(
            ("Nice to meet you!", "I am glad to meet you!"),
            ("Nice to meet you too{name}!", "I am glad to meet you too{name}!"),
            ("nice", "glad", "pleased", "pleasure"),
            "We meet for the first time.",
        ),
        "zh": Turn(
            ("很高兴认识你!", "认识你真好!"),
            ("我也很高兴认识你{name}!", "认识你我也很高兴{name}!"),
            ("高兴", "荣幸"),
            "我们第一次见面。",
        ),
    },
    "sorry": {
        "en": Turn(
            ("I am sorry!", "Sorry for that!"),
            ("No problem{name}!", "That is fine{name}. Do not worry."),
            ("no problem", "fine", "worry", "all right"),
            "The user is sorry.",
        ),
        "zh": Turn(("对不起!", "抱歉!"), ("没关系{name}!", "没事{name},别担心。"), ("没关系", "没事", "别担心"), "用户在道歉。"),
    },
    "thanks": {
        "en": Turn(
            ("Thank you!", "Thanks a lot!", "Thank you for your help!"),
            ("You are welcome{name}!", "I am glad to help{name}!"),
            ("welcome", "glad", "pleasure", "any time"),
            "The user thanks me.",
        ),
        "zh": Turn(
            ("谢谢!", "多谢!", "谢谢你的帮助!"),
            ("不客气{name}!", "很高兴能帮你{name}!"),
            ("不客气", "不用谢", "高兴"),
            "用户在道谢。",
        ),
    },
    "bye": {
        "en": Turn(
            ("Goodbye!", "See you!", "I have to go now."),
            ("Goodbye{name}! See you soon!", "See you{name}! Have a nice day!"),
            ("goodbye", "bye", "see you"),
            "The user leaves.",
        ),
        "zh": Turn(
            ("再见!", "回头见!", "我要走了。"), ("再见{name}!下次见!", "回头见{name}!祝你愉快!"), ("再见", "见"), "用户要走了。"
        ),
    },
    "night": {
        "en": Turn(
            ("Good night!", "I go to bed now."),
            ("Good night{name}! Sleep well!", "Sleep well{name}! See you soon!"),
            ("good night", "sleep"),
            "The user goes to bed.",
        ),
        "zh": Turn(
            ("晚安!", "我去睡觉了。"), ("晚安{name}!睡个好觉!", "晚安{name}!明天见!"), ("晚安", "好觉", "好梦"), "用户要睡觉。"
        ),
    },
}
PARTING = {"en": ("goodbye", "bye", "good night", "see you soon"), "zh": ("再见", "晚安", "回头见", "下次见")}
COMING = {"en": ("hello", "hi", "good morning", "good evening"), "zh": ("你好", "嗨", "早上好", "晚上好")}


@dataclass(frozen=True, kw_only=True)
class Greet(General):
    """Good: a sign of the occasion, nothing of the opposite one, and the name of whoever said it (and no other)."""

    name: ClassVar[str] = "greet"

    named: float = 0.7  # how often the user says a name

    def __post_init__(self) -> None:
        if not 0 <= self.named <= 1:
            raise TaskError(f"greet: named={self.named} must lie in 0..1")

    def draw(self, rng: random.Random) -> Fields:
        who = rng.choice(list(NAMES)) if rng.random() < self.named else ""
        return {"turn": rng.choice(list(TURNS)), "who": who, "form": rng.randrange(6)}

    def key(self, fields: Fields) -> str:
        return f"{fields['turn']},{fields['who']},{fields['form']}"

    def ask(self, fields: Fields, language: str, rng: random.Random) -> str:
        asks = TURNS[fields["turn"]][language].asks
        words = asks[fields["form"] % len(asks)]
        if not fields["who"]:
            return words
        name = say(fields["who"], NAMES, language)
        if language == "zh":
            return f"我是{name}。{words}" if fields["form"] % 2 else f"{words}我是{name}。"
        return f"I am {name}. {words}" if fields["form"] % 2 else f"{words} I am {name}."

    def replies(self, fields: Fields, language: str) -> list[str]:
        comma = "," if language == "zh" else ", "
        name = comma + say(fields["who"], NAMES, language) if fields["who"] else ""
        return [reply.format(name=name) for reply in TURNS[fields["turn"]][language].replies]

    def thoughts(self, fields: Fields, language: str) -> list[str]:
        return [TURNS[fields["turn"]][language].thought]

    def missing(self, answer: str, fields: Fields) -> str:
        turn, language = fields["turn"], fields["language"]
        if not any_of(answer, TURNS[turn][language].signs):
            return f"no reply to {turn!r}"
        against = COMING if turn in ("bye", "night") else PARTING
        if turn not in ("thanks", "sorry") and any_of(answer, against[language]):
            return "it greets and parts at once"
        named = {name for name in NAMES if holds(answer, say(name, NAMES, language))}
        if named != ({fields["who"]} if fields["who"] else set()):
            return f"names {sorted(named)} instead of {fields['who'] or 'nobody'}"
        return ""
