"""Tokens/s of the update: Move37 against a padded forward and backward pass of transformers.

    python benchmarks/learn.py [--models S M L bundled] [--vocabularies 128 4096] [--loads forced ragged]

256 responses to 16 prompts of 32 tokens, the clipped loss, gradient clipping and AdamW in both; `hf` pads each micro-batch to
its longest as TRL does, `hf sorted` sorts by length first. Alternating rounds, medians. tokens/s are completion tokens;
`share` is 6 x parameters x tokens (completions, and each prompt once) per second over the matrix products the machine was
seen to do in the same process order (see roofline.py). A line of JSON each in benchmarks/results/learn.jsonl.
"""

from __future__ import annotations

import argparse
from typing import Any

import workload
from common import (
    MODELS,
    Work,
    Workers,
    alternate,
    configurations,
    disturbed,
    medians,
    model,
    parameters,
    parser,
    ratios,
    write,
)
from roofline import products


def contenders(workers: Workers, asked: argparse.Namespace, path: str, batch: dict[str, Any], dtype: str) -> dict[str, Work]:
    """name -> one update; the seed is that of the batch, so that all learn from the same."""
    own = workers.start("move37_worker.py")
    own.ask("load", path=path, dtype=dtype, kernels=asked.kernels, budget=asked.budget)
    works: dict[str, Work] = {"move37": lambda seed: own.ask("learn", **batch, seed=seed)}
    if asked.alone:
        return works
    hf = workers.start("hf_worker.py", tuned=True)
    hf.ask("load", path=path, dtype=dtype)

    def theirs(by_length: bool) -> Work:
        return lambda seed: hf.ask("learn", batch={**batch, "seed": seed}, micro_batch=asked.micro_batch, by_length=by_length)

    works["hf"] = theirs(False)
    if batch["load"] == "ragged":
        works["hf sorted"] = theirs(True)
    return works


def measure(asked: argparse.Namespace, name: str, vocabulary: int, load: str, dtype: str) -> None:
    batch = {"load": load, "vocabulary": vocabulary, "prompts": asked.prompts, "samples": asked.samples}
    with Workers() as workers:
        path = model(name, vocabulary, workers.scratch)
        works = contenders(workers, asked, str(path), batch, dtype)
        results = {who: medians(found) for who, found in alternate(works, asked).items()}
        weights = parameters(path)
    peak = products(dtype)
    for found in results.values():
        needed = found["tokens"] + asked.prompts * workload.PROMPT
        found["flops"] = 6 * weights * needed / found["seconds"]
        found["share"] = found["flops"] / peak
    told = {"model": name, **batch, "dtype": dtype, "seed": 0, "rounds": asked.rounds, "parameters": weights}
    told |= {"peak_flops": peak, "micro_batch": asked.micro_batch, "budget": asked.budget}
    write("learn", {**told, "results": results, "ratio": ratios(results)})
    for who, found in results.items():
        against = "" if who == "move37" else f"{ratios(results)[who]:6.2f}"
        print(
            f"{name:8} {vocabulary:5} {load:7} {dtype:9} {who:9} {found['seconds']:7.2f} {found['tokens_per_s']:9,.0f} "
            f"{found['share']:6.0%} {found['peak_memory'] / 2**20:8,.0f} {against}",
            flush=True,
        )
    if remark := disturbed(results):
        print(remark)


def main() -> None:
    options = parser(__doc__, models=MODELS)
    options.add_argument("--loads", nargs="+", default=list(workload.LOADS), choices=workload.LOADS)
    options.add_argument("--prompts", type=int, default=workload.PROMPTS)
    options.add_argument("--samples", type=int, default=workload.SAMPLES)
    options.add_argument("--micro-batch", type=int, default=16, help="sequences per micro-batch of transformers")
    options.add_argument("--alone", action="store_true", help="Move37 alone")
    asked = options.parse_args()
    print(f"{'model':8} {'vocab':>5} {'load':7} {'dtype':9} {'':9} {'s':>7} {'tokens/s':>9} {'share':>6} {'MiB':>8}  ratio")
    for name, vocabulary in configurations(asked.models, asked.vocabularies):
        for load in asked.loads:
            for dtype in asked.dtypes:
                measure(asked, name, vocabulary, load, dtype)


if __name__ == "__main__":
    main()
