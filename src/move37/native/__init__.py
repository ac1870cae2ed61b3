"""Our own CPU kernels: one C file, compiled on first use with the machine's compiler and kept in the user's cache.

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
def build() -> Found:
    """Compile the kernels unless that was done before. Never raises: without them PyTorch does the work."""
    source = resources.files("move37") / "native" / "decode.c"
    cc = compiler()
    if cc is None:
        return Found(None, "no C compiler; on Debian and Ubuntu: apt install gcc")
    text = source.read_bytes()
    about = machine.describe()
    mark = hashlib.sha256(text + repr((FLAGS, cc, platform.machine(), about["cpu"], about["features"])).encode()).hexdigest()
    target = _cache() / f"decode-{mark[:16]}.so"
    if target.is_file():
        return Found(target, cc)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = Path(scratch) / target.name
            command = [cc, *FLAGS, "-x", "c", "-", "-o", str(made), "-lm"]
            done = subprocess.run(command, input=text, capture_output=True, timeout=COMPILE_S, check=False)
            if done.returncode:
                lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
                return Found(None, f"{cc} failed: {lines[-1]}")
            made.replace(target)  # two processes may build at once: the last one wins, both are whole
    except (OSError, subprocess.TimeoutExpired) as problem:
        return Found(None, f"{cc}: {problem}")
    return Found(target, cc)


@functools.cache
def library() -> ctypes.CDLL | None:
    """The kernels, loaded. Import torch before, so that both use one OpenMP runtime and one set of threads."""
    found = build()
    if found.path is None:
        return None
    lib = ctypes.CDLL(str(found.path))
    for name in ("move37_scratch", "move37_panel", "move37_page"):
        getattr(lib, name).restype = ctypes.c_long
    lib.move37_scratch.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
    lib.move37_pack.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_void_p]
    lib.move37_pack.restype = lib.move37_decode.restype = None
    lib.move37_decode.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    return lib


def _cache() -> Path:
    """$XDG_CACHE_HOME/move37, or ~/.cache/move37."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "move37"
