"""What a recipe can get wrong: one message that names the key, the value and the way out."""

from __future__ import annotations

import pytest

from move37.errors import RecipeError
from move37.recipe import load, parse
from move37.sections import stops

RECIPE = """
name: tiny
model: bundled
tasks:
  chain: {family: chain}
  legs: {reasoning_gym: leg_counting}
stages:
  rl: {stage: rl, steps: 3}
  after: {stage: evaluate, init: rl, problems: 7}
"""

WRONG = [
    ("rl.steps=-3", "stages.rl.steps: Input should be greater than 0 (given: -3)"),
    ("rl.prompts_per_step=0", "stages.rl.prompts_per_step: Input should be greater than 0 (given: 0)"),
    ("rl.max_new_tokens=0.5", "stages.rl.max_new_tokens: Input should be a valid integer"),
    ("rl.optimizer.lr=fast", "stages.rl.optimizer.lr: Input should be a valid number"),
    ("rl.optimizer.lrr=3", "stages.rl.optimizer.lrr is not a key; did you mean 'lr'?"),
    ("rl.stepz=3", "stages.rl.stepz is not a key; did you mean 'steps'?"),
    ("rl.algorithm=grp", "stages.rl.algorithm: algorithm 'grp' is not known; did you mean 'grpo'?"),
    ("rl.rewards.acuracy=1", "stages.rl.rewards: reward 'acuracy' is not known; did you mean 'accuracy'?"),
    ("rl.rewards.accuracy=much", "stages.rl.rewards: reward accuracy: give a weight, or {weight: ..., and options}"),
    ("rl.rewards.accuracy={weight: 1, tasks: [chian]}", "stages.rl.rewards: accuracy.tasks names 'chian', which is no task"),
    ("rl.rewards.accuracy={weight: 1, tasks: [chain]}", "stages.rl.rewards: task legs is drawn but no reward pays it"),
    ("rl.rewards={format: 0}", "stages.rl.rewards: task chain is drawn but no reward pays it"),
    (
        "rl.rewards={accuracy: {weight: 1, tasks: [chain]}, format: {weight: 1, from_step: 2}}",
        "stages.rl.rewards: task legs is drawn from step 1 on, but no reward pays it before step 2",
    ),
    ("rl.reading=tag", "stages.rl.reading: Input should be 'tags', 'box' or 'text' (given: 'tag')"),
    ("rl.stop=[{repat: 64}]", "stages.rl.stop.0.loop.repat is not a key; did you mean 'repeat'?"),
    ("rl.stop=[{repeat: 3}]", "stages.rl.stop.0.loop.repeat: Input should be greater than or equal to 16 (given: 3)"),
    ("rl.stop=[3]", "stages.rl.stop.0.string: Input should be a valid string (given: 3)"),
    ("rl.samples_per_prompt=1", "stages.rl: algorithm grpo compares samples of a group"),
    ("model=http://localhost:8000/v1", "model: an endpoint has no weights to train and can not go on from given tokens; give"),
    ("rl.stage=evaluation", "stages.rl.stage is 'evaluation'; did you mean 'evaluate'?"),
    ("after.init=ri", "stages.after.init='ri' is no earlier training stage; valid: model, rl"),
    ("after.problems=many", "stages.after.problems: Input should be a valid integer"),
    ("tasks.chain.weight=0", "tasks.chain.weight: Input should be greater than 0 (given: 0)"),
    ("tasks.legs.config=3", "tasks.legs.config: Input should be a valid dictionary (given: 3)"),
    ("tasks.legs.knobs=3", "tasks.legs.knobs is not a key"),
    ("tasks.chain.file=x", "tasks.chain needs exactly one of the keys family, reasoning_gym, file"),
    ("rl.tasks=[chian]", "stages.rl.tasks names 'chian', which is no task; did you mean 'chain'?"),
    ("hardware.thread=3", "hardware.thread is not a key; did you mean 'threads'?"),
    ("seed=-1", "seed: Input should be greater than or equal to 0 (given: -1)"),
    ("stages=3", "`stages` is a mapping of names, it holds 3"),
    ("tasks=[chain]", "`tasks` is a mapping of names, it holds ['chain']"),
    ("rul.steps=3", "'rul' is neither a stage nor a key of this recipe; did you mean 'rl'?"),
    ("rl.steps", "must look like key.path=value"),
    ("name.first=x", "'name' holds 'tiny', which has no keys below it"),
]


