"""A function fits on a screen, a file can be read in a sitting, a signature can be remembered."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import move37

SOURCE = Path(move37.__file__).parent
REPOSITORY = SOURCE.parents[1]
FILES = sorted([*SOURCE.rglob("*.py"), *(REPOSITORY / "tests").rglob("*.py"), *(REPOSITORY / "docs").rglob("*.py")])
LINES_OF_A_FUNCTION, LINES_OF_A_FILE, PARAMETERS = 80, 500, 8
LINES_OF_AN_ALGORITHM = 60


def _parameters(function):
    given = function.args
    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_sizes(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES_OF_A_FILE, f"{path} has {len(text.splitlines())} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= LINES_OF_A_FUNCTION, f"{path}:{node.lineno}: {node.name} has {lines} lines"
            assert _parameters(node) <= PARAMETERS, (
                f"{path}:{node.lineno}: {node.name} has {_parameters(node)} parameters"
            )


@pytest.mark.parametrize("path", sorted((SOURCE / "algorithms").glob("[!_]*.py")), ids=lambda p: p.name)
def test_an_algorithm_is_short(path):
    if path.name != "base.py":
        assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES_OF_AN_ALGORITHM
