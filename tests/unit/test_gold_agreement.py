"""Agreement on real data. The whole of it, with math-verify beside: `python benchmarks/grading.py --agreement`."""

import json

import pytest

import golds
from grading import against_math_verify, model_solutions, olympiad
from move37.report.estimators import majority, pass_at_k
from move37.rewards import shapes
from move37.rewards.verify import VERIFIERS
from move37.types import Verdict

pytestmark = pytest.mark.skipif(not golds.DATA.is_dir(), reason="../shared/data is not here")


@pytest.mark.parametrize("name", golds.SETS)
def test_every_gold_is_right_against_itself(name):
    own = golds.golds(name)
    assert len(own) >= 30
    scores = VERIFIERS[golds.SETS[name][2]]([(gold, gold) for gold in own])
    assert [gold for gold, score in zip(own, scores, strict=True) if score.verdict is not Verdict.RIGHT] == []


@pytest.mark.parametrize("name", ["math500", "math_train7474", "olymmath en", "olymmath zh"])
def test_nearly_every_gold_is_read_exactly(name):
    """Not only as text. docs/grading.md lists the rest."""
    own = golds.golds(name)
    unread = {gold for gold in own if shapes.read(gold).shape is None}
    assert sum(gold in unread for gold in own) <= 0.005 * len(own)


def test_rewritings_are_never_wrong_and_wrong_answers_never_right():
    """By the exact look alone, over a third of the golds of MATH: what it says has to be so."""
    from move37.rewards.equality import look

    for name in ("math500", "math_train7474", "olymmath en"):
        for gold in list(dict.fromkeys(golds.golds(name)))[::3]:
            for answer in golds.rewritings(gold):
                assert (score := look(answer, gold)) is None or score.value == 1, (answer, gold)
            for answer in golds.wrongs(gold):
                if not answer.startswith("-0"):
                    assert (score := look(answer, gold)) is None or score.value == 0, (answer, gold)


def test_graded_outputs_of_four_models():
    """Cobbe et al. 2021 (arXiv 2110.14168): the file's own verdicts, row by row."""
    for model, row in model_solutions().items():
        assert row["disagreements"] == 0, model
        assert int(row["accuracy"] * 10_000) == round(row["published"] * 10_000)  # published cut, not rounded


def test_examples_of_olympiadbench():
    found = olympiad()
    assert found["pairs"] == 36 and found["others"] == []


def test_the_exact_look_and_math_verify_on_a_sample():
    """Where they differ, math-verify dropped a base (4343_6 and 4343_7) or a word that it does not know."""
    found = against_math_verify(150)
    assert found["decided_exactly"] > 0.7 * found["pairs"] > 50
    assert all("_" in gold or "mathrm" in gold for _, gold, _ in found["differ"]), found["differ"]


def cases():
    for name in ("pass_at_k", "pass_at_k_math", "maj_at_k", "avg_at_k", "avg_at_k_math"):
        path = golds.DATA / "metrics_lighteval" / f"{name}.json"
        if path.is_file():
            yield from ((name, case) for case in json.loads(path.read_text(encoding="utf-8"))["test_cases"])


CASES = list(cases())


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name} {case['name']}" for name, case in CASES])
def test_cases_of_lighteval(name, case):
    """pass@k, maj@k and avg@k by our verifiers and estimators. Its avg@k takes the first of several golds."""
    document, answers = case["doc"], case["model_response"]["text"]
    index = document["gold_index"]
    gold = document["choices"][index if isinstance(index, int) else index[0]]
    scores = VERIFIERS["math" if name.endswith("math") else "text"]([(answer, gold) for answer in answers])
    right = [score.verdict is Verdict.RIGHT for score in scores]
    k = case["metric_params"]["k"]
    if name.startswith("pass"):
        value = pass_at_k(case["metric_params"]["n"], sum(right), k)
    elif name.startswith("maj"):
        value = majority(answers[:k], right[:k])
    else:
        value = sum(right[:k]) / k
    [expected] = case["expected_output"].values()
    if case["name"] == "Maj at K - No Majority":
        assert expected == 1 and value == pytest.approx(1 / 3)  # theirs gives a tie to the first answer, ours splits it
    else:
        assert value == pytest.approx(expected, abs=case["tolerance"])
