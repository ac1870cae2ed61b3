"""Reward models and DPO in runs: they learn, they are killed and go on, and RL is paid by them."""

from __future__ import annotations

import json
import random

import pytest
import torch
from transformers import AutoModelForSequenceClassification

import tiny
from move37 import graph, shards, trial
from move37.errors import RecipeError, UserError
from move37.models import folder
from move37.recipe import parse
from move37.report import page
from move37.report.live import Live
from move37.runs import Run, deterministic
from move37.stages import run_recipe
from move37.stages.preferring import Preferring

FAST = {"lr": 3e-3}


def words(rng, good):
    """A few numbers, with the word that decides or without it."""
    said = [str(rng.randint(10, 99)) for _ in range(rng.randint(2, 6))]
    if good:
        said[rng.randrange(len(said))] = "because"
    return " ".join(said)


def write(root):
    """Pairs and labels in which the word "because" is all that matters; thoughts that say nothing."""
    rng = random.Random(0)
    pairs, labels = [], []
    for i in range(240):
        chosen, rejected = (f"<think>{rng.randint(0, 9)}</think><answer>{words(rng, g)}</answer>" for g in (True, False))
        pairs.append({"prompt": f"Why {i}?", "chosen": chosen, "rejected": rejected})
        labels.append({"prompt": f"Why {i}?", "response": (chosen, rejected)[i % 2], "label": 1 - i % 2})
    for name, rows in (("pairs.jsonl", pairs), ("labels.jsonl", labels)):
        (root / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "short.txt").write_text(tiny.SHORT)
    folder.save(tiny.loaded(), root / "model")


def recipe(**stages):
    common = {"examples_per_step": 16, "held_out": 0.2, "optimizer": FAST, "save_every": 20}
    known = {
        "helpful": {"stage": "reward_model", "data": "pairs.jsonl", "part": "answer", "epochs": 3, **common},
        "harmless": {"stage": "reward_model", "data": "labels.jsonl", "epochs": 4, **common},
        "dpo": {"stage": "preference", "data": "pairs.jsonl", "epochs": 1, "beta": 0.5, **common},
        "rl": {
            "stage": "rl",
            "steps": 1,
            "prompts_per_step": 2,
            "samples_per_prompt": 4,
            "max_new_tokens": 24,
            "starve_limit": 100,
            "rewards": {"helpful": {"weight": 1.0, "model": "helpful"}, "harmless": {"weight": 0.5, "model": "harmless"}},
        },
    }
    named = {"name": "tiny", "model": "model", "template": "short.txt", "tasks": {"chain": {"family": "chain"}}}
    chosen = {name: {**known[name], **changes} for name, changes in stages.items()}
    return parse({**named, "stages": chosen, "hardware": {"threads": 1, "device": "cpu"}}, "tiny.yaml")


def go(root, wanted, mode=None):
    with Run.create(root / "runs", wanted, mode, source=root / "tiny.yaml") as made, Live(plain=True) as display:
        if mode == "resume":
            graph.settle(made, list(wanted.stages), remake=False)
        run_recipe(wanted, made, display)
    return made


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    write(root)
    return root, go(root, recipe(helpful={}, harmless={}, dpo={}, rl={}))


def quality(run, name):
    return json.loads((run.stage(name) / "quality.json").read_text())


@pytest.mark.parametrize("name", ["helpful", "harmless"])
def test_a_reward_model_learns_what_matters(done, name):
    _, run = done
    record = quality(run, name)
    assert record["rows"] > 30
    assert record["accuracy"]["value"] > 0.9
    assert record["calibration"]["ece"] < 0.2
    first, *_, last = run.log(name).metrics()
    assert last["held_out_accuracy"] > 0.9 and last["loss"] < first["loss"] / 2
    made = run.log(name).done
    assert made["artefact"] == "reward_model" and made["held_out_accuracy"] == record["accuracy"]["value"]


