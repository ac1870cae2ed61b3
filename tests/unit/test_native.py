"""The compiled kernels decode what the decoder decodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny
from move37 import native
from move37.errors import RecipeError
from move37.learner.batch import Example
from move37.learner.learner import Learner
from move37.models.decoder import Decoder
from move37.models.head import logits
from move37.models.native import DEFINES, NativeDecoder, engine
from move37.rollout.draw import Sampling, choose
from move37.rollout.prompt import Prompter
from move37.rollout.sampler import Sampler
from move37.sections.training import Optimizer
from move37.types import Problem

# head width and hidden size that are no multiple of a panel, one head per key, biases, norms of queries and keys
SHAPES = {
    "grouped": {"hidden": 64, "head_width": 16},
    "one head per key": {"hidden": 32, "heads": 2, "kv_heads": 2, "head_width": 32, "ffn": 72},
    "odd sizes": {"hidden": 48, "heads": 6, "kv_heads": 2, "head_width": 48, "ffn": 40},
    "qwen2": {"hidden": 64, "head_width": 64, "qkv_bias": True},
    "qwen3": {"hidden": 80, "heads": 8, "kv_heads": 1, "head_width": 16, "qk_norm": True, "tied": False},
}
LENGTHS = (1, 31, 32, 33, 70, 5)
compiled = pytest.mark.skipif(native.compiler() is None, reason="no C compiler")


def model(name: str) -> Decoder:
    return tiny.decoder(**{"heads": 4, "kv_heads": 2, **SHAPES[name]})


def prompts(lengths: tuple[int, ...] = LENGTHS) -> tuple[Tensor, Tensor]:
    """Left-padded tokens and the padding."""
    draws = torch.Generator().manual_seed(1)
    pad = max(lengths) - torch.tensor(lengths)
    return torch.randint(tiny.VOCABULARY, (len(lengths), max(lengths)), generator=draws), pad


@torch.no_grad()
def decoded(decoder: Decoder | NativeDecoder, steps: int, times: int = 2) -> list[Tensor]:
    """Hidden states: each prompt `times`; rows leave on the way, at the ends of pages and in their middle."""
    hidden, cache = decoder.prefill(*prompts())
    cache.select(torch.arange(len(LENGTHS)).repeat_interleave(times))
    rows = list(range(times * len(LENGTHS)))
    found = [hidden]
    draws = np.random.default_rng(2).integers(tiny.VOCABULARY, size=(steps, len(rows)))
    for step in range(steps):
        if step in (7, 32, 33):
            kept = [i for i, row in enumerate(rows) if row % 4 != (7, 32, 33).index(step)]
            cache.select(torch.tensor(kept))
            rows = [rows[i] for i in kept]
        cache.room(16)
        found.append(decoder.decode(torch.from_numpy(draws[step][rows]), cache))
    return found


@compiled
@pytest.mark.parametrize("name", SHAPES)
def test_the_hidden_states_are_those_of_the_decoder(name: str) -> None:
    plain = model(name)
    for step, (ours, theirs) in enumerate(zip(decoded(NativeDecoder(plain), 70), decoded(plain, 70), strict=True)):
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=2e-4, msg=lambda told, step=step: f"step {step}: {told}")


@compiled
@pytest.mark.parametrize("name", SHAPES)
def test_in_bfloat16_they_are_as_near_as_it_allows(name: str) -> None:
    """Off, but less than PyTorch's autocast is, which rounds sums and norms too."""
    plain = model(name)
    wanted, found = (torch.cat(decoded(d, 70)[1:]) for d in (plain, NativeDecoder(plain, torch.bfloat16)))
    with torch.autocast("cpu", torch.bfloat16):
        cast = torch.cat([state.float() for state in decoded(plain, 70)[1:]])
    assert 1e-4 < (found - wanted).abs().mean() < (cast - wanted).abs().mean() < 0.05
    assert (found - wanted).abs().max() < 1.5 * (cast - wanted).abs().max()


@compiled
@pytest.mark.parametrize("name", SHAPES)
def test_keys_and_values_in_float16_change_little(name: str) -> None:
    """About a tenth of what bfloat16 costs these models, whose scores are wide apart; states are of size 1."""
    plain = model(name)
    wanted, found = (torch.cat(decoded(d, 70)[1:]) for d in (plain, NativeDecoder(plain, cache=torch.float16)))
    assert 1e-6 < (found - wanted).abs().mean() < 2e-3 and (found - wanted).abs().max() < 0.1


