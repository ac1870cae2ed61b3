"""Write the tables of docs/speed.md from benchmarks/results/*.jsonl.

    python benchmarks/table.py

The newest line per configuration and CPU counts; lines taken under foreign load (meter.py) are left out. Between the marks
`<!-- NAME:START -->` and `<!-- NAME:END -->` of the page everything is written anew.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from meter import LIMIT
from move37 import machine

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "speed.md"
RESULTS = ROOT / "benchmarks" / "results"
KEYS = ("measure", "model", "vocabulary", "load", "rows", "samples", "threads", "budget", "who")  # tell lines apart
Line = dict[str, Any]


def cpu(line: Line) -> str:
    """A CPU and what of it matters: the same name may stand for several generations. A GPU where one was measured."""
    about = line["hardware"]
    if line.get("device") == "cuda":
        return "one " + about["gpus"][0].partition(",")[0]
    return f"{about['cores']} cores, {about['cpu']}, {', '.join(about['features']) or 'no wide vectors'}"


def pick(lines: list[Line]) -> list[Line]:
    """The last line of each configuration on each CPU, in the order in which they first came."""
    found: dict[tuple[str, ...], Line] = {}
    for line in lines:
        found[(cpu(line), _numbers(line), *(str(line.get(key)) for key in KEYS))] = line
    return list(found.values())


def quiet(line: Line) -> bool:
    """Whether nothing else used the CPUs while it was measured."""
    loads = [found.get("foreign", 0.0) for found in line.get("results", {}).values()]
    return max([line.get("foreign", 0.0), *loads]) <= LIMIT


def newest(benchmark: str, here: bool = False) -> list[Line]:
    """The lines that count of a benchmark's results; `here`: only of this machine's CPU."""
    path = RESULTS / f"{benchmark}.jsonl"
    lines = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    mine = cpu({"hardware": machine.describe()})
    return [line for line in pick([one for one in lines if quiet(one)]) if not here or cpu(line) == mine]


def _about(line: Line) -> str:
    vocabulary = "" if line["model"] == "bundled" else f" {line['vocabulary']}"
    return f"{line['model']}{vocabulary}"


def _numbers(line: Line) -> str:
    """Of products, and of the sampler's cache where it differs."""
    return f"{line.get('dtype')}" + (", cache float16" if line.get("cache") == "float16" else "")


def _speed(results: dict[str, Any], who: str) -> str:
    return f"{results[who]['tokens_per_s']:,.0f}" if who in results else ""


def _mebibytes(found: dict[str, Any]) -> str:
    return f"{found['peak_memory'] / 2**20:,.0f}"


def _step(lines: list[Line]) -> tuple[list[str], list[list[str]]]:
    heads = ["model", "load", "dtype", "Move37", "TRL", "ratio", "sample / score / update, s", "TRL's", "peak MiB", "TRL's"]
    rows = []
    for line in (one for one in lines if "trl" in one["results"]):
        both = [line["results"][who] for who in ("move37", "trl")]
        parts = [" / ".join(f"{r[p]:.2f}" for p in ("generate", "score", "update")) for r in both]
        speeds = [f"{r['tokens_per_s']:,.0f}" for r in both]
        memory = [_mebibytes(r) for r in both]
        rows.append([_about(line), line["load"], _numbers(line), *speeds, f"{line['ratio']['trl']:.2f}", *parts, *memory])
    return heads, rows


def _sample(lines: list[Line]) -> tuple[list[str], list[list[str]]]:
    contenders = ("move37", "torch", "dynamic", "static", "vllm")
    heads = ["model", "rows", "dtype", "Move37", "without kernels", "`generate`", "static cache", "vLLM"]
    speeds = [[_speed(line["results"], who) for who in contenders] for line in lines]
    return heads, [[_about(o), str(o["rows"]), _numbers(o), *s] for o, s in zip(lines, speeds, strict=True)]


