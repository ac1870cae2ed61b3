"""The sections of a recipe, one file per kind of stage. Loading and everything about the whole file is in recipe.py.

Strict keys, frozen, no torch. A field is a knob: tests/house/test_knobs.py pins them.
"""

from __future__ import annotations

from typing import Annotated, Union

from pydantic import Field

from move37.sections.base import INIT, Artefact, Loop, Section, StageSection, stops
from move37.sections.compare import Compare
from move37.sections.curate import Curate
from move37.sections.demonstrate import Demonstrate
from move37.sections.distill import Distill
from move37.sections.evaluate import Evaluate
from move37.sections.hardware import Hardware
from move37.sections.merge import Merge
from move37.sections.partial import Partial
from move37.sections.preference import Preference, PreferenceOptimizer
from move37.sections.pretrain import Pretrain
from move37.sections.rejection import RejectionSample
from move37.sections.reward_model import RewardModel, RewardOptimizer
from move37.sections.rewrite import Rewrite
from move37.sections.rl import RL
from move37.sections.search import Search
from move37.sections.sft import SFT, SFTOptimizer
from move37.sections.tasks import TASK_KINDS, AnyTask, FamilyTask, FileTask, GymTask
from move37.sections.training import Optimizer, TrainingSection

# One entry per kind of stage; nothing registers itself.
STAGE_KINDS: dict[str, type[StageSection]] = {
    "pretrain": Pretrain,
    "sft": SFT,
    "rl": RL,
    "distill": Distill,
    "rejection_sample": RejectionSample,
    "curate": Curate,
    "merge": Merge,
    "rewrite": Rewrite,
    "demonstrate": Demonstrate,
    "compare": Compare,
    "reward_model": RewardModel,
    "preference": Preference,
    "evaluate": Evaluate,
}
AnyStage = Annotated[Union[tuple(STAGE_KINDS.values())], Field(discriminator="stage")]

__all__ = [
    "INIT",
    "RL",
    "SFT",
    "STAGE_KINDS",
    "TASK_KINDS",
    "AnyStage",
    "AnyTask",
    "Artefact",
    "Compare",
    "Curate",
    "Demonstrate",
    "Distill",
    "Evaluate",
    "FamilyTask",
    "FileTask",
    "GymTask",
    "Hardware",
    "Loop",
    "Merge",
    "Optimizer",
    "Partial",
    "Preference",
    "PreferenceOptimizer",
    "Pretrain",
    "RejectionSample",
    "RewardModel",
    "RewardOptimizer",
    "Rewrite",
    "SFTOptimizer",
    "Search",
    "Section",
    "StageSection",
    "TrainingSection",
    "stops",
]  # fmt: skip
