"""What the benchmarks share: models, workers, alternating rounds, medians, lines of results."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import meter
from channel import Worker
from move37 import machine
from move37.models import folder
from move37.models.decoder import Decoder, Shape
from move37.runs import versions

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SIZES = {"S": (128, 5, 4), "M": (256, 6, 4), "L": (512, 8, 8)}  # hidden, layers, heads
MODELS = (*SIZES, "bundled")
VOCABULARIES = (128, 1024, 4096)
# A fresh large tensor costs page faults for all of it each time; glibc keeps the memory with these.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
}
Work = Callable[[int], dict[str, Any]]


# ------------------------------------------------------------------------------------------------------------ models


def words(vocabulary: int) -> PreTrainedTokenizerFast:
    """One token per word: `<eos>`, `<pad>`, w2, w3 ..."""
    names = ["<eos>", "<pad>", *(f"w{i}" for i in range(2, vocabulary))]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")


def shape(size: str, vocabulary: int) -> Shape:
    hidden, layers, heads = SIZES[size]
    widths = {"head_width": hidden // heads, "ffn": -(-hidden * 8 // 3 // 32) * 32, "context": 1024}
    rest = {"rope_theta": 1e4, "norm_eps": 1e-6, "tied": True, "qkv_bias": False, "qk_norm": False}
    sizes = {"vocabulary": vocabulary, "hidden": hidden, "layers": layers, "heads": heads, "kv_heads": heads}
    return Shape(family="llama", **sizes, **widths, **rest)


def model(name: str, vocabulary: int, scratch: Path) -> Path:
    """A Hugging Face directory: the bundled model (whose vocabulary is its own), or random float32 weights of a size."""
    if name == "bundled":
        return folder.bundled()
    path = scratch / f"{name}-{vocabulary}"
    if not path.is_dir():
        made = Decoder(shape(name, vocabulary))
        made.initialise(torch.Generator().manual_seed(0))
        tokenizer = words(vocabulary)
        config = folder.new_config(made.shape, tokenizer.eos_token_id, tokenizer.pad_token_id)
        folder.save(folder.Loaded(made, tokenizer, config), path)
    return path


def configurations(names: Sequence[str], vocabularies: Sequence[int]) -> Iterator[tuple[str, int]]:
    """Every size with every vocabulary, and the bundled model once."""
    for name in names:
        yield from [(name, 1024)] if name == "bundled" else [(name, v) for v in vocabularies]


def parameters(path: Path) -> int:
    """Weights that take part in a token's matrix products; a tied head counts once, as the head."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    found = folder.read_shape(config)
    assert found is not None
    counted = sum(p.numel() for p in Decoder(found).parameters())
    return counted if found.tied else counted - found.vocabulary * found.hidden


def dtypes() -> list[str]:
    """float32, and bfloat16 where the CPU has units for it."""
    units = {"avx512_bf16", "amx_bf16", "bf16"} & set(machine.describe()["features"])
    return ["float32", "bfloat16"] if units else ["float32"]


# ----------------------------------------------------------------------------------------------------------- workers


class Workers(ExitStack):
    """Workers and a scratch directory, all of them gone at the end."""

    def __enter__(self) -> Workers:
        super().__enter__()
        self.scratch = Path(self.enter_context(TemporaryDirectory()))
        return self

    def start(self, script: str, python: Path | str = sys.executable, tuned: bool = False) -> Worker:
        """`tuned`: with an allocator that keeps large tensors."""
        log = self.scratch / f"{script}-{time.monotonic_ns()}.log"
        return self.enter_context(Worker(python, HERE / script, log, MALLOC if tuned else None))


@contextmanager
def own(kernels: str, path: Path, dtype: str, budget: int) -> Iterator[Worker]:
    """Move37's worker with a model loaded."""
    with Workers() as workers:
        worker = workers.start("move37_worker.py")
        worker.ask("load", path=str(path), dtype=dtype, kernels=kernels, budget=budget)
        yield worker


# ------------------------------------------------------------------------------------------------------------ timing


def alternate(contenders: dict[str, Work], asked: argparse.Namespace) -> dict[str, list[meter.Timing]]:
    """Each contender once per round, so that a slow minute hits all; seeds 1 ... rounds, 0 for a round that is not kept."""
    if not asked.cold:
        for work in contenders.values():
            work(0)
    taken: dict[str, list[meter.Timing]] = {who: [] for who in contenders}
    for seed in range(1, asked.rounds + 1):
        for who, work in contenders.items():
            taken[who].append(meter.undisturbed(lambda work=work, seed=seed: work(seed), asked.tries))
    return taken


def medians(timings: Sequence[meter.Timing]) -> dict[str, float]:
    """The median of every number the work told, by name; `foreign` is the largest, `tokens_per_s` that of the medians."""
    told = [{"seconds": t.seconds, **{k: v for k, v in t.told.items() if isinstance(v, int | float)}} for t in timings]
    found = {name: statistics.median(one[name] for one in told) for name in told[0]}
    found["foreign"] = max(t.foreign for t in timings)
    if "tokens" in found:
        found["tokens_per_s"] = statistics.median(one["tokens"] / one["seconds"] for one in told)
    return found


def ratios(results: dict[str, dict[str, float]], first: str = "move37") -> dict[str, float]:
    """How many times the tokens/s of each other contender the first one makes."""
    mine = results[first]["tokens_per_s"]
    return {who: mine / found["tokens_per_s"] for who, found in results.items() if who != first}


# ----------------------------------------------------------------------------------------------------------- results


def write(benchmark: str, result: dict[str, Any], others: dict[str, str] | None = None) -> None:
    """Append a line of JSON to results/<benchmark>.jsonl, with what made it. `others`: versions of the contenders."""
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "hardware": machine.describe(),
        "versions": versions(),
        "contenders": others or {},
    }
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{benchmark}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({**result, **about}) + "\n")


def parser(doc: str | None, models: Sequence[str] = MODELS, vocabularies: Sequence[int] = (128, 4096)) -> argparse.ArgumentParser:
    """Options that most benchmarks have."""
    made = argparse.ArgumentParser(description=(doc or "").splitlines()[0], epilog="More in the first lines of the script.")
    made.add_argument("--models", nargs="+", default=list(models), choices=MODELS)
    made.add_argument("--vocabularies", nargs="+", type=int, default=list(vocabularies))
    made.add_argument("--dtypes", nargs="+", default=dtypes(), choices=["float32", "bfloat16"])
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--cold", action="store_true", help="no warm-up round, for models whose rounds take minutes")
    made.add_argument("--tries", type=int, default=meter.TRIES, help="how often a disturbed timing is taken")
    made.add_argument("--kernels", default="auto", choices=["auto", "native", "torch"])
    made.add_argument("--cache", default="auto", choices=["auto", "float16"], help="keys and values of Move37's sampler")
    made.add_argument("--budget", type=int, default=2048, help="tokens_per_microbatch of Move37")
    return made


def disturbed(results: dict[str, dict[str, float]]) -> str:
    """A remark where foreign load stayed above the limit."""
    worst = max(found["foreign"] for found in results.values())
    return f"  ({worst:.0%} foreign load)" if worst > meter.LIMIT else ""