def test_it_is_a_model_of_transformers(done):
    """And says what it was trained on; the scale is that of its own training set."""
    _, run = done
    path = run.log("helpful").final
    net = AutoModelForSequenceClassification.from_pretrained(path)
    assert net.score.weight.shape == (1, 32)
    scale = json.loads((path / "config.json").read_text())["reward"]
    assert scale["part"] == "answer" and scale["kind"] == "pairs" and scale["template"] == tiny.SHORT
    tokenizer = tiny.tokenizer()

    def score(answer):
        ids = tokenizer.encode("Q: Why?\nA:", add_special_tokens=False) + tokenizer.encode(answer, add_special_tokens=False)
        with torch.no_grad():
            return (net(input_ids=torch.tensor([[*ids, tokenizer.eos_token_id]])).logits.item() - scale["mean"]) / scale["std"]

    assert score("12 because 71") > 0.3 > -0.3 > score("12 55 71")


def test_rl_is_paid_by_them(done):
    _, run = done
    [groups] = [shards.read(path) for path in run.log("rl").shards().values()]
    rollouts = [r for group in groups for r in group.rollouts]
    for r in rollouts:
        assert 0 <= r.scores["harmless"].value <= 1
        assert r.reward == pytest.approx(r.scores["helpful"].value + 0.5 * r.scores["harmless"].value)
        assert (r.answer is None) == (r.scores["helpful"].why == "there is no answer")
    parents = run.log("rl").lineage["parents"]
    assert parents["rewards.helpful.model"]["sha256"] == run.log("helpful").done["sha256"]
    assert parents["rewards.harmless.model"]["from"] == "harmless"


def test_dpo_learns_the_preference(done):
    _, run = done
    first, *_, last = run.log("dpo").metrics()
    assert first["accuracy"] == 0.5 and last["held_out_accuracy"] > 0.9 and last["held_out_margin"] > 0
    assert run.log("dpo").done["artefact"] == "checkpoint"


def test_the_page_shows_them(done):
    _, run = done
    drawn = page.render(run)
    for name in ("helpful", "harmless", "dpo"):
        assert f"Preferences: {name}" in drawn
    assert drawn.count("calibration on held-out rows") >= 2 and "change of log-prob" in drawn


def test_a_model_that_is_not_there_is_refused(done, tmp_path):
    """Nothing is loaded for it, and the way is told."""
    write(tmp_path)
    wanted = recipe(helpful={}, harmless={}, rl={})
    with Run.create(tmp_path / "runs", wanted, source=tmp_path / "tiny.yaml") as made, Live(plain=True) as display:
        told = r"stages\.rl\.rewards\.helpful\.model is helpful, which has not been made"
        with pytest.raises(RecipeError, match=told):
            run_recipe(wanted, made, display, ["rl"])


@pytest.mark.parametrize(("name", "at"), [("helpful", 2), ("harmless", 4), ("dpo", 3)])
def test_killed_and_resumed_it_ends_with_the_same_bits(tmp_path, monkeypatch, name, at):
    write(tmp_path)
    few = {"epochs": 1, "examples_per_step": 32, "save_every": 1}
    wanted = recipe(**{name: few})
    undisturbed = go(tmp_path, wanted)
    weights = (undisturbed.log(name).final / "model.safetensors").read_bytes()
    told = [deterministic(row) for row in undisturbed.log(name).metrics()]
    again = wanted.model_copy(update={"name": "again"})
    step = Preferring.step

    def dying(self, number):
        if number == at:
            raise KeyboardInterrupt
        return step(self, number)

    with monkeypatch.context() as patched:
        patched.setattr(Preferring, "step", dying)
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path, again)
    resumed = go(tmp_path, again, "resume")
    assert (resumed.log(name).final / "model.safetensors").read_bytes() == weights
    assert [deterministic(row) for row in resumed.log(name).metrics()] == told
    if name == "dpo":
        assert trial.model_of(resumed.path) == resumed.log(name).final
    else:
        with pytest.raises(UserError, match="left no model"):  # none that writes
            trial.model_of(resumed.path)
        assert quality(resumed, name) == quality(undisturbed, name)
        configs = [(run.log(name).final / "config.json").read_bytes() for run in (resumed, undisturbed)]
        assert configs[0] == configs[1]
