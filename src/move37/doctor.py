"""What this machine offers to Move37 and what each missing piece would give. Imports no torch, so it is quick."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from importlib import metadata, resources, util
from pathlib import Path

from move37 import machine, native, sandbox
from move37.errors import UserError

GIB = 2**30
# feature, what it gives
CPU_FEATURES = {
    "avx2": "fast float32",
    "avx512f": "faster float32",
    "avx512_bf16": "products in bfloat16 (hardware.dtype)",
    "amx_bf16": "products in bfloat16 (hardware.dtype) by matrix units: samples nearly twice as fast as in float32",
}
# extra, its packages, what it gives
EXTRAS = (
    ("datasets", ("datasets",), "problem files saved by the Hugging Face datasets library"),
    ("endpoint", ("httpx2", "tenacity"), "judges and evaluation behind OpenAI-compatible endpoints"),
    ("test", ("pytest", "hypothesis", "ruff"), "the tests and the linter of this repository"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: `state` is ok, missing or warning."""

    what: str
    state: str
    told: str


def examine(directory: Path) -> list[Finding]:
    """Look at CPU, memory, disk of `directory`, GPU, PyTorch, extras and the bundled model."""
    found = machine.describe()
    return [
        *_cpu(found["system"], found["cpu"], found["features"], found["cores"]),
        _memory(found["memory"]),
        _disk(directory),
        *_torch(found["gpus"]),
        _kernels(),
        _sandbox(),
        *(_extra(*extra) for extra in EXTRAS),
        _bundled(Path(str(resources.files("move37") / "assets" / "base"))),
    ]


def _cpu(system: str, model: str, features: list[str], cores: int) -> list[Finding]:
    state = "ok" if cores >= 2 else "warning"
    lines = [Finding("CPU", state, f"{model} ({system}), {cores} usable core{'s' if cores != 1 else ''}")]
    if "x86_64" in system or "AMD64" in system:
        there = [name for name in CPU_FEATURES if name in features]
        lacking = [f"{name} ({gives})" for name, gives in CPU_FEATURES.items() if name not in features]
        told = (", ".join(there) or "none") + (f"; not there: {', '.join(lacking)}" if lacking else "")
        lines.append(Finding("CPU features", "ok" if "avx2" in features else "warning", told))
    return lines


def _memory(size: int | None) -> Finding:
    if size is None:
        return Finding("memory", "warning", "the system does not say")
    enough = size >= 3 * GIB
    return Finding(
        "memory", "ok" if enough else "warning", f"{size / GIB:.1f} GiB" + ("" if enough else "; tight for RL")
    )


def _disk(directory: Path) -> Finding:
    there = next(p for p in (directory, *directory.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free / GIB
    return Finding("free disk", "ok" if free > 2 else "warning", f"{free:.1f} GiB at {directory}")


def _torch(gpus: list[str]) -> list[Finding]:
    """The build is read off torch/version.py, which is there without an import that takes seconds."""
    spec = util.find_spec("torch")
    if spec is None or spec.origin is None:
        return [Finding("PyTorch", "missing", "nothing trains or samples without it: pip install torch")]
    source = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    cuda = re.search(r"^cuda[^=\n]*= *'([^']+)'", source, re.MULTILINE)
    lines = [Finding("PyTorch", "ok", f"{metadata.version('torch')}, " + (f"CUDA {cuda[1]}" if cuda else "CPU build"))]
    if gpus and cuda:
        lines.append(Finding("GPU", "ok", "; ".join(gpus)))
    elif gpus:
        told = f"{'; '.join(gpus)}, but this PyTorch is a CPU build; a CUDA build would use it"
        lines.append(Finding("GPU", "warning", told))
    else:
        lines.append(Finding("GPU", "missing", "none; recipes/tiny runs on the CPU, recipes/one_gpu wants one"))
    return lines


def _kernels() -> Finding:
    """Compiles them where that was not done yet."""
    built = [native.build(kernel) for kernel in native.SIGNATURES]
    if broken := [found.why for found in built if found.path is None]:
        return Finding("CPU kernels", "missing", f"would sample and train several times as fast on a CPU: {broken[0]}")
    return Finding("CPU kernels", "ok", f"compiled by {built[0].why}: {', '.join(str(found.path) for found in built)}")


def _sandbox() -> Finding:
    """Starts it and runs a program in it."""
    try:
        sandbox.require()
    except UserError as problem:
        return Finding("sandbox", "missing", f"would let answers be code: {problem}")
    finally:
        sandbox.close()
    return Finding("sandbox", "ok", "bubblewrap works: answers can be code")


def _extra(name: str, packages: tuple[str, ...], gives: str) -> Finding:
    lacking = [package for package in packages if util.find_spec(package) is None]
    if not lacking:
        return Finding(f"extra {name}", "ok", gives)
    return Finding(
        f"extra {name}", "missing", f"would give {gives}: pip install 'move37[{name}]' ({', '.join(lacking)})"
    )


def _bundled(path: Path) -> Finding:
    """Every file against size and digest of the manifest that it was written with."""
    try:
        manifest: dict[str, tuple[int, str]] = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        told = "not there or without manifest; `move37 run recipes/tiny/base.yaml` makes it anew"
        return Finding("bundled model", "missing", told)
    for name, (size, digest) in manifest.items():
        file = path / name
        if not file.is_file() or file.stat().st_size != size:
            return Finding("bundled model", "warning", f"{file} is missing or torn; install Move37 again")
        if hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            return Finding("bundled model", "warning", f"{file} has changed; install Move37 again")
    total = sum(size for size, _ in manifest.values())
    return Finding("bundled model", "ok", f"intact, {total / 2**20:.1f} MiB")
