"""What the documents say is true: links resolve, quoted commands parse, quoted code runs."""

from __future__ import annotations

import importlib.util
import math
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

from move37 import recipe, sections
from move37.cli import app
from move37.options import build
from move37.rewards import resolve
from move37.tasks import load
from move37.tasks.check import check
from move37.tasks.family import FamilyProblems
from move37.types import Group, Problem, Rollout, Stop, Verdict

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
IDS = [str(p.relative_to(ROOT)) for p in PAGES]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
QUOTED = re.compile(r"`(move37 [^`]+)`")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _text(path):
    return path.read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------------- links


def _anchor(heading):
    """As forges make them: lower case, without punctuation, a hyphen for each space."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_relative_links_resolve(page):
    prose = FENCE.sub("", _text(page))
    for target in LINK.findall(prose):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), f"{page.name}: the link {target} leads nowhere"
        if anchor:
            headings = [_anchor(line.lstrip("#")) for line in _text(path).splitlines() if line.startswith("#")]
            assert anchor in headings, f"{page.name}: no heading of {path.name} is #{anchor}"


# ---------------------------------------------------------------------------------------------------- commands


def _commands(page):
    """Every `move37 ...` of a page: in backquotes, and the lines of fenced blocks (continued lines joined)."""
    text = _text(page)
    yield from QUOTED.findall(FENCE.sub("", text))
    for language, block in FENCE.findall(text):
        if language in ("", "sh", "bash", "console"):
            for line in block.replace("\\\n", " ").splitlines():
                line = re.sub(r"^\$ ", "", line.strip()).removeprefix(".venv/bin/")
                if line.startswith("move37 "):
                    yield line


COMMANDS = sorted({(page.name, line) for page in PAGES for line in _commands(page)})


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_quoted_command_parses(page, line):
    """Subcommand and options exist; a recipe of ours exists and takes the overrides. `...` is for left-out words."""
    words = [word for word in shlex.split(line, comments=True)[1:] if word != "..."]
    group = typer.main.get_command(app)
    if words in (["--help"], ["--version"]):
        return
    name, _, arguments = group.resolve_command(group.make_context("move37", [], resilient_parsing=True), words)
    command = group.commands[name]
    needed = [p for p in command.params if p.param_type_name == "argument" and p.required]
    given = [word for word in arguments if not word.startswith("-")]
    if len(given) >= len(needed):  # `move37 check` in a sentence names the command alone
        context = command.make_context(name, list(arguments))
        file = Path(str(context.params.get("recipe") or ""))
        if file.parts[:1] == ("recipes",):
            assert (ROOT / file).is_file(), f"{page}: {file} is not there"
            recipe.load(ROOT / file, context.params["overrides"] or [])


def test_there_are_commands_to_look_at():
    assert {"README.md", "recipe.md"} <= {page for page, _ in COMMANDS}


# ------------------------------------------------------------------------------------- names of tests and functions


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_named_tests_and_files_exist(page):
    for name, test in re.findall(r"`((?:tests|recipes|docs)/[\w/.-]+\.(?:py|yaml|md))(?:::(\w+))?`", _text(page)):
        assert (ROOT / name).is_file(), f"{page.name}: there is no {name}"
        assert not test or f"def {test}(" in _text(ROOT / name), f"{page.name}: {name} has no {test}"


def test_the_files_of_a_step_have_its_functions():
    section = _text(ROOT / "docs" / "concepts.md").split("## One RL step")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([\w/]+\.py)` \| `(\w+)` \|", section, re.MULTILINE)
    assert 1 < len(rows) <= 8
    for name, function in rows:
        assert f"def {function}(" in _text(ROOT / "src" / "move37" / name), f"{name} has no {function}"


# --------------------------------------------------------------------------------- code of CONTRIBUTING.md


def _files(page):
    """Fenced blocks that begin with the name of a file: `# path`, perhaps with a colon and a remark."""
    found = {}
    for _, block in FENCE.findall(_text(ROOT / page)):
        first = re.match(r"# ([\w./-]+\.\w+)", block)
        if first:
            found.setdefault(first[1], block)
    return found


def _module(directory, name, code):
    path = directory / f"{name}.py"
    path.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _rollout(text, reward=math.nan):
    one = np.zeros(2, np.float32)
    return Rollout(
        problem="p", task="t", sample=0, token_ids=np.array([1, 2], np.int32), sampled=np.array([False, True]),
        logprobs=one, sampling_logprobs=one, text=text, stop=Stop.EOS, version=0, reward=reward, verdict=Verdict.WRONG,
    )  # fmt: skip


def _problem(**meta):
    return Problem(id="p", task="t", question="?", answer="3", meta=meta)


CONTRIBUTING = _files("CONTRIBUTING.md")


def test_examples_are_short():
    assert len(CONTRIBUTING) == 5
    for name, code in CONTRIBUTING.items():
        assert len(code.splitlines()) < 60, name
        compile(code, name, "exec")
        assert max(map(len, code.splitlines())) <= 120, name


def test_the_family_of_contributing(tmp_path):
    module = _module(tmp_path, "gcd_example", CONTRIBUTING["src/move37/tasks/families/gcd.py"])
    task = FamilyProblems("gcd", module.Gcd(largest=30), {"en": 1.0}, seed=0, weight=1.0, held_out=0.1)
    assert check({"gcd": task}, n=5).ok


def test_the_reward_of_contributing(tmp_path):
    module = _module(tmp_path, "brief_example", CONTRIBUTING["src/move37/rewards/brief.py"])
    reward = build("reward", {"brief": module.Brief}, "brief", {"words": 4})
    texts = ("so it is", "so it is then five", " ".join(["so"] * 8), "")
    scores = reward.scores([(_rollout(text), _problem()) for text in texts])
    assert [s.value for s in scores[:3]] == [1.0, 0.75, 0.0] and math.isnan(scores[3].value)


def test_the_algorithm_of_contributing(tmp_path):
    """Groups (1, 0) and (0, 0): gaps 1/2, -1/2, 0, 0; their std is sqrt(1/8), so the advantages are +-sqrt(2), 0, 0."""
    module = _module(tmp_path, "reinforce_pp_example", CONTRIBUTING["src/move37/algorithms/reinforce_pp.py"])
    algorithm = module.ReinforcePP()
    groups = [Group(problem=_problem(), rollouts=[_rollout("", r) for r in rewards]) for rewards in ((1, 0), (0, 0))]
    credits = algorithm.credit(groups, max_tokens=10)
    assert [c.advantage for c in credits] == pytest.approx([math.sqrt(2), -math.sqrt(2), 0, 0])
    assert algorithm.credit([], 10) == [] and algorithm.loss(10, 1.0).normalise == "token"


def test_the_stage_of_contributing(tmp_path, monkeypatch):
    schema = _module(tmp_path, "likelihood_section", CONTRIBUTING["src/move37/sections/likelihood.py"])
    monkeypatch.setattr(sections, "Likelihood", schema.Likelihood, raising=False)
    module = _module(tmp_path, "likelihood_example", CONTRIBUTING["src/move37/stages/likelihood.py"])
    import tiny
    from move37.models import folder
    from move37.report.live import Live
    from move37.runs import Run
    from move37.stages.context import Context, Device, Interrupt

    folder.save(tiny.loaded(), tmp_path / "model")
    model = {"model": str(tmp_path / "model"), "template": "r1_zero"}
    rest = {"tasks": {"sums": {"family": "chain"}}, "stages": {"gold": {"stage": "evaluate"}}}
    loaded = recipe.parse({"name": "x", **model, **rest}, "test")
    with Run.create(tmp_path / "runs", loaded) as run:
        context = Context(
            recipe=loaded,
            run=run,
            display=Live(plain=True),
            tasks={name: load(name, section, 0, tmp_path) for name, section in loaded.tasks.items()},
            device=Device.choose(loaded.hardware),
            interrupt=Interrupt(),
        )
        stage = module.Likelihoods(context, "gold", sections.Likelihood(stage="likelihood", problems=2))
        stage.run()
        [row] = run.log("gold").metrics()
    assert "2 held-out problems" in stage.sentence()
    assert row["task"] == "sums" and row["nats_per_token"] > 1  # a random model knows nothing


# --------------------------------------------------------------------------------------- the README's own checker


def test_the_checker_of_the_readme(tmp_path):
    """Its shell lines make three files; the recipe loads, the golds verify, the reward says what it should."""
    [block] = [block for _, block in FENCE.findall(_text(ROOT / "README.md")) if block.startswith("mkdir -p mine")]
    subprocess.run(["sh", "-ec", block], cwd=tmp_path, check=True)
    loaded = recipe.load(tmp_path / "mine" / "recipe.yaml")
    [(name, section)] = loaded.tasks.items()
    task = load(name, section, loaded.seed, tmp_path / "mine")
    assert check({name: task}, n=3).ok
    assert len(task.held_out_problems(loaded.stages["before"].problems)) == loaded.stages["before"].problems
    [source] = [key for key in loaded.stages["rl"].rewards if ":" in key]
    reward = resolve(source, tmp_path / "mine")
    assert reward.scope == "answer"
    gold = Problem(id="p", task=name, question="?", answer="2024-03-07")
    scores = [reward.function(_rollout(text), gold) for text in ("2024-03-07", "2024-04-07", "7 March 2024", "")]
    assert [s.value for s in scores] == pytest.approx([1.0, 2 / 3, 0.0, 0.0])