@compiled
def test_keys_beyond_float16_are_cut_not_infinite() -> None:
    plain = model("qwen2")
    with torch.no_grad():
        plain.blocks[0].qkv.bias.fill_(1e5)
    assert all(torch.isfinite(state).all() for state in decoded(NativeDecoder(plain, cache=torch.float16), 3))


# fewer tokens than a partial sum, no multiple of one, more than a thread holds rows of
@compiled
@pytest.mark.parametrize("vocabulary", [5, 64, 1000, 20_011])
@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_tokens_are_drawn_as_from_the_logits(vocabulary: int, temperature: float, dtype: torch.dtype) -> None:
    """80 columns are no whole tiles of bfloat16. Its products are exact in float32, so the logits are as near as in float32."""
    decoder = NativeDecoder(tiny.decoder(vocabulary=vocabulary, hidden=80, head_width=16), dtype)
    decoder.prefill(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))  # packs the weights
    hidden = 3 * torch.randn(200, 80, generator=torch.Generator().manual_seed(0))
    uniform = np.random.default_rng(0).random(200)
    tokens, logprobs = decoder.draw(hidden, uniform, temperature)
    exact = logits(hidden.to(dtype).float(), decoder.head.to(dtype).float())
    wanted, policy, _ = choose(exact, uniform, Sampling(temperature=temperature))
    same = tokens == wanted  # but where the draw falls within rounding of the border between two tokens
    assert same.float().mean() > 0.98 and (same.all() or temperature > 0)
    torch.testing.assert_close(logprobs[same], policy[same], atol=2e-5, rtol=2e-5)


