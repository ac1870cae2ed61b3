"""One RL step on a GPU, alone in one call: Move37, transformers, and TRL where it can be imported.

    python benchmarks/gpu.py [--shapes 0.5B 1.5B] [--loads forced ragged] [--contenders move37 hf trl] [--toy --device cpu]

Random weights of the shapes of Qwen2.5 0.5B and 1.5B; 16 prompts of 32 tokens, 16 responses each; `forced`: all of --new tokens,
`ragged`: uniform from 1 to --new. Sampling at temperature 1 with log-probs recorded, a reward, one update (GRPO's clipped loss,
AdamW, float32 weights, bfloat16 products). `hf` is `generate` and a padded forward and backward pass; it and TRL stop rows only
when all have stopped, as they do. Tokens/s are completion tokens by wall-clock.

MFU: 2 x parameters x tokens of sampling and 6 x parameters x (completions, and each prompt once) of the update over the best
matrix product the device was seen to do. Bandwidth share of sampling: weights in bfloat16 once per step of decoding, and the
keys and values of every row's tokens, over what a copy moves. A line of JSON per row in benchmarks/results/gpu.jsonl.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM, LogitsProcessorList, PreTrainedTokenizerFast

import common
import workload
from move37.models import folder
from move37.models.decoder import Decoder, Shape
from move37.rollout.prompt import Prompter
from pieces import Step

BASE = {"family": "qwen2", "rope_theta": 1e6, "norm_eps": 1e-6, "tied": True, "qkv_bias": True, "qk_norm": False}
LARGE = {"vocabulary": 151_936, "context": 4096, "kv_heads": 2, **BASE}
SHAPES = {
    "0.5B": Shape(hidden=896, layers=24, heads=14, head_width=64, ffn=4864, **LARGE),
    "1.5B": Shape(hidden=1536, layers=28, heads=12, head_width=128, ffn=8960, **LARGE),
    "toy": Shape(hidden=32, layers=2, heads=4, kv_heads=2, head_width=8, ffn=64, vocabulary=64, context=128, **BASE),
}
MICRO = {"0.5B": 16, "1.5B": 8, "toy": 2}  # sequences per micro-batch of the others: more does not fit 80 GB at 1.5B
BUDGETS = {"0.5B": 16_384, "1.5B": 8192, "toy": 256}  # tokens per micro-batch
WORDS = 4096  # tokens that the prompts are written with
CONTENDERS = ("move37", "hf", "trl")
Run = Callable[[list[int], int], dict[str, Any]]  # lengths of the responses and seed -> seconds of the parts


def model(name: str, path: Path) -> Path:
    """A Hugging Face directory with random weights; the tokenizer knows fewer words than the model."""
    shape = SHAPES[name]
    made = Decoder(shape)
    made.initialise(torch.Generator().manual_seed(0))
    tokenizer = words(name)
    config = folder.new_config(_as_llama(shape), tokenizer.eos_token_id, tokenizer.pad_token_id)
    config |= {"architectures": [folder.FAMILIES["qwen2"]], "model_type": "qwen2", "use_sliding_window": False}
    folder.save(folder.Loaded(made, tokenizer, config), path)
    return path


def _as_llama(shape: Shape) -> Shape:
    return replace(shape, family="llama", qkv_bias=False)


def words(name: str) -> PreTrainedTokenizerFast:
    return common.words(min(WORDS, SHAPES[name].vocabulary))


def lengths(load: str, rows: int, new: int, seed: int) -> list[int]:
    return [new] * rows if load == "forced" else np.random.default_rng(seed).integers(1, new + 1, rows).tolist()


def synchronised(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def ceilings(device: str) -> dict[str, float]:
    """FLOP/s of a bfloat16 product, and bytes/s of a copy, read and written."""
    side, size = (8192, 1 << 32) if device == "cuda" else (256, 1 << 22)
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    x = torch.randn(size // 4, device=device)
    y = torch.empty_like(x)
    best = {}
    for name, work in (("flops", lambda: a @ b), ("bytes_per_s", lambda: y.copy_(x))):
        taken = []
        for _ in range(8):
            started = synchronised(device)
            work()
            taken.append(synchronised(device) - started)
        best[name] = min(taken[2:])
    return {"flops": 2 * side**3 / best["flops"], "bytes_per_s": 2 * size / best["bytes_per_s"]}


# ------------------------------------------------------------------------------------------------------ contenders


def move37(path: Path, asked: argparse.Namespace, name: str, prompts: Sequence[str]) -> Run:
    step = Step(path, asked.dtype, asked.kernels, asked.budget or BUDGETS[name], asked.device)
    step.sampler.prompter = Prompter(words(name), "{question}", "")  # transformers would read it as Qwen's own

    def run(sizes: list[int], seed: int) -> dict[str, Any]:
        return step.run(prompts, asked.samples, sizes, seed)

    return run


class HF:
    """`generate`, then the padded loss in bfloat16 autocast."""

    def __init__(self, path: Path, asked: argparse.Namespace, name: str, prompts: Sequence[str]) -> None:
        self.asked, self.dtype, self.micro = asked, getattr(torch, asked.dtype), asked.micro_batch or MICRO[name]
        self.net = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="sdpa").to(asked.device)
        self.low = AutoModelForCausalLM.from_pretrained(path, dtype=self.dtype, attn_implementation="sdpa").to(asked.device)
        self.prompts = torch.tensor(words(name)(list(prompts))["input_ids"], device=asked.device)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-5, weight_decay=0.0, fused=True)

    def __call__(self, sizes: list[int], seed: int) -> dict[str, Any]:
        device = self.asked.device
        clock = [synchronised(device)]
        written, old = self.sample(max(sizes), seed)
        clock.append(synchronised(device))
        rewards = torch.tensor([workload.parity(str(n)) for n in sizes], device=device)
        grouped = rewards.view(-1, self.asked.samples)
        advantage = ((grouped - grouped.mean(1, keepdim=True)) / (grouped.std(1, keepdim=True) + 1e-6)).view(-1)
        clock.append(synchronised(device))
        self.learn(written, old, advantage, torch.tensor(sizes, device=device))
        clock.append(synchronised(device))
        spent = np.diff(clock).tolist()
        return {"seconds": sum(spent), **dict(zip(("generate", "score", "update"), spent, strict=True)), "tokens": sum(sizes)}

    @torch.no_grad()
    def sample(self, new: int, seed: int) -> tuple[Tensor, Tensor]:
        """[B, prompt + new] tokens and [B, new] log-probs; the weights are copied first, as they have been trained."""
        torch.manual_seed(seed)
        for low, high in zip(self.low.parameters(), self.net.parameters(), strict=True):
            low.copy_(high)
        given = self.prompts.repeat_interleave(self.asked.samples, 0)
        ends = {"max_new_tokens": new, "min_new_tokens": new, "eos_token_id": None, "pad_token_id": 1}
        picked: list[Tensor] = []

        def record(tokens: Tensor, scores: Tensor) -> Tensor:  # keeps one log-prob per row instead of all logits
            lines.append(torch.log_softmax(scores.float(), -1))
            if len(lines) > 1:
                picked.append(lines.pop(0).gather(1, tokens[:, -1:]))
            return scores

        lines: list[Tensor] = []
        mask = torch.ones_like(given)
        out = self.low.generate(
            given, attention_mask=mask, **ends, do_sample=True, top_k=0, logits_processor=LogitsProcessorList([record])
        )
        picked.append(lines.pop(0).gather(1, out[:, -1:]))
        return out, torch.cat(picked, 1)

    def learn(self, tokens: Tensor, old: Tensor, advantage: Tensor, sizes: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        prompt = self.prompts.shape[1]
        for part in torch.arange(len(tokens)).split(self.micro):
            longest = int(sizes[part].max())
            rows = tokens[part, : prompt + longest]
            counted = torch.arange(longest, device=rows.device) < sizes[part, None]
            mask = torch.cat((torch.ones_like(rows[:, :prompt]), counted.long()), 1)
            with torch.autocast(self.asked.device, self.dtype, enabled=self.dtype is not torch.float32):
                logits = self.net(rows, attention_mask=mask, logits_to_keep=longest + 1, use_cache=False).logits[:, :-1]
            logp = -F.cross_entropy(logits.float().transpose(1, 2), rows[:, prompt:], reduction="none")
            ratio = (logp - old[part, :longest]).exp()
            surrogate = torch.minimum(ratio * advantage[part, None], ratio.clamp(0.8, 1.2) * advantage[part, None])
            (-((surrogate * counted).sum(1) / sizes[part]).sum() / len(tokens)).backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()


def trl(path: Path, asked: argparse.Namespace, name: str, prompts: Sequence[str]) -> Run:
    """One step of TRL's trainer per call: its whole `train` of two steps, of which the second is taken."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from trl_worker import Ends

    rows, micro, told, tokenizer = asked.prompts * asked.samples, asked.micro_batch or MICRO[name], {}, words(name)
    tokenizer.padding_side = "left"

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            told["started"], told["generate"] = synchronised(asked.device), 0.0

        def on_step_end(self, *_: Any, **__: Any) -> None:
            told["seconds"] = synchronised(asked.device) - told["started"]

    def run(sizes: list[int], seed: int) -> dict[str, Any]:
        config = GRPOConfig(
            output_dir=str(path.parent / "trl"), bf16=asked.dtype == "bfloat16", use_cpu=asked.device == "cpu",
            model_init_kwargs={"dtype": "float32", "attn_implementation": "sdpa"}, gradient_checkpointing=False,
            per_device_train_batch_size=micro, gradient_accumulation_steps=rows // micro,
            steps_per_generation=rows // micro, num_generations=asked.samples, max_completion_length=max(sizes),
            num_iterations=1, beta=0.0, loss_type="grpo", learning_rate=1e-5,
            optim="adamw_torch_fused", max_steps=2, save_strategy="no", report_to="none", logging_strategy="no",
            disable_tqdm=True, seed=seed,
        )  # fmt: skip

        def reward(completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
            assert [len(ids) for ids in completion_ids] == sizes, "TRL ended responses elsewhere than asked"
            return [workload.parity(text) for text in completions]

        trainer = GRPOTrainer(
            model=str(path),
            reward_funcs=reward,
            args=config,
            train_dataset=Dataset.from_dict({"prompt": list(prompts)}),
            processing_class=tokenizer,
            callbacks=[Clock()],
        )
        plain = trainer.model.generate

        def timed(*given: Any, **named: Any) -> Tensor:
            started = synchronised(asked.device)
            ends = LogitsProcessorList([Ends(sizes, workload.PROMPT, tokenizer.eos_token_id)])
            out = plain(*given, **named, logits_processor=ends)
            told["generate"] += synchronised(asked.device) - started
            return out

        trainer.model.generate = timed
        trainer.train()
        update = told["seconds"] - told["generate"]
        return {"seconds": told["seconds"], "generate": told["generate"], "score": 0.0, "update": update, "tokens": sum(sizes)}

    return run


# --------------------------------------------------------------------------------------------------------- figures


def shares(name: str, sizes: list[int], prompts: int, told: dict[str, Any], top: dict[str, float]) -> dict[str, float]:
    """MFU of sampling and update, and sampling's share of the memory's bandwidth."""
    shape, prompt = SHAPES[name], workload.PROMPT
    weights = sum(p.numel() for p in Decoder(shape).to("meta").parameters())
    length = np.array(sizes)
    pairs = (length * prompt + length * (length + 1) / 2).sum()  # keys that queries look at, over the whole of sampling
    read = 2 * weights * max(sizes) + pairs * 4 * shape.layers * shape.kv_heads * shape.head_width
    needed = sum(sizes) + prompts * prompt
    return {
        "sample_mfu": 2 * weights * sum(sizes) / told["generate"] / top["flops"],
        "sample_bandwidth": read / told["generate"] / top["bytes_per_s"],
        "update_mfu": 6 * weights * needed / told["update"] / top["flops"],
    }


def measure(asked: argparse.Namespace, name: str, who: str, scratch: Path, top: dict[str, float]) -> None:
    path = scratch / name
    if not path.is_dir():
        model(name, path)
    prompts = workload.word_prompts(words(name), asked.prompts, seed=0)
    makes = {
        "move37": lambda: move37(path, asked, name, prompts),
        "hf": lambda: HF(path, asked, name, prompts),
        "trl": lambda: trl(path, asked, name, prompts),
    }
    run = makes[who]()
    for load in asked.loads:
        if asked.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        if who != "trl":  # it warms up itself
            run(lengths(load, asked.prompts * asked.samples, asked.new, 0), 0)
        taken = []
        for seed in range(1, 2 if who == "trl" else asked.rounds + 1):
            sizes = lengths(load, asked.prompts * asked.samples, asked.new, seed)
            found = run(sizes, seed)
            taken.append({**found, **shares(name, sizes, asked.prompts, found, top)})
        told = {k: float(np.median([one[k] for one in taken])) for k in taken[0]}
        told["tokens_per_s"] = float(np.median([one["tokens"] / one["seconds"] for one in taken]))
        told["peak_memory"] = torch.cuda.max_memory_allocated() if asked.device == "cuda" else 0
        report(asked, name, load, who, told, top)


def report(asked: argparse.Namespace, name: str, load: str, who: str, told: dict[str, Any], top: dict[str, float]) -> None:
    about = {"model": name, "load": load, "who": who, "dtype": asked.dtype, "device": asked.device, "new": asked.new}
    about |= {"prompts": asked.prompts, "samples": asked.samples, "rounds": asked.rounds, "ceilings": top, "results": {who: told}}
    others = {p: metadata.version(p) for p in ("transformers", "trl", "triton") if _there(p)}
    common.write("gpu", about, others)
    parts = " ".join(f"{told[part]:9.3f}" for part in ("seconds", "generate", "score", "update"))
    print(
        f"{name:5} {load:7} {who:7} {parts} {told['tokens_per_s']:10,.0f} {told['sample_mfu']:8.1%}"
        f" {told['sample_bandwidth']:10.1%} {told['update_mfu']:8.1%} {told['peak_memory'] / 2**30:8.1f}",
        flush=True,
    )


def _there(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def options() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], epilog="More in the first lines of the script.")
    made.add_argument("--shapes", nargs="+", default=["0.5B", "1.5B"], choices=[n for n in SHAPES if n != "toy"])
    made.add_argument("--loads", nargs="+", default=["forced", "ragged"], choices=["forced", "ragged"])
    made.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    made.add_argument("--toy", action="store_true", help="a model of two layers, for a look at the script itself")
    made.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    made.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    made.add_argument("--kernels", default="auto", choices=["auto", "native", "torch"])
    made.add_argument("--budget", type=int, default=0, help="tokens_per_microbatch of Move37; 0: what suits the shape")
    made.add_argument("--micro-batch", type=int, default=0, help="sequences per micro-batch of the others; 0: what fits")
    made.add_argument("--prompts", type=int, default=workload.PROMPTS)
    made.add_argument("--samples", type=int, default=workload.SAMPLES)
    made.add_argument("--new", type=int, default=512, help="most new tokens")
    made.add_argument("--rounds", type=int, default=2)
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    asked = options().parse_args(arguments)
    if asked.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no GPU here; --toy --device cpu runs the script at toy size")
    top = ceilings(asked.device)
    print(f"bfloat16 product {top['flops'] / 1e12:.3g} TFLOP/s, copy {top['bytes_per_s'] / 1e9:,.0f} GB/s")
    heads = ("step s", "sample", "score", "update")
    print(f"{'shape':5} {'load':7} {'':7} " + " ".join(f"{h:>9}" for h in heads), end="")
    print(f" {'tokens/s':>10} {'MFU':>8} {'bandwidth':>10} {'MFU upd.':>8} {'GiB':>8}")
    with TemporaryDirectory() as scratch:
        for name in ["toy"] if asked.toy else asked.shapes:
            for who in asked.contenders:
                if who == "trl" and not (_there("trl") and _there("datasets")):
                    print(f"{name:5} {'':7} trl     not installed: pip install trl")
                    continue
                try:
                    measure(asked, name, who, Path(scratch), top)
                except torch.OutOfMemoryError as problem:
                    print(f"{name:5} {'':7} {who:7} out of memory: {str(problem).partition('. GPU')[0]}")
                gc.collect()
                if asked.device == "cuda":
                    torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
