"""From questions to prompts: templates, what they prefill, and models that can not be asked."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

import tiny
from move37.errors import ModelError, RecipeError
from move37.rollout.prompt import Prompter
from move37.templates import R1_ZERO


def template(tmp_path: Path, text: str) -> Prompter:
    (tmp_path / "prompt.txt").write_text(text, encoding="utf-8")
    return Prompter.build(tiny.tokenizer(), "prompt.txt", tmp_path)


def other(**changes: object):
    words = copy.deepcopy(tiny.tokenizer())
    for name, value in changes.items():
        setattr(words, name, value)
    return words


def test_the_template_of_r1_zero(tmp_path: Path) -> None:
    prompter = Prompter.build(tiny.tokenizer(), "r1_zero", tmp_path)
    text = prompter.render("What is {1}+1?")
    assert text == R1_ZERO.replace("{question}", "What is {1}+1?")  # braces of the question are left alone
    assert tiny.tokenizer().decode(prompter.encode("2+2?")) == prompter.render("2+2?")
    assert prompter.prefill == ""


def test_the_models_own_chat_template_is_the_default(tmp_path: Path) -> None:
    for name in (None, "chat"):
        assert Prompter.build(tiny.tokenizer(), name, tmp_path).render("2+2?") == R1_ZERO.format(question="2+2?")


@pytest.mark.parametrize(
    ("text", "prefill"),
    [
        ("{question}\n<think>", "<think>"),
        ("{question}\nAssistant: <think>\n", "<think>"),
        ("Use <think> tags. {question}", ""),
        ("{question}</think>", ""),
    ],
)
def test_a_prefilled_thought_is_seen(tmp_path: Path, text: str, prefill: str) -> None:
    assert template(tmp_path, text).prefill == prefill


def test_a_thought_prefilled_by_a_chat_template_is_seen(tmp_path: Path) -> None:
    words = other(
        chat_template="{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
    )
    prompter = Prompter.build(words, None, tmp_path)
    assert prompter.prefill == "<think>"
    assert prompter.render("2+2?") == "<|user|>2+2?<|assistant|><think>\n"


def test_a_model_without_chat_template(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no chat template"):
        Prompter.build(other(chat_template=None), None, tmp_path)
    assert Prompter.build(other(chat_template=None), "r1_zero", tmp_path).prefill == ""


def test_a_model_without_end_of_sequence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no EOS"):
        Prompter.build(other(eos_token=None), "r1_zero", tmp_path)


def test_a_template_without_a_slot(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"prompt\.txt has no \{question\} slot"):
        template(tmp_path, "Question: {problem}")


def test_a_template_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"elsewhere\.txt"):
        Prompter.build(tiny.tokenizer(), "elsewhere.txt", tmp_path)
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe{question}")
    with pytest.raises(RecipeError, match=r"bytes\.txt.*UTF-8"):
        Prompter.build(tiny.tokenizer(), "bytes.txt", tmp_path)
