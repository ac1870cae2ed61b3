"""Tokens per second of sampling: our kernels, our PyTorch path, and `generate` of transformers, side by side.

    python benchmarks/sample.py [--models S M bundled] [--rows 1 16 64 256] [--rounds 3]

Random Llama-shaped models of float32 weights (S, M, L) and the bundled one; 32 prompt tokens, 128 forced new tokens (no
EOS), temperature 1, log-probs of the sampled tokens recorded by all. Sixteen responses to a prompt, or as many as there are
rows: the samplers of ours run a prompt once for them, which `generate` does not. Alternating rounds, medians; a line of JSON per
model and number of rows is appended to benchmarks/results/sample.jsonl.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import AutoModelForCausalLM

from move37 import machine
from move37.models import folder
from move37.models.decoder import Decoder, Shape
from move37.rollout.draw import Sampling
from move37.rollout.prompt import Prompter
from move37.rollout.sampler import Sampler
from move37.runs import versions
from move37.types import Problem

ROOT = Path(__file__).parents[1]
SIZES = {"S": (128, 5, 4), "M": (256, 6, 4), "L": (512, 8, 8)}  # hidden, layers, heads
VOCABULARY, PROMPT, NEW, GROUP = 1024, 32, 128, 16


@dataclass(frozen=True, slots=True)
class Fixed(Prompter):
    """Prompts of one length, told apart by their first token."""

    def encode(self, question: str) -> list[int]:
        return [100 + int(question), *range(10, 9 + PROMPT)]


def random_model(size: str, path: Path) -> None:
    """A Hugging Face directory of the given size with the bundled tokenizer."""
    hidden, layers, heads = SIZES[size]
    ffn = -(-hidden * 8 // 3 // 32) * 32
    widths = {"head_width": hidden // heads, "ffn": ffn, "context": 1024, "rope_theta": 1e4, "norm_eps": 1e-6}
    flags = {"tied": True, "qkv_bias": False, "qk_norm": False}
    shape = Shape(
        family="llama", vocabulary=VOCABULARY, hidden=hidden, layers=layers, heads=heads, kv_heads=heads, **widths, **flags
    )
    model = Decoder(shape)
    model.initialise(torch.Generator().manual_seed(0))
    words = folder.load(folder.bundled(), torch.float32, torch.device("cpu")).tokenizer
    folder.save(folder.Loaded(model, words, folder.new_config(shape, words.eos_token_id, words.pad_token_id)), path)


def contenders(path: Path, rows: int) -> dict[str, Callable[[int], None]]:
    """name -> a pass with a given seed over `rows` responses."""
    loaded = folder.load(path, torch.float32, torch.device("cpu"))
    group = min(GROUP, rows)
    problems = [Problem(id=str(i), task="bench", question=str(i), answer="") for i in range(rows // group)]
    prompter = Fixed(loaded.tokenizer, "{question}", "")
    sampling = Sampling(max_new_tokens=NEW)

    def ours(kernels: str) -> Callable[[int], None]:
        sampler = Sampler(loaded, prompter, torch.float32, kernels)
        sampler.eos = frozenset()

        def work(seed: int) -> None:
            groups = sampler.sample(problems, group, sampling, seed)
            assert all(r.length == NEW for g in groups for r in g.rollouts)

        return work

    net = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    prompts = torch.tensor([prompter.encode(p.question) for p in problems for _ in range(group)])

    def theirs(seed: int) -> None:
        torch.manual_seed(seed)
        given = {"attention_mask": torch.ones_like(prompts), "do_sample": True, "top_k": 0, "eos_token_id": None}
        ends = {"max_new_tokens": NEW, "min_new_tokens": NEW, "pad_token_id": 1}
        with torch.no_grad():
            out = net.generate(prompts, return_dict_in_generate=True, output_logits=True, **given, **ends)
            written = out.sequences[:, PROMPT:]
            steps = [torch.log_softmax(x.float(), -1).gather(1, written[:, i, None]) for i, x in enumerate(out.logits)]
        assert torch.cat(steps, 1).shape == (rows, NEW)

    return {"native": ours("native"), "torch": ours("torch"), "transformers": theirs}


def measure(name: str, path: Path, rows: int, rounds: int) -> None:
    passes = contenders(path, rows)
    taken: dict[str, list[float]] = {who: [] for who in passes}
    for work in passes.values():
        work(0)
    for seed in range(1, rounds + 1):
        for who, work in passes.items():
            started = time.perf_counter()
            work(seed)
            taken[who].append(time.perf_counter() - started)
    speed = {who: rows * NEW / statistics.median(seconds) for who, seconds in taken.items()}
    ratio = speed["native"] / speed["transformers"]
    print(f"{name:8} {rows:5} " + " ".join(f"{speed[who]:13,.0f}" for who in speed) + f" {ratio:7.1f}", flush=True)
    result = {"model": name, "rows": rows, "new_tokens": NEW, "prompt_tokens": PROMPT, "rounds": rounds, "tokens_per_s": speed}
    result |= {"ratio_to_transformers": ratio, "hardware": machine.describe(), "versions": versions()}
    out = ROOT / "benchmarks" / "results" / "sample.jsonl"
    out.parent.mkdir(exist_ok=True)
    with out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["S", "M", "bundled"], choices=[*SIZES, "bundled"])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 16, 64, 256])
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(machine.cores())
    print(f"{'model':8} {'rows':>5} {'native':>13} {'torch':>13} {'transformers':>13} {'ratio':>7}   tokens/s, float32")
    with TemporaryDirectory() as scratch:
        for name in asked.models:
            path = folder.bundled() if name == "bundled" else Path(scratch) / name
            if name != "bundled":
                random_model(name, path)
            for rows in asked.rows:
                measure(name, path, rows, asked.rounds)


if __name__ == "__main__":
    main()
