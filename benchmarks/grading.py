"""Verdicts per second of the mathematics graders, against calling math-verify naively; and agreement on real data.

    python benchmarks/grading.py [--pairs 20000]
    python benchmarks/grading.py --agreement [--every 1]

The first times `equality.verify_all` on golds of gsm8k, math500 and math_train7474 against themselves, against equivalent
rewritings and against wrong answers (golds.py), shuffled; then with hostile answers among them; then `parse` and `verify` of
math-verify on a part of the same pairs, in as many processes. Caches are cold and the workers are running.

The second grades every gold of thirteen files against itself and says what decided; the 5,276 graded outputs of
gsm8k_model_solutions; OlympiadBench's scoring examples; and compares the exact look with math-verify on rewritings and wrong
answers (every n-th gold). Both append a line of JSON to benchmarks/results/grading.jsonl.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import time
from collections import Counter
from typing import Any

from golds import DATA, ROOT, SETS, golds, rewritings, wrongs
from move37 import machine
from move37.grading import grade_records
from move37.rewards import equality, extract, shapes
from move37.rewards.verify import VERIFIERS, number
from move37.runs import versions

SEED = 0
BATCH = 512
ORDINARY = ("gsm8k train", "gsm8k test", "math500", "math_train7474")
HOSTILE = (
    r"9^{9^{9^{9}}}",
    r"\left(9^{9}\right)^{9^{9}}+\sin 1",
    r"\sum_{k=1}^{1999} \frac{1}{k!^{k!}}",
    r"\int_0^1 \int_0^1 \int_0^1 \frac{x^{x^{y}} y^{z^{x}}}{\sin(xyz)+\cos^{99} x} dx dy dz",
    r"\prod_{k=1}^{1999} (x^{k} + \sqrt{k})",
    "{" * 900 + "x" + "}" * 900,
    r"\sqrt{" * 200 + "2" + "}" * 200,
    r"(x+y+z+w)^{999} (a+b+c+d)^{999}",
)
GRADED = {"6b_finetuning": 0.2168, "6b_verification": 0.3904, "175b_finetuning": 0.3472, "175b_verification": 0.5625}
Pair = tuple[str, str]


def workload(count: int) -> list[Pair]:
    """(answer, gold): a third each of the gold itself, a rewriting and a wrong answer."""
    pairs = [
        (answer, gold)
        for name in ORDINARY
        for gold in golds(name)
        for answer in (gold, *list(rewritings(gold))[1:2], *list(wrongs(gold))[:1])
    ]
    random.Random(SEED).shuffle(pairs)
    return pairs[:count]


def ours(pairs: list[Pair]) -> tuple[float, float, Counter]:
    """(seconds, slowest batch, verdicts) of `verify_all` in batches, as a training step or the command grades."""
    shapes.read.cache_clear()
    slowest, verdicts = 0.0, Counter()
    started = time.perf_counter()
    for at in range(0, len(pairs), BATCH):
        before = time.perf_counter()
        verdicts.update(score.verdict.value for score in equality.verify_all(pairs[at : at + BATCH]))
        slowest = max(slowest, time.perf_counter() - before)
    return time.perf_counter() - started, slowest, verdicts


def naive(pair: Pair) -> bool:
    """What the library's page shows."""
    from math_verify import parse, verify

    return verify(parse(f"${pair[1]}$"), parse(f"${pair[0]}$"))


def measure(count: int) -> dict[str, Any]:
    cores = max(2, machine.cores())
    equality.verify_all([(r"\sin x + k", rf"\cos x + {k}") for k in range(64)])  # the workers start
    pairs = workload(count)
    seconds, slowest, verdicts = ours(pairs)
    found: dict[str, Any] = {"pairs": len(pairs), "ours": len(pairs) / seconds, "slowest_batch_s": slowest, "verdicts": verdicts}
    mixed = list(workload(count + 4000)[count:]) or pairs[:4000]
    for place, answer in enumerate(HOSTILE):
        mixed.insert(100 + 200 * place, (answer, r"\sin x + \sqrt[3]{2}"))
    seconds, slowest, _ = ours(mixed)
    found |= {"hostile": len(HOSTILE), "ours_with_hostile": len(mixed) / seconds, "slowest_batch_with_hostile_s": slowest}
    part = pairs[: min(len(pairs), 800)]
    with multiprocessing.get_context("spawn").Pool(cores) as processes:
        processes.map(naive, part[:16])
        started = time.perf_counter()
        processes.map(naive, part, chunksize=20)
        found["math_verify"] = len(part) / (time.perf_counter() - started)
    return found | {"processes": cores}


def self_agreement(name: str) -> dict[str, Any]:
    """How each gold of a set is decided against itself: exactly, by math-verify, or only because the text is the same."""
    verifier = SETS[name][2]
    all_golds = golds(name)
    scores = VERIFIERS[verifier]([(gold, gold) for gold in all_golds])
    not_right = sorted({gold for gold, score in zip(all_golds, scores, strict=True) if score.value != 1})
    if verifier != "math":
        return {"golds": len(all_golds), "right": len(all_golds) - len(not_right), "not_right": not_right}
    distinct = sorted(set(all_golds))
    read = {gold: shapes.read(gold) for gold in distinct}
    left = [gold for gold in distinct if not read[gold].shape or shapes.certain(read[gold].shape, read[gold].shape) is not True]
    outcomes = equality.pool.run([(gold, gold) for gold in left], equality.LIMIT_S)
    by_text = [g for g, o in zip(left, outcomes, strict=True) if o.kind != "ok" or o.value[0] is not True]
    counts = Counter(all_golds)
    return {
        "golds": len(all_golds),
        "right": len(all_golds) - sum(counts[gold] for gold in not_right),
        "math_verify": sum(counts[gold] for gold in left if gold not in by_text),
        "text_only": sum(counts[gold] for gold in by_text),
        "not_right": not_right,
        "examples_of_text_only": by_text[:400],
    }


