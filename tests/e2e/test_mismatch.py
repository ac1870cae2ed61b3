"""A sampler that records other log-probs than the learner finds stops the run, and leaves what both say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import tiny
from move37.errors import Mismatch
from move37.rollout.sampler import Sampler
from move37.types import Group


def test_a_mismatch_leaves_the_batch_and_names_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = Sampler.sample

    def wrong(*given: object) -> list[Group]:
        groups = sample(*given)
        rollout = groups[1].rollouts[2]
        rollout.logprobs[np.argmax(rollout.sampled) + 3] -= 5
        return groups

    monkeypatch.setattr(Sampler, "sample", wrong)
    rl = {"stage": "rl", "steps": 1, "prompts_per_step": 2, "samples_per_prompt": 4, "max_new_tokens": 24}
    rl["rewards"] = {"accuracy": 1.0}
    with pytest.raises(Mismatch, match=r"1 of \d+ tokens in 1 of 8 responses .* by 5: token 3 of response 6") as caught:
        tiny.run(tmp_path, tiny.recipe({"rl": rl}, model="bundled"))
    path = Path(re.search(r"batch is in (\S+\.npz)", str(caught.value))[1])
    with np.load(path) as kept:
        for i in range(8):
            gap = kept[f"{i}/found"] - kept[f"{i}/old"]
            assert np.isclose(gap, 5 if i == 6 else 0, atol=1e-3).sum() == (1 if i == 6 else len(gap))
            assert len(kept[f"{i}/tokens"]) > len(gap)
