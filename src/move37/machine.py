"""What this machine is, without torch: for lineage and for `move37 doctor`."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")


def describe() -> dict[str, Any]:
    """Operating system, CPU, its features that matter here, usable cores, memory (bytes) and GPUs."""
    model, flags = _cpu()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": model,
        "features": [name for name in FEATURES if name in flags],
        "cores": cores(),
        "memory": memory(),
        "gpus": gpus(),
    }


def cores() -> int:
    """Cores this process may use: affinity, and a container's quota where there is one (cgroup v2)."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, _, period = quota.read_text().partition(" ")
        if limit.isdigit() and period.strip().isdigit():
            usable = min(usable, max(1, int(limit) // int(period)))
    return usable


def memory() -> int | None:
    """Bytes of memory this process may use; None where the system does not say."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else ""
    return min(total, int(text)) if text.isdigit() else total


def gpus() -> list[str]:
    """Names and memory of NVIDIA GPUs as nvidia-smi tells them; empty without it."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def _cpu() -> tuple[str, frozenset[str]]:
    """Model name and feature flags; on Linux from /proc/cpuinfo."""
    source = Path("/proc/cpuinfo")
    if not source.is_file():
        return platform.processor() or platform.machine(), frozenset()
    fields: dict[str, str] = {}
    for line in source.read_text(errors="replace").splitlines():
        key, separator, value = line.partition(":")
        if separator:
            fields.setdefault(key.strip(), value.strip())
    flags = frozenset((fields.get("flags") or fields.get("Features") or "").split())
    return fields.get("model name") or platform.machine(), flags
