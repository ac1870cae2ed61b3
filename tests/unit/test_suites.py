"""Suites by name: an oracle is all right and silence all wrong on each, over real data; and the rest of `move37 eval`."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner

import sandboxed
from chat_server import Answer, chat, serve
from move37 import suites, trial
from move37.asked import EvalOptions
from move37.cli import app
from move37.errors import RunError, TaskError, UserError
from move37.report import export
from move37.report.live import Live
from move37.rollout.draw import Sampling
from move37.rollout.remote import Remote
from move37.rollout.scripted import Scripted
from move37.stages import engines, evaluate_checkpoint
from move37.types import Problem, Stop

DATA = Path(__file__).parents[3] / "shared" / "data"
needs = pytest.mark.skipif(not DATA.is_dir(), reason="the data sets are not beside the repository (../shared/data)")
SAMPLED = 12  # problems looked at


def planned(tmp_path, **given):
    return trial.plan(EvalOptions(**given), None, tmp_path)


def measured(wanted, make):
    with Live(plain=True) as display:
        return evaluate_checkpoint(wanted, Path.cwd(), display, make)


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def quiz(tmp_path, n=3):
    """A suite directory with a made-up gsm8k."""
    (tmp_path / "gsm8k").mkdir(exist_ok=True)
    rows = [{"question": f"What is {k} plus {k}?", "answer": f"Easy. #### {2 * k}"} for k in range(1, n + 1)]
    (tmp_path / "gsm8k" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@needs
@pytest.mark.parametrize("name", sorted(suites.SUITES.keys() - {"ifeval"}))
def test_an_oracle_scores_100_and_silence_0(name, tmp_path):
    if name == "humaneval":
        sandboxed.required()
    given = {"suite": [name], "data": DATA, "problems": SAMPLED, "samples": 2}
    for policy, share, found in ((engines.oracle, 1.0, 1.0), (engines.empty, 0.0, 0.0)):
        wanted = planned(tmp_path, checkpoint=policy.__name__, **given)
        record = measured(wanted, policy())[name].record
        assert record["problems"] == SAMPLED and record["samples"] == 2 and record["cannot_tell"] == 0
        for metric in ("pass@1", "pass@2", "cons@2", "pass@1_greedy"):
            assert record["overall"][metric]["value"] == share, metric
        assert record["overall"]["extraction"]["value"] == found


@needs
def test_ifeval_has_no_golds_but_published_responses(tmp_path):
    """The responses of Qwen2.5-7B: by the strict verdicts published with them, some of these 12 follow every instruction."""
    rows = [json.loads(line) for line in (DATA / "ifeval" / "en_qwen2.5-7b_strict.jsonl").read_text().splitlines()]
    said = {" ".join(row["prompt"].split()): row for row in rows}
    wanted = planned(tmp_path, checkpoint="oracle", suite=["ifeval"], data=DATA, problems=SAMPLED, samples=1)
    with pytest.raises(TaskError, match="no golds"):
        measured(wanted, engines.oracle())
    assert measured(wanted, engines.empty())["ifeval"].record["overall"]["pass@1"]["value"] == 0

    def published(context, section):
        return Scripted(lambda problem, sample: said[" ".join(problem.question.split())]["response"])

    finding = measured(wanted, published)["ifeval"]
    followed = [said[" ".join(g.problem.question.split())]["follow_all_instructions"] for g in finding.groups]
    assert [g.rollouts[0].verdict.value == "right" for g in finding.groups] == followed and 0 < sum(followed) < SAMPLED
    assert finding.record["overall"]["pass@1"]["value"] == pytest.approx(sum(followed) / SAMPLED)


def test_every_policy_is_known_before_torch_is():
    assert set(trial.POLICIES) == set(engines.POLICIES)


# ------------------------------------------------------------------------------------------------------------ planning


def test_the_protocol_of_r1(tmp_path):
    for name, k in (("aime24", 64), ("math500", 16)):
        section = suites.stage(name, "r1", tags=False)
        assert (section["samples"], section["temperature"], section["top_p"]) == (k, 0.6, 0.95)
        assert section["max_new_tokens"] == 32768 and not section["greedy"] and section["problems"] is None
    wanted = planned(quiz(tmp_path), checkpoint="oracle", suite=["gsm8k"], data=tmp_path, protocol="r1", samples=3)
    assert wanted.stages["gsm8k"].samples == 3 and wanted.stages["gsm8k"].reading == "box"
    assert wanted.stages["gsm8k"].instruction.endswith("\\boxed{}.")


def test_a_model_of_the_r1_zero_form_is_read_by_its_tags(tmp_path):
    wanted = planned(quiz(tmp_path), checkpoint="bundled", suite=["gsm8k"], data=tmp_path, template="r1_zero")
    assert (wanted.stages["gsm8k"].reading, wanted.stages["gsm8k"].instruction) == ("tags", "")


def test_tasks_and_suites_in_one_command(tmp_path):
    wanted = planned(quiz(tmp_path), checkpoint="oracle", suite=["gsm8k"], data=tmp_path, task=["chain"], problems=2, samples=1)
    assert wanted.stages["eval"].tasks == ["chain"] and wanted.stages["gsm8k"].tasks == ["gsm8k"]
    found = measured(wanted, engines.oracle())
    assert {name: finding.record["overall"]["pass@1"]["value"] for name, finding in found.items()} == {"eval": 1.0, "gsm8k": 1.0}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"checkpoint": "oracle"}, "--task, or --suite"),
        ({"suite": ["gsm8k"]}, "which model"),
        ({"suite": ["gsm8k"], "checkpoint": "x", "endpoint": "http://h", "model": "m"}, "exclude each other"),
        ({"suite": ["gsm9k"], "checkpoint": "oracle"}, "did you mean 'gsm8k'"),
        ({"suite": ["aime24"], "checkpoint": "oracle"}, "none of aime24/test.jsonl"),
        ({"suite": ["gsm8k"], "checkpoint": "oracle", "protocol": "r2"}, "valid: r1"),
    ],
)
def test_mistakes_are_told(tmp_path, given, told):
    with pytest.raises(UserError, match=told):
        planned(quiz(tmp_path), data=tmp_path, **given)


def test_without_files_the_hub_is_asked_and_its_failure_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(TaskError, match=r"pip install 'move37\[datasets\]'; or give --data"):
        suites.sections(["gsm8k"], None, tmp_path)
    fake = types.ModuleType("datasets")
    asked = []

    def offline(name, configuration, split):
        asked.append((name, configuration, split))
        raise ConnectionError("no route")

    fake.load_dataset = offline
    monkeypatch.setitem(sys.modules, "datasets", fake)
    with pytest.raises(TaskError, match=r"no route.*online"):
        suites.sections(["gsm8k"], None, tmp_path)
    assert asked == [("openai/gsm8k", "main", "test")]
    with pytest.raises(TaskError, match="not on the hub"):
        suites.sections(["amc23"], None, tmp_path)
    rows = types.SimpleNamespace(
        to_json=lambda path, force_ascii: Path(path).write_text('{"question": "1+1?", "answer": "#### 2"}\n')
    )
    fake.load_dataset = lambda *arguments, **named: rows
    [section] = suites.sections(["gsm8k"], None, tmp_path).values()
    assert Path(section["file"]).read_text().startswith('{"question"')


# ------------------------------------------------------------------------------------------------------------ endpoints


def double(body, number):
    """Knows how to add; says so in a box. The prompt must be the suite's."""
    [message] = body["messages"]
    question, instruction = message["content"].split("\n")
    assert instruction == suites.STEPS
    k = int(question.split()[2])
    return chat(f"It is \\boxed{{{2 * k}}}" if k != 2 else "It is 4", reasoning="Let me see. \\boxed{7}")


