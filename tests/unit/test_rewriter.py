"""How the tiny world rewrites: one language, nothing twice, short paragraphs, the answer in a box."""

from __future__ import annotations

import pytest

from move37.rewards.reading import last_box
from move37.world import rewriter
from move37.world.speech import CONNECTORS, OPENINGS, TRIES, WORDS

ENGLISH = [WORDS["en"][key] for key in ("check", "ok", "retry", "no")] + [*OPENINGS["en"], *TRIES["en"]]
CHINESE = [WORDS["zh"][key] for key in ("check", "ok", "retry", "no")] + [*OPENINGS["zh"], *TRIES["zh"]]


@pytest.mark.parametrize(("english", "chinese"), zip(ENGLISH, CHINESE, strict=True))
def test_every_phrase_of_the_world_has_its_counterpart(english, chinese):
    assert rewriter.translate(english, "zh") == chinese and rewriter.translate(chinese, "en") == english
    assert rewriter.translate(english, "en") == english and rewriter.translate(chinese, "zh") == chinese


def test_words_in_a_line():
    assert rewriter.translate("3+4=7 wrong", "zh") == "3+4=7 错"
    assert rewriter.translate("The answer is 3.5.", "zh") == "答案是3.5。"
    assert rewriter.translate("答案是14。", "en") == "The answer is 14."
    assert rewriter.translate("First 12+7", "zh") == "先12+7" and rewriter.translate("所以=19", "en") == "so =19"
    assert rewriter.translate("elephant 2*4=8", "zh") == "elephant 2*4=8"  # what it does not know stays
    assert len(CONNECTORS["en"]) == len(CONNECTORS["zh"])


def test_what_is_said_twice_in_a_row_is_said_once():
    assert rewriter.once(["a", "a", "b", "c", "b", "c", "b", "c", "d"]) == ["a", "b", "c", "d"]
    assert rewriter.once(["a", "b", "a"]) == ["a", "b", "a"]  # a step may be taken again later
    assert rewriter.once([]) == []


def test_paragraphs_are_short():
    lines = [f"={n}" for n in range(8)]
    assert rewriter.paragraphs([*lines, "Check:", "5-3"], "en").split("\n\n") == [
        "\n".join(lines[:6]),
        "\n".join(lines[6:]),
        "Check:\n5-3",
    ]


def test_a_thought_as_a_whole():
    thought = "Let me compute.\nFirst 2+3\nso =5\n=5\n=5\n检查:\n5-3\n=2\n对。"
    assert rewriter.rewrite(thought, "zh") == "我来算一下。\n先2+3\n所以=5\n=5\n\n检查:\n5-3\n=2\n对。"


@pytest.mark.parametrize("language", sorted(WORDS))
def test_the_summary_has_the_answer_in_a_box(language):
    assert last_box(rewriter.summary("(1+2)*3", language)) == "(1+2)*3"
