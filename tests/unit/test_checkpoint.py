"""Checkpoints: whole or not there; torn ones are named and passed over; a full disk costs nothing that was safe."""

from __future__ import annotations

import contextlib
import errno
import json
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import tiny
from move37 import checkpoint
from move37.errors import CheckpointError
from move37.models import folder

TRAINER = {"optimizer": [{"state": {0: {"exp_avg": torch.arange(3.0)}}, "param_groups": [{"lr": 0.1}]}], "extra": {}}
STATE = {"updates": 7, "best": [0.25, 4], "extra": {"cursor": {"chain": 9}}}


class Killed(BaseException):
    """Stands for a process that ends at once: nothing of ours may catch it."""


def save(directory: Path, step: int, seed: int = 0) -> Path:
    return checkpoint.save(directory, step, tiny.loaded(seed), TRAINER, STATE)


def names(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.iterdir())


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    path = save(tmp_path, 12)
    saved = checkpoint.load(path)
    assert saved.state == {"step": 12, **STATE}
    assert torch.equal(saved.trainer["optimizer"][0]["state"][0]["exp_avg"], torch.arange(3.0))
    again = folder.load(path, torch.float32, tiny.CPU).model.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in tiny.loaded().model.state_dict().items())
    assert checkpoint.newest(tmp_path) == (path, [])


