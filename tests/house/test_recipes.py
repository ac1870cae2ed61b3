"""Every recipe that ships parses, and so does what it prints."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from move37 import recipe

RECIPES = Path(__file__).parents[2] / "recipes"
FILES = sorted(RECIPES.rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(RECIPES)))
def test_a_recipe_parses_and_its_resolved_form_is_the_same(path):
    loaded = recipe.load(path)
    assert recipe.parse(yaml.safe_load(loaded.to_yaml()), "resolved") == loaded
    assert path.read_text(encoding="utf-8").lstrip().startswith("#"), (
        "a recipe begins with a comment that says what it does"
    )
