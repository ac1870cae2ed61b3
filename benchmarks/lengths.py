"""Write lengths.json, the lengths that the ragged load draws from, from the rollouts of a tiny run.

    move37 run recipes/tiny/r1_zero.yaml rl.max_new_tokens=256 rl.probe_every=0
    python benchmarks/lengths.py runs/r1_zero
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from workload import TINY_RUN


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    asked = parser.parse_args()
    found: Counter[int] = Counter()
    for shard in sorted((asked.run / "stages" / "rl" / "rollouts").glob("*.parquet")):
        found.update(sum(row) for row in pq.read_table(shard, columns=["sampled"])["sampled"].to_pylist())
    total = found.total()
    mean = sum(n * count for n, count in found.items()) / total
    told = {"what": "responses of recipes/tiny/r1_zero.yaml with rl.max_new_tokens=256, all steps: tokens -> how many"}
    told |= {"mean": mean, "responses": {str(n): found[n] for n in sorted(found)}}
    TINY_RUN.write_text(json.dumps(told) + "\n", encoding="utf-8")
    print(f"{total} responses of {mean:.1f} tokens on average, {max(found)} at most")


if __name__ == "__main__":
    main()
