"""`move37` as processes that are started, watched, killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

import move37
from move37.runs import deterministic

PATIENCE_S = 240.0  # for anything to happen; only a hang takes that long
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(move37.__file__).parents[1])}
# The command, with a tokenizer made from fewer texts: that takes seconds, and every process here would spend them again.
COMMAND = """
from move37 import cli
from move37.stages import pretrain

pretrain.TOKENIZER_DOCUMENTS, pretrain.HELD_OUT_DOCUMENTS = 400, 32
"""


class Place:
    """A directory with a recipe and the files it names (`short__txt` is short.txt), and the `move37` processes on it."""

    def __init__(self, root: Path, recipe: dict[str, Any], **files: str) -> None:
        self.root = root
        self.run = root / "runs" / recipe["name"]
        self.started: list[subprocess.Popen[str]] = []
        (root / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        for name, text in files.items():
            (root / name.replace("__", ".")).write_text(text)

    def start(self, *flags: str, program: str = "") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", f"{COMMAND}{program}\ncli.main()", "run", "recipe.yaml", *flags],
            cwd=self.root,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def command(self, *flags: str) -> subprocess.CompletedProcess[str]:
        """The plain command, waited for."""
        asked = [sys.executable, "-m", "move37", "run", "recipe.yaml", *flags]
        return subprocess.run(
            asked, cwd=self.root, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE_S
        )

    def steps(self, stage: str) -> int:
        """The last step that is on record."""
        path = self.run / "stages" / stage / "metrics.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def wait_for(self, process: subprocess.Popen[str], stage: str, step: int) -> None:
        self.until(process, lambda: self.steps(stage) >= step)

    def until(self, process: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
        """Look again and again until it is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not reached():
            assert process.poll() is None, f"it ended with {process.returncode}: {process.stdout.read()}"
            assert time.monotonic() < deadline, "nothing happens"
            time.sleep(0.002)

    def kill(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"

    def interrupt(self, process: subprocess.Popen[str]) -> str:
        process.send_signal(signal.SIGINT)
        return self.end(process, 130)

    def end(self, process: subprocess.Popen[str], code: int = 0) -> str:
        """What it printed."""
        told, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == code, told
        return told

    def checkpoints(self, stage: str) -> list[Path]:
        return sorted((self.run / "stages" / stage / "checkpoints").glob("step-*"))

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.communicate()


def rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file, without what a clock decides."""
    return [deterministic(json.loads(line)) for line in path.read_text().splitlines()]
