"""Golds of the real data sets, equivalent ways to write them, and answers that are wrong: the material of grading.py."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from move37.sections import FileTask
from move37.tasks import load

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
SETS = {  # name -> (layout, file, verifier)
    "gsm8k train": ("gsm8k", "gsm8k/train.jsonl", "number"),
    "gsm8k test": ("gsm8k", "gsm8k/test.jsonl", "number"),
    "svamp": ("svamp", "qwen_other_math/svamp.jsonl", "number"),
    "cmath": ("cmath", "qwen_other_math/cmath.jsonl", "number"),
    "aime24": ("aime24", "aime24/test.jsonl", "number"),
    "amc23": ("amc23", "amc23/test.jsonl", "number"),
    "aqua": ("aqua", "qwen_other_math/aqua.jsonl", "choice"),
    "sat_math": ("sat_math", "qwen_other_math/sat_math.jsonl", "choice"),
    "math500": ("math500", "math500/test.jsonl", "math"),
    "math_train7474": ("math_train7474", "math_train7474/math.json", "math"),
    "olymmath en": ("olymmath", "olymmath/OlymMATH-EN-EASY.jsonl", "math"),
    "olymmath zh": ("olymmath", "olymmath/OlymMATH-ZH-EASY.jsonl", "math"),
    "college_math": ("college_math", "qwen_other_math/college_math.jsonl", "math"),
}


@cache
def golds(name: str) -> list[str]:
    """Every gold of a set, in the order of its file."""
    layout, file, _ = SETS[name]
    task = load(layout, FileTask(file=file, layout=layout, held_out=0.0), 0, DATA)
    problems = (task.problem(index, "train") for index in range(task.size or 0))
    return [problem.answer for problem in sorted(problems, key=lambda problem: problem.meta["row"])]


def rewritings(gold: str) -> Iterator[str]:
    """Other ways to write the same answer."""
    yield f"${gold}$" if "$" not in gold else gold
    yield rf"\boxed{{{gold}}}" if "$" not in gold else gold
    if re.fullmatch(r"-?\d+", gold):
        yield f"{gold}.0"
        yield f"{int(gold):,}"
        yield rf"\frac{{{2 * int(gold)}}}{{2}}"
    if "\\frac" in gold:
        yield gold.replace("\\frac", "\\dfrac")
    if found := re.fullmatch(r"(-?)\\d?frac\{(\d+)\}\{(\d+)\}", gold):
        yield f"{found[1]}{found[2]}/{found[3]}"
        yield rf"{found[1]}\frac{{{3 * int(found[2])}}}{{{3 * int(found[3])}}}"
    if "(" in gold and not re.search(r"\\left|\\text|\$", gold) and gold.count("(") == gold.count(")"):
        yield gold.replace("(", "\\left(").replace(")", "\\right)")
    if re.search("[+=]", gold) and "\\" not in gold:
        yield re.sub(r"\s*([+=])\s*", r" \1 ", gold)


def wrongs(gold: str) -> Iterator[str]:
    """Answers near the gold that are another thing: its last number one higher, its sign turned, something more."""
    numbers = list(re.finditer(r"\d+", gold))
    if numbers:
        last = numbers[-1]
        yield f"{gold[: last.start()]}{int(last[0]) + 1}{gold[last.end() :]}"
        first = numbers[0]
        yield f"{gold[: first.start()]}{int(first[0]) + 2}{gold[first.end() :]}"
    bare = gold.strip("$")
    if re.match(r"[\d\\]", bare) and not bare.startswith(("\\text", "\\begin", "\\left", "\\$", "\\pm")):
        yield f"-{bare}"
