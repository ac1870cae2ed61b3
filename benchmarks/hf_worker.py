"""transformers in a process of its own: `generate`, and a plain padded forward and backward pass with the loss of GRPO."""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM

import workload
from channel import Channel
from move37 import machine


class HF:
    def load(self, path: str, dtype: str) -> dict[str, Any]:
        torch.set_num_threads(machine.cores())
        self.net = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype), attn_implementation="sdpa").eval()
        decay = {"betas": (0.9, 0.95), "weight_decay": 0.0, "fused": True}
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-5, **decay)
        return {}

    @torch.no_grad()
    def sample(self, prompts: list[list[int]], samples: int, new_tokens: int, seed: int, cache: str) -> dict[str, Any]:
        """`prompts` as token ids, all of one length. The log-probs of what was sampled are recorded too, as RL needs them."""
        started = time.perf_counter()
        torch.manual_seed(seed)
        given = torch.tensor(prompts).repeat_interleave(samples, 0)
        ends = {"max_new_tokens": new_tokens, "min_new_tokens": new_tokens, "eos_token_id": None, "pad_token_id": 1}
        kinds = {"cache_implementation": None if cache == "dynamic" else cache, "do_sample": True, "top_k": 0}
        told = {"return_dict_in_generate": True, "output_logits": True, "attention_mask": torch.ones_like(given)}
        out = self.net.generate(given, **ends, **kinds, **told)
        written = out.sequences[:, given.shape[1] :]
        picked = [torch.log_softmax(x.float(), -1).gather(1, written[:, i, None]) for i, x in enumerate(out.logits)]
        assert torch.cat(picked, 1).shape == (len(given), new_tokens)
        return {"seconds": time.perf_counter() - started, "tokens": written.numel()}

    def learn(self, batch: dict[str, Any], micro_batch: int, by_length: bool) -> dict[str, Any]:
        """One update; each micro-batch is padded to its longest. `batch`: the arguments of `workload.update`."""
        made = workload.update(**batch)
        samples = batch["samples"]
        rows = [
            (made["prompts"][i // samples], written, made["advantages"][i]) for i, written in enumerate(made["responses"])
        ]
        if by_length:
            rows.sort(key=lambda row: len(row[1]))
        started = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        for first in range(0, len(rows), micro_batch):
            loss = self._loss(rows[first : first + micro_batch], made["old"]) / len(rows)
            loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        spent = time.perf_counter() - started
        return {"seconds": spent, "tokens": sum(len(r[1]) for r in rows), "grad_norm": float(norm)}

    def _loss(self, rows: list[tuple[list[int], list[int], float]], old: float) -> Tensor:
        """Sum over the sequences of the mean clipped loss of their tokens."""
        longest = max(len(written) for _, written, _ in rows)
        prompt = len(rows[0][0])
        tokens = torch.zeros(len(rows), prompt + longest, dtype=torch.long)
        mask = torch.zeros_like(tokens)
        for i, (asked, written, _) in enumerate(rows):
            tokens[i, : prompt + len(written)] = torch.tensor(asked + written)
            mask[i, : prompt + len(written)] = 1
        advantage = torch.tensor([a for _, _, a in rows])[:, None]
        logits = self.net(tokens, attention_mask=mask, logits_to_keep=longest + 1, use_cache=False).logits[:, :-1]
        targets = tokens[:, prompt:]
        logp = -F.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")
        ratio = (logp - old).exp()
        per_token = -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        counted = mask[:, prompt:]
        return ((per_token * counted).sum(1) / counted.sum(1)).sum()


if __name__ == "__main__":
    served = HF()
    Channel().serve({"load": served.load, "sample": served.sample, "learn": served.learn})
