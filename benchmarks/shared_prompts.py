"""The update with each prompt computed once per group, against the same update on whole sequences.

    python benchmarks/shared_prompts.py [--rounds 5]

Alternating runs on the bundled model and problems of recipes/tiny/r1_zero.yaml; prints medians and appends a line of JSON
to benchmarks/results/shared_prompts.jsonl.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import alternate, disturbed, medians, parser, write
from move37 import machine, tasks
from move37.learner.batch import Example
from move37.learner.learner import Learner
from move37.models import folder
from move37.recipe import load
from move37.rollout.draw import Sampling
from move37.rollout.prompt import Prompter
from move37.rollout.sampler import Sampler
from move37.sections import RL
from move37.types import LossSpec, Rollout

ROOT = Path(__file__).parents[1]
PROMPTS, SAMPLES = 16, 16
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


def sampled(loaded: folder.Loaded, section: RL, prompts: int, samples: int) -> list[Rollout]:
    recipe = load(ROOT / "recipes/tiny/r1_zero.yaml")
    known = list(tasks.load_all(recipe.tasks, 0, ROOT).values())
    problems = [known[i % len(known)].problem(i, "train") for i in range(prompts)]
    sampler = Sampler(loaded, Prompter.build(loaded.tokenizer, recipe.template, ROOT), torch.float32)
    groups = sampler.sample(problems, samples, Sampling(max_new_tokens=section.max_new_tokens), 1)
    return [r for g in groups for r in g.rollouts]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--prompts", type=int, default=PROMPTS)
    options.add_argument("--samples", type=int, default=SAMPLES)
    asked = options.parse_args()
    torch.set_num_threads(machine.cores())
    section = load(ROOT / "recipes/tiny/r1_zero.yaml").stages["rl"]
    assert isinstance(section, RL)
    loaded = folder.load(folder.bundled(), torch.float32, torch.device("cpu"))
    rollouts = sampled(loaded, section, asked.prompts, asked.samples)
    signs = np.random.default_rng(0).standard_normal(len(rollouts))
    batches = {
        name: [example(r, a, name == "shared") for r, a in zip(rollouts, signs, strict=True)] for name in ("shared", "whole")
    }
    learner = Learner(loaded.model, section.optimizer, 10**6, section.tokens_per_microbatch, torch.float32, Path("."))
    tokens = sum(r.length for r in rollouts)

    def update(name: str) -> dict[str, Any]:
        started = time.perf_counter()
        learner.step(batches[name], SPEC)
        return {"seconds": time.perf_counter() - started, "tokens": tokens}

    taken = alternate({name: lambda _, name=name: update(name) for name in batches}, asked)
    results = {name: medians(found) for name, found in taken.items()}
    ratio = results["whole"]["seconds"] / results["shared"]["seconds"]
    told = {"responses": len(rollouts), "response_tokens": tokens, "seed": 0, "rounds": asked.rounds}
    write("shared_prompts", {**told, "results": results, "ratio": ratio})
    print(f"{len(rollouts)} responses, {tokens} tokens")
    print("".join(f"update, prompts {name:7} {found['seconds']:.2f} s\n" for name, found in results.items()), end="")
    print(f"ratio {ratio:.2f}{disturbed(results)}")


if __name__ == "__main__":
    main()