@compiled
def test_every_share_of_a_distribution_is_drawn() -> None:
    decoder = NativeDecoder(tiny.decoder(vocabulary=4, hidden=16, heads=1, kv_heads=1, head_width=16, tied=False))
    chances = torch.tensor([0.5, 0.0, 0.2, 0.3])
    with torch.no_grad():
        decoder.model.lm_head.weight.zero_()[:, 0] = chances.log().clamp(min=-1e9)
    decoder.prefill(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    hidden = torch.zeros(1000, 16)
    hidden[:, 0] = 1
    tokens, logprobs = decoder.draw(hidden, (np.arange(1000) + 0.5) / 1000, 1.0)
    assert torch.bincount(tokens, minlength=4).tolist() == [500, 0, 200, 300]  # evenly spread draws: exact shares
    torch.testing.assert_close(logprobs, chances.log()[tokens])
    edges, _ = decoder.draw(hidden[:2], np.array([0.0, 1 - 2.0**-53]), 1.0)
    assert edges.tolist() == [0, 3]


@compiled
@pytest.mark.parametrize("dtypes", DEFINES, ids=lambda pair: "_".join(str(one).removeprefix("torch.") for one in pair))
def test_the_number_of_threads_changes_no_bit(dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    one, before = NativeDecoder(model("grouped"), *dtypes), torch.get_num_threads()
    found = {}
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found[threads] = torch.cat(decoded(one, 20, times=8)[1:])  # whole blocks of rows, and parts of them
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[1], found[2]) and torch.equal(found[1], found[3])


@compiled
def test_a_pass_sees_the_weights_as_they_are() -> None:
    plain = model("grouped")
    one = NativeDecoder(plain)
    decoded(one, 2)
    tiny.spread(plain, seed=9)
    torch.testing.assert_close(decoded(one, 2)[-1], decoded(plain, 2)[-1], atol=2e-4, rtol=2e-4)


@compiled
def test_memory_is_used_again() -> None:
    one = NativeDecoder(model("grouped"))
    decoded(one, 40)
    slabs = len(one.pages.slabs)
    for _ in range(5):
        decoded(one, 40)
    assert len(one.pages.slabs) == slabs


@compiled
@torch.no_grad()
def test_pages_of_rows_that_left_are_free() -> None:
    one = NativeDecoder(model("grouped"))
    _, cache = one.prefill(*prompts((40, 3)))
    cache.select(torch.tensor([0, 0, 1, 1]))
    for _ in range(33):
        cache.room(1)
        one.decode(torch.zeros(len(cache.own), dtype=torch.int64), cache)
    free = len(one.pages.free)
    cache.select(torch.tensor([1, 3]))
    assert len(one.pages.free) == free + 4 and len(set(one.pages.free)) == free + 4


@compiled
@pytest.mark.parametrize("stop", [1.0, 0.0])
def test_the_sampler_writes_the_same_with_and_without(stop: float) -> None:
    """Enough tokens for several pages; rows that end early and rows that go on."""
    loaded = tiny.loaded()
    loaded.model = tiny.decoder(hidden=64, head_width=16)
    problems = [Problem(id=f"p{i}", task="chain", question=f"1+{i}*7?" * i, answer="1") for i in range(1, 6)]
    found = {}
    for kernels in ("native", "torch"):
        one = Sampler(loaded, Prompter(loaded.tokenizer, tiny.SHORT, ""), torch.float32, kernels)
        one.eos = frozenset(range(5)) if stop else frozenset()
        assert isinstance(one.engine, NativeDecoder) == (kernels == "native")
        found[kernels] = [r for g in one.sample(problems, 4, Sampling(max_new_tokens=80), seed=0) for r in g.rollouts]
    assert len({r.length for r in found["native"]}) == 1 or stop
    same = 0
    for ours, theirs in zip(found["native"], found["torch"], strict=True):
        length = min(len(ours.token_ids), len(theirs.token_ids))
        apart = np.flatnonzero(ours.token_ids[:length] != theirs.token_ids[:length])
        together = apart[0] if len(apart) else length
        np.testing.assert_allclose(ours.logprobs[:together], theirs.logprobs[:together], atol=2e-4)
        same += ours.token_ids.tolist() == theirs.token_ids.tolist()
    assert same >= 18  # of 20: a draw within rounding of the border between two tokens may fall to either side


@compiled
@pytest.mark.parametrize(
    "dtype, cache, most", [("float32", "auto", 1e-9), ("float32", "float16", 1e-5), ("bfloat16", "auto", 0.01)]
)
def test_a_learner_stays_near_the_sampler(tmp_path: Path, dtype: str, cache: str, most: float) -> None:
    """The limit of an RL stage is 0.01 nats per token."""
    loaded = tiny.loaded()
    loaded.model = tiny.decoder(hidden=64, head_width=16)
    autocast = getattr(torch, dtype)
    sampler = Sampler(loaded, Prompter(loaded.tokenizer, tiny.SHORT, ""), autocast, "native", cache)
    problem = Problem(id="p", task="chain", question="1+7?", answer="8")
    rollouts = sampler.sample([problem], 16, Sampling(max_new_tokens=60), seed=0)[0].rollouts
    starts = [int(np.argmax(r.sampled)) for r in rollouts]
    batch = [
        Example(tokens=r.token_ids, start=start, weight=np.ones(r.length, np.float32))
        for r, start in zip(rollouts, starts, strict=True)
    ]
    found = Learner(loaded.model, Optimizer(), 1, 4096, autocast, tmp_path).logprobs(batch, 1.0)
    gap = np.concatenate([f - r.logprobs[s:] for f, r, s in zip(found, rollouts, starts, strict=True)])
    assert 0 < np.mean(np.expm1(gap) - gap) < most  # k3


# ------------------------------------------------------------------------------------------------ where there is none


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    found = native.build.__wrapped__()
    assert found.path is None and "compiler" in found.why


def test_a_compiler_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'no such option' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = native.build.__wrapped__()
    assert found.path is None and "no such option" in found.why
    assert not list(tmp_path.rglob("*.so"))


def test_what_can_not_be_had_is_refused_when_demanded() -> None:
    narrow = tiny.decoder()  # head width 8
    assert engine(narrow, torch.float32, "auto", "auto") is narrow
    assert engine(model("grouped"), torch.float32, "torch", "auto").__class__ is Decoder
    with pytest.raises(RecipeError, match="multiple of 16"):
        engine(narrow, torch.float32, "native", "auto")
    with pytest.raises(RecipeError, match="float32"):
        engine(model("grouped").to(torch.bfloat16), torch.bfloat16, "native", "auto")
    for kernels, dtype in (("torch", torch.float32), ("auto", torch.bfloat16)):
        with pytest.raises(RecipeError, match="cache=float16"):
            engine(model("grouped"), dtype, kernels, "float16")
