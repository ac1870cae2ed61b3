"""Problem files: formats, layouts, splits, and every mistake a file can hold."""

import csv
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from move37.errors import TaskError
from move37.sections import FileTask
from move37.tasks import load, split_of
from move37.tasks.layouts import people
from move37.types import Verdict

DATA = Path(__file__).parents[3] / "shared" / "data"
ROWS = [{"q": f"What is {k} + {k}?", "a": str(2 * k)} for k in range(40)]
COLUMNS = {"question": "q", "answer": "a", "verifier": "number"}


def write(path: Path, rows: list[dict]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as out:
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


def task(path: Path, seed: int = 0, **options):
    return load("x", FileTask(file=path.name, **(options or COLUMNS)), seed, path.parent / "recipe.yaml")


def questions(loaded, split: str, start: int, count: int) -> list[str]:
    return [loaded.problem(index, split).question for index in range(start, start + count)]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".csv"])
def test_formats_and_splits(tmp_path, suffix):
    loaded = task(write(tmp_path / f"rows{suffix}", ROWS))
    n, m = loaded.size, loaded.held_out_size()
    assert n + m == 40 and m == sum(split_of(row["q"], 0.1) == "held_out" for row in ROWS) > 0
    train, held_out = set(questions(loaded, "train", 0, n)), set(questions(loaded, "held_out", 0, m))
    assert train | held_out == {row["q"] for row in ROWS} and not train & held_out
    assert set(questions(loaded, "train", n, n)) == train  # the second epoch has all of them, in another order
    assert questions(loaded, "train", n, n) != questions(loaded, "train", 0, n)
    assert len(loaded.held_out_problems(1000)) == m
    problem = loaded.problem(0, "train")
    assert loaded.verify(f"{problem.answer}.0", problem).verdict is Verdict.RIGHT


def test_order_depends_on_the_seed_in_training_only(tmp_path):
    path = write(tmp_path / "rows.jsonl", ROWS)
    one, two = task(path, seed=1), task(path, seed=2)
    assert questions(one, "train", 0, 20) != questions(two, "train", 0, 20)
    assert questions(one, "train", 0, 20) == questions(task(path, seed=1), "train", 0, 20)
    assert one.held_out_problems(3) == two.held_out_problems(3)


def test_held_out_file_is_kept_apart(tmp_path):
    path = write(tmp_path / "rows.jsonl", ROWS)
    write(tmp_path / "test.jsonl", [*ROWS[:2], {"q": "new", "a": "1"}])
    loaded = task(path, held_out_file="test.jsonl", **COLUMNS)
    assert loaded.size == 38 and loaded.held_out_size() == 3
    assert "2 problems" in loaded.notes[0]


def test_repeated_questions_are_left_out_and_told(tmp_path):
    path = write(
        tmp_path / "rows.jsonl", [*ROWS, {"q": "What is  0 + 0?", "a": "0"}, {"q": "What is 1 + 1?", "a": "3"}]
    )
    loaded = task(path, held_out=0.0, **COLUMNS)
    assert loaded.size == 40 and "2 rows" in loaded.notes[0] and "(1 with another answer)" in loaded.notes[0]


@pytest.mark.parametrize(
    ("more", "domain"),
    [
        ({"type": "integer", "subject": " Algebra "}, "Algebra"),  # the order is ours, not the file's
        ({"domain": "Logic", "subject": "Algebra"}, "Logic"),
        ({"subject": "", "category": "Geometry"}, "Geometry"),
        ({"category": 3, "type": "Algebra"}, "Algebra"),
        ({"category": 3}, None),
        ({}, None),
    ],
)
def test_the_domain_a_row_tells(tmp_path, more, domain):
    path = write(tmp_path / "rows.jsonl", [{"q": "What is 1 + 1?", "a": "2", **more}])
    assert task(path, held_out=0.0, **COLUMNS).problem(0, "train").meta.get("domain") == domain


def test_an_answer_is_no_domain(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"q": "A whale is a", "category": "mammal", "type": "Biology"}])
    loaded = task(path, held_out=0.0, question="q", answer="category", verifier="text")
    assert loaded.problem(0, "train").meta["domain"] == "Biology"


