"""The sampler: what it records is what the learner computes, and no response depends on its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

import tiny
from move37.errors import TaskError
from move37.learner.batch import Example
from move37.learner.learner import Learner
from move37.models import folder
from move37.models.decoder import Cache
from move37.models.hf import HFCache
from move37.rollout import sampler as module
from move37.rollout.draw import Sampling
from move37.rollout.prompt import Prompter
from move37.rollout.sampler import Sampler
from move37.sections import Optimizer
from move37.types import Group, Problem, Rollout, Stop

Directory = Callable[..., Path]

# The lean decoder twice, then models that go through transformers: rotary and absolute positions.
MODELS = {
    "lean": ("llama", {"tie_word_embeddings": False}),
    "qwen2": ("qwen2", {"tie_word_embeddings": True}),
    "rope scaling": ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}),
    "gpt2": ("gpt2", {}),
}
QUESTIONS = ["What is 12+7?", "1+1?", "小明有3个苹果。现在有多少个苹果?", "Work out 17-2+24+7 and then tell why it is so."]
PROBLEMS = [Problem(id=f"p{i}", task="chain", question=q, answer="19") for i, q in enumerate(QUESTIONS)]
SHORT = Sampling(max_new_tokens=16)


def load(directory: Directory, name: str) -> folder.Loaded:
    kind, changes = MODELS[name]
    return folder.load(directory(kind, **changes), torch.float32, tiny.CPU)


def build(loaded: folder.Loaded) -> Sampler:
    return Sampler(loaded, Prompter(loaded.tokenizer, tiny.SHORT, ""), torch.float32)


def tokens(groups: Sequence[Group]) -> dict[tuple[str, int], list[int]]:
    return {(r.problem, r.sample): r.token_ids.tolist() for g in groups for r in g.rollouts}


def rollouts(groups: Sequence[Group]) -> list[Rollout]:
    return [r for g in groups for r in g.rollouts]


def as_examples(found: Sequence[Rollout]) -> tuple[list[int], list[Example]]:
    """Where each response starts, and the learner's view of it."""
    starts = [int(np.argmax(r.sampled)) for r in found]
    return starts, [
        Example(tokens=r.token_ids, start=start, weight=np.ones(r.length, np.float32))
        for r, start in zip(found, starts, strict=True)
    ]


# ------------------------------------------------------------------------------- what is sampled is what is learned


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("name", MODELS)
def test_the_learner_finds_the_log_probs_the_sampler_recorded(
    directory: Directory, tmp_path: Path, name: str, temperature: float
) -> None:
    """Prompts of unlike length, so padded ones; truncated sampling, whose recorded log-probs are still the policy's."""
    loaded = load(directory, name)
    found = rollouts(build(loaded).sample(PROBLEMS, 3, replace(SHORT, temperature=temperature, top_p=0.9), seed=5))
    learner = Learner(loaded.model, Optimizer(), 1, 10_000, torch.float32, tmp_path)
    starts, examples = as_examples(found)
    for rollout, start, again in zip(found, starts, learner.logprobs(examples, temperature), strict=True):
        np.testing.assert_allclose(rollout.logprobs[start:], again, atol=2e-4)
        assert not rollout.logprobs[:start].any() and not rollout.sampling_logprobs[:start].any()
        assert (rollout.sampling_logprobs[start:] >= rollout.logprobs[start:] - 1e-5).all()
    assert any((r.sampling_logprobs > r.logprobs + 1e-3).any() for r in found)


def test_two_wordings_of_one_problem_are_two_prompts(directory: Directory) -> None:
    """In one batch, as where one problem is drawn in two languages: each response continues its own prompt."""
    sampler = build(load(directory, "lean"))
    wordings = [replace(PROBLEMS[0], question=question) for question in QUESTIONS]
    together = sampler.sample(wordings, 3, SHORT, seed=0)
    for wording, group in zip(wordings, together, strict=True):
        (alone,) = sampler.sample([wording], 3, SHORT, seed=0)
        for ours, theirs in zip(group.rollouts, alone.rollouts, strict=True):
            assert ours.token_ids.tolist() == theirs.token_ids.tolist()
            np.testing.assert_allclose(ours.logprobs, theirs.logprobs, atol=2e-4)


def test_both_agree_in_bfloat16_too(tmp_path: Path) -> None:
    """The same code in the same coarse arithmetic: far nearer to each other than either is to float32."""
    loaded, gaps = tiny.loaded(), {}
    one = Sampler(loaded, Prompter(loaded.tokenizer, tiny.SHORT, ""), torch.bfloat16)
    found = rollouts(one.sample(PROBLEMS, 4, SHORT, seed=0))
    starts, examples = as_examples(found)
    for dtype in (torch.bfloat16, torch.float32):
        again = Learner(loaded.model, Optimizer(), 1, 10_000, dtype, tmp_path).logprobs(examples, 1.0)
        gap = np.concatenate([v - r.logprobs[start:] for v, r, start in zip(again, found, starts, strict=True)])
        gaps[dtype] = float((np.exp(gap) - 1 - gap).mean())
    assert gaps[torch.bfloat16] < 1e-4 < gaps[torch.float32]


