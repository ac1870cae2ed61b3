"""The command line: exit codes, messages on standard error, and that commands reach what they should."""

from __future__ import annotations

import sys
import types

import pytest
from typer.testing import CliRunner

import fabricate
import move37
from move37 import trial
from move37.cli import app
from move37.errors import Interrupted, NoSignal, RecipeError, TaskError, UserError
from move37.recipe import load
from move37.runs import Run, is_run
from move37.sections import FamilyTask, FileTask, GymTask

RECIPE = """
name: tiny
model: bundled
template: r1_zero
tasks: {chain: {family: chain}}
stages:
  rl: {stage: rl, steps: 3}
  after: {stage: evaluate, init: rl, problems: 7, max_new_tokens: 99}
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def stages(monkeypatch):
    """The stages package replaced, so that nothing trains."""
    fake = types.ModuleType("move37.stages")
    fake.calls = []
    fake.run_recipe = lambda recipe, run, display, names: fake.calls.append((recipe, names))
    fake.check_tasks = lambda recipe, base: [{"task": "chain", "ok": True}]
    fake.check_data = lambda recipe, base, names: []
    fake.check_model = lambda recipe, base: [{"task": "chain", "pass@16": 0.6, "ok": True}]
    monkeypatch.setitem(sys.modules, "move37.stages", fake)
    monkeypatch.setattr(move37, "stages", fake, raising=False)
    return fake


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_help_and_version():
    for command in ([], ["run"], ["check"], ["eval"], ["samples"], ["report"], ["lineage"], ["ls"], ["doctor"]):
        assert call(*command, "--help").exit_code == 0
    assert call("--version").output.strip() == f"move37 {move37.__version__}"


def test_a_dry_run_shows_the_sizes_and_runs_nothing(recipe, tmp_path, stages):
    result = call("run", recipe, "rl.steps=5", "--dry-run", "--runs", tmp_path / "runs")
    assert result.exit_code == 0
    assert "16 prompts x 16 = 256 responses" in result.output and "steps: 5" in result.output
    assert not (tmp_path / "runs").exists() and not stages.calls


def test_a_run_leaves_recipe_summary_and_report(recipe, tmp_path, stages):
    result = call("run", recipe, "rl.steps=5", "--runs", tmp_path / "runs")
    assert result.exit_code == 0, result.stderr
    path = tmp_path / "runs" / "tiny"
    assert is_run(path) and (path / "summary.json").exists() and (path / "report.html").exists()
    assert stages.calls[0][0].stages["rl"].steps == 5
    assert stages.calls[0][1] == ["rl", "after"]
    assert Run.open(path).lineage["overrides"] == ["rl.steps=5"]
    assert Run.open(path).base == tmp_path


def test_an_existing_run_is_exit_code_2_with_the_ways_out(recipe, tmp_path, stages):
    call("run", recipe, "--runs", tmp_path)
    result = call("run", recipe, "--runs", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ") and "--resume" in result.stderr and "Traceback" not in result.stderr
    assert call("run", recipe, "--runs", tmp_path, "--new").exit_code == 0
    assert call("run", recipe, "--runs", tmp_path, "--resume").exit_code == 0
    assert call("run", recipe, "--runs", tmp_path, "--force").exit_code == 0


def test_stages_can_be_named(recipe, tmp_path, stages):
    assert call("run", recipe, "--only", "rl", "--runs", tmp_path).exit_code == 0
    assert call("run", recipe, "--from", "rl", "--runs", tmp_path).exit_code == 0  # the run is there: it goes on
    assert [names for _, names in stages.calls] == [["rl"], ["rl", "after"]]
    result = call("run", recipe, "--only", "aftr", "--runs", tmp_path)
    assert result.exit_code == 2 and "did you mean 'after'?" in result.stderr


def test_a_changed_key_is_refused_until_it_may_be_made_again(recipe, tmp_path, stages):
    call("run", recipe, "--runs", tmp_path)
    with Run.create(tmp_path, load(recipe), "resume") as run:
        fabricate.checkpoint(fabricate.begin(run, "rl"), b"weights", 3)
    result = call("run", recipe, "rl.steps=4", "--resume", "--runs", tmp_path)
    assert result.exit_code == 2 and "stages.rl.steps: 3 -> 4" in result.stderr and "--remake" in result.stderr
    result = call("run", recipe, "rl.steps=4", "--remake", "--runs", tmp_path)
    assert result.exit_code == 0 and "rl: to be made again" in result.output
    assert not (tmp_path / "tiny/stages/rl/final").exists()


def test_the_lineage_is_a_tree(tmp_path):
    result = call("lineage", fabricate.run(tmp_path))
    assert result.exit_code == 0, result.output
    order = [line.split("(")[0].strip(" │├└─") for line in result.output.splitlines()]
    assert [name for name in order if name in {"before", "rl", "after"}] == ["before", "rl", "after"]
    assert result.output.index("after (") > result.output.index("rl (")


def test_modes_exclude_each_other(recipe, tmp_path, stages):
    result = call("run", recipe, "--new", "--force", "--runs", tmp_path)
    assert result.exit_code == 2 and "--new and --force" in result.stderr


def test_a_wrong_key_is_exit_code_2(recipe):
    result = call("run", recipe, "rl.stepz=5")
    assert result.exit_code == 2 and "'steps'" in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (NoSignal("10 steps without signal"), 3, "10 steps without signal"),
        (Interrupted("interrupted: step 2 is saved. Go on with: move37 run x --resume"), 130, "--resume"),
        (KeyboardInterrupt(), 130, "--resume"),
    ],
)
def test_errors_of_a_run_give_one_message(recipe, tmp_path, stages, error, code, said):
    def fail(*_):
        raise error

    stages.run_recipe = fail
    result = call("run", recipe, "--runs", tmp_path)
    assert result.exit_code == code
    assert said in result.stderr and "Traceback" not in result.stderr


def test_our_own_mistake_leaves_a_traceback_in_the_run(recipe, tmp_path, stages):
    def fail(*_):
        return {}["missing"]

    stages.run_recipe = fail
    result = call("run", recipe, "--runs", tmp_path)
    assert result.exit_code == 1
    assert "KeyError" in result.stderr and "Traceback (most" not in result.stderr and "--resume" in result.stderr
    assert "Traceback (most recent call last)" in (tmp_path / "tiny" / "crash.txt").read_text()


def test_check_fails_where_a_record_does(recipe, stages):
    assert call("check", recipe).exit_code == 0
    stages.check_model = lambda recipe, base: [{"task": "chain", "verdict": "no signal", "ok": False}]
    assert call("check", recipe).exit_code == 1
    assert call("check", recipe, "--no-model").exit_code == 0


def test_reading_commands_on_a_run(tmp_path):
    path = fabricate.run(tmp_path, steps=10)
    assert "made_up" in call("ls", tmp_path).output
    assert call("samples", path, "--verdict", "right", "--reward", "1..", "-n", "2").output.count("gold") == 2
    assert call("samples", path, "--reward", "7..").output.strip() == "no response is like that"
    assert call("samples", path, "--reward", "many").exit_code == 2
    assert call("report", path).exit_code == 0 and (path / "report.html").exists()
    assert call("report", path, "--picture", tmp_path / "c.svg").exit_code == 0 and (tmp_path / "c.svg").exists()
    assert call("samples", tmp_path / "none").exit_code == 2


def test_doctor_always_answers():
    result = call("doctor")
    assert result.exit_code == 0
    for wanted in ("CPU", "memory", "PyTorch", "bundled model", "extra datasets"):
        assert wanted in result.output


# ---------------------------------------------------------------------------------------------------------------- eval


def test_a_recipe_given_as_task_brings_its_settings(recipe, tmp_path):
    made = trial.build(tmp_path, [str(recipe)], {"samples": 4, "problems": None, "template": None})
    stage = made.stages["eval"]
    assert (stage.samples, stage.problems, stage.max_new_tokens) == (4, 7, 99)
    assert made.template == "r1_zero" and made.model == str(tmp_path)


def test_tasks_may_be_named_in_every_way(tmp_path):
    file = tmp_path / "quiz.jsonl"
    file.write_text('{"question": "2 + 2?", "answer": "4"}\n')
    made = trial.build(tmp_path, ["chain", "leg_counting", f"gsm8k:{file}"], {})
    kinds = {name: type(task) for name, task in made.tasks.items()}
    assert kinds == {"chain": FamilyTask, "leg_counting": GymTask, "quiz": FileTask}
    assert made.tasks["quiz"].held_out == 1.0 and made.tasks["quiz"].layout == "gsm8k"


def test_unknown_tasks_and_models_are_named(tmp_path):
    with pytest.raises(TaskError, match="leg_counting"):
        trial.build(tmp_path, ["leg_countin"], {})
    with pytest.raises(TaskError, match="no such file"):
        trial.build(tmp_path, ["quiz.jsonl"], {})
    with pytest.raises(RecipeError, match="samples"):
        trial.build(tmp_path, ["chain"], {"samples": 0})
    with pytest.raises(UserError, match="no such directory"):
        trial.model_of(tmp_path / "nothing")


def test_a_run_stands_for_its_last_model(tmp_path):
    with Run.create(tmp_path, fabricate.recipe()) as run:
        with pytest.raises(UserError, match="no model yet"):
            trial.model_of(run.path)
        (run.log("rl").checkpoints / "step-000010").mkdir(parents=True)
        (run.log("rl").checkpoints / "step-000020").mkdir()
        assert trial.model_of(run.path).name == "step-000020"
        run.log("rl").final.mkdir()
        assert trial.model_of(run.path).name == "final"


@pytest.mark.parametrize("command", ["judge", "probe"])
def test_an_argument_that_is_missing_is_told(command):
    result = CliRunner().invoke(app, [command])
    assert result.exit_code == 2 and "Missing argument" in result.stderr
