"""`move37 grade`: records in, records out, in order; and every example of docs/grading.md."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from move37 import grading
from move37.cli import app
from move37.errors import UserError
from move37.grading import KINDS, answer_of, batches, grade_records
from move37.types import Score

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "grading.md").read_text(encoding="utf-8")


def unescaped(cell):
    return cell.strip().strip("`").replace(r"\|", "|")


def examples():
    """(kind, gold, answer or response, verdict) of every table of the page whose heads are those."""
    for head, body in re.findall(r"^(\| kind \|.*\|)\n\|[-| ]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE):
        names = [name.strip() for name in head.strip("|").split("|")]
        for line in body.splitlines():
            cells = [unescaped(cell) for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]
            yield dict(zip(names, cells, strict=True))


EXAMPLES = list(examples())


def test_there_are_examples_of_every_rule():
    assert len(EXAMPLES) >= 60 and {row["kind"] for row in EXAMPLES} >= {"math", "number", "choice", "text"}


@pytest.mark.parametrize("row", EXAMPLES, ids=lambda row: f"{row['kind']} {row.get('answer') or row.get('response')}"[:60])
def test_examples_of_the_page(row):
    record = {key: value.replace("⏎", "\n") for key, value in row.items() if key in ("kind", "gold", "answer", "response")}
    if row.get("tolerance"):
        record["tolerance"] = json.loads(row["tolerance"])
    [found] = grade_records([record])
    assert found["verdict"] == row["verdict"], found


def test_records_come_back_in_order_with_what_else_they_hold():
    records = [{"kind": "number", "gold": k, "answer": str(k + k % 2), "id": f"r{k}", "note": [k]} for k in range(50)]
    records[7] = {"kind": "text", "gold": "Paris", "response": "<think>Rome</think> paris.", "id": "r7", "note": [7]}
    found = grade_records(records)
    assert [r["id"] for r in found] == [f"r{k}" for k in range(50)] and found[3]["note"] == [3]
    assert [r["verdict"] for r in found] == ["right" if k % 2 == 0 or k == 7 else "wrong" for k in range(50)]
    assert set(found[0]) == {"kind", "id", "note", "verdict", "score", "parts", "why", "seconds"}


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("nonsense", "line 2: no JSON"),
        ("[1]", "line 2: a list"),
        ('{"gold": "1"}', "no 'kind'"),
        ('{"kind": "mth", "gold": "1", "answer": "1"}', "did you mean 'math'?"),
        ('{"kind": "math", "answer": "1"}', "needs 'gold'"),
        ('{"kind": "math", "gold": "1"}', "'response' or 'answer'"),
        ('{"kind": "math", "gold": "1", "answer": "1", "response": "1"}', "give one"),
        ('{"kind": "math", "gold": [1], "answer": "1"}', "must be a text or a number"),
        ('{"kind": "math", "gold": "1", "answer": "1", "tolerance": "x"}', "'tolerance'"),
        ('{"kind": "format", "gold": "1"}', "needs 'response'"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_a_line_that_can_not_be_used_is_named_and_the_rest_is_graded(tmp_path, line, part):
    good = '{"kind": "math", "gold": "1/2", "answer": "0.5"}'
    (tmp_path / "in.jsonl").write_text(f"{good}\n{line}\n\n{good}")  # no line break at the end
    done = CliRunner().invoke(app, ["grade", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out.jsonl")])
    assert done.exit_code == 2 and part in done.stderr and "1 lines could not be used" in done.stderr
    found = [json.loads(text) for text in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [r["verdict"] for r in found] == ["right", "unknown", "right"] and part in found[1]["why"]
    assert found[1]["score"] is None


def test_files_that_are_not_there(tmp_path):
    (tmp_path / "log.jsonl").write_text("")
    for arguments, part in (
        ([str(tmp_path / "lgo.jsonl")], "did you mean 'log.jsonl'?"),
        ([str(tmp_path)], "is a directory"),
        ([str(tmp_path / "log.jsonl"), "--out", str(tmp_path / "log.jsonl")], "is the file that is read"),
        ([str(tmp_path / "log.jsonl"), "--out", str(tmp_path / "no" / "x")], "can not be written"),
    ):
        done = CliRunner().invoke(app, ["grade", *arguments])
        assert done.exit_code == 2 and part in done.stderr


def test_a_kind_that_refuses_one_record_grades_the_others(monkeypatch):
    def picky(records):
        if any(record["x"] == 2 for record in records):
            raise UserError("not two")
        return [Score(value=record["x"]) for record in records]

    monkeypatch.setitem(KINDS, "picky", picky)
    found = grade_records([{"kind": "picky", "x": x} for x in (1, 2, 0.5)])
    assert [r["score"] for r in found] == [1, None, 0.5] and found[1]["why"] == "line 2: not two"


def test_answer_or_response():
    assert answer_of({"kind": "math", "answer": 5}) == "5"
    assert answer_of({"kind": "math", "response": "<think>5</think>"}) is None


def test_batches_are_what_is_there():
    read, write = os.pipe()
    os.write(write, b"one\ntwo\nthr")
    found = batches(read)
    assert next(found) == ["one", "two"]
    os.write(write, b"ee\n")
    assert next(found) == ["three"]
    os.write(write, "vier ü".encode()[:-1])  # torn text is no crash
    os.close(write)
    assert len(next(found)) == 1 and next(found, None) is None
    os.close(read)


@pytest.fixture
def command():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}

    def start(**options):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([sys.executable, "-m", "move37", "grade"], env=environment, **pipes | options)

    return start


LINE = b'{"kind": "math", "gold": "7", "answer": "7", "id": 1}\n'


def test_results_come_while_the_input_is_open(command):
    with command() as process:
        for _ in range(2):
            process.stdin.write(LINE)
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["verdict"] == "right"
        process.stdin.close()
        assert process.wait(60) == 0


def test_a_reader_that_leaves_ends_it_quietly(command):
    with command() as process:
        process.stdin.write(LINE)
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(LINE)
        process.stdin.close()
        assert process.wait(60) == 141 and process.stderr.read() == b""


def test_ctrl_c_ends_it_quietly(command):
    with command() as process:
        process.stdin.write(LINE)
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130 and b"Traceback" not in process.stderr.read()


def test_every_kind_is_in_the_page():
    assert all(f"`{kind}`" in PAGE for kind in grading.KINDS)


INSTRUCTION = {"instruction_id_list": ["en:punctuation:no_comma"], "kwargs": [{"num_words": None}]}
NO_COMMA = [{"id": "punctuation:no_comma"}]


@pytest.mark.parametrize(
    ("record", "verdict", "score"),
    [
        ({"kind": "ifeval", "response": "one, two", **INSTRUCTION}, "wrong", 0.0),
        ({"kind": "ifeval", "response": "<think>one, two</think> one two", **INSTRUCTION}, "right", 1.0),
        ({"kind": "ifeval", "response": "<think>a,</think><answer>one</answer>", "instructions": NO_COMMA}, "right", 1.0),
        ({"kind": "ifeval", "answer": "one", "instructions": [{"id": "punctuation:no_coma"}]}, "unknown", None),
        ({"kind": "ifeval", "answer": "one", "instructions": "all"}, "unknown", None),
        ({"kind": "ifeval", "answer": "one", "instruction_id_list": ["punctuation:no_comma"], "kwargs": []}, "unknown", None),
        ({"kind": "language", "response": "<think>所以 answer 是 5</think><answer>5</answer>", "target": "zh"}, "wrong", 0.75),
        ({"kind": "language", "response": "所以是", "question": "小明有几个苹果?"}, "right", 1.0),
        ({"kind": "language", "response": "so", "target": "english"}, "unknown", None),
        ({"kind": "language", "response": "so"}, "unknown", None),
    ],
)
def test_instructions_and_language(record, verdict, score):
    [found] = grade_records([record | {"id": 3}])
    assert (found["verdict"], found["score"], found["id"]) == (verdict, score, 3), found
    assert set(found) == {"kind", "id", "verdict", "score", "parts", "why", "seconds"}
    assert verdict == "right" or found["why"]