KEPT = {"stage": "rejection_sample", "prompts": 4}
JUDGED = {"stage": "compare", "tasks": ["words"], "prompts": 4}


@pytest.mark.parametrize(
    ("made", "stage", "told"),
    [
        (KEPT, {"stage": "preference"}, "its rows are replies, needed are pairs"),
        (KEPT, {"stage": "reward_model"}, "its rows are replies, needed are pairs or labels"),
        ({**KEPT, "rows": "pairs"}, {"stage": "sft", "epochs": 1}, "its rows are pairs, needed are replies"),
        (JUDGED, {"stage": "sft", "epochs": 1}, "its rows are pairs, needed are replies"),
        ({**JUDGED, "kind": "label"}, {"stage": "preference"}, "its rows are labels, needed are pairs"),
        ({"stage": "curate", "prompts": 4}, {"stage": "rewrite"}, "its rows are problems, needed are replies"),
    ],
)
def test_rows_that_a_stage_can_not_use(made, stage, told):
    raw = {"name": "t", "model": "bundled", "tasks": {"words": {"family": "word"}}}
    with pytest.raises(RecipeError, match=f"stages.after.data='made' makes data of another kind: {told}"):
        parse({**raw, "stages": {"made": made, "after": {**stage, "data": "made"}}}, "here")
    chosen = {"stage": "sft", "epochs": 1, "data": "made", "columns": {"response": "chosen"}}  # the better of each pair
    parse({**raw, "stages": {"made": JUDGED, "after": chosen}}, "here")


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.mark.parametrize(("override", "said"), WRONG, ids=[o for o, _ in WRONG])
def test_one_mistake_gives_one_message(recipe, override, said):
    with pytest.raises(RecipeError) as raised:
        load(recipe, [override])
    assert said in str(raised.value) and len(str(raised.value).splitlines()) == 1


def test_every_mistake_is_told_at_once(recipe):
    with pytest.raises(RecipeError) as raised:
        load(recipe, ["rl.steps=0", "tasks.chain.held_out=2", "seed=x"])
    assert len(str(raised.value).splitlines()) == 3


def test_rewards_resolve_to_weights_and_options(recipe):
    rewards = load(recipe, ["rl.rewards.format=0.2", "rl.rewards.accuracy.weight=2"]).stages["rl"].rewards
    assert rewards == {
        "format": {"weight": 0.2, "tasks": None, "from_step": 1, "reading": "tags"},
        "accuracy": {"weight": 2.0, "tasks": None, "from_step": 1, "credit": "full"},
    }
    assert load(recipe).stages["rl"].rewards == {"accuracy": {"weight": 1.0, "tasks": None, "from_step": 1, "credit": "full"}}


def test_rewards_take_what_the_stage_says(recipe):
    given = ["rl.reading=box", "rl.rewards.format=0.2", "rl.rewards.accuracy={weight: 1, tasks: [legs, chain]}"]
    rewards = load(recipe, [*given, "rl.rewards.cosine=0", "rl.max_new_tokens=99"]).stages["rl"].rewards
    assert rewards["format"]["reading"] == "box" and rewards["cosine"]["max_tokens"] == 99
    assert rewards["accuracy"]["tasks"] == ["legs", "chain"]


def test_what_ends_a_response(recipe):
    entries = load(recipe, ["rl.stop=[</answer>, {repeat: 64}, {repeat: 32}]"]).stages["rl"].stop
    assert stops(entries) == {"stop": ("</answer>",), "repeat": 32}
    assert stops([]) == {"stop": (), "repeat": 0}


def test_a_misspelt_key_of_an_optional_part_is_told_that_parts_keys():
    raw = {"name": "a", "model": "bundled", "tasks": {"chain": {"family": "chain"}}}
    with pytest.raises(RecipeError, match="did you mean 'width'"):
        parse({**raw, "stages": {"before": {"stage": "evaluate", "search": {"widht": 3}}}}, "a.yaml")
