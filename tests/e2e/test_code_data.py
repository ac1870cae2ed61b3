"""The code graders on real data: HumanEval's references, CRUXEval's rows and the published scores of a model's outputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import code_data
import sandboxed

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
ROWS = 40  # of CRUXEval and its outputs; `python benchmarks/code_data.py` takes all


@pytest.mark.skipif(not (DATA / "humaneval").is_dir(), reason="HumanEval is not beside the repository (../shared/data/humaneval)")
def test_every_reference_of_humaneval_passes_and_none_without_its_body():
    sandboxed.required()
    found = code_data.humaneval(DATA, completions=False)
    assert found["problems"] == found["references passed"] == 164
    assert found["bodies of `pass` passed"] == found["unknown"] == 0


@pytest.mark.skipif(not (DATA / "cruxeval").is_dir(), reason="CRUXEval is not beside the repository (../shared/data/cruxeval)")
def test_cruxeval_and_its_published_scores():
    sandboxed.required()
    found = code_data.cruxeval(DATA, ROWS)
    assert found["rows"] == found["rows passed"] == ROWS
    assert found["outputs"] == 10 * ROWS and found["verdicts as published"] == found["outputs"]


def test_the_results_that_are_committed_are_of_all_rows():
    results = ROOT / "benchmarks" / "results" / "code_data.jsonl"
    last = json.loads(results.read_text(encoding="utf-8").splitlines()[-1])
    assert last["humaneval"]["references passed"] == last["humaneval"]["completions passed"] == 164
    assert last["cruxeval"]["rows passed"] == 800 and last["cruxeval"]["pass@1"] == last["cruxeval"]["published pass@1"]
