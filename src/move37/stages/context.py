"""What every stage is given: recipe, run, machine, tasks; and how it loads the model it starts from."""

from __future__ import annotations

import copy
import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Protocol, Self

import torch
from torch import nn

from move37 import machine
from move37.errors import Interrupted, RecipeError
from move37.models import folder
from move37.recipe import Recipe
from move37.report.live import Live
from move37.rollout.prompt import Prompter
from move37.rollout.sampler import Sampler
from move37.runs import Run
from move37.sections import Hardware, StageSection
from move37.tasks.base import Task


class Starting(Protocol):
    """A section of a stage that starts from a model."""

    @property
    def init(self) -> str: ...


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(slots=True, kw_only=True)
class Device:
    """Where tensors live and the dtype of forward passes."""

    device: torch.device
    autocast: torch.dtype

    @property
    def weights(self) -> torch.dtype:
        """Of a model that nobody trains: on a GPU half the memory will do, the CPU kernels want float32."""
        return torch.float32 if self.device.type == "cpu" else self.autocast

    @classmethod
    def choose(cls, hardware: Hardware) -> Device:
        """Raises RecipeError where the recipe asks for a GPU that is not there, or for a cache that does not go with the rest."""
        if hardware.device == "cuda" and not torch.cuda.is_available():
            raise RecipeError("hardware.device=cuda, but PyTorch sees no GPU here; `move37 doctor` says why, or use auto or cpu")
        name = hardware.device if hardware.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
        wanted = hardware.dtype if hardware.dtype != "auto" else ("bfloat16" if name == "cuda" else "float32")
        if hardware.cache == "float16" and (name != "cpu" or wanted != "float32" or hardware.kernels == "torch"):
            told = f"device {name}, dtype {wanted}, kernels {hardware.kernels}"
            raise RecipeError(f"hardware.cache=float16 is for the CPU kernels in float32; here: {told}. Use hardware.cache=auto")
        torch.set_num_threads(hardware.threads or machine.cores())
        return cls(device=torch.device(name), autocast=DTYPES[wanted])


@dataclass(slots=True, kw_only=True)
class Context:
    """Shared by the stages of one run."""

    recipe: Recipe
    run: Run
    display: Live
    tasks: dict[str, Task]
    device: Device
    interrupt: Interrupt

    def chosen(self, names: list[str] | None) -> dict[str, Task]:
        return {name: self.tasks[name] for name in names or self.tasks}

    def model(self) -> Path:
        """The directory of the recipe's model."""
        assert self.recipe.model is not None
        return folder.resolve(self.recipe.model, self.run.base)

    def source(self, section: Starting) -> Path:
        """The model directory a stage starts from."""
        return self.directory(section.init)

    def directory(self, name: str) -> Path:
        """A model directory: `model` (the recipe's), what an earlier stage made, or one on disk."""
        if name == "model":
            return self.model()
        return self.run.log(name).final if name in self.recipe.stages else folder.resolve(name, self.run.base)

    def data(self, name: str) -> Path:
        """A data set: what an earlier stage made, or a file, relative to the recipe file."""
        return self.run.log(name).data if name in self.recipe.stages else self.run.base / name

    def load(self, section: Starting, scalar: bool = False) -> folder.Loaded:
        """The model a stage starts from, in float32 master weights where it is trained on a CPU or in mixed precision.

        `scalar`: its trunk under a `score` of zeros, as `folder.load` gives it.
        """
        return folder.load(self.source(section), torch.float32, self.device.device, scalar)

    def models(self, section: StageSection) -> dict[str, Path]:
        """`model`, and the stages that make a model -> its directory, of those that a stage starts from or is judged by."""
        makers = [n for n, s in self.recipe.stages.items() if s.MAKES in ("checkpoint", "reward_model")]
        return {name: self.directory(name) for name in section.inputs().values() if name in ("model", *makers)}

    def prompter(self, loaded: folder.Loaded) -> Prompter:
        return Prompter.build(loaded.tokenizer, self.recipe.template, self.run.base)

    def sampler(self, loaded: folder.Loaded) -> Sampler:
        hardware = self.recipe.hardware
        return Sampler(loaded, self.prompter(loaded), self.device.autocast, hardware.kernels, hardware.cache)


def frozen_copy(model: nn.Module) -> nn.Module:
    """A reference policy: the same weights, never trained."""
    reference = copy.deepcopy(model)
    return reference.requires_grad_(False)


class Interrupt:
    """Ctrl-C (and SIGTERM) ask for an end at the next safe place; a second Ctrl-C ends at once.

    Use as a context manager around a run; `check` raises at the safe place.
    """

    def __init__(self, keeps: bool = True) -> None:
        """`keeps`: what is done so far is left on disk, so that one can go on."""
        self.asked = False
        self.keeps = keeps
        self._before: dict[int, signal.Handlers | None] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # signals belong to it; elsewhere nothing to catch
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            os._exit(130)
        self.asked = True

    def stop(self, where: str, how: str) -> None:
        """Raise Interrupted, telling what is safe and how to go on."""
        if not self.keeps:
            raise Interrupted(
                "interrupted: nothing of this measurement is kept. Run the command again; what an endpoint has answered is in "
                "its ledger and is not paid twice"
            )
        raise Interrupted(f"interrupted: {where} is saved. Go on with: {how}")
