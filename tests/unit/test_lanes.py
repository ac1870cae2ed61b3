"""Both widths of the kernels' vectors, whatever this processor has: sampler, learner and PyTorch agree on log-probs."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from move37 import native
from move37.learner.batch import Example
from move37.learner.learner import Learner
from move37.rollout.draw import Sampling
from move37.rollout.prompt import Prompter
from move37.rollout.sampler import Sampler
from move37.sections import Optimizer
from move37.types import Credit, LossSpec, Problem

SPEC = LossSpec(kind="clip", normalise="token", temperature=1.0)
pytestmark = pytest.mark.skipif(native.compiler() is None, reason="no C compiler")


@pytest.fixture(params=["own", "wide", "soft"])
def lanes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The kernels as they are built here, with 16 lanes, and without the processor's own float16."""
    caches = (native.build, native.library)
    if request.param == "wide":
        monkeypatch.setattr(native, "FLAGS", (*native.FLAGS, "-O1", "-DWIDE", "-Wno-psabi"))  # the last -O holds
    if request.param == "soft":
        if platform.machine() != "x86_64":
            pytest.skip("options of x86-64")
        monkeypatch.setattr(native, "FLAGS", (*native.FLAGS, "-O1", "-mno-avx512f", "-mno-f16c"))
    for cache in caches:
        cache.cache_clear()
    yield request.param
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize("dtype, cache, gap", [("float32", "auto", 5e-4), ("float32", "float16", 0.2), ("bfloat16", "auto", 1.0)])
def test_sampler_and_pytorch_agree_in_every_dtype(lanes: str, dtype: str, cache: str, gap: float) -> None:
    loaded = tiny.loaded()
    loaded.model = tiny.decoder(hidden=80, head_width=32, heads=4, kv_heads=2)  # no whole tile of bfloat16
    prompter = Prompter(loaded.tokenizer, tiny.SHORT, "")
    sampler = Sampler(loaded, prompter, getattr(torch, dtype), "native", cache)
    problems = [Problem(id=f"p{i}", task="chain", question="7+" * i, answer="1") for i in (1, 26)]
    rollouts = [r for g in sampler.sample(problems, 20, Sampling(max_new_tokens=40), seed=1) for r in g.rollouts]
    examples = [Example.of(Credit(rollout=r, advantage=1.0)) for r in rollouts]
    learner = Learner(loaded.model, Optimizer(), 1, 600, torch.float32, Path("."), "torch")
    found = np.concatenate([np.abs(a - e.old) for a, e in zip(learner.logprobs(examples, 1.0), examples, strict=True)])
    assert found.max() < gap and found.mean() < gap / 10


def test_sampler_learner_and_pytorch_agree(tmp_path: Path, lanes: str) -> None:
    """Prompts within a page and over several, groups that are cut by micro-batches, responses that end early."""
    loaded = tiny.loaded()
    loaded.model = tiny.decoder(hidden=64, head_width=32, heads=4, kv_heads=2)
    sampler = Sampler(loaded, Prompter(loaded.tokenizer, tiny.SHORT, ""), torch.float32, "native")
    sampler.eos = frozenset(range(4))
    assert lanes != "wide" or native.library("decode").move37_panel() == 32
    problems = [Problem(id=f"p{i}", task="chain", question="7+" * i, answer="1") for i in (1, 9, 26, 40, 62)]
    groups = sampler.sample(problems, 7, Sampling(max_new_tokens=75), seed=1)
    examples = [Example.of(Credit(rollout=r, advantage=float(r.sample % 3 - 1))) for g in groups for r in g.rollouts]
    lengths = [e.start for e in examples]
    assert min(lengths) < 32 and max(lengths) > 128 and len({len(e.tokens) for e in examples}) > 10
    learner = Learner(loaded.model, Optimizer(lr=1e-12), 1, 600, torch.float32, tmp_path, "native")
    plain = Learner(loaded.model, Optimizer(), 1, 600, torch.float32, tmp_path, "torch").logprobs(examples, 1.0)
    learner.step(examples, SPEC)
    for i, (example, expected) in enumerate(zip(examples, plain, strict=True)):
        np.testing.assert_allclose(learner.found[i].numpy(), expected, atol=5e-4)
        np.testing.assert_allclose(example.old, expected, atol=5e-4)
