"""Rows of data files as prompts and replies, and what is said of rows that are neither."""

from __future__ import annotations

import json

import pytest

import tiny
from move37.errors import RecipeError, TaskError
from move37.stages import check_data, conversations

PAIR = {"prompt": "1+1?", "response": "2"}
CHAT = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "and 2+2?"},
        {"role": "assistant", "content": "4"},
    ]
}


def file(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def said(turn):
    return [m["content"] for m in turn.messages], turn.response


def test_pairs_and_conversations_may_stand_in_one_file(tmp_path):
    turns = conversations.read("stages.sft.data", file(tmp_path / "a.jsonl", PAIR, CHAT, {**PAIR, "prompt": "3?"}))
    assert [said(t) for t in turns] == [
        (["1+1?"], "2"),
        (["Be brief.", "1+1?"], "2"),
        (["Be brief.", "1+1?", "2", "and 2+2?"], "4"),
        (["3?"], "2"),
    ]
    assert [t.row for t in turns] == [1, 2, 2, 3]
    assert [t.plain for t in turns] == [True, False, False, True]


def test_other_columns_are_told_by_the_recipe(tmp_path):
    path = file(tmp_path / "a.jsonl", {"question": "q", "solution": "s", "messages": "not ours"})
    [turn] = conversations.read("d", path, {"prompt": "question", "response": "solution"})
    assert said(turn) == (["q"], "s")
    path = file(tmp_path / "b.jsonl", {"chat": CHAT["messages"], "prompt": "ignored"})
    assert len(conversations.read("d", path, {"messages": "chat"})) == 2


def test_the_files_of_an_artefact_are_read_in_order(tmp_path):
    file(tmp_path / "part-00002.jsonl", {**PAIR, "prompt": "second"})
    file(tmp_path / "part-00001.jsonl", {**PAIR, "prompt": "first"})
    (tmp_path / "statistics.json").write_text("{}")
    assert [t.key for t in conversations.read("d", tmp_path)] == ["first", "second"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"promt": "q", "response": "r"}, r"row 2: there is no column 'prompt'; did you mean 'promt'\?.*columns:"),
        ({"prompt": "q"}, r"row 2: there is no column 'response'"),
        ({"prompt": "q", "response": " "}, r"row 2: column 'response' holds ' ', not text"),
        ({"prompt": 7, "response": "r"}, r"row 2: column 'prompt' holds 7, not text"),
        ({"messages": "hello"}, r"row 2: column 'messages' holds 'hello', not a list"),
        ({"messages": [{"role": "user"}]}, r"row 2: message 1 of 'messages' needs role and content"),
        ({"messages": [{"role": "asistant", "content": "x"}]}, r"row 2: message 1 has the role 'asistant'; did you mean"),
        ({"messages": [{"role": "user", "content": "x"}]}, r"row 2: there is no assistant's reply"),
        ({"messages": [{"role": "user", "content": None}]}, r"row 2, message 1: column 'content' holds None"),
    ],
)
def test_what_is_wrong_is_named_by_row_and_column(tmp_path, row, told):
    path = file(tmp_path / "a.jsonl", PAIR, row)
    with pytest.raises(TaskError, match=rf"^stages\.sft\.data: .*a\.jsonl, {told}"):
        conversations.read("stages.sft.data", path)


def test_files_that_are_not_there_or_empty(tmp_path):
    with pytest.raises(TaskError, match=r"stages.x.data: .*b.jsonl does not exist; did you mean 'a.jsonl'"):
        file(tmp_path / "a.jsonl")
        conversations.read("stages.x.data", tmp_path / "b.jsonl")
    with pytest.raises(TaskError, match="holds no rows"):
        conversations.read("stages.x.data", tmp_path / "a.jsonl")


def test_data_files_are_read_before_anything_is_spent(tmp_path):
    stages = {"first": {"stage": "rl", "steps": 1}, "sft": {"stage": "sft", "init": "first", "data": "a.jsonl", "epochs": 1}}
    recipe = tiny.recipe(stages, model="bundled")
    file(tmp_path / "a.jsonl", PAIR, {"prompt": "q", "reply": "r"})
    with pytest.raises(TaskError, match=r"stages.sft.data: .*row 2: there is no column 'response'"):
        check_data(recipe, tmp_path, list(recipe.stages))
    assert check_data(recipe, tmp_path, ["first"]) == []
    file(tmp_path / "a.jsonl", PAIR)
    assert check_data(recipe, tmp_path, ["sft"]) == [f"stages.sft.data: 1 rows in {tmp_path / 'a.jsonl'}"]


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"data": "made"}, "stages.sft.data='made' is no earlier stage that makes data; no earlier stage makes any"),
        ({"data": "sft"}, "is no earlier stage that makes data"),
        ({"data": "a.jsonl", "init": "before"}, "stages.sft.init='before' is no earlier training stage"),
        ({"data": "a.jsonl", "columns": {"question": "q"}}, "columns"),
        ({"data": "a.jsonl", "columns": {"messages": "m", "prompt": "p"}}, "not both"),
    ],
)
def test_what_a_recipe_can_get_wrong_about_data(section, told):
    stages = {"before": {"stage": "evaluate"}, "sft": {"stage": "sft", "epochs": 1, **section}}
    with pytest.raises(RecipeError, match=told):
        tiny.recipe(stages, model="bundled")


def test_rejection_sampling_says_what_it_can_not_do():
    def parse(**section):
        return tiny.recipe({"kept": {"stage": "rejection_sample", "prompts": 4, **section}}, model="bundled")

    filters = parse(filters={"format": {"least": 1.0}, "mine.py:polite": 0.5}).stages["kept"].filters
    assert filters["format"]["least"] == 1.0 and filters["mine.py:polite"]["least"] == 0.5
    with pytest.raises(RecipeError, match="did you mean 'format'"):
        parse(filters={"formt": 1.0})
    with pytest.raises(RecipeError, match="leaves nothing for what is accepted"):
        parse(mix={"a.jsonl": 0.5, "b.jsonl": 0.5})
