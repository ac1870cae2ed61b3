"""Move37 in a process of its own, as its rivals are: a step, or a part of one, on request."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from channel import Channel, Handler
from move37 import machine
from pieces import Step


class Served:
    """The requests that this worker answers."""

    step: Step

    def handlers(self) -> dict[str, Handler]:
        return {"load": self.load, "run": self.run, "learn": self.learn, "sample": self.sample}

    def load(self, path: str, dtype: str, kernels: str, budget: int, cache: str = "auto") -> dict[str, Any]:
        torch.set_num_threads(machine.cores())
        self.step = Step(Path(path), dtype, kernels, budget, cache=cache)
        return {}

    def run(self, prompts: list[str], samples: int, lengths: list[int], seed: int) -> dict[str, Any]:
        return self.step.run(prompts, samples, lengths, seed)

    def learn(self, **given: Any) -> dict[str, Any]:
        return self.step.learn(**given)

    def sample(self, prompts: list[str], samples: int, lengths: list[int], seed: int) -> dict[str, Any]:
        started = time.perf_counter()
        self.step.sample(prompts, samples, lengths, seed)
        return {"seconds": time.perf_counter() - started, "tokens": sum(lengths)}


if __name__ == "__main__":
    Channel().serve(Served().handlers())
