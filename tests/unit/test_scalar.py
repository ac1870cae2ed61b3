"""A score on a causal LM: the same number in transformers, through files of its form."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

import tiny
from move37.errors import ModelError
from move37.learner.batch import Example, totals
from move37.learner.learner import Learner
from move37.models import folder
from move37.models.scalar import initialise
from move37.sections import Optimizer
from move37.types import LossSpec

SPEC = LossSpec(kind="reinforce", normalise="constant", max_tokens=1)
KINDS = ["llama", "qwen2", "qwen3", "gpt2"]


def scored(path, kind, seed=0, **changes):
    """A causal LM of transformers with a score on it."""
    loaded = folder.load(tiny.save(path, kind, **changes), torch.float32, tiny.CPU, scalar=True)
    assert not loaded.model.head.any()
    initialise(loaded.model, torch.Generator().manual_seed(seed))
    return loaded


def sequences(eos):
    """Two responses to one prompt and one to another, EOS and a target that is never seen after them."""
    rng = np.random.default_rng(0)
    prompts = [rng.integers(3, 200, n) for n in (7, 4)]
    examples = []
    for prompt, length in ((0, 5), (0, 11), (1, 3)):
        tokens = np.array([*prompts[prompt], *rng.integers(3, 200, length), eos, eos], np.int32)
        weight = np.zeros(length + 2, np.float32)
        weight[-1] = 1
        examples.append(Example(tokens=tokens, start=len(prompts[prompt]), weight=weight))
    return examples


def learner(tmp_path, loaded, budget=10**9, kernels="auto"):
    return Learner(loaded.model, Optimizer(lr=1e-3, clip_norm=1e9), 10, budget, torch.float32, tmp_path, kernels)


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_loads_it_and_gives_the_same_score(tmp_path, kind):
    loaded = scored(tmp_path / "lm", kind)
    examples = sequences(loaded.tokenizer.eos_token_id)
    ours = [values[-1] for values in learner(tmp_path, loaded).values(examples)]
    assert np.ptp(ours) > 0.1
    folder.save(loaded, tmp_path / "rm")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm")
    assert theirs.score.weight.shape == (1, 32) and theirs.config.num_labels == 1
    longest = max(len(e.tokens) - 1 for e in examples)
    grid = torch.full((3, longest), theirs.config.pad_token_id)
    for row, example in zip(grid, examples, strict=True):
        row[: len(example.tokens) - 1] = torch.from_numpy(example.tokens[:-1])
    with torch.no_grad():
        found = theirs(input_ids=grid, attention_mask=(grid != theirs.config.pad_token_id).long()).logits[:, 0]
    np.testing.assert_allclose(found.numpy(), ours, atol=2e-5)
    again = folder.load(tmp_path / "rm", torch.float32, tiny.CPU, scalar=True)
    np.testing.assert_allclose([v[-1] for v in learner(tmp_path, again).values(examples)], ours, atol=1e-6)
    with pytest.raises(ModelError, match="gives numbers and writes no text"):
        folder.load(tmp_path / "rm", torch.float32, tiny.CPU)


def test_a_pad_that_is_eos_is_left_out(tmp_path):
    """transformers would take the token before EOS for the last one."""
    path = tiny.save(tmp_path / "lm", "qwen2")
    words = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps({**words, "pad_token": words["eos_token"]}))
    loaded = folder.load(path, torch.float32, tiny.CPU, scalar=True)
    initialise(loaded.model, torch.Generator().manual_seed(0))
    assert loaded.config["pad_token_id"] is None
    folder.save(loaded, tmp_path / "rm")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm")
    example = sequences(loaded.tokenizer.eos_token_id)[0]
    [values] = learner(tmp_path, loaded).values([example])
    with torch.no_grad():
        found = theirs(input_ids=torch.from_numpy(example.tokens[None, :-1]).long()).logits.item()
    assert found == pytest.approx(values[-1], abs=2e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_values_stand_before_every_target(tmp_path, kind):
    """As a value function wants it: V of the state a token is chosen in, one per target, by the plain forward pass."""
    loaded = scored(tmp_path / "lm", kind)
    examples = sequences(loaded.tokenizer.eos_token_id)
    for budget in (1, 20, 10**9):
        for example, values in zip(examples, learner(tmp_path, loaded, budget).values(examples), strict=True):
            assert values.shape == (example.targets,)
            plain = Plainly(tmp_path, loaded).numbers(torch.from_numpy(example.tokens).long())
            np.testing.assert_allclose(values, plain[example.start - 1 : -1].detach().numpy(), atol=2e-5)


@pytest.mark.parametrize("kernels", ["auto", "torch"])
@pytest.mark.parametrize("kind", ["qwen2", "gpt2"])
def test_a_step_descends_its_sum_of_numbers(tmp_path, kind, kernels):
    """Gradients of -1/3 sum of A_i r_i, by autograd in float64 on whole sequences; for any cut into micro-batches."""
    sizes = {"hidden_size": 64, "intermediate_size": 64} if kind == "qwen2" else {}  # heads of 16: the kernels want that
    loaded = scored(tmp_path / "lm", kind, **sizes)
    examples = sequences(loaded.tokenizer.eos_token_id)
    advantages = (0.7, -1.3, 0.2)
    plain = Plainly(tmp_path, loaded)
    loss = sum(-a * plain.numbers(torch.from_numpy(e.tokens).long())[-2] / 3 for a, e in zip(advantages, examples, strict=True))
    loss.backward()
    wanted = plain.gradients()
    for example, a in zip(examples, advantages, strict=True):
        example.advantage = np.full(example.targets, a, np.float32)
    for budget in (1, 10**9):
        made = learner(tmp_path, loaded, budget, kernels)
        assert (made.fused is not None) == (kind == "qwen2" and kernels == "auto")
        sums = made._with_less_memory(lambda made=made: made._accumulate(examples, SPEC, totals(examples)))
        assert sums["loss"] == pytest.approx(loss.item(), abs=1e-5)
        found = gradients(loaded.model)
        assert set(wanted) <= set(found)
        for name, gradient in wanted.items():
            torch.testing.assert_close(found[name].double(), gradient, atol=3e-6 * scale(wanted), rtol=2e-4)


def scale(gradients):
    return max(g.abs().max().item() for g in gradients.values())


def gradients(model: nn.Module):
    """Of the embedding and the score, whose layout is the same everywhere, and of the last block's output matrix."""
    own = dict(model.named_parameters())
    names = {"score": ("score.weight", "net.score.weight"), "embedding": ("embedding.weight", "net.transformer.wte.weight")}
    names["down"] = ("blocks.1.down.weight", "net.transformer.h.1.mlp.c_proj.weight")
    return {key: next(own[n].grad.clone() for n in found if n in own) for key, found in names.items()}


class Plainly:
    """transformers' own model of the saved directory, in float64."""

    def __init__(self, tmp_path, loaded):
        folder.save(loaded, tmp_path / "plain")
        self.net = AutoModelForSequenceClassification.from_pretrained(tmp_path / "plain", dtype=torch.float64)

    def numbers(self, tokens):
        return self.net.score(self.net.base_model(input_ids=tokens[None]).last_hidden_state)[0, :, 0]

    def gradients(self):
        own = dict(self.net.named_parameters())
        names = {"score": ("score.weight",), "embedding": ("model.embed_tokens.weight", "transformer.wte.weight")}
        names["down"] = ("model.layers.1.mlp.down_proj.weight", "transformer.h.1.mlp.c_proj.weight")
        return {key: next(own[n].grad for n in found if n in own) for key, found in names.items()}
