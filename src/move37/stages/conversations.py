"""Data sets of text for the stages that learn from it: rows of a file, or of an artefact, to prompts and responses.

A row has `prompt` and `response`, or `messages` (a list of {role, content}, as chat APIs have them). Other names are told
by the stage's `columns`. A conversation of several rounds is one turn per reply: what was said before is its prompt, as it
will be when the model is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from move37.errors import TaskError, nearest
from move37.tasks.files import read_rows

Message = Mapping[str, str]
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Turn:
    """A prompt and the reply to learn."""

    messages: tuple[Message, ...]  # what was said before, a user's message last
    response: str
    row: int  # in its file, from 1

    @property
    def plain(self) -> bool:
        """Whether it is one question and its reply."""
        return len(self.messages) == 1

    @property
    def key(self) -> str:
        """What all replies to one prompt share."""
        return "\n".join(m["content"] for m in self.messages)


def read(where: str, path: Path, columns: Mapping[str, str] | None = None) -> list[Turn]:
    """All turns of a data set, in its order.

    Args:
        where: the recipe's key, for errors, such as `stages.sft.data`.
        path: a file of any known format, a directory saved by `datasets`, or the directory of a data artefact.
        columns: what the file calls prompt, response or messages.

    Raises:
        TaskError: naming the file, the row, the column, and the nearest one that is there.
    """
    turns: list[Turn] = []
    for number, row in enumerate(rows(where, path, columns), 1):
        turns += _turns(messages(row), number)
    return turns


def rows(where: str, path: Path, columns: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """The rows of a data set, checked, under the usual names: `messages`, or `prompt` and `response`; and what else they have.

    Raises:
        TaskError: as `read` does.
    """
    parts = sorted(path.glob("*.jsonl")) if path.is_dir() else []
    found = [row for part in parts for row in read_rows(where, part)] if parts else read_rows(where, path)
    if not found:
        raise TaskError(f"{where}: {path} holds no rows; is it the right file, and complete?")
    return [_row(f"{where}: {path}, row {number}", row, columns or {}) for number, row in enumerate(found, 1)]


def messages(row: Mapping[str, Any]) -> list[Message]:
    """A row as a conversation."""
    if "messages" in row:
        return row["messages"]
    return [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}]


def _row(at: str, row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Conversation or pair: what the recipe names, else what the row has."""
    chat = "messages" in columns or (not columns and "messages" in row)
    names = {key: columns.get(key, key) for key in (("messages",) if chat else ("prompt", "response"))}
    for name in names.values():
        if name not in row:
            raise TaskError(
                f"{at}: there is no column {name!r}; {nearest(name, row)}. Rows need prompt and response, or messages; "
                "other names are told by columns, such as columns: {prompt: question, response: solution}"
            )
    taken = {*names.values(), "prompt", "response", "messages"}
    rest = {key: value for key, value in row.items() if key not in taken}
    if chat:
        return {**rest, "messages": _conversation(at, row, names["messages"])}
    return {**rest, **{key: _text(at, row, name) for key, name in names.items()}}


def _text(at: str, row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise TaskError(f"{at}: column {name!r} holds {value!r:.40}, not text; fill it in or remove the row")
    return value


def _conversation(at: str, row: Mapping[str, Any], name: str) -> list[Message]:
    """Checked: known roles, text, and a reply somewhere after a user's message."""
    value = row.get(name)
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise TaskError(f"{at}: column {name!r} holds {value!r:.40}, not a list of messages")
    for number, message in enumerate(value, 1):
        if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
            raise TaskError(f"{at}: message {number} of {name!r} needs role and content, it is {message!r:.60}")
        if message["role"] not in ROLES:
            raise TaskError(f"{at}: message {number} has the role {message['role']!r}; {nearest(str(message['role']), ROLES)}")
        _text(f"{at}, message {number}", message, "content")
    told = [{"role": m["role"], "content": m["content"]} for m in value]
    if not _turns(told, 0):
        raise TaskError(f"{at}: there is no assistant's reply to a user in {name!r}")
    return told


def _turns(told: Sequence[Message], row: int) -> list[Turn]:
    """One turn per reply that follows a user's message."""
    return [
        Turn(tuple(told[:place]), message["content"], row)
        for place, message in enumerate(told)
        if message["role"] == "assistant" and place and told[place - 1]["role"] == "user"
    ]
