"""Checkpoints: a Hugging Face model directory, the trainer's state beside it, and a manifest that tells torn files.

    step-000120/
      config.json model.safetensors tokenizer*.json     loads in transformers as it is
      trainer.pt        optimizer moments and, where there is one, the reference policy's weights
      state.json        step, update count, curriculum, clock: whatever else the stage needs to go on
      manifest.json     size and sha256 of every file above; written last

A checkpoint is written under another name and renamed when complete, so a kill leaves the previous one untouched.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from move37.errors import CheckpointError, Move37Error
from move37.files import sync
from move37.models import folder

PREFIX, PARTIAL = "step-", ".partial-"


@dataclass(frozen=True, slots=True)
class Saved:
    """What a checkpoint holds beside the model."""

    path: Path
    trainer: dict[str, Any]
    state: dict[str, Any]


def save(directory: Path, step: int, loaded: folder.Loaded, trainer: dict[str, Any], state: dict[str, Any]) -> Path:
    """Write `directory/step-<step>` atomically.

    Raises:
        CheckpointError: the disk is full or not writable; earlier checkpoints are untouched.
    """
    final = directory / f"{PREFIX}{step:06d}"

    def write(path: Path) -> None:
        folder.save(loaded, path)
        torch.save(trainer, path / "trainer.pt")
        (path / "state.json").write_text(json.dumps({"step": step, **state}), encoding="utf-8")

    write_directory(final, write)
    return final


def export(path: Path, loaded: folder.Loaded) -> None:
    """Write a plain model directory (with a manifest) atomically, replacing what is there."""
    write_directory(path, lambda p: folder.save(loaded, p))


def write_directory(final: Path, write: Callable[[Path], None]) -> None:
    """Fill a directory under a temporary name, add the manifest, make it durable, rename it."""
    partial = final.with_name(PARTIAL + final.name)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write(partial)
        manifest = {p.name: [p.stat().st_size, _sha256(p)] for p in sorted(partial.iterdir())}
        (partial / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        for file in partial.iterdir():
            sync(file)
        if final.exists():  # torn, or of a try that did not come to its end: nothing goes on from it
            shutil.rmtree(final)
        os.replace(partial, final)
        sync(final.parent)
    except Move37Error:  # what `write` says of what it was given
        shutil.rmtree(partial, ignore_errors=True)
        raise
    except Exception as problem:  # torch, safetensors and tokenizers report a failed write each with a type of its own
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(
            f"could not write {final}: {problem}. Earlier checkpoints are untouched; free some space and go on with --resume"
        ) from problem


def load(path: Path) -> Saved:
    """Read trainer and stage state; the model is read by `models.folder.load`.

    Raises:
        CheckpointError: a file is missing or torn, naming it.
    """
    verify(path)
    trainer = torch.load(path / "trainer.pt", map_location="cpu", weights_only=True)
    return Saved(path, trainer, json.loads((path / "state.json").read_text(encoding="utf-8")))


def verify(path: Path) -> None:
    """Compare every file with the manifest; raises CheckpointError naming the first that differs."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as problem:
        raise CheckpointError(
            f"checkpoint {path}: manifest.json does not read ({problem}); it was not written to its end"
        ) from None
    for name, (size, digest) in manifest.items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"checkpoint {path}: {name} is missing")
        if file.stat().st_size != size or _sha256(file) != digest:
            raise CheckpointError(
                f"checkpoint {path}: {name} is torn ({file.stat().st_size} of {size} bytes, or changed)"
            )


def newest(directory: Path) -> tuple[Path | None, list[str]]:
    """The newest intact checkpoint (None: start over), and a sentence for each torn one that was passed over."""
    for partial in directory.glob(f"{PARTIAL}*"):
        shutil.rmtree(partial, ignore_errors=True)
    notes = []
    for path in sorted(directory.glob(f"{PREFIX}*"), reverse=True):
        try:
            verify(path)
            return path, notes
        except CheckpointError as problem:
            notes.append(f"{problem}; going back to the one before")
    return None, notes


def prune(directory: Path, step: int, keep_last: int, best: int | None) -> None:
    """After `step` was saved: delete all but the last `keep_last` checkpoints up to it and the one of step `best`.

    Those of later steps go as well: they were torn, or the run would have gone on from them.
    """
    paths = sorted(directory.glob(f"{PREFIX}*"))
    newest = directory / f"{PREFIX}{step:06d}"
    keep = set([p for p in paths if p <= newest][-keep_last:])
    if best is not None:
        keep.add(directory / f"{PREFIX}{best:06d}")
    for path in paths:
        if path not in keep:
            shutil.rmtree(path, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cpu_copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
