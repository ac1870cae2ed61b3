"""On-policy distillation: advantages, the gradient they stand for, and teachers that write with other tokens."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

import tiny
from move37.errors import RecipeError
from move37.learner.batch import Example, microbatch, totals
from move37.learner.loss import policy_loss
from move37.models import folder, vocabulary
from move37.recipe import parse
from move37.stages import watch
from move37.stages.distill import advantages
from move37.types import LossSpec, Score

# ------------------------------------------------------------------------------------------------------------ advantages


def test_advantages_by_hand():
    """The student gave its tokens 1/2, 1/4 and (forced) 1; the teacher gives them 1/4, 1/2 and 1/8."""
    old = np.log([0.5, 0.25, 1.0]).astype(np.float32)
    example = Example(tokens=np.arange(5, dtype=np.int32), start=2, weight=np.array([1, 1, 0], np.float32), old=old)
    found = advantages(np.log([0.25, 0.5, 0.125]).astype(np.float32), example)
    assert found == pytest.approx([-math.log(2), math.log(2), 0.0])


def test_reverse_kl_is_a_mean_over_tokens():
    """Responses of 1 and 3 tokens at .4 and .8 nats: (.4 + 3 x .8) / 4."""
    made = [SimpleNamespace(length=n, scores={"reverse_kl": Score(value=v)}) for n, v in ((1, 0.4), (3, 0.8))]
    assert watch.reverse_kl(made) == pytest.approx(0.7)


@pytest.mark.parametrize("kind", ["reinforce", "clip"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_gradient_is_that_of_the_reverse_kl(kind, temperature):
    """Every token of the vocabulary once after one prompt, weighed with its probability: the expectation, not an estimate.

    d/dtheta sum_v pi(v) log(pi(v) / p(v)) by autograd, against the loss's gradient with A_v = log p(v) - log pi(v).
    """
    student, teacher = tiny.decoder(torch.float64, seed=1), tiny.decoder(torch.float64, seed=2)
    prompt = np.array([5, 9, 200, 31], np.int32)
    everything = np.arange(tiny.VOCABULARY, dtype=np.int32)
    lines = [Example(tokens=np.append(prompt, v).astype(np.int32), start=4, weight=np.ones(1, np.float32)) for v in everything]
    micro = microbatch(lines, list(range(len(lines))))

    def logs(model):
        hidden = model.hidden(micro.packed).index_select(0, micro.source)
        return torch.log_softmax(hidden @ model.head.T / temperature, -1).gather(1, micro.targets[:, None])[:, 0]

    with torch.no_grad():
        goal, old = logs(teacher), logs(student)
    assert old.exp().sum().item() == pytest.approx(1.0)

    pi = logs(student)
    (pi.exp() * (pi - goal)).sum().backward()
    exact = {name: p.grad.clone() for name, p in student.named_parameters()}
    student.zero_grad()

    streams = replace(micro.streams, weight=old.exp(), advantage=goal - old, old=old)
    spec = LossSpec(kind=kind, normalise="token", temperature=temperature)
    whole = SimpleNamespace(tokens=float(old.exp().sum()), sequences=1.0)
    policy_loss(logs(student), streams, spec, whole)[0].backward()
    assert max(g.abs().max().item() for g in exact.values()) > 1e-3
    for name, parameter in student.named_parameters():
        torch.testing.assert_close(parameter.grad, exact[name], atol=1e-12, rtol=1e-9)
    assert totals(lines).tokens == tiny.VOCABULARY


# ------------------------------------------------------------------------------------------------------------ tokenizers


def changed(change, **special):
    """The tests' tokenizer with another definition."""
    definition = json.loads(tiny.tokenizer().backend_tokenizer.to_str())
    change(definition)
    eos = special.get("eos", tiny.tokenizer().eos_token)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(definition)), eos_token=eos)


def swapped(definition):
    """Two tokens exchange their ids."""
    vocab = definition["model"]["vocab"]
    one, other = sorted(vocab, key=vocab.get)[100:102]
    vocab[one], vocab[other] = vocab[other], vocab[one]


def other_merges(definition):
    merges = definition["model"]["merges"]
    merges[0], merges[1] = merges[1], merges[0]


def lower_case(definition):
    definition["normalizer"] = {"type": "Lowercase"}


def by_space(definition):
    definition["pre_tokenizer"] = {"type": "Whitespace"}


def test_equal_tokenizers_are_equal_whatever_their_name_or_template(tmp_path):
    same = changed(lambda definition: definition.update(truncation=None, padding=None))
    same.chat_template, same.name_or_path = "{{ messages }}", "another/name"
    assert vocabulary.difference(tiny.tokenizer(), same) is None
    same.save_pretrained(tmp_path)
    assert vocabulary.difference(tiny.tokenizer(), PreTrainedTokenizerFast.from_pretrained(tmp_path)) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [(swapped, "of the student and is"), (other_merges, "merges"), (lower_case, "normaliser"), (by_space, "pre-tokenizer")],
)
def test_what_differs_is_named(change, said):
    assert said in vocabulary.difference(tiny.tokenizer(), changed(change))


def test_another_end_of_text_or_more_tokens():
    other = next(token for token, number in tiny.tokenizer().get_vocab().items() if number == 7)
    assert "ends with" in vocabulary.difference(tiny.tokenizer(), changed(lambda definition: None, eos=other))
    more = changed(lambda definition: None)
    more.add_tokens(["<extra>"])
    assert "1 tokens more, '<extra>'" in vocabulary.difference(tiny.tokenizer(), more)
    assert "'<extra>' is token 300 of the student and is no token there" in vocabulary.difference(more, tiny.tokenizer())


def test_a_foreign_teacher_is_refused_before_anything_runs(tmp_path):
    """Not even the stage before it is begun; the message says what differs and what to do."""
    folder.save(tiny.loaded(), tmp_path / "model")
    folder.save(tiny.loaded(seed=1), tmp_path / "teacher")
    changed(other_merges).save_pretrained(tmp_path / "teacher")
    (tmp_path / "short.txt").write_text(tiny.SHORT)
    stages = {
        "sft": {"stage": "rl", "steps": 1},
        "distil": {"stage": "distill", "init": "sft", "teacher": "./teacher", "steps": 1},
    }
    with pytest.raises(RecipeError, match=r"teacher=\./teacher: another tokenizer.*merges.*rejection_sample"):
        tiny.run(tmp_path, tiny.recipe(stages, model="model", template="short.txt"))
    assert not (tmp_path / "runs/tiny/stages/sft/metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"teacher": "model"}, "teacher and init are both 'model'"),
        ({"teacher": "nobody"}, "stages.d.teacher='nobody' is no earlier training stage"),
        ({"teacher": "after"}, "stages.d.teacher='after' is no earlier training stage"),
        ({"teacher": "dir/", "updates_per_step": 65}, "more than the 64 rollouts"),
    ],
)
def test_what_can_not_be(section, said):
    stages = {
        "after": {"stage": "evaluate"},
        "d": {"stage": "distill", "steps": 1, **section},
    }
    with pytest.raises(RecipeError) as raised:
        parse({"name": "x", "model": "bundled", "tasks": {"chain": {"family": "chain"}}, "stages": stages}, "x")
    assert said in str(raised.value)
