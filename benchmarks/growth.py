"""How cost grows: memory of the update with the vocabulary and with the tokens, and time with the samples per prompt.

    python benchmarks/growth.py [--models S M] [--vocabularies 128 4096 32768]

Each number is of a process of its own, whose peak is the largest resident memory it ever had; `over` is what the update added
to the peak after loading. The step is Move37's whole step (sample, score, update) on the ragged load; twice the samples
should take at most twice the time. Lines of JSON go to benchmarks/results/growth.jsonl.
"""

from __future__ import annotations

import argparse
import itertools

from transformers import AutoTokenizer

import workload
from common import Workers, alternate, configurations, disturbed, medians, model, own, parser, write

SAMPLES = (8, 16, 32)


def memory(asked: argparse.Namespace, name: str, vocabulary: int, samples: int) -> None:
    """The update's memory: weights, gradient, both moments and everything a pass keeps."""
    batch = {"load": "forced", "vocabulary": vocabulary, "prompts": workload.PROMPTS, "samples": samples}
    with Workers() as workers:
        path = model(name, vocabulary, workers.scratch)
        with own(asked.kernels, path, asked.dtypes[0], asked.budget) as worker:
            before = worker.ask("learn", **{**batch, "prompts": 1, "samples": 1}, seed=0)["peak_memory"]  # weights and moments
            after = worker.ask("learn", **batch, seed=1)
    told = {"measure": "memory", "model": name, **batch, "budget": asked.budget, "dtype": asked.dtypes[0]}
    added = after["peak_memory"] - before
    write("growth", {**told, "tokens": after["tokens"], "peak_memory": after["peak_memory"], "added": added})
    print(
        f"memory {name:8} {vocabulary:6} {samples:4} {after['tokens']:7} {after['peak_memory'] / 2**20:8,.0f} MiB, "
        f"over one short response {added / 2**20:6,.0f} MiB; logits alone would be {after['tokens'] * vocabulary / 2**18:8,.0f}",
        flush=True,
    )


def seconds(asked: argparse.Namespace, name: str, vocabulary: int) -> None:
    """Whole steps with more and more samples per prompt."""
    with Workers() as workers:
        path = model(name, vocabulary, workers.scratch)
        prompts = workload.word_prompts(AutoTokenizer.from_pretrained(path), workload.PROMPTS, seed=0)
        with own(asked.kernels, path, asked.dtypes[0], asked.budget) as worker:

            def step(samples: int, seed: int) -> dict:
                lengths = workload.lengths("ragged", len(prompts) * samples, seed)
                return worker.ask("run", prompts=prompts, samples=samples, lengths=lengths, seed=seed)

            works = {str(n): lambda seed, n=n: step(n, seed) for n in SAMPLES}
            results = {n: medians(found) for n, found in alternate(works, asked).items()}
    told = {"measure": "time", "model": name, "vocabulary": vocabulary, "load": "ragged", "dtype": asked.dtypes[0]}
    write("growth", {**told, "rounds": asked.rounds, "budget": asked.budget, "results": results})
    for n, found in results.items():
        print(f"time   {name:8} {vocabulary:6} {n:>4} {found['tokens']:7,.0f} {found['seconds']:8.2f} s{disturbed({n: found})}")
    for less, more in itertools.pairwise(SAMPLES):
        times, tokens = (results[str(more)][k] / results[str(less)][k] for k in ("seconds", "tokens"))
        print(f"       {less} to {more} samples per prompt: {tokens:.2f} times the tokens in {times:.2f} times the time")


def main() -> None:
    options = parser(__doc__, models=("S", "M"), vocabularies=(128, 4096, 32768))
    options.add_argument("--samples", nargs="+", type=int, default=[8, 16], help="samples per prompt, of the memory alone")
    asked = options.parse_args()
    for name, vocabulary in configurations(asked.models, asked.vocabularies):
        for samples in asked.samples:
            memory(asked, name, vocabulary, samples)
    for name, vocabulary in configurations(asked.models, asked.vocabularies[:1]):
        seconds(asked, name, vocabulary)


if __name__ == "__main__":
    main()