def test_an_endpoint_is_measured_like_a_model(tmp_path):
    with serve(double) as server:
        arguments = [
            "eval",
            "--suite",
            "gsm8k",
            "--data",
            quiz(tmp_path),
            "--samples",
            "2",
            "--endpoint",
            server.url,
            "--model",
            "m",
        ]
        arguments += ["--ledger", tmp_path / "l.jsonl", "--json", tmp_path / "n.json", "--price-in", "2", "--price-out", "10"]
        result = call(*arguments)
        assert result.exit_code == 0, result.stderr
        first = len(server.seen)
        assert call(*arguments).exit_code == 0 and len(server.seen) == first  # all of it is in the ledger
    assert first == 3 * (2 + 1) and len({body["seed"] for body in server.seen}) == 3  # two samples, one greedy
    [record] = json.loads((tmp_path / "n.json").read_text()).values()
    assert record["overall"]["pass@1"]["value"] == pytest.approx(2 / 3)
    assert record["overall"]["extraction"]["value"] == pytest.approx(2 / 3) and record["overall"]["truncated"]["value"] == 0
    assert (record["problems"], record["samples"], record["seed"], record["model"]) == (3, 2, 0, f"m at {server.url}")
    assert len(record["template_sha256"]) == 64 and record["reading"] == "box"
    assert (record["prompt_tokens"], record["tokens"]) == (9 * 7, 9 * 3)
    assert record["cost"] == pytest.approx((63 * 2 + 27 * 10) / 1e6)