def model_solutions() -> dict[str, Any]:
    """Accuracy by model, as we grade, and the number of rows where the file says something else."""
    path = DATA / "gsm8k_model_solutions" / "example_model_solutions.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found = {}
    for model, published in GRADED.items():
        right = [
            number(extract.answer_of(row[model]["solution"]) or "", extract.answer_of(row["ground_truth"]) or "").value == 1
            for row in rows
        ]
        other = sum(r != row[model]["is_correct"] for r, row in zip(right, rows, strict=True))
        found[model] = {"accuracy": sum(right) / len(rows), "published": published, "disagreements": other}
    return found


def olympiad() -> dict[str, Any]:
    """OlympiadBench's own examples: how many pairs are as it expects."""
    cases = json.loads((DATA / "checker_olympiadbench" / "scoring_examples.json").read_text(encoding="utf-8"))
    flat = [(case["GT"], answer) for case in cases for answer in case["Ans"]]
    records = [
        {"kind": "math", "gold": gold, "answer": a["answer"]}
        | ({"tolerance": json.loads(str(a["precision"]))} if "precision" in a else {})
        for gold, a in flat
    ]
    verdicts = [record["verdict"] for record in grade_records(records)]
    expected = ["right" if a["equal"] else "wrong" for _, a in flat]
    other = [(*flat[k], verdicts[k]) for k in range(len(flat)) if verdicts[k] != expected[k]]
    return {"pairs": len(flat), "as_expected": len(flat) - len(other), "others": other}


def against_math_verify(every: int) -> dict[str, Any]:
    """The exact look against math-verify with our closer look, on what the exact look decided."""
    names = ("math500", "olymmath en", "math_train7474", "college_math")
    distinct = sorted({gold for name in names for gold in golds(name)})[::every]
    pairs = [(answer, gold) for gold in distinct for answer in (*list(rewritings(gold))[1:4], *wrongs(gold))]
    looks = [equality.look(*pair) for pair in pairs]
    decided = [(pair, look) for pair, look in zip(pairs, looks, strict=True) if look is not None]
    items = [(extract.boxes(a)[-1] if extract.boxes(a) else a, gold) for (a, gold), _ in decided]
    outcomes = equality.pool.run(items, equality.LIMIT_S)
    table: Counter = Counter()
    differ = []
    for (pair, look), outcome in zip(decided, outcomes, strict=True):
        theirs = outcome.value[0] if outcome.kind == "ok" else None
        table[f"ours {look.verdict.value}, theirs {'cannot tell' if theirs is None else 'right' if theirs else 'wrong'}"] += 1
        if theirs is not None and theirs != (look.value == 1):
            differ.append((*pair, look.verdict.value))
    return {"pairs": len(pairs), "decided_exactly": len(decided), "table": table, "differ": differ}


def agreement(every: int) -> dict[str, Any]:
    sets = {}
    for name in SETS:
        sets[name] = found = self_agreement(name)
        rest = f"  by math-verify {found['math_verify']}, text only {found['text_only']}" if "text_only" in found else ""
        print(f"{name:16} {found['golds']:6} golds, {found['right']:6} right against themselves{rest}", flush=True)
    solutions, pairs, compared = model_solutions(), olympiad(), against_math_verify(every)
    for model, row in solutions.items():
        print(f"{model:18} {row['accuracy']:.4f} (published {row['published']}), {row['disagreements']} rows disagree")
    print(f"OlympiadBench: {pairs['as_expected']} of {pairs['pairs']} as expected; others: {pairs['others']}")
    print(f"exact look: {compared['decided_exactly']} of {compared['pairs']} pairs decided")
    for case, count in sorted(compared["table"].items()):
        print(f"  {case:36} {count:6}")
    for answer, gold, verdict in compared["differ"]:
        print(f"  differ: {answer[:60]!r} against {gold[:60]!r}: ours {verdict}")
    return {"sets": sets, "model_solutions": solutions, "olympiadbench": pairs, "exact_and_math_verify": compared}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--agreement", action="store_true")
    parser.add_argument("--every", type=int, default=1, help="of the golds, in the comparison with math-verify")
    asked = parser.parse_args()
    if asked.agreement:
        result = {"what": "agreement", "every": asked.every} | agreement(asked.every)
    else:
        result = {"what": "speed", "seed": SEED} | measure(asked.pairs)
        ratio = result["ours"] / result["math_verify"]
        print(f"ours: {result['ours']:,.0f} verdicts/s ({result['pairs']} pairs, {result['processes']} workers)")
        hostile = f"with {result['hostile']} hostile answers among 4,000: {result['ours_with_hostile']:,.0f} verdicts/s"
        print(f"{hostile}, slowest batch {result['slowest_batch_with_hostile_s']:.1f} s")
        print(f"math-verify called naively in {result['processes']} processes: {result['math_verify']:,.0f} ({ratio:.0f} times)")
    out = ROOT / "benchmarks" / "results" / "grading.jsonl"
    out.parent.mkdir(exist_ok=True)
    with out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result | {"hardware": machine.describe(), "versions": versions()}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
