"""Runs: a directory per run, whose files are the truth. No torch.

    runs/<name>/
        recipe.yaml                      resolved, overrides included; the last one it was run with
        lineage.json                     command, versions, machine
        run.lock                         held (flock) by the one process that writes here
        summary.json  report.html        made from the files below, at any time
        stages/<stage>/
            metrics.jsonl                one object per step, steps counted from 1
            rollouts/step-000123.parquet
            rows/step-000123.jsonl       what a step of a stage that makes data has made, and what it has dropped
            probe.jsonl  probe/step-000123.parquet      the same held-out problems; step 0 is before training
            checkpoints/step-000123/     the checkpoint module's
            final/                       a Hugging Face model directory
            value/                       an rl stage's value model, where its algorithm trains one
            data/                        a data set: JSONL, with statistics.json
            quality.json                 a reward_model stage's accuracy, calibration and length bias on held-out rows
            parts/                       answers of an evaluation that has not ended
            eval.json                    an evaluate stage's numbers, beside rollouts/sampled, greedy and searched.parquet
            lineage.json                 what the stage was made from; once it has ended, what it made (graph.py)

Example:
    >>> with Run.create(Path("runs"), recipe) as run:
    ...     log = run.log("rl")
    ...     log.record(1, {"reward": 0.25})
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TextIO

import numpy as np
import yaml

from move37 import __version__, native, shards
from move37.errors import RecipeError, RunBusy, RunError, UserError
from move37.files import append_line, fingerprint, read_json, read_lines, write_atomic, write_json
from move37.machine import describe
from move37.recipe import Recipe, parse
from move37.sections import Artefact
from move37.types import Group

Mode = Literal["resume", "new", "force"]
Folder = Literal["rollouts", "rows", "probe"]  # of a stage's shards
# What a stage can make -> where it lies in the stage's directory, and the files whose content identifies it.
ARTEFACTS: dict[Artefact, tuple[str, str]] = {
    "checkpoint": ("final", "*.safetensors"),
    "data": ("data", "*.jsonl"),
    "evaluation": ("eval.json", "*"),
    "reward_model": ("final", "*"),  # config.json too: it says how the numbers are to be read
}
GONE = ".gone-"  # a stage that is being deleted
TIMED = ("wall_s", "seconds", "tokens_per_s")
PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "pyarrow", "reasoning-gym", "math-verify", "py3langid")


def deterministic(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics that a repetition must give bit by bit: all but wall-clock and what is divided by it."""
    return {key: value for key, value in metrics.items() if not _timed(key)}


def _timed(key: str) -> bool:
    return key in TIMED or key.startswith("seconds/")