def test_missing_samples_are_an_error_and_the_rest_is_kept(tmp_path):
    broken = True

    def script(body, number):
        if broken and body["messages"][0]["content"].startswith("What is 3"):
            return Answer(b"too hard", status=400)
        return double(body, number)

    with serve(script) as server:
        arguments = [
            "eval",
            "--suite",
            "gsm8k",
            "--data",
            quiz(tmp_path),
            "--samples",
            "1",
            "--endpoint",
            server.url,
            "--model",
            "m",
        ]
        arguments += ["--ledger", tmp_path / "l.jsonl"]
        result = call(*arguments)
        assert result.exit_code == 3 and "1 of 3 samples are missing: gsm8k/" in result.stderr and "too hard" in result.stderr
        asked, broken = len(server.seen), False
        assert call(*arguments).exit_code == 0
        assert len(server.seen) - asked == 1 + 3  # the one that was missing, and the greedy ones


def test_remote_rollouts(tmp_path):
    problems = [Problem(id=name, task="t", question=name, answer="") for name in "ab"]
    replies = {"a": chat("so", finish="length"), "b": chat("yes", reasoning_content="well")}

    class Client:
        ledger = types.SimpleNamespace(path=None)

        def ask(self, requests):
            from move37.endpoint import read_reply

            return [read_reply(replies[r.messages[0]["content"]].body) for r in requests]

    groups = Remote(Client()).sample(problems, 2, Sampling(max_new_tokens=9), 5)
    assert [(g.problem.id, [r.sample for r in g.rollouts]) for g in groups] == [("a", [0, 1]), ("b", [0, 1])]
    cut, whole = groups[0].rollouts[0], groups[1].rollouts[0]
    assert (cut.text, cut.stop, cut.length, len(cut.token_ids)) == ("so", Stop.LENGTH, 1, 8)
    assert whole.text == "<think>well</think>yes" and whole.stop is Stop.EOS
    with pytest.raises(UserError, match="top_k"):
        Remote(Client()).sample(problems, 1, Sampling(top_k=5), 0)


def test_an_engine_that_loses_samples_is_found_out(tmp_path):
    class Forgetful(Scripted):
        def sample(self, problems, n, sampling, seed):
            return super().sample(problems[1:], n, sampling, seed)

    wanted = planned(quiz(tmp_path), checkpoint="oracle", suite=["gsm8k"], data=tmp_path, samples=2)
    with pytest.raises(RunError, match=r"missing for 1 of 3 problems: gsm8k/.* has 0 of 2"):
        measured(wanted, lambda context, section: Forgetful(lambda problem, sample: ""))


# --------------------------------------------------------------------------------------------------------------- export


def sides(tmp_path):
    """Three problems, two samples: the first right and the second wrong on each."""
    wanted = planned(quiz(tmp_path), checkpoint="oracle", suite=["gsm8k"], data=tmp_path, samples=2)

    def make(context, section):
        return Scripted(lambda problem, sample: f"\\boxed{{{problem.answer if sample == 0 else -1}}}")

    [finding] = measured(wanted, make).values()
    return finding


def test_export_for_inspect(tmp_path):
    finding = sides(tmp_path)
    path = export.write("inspect", tmp_path / "logs", "gsm8k", finding.record, finding.groups)
    log = json.loads(path.read_text())
    assert path.name == "gsm8k.json" and log["status"] == "success" and log["eval"]["config"] == {"epochs": 2}
    assert [s["scores"]["move37"]["value"] for s in log["samples"]] == ["C", "I"] * 3
    assert [s["epoch"] for s in log["samples"]] == [1, 2] * 3
    assert log["results"]["scores"][0]["metrics"]["pass@1"] == {"name": "pass@1", "value": 0.5}
    assert log["samples"][0]["input"].endswith(suites.STEPS) and log["samples"][0]["target"] in {"2", "4", "6"}


def test_inspect_reads_its_export(tmp_path):
    reader = pytest.importorskip("inspect_ai.log", reason="inspect-ai is not installed")
    finding = sides(tmp_path)
    log = reader.read_eval_log(str(export.write("inspect", tmp_path, "gsm8k", finding.record, finding.groups)))
    assert log.results.scores[0].metrics["pass@1"].value == 0.5 and len(log.samples) == 6


def test_export_for_lm_eval(tmp_path):
    finding = sides(tmp_path)
    path = export.write("lm-eval", tmp_path / "logs", "gsm8k", finding.record, finding.groups)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert path.name == "samples_gsm8k.jsonl" and [row["exact_match"] for row in rows] == [0.5] * 3
    assert all(row["filtered_resps"][0] == [row["target"], "-1"] and row["doc"]["answer"] == row["target"] for row in rows)


def test_an_unknown_format_is_told_before_anything_is_sampled(tmp_path):
    result = call("eval", "oracle", "--suite", "gsm8k", "--data", quiz(tmp_path), "--export", "inspekt", tmp_path)
    assert result.exit_code == 2 and "did you mean 'inspect'" in result.stderr
