"""Run directories: creation modes, locks, atomic writes, torn files, rollouts as written and read."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shlex
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import fabricate
from move37 import files, shards
from move37.errors import RecipeError, RunBusy, RunError, UserError
from move37.runs import Run, deterministic, is_run, list_runs
from move37.types import Group, Problem, Score, Stop, Verdict


@pytest.fixture
def made(tmp_path):
    with Run.create(tmp_path, fabricate.recipe()) as run:
        yield run


def test_a_new_run_holds_recipe_and_lineage(made):
    assert yaml.safe_load((made.path / "recipe.yaml").read_text())["stages"]["rl"]["steps"] == 40
    assert made.lineage["seed"] == 0
    assert made.lineage["versions"]["numpy"] == np.__version__
    assert Run.open(made.path).recipe == made.recipe


def test_the_command_that_goes_on_can_be_pasted(tmp_path):
    """A shell must take a path with a space, and an override with braces, as one word each."""
    runs, override = tmp_path / "my runs", "rl.partial={new_tokens: 8}"
    with Run.create(runs, fabricate.recipe(), overrides=[override], choice=["--only", "rl"]) as run:
        words = shlex.split(run.resume_command())
    assert words[:2] == ["move37", "run"] and words[-3:] == ["--resume", "--only", "rl"]
    assert override in words and words[words.index("--runs") + 1] == str(runs)


def test_an_existing_run_needs_a_mode(tmp_path):
    Run.create(tmp_path, fabricate.recipe()).close()
    with pytest.raises(UserError, match=r"--resume.*--new.*--force"):
        Run.create(tmp_path, fabricate.recipe())


def test_new_takes_the_next_free_name(tmp_path):
    names = []
    for _ in range(3):
        with Run.create(tmp_path, fabricate.recipe(), "new") as run:
            names.append(run.path.name)
    assert names == ["made_up", "made_up-2", "made_up-3"]


def test_force_deletes_a_run(tmp_path):
    with Run.create(tmp_path, fabricate.recipe()) as run:
        run.log("rl").record(1, {"reward": 1.0})
    with Run.create(tmp_path, fabricate.recipe(seed=5), "force") as run:
        assert run.log("rl").metrics() == []
        assert Run.open(run.path).recipe.seed == 5


def test_force_does_not_follow_links(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    with Run.create(tmp_path / "runs", fabricate.recipe()) as run:
        (run.path / "link").symlink_to(precious)
    Run.create(tmp_path / "runs", fabricate.recipe(), "force").close()
    assert (precious / "file").read_text() == "x"


@pytest.mark.parametrize("mode", [None, "force", "resume"])
def test_what_is_no_run_is_left_alone(tmp_path, mode):
    (tmp_path / "made_up").mkdir()
    (tmp_path / "made_up" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError):
        Run.create(tmp_path, fabricate.recipe(), mode)
    assert (tmp_path / "made_up" / "thesis.tex").exists()


def test_a_run_killed_before_its_recipe_was_written_is_no_obstacle(tmp_path):
    (tmp_path / "made_up").mkdir()
    (tmp_path / "made_up" / "run.lock").write_text("process 1\n")
    with Run.create(tmp_path, fabricate.recipe()) as run:
        assert is_run(run.path)


def test_resume_goes_on_where_it_was(tmp_path):
    with Run.create(tmp_path, fabricate.recipe()) as run:
        run.log("rl").record(1, {"reward": 0.5})
    with Run.create(tmp_path, fabricate.recipe(), "resume") as run:
        assert run.changes() == []
        run.adopt()
        assert len(run.lineage["resumed"]) == 1
        assert run.log("rl").metrics() == [{"step": 1, "reward": 0.5}]


def test_resume_with_another_recipe_adopts_it(tmp_path):
    Run.create(tmp_path, fabricate.recipe()).close()
    with Run.create(tmp_path, fabricate.recipe(steps=50), "resume", tmp_path / "moved.yaml", ["rl.steps=50"]) as run:
        assert run.base == tmp_path  # files are looked for beside the recipe at hand, before it is adopted
        assert run.changes() == ["stages.rl.steps: 40 -> 50"]
        run.adopt()
        assert run.lineage["resumed"][0]["changed"] == ["stages.rl.steps: 40 -> 50"]
    again = Run.open(tmp_path / "made_up")
    assert again.recipe.stages["rl"].steps == 50
    assert again.base == tmp_path and "rl.steps=50" in again.resume_command()


def test_what_a_stage_made_is_told_once_it_has_ended(made):
    log = made.log("rl")
    assert log.lineage == {} and log.done is None
    log.begin({"stage": "rl", "parents": {}})
    assert log.lineage["parents"] == {} and log.done is None
    log.final.mkdir()
    (log.final / "model.safetensors").write_bytes(b"weights")
    log.finish({"tokens": 7, "seconds": math.nan}, "checkpoint")
    assert (log.done["artefact"], log.done["tokens"], log.done["seconds"]) == ("checkpoint", 7, None)
    assert log.done["sha256"] == files.fingerprint(log.final, "*.safetensors")
    began = log.lineage["begun"]
    log.truncate_after(0)
    assert log.done is None and log.lineage == {"begun": began, "stage": "rl", "parents": {}}


def test_a_fingerprint_is_of_names_and_content(tmp_path):
    def of(**content):
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, text in content.items():
            path = place / name.replace("_", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return files.fingerprint(place)

    assert of(a="1", b="2") == of(b="2", a="1")
    assert len({of(a="1", b="2"), of(a="2", b="1"), of(a="12"), of(a="1", c="2"), of(a="1", d_b="2")}) == 5
    hidden = tmp_path / "x"
    (hidden / ".git").mkdir(parents=True)
    (hidden / "a").write_text("1")
    (hidden / ".git/b").write_text("2")
    assert files.fingerprint(hidden) == of(a="1")
    assert files.fingerprint(hidden / "a") == hashlib.sha256(b"1").hexdigest()


def test_resume_without_a_run_says_so(tmp_path):
    with pytest.raises(UserError, match="no run to resume"):
        Run.create(tmp_path, fabricate.recipe(), "resume")


def test_a_name_can_not_leave_the_directory(tmp_path):
    with pytest.raises(RecipeError, match="name"):
        Run.create(tmp_path, fabricate.recipe(name="../elsewhere"))


def test_paths_may_be_any_unicode(tmp_path):
    with Run.create(tmp_path / "läufe 运行", fabricate.recipe(name="größe-一")) as run:
        run.log("rl").record(1, {"reward": 1.0})
        assert Run.open(run.path).log("rl").metrics()[0]["step"] == 1


def test_another_process_finds_it_busy_with_the_pid(tmp_path):
    with Run.create(tmp_path, fabricate.recipe()):
        # a second descriptor of this process conflicts as another process would: flock belongs to the open file
        with pytest.raises(RunBusy, match=str(os.getpid())):
            Run.create(tmp_path, fabricate.recipe(), "resume")
        with pytest.raises(RunBusy):
            Run.create(tmp_path, fabricate.recipe(), "force")
    Run.create(tmp_path, fabricate.recipe(), "resume").close()


def test_the_lock_ends_with_the_process(tmp_path):
    program = (
        "import sys, os, fabricate; from pathlib import Path; from move37.runs import Run;"
        "Run.create(Path(sys.argv[1]), fabricate.recipe()); os._exit(9)"
    )
    path = os.pathsep.join(p for p in sys.path if p)
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], env={**os.environ, "PYTHONPATH": path}, check=False)
    Run.create(tmp_path, fabricate.recipe(), "resume").close()


def test_opening_something_else_names_the_runs_near(tmp_path):
    Run.create(tmp_path, fabricate.recipe()).close()
    with pytest.raises(UserError, match="made_up"):
        Run.open(tmp_path / "nothing")
    assert [p.name for p in list_runs(tmp_path)] == ["made_up"]


# ---------------------------------------------------------------------------------------------------- lines and files


def test_metrics_come_back_with_nan_as_null(made):
    log = made.log("rl")
    log.record(1, {"reward": math.nan, "loss": np.float32(0.5), "tokens": np.int64(7), "ratio_max": math.inf})
    assert log.metrics() == [{"step": 1, "reward": None, "loss": 0.5, "tokens": 7, "ratio_max": None}]


def test_a_torn_last_line_is_dropped_and_named(made):
    log = made.log("rl")
    log.record(1, {"reward": 1.0})
    with open(log.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 2, "rew')
    assert [row["step"] for row in log.metrics()] == [1]
    repaired = made.log("rl")
    assert "metrics.jsonl" in repaired.notes[0] and "torn" in repaired.notes[0]
    repaired.record(2, {"reward": 0.0})
    assert [row["step"] for row in repaired.metrics()] == [1, 2]


def test_a_damaged_line_in_the_middle_is_an_error_with_its_number(made):
    log = made.log("rl")
    for step in (1, 2, 3):
        log.record(step, {})
    path = log.path / "metrics.jsonl"
    path.write_text(path.read_text().replace('{"step": 2}', '{"st'))
    with pytest.raises(RunError, match="line 2"):
        log.metrics()


@given(cut=st.integers(0, 200))
@settings(max_examples=40, deadline=None)
def test_any_tear_keeps_every_whole_line(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("tear") / "metrics.jsonl"
    whole = "".join(json.dumps({"step": i, "text": "é一"}, ensure_ascii=False) + "\n" for i in range(5)).encode()
    path.write_bytes(whole[:cut])
    rows, torn = files.read_lines(path)
    kept = whole[:cut].count(b"\n")
    assert [row["step"] for row in rows] == list(range(kept))
    assert (torn is not None) == (not whole[:cut].endswith(b"\n") and cut > 0)


def test_a_full_disk_names_the_file_and_keeps_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    files.write_json(path, {"a": 1})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"summary\.json.*No space left"):
        files.write_json(path, {"a": 2})
    assert files.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_a_line_that_does_not_fit_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    files.append_line(path, '{"step": 1}')

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match=r"metrics\.jsonl"):
            files.append_line(path, '{"step": 2}')
    assert path.read_text() == '{"step": 1}\n'


def test_a_writer_that_fails_leaves_no_temporary_file(tmp_path):
    def half(path):
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_atomic(tmp_path / "x.parquet", half)
    assert list(tmp_path.iterdir()) == []


def test_deterministic_strips_time_and_nothing_else():
    metrics = fabricate.metrics(3)
    gone = set(metrics) - set(deterministic(metrics))
    assert gone == {"wall_s", "seconds", "seconds/sample", "seconds/grade", "seconds/learn", "tokens_per_s"}


# ------------------------------------------------------------------------------------------------------------ rollouts


def _equal(a: Group, b: Group) -> None:
    assert a.problem == b.problem
    for x, y in zip(a.rollouts, b.rollouts, strict=True):
        for name in ("token_ids", "sampled", "logprobs", "sampling_logprobs"):
            one, other = getattr(x, name), getattr(y, name)
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        assert math.isnan(x.reward) == math.isnan(y.reward)
        names = (
            "problem",
            "task",
            "sample",
            "text",
            "stop",
            "version",
            "prefill",
            "thinking",
            "answer",
            "final",
            "verdict",
            "error",
        )
        assert [getattr(x, n) for n in names] == [getattr(y, n) for n in names]
        assert {k: (s.parts, s.why) for k, s in x.scores.items()} == {k: (s.parts, s.why) for k, s in y.scores.items()}


def test_rollouts_come_back_equal(made):
    problem = Problem(id="z", task="chain", question="2 + 3?", answer="5", meta={"language": "zh", "knobs": [1, 2]})
    plain = fabricate.rollout(problem)
    odd = fabricate.rollout(
        problem,
        1,
        reward=math.nan,
        verdict=Verdict.CANNOT_TELL,
        error="the verifier took too long",
        thinking=None,
        answer=None,
        final=None,
        stop=Stop.LENGTH,
        text="等等\x00 \ud7ff 🙂",
        scores={"accuracy": Score.cannot_tell("late"), "mine.py:f": Score(value=0.5, parts={"tidy": 0.5}, why="half")},
    )
    groups = [Group(problem=problem, rollouts=[plain, odd]), Group(problem=problem, rollouts=[plain])]
    read = shards.read(made.log("rl").rollouts(7, groups))
    assert [len(g.rollouts) for g in read] == [2, 1]  # the same problem twice stays two groups
    for a, b in zip(groups, read, strict=True):
        _equal(a, b)


@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=5), text=st.text(st.characters(codec="utf-8")))
@settings(max_examples=25, deadline=None)
def test_any_lengths_and_any_text_come_back(tmp_path_factory, lengths, text):
    problem = Problem(id="z", task="t", question=text, answer="5")
    rollouts = []
    for sample, length in enumerate(lengths):
        arrays = {
            "token_ids": np.arange(length, dtype=np.int32),
            "sampled": np.ones(length, bool),
            "logprobs": np.full(length, -0.1, np.float32),
            "sampling_logprobs": np.full(length, -0.2, np.float32),
        }
        rollouts.append(fabricate.rollout(problem, sample, text=text, **arrays))
    group = Group(problem=problem, rollouts=rollouts)
    path = tmp_path_factory.mktemp("shard") / shards.name(1)
    shards.write(path, 1, [group])
    _equal(group, shards.read(path)[0])


def test_equal_rollouts_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        shards.write(tmp_path / name, 1, [fabricate.group(3, 0.5)])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_torn_shard_is_named(tmp_path):
    path = shards.write(tmp_path / shards.name(1), 1, [fabricate.group(3, 0.5)])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match="step-000001"):
        shards.read(path)


def test_a_shard_of_another_version_is_named_with_the_way_out(tmp_path):
    """A column that is there now was not then."""
    path = shards.write(tmp_path / "stages/after/rollouts/sampled.parquet", 1, [fabricate.group(3, 0.5)])
    pq.write_table(pq.read_table(path).drop_columns(["vote"]), path)
    for read in (shards.read, lambda path: shards.rows(path, ["problem", "vote"])):
        with pytest.raises(RunError, match=r"no column 'vote'.*--only after --remake"):
            read(path)
    assert len(shards.rows(path, ["problem"])) == 4


def test_truncating_makes_a_repetition_equal(made):
    log = made.log("rl")

    def steps(first, last):
        for step in range(first, last + 1):
            groups = [fabricate.group(step, 0.5)]
            log.rollouts(step, groups)
            if step % 2 == 0:
                log.probe(step, {"pass@1": step / 10}, groups)
            log.record(step, fabricate.metrics(step))

    def content():
        return {p.relative_to(log.path): p.read_bytes() for p in sorted(log.path.rglob("*")) if p.is_file()}

    log.begin({"stage": "rl"})
    log.probe(0, {"pass@1": 0.0}, [fabricate.group(0, 0.5)])
    steps(1, 6)
    whole = content()
    log.finish({})
    (log.path / "rollouts" / "step-000009.parquet.tmp").write_text("torn")
    log.truncate_after(3)
    assert [row["step"] for row in log.metrics()] == [1, 2, 3]
    assert [row["step"] for row in log.probes()] == [0, 2]
    assert list(log.shards()) == [1, 2, 3]
    assert log.done is None
    steps(4, 6)
    assert content() == whole


def test_a_repeated_probe_replaces_the_earlier_one(made):
    log = made.log("rl")
    for value in (0.1, 0.2):
        log.probe(0, {"pass@1": value}, [fabricate.group(0, 0.5)])
    assert log.probes() == [{"step": 0, "pass@1": 0.2}]
