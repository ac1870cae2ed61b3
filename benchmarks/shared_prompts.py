"""The update with each prompt computed once per group, against the same update on whole sequences.

    python benchmarks/shared_prompts.py

Alternating runs on the bundled model and problems of recipes/tiny/r1_zero.yaml; prints medians and appends a line of JSON
to benchmarks/results/shared_prompts.jsonl.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from move37 import machine, tasks
from move37.learner.batch import Example
from move37.learner.learner import Learner
from move37.models import folder
from move37.recipe import load
from move37.rollout.draw import Sampling
from move37.rollout.prompt import Prompter
from move37.rollout.sampler import Sampler
from move37.runs import versions
from move37.sections import RL
from move37.types import LossSpec, Rollout

ROOT = Path(__file__).parents[1]
PROMPTS, SAMPLES, ROUNDS = 16, 16, 5
SPEC = LossSpec(kind="clip", normalise="token")


def example(rollout: Rollout, advantage: float, shared: bool) -> Example:
    start = int(np.argmax(rollout.sampled))
    kept = rollout.sampled[start:] if shared else rollout.sampled[1:]
    old = rollout.logprobs[start:] if shared else rollout.logprobs[1:]
    return Example(
        tokens=rollout.token_ids,
        start=start if shared else 0,
        weight=kept.astype(np.float32),
        advantage=np.full(len(kept), advantage, np.float32),
        old=old,
    )


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    torch.set_num_threads(machine.cores())
    recipe = load(ROOT / "recipes/tiny/r1_zero.yaml")
    section = recipe.stages["rl"]
    assert isinstance(section, RL)
    loaded = folder.load(folder.bundled(), torch.float32, torch.device("cpu"))
    known = list(tasks.load_all(recipe.tasks, 0, ROOT).values())
    problems = [known[i % len(known)].problem(i, "train") for i in range(PROMPTS)]
    sampler = Sampler(loaded, Prompter.build(loaded.tokenizer, recipe.template, ROOT), torch.float32)
    sampling = Sampling(max_new_tokens=section.max_new_tokens)
    sampler.sample(problems, SAMPLES, sampling, 0)  # warm-up
    groups = sampler.sample(problems, SAMPLES, sampling, 1)
    sample_s = seconds(lambda: sampler.sample(problems, SAMPLES, sampling, 1))
    rollouts = [r for g in groups for r in g.rollouts]
    signs = np.random.default_rng(0).standard_normal(len(rollouts))
    batches = {s: [example(r, a, s) for r, a in zip(rollouts, signs, strict=True)] for s in (True, False)}
    learner = Learner(loaded.model, section.optimizer, 1, section.tokens_per_microbatch, torch.float32, Path("."))
    learner.logprobs(batches[True], 1.0)  # warm-up
    taken: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(ROUNDS):
        for shared in (True, False):
            taken[shared].append(seconds(lambda s=shared: learner.step(batches[s], SPEC)))
    tokens = sum(r.length for r in rollouts)
    shared_s, whole_s = (statistics.median(taken[s]) for s in (True, False))
    result = {
        "responses": len(rollouts),
        "response_tokens": tokens,
        "sample_tokens_per_s": tokens / sample_s,
        "update_shared_s": shared_s,
        "update_whole_s": whole_s,
        "ratio": whole_s / shared_s,
        "hardware": machine.describe(),
        "versions": versions(),
    }
    print(f"{len(rollouts)} responses, {tokens} tokens; sampled at {tokens / sample_s:.0f} tokens/s")
    print(f"update, prompts shared  {shared_s:.2f} s\nupdate, whole sequences {whole_s:.2f} s\nratio {whole_s / shared_s:.2f}")
    out = ROOT / "benchmarks" / "results" / "shared_prompts.jsonl"
    with out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