def test_numbers_in_cells(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"q": "a", "a": 145.0}, {"q": "b", "a": 0.5}, {"q": "c", "a": 7}])
    loaded = task(path, held_out=0.0, **COLUMNS)
    assert sorted(loaded.problem(k, "train").answer for k in range(3)) == ["0.5", "145", "7"]


@pytest.mark.parametrize(
    ("name", "text", "options", "parts"),
    [
        ("rows.jsonl", "", COLUMNS, ["holds no rows"]),
        ("rows.jsonl", '{"q": "a", "a": "1"}\n{"q": "b", "a"', COLUMNS, ["line 2 is no JSON", "complete"]),
        ("rows.jsonl", "[1]\n", COLUMNS, ["line 1 is a list"]),
        ("rows.json", '{"q": 1}', COLUMNS, ["one dict, not a list"]),
        ("rows.parquet", "PAR1 torn", COLUMNS, ["can not be read", "complete"]),
        ("rows.txt", "a", COLUMNS, ["'.txt'", ".jsonl"]),
        (
            "rows.jsonl",
            '{"q": "a", "answr": "1"}\n',
            {**COLUMNS, "answer": "answer"},
            ["'answer'", "did you mean 'answr'"],
        ),
        ("rows.jsonl", '{"q": "a", "a": "1"}\n{"q": "b", "a": ""}\n', COLUMNS, ["row 2", "column 'a' is empty"]),
        ("rows.jsonl", '{"q": "a", "a": "1"}\n{"q": "b"}\n', COLUMNS, ["row 2", "column 'a'"]),
        ("rows.jsonl", '{"question": "a", "answer": "it is 1"}\n', {"layout": "gsm8k"}, ["row 1", "no answer"]),
        ("rows.jsonl", "{}", {"layout": "gsm9k"}, ["did you mean 'gsm8k'"]),
        ("rows.jsonl", "{}", {"layout": "gsm8k", "answer": "a"}, ["remove one of the two"]),
        ("rows.jsonl", "{}", {"question": "q", "answer": "a"}, ["tasks.x.verifier is missing", "number"]),
    ],
)
def test_mistakes(tmp_path, name, text, options, parts):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(TaskError) as caught:
        task(path, **options)
    for part in ["tasks.x", *parts]:
        assert part in str(caught.value)


def test_missing_file_and_empty_split(tmp_path):
    write(tmp_path / "train.jsonl", ROWS[:2])
    with pytest.raises(TaskError, match=r"did you mean 'train\.jsonl'"):
        task(tmp_path / "trian.jsonl")
    with pytest.raises(TaskError, match="no directory"):
        task(tmp_path / "nowhere" / "x.jsonl")
    with pytest.raises(TaskError, match=r"held out at held_out=0;.*held_out_file"):
        task(tmp_path / "train.jsonl", held_out=0.0, **COLUMNS).held_out_problems(1)
    with pytest.raises(TaskError, match="is train at held_out=1"):
        task(tmp_path / "train.jsonl", held_out=1.0, **COLUMNS).problem(0, "train")


def test_datasets_directories(tmp_path, monkeypatch):
    folder = tmp_path / "saved"
    folder.mkdir()
    with pytest.raises(TaskError, match="no data set saved"):
        task(folder)
    (folder / "dataset_info.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(TaskError, match=r"move37\[datasets\]"):
        task(folder)
    (folder / "dataset_dict.json").write_text("{}")
    (folder / "train").mkdir()
    with pytest.raises(TaskError, match=r"give one: .*saved/train"):
        task(folder)


def test_datasets_directory_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "saved"))
    assert task(tmp_path / "saved", held_out=0.0, **COLUMNS).size == 40


KNIGHTS = "(1) Amelia is a knight\n(2) Penelope is a knight\n(3) Evelyn is a knave"


