"""What the machine can do: matrix products and reading of memory; and what share of it the other benchmarks reached.

    python benchmarks/roofline.py [--dtypes float32 bfloat16] [--threads 1 2]

The ceilings are the best of several runs. The floor of sampling is 2 x parameters, that of learning 6 x parameters, by token;
attention, the cache of keys and values and everything between the products come on top and are not counted. Shares are of
the newest lines of rl_step.jsonl, sample.jsonl and learn.jsonl in benchmarks/results that were taken on this CPU.
A line of JSON per dtype and number of threads goes to benchmarks/results/roofline.jsonl.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import meter
from common import dtypes, model, parameters, write
from move37 import machine
from table import newest

SQUARES = (512, 1024, 2048)
TALL = ((2048, 256, 1024), (2048, 512, 2048), (256, 512, 2048))  # rows, inputs, outputs: as in our layers
READ = {"in cache": 16 << 20, "in memory": 512 << 20}  # bytes


def best(work: Callable[[], object], seconds: float = 0.4) -> float:
    """The shortest of as many runs as fit, at least five."""
    work()
    found: list[float] = []
    until = time.perf_counter() + seconds
    while len(found) < 5 or time.perf_counter() < until:
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


def products(dtype: str, seconds: float = 0.4) -> float:
    """FLOP/s of the best matrix product, with the threads PyTorch has now."""
    kind = getattr(torch, dtype)
    rates = []
    for rows, inputs, outputs in [*((n, n, n) for n in SQUARES), *TALL]:
        a, b = torch.randn(rows, inputs).to(kind), torch.randn(outputs, inputs).to(kind)
        out = torch.empty(rows, outputs, dtype=kind)
        taken = best(lambda a=a, b=b, out=out: torch.mm(a, b.t(), out=out), seconds)
        rates.append(2 * rows * inputs * outputs / taken)
    return max(rates)


def reading(size: int) -> float:
    """Bytes/s of reading a float32 tensor of `size` bytes once."""
    held = torch.ones(size // 4)
    return size / best(held.sum)


def ceilings(dtype: str, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    found = {"flops": products(dtype)}
    return found | {f"bytes_per_s {where}": reading(size) for where, size in READ.items()}


def shares(flops: dict[str, float]) -> list[str]:
    """Lines of text: what of the floor sampling and learning reached, by dtype's peak."""
    lines = []
    with TemporaryDirectory() as scratch:
        for benchmark, part, work in (("sample", "seconds", 2), ("rl_step", "generate", 2), ("rl_step", "update", 6)):
            for line in newest(benchmark, here=True):
                if line["dtype"] not in flops:
                    continue
                weights = parameters(model(line["model"], line["vocabulary"], Path(scratch)))
                what = " ".join(str(line[k]) for k in ("model", "vocabulary", "load", "rows", "dtype") if k in line)
                for who, found in line["results"].items():
                    if part not in found:
                        continue  # a line of before its parts were told
                    share = work * weights * found["tokens"] / found[part] / flops[line["dtype"]]
                    lines.append(f"{benchmark} {part:8} {what:30} {who:8} {share:6.0%}")
    lines += [
        f"learn    update   {line['model']} {line['vocabulary']} {line['load']} {line['dtype']:20} {who:8} {found['share']:6.0%}"
        for line in newest("learn", here=True)
        for who, found in line["results"].items()
    ]
    return lines


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--dtypes", nargs="+", default=dtypes(), choices=["float32", "bfloat16"])
    options.add_argument("--threads", nargs="+", type=int, default=sorted({1, machine.cores()}))
    asked = options.parse_args()
    flops: dict[str, float] = {}
    print(f"{'dtype':9} {'threads':>7} {'GFLOP/s':>8} " + " ".join(f"{'GB/s ' + where:>15}" for where in READ))
    for dtype in asked.dtypes:
        for threads in asked.threads:
            before = meter.read()
            found = ceilings(dtype, threads)
            load = meter.foreign(before, meter.read())
            write("roofline", {"dtype": dtype, "threads": threads, "foreign": load, **found})
            rates = " ".join(f"{found[f'bytes_per_s {where}'] / 1e9:15.1f}" for where in READ)
            remark = f"  ({load:.0%} foreign load)" if load > meter.LIMIT else ""
            print(f"{dtype:9} {threads:7} {found['flops'] / 1e9:8.1f} {rates}{remark}", flush=True)
            flops[dtype] = max(found["flops"], flops.get(dtype, 0.0))
    print("\n".join(["", "share of the products' ceiling", *shares(flops)]))


if __name__ == "__main__":
    main()