def versions() -> dict[str, str]:
    """Python and the packages that decide numbers, read off their metadata."""
    found = {"move37": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def is_run(path: Path) -> bool:
    """Whether a directory is a run of ours, finished or not."""
    return (path / "run.lock").is_file() and (path / "recipe.yaml").is_file()


def list_runs(root: Path) -> list[Path]:
    """The run directories right below `root` (or `root` itself), by name."""
    if is_run(root):
        return [root]
    return sorted(p for p in root.iterdir() if is_run(p)) if root.is_dir() else []


class Run:
    """One run directory, opened for writing (`create`, which takes the lock) or for reading (`open`)."""

    def __init__(self, path: Path, recipe: Recipe, lock: TextIO | None = None) -> None:
        self.path = path
        self.recipe = recipe
        self._lock = lock
        self._asked: dict[str, Any] = {}  # recipe file and overrides of a run that goes on
        self._choice: list[str] = []

    # ------------------------------------------------------------------------------------------------ making, opening

    @classmethod
    def create(
        cls,
        root: Path,
        recipe: Recipe,
        mode: Mode | None = None,
        source: Path | None = None,
        overrides: Iterable[str] = (),
        choice: Iterable[str] = (),
    ) -> Run:
        """Make, resume or replace `root/<recipe name>` and lock it.

        Args:
            mode: None refuses a run that exists; `resume` goes on with it (`graph.settle` says whether this recipe
                can); `new` takes the next free name (`-2`, `-3` ...); `force` deletes it and starts again.
            source: the recipe file, to which the recipe's own relative paths refer.
            choice: the options that chose stages, such as `--only rl`, for `resume_command`.

        Raises:
            UserError: the directory is there and no mode says what to do; or it is not a run; or nothing to resume.
            RunBusy: another process holds it.
        """
        if Path(recipe.name).name != recipe.name:
            raise RecipeError(f"name: {recipe.name!r} can not name a directory; use one without slashes")
        path = _free(root / recipe.name) if mode == "new" else root / recipe.name
        recipe = recipe.model_copy(update={"name": path.name})  # so that name=NAME --resume finds this very run
        _check_mode(path, mode)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise RunError(f"{path}: can not make the run directory: {problem.strerror}") from None
        run = cls(path, recipe, _take_lock(path))
        run._choice = list(choice)
        try:
            run._open(mode, source, list(overrides))
        except BaseException:
            run.close()
            raise
        return run

    def _open(self, mode: Mode | None, source: Path | None, overrides: list[str]) -> None:
        asked = {"recipe_file": str(Path(source).resolve()) if source else None, "overrides": overrides}
        if mode == "resume":
            self._asked = asked if source else {}
            for path in (self.path / "stages").glob(f"{GONE}*"):
                shutil.rmtree(path)
            return
        if mode == "force":
            _empty(self.path)
        lineage = {
            **asked,
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "started": _now(),
            "seed": self.recipe.seed,
            "versions": versions(),
            "hardware": describe(),
            "kernels": self._kernels(),
        }
        write_json(self.path / "lineage.json", lineage)
        write_atomic(self.path / "recipe.yaml", self.recipe.to_yaml())

    def _kernels(self) -> str:
        """What decodes and trains on a CPU where the model allows it: the last digits of numbers depend on it."""
        hardware = self.recipe.hardware
        half = "HALF" if hardware.dtype == "bfloat16" else ""
        wanted = {"decode": "CACHE_F16" if hardware.cache == "float16" else half, "train": half}
        built = [native.build(kernel, wanted[kernel]).path for kernel in native.SIGNATURES]
        return "torch" if hardware.kernels == "torch" or None in built else " ".join(path.stem for path in built)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing run, for reading. Takes no lock, so it can be read while it runs.

        Raises:
            UserError: not a run directory; names the runs that are near.
        """
        path = Path(path)
        if not is_run(path):
            near = ", ".join(str(p) for p in list_runs(path if path.is_dir() else path.parent)) or "none here"
            raise UserError(f"{path}: no run directory (it has no recipe.yaml and run.lock); runs: {near}")
        return cls(path, parse(_yaml(path / "recipe.yaml"), str(path / "recipe.yaml")))

    def changes(self) -> list[str]:
        """`key: value -> value` for each key that differs from the recipe the run was last run with."""
        return differences(flat(_yaml(self.path / "recipe.yaml")), flat(yaml.safe_load(self.recipe.to_yaml())))

    def adopt(self) -> None:
        """Go on with the recipe at hand: it becomes the run's own, and the lineage tells when."""
        again = {"time": _now(), "versions": versions(), "changed": self.changes()}
        lineage = {**self.lineage, **self._asked}
        write_json(self.path / "lineage.json", {**lineage, "resumed": [*lineage.get("resumed", []), again]})
        write_atomic(self.path / "recipe.yaml", self.recipe.to_yaml())

    def forget(self, stage: str) -> None:
        """Delete all that a stage left, at once as far as a later run is concerned."""
        gone = self.stage(GONE + stage)
        if gone.exists():
            shutil.rmtree(gone)
        os.replace(self.stage(stage), gone)
        shutil.rmtree(gone)

    # ---------------------------------------------------------------------------------------------------- what it has

    @property
    def base(self) -> Path:
        """The directory that relative paths of the recipe refer to."""
        source = {**self.lineage, **self._asked}.get("recipe_file")
        return Path(source).parent if source else Path.cwd()

    @property
    def lineage(self) -> dict[str, Any]:
        path = self.path / "lineage.json"
        return read_json(path) if path.exists() else {}

    def resume_command(self) -> str:
        """What to type to go on with what this process was asked to do, quoted for a shell."""
        lineage = self.lineage
        overrides = [o for o in lineage.get("overrides", []) if not o.startswith("name=")]
        words = ["move37", "run", lineage.get("recipe_file") or "RECIPE", *overrides, f"name={self.recipe.name}"]
        return shlex.join([*words, "--runs", str(self.path.parent), "--resume", *self._choice])

    def stage(self, name: str) -> Path:
        return self.path / "stages" / name

    def log(self, stage: str) -> StageLog:
        """The records of one stage. Repairs a torn last line where this process holds the run."""
        return StageLog(self.stage(stage), writing=self._lock is not None)

    def close(self) -> None:
        """Let go of the lock. Safe to call twice."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class StageLog:
    """What one stage leaves on disk. Whole files appear at once or not at all; lines are complete or dropped.

    `notes` holds one sentence for everything that was found torn and dropped.
    """

    def __init__(self, path: Path, writing: bool = True) -> None:
        self.path = path
        self.notes: list[str] = []
        if writing:
            path.mkdir(parents=True, exist_ok=True)
            for name in ("metrics.jsonl", "probe.jsonl"):
                self._repair(path / name)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def final(self) -> Path:
        """Where the stage's model lies once it has ended: a Hugging Face directory."""
        return self.path / "final"

    @property
    def value(self) -> Path:
        """The value model of an `rl` stage that trained one."""
        return self.path / "value"

    @property
    def data(self) -> Path:
        """Where the stage's data set lies once it has ended: a directory of JSONL files."""
        return self.path / "data"

    def record(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Append one step's metrics. NaN and infinity become null, which is what JSON has."""
        append_line(self.path / "metrics.jsonl", json.dumps(_plain({"step": step, **metrics}), ensure_ascii=False))

    def rollouts(self, step: int, groups: list[Group]) -> Path:
        """Write one step's rollouts as a Parquet shard, replacing what an interrupted run left there."""
        return shards.write(self.path / "rollouts" / shards.name(step), step, groups)

    def rows(self, step: int, rows: Iterable[Mapping[str, Any]]) -> Path:
        """Write what one step has made of a data set, replacing what an interrupted run left there."""
        text = "".join(json.dumps(_plain(row), ensure_ascii=False) + "\n" for row in rows)
        return write_atomic(self.path / "rows" / shards.name(step, "jsonl"), text)

    def probe(self, step: int, metrics: Mapping[str, Any], groups: list[Group]) -> None:
        """One look at the fixed held-out problems: a line and a shard. Step 0 is before training.

        A look that is repeated (the process was killed before its checkpoint) replaces the earlier one.
        """
        shards.write(self.path / "probe" / shards.name(step), step, groups)
        rows = [row for row in self.probes() if row["step"] < step]
        _write_rows(self.path / "probe.jsonl", [*rows, _plain({"step": step, **metrics})])

    def evaluation(
        self, record: Mapping[str, Any], sampled: list[Group], greedy: list[Group], searched: Sequence[Group] = ()
    ) -> None:
        """An evaluate stage's numbers and every response they were computed from."""
        shards.write(self.path / "rollouts" / "sampled.parquet", 0, sampled)
        for name, groups in (("greedy", greedy), ("searched", list(searched))):
            if groups:
                shards.write(self.path / "rollouts" / f"{name}.parquet", 0, groups)
        write_json(self.path / "eval.json", _plain(record))

    def truncate_after(self, step: int) -> None:
        """Forget everything after `step`, so that going on from its checkpoint repeats an uninterrupted run.

        Rows and shards of later steps, temporary files and the word that the stage has ended go.
        """
        for name in ("metrics.jsonl", "probe.jsonl"):
            path = self.path / name
            if path.exists():
                _write_rows(path, [row for row in read_lines(path)[0] if row["step"] <= step])
        for folder in ("rollouts", "rows", "probe"):
            for path in sorted((self.path / folder).glob("*")):
                if path.suffix == ".tmp" or (shards.step_of(path) or 0) > step:
                    path.unlink()
        lineage = self.lineage
        if lineage.pop("made", None) is not None:
            write_json(self.path / "lineage.json", lineage)

    def begin(self, lineage: Mapping[str, Any]) -> None:
        """Put on record what the stage is made from (`graph.begin`), and since when."""
        write_json(self.path / "lineage.json", _plain({"begun": self.lineage.get("begun", _now()), **lineage}))

    def finish(self, record: Mapping[str, Any], artefact: Artefact | None = None) -> None:
        """Mark the stage as ended, with what it made and what that cost; a resumed run passes over it.

        Args:
            record: tokens, seconds, and what else is worth telling.
            artefact: what lies in the stage's directory now; its hash is taken. None: its records are all it leaves.
        """
        made: dict[str, Any] = {"artefact": artefact, **record, "ended": _now()}
        if artefact:
            where, pattern = ARTEFACTS[artefact]
            made["sha256"] = fingerprint(self.path / where, pattern)
        write_json(self.path / "lineage.json", _plain({**self.lineage, "made": made}))

    @property
    def lineage(self) -> dict[str, Any]:
        """What the stage was made from and what it made; empty where it has not begun."""
        path = self.path / "lineage.json"
        return read_json(path) if path.exists() else {}

    @property
    def done(self) -> dict[str, Any] | None:
        """What the stage made, once it has ended."""
        return self.lineage.get("made")

    # ------------------------------------------------------------------------------------------------------- reading

    def metrics(self) -> list[dict[str, Any]]:
        """Every step's metrics, in order. A torn last line (the process was killed in it) is left out."""
        return self._rows("metrics.jsonl")

    def probes(self) -> list[dict[str, Any]]:
        return self._rows("probe.jsonl")

    def eval(self) -> dict[str, Any] | None:
        path = self.path / "eval.json"
        return read_json(path) if path.exists() else None

    def shards(self, folder: Folder = "rollouts") -> dict[int, Path]:
        """Step -> shard, in order of steps."""
        found = {shards.step_of(path): path for path in (self.path / folder).glob("step-*")}
        return {step: found[step] for step in sorted(s for s in found if s is not None)}

    def _rows(self, name: str) -> list[dict[str, Any]]:
        path = self.path / name
        return read_lines(path)[0] if path.exists() else []

    def _repair(self, path: Path) -> None:
        if not path.exists():
            return
        rows, torn = read_lines(path)
        if torn is not None:
            self.notes.append(f"{path}: the last line was torn ({torn[:40]!r}) and is dropped")
            _write_rows(path, rows)


# ------------------------------------------------------------------------------------------------------------- helpers

_ABSENT = object()


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _free(path: Path) -> Path:
    """The path itself, or with the first of -2, -3 ... that is not taken."""
    candidate, number = path, 2
    while candidate.exists():
        candidate, number = path.with_name(f"{path.name}-{number}"), number + 1
    return candidate


def _take_lock(path: Path) -> TextIO:
    lock = open(path / "run.lock", "a+", encoding="utf-8")  # noqa: SIM115  (open as long as the run is)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        lock.close()
        raise RunBusy(f"{path}: in use by {holder}; wait for it, or use --new") from None
    except OSError as problem:
        lock.close()
        raise RunError(
            f"{path}: this file system does not lock files ({problem.strerror}); choose another --runs"
        ) from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()}\n")
    lock.flush()
    return lock


def _check_mode(path: Path, mode: Mode | None) -> None:
    if mode == "resume" and not is_run(path):
        raise UserError(f"{path}: no run to resume here; leave --resume out to start one")
    if mode in {"resume", "new"} or not path.exists() or _unborn(path):
        return
    if not is_run(path):
        raise UserError(f"{path}: something that is no Move37 run is there, and stays; move it away, or use --new")
    if mode is None:
        choice = "--resume goes on with it, --new starts another beside it, --force deletes it and starts again"
        raise UserError(f"{path}: this run exists; {choice}")


def _unborn(path: Path) -> bool:
    """An empty directory, or a run that was killed before it had written its recipe."""
    first = {"run.lock", "lineage.json", "lineage.json.tmp", "recipe.yaml.tmp"}
    return path.is_dir() and {p.name for p in path.iterdir()} <= first


def _empty(path: Path) -> None:
    """Delete what a run directory holds, but the lock. Links are removed, never followed. The recipe goes last, so
    that a deletion that is interrupted leaves something that is still known as a run."""
    for child in sorted(path.iterdir(), key=lambda p: p.name == "recipe.yaml"):
        if child.name == "run.lock":
            continue
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()


def _yaml(path: Path) -> dict[str, Any]:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise RunError(f"{path}: torn or edited, it is not YAML any more: {problem}") from None


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys."""
    if not isinstance(node, dict) or not node:
        return {prefix: node}
    return {
        k: v for key, child in node.items() for k, v in flat(child, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`key: value -> value` for each key that differs, in order of keys."""
    keys = [key for key in sorted({*before, *now}) if before.get(key, _ABSENT) != now.get(key, _ABSENT)]
    return [f"{key}: {before.get(key, 'absent')!r} -> {now.get(key, 'absent')!r}" for key in keys]


def _plain(value: Any) -> Any:
    """JSON's types: NumPy scalars to Python's, NaN and infinity to null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
