"""One full GRPO step (sample 16 prompts x 16 responses, score, one update): Move37 against TRL.

    python3.11 -m venv ../venvs/trl
    ../venvs/trl/bin/pip install torch==2.13.0 && ../venvs/trl/bin/pip install trl
    python benchmarks/rl_step.py --trl-python ../venvs/trl/bin/python [--models S M L bundled] [--vocabularies 128 4096]

Same model files, same prompts of 32 tokens, same number of tokens in every response, the same reward and loss (GRPO, beta 0,
AdamW); alternating steps, medians. Two loads: `forced`, where every response has 128 tokens, and `ragged`, where lengths are
drawn from those of the tiny run (lengths.json), at most 256. Both sides draw every token up to the end; TRL is ended by a
logits processor that writes into the scores, Move37 by ending the row. TRL has its best settings (see trl_worker.py), and an
allocator that keeps large tensors. tokens/s are completion tokens by the wall-clock of the whole step. Without --trl-python
Move37 runs alone. A line of JSON per model, vocabulary, load and dtype goes to benchmarks/results/rl_step.jsonl.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

import workload
from common import Work, Workers, alternate, configurations, disturbed, medians, model, parser, ratios, write
from move37 import machine

PARTS = ("generate", "score", "update")


def contenders(
    workers: Workers, asked: argparse.Namespace, path: Path, load: str, dtype: str
) -> tuple[dict[str, Work], dict[str, str]]:
    """name -> one step with a given seed; versions of the others."""
    prompts = workload.word_prompts(AutoTokenizer.from_pretrained(path), asked.prompts, seed=0)
    rows = asked.prompts * asked.samples

    def lengths(seed: int) -> list[int]:
        return workload.lengths(load, rows, seed)

    own = workers.start("move37_worker.py")
    own.ask("load", path=str(path), dtype=dtype, kernels=asked.kernels, budget=asked.budget, cache=asked.cache)

    def ours(seed: int) -> dict[str, Any]:
        return own.ask("run", prompts=prompts, samples=asked.samples, lengths=lengths(seed), seed=seed)

    if asked.trl_python is None:
        return {"move37": ours}, {}
    trl = workers.start("trl_worker.py", asked.trl_python, tuned=True)
    versions = trl.ask(
        "start",
        path=str(path),
        dtype=dtype,
        prompts=prompts,
        prompt_tokens=workload.PROMPT,
        prompts_per_step=asked.prompts,
        samples=asked.samples,
        new_tokens=workload.limit(load),
        micro_batch=min(asked.micro_batch, rows),
        threads=machine.cores(),
        scratch=str(workers.scratch / "trl"),
        seed=0,
    )["versions"]
    return {"move37": ours, "trl": lambda seed: trl.ask("step", lengths=lengths(seed))}, versions


def measure(asked: argparse.Namespace, name: str, vocabulary: int, load: str, dtype: str) -> None:
    with Workers() as workers:
        path = model(name, vocabulary, workers.scratch)
        steps, versions = contenders(workers, asked, path, load, dtype)
        results = {who: medians(found) for who, found in alternate(steps, asked).items()}
    told = {"model": name, "vocabulary": vocabulary, "load": load, "dtype": dtype, "seed": 0, "rounds": asked.rounds}
    told |= {"prompts": asked.prompts, "samples": asked.samples, "micro_batch": asked.micro_batch, "budget": asked.budget}
    told["cache"] = asked.cache
    write("rl_step", {**told, "results": results, "ratio": ratios(results)}, versions)
    for who, found in results.items():
        parts = " ".join(f"{found[part]:9.2f}" for part in PARTS)
        print(
            f"{name:8} {vocabulary:5} {load:7} {dtype:9} {who:7} {found['seconds']:8.2f} {parts} {found['tokens_per_s']:9,.0f}"
            f" {found['peak_memory'] / 2**20:8,.0f}" + (f" {ratios(results)['trl']:6.2f}" if who == "trl" else ""),
            flush=True,
        )
    if remark := disturbed(results):
        print(remark)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--trl-python", type=Path, help="python of the environment with TRL")
    options.add_argument("--loads", nargs="+", default=list(workload.LOADS), choices=workload.LOADS)
    options.add_argument("--prompts", type=int, default=workload.PROMPTS)
    options.add_argument("--samples", type=int, default=workload.SAMPLES)
    options.add_argument("--micro-batch", type=int, default=64, help="sequences per micro-batch of TRL")
    asked = options.parse_args()
    heads = ("step s", *PARTS, "tokens/s", "MiB")
    print(f"{'model':8} {'vocab':>5} {'load':7} {'dtype':9} {'':7} {heads[0]:>8} ", end="")
    print(" ".join(f"{h:>9}" for h in heads[1:5]) + f" {heads[5]:>8} {'ratio':>6}")
    for name, vocabulary in configurations(asked.models, asked.vocabularies):
        for load in asked.loads:
            for dtype in asked.dtypes:
                measure(asked, name, vocabulary, load, dtype)


if __name__ == "__main__":
    main()