def test_without_truncation_both_log_probs_are_one(directory: Directory) -> None:
    for rollout in rollouts(build(load(directory, "lean")).sample(PROBLEMS, 2, SHORT, seed=0)):
        np.testing.assert_array_equal(rollout.logprobs, rollout.sampling_logprobs)


# ---------------------------------------------------------------------------------------------- layout of the batch


@pytest.mark.parametrize("name", MODELS)
def test_responses_do_not_depend_on_the_batch(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    one = build(load(directory, name))
    together = tokens(one.sample(PROBLEMS, 3, SHORT, seed=1))
    assert len(together) == 12
    assert len({tuple(t) for t in together.values()}) == 12  # and they are not all alike
    backwards = one.sample(PROBLEMS[::-1], 3, SHORT, seed=1)
    assert [g.problem.id for g in backwards] == ["p3", "p2", "p1", "p0"]
    assert tokens(backwards) == together
    for problem in PROBLEMS:
        assert tokens(one.sample([problem], 3, SHORT, seed=1)).items() <= together.items()
    fewer = tokens(one.sample(PROBLEMS, 2, SHORT, seed=1))
    assert fewer.items() <= together.items()
    monkeypatch.setattr(module, "ROWS", 1)  # one problem at a time
    assert tokens(one.sample(PROBLEMS, 3, SHORT, seed=1)) == together
    assert tokens(one.sample(PROBLEMS, 3, SHORT, seed=2)) != together


@pytest.mark.parametrize("name", MODELS)
def test_greedy_is_the_greedy_of_transformers(directory: Directory, name: str) -> None:
    kind, changes = MODELS[name]
    one = build(load(directory, name))
    net = AutoModelForCausalLM.from_pretrained(directory(kind, **changes), dtype=torch.float32).eval()
    for group in one.sample(PROBLEMS, 1, Sampling(temperature=0.0, max_new_tokens=24), seed=0):
        prompt = torch.tensor([one.prompter.encode(group.problem.question)])
        expected = net.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=24)
        assert group.rollouts[0].token_ids.tolist() == expected[0].tolist()


class Watched(nn.Module):
    """A model that writes down how many rows each step of decoding has."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.rows = inner, []

    @property
    def head(self) -> Tensor:
        return self.inner.head

    def prefill(self, *given: object) -> object:
        return self.inner.prefill(*given)

    def decode(self, tokens: Tensor, cache: object) -> Tensor:
        self.rows.append(len(tokens))
        return self.inner.decode(tokens, cache)


@pytest.mark.parametrize("name", ["lean", "gpt2"])
def test_finished_rows_leave_and_change_nothing(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    loaded = load(directory, name)
    watched = Watched(loaded.model)
    one = build(loaded)
    one.engine = watched
    one.eos = frozenset(range(60))  # some fifth of all tokens ends a response
    long = Sampling(max_new_tokens=40)
    found = one.sample(PROBLEMS, 6, long, seed=0)
    lengths = [r.length for r in rollouts(found)]
    assert watched.rows[0] == 24 and watched.rows[-1] < 8 and watched.rows == sorted(watched.rows, reverse=True)
    assert len(watched.rows) == max(lengths) - 1  # no step after the last one has ended
    assert len(set(lengths)) > 4
    for cache in (Cache, HFCache):
        monkeypatch.setattr(cache, "leave_at", 0.0)
    watched.rows.clear()
    again = one.sample(PROBLEMS, 6, long, seed=0)
    assert set(watched.rows) == {24}
    assert tokens(again) == tokens(found)
    for left, stayed in zip(rollouts(found), rollouts(again), strict=True):
        np.testing.assert_allclose(left.logprobs, stayed.logprobs, atol=1e-5)


# ------------------------------------------------------------------------------------------------- how responses end


class Scripted(nn.Module):
    """Writes given tokens, one after the other; the hidden state is the one-hot vector of the next."""

    leave_at = 1.0

    def __init__(self, script: list[int]) -> None:
        super().__init__()
        self.script = script

    @property
    def head(self) -> Tensor:
        return 1e4 * torch.eye(tiny.VOCABULARY)

    def next(self, rows: int) -> Tensor:
        return torch.eye(tiny.VOCABULARY)[self.script[self.at]].expand(rows, -1)

    def prefill(self, tokens: Tensor, pad: Tensor) -> tuple[Tensor, Scripted]:
        self.at = 0
        return self.next(len(tokens)), self

    def decode(self, tokens: Tensor, cache: Scripted) -> Tensor:
        self.at += 1
        return self.next(len(tokens))

    def select(self, rows: Tensor) -> None:
        """It is its own cache, and has nothing to select."""

    def room(self, columns: int) -> None:
        """Nor to make room for."""


def write(script: list[int], **changes: object) -> Rollout:
    one = build(replace(tiny.loaded(), model=Scripted(script)))
    limit = {"max_new_tokens": len(script), **changes}
    (group,) = one.sample(PROBLEMS[:1], 1, Sampling(**limit), seed=0)
    return group.rollouts[0]


def encode(text: str) -> list[int]:
    return tiny.tokenizer().encode(text, add_special_tokens=False)


def test_eos_ends_a_response_and_is_no_part_of_its_text() -> None:
    eos = tiny.tokenizer().eos_token_id
    found = write([*encode("It is 19."), eos, *encode("never")])
    assert (found.stop, found.text) == (Stop.EOS, "It is 19.")
    assert found.token_ids[found.sampled].tolist() == [*encode("It is 19."), eos]
    assert found.length == len(encode("It is 19.")) + 1 and not found.truncated


def test_any_token_that_the_config_names_ends_a_response() -> None:
    """A model's config.json may name several, such as one that ends a turn."""
    other = encode("!")[0]
    loaded = replace(tiny.loaded(), model=Scripted([*encode("19"), other, *encode("never")]))
    loaded.config = {**loaded.config, "eos_token_id": [loaded.tokenizer.eos_token_id, other]}
    (group,) = build(loaded).sample(PROBLEMS[:1], 1, Sampling(max_new_tokens=5), seed=0)
    assert (group.rollouts[0].stop, group.rollouts[0].text) == (Stop.EOS, "19")


