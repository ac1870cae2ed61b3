"""Our own CPU kernels: two C files, compiled on first use with the machine's compiler and kept in the user's cache.

Plain C behind ctypes, not a PyTorch extension: it compiles in a second, needs no headers and knows no Python version.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from move37 import machine

FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-std=gnu11")
COMPILE_S = 120

_I, _F, _P = ctypes.c_long, ctypes.c_float, ctypes.c_void_p
SIGNATURES = {
    "decode": (
        ("move37_scratch", _I, [_P, _I, _I]),
        ("move37_panel", _I, []),
        ("move37_page", _I, []),
        ("move37_units", _I, []),
        ("move37_packed", _I, [_I, _I, _I]),
        ("move37_pack", None, [_P, _I, _I, _I, _P]),
        ("move37_decode", None, [_P, _P]),
        ("move37_draw_scratch", _I, [_I, _I]),
        ("move37_draw", None, [_I, _I, _I, _P, _P, _F, _P, _P, _P, _P, _I]),
    ),
    "train": (
        ("move37_norm", None, [_I, _I, _P, _P, _P, _F, _P, _P, _P]),
        ("move37_norm_back", None, [_I, _I, _P, _P, _P, _P, _P, _P, _P, _I]),
        ("move37_gate", None, [_I, _I, _P, _P]),
        ("move37_gate_back", None, [_I, _I, _P, _P]),
        ("move37_attention_scratch", _I, [_P, _P]),
        ("move37_panel", _I, []),
        ("move37_attend", None, [_P, _P, _P, _P, _P, _P, _I]),
        ("move37_attend_back", None, [_P] * 10 + [_I]),
        ("move37_pick", None, [_I, _I, _P, _P, _F, _P, _P, _P]),
        ("move37_unpick", None, [_I, _I, _P, _P, _F, _P, _P, _P]),
    ),
}


@dataclass(frozen=True, slots=True)
class Found:
    """The compiled library, or why there is none."""

    path: Path | None
    why: str


def compiler() -> str | None:
    """$CC, or the first C compiler on the path."""
    wanted = (os.environ.get("CC"), "cc", "gcc", "clang")
    return next((found for name in wanted if name and (found := shutil.which(name))), None)


@functools.cache
def build(kernel: str = "decode", define: str = "") -> Found:
    """Compile `decode` or `train` unless that was done before.

    define: HALF for bfloat16, CACHE_F16 (`decode` alone) for keys and values in float16.

    Never raises: without them PyTorch does the work.
    """
    cc = compiler()
    if cc is None:
        return Found(None, "no C compiler; on Debian and Ubuntu: apt install gcc")
    folder = resources.files("move37") / "native"
    text = (folder / "common.h").read_bytes() + (folder / f"{kernel}.c").read_bytes()
    flags = (*FLAGS, f"-D{define}") if define else FLAGS
    about = machine.describe()
    mark = hashlib.sha256(text + repr((flags, cc, platform.machine(), about["cpu"], about["features"])).encode()).hexdigest()
    target = _cache() / f"{kernel}-{mark[:16]}.so"
    if target.is_file():
        return Found(target, cc)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = Path(scratch) / target.name
            command = [cc, *flags, "-x", "c", "-", "-o", str(made), "-lm"]
            done = subprocess.run(command, input=text, capture_output=True, timeout=COMPILE_S, check=False)
            if done.returncode:
                lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
                return Found(None, f"{cc} failed: {lines[-1]}")
            made.replace(target)  # two processes may build at once: the last one wins, both are whole
    except (OSError, subprocess.TimeoutExpired) as problem:
        return Found(None, f"{cc}: {problem}")
    return Found(target, cc)


@functools.cache
def library(kernel: str, define: str = "") -> ctypes.CDLL | None:
    """The kernels, loaded. Import torch before, so that both use one OpenMP runtime and one set of threads."""
    found = build(kernel, define)
    if found.path is None:
        return None
    lib = ctypes.CDLL(str(found.path))
    for name, result, arguments in SIGNATURES[kernel]:
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


def _cache() -> Path:
    """$XDG_CACHE_HOME/move37, or ~/.cache/move37."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "move37"