def test_a_checkpoint_is_a_model_directory_for_transformers(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    assert AutoModelForCausalLM.from_pretrained(path).num_parameters() > 0
    assert AutoTokenizer.from_pretrained(path).eos_token == tiny.tokenizer().eos_token


def test_nothing_saved_yet(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "checkpoints") == (None, [])


# ----------------------------------------------------------------------------------------------- killed while writing


@pytest.mark.parametrize("where", ["torch.save", "folder.save", "os.replace"])
def test_a_process_killed_while_writing_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    first = save(tmp_path, 10, seed=1)

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(f"move37.checkpoint.{where}", killed)
        with pytest.raises(Killed):
            save(tmp_path, 20, seed=2)
    assert not (tmp_path / "step-000020").exists()
    assert checkpoint.newest(tmp_path) == (first, [])
    assert names(tmp_path) == ["step-000010"]  # and what was half written is gone
    assert checkpoint.newest(tmp_path)[0] == first
    assert save(tmp_path, 20, seed=2) == checkpoint.newest(tmp_path)[0]


def test_a_model_that_is_exported_again_replaces_the_first(tmp_path: Path) -> None:
    for seed in (1, 2):
        checkpoint.export(tmp_path / "final", tiny.loaded(seed))
    checkpoint.verify(tmp_path / "final")
    found = folder.load(tmp_path / "final", torch.float32, tiny.CPU).model
    assert torch.equal(found.embedding.weight, tiny.loaded(2).model.embedding.weight)
    assert names(tmp_path) == ["final"]


# --------------------------------------------------------------------------------------------------------- torn files

FILES = ["config.json", "model.safetensors", "state.json", "tokenizer.json", "tokenizer_config.json", "trainer.pt"]


def test_what_a_checkpoint_holds(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    found = [name for name in names(path) if name != "manifest.json"]
    assert set(FILES) <= set(found)
    assert sorted(json.loads((path / "manifest.json").read_text())) == found


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_torn_file_is_named_and_the_one_before_is_used(tmp_path: Path, name: str, damage: str) -> None:
    first, second = save(tmp_path, 10), save(tmp_path, 20)
    file = second / name
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    path, (note,) = checkpoint.newest(tmp_path)
    assert path == first
    assert name in note and "step-000020" in note and "the one before" in note
    with pytest.raises(CheckpointError, match=name):
        checkpoint.load(second)


@pytest.mark.parametrize("content", [None, "", '{"config.json": [1'])
def test_a_manifest_that_is_torn(tmp_path: Path, content: str | None) -> None:
    first, second = save(tmp_path, 10), save(tmp_path, 20)
    (second / "manifest.json").unlink()
    if content is not None:
        (second / "manifest.json").write_text(content)
    path, (note,) = checkpoint.newest(tmp_path)
    assert path == first and "manifest.json" in note


def test_all_torn_means_starting_over(tmp_path: Path) -> None:
    for step in (1, 2):
        (save(tmp_path, step) / "trainer.pt").unlink()
    path, notes = checkpoint.newest(tmp_path)
    assert path is None and len(notes) == 2


def test_a_torn_checkpoint_is_written_anew(tmp_path: Path) -> None:
    (save(tmp_path, 2) / "trainer.pt").unlink()
    assert checkpoint.newest(tmp_path)[0] is None
    assert checkpoint.newest(tmp_path / ".")[0] is None
    path = save(tmp_path, 2)
    assert checkpoint.newest(tmp_path) == (path, [])


# ------------------------------------------------------------------------------------------------------ what is kept


@pytest.mark.parametrize(
    ("keep_last", "best", "kept"),
    [
        (1, None, [50]),
        (2, None, [40, 50]),
        (2, 10, [10, 40, 50]),
        (2, 50, [40, 50]),
        (9, None, [10, 20, 30, 40, 50]),
        (1, 60, [50]),  # the best one was never saved, or is gone
    ],
)
def test_the_last_ones_and_the_best_are_kept(tmp_path: Path, keep_last: int, best: int | None, kept: list[int]) -> None:
    whole = save(tmp_path, 10)
    for step in (20, 30, 40, 50):
        shutil.copytree(whole, tmp_path / f"step-{step:06d}")
    checkpoint.prune(tmp_path, 50, keep_last, best)
    assert names(tmp_path) == [f"step-{step:06d}" for step in kept]


def test_a_torn_checkpoint_of_a_later_step_takes_no_place(tmp_path: Path) -> None:
    """20 is torn, the run goes on from 10 and saves 12: that one must stay, and be the newest."""
    save(tmp_path, 10)
    (save(tmp_path, 20) / "trainer.pt").unlink()
    path = save(tmp_path, 12)
    checkpoint.prune(tmp_path, 12, keep_last=1, best=10)
    assert names(tmp_path) == ["step-000010", "step-000012"]
    assert checkpoint.newest(tmp_path) == (path, [])


# ---------------------------------------------------------------------------------------------------------- full disk


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def torn_write(*_: object, **__: object) -> None:
    raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")


@pytest.mark.parametrize("where", ["torch.save", "folder.save", "os.fsync", "os.replace"])
@pytest.mark.parametrize("how", [full, torn_write])
def test_a_full_disk_leaves_what_was_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, how) -> None:
    first = save(tmp_path, 10, seed=1)
    with monkeypatch.context() as patched:
        patched.setattr(f"move37.checkpoint.{where}", how)
        with pytest.raises(CheckpointError, match=r"step-000020.*Earlier checkpoints are untouched.*--resume"):
            save(tmp_path, 20, seed=2)
    assert names(tmp_path) == ["step-000010"]
    checkpoint.verify(first)
    assert checkpoint.newest(tmp_path) == (first, [])


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """No file of this process may grow beyond 4 KiB: a write fails half-way, as on a full disk.

    No fixture: pytest reports a test before it tears fixtures down, and its own report may be a longer file.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_really_fails(tmp_path: Path) -> None:
    """The weights are the first file over the limit; safetensors reports that in its own way."""
    first = save(tmp_path, 10)
    made = tiny.loaded()
    with small_files(), pytest.raises(CheckpointError, match=r"step-000020.*Earlier checkpoints are untouched"):
        checkpoint.save(tmp_path, 20, made, TRAINER, STATE)
    assert names(tmp_path) == ["step-000010"]
    assert checkpoint.newest(tmp_path) == (first, [])


def test_a_tokenizer_that_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = save(tmp_path, 10)
    made = tiny.loaded()
    monkeypatch.setattr(folder, "save_file", lambda *_, **__: None)
    with small_files(), pytest.raises(CheckpointError, match="step-000020"):
        checkpoint.save(tmp_path, 20, made, TRAINER, STATE)
    assert checkpoint.newest(tmp_path) == (first, [])