def test_the_limit_ends_a_response() -> None:
    found = write(encode("It is 19."), max_new_tokens=3)
    assert found.stop is Stop.LENGTH and found.truncated and found.length == 3


@pytest.mark.parametrize("stop", ["7*8=5", "=", "</answer>", "等等", "错"])
def test_a_stop_string_ends_a_response_wherever_its_tokens_are_cut(stop: str) -> None:
    """Digits are single tokens and Chinese characters are up to three: every one of these is split over tokens or is
    a single one."""
    script = encode(f"So {stop} and more {stop} and so on")
    found = write(script, stop=("never seen", stop))
    assert found.stop is Stop.STRING
    assert found.text == f"So {stop}" or (found.text.startswith(f"So {stop}") and len(found.text) <= len(stop) + 6)
    before = tiny.tokenizer().decode(found.token_ids[found.sampled][:-1])
    assert stop not in before  # it ended at once


def test_stop_strings_are_looked_for_in_what_was_sampled_alone() -> None:
    """The prompt holds "A:", and does not end the response."""
    found = write(encode("It is 19."), stop=("A:",))
    assert found.stop is Stop.LENGTH


def test_half_a_character_is_no_stop() -> None:
    script = encode("等等")
    assert len(script) > 2  # characters are split over tokens
    found = write(script, stop=("等等",))
    assert found.stop is Stop.STRING and found.length == len(script)


# ------------------------------------------------------------------------------------------------------ the rollouts


def test_what_a_rollout_holds(directory: Directory) -> None:
    one = build(load(directory, "lean"))
    one.version = 7
    one.prompter = Prompter(one.prompter.tokenizer, "{question}<think>", "<think>")
    (group,) = one.sample(PROBLEMS[:1], 2, SHORT, seed=0)
    for i, rollout in enumerate(group.rollouts):
        prompt = one.prompter.encode(QUESTIONS[0])
        assert rollout.token_ids[: len(prompt)].tolist() == prompt
        assert rollout.sampled.tolist() == [False] * len(prompt) + [True] * rollout.length
        assert (rollout.sample, rollout.version, rollout.prefill) == (i, 7, "<think>")
        assert (rollout.problem, rollout.task) == ("p0", "chain")
        sizes = {len(x) for x in (rollout.token_ids, rollout.sampled, rollout.logprobs, rollout.sampling_logprobs)}
        assert len(sizes) == 1
        assert rollout.token_ids.dtype == np.int32 and rollout.logprobs.dtype == np.float32


def test_a_prompt_that_leaves_no_room(directory: Directory) -> None:
    one = build(load(directory, "lean"))
    with pytest.raises(TaskError, match=r"task chain: a prompt of \d+ tokens .*context of 512"):
        one.sample(PROBLEMS, 1, Sampling(max_new_tokens=500), seed=0)
    room = tiny.CONTEXT - max(len(one.prompter.encode(q)) for q in QUESTIONS)
    one.eos = frozenset(range(150))
    assert one.sample(PROBLEMS, 1, Sampling(max_new_tokens=room), seed=0)


def test_sampling_leaves_no_gradients(directory: Directory) -> None:
    loaded = load(directory, "lean")
    build(loaded).sample(PROBLEMS[:1], 1, SHORT, seed=0)
    assert all(p.grad is None for p in loaded.model.parameters())