@pytest.mark.parametrize(
    ("answer", "verdict", "share"),
    [
        (KNIGHTS, Verdict.RIGHT, 1),
        ("Evelyn is a knave, penelope is a knight, and Amelia is a knight.", Verdict.RIGHT, 1),
        ("Amelia is a knight, Penelope is a knave, Evelyn is a knave", Verdict.WRONG, 2 / 3),
        ("Amelia is a knight, Penelope is a knight", Verdict.WRONG, 2 / 3),
        (f"{KNIGHTS}\n(4) Zoe is a knight", Verdict.WRONG, 1),
        (f"{KNIGHTS}, Amelia is a knave", Verdict.WRONG, None),
        (f"Perhaps {KNIGHTS}", Verdict.WRONG, None),
        ("", Verdict.WRONG, 0),
    ],
)
def test_people(answer, verdict, share):
    score = people(answer, KNIGHTS)
    assert score.verdict is verdict
    if share is not None:
        assert score.parts["told_right"] == pytest.approx(share)
    assert people(answer, "nobody").verdict is Verdict.CANNOT_TELL


# layout, file, rows after leaving out repeats and gaps, question or gold of one row
REAL = [
    ("gsm8k", "gsm8k/train.jsonl", 7473),
    ("gsm8k", "gsm8k/test.jsonl", 1319),
    ("svamp", "qwen_other_math/svamp.jsonl", 1000),
    ("cmath", "qwen_other_math/cmath.jsonl", 600),
    ("aime24", "aime24/test.jsonl", 30),
    ("amc23", "amc23/test.jsonl", 40),
    ("aqua", "qwen_other_math/aqua.jsonl", 254),
    ("sat_math", "qwen_other_math/sat_math.jsonl", 32),
    ("math500", "math500/test.jsonl", 500),
    ("math_train7474", "math_train7474/math.json", 7469),  # 4 rows without an answer, 1 repeated
    ("college_math", "qwen_other_math/college_math.jsonl", 2781),  # 37 repeated
    ("olymmath", "olymmath/OlymMATH-EN-EASY.jsonl", 100),
    ("knights_knaves", "knights_knaves/3ppl_test.parquet", 100),
    ("knights_knaves", "knights_knaves/5ppl_train.parquet", 900),
]


@pytest.mark.parametrize(("layout", "name", "rows"), REAL)
def test_real_files(layout, name, rows):
    if not (DATA / name).is_file():
        pytest.skip(f"../shared/data/{name} is not here")
    loaded = load(layout, FileTask(file=name, layout=layout, held_out=0.0), 0, DATA)
    assert loaded.size == rows
    for index in range(20):
        problem = loaded.problem(index, "train")
        assert problem.question and loaded.verify(problem.answer, problem).value != 0
        assert loaded.verify(loaded.wrong_answer(problem), problem).value != 1


SEVEN = {"Algebra", "Counting & Probability", "Geometry", "Intermediate Algebra", "Number Theory", "Prealgebra", "Precalculus"}


@pytest.mark.parametrize(
    ("layout", "name", "domains"),
    [
        ("math500", "math500/test.jsonl", SEVEN),  # `subject`
        ("math_train7474", "math_train7474/math.json", SEVEN),  # `type`
        ("olymmath", "olymmath/OlymMATH-EN-EASY.jsonl", {"Algebra", "Combinatorics", "Geometry", "Number Theory"}),
        ("gsm8k", "gsm8k/test.jsonl", {None}),
    ],
)
def test_domains_of_real_files(layout, name, domains):
    if not (DATA / name).is_file():
        pytest.skip(f"../shared/data/{name} is not here")
    loaded = load(layout, FileTask(file=name, layout=layout, held_out=0.0), 0, DATA)
    assert {loaded.problem(index, "train").meta.get("domain") for index in range(loaded.size)} == domains


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")
def test_every_numeric_gold_verifies():
    for layout, name, _ in REAL:
        if layout in ("gsm8k", "svamp", "cmath", "aime24", "amc23", "aqua", "sat_math", "knights_knaves"):
            loaded = load(layout, FileTask(file=name, layout=layout, held_out=0.0), 0, DATA)
            problems = [loaded.problem(index, "train") for index in range(loaded.size)]
            assert all(loaded.verify(p.answer, p).verdict is Verdict.RIGHT for p in problems), name
    assert load("z", FileTask(file="qwen_other_math/cmath.jsonl", layout="cmath"), 0, DATA).languages == {"zh": 1.0}
