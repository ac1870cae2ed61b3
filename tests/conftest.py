"""Fixtures and options all tests share. Heavy imports happen inside the fixtures: most tests need no model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--remake-golden", action="store_true", help="write tests/golden/*.json anew from this machine")


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`directory("qwen2", tie_word_embeddings=True)`: a small random model directory, made once. Do not write to it."""
    root = tmp_path_factory.mktemp("models")
    made: dict[str, Path] = {}

    def make(kind: str, **changes: object) -> Path:
        import tiny

        key = f"{kind} {sorted(changes.items())}"
        if key not in made:
            made[key] = tiny.save(root / f"{kind}-{len(made)}", kind, **changes)
        return made[key]

    return make
