"""Imports point one way, and what must be quick imports no torch."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import move37

SOURCE = Path(move37.__file__).parent
# From the ground up. A module may import from rows above its own, and from its own package.
LAYERS = (
    ("errors", "machine", "templates", "asked"),
    ("__init__", "files", "types", "native", "options", "streams", "sandbox"),
    ("endpoint", "suites"),
    ("rewards",),
    ("tasks", "algorithms", "grading", "cases"),
    ("shards", "sections"),
    ("recipe",),
    ("runs", "world"),
    ("graph",),
    ("models",),
    ("rollout", "learner", "checkpoint"),
    ("report",),
    ("stages",),
    ("serve", "trial", "doctor", "terminal"),
    ("measure",),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}
LIGHT = {"trial", "doctor", "terminal", "measure", "cli", "report"}
FREE_OF_TORCH = ({name for row in LAYERS[:9] for name in row} | LIGHT) - {"world"}
HEAVY = {"torch", "transformers", "accelerate"}


def _modules():
    return sorted(SOURCE.rglob("*.py"))


def _name(path):
    part = path.relative_to(SOURCE).parts[0]
    return part.removesuffix(".py")


def _imports(path):
    """(module, line) of every import in a file, inside functions too; `from move37 import x` counts as move37.x."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            if node.module == "move37":
                yield from ((f"move37.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_one_way(path):
    own = _name(path)
    assert own in RANK, f"{path.name} has no layer; give it one in LAYERS and in docs/concepts.md"
    for module, line in _imports(path):
        if module.startswith("move37."):
            other = module.split(".")[1]
            other = other if other in RANK else "__init__"  # from move37 import __version__
            assert other == own or RANK[other] < RANK[own], f"{path}:{line}: {own} must not import {other}"


@pytest.mark.parametrize("path", [p for p in _modules() if _name(p) in FREE_OF_TORCH], ids=lambda p: p.name)
def test_no_torch_below_the_models(path):
    for module, line in _imports(path):
        assert module.split(".")[0] not in HEAVY, f"{path}:{line}: no {module} here"


def _loaded(program):
    """Which heavy packages a fresh interpreter has loaded after a program."""
    check = f"{program}\nimport sys\nprint(' '.join(sorted({{m.split('.')[0] for m in sys.modules}})))"
    path = os.pathsep.join([str(SOURCE.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", check],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["recipe", "runs", "graph", "tasks", "algorithms", "rewards", "report.page", "trial", "doctor", "measure"]
)
def test_importing_it_loads_no_torch(module):
    assert not _loaded(f"import move37.{module}") & HEAVY


def test_help_loads_next_to_nothing():
    program = "from typer.testing import CliRunner\nfrom move37.cli import app\nCliRunner().invoke(app, ['--help'])"
    assert not _loaded(program) & (
        HEAVY | {"pyarrow", "reasoning_gym", "matplotlib", "pydantic", "math_verify", "numpy"}
    )
