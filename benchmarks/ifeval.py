"""Agreement of our IFEval verdicts with published ones, per instruction.

    python benchmarks/ifeval.py [--data ../shared/data/ifeval]

The directory holds en_input_data.jsonl and the judged outputs of one model, en_qwen2.5-7b_strict.jsonl and ..._loose.jsonl.
Every verdict that differs is printed. The speed is of strict and loose verdicts together, on one process.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from move37.rewards.ifeval import CHECKERS, instructions, verify


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def compare(data: Path, kind: str) -> tuple[Counter[str], Counter[str]]:
    """How often each instruction was asked, and how often the verdicts differ."""
    asked, differ = Counter[str](), Counter[str]()
    ours, theirs = [], []
    for row, judged in zip(read(data / "en_input_data.jsonl"), read(data / f"en_qwen2.5-7b_{kind}.jsonl"), strict=True):
        wanted = instructions(row["instruction_id_list"], row["kwargs"])
        for one, told in zip(wanted, judged["follow_instruction_list"], strict=True):
            found = bool(verify(judged["response"], [one]).parts[kind])
            asked[one["id"]] += 1
            if found != told:
                differ[one["id"]] += 1
                print(f"{kind}: prompt {row['key']}, {one['id']}: published {told}, ours {found}")
        ours.append(verify(judged["response"], wanted).parts[kind])
        theirs.append(judged["follow_all_instructions"])
    print(f"{kind}: prompts followed: published {sum(theirs) / len(theirs):.4f}, ours {sum(ours) / len(ours):.4f}")
    return asked, differ


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ifeval"))
    data = parser.parse_args().data
    asked, strict = compare(data, "strict")
    _, loose = compare(data, "loose")
    print(f"\n{'instruction':48}{'asked':>7}{'strict':>10}{'loose':>10}   (verdicts that agree)")
    for name in CHECKERS:
        n = asked[name]
        print(f"{name:48}{n:7}{n - strict[name]:10}{n - loose[name]:10}")
    total = asked.total()
    print(f"{'all':48}{total:7}{total - strict.total():10}{total - loose.total():10}")
    pairs = list(zip(read(data / "en_input_data.jsonl"), read(data / "en_qwen2.5-7b_strict.jsonl"), strict=True))
    started = time.perf_counter()
    for row, judged in pairs:
        verify(judged["response"], instructions(row["instruction_id_list"], row["kwargs"]))
    print(f"{len(pairs) / (time.perf_counter() - started):.0f} responses/s")


if __name__ == "__main__":
    main()