def _learn(lines: list[Line]) -> tuple[list[str], list[list[str]]]:
    heads = ["model", "load", "dtype", "Move37", "padded", "padded, by length", "share of the products' ceiling", "peak MiB"]
    rows = []
    for line in lines:
        found = line["results"]
        mine = [f"{found['move37']['share']:.0%}", _mebibytes(found["move37"])]
        speeds = [_speed(found, who) for who in ("move37", "hf", "hf sorted")]
        rows.append([_about(line), line["load"], line["dtype"], *speeds, *mine])
    return heads, rows


def _roofline(lines: list[Line]) -> tuple[list[str], list[list[str]]]:
    heads = ["dtype", "threads", "GFLOP/s", "GB/s in cache", "GB/s in memory"]
    rates = [[line["flops"], line["bytes_per_s in cache"], line["bytes_per_s in memory"]] for line in lines]
    about = [[line["dtype"], str(line["threads"])] for line in lines]
    return heads, [[*a, *(f"{n / 1e9:.0f}" for n in r)] for a, r in zip(about, rates, strict=True)]


def _growth(lines: list[Line]) -> tuple[list[str], list[list[str]]]:
    heads = ["model", "samples per prompt", "tokens", "peak MiB of the update", "s of a step"]
    rows = []
    for line in lines:
        if line["measure"] == "memory":
            rows.append([_about(line), str(line["samples"]), f"{line['tokens']:,.0f}", _mebibytes(line), ""])
        else:
            for n, found in line["results"].items():
                rows.append([_about(line), n, f"{found['tokens']:,.0f}", "", f"{found['seconds']:.2f}"])
    return heads, rows


def _start(lines: list[Line]) -> tuple[list[str], list[list[str]]]:
    return ["what", "seconds"], [[line["measure"], f"{line['seconds']:.2f}"] for line in lines]


def _gpu(lines: list[Line]) -> tuple[list[str], list[list[str]]]:
    heads = ["model", "load", "", "tokens/s of a step", "sample / score / update, s", "MFU of sampling", "bandwidth of sampling"]
    heads += ["MFU of the update", "peak GiB"]
    rows = []
    for line in sorted(lines, key=lambda one: (one["model"], one["load"])):
        found = line["results"][line["who"]]
        parts = " / ".join(f"{found[part]:.2f}" for part in ("generate", "score", "update"))
        shares = [f"{found[share]:.0%}" for share in ("sample_mfu", "sample_bandwidth", "update_mfu")]
        about = [line["model"], line["load"], {"move37": "Move37", "hf": "transformers", "trl": "TRL"}[line["who"]]]
        rows.append([*about, f"{found['tokens_per_s']:,.0f}", parts, *shares, f"{found['peak_memory'] / 2**30:.0f}"])
    return heads, rows


TABLES = {
    "rl_step": _step,
    "sample": _sample,
    "learn": _learn,
    "roofline": _roofline,
    "growth": _growth,
    "start": _start,
    "gpu": _gpu,
}


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def section(benchmark: str) -> str:
    """The tables of a benchmark, one per CPU."""
    by_cpu: dict[str, list[Line]] = {}
    for line in newest(benchmark):
        by_cpu.setdefault(cpu(line), []).append(line)
    if not by_cpu:
        return "No results yet."
    return "\n\n".join(f"{name}:\n\n{markdown(*TABLES[benchmark](lines))}" for name, lines in by_cpu.items())


def fill(page: str, sections: dict[str, str]) -> str:
    """The page with every section between its marks. Raises ValueError where the marks are missing."""
    for name, text in sections.items():
        marks = f"<!-- {name}:START -->", f"<!-- {name}:END -->"
        pattern = re.compile(f"{re.escape(marks[0])}.*?{re.escape(marks[1])}", re.DOTALL)
        if not pattern.search(page):
            raise ValueError(f"the page has no marks {marks[0]} ... {marks[1]}")
        page = pattern.sub(lambda _, m=marks, t=text: f"{m[0]}\n{t}\n{m[1]}", page)
    return page


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(fill(page, {name: section(name) for name in TABLES}), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: " + ", ".join(f"{name} {len(newest(name))}" for name in TABLES))


if __name__ == "__main__":
    main()
