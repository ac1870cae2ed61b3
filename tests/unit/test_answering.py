"""Who writes or judges data, as a recipe says it: refused at once where it can not be, shown whole where it can."""

from __future__ import annotations

import pytest
import yaml

import tiny
from move37.errors import RecipeError
from move37.recipe import parse
from move37.sections.answering import source_of

WRITER = {"base_url": "http://localhost:8000/v1", "model": "writer"}


def stages(by):
    return {"cold": {"stage": "rewrite", "data": "right.jsonl", "by": by}}


@pytest.mark.parametrize(
    ("by", "told"),
    [
        ("script", r"stages.cold.by: give `scripted`, \{base_url, model\} of an endpoint, or \{checkpoint"),
        ({**WRITER, "modl": "x"}, "the source has no option 'modl'; did you mean 'model'"),
        ({"base_url": "http://localhost"}, "model is missing"),
        ({**WRITER, "checkpoint": "teacher"}, "needs either base_url and model"),
    ],
)
def test_what_can_not_be_is_refused(by, told):
    with pytest.raises(RecipeError, match=told):
        tiny.recipe(stages(by), model="bundled")


def test_every_option_shows_and_survives():
    wanted = tiny.recipe(stages(WRITER), model="bundled")
    assert wanted.stages["cold"].by == {
        **WRITER, "key_env": "", "checkpoint": "", "temperature": 0.0, "max_tokens": 1024, "timeout_s": 120.0, "attempts": 6,
        "concurrency": 8,
    }  # fmt: skip
    assert parse(yaml.safe_load(wanted.to_yaml()), "again.yaml") == wanted
    source = source_of(wanted.stages["cold"].by)
    assert source is not None and source.endpoint().model == "writer"
    assert source_of(tiny.recipe(stages("scripted"), model="bundled").stages["cold"].by) is None
