"""Questions to prompt tokens: the R1-Zero template, a template file, or the model's own chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from move37.errors import ModelError, RecipeError
from move37.templates import R1_ZERO, THINK

SLOT = "{question}"


@dataclass(frozen=True, slots=True)
class Prompter:
    """Turns questions into token ids. `prefill` is what the prompt already says of the response, such as "<think>"."""

    tokenizer: PreTrainedTokenizerFast
    template: str | None  # text with a {question} slot; None: the tokenizer's chat template
    prefill: str
    opening: str = ""  # of the response, beyond what the template has: see `opened`

    @classmethod
    def build(cls, tokenizer: PreTrainedTokenizerFast, template: str | None, base: Path) -> Prompter:
        """Raises RecipeError for a template without slot, ModelError where a model has no chat template and no EOS."""
        if tokenizer.eos_token_id is None:
            raise ModelError(
                "the tokenizer has no EOS token, so no response could ever end; set eos_token in tokenizer_config.json"
            )
        text: str | None = None
        if template == "r1_zero":
            text = R1_ZERO
        elif template in (None, "chat"):
            if not tokenizer.chat_template:
                raise ModelError(
                    "the tokenizer has no chat template; name one in the recipe: `template: r1_zero` or a template file"
                )
        else:
            text = _read(base / template)
        return cls.of(tokenizer, text)

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast, template: str | None) -> Prompter:
        """Of a template's text, or of the tokenizer's chat template."""
        prompter = cls(tokenizer, template, "")
        tail = prompter.render("?")[-40:].rstrip()
        return cls(tokenizer, template, THINK if tail.endswith(THINK) else "")

    def render(self, question: str) -> str:
        """The prompt as text."""
        if self.template is not None:
            return self.template.replace(SLOT, question) + self.opening
        message = [{"role": "user", "content": question}]
        return self.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True) + self.opening

    def opened(self, opening: str) -> Prompter:
        """One whose responses all begin with this text, which the prompt has already: `<answer>` leaves no room for a thought."""
        return replace(self, prefill=self.prefill + opening, opening=opening)

    def encode_messages(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The prompt after several messages, the last a user's. A template with one slot has room for one."""
        return self.encode_text(self.render_messages(messages))

    def render_messages(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The same as text."""
        if self.template is not None or len(messages) == 1:
            [message] = messages
            return self.render(message["content"])
        return self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)

    def encode(self, question: str) -> list[int]:
        """The prompt as token ids."""
        return self.encode_text(self.render(question))

    def encode_text(self, text: str) -> list[int]:
        """A rendered prompt as token ids. A chat template brings its own special tokens; plain text gets the tokenizer's."""
        return self.tokenizer.encode(text, add_special_tokens=self.template is not None)

    def after_prefill(self, response: str) -> str:
        """A response without what the template has written of it already."""
        return response.lstrip().removeprefix(self.prefill) if self.prefill else response


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as problem:
        raise RecipeError(f"template {path}: {problem.strerror}; use r1_zero, chat, or a file with a {SLOT} slot") from None
    except UnicodeDecodeError as problem:
        raise RecipeError(f"template {path} is no UTF-8 text: {problem}") from None
    if SLOT not in text:
        raise RecipeError(f"template {path} has no {SLOT} slot")
    return text
