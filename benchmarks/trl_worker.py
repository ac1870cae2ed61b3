"""TRL's GRPO, one step per request. Runs in TRL's own environment; see rl_step.py.

Its best settings on a CPU: no checkpointing, no reference model, one iteration, sdpa, dynamic cache, weights in float32 or
all of it in bfloat16 (quicker than autocast), the log-probs of sampling not computed twice.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from datasets import Dataset
from transformers import AutoTokenizer, LogitsProcessor, LogitsProcessorList, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from channel import Channel, installed
from workload import parity


class Ends(LogitsProcessor):
    """EOS at the prescribed lengths and nowhere else, written into the scores in place: about as cheap as it can be."""

    def __init__(self, lengths: list[int], prompt: int, eos: int) -> None:
        self.lengths, self.prompt, self.eos = torch.tensor(lengths), prompt, eos

    def __call__(self, tokens: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores[:, self.eos] = -torch.inf
        rows = (self.lengths == tokens.shape[1] - self.prompt + 1).nonzero()[:, 0]
        if len(rows):
            scores[rows] = -torch.inf
            scores[rows, self.eos] = 0.0
        return scores


class Gate(TrainerCallback):
    """Holds the trainer before each step until it is asked for, and answers after it."""

    def __init__(self, channel: Channel, worker: TRL) -> None:
        self.channel, self.worker = channel, worker

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        request = self.channel.read()
        if request is None:
            os._exit(0)
        self.worker.lengths = request["lengths"]
        self.worker.generated = self.worker.scored = 0.0
        self.started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        seconds = time.perf_counter() - self.started
        parts = {"generate": self.worker.generated, "score": self.worker.scored}
        parts["update"] = seconds - sum(parts.values())
        self.channel.write(seconds=seconds, tokens=self.worker.written, **parts)


class TRL:
    """A trainer that stops before every step."""

    def __init__(self, channel: Channel, asked: dict[str, Any]) -> None:
        self.lengths: list[int] = []
        self.generated = self.scored = 0.0
        self.written = 0
        rows, micro = asked["prompts_per_step"] * asked["samples"], asked["micro_batch"]
        config = GRPOConfig(
            output_dir=asked["scratch"],
            use_cpu=True,
            bf16=False,
            model_init_kwargs={"dtype": asked["dtype"], "attn_implementation": "sdpa"},
            gradient_checkpointing=False,
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=rows // micro,
            steps_per_generation=rows // micro,
            num_generations=asked["samples"],
            max_completion_length=asked["new_tokens"],
            num_iterations=1,
            beta=0.0,
            loss_type="grpo",
            learning_rate=1e-5,
            optim="adamw_torch_fused",
            max_steps=10**6,
            save_strategy="no",
            report_to="none",
            logging_strategy="no",
            disable_tqdm=True,
            seed=asked["seed"],
        )
        tokenizer = AutoTokenizer.from_pretrained(asked["path"], padding_side="left")
        self.trainer = GRPOTrainer(
            model=asked["path"],
            reward_funcs=self.reward,
            args=config,
            train_dataset=Dataset.from_dict({"prompt": asked["prompts"]}),
            processing_class=tokenizer,
            callbacks=[Gate(channel, self)],
        )
        self.eos, self.prompt = tokenizer.eos_token_id, asked["prompt_tokens"]
        self.generate = self.trainer.model.generate
        self.trainer.model.generate = self.prescribed

    def prescribed(self, **given: Any) -> torch.Tensor:
        """`generate` with prescribed ends, timed."""
        assert given["input_ids"].shape == (len(self.lengths), self.prompt)
        started = time.perf_counter()
        ends = LogitsProcessorList([Ends(self.lengths, self.prompt, self.eos)])
        out = self.generate(**given, logits_processor=ends)
        self.generated += time.perf_counter() - started
        return out

    def reward(self, completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        started = time.perf_counter()
        assert [len(ids) for ids in completion_ids] == self.lengths, "TRL ended responses elsewhere than asked"
        self.written = sum(self.lengths)
        rewards = [parity(text) for text in completions]
        self.scored += time.perf_counter() - started
        return rewards


def main() -> None:
    channel = Channel()
    asked = channel.read()
    assert asked is not None
    Path(asked["scratch"]).mkdir(exist_ok=True)
    torch.set_num_threads(asked["threads"])
    worker = TRL(channel, asked)
    channel.write(versions=installed("torch", "transformers", "trl", "accelerate"))
    worker.trainer.train()


if __name__ == "__main__":
    main()
