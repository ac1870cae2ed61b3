"""Tree search at evaluation: statistics by hand, the budget, determinism, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import fabricate
import tiny
from move37 import shards
from move37.errors import RecipeError
from move37.learner.batch import Example
from move37.learner.learner import Learner
from move37.models import folder
from move37.report.estimators import Searched, summarise
from move37.report.live import Live
from move37.rollout.draw import Sampling
from move37.rollout.prompt import Prompter
from move37.rollout.sampler import Sampler
from move37.rollout.tree import Tree
from move37.runs import deterministic
from move37.sections import Optimizer, Search
from move37.stages import evaluate_checkpoint
from move37.stages.context import Device
from move37.stages.engines import POLICIES
from move37.stages.search import Judge, TreeSearch
from move37.types import Group, Problem

SAMPLING = Sampling(max_new_tokens=48)
PROBLEMS = [Problem(id=f"p{i}", task="chain", question=f"What is {i}+7?", answer=str(i + 7)) for i in range(3)]
BUDGETS = [300, 151, 20]
A, B, C = (1,), (2,), (3,)


def grown(exploration: float) -> Tree:
    """Four responses: two go through A and answer 14 and 15, one through B and answers 14, one ends at once without an answer."""
    tree = Tree(width=4, exploration=exploration)
    for step, ended, answer in ((A, False, "14"), (A, False, "15"), (B, False, "14"), (C, True, None)):
        tree.add(tree.root, step, ended, answer)
    return tree


# ---------------------------------------------------------------------------------------------------- statistics by hand


def test_values_are_shares_of_the_votes():
    """Of four finished responses two say 14, one 15, one nothing."""
    assert grown(1.0).values() == [0.5, 0.25, 0.5, 0.0]


def test_the_bound_by_hand():
    """A: mean of .5 and .25, two of four visits; B: .5, one of four. The root has four."""
    tree = grown(exploration=2.0)
    a, b = tree.root.children[A], tree.root.children[B]
    assert tree.bound(a, tree.values()) == pytest.approx(0.375 + 2 * math.sqrt(math.log(4) / 2))
    assert tree.bound(b, tree.values()) == pytest.approx(0.5 + 2 * math.sqrt(math.log(4) / 1))
    assert tree.leaf() is b


def test_equal_steps_are_one_child_and_ended_ones_are_never_extended():
    tree = grown(1.0)
    assert [len(child.passed) for child in tree.root.children.values()] == [2, 1, 1] and tree.root.drawn == 4
    seen = set()
    for _ in range(20):
        node = tree.leaf()
        seen.add(node.tokens)
        for token in range(4):
            tree.add(node, (token,), True, None)
    assert {A, B} <= seen and C not in seen


def test_a_vote_moves_the_value_of_what_was_there_before():
    """After four more that say 15 under B, five of eight say 15 and two 14."""
    tree = grown(0.0)
    b = tree.leaf()
    assert b is tree.root.children[B]
    for token in range(4):
        tree.add(b, (token,), False, "15")
    assert tree.values()[:2] == [2 / 8, 5 / 8] and tree.bound(tree.root.children[A], tree.values()) == pytest.approx(3.5 / 8)
    # B: one 14 and four 15; greedy in it goes down to one of its children, all 5/8: the first
    assert tree.bound(b, tree.values()) == pytest.approx((2 + 4 * 5) / 8 / 5)
    assert tree.leaf().tokens == (*B, 0)


def test_a_value_model_is_believed_where_one_is_asked():
    """Two say 1, one says 2; the value model likes the one that says 2."""
    tree = Tree(width=3, exploration=0.0)
    for step, answer, value in ((A, "1", 0.2), (A, "1", 0.4), (B, "2", 0.9)):
        tree.add(tree.root, step, False, answer, value)
    assert tree.values() == [0.2, 0.4, 0.9] and tree.bound(tree.root.children[A], tree.values()) == pytest.approx(0.3)
    assert tree.leaf().tokens == B


def test_what_was_found_lifts_all_nodes_above_it():
    tree = Tree(width=2, exploration=1.0)
    for _ in range(2):
        tree.add(tree.root, A, False, "1")
    below = tree.leaf()
    tree.add(below, B, False, "2")
    assert below.tokens == A and [len(n.passed) for n in (tree.root, below, below.children[(*A, *B)])] == [3, 3, 1]


def test_a_tree_that_is_closed_is_opened_again_from_the_root():
    tree = Tree(width=2, exploration=1.0)
    tree.add(tree.root, A, True, "1")
    tree.add(tree.root, B, True, "1")
    assert tree.leaf() is tree.root and tree.limit == 4


def test_exploration_reaches_what_is_disagreed_with():
    """Ten responses agree, one does not: only a search that explores extends the one."""
    for exploration, wanted in ((0.0, A), (2.0, B)):
        tree = Tree(width=11, exploration=exploration)
        for _ in range(10):
            tree.add(tree.root, A, False, "1")
        tree.add(tree.root, B, False, "2")
        assert tree.leaf().tokens == wanted


# ------------------------------------------------------------------------------------------------------- with a model


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    loaded = tiny.loaded()
    return Sampler(loaded, Prompter(loaded.tokenizer, tiny.SHORT, ""), torch.float32)


def search(sampler: Sampler, problems=PROBLEMS, budgets=BUDGETS, seed: int = 0) -> tuple[TreeSearch, list[Searched]]:
    made = TreeSearch(Search(width=3), sampler, tiny.families(), "tags", seed)
    made.breaks = lambda token: token % 7 == 0  # a random model writes no lines
    return made, made.run(problems, budgets, SAMPLING)


def test_exactly_the_budget_is_spent_and_only_finished_responses_vote(sampler):
    _, found = search(sampler)
    assert [one.tokens for one in found] == BUDGETS
    for one, budget in zip(found, BUDGETS, strict=True):
        new = [r.segments[-1][0] if r.segments else r.length for r in one.group.rollouts]  # without what it began with
        assert sum(new) <= budget < sum(new) + SAMPLING.max_new_tokens  # the rest went to the one that was cut
        assert all(r.length <= SAMPLING.max_new_tokens for r in one.group.rollouts)
    assert any(r.segments for r in found[0].group.rollouts)


def test_the_same_seed_gives_the_same_search_whatever_is_searched_beside_it(sampler):
    def tokens(found: list[Searched]) -> list[list[list[int]]]:
        return [[r.token_ids.tolist() for r in one.group.rollouts] for one in found]

    together, again = tokens(search(sampler)[1]), tokens(search(sampler)[1])
    alone = tokens(search(sampler, PROBLEMS[1:2], BUDGETS[1:2])[1])
    assert together == again and alone == together[1:2]
    assert tokens(search(sampler, seed=1)[1]) != together


def test_a_response_in_the_tree_is_one_of_the_model(sampler, tmp_path):
    """Whatever was written by which continuation: log-probs are those of the whole response, and segments count its tokens."""
    loaded = tiny.loaded()
    _, [one, *_] = search(Sampler(loaded, sampler.prompter, torch.float32))
    found = [r for r in one.group.rollouts if r.segments]
    starts = [int(r.sampled.argmax()) for r in found]
    weights = [np.ones(r.length, np.float32) for r in found]
    examples = [Example(tokens=r.token_ids, start=s, weight=w) for r, s, w in zip(found, starts, weights, strict=True)]
    learner = Learner(loaded.model, Optimizer(), 1, 10_000, torch.float32, tmp_path)
    assert found
    for rollout, start, values in zip(found, starts, learner.logprobs(examples, 1.0), strict=True):
        assert rollout.logprobs[start:] == pytest.approx(values, abs=2e-4) and len(rollout.versions) == rollout.length


def test_steps_end_with_a_line(sampler):
    made = TreeSearch(Search(), sampler, tiny.families(), "tags", 0)
    encode = sampler.prompter.tokenizer.encode
    line, rest = encode("12+7=19\n", add_special_tokens=False), encode("so 19", add_special_tokens=False)
    assert made._step([*line, *rest]) == tuple(line) and made._step(rest) == tuple(rest)


# ----------------------------------------------------------------------------------------------- numbers and the stage


def test_numbers_of_two_problems_by_hand():
    """Samples: 3 of 4 right, then 1 of 4; the trees' votes: wrong, then right. So cons is 1 and 0, search 0 and 1."""
    problems = [Problem(id=f"q{i}", task="chain", question="?", answer="20") for i in range(2)]

    def group(problem: Problem, right: list[bool]) -> Group:
        return Group(problem=problem, rollouts=[fabricate.rollout(problem, i, right=ok) for i, ok in enumerate(right)])

    sampled = [group(problems[0], [True, True, True, False]), group(problems[1], [True, False, False, False])]
    sampled[1].rollouts[0].text = "13\n" + sampled[1].rollouts[0].text  # the only one of two lines, and right
    trees = [Searched(group(problems[0], [False]), 90), Searched(group(problems[1], [True, True, False]), 110)]
    found = summarise(sampled, [], trees)
    values = {key: metric["value"] for key, metric in found["overall"].items()}
    length = sampled[0].rollouts[0].length
    assert values["cons@4"] == 0.5 and values["search"] == 0.5 and values["search/gain"] == 0.0
    assert values["cons/steps"] == 0.5  # nothing votes for the first problem
    assert values["search/tokens"] == 100 and values["search/responses"] == 2 and values["tokens"] == 4 * length
    assert found["overall"]["search/gain"]["low"] == -1 and found["overall"]["search/gain"]["high"] == 1
    assert "search" not in summarise(sampled, [])["overall"]


def test_an_evaluation_with_a_search(tmp_path):
    folder.save(tiny.loaded(), tmp_path / "model")
    (tmp_path / "short.txt").write_text(tiny.SHORT)
    section = {"stage": "evaluate", "problems": 2, "samples": 4, "max_new_tokens": 24, "greedy": False, "search": {"width": 2}}
    wanted = tiny.recipe({"eval": section}, model="model", template="short.txt")
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        for name in ("model", "short.txt"):
            (tmp_path / place / name).symlink_to(tmp_path / name)
    logs = [tiny.run(tmp_path / place, wanted).log("eval") for place in ("one", "two")]
    records = [{k: v for k, v in deterministic(log.eval()).items() if k != "model"} for log in logs]
    assert records[0] == records[1] and records[0]["search"] == {"width": 2, "value": None, "exploration": 1.0}
    overall = records[0]["overall"]
    assert overall["tokens"] == overall["search/tokens"] and 0 <= overall["search"]["value"] <= 1
    assert (logs[0].path / "rollouts" / "searched.parquet").exists()


PPO = {"stage": "rl", "steps": 1, "prompts_per_step": 2, "samples_per_prompt": 2, "max_new_tokens": 16, "algorithm": "ppo"}
PPO |= {"rewards": {"accuracy": 1.0}, "optimizer": {"lr": 1e-2}}
REWARD = "def early(rollout, problem):\n    return float((rollout.token_ids < 60).mean())\n"


def test_a_value_model_that_ppo_left_guides_the_search(tmp_path):
    folder.save(tiny.loaded(), tmp_path / "model")
    (tmp_path / "short.txt").write_text(tiny.SHORT)
    section = {"stage": "evaluate", "problems": 2, "samples": 4, "max_new_tokens": 24, "greedy": False}
    guided = {**section, "init": "ppo", "search": {"width": 2, "value": "ppo"}}
    (tmp_path / "reward.py").write_text(REWARD)
    paid = {**PPO, "rewards": {"reward.py:early": 1.0}}
    made = tiny.run(tmp_path, tiny.recipe({"ppo": paid, "eval": guided}, model="model", template="short.txt"))
    overall = made.log("eval").eval()["overall"]
    assert overall["tokens"] == overall["search/tokens"] and "search.value" in made.log("eval").lineage["parents"]
    judge = Judge(made.log("ppo").value, Device.choose(made.recipe.hardware))
    groups = shards.read(made.log("eval").path / "rollouts" / "searched.parquet")
    values = judge.values([r for g in groups for r in g.rollouts])
    assert len(set(values)) > 1  # a head that has learned: before its first update it says 0 of everything


@pytest.mark.parametrize(
    ("value", "told"),
    [("pop", "did you mean 'ppo'"), ("grpo", "'grpo' is no earlier rl stage that trains a value"), ("model", "'model' is no")],
)
def test_a_value_model_that_nobody_trains_is_refused_with_the_recipe(value, told):
    stages = {"ppo": PPO, "grpo": {**PPO, "algorithm": "grpo"}, "eval": {"stage": "evaluate", "search": {"value": value}}}
    with pytest.raises(RecipeError, match=told):
        tiny.recipe(stages, model="bundled")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"samples": 4}, "samples=4"),
        ({"search": {"width": 1}}, "greater than or equal to 2"),
        ({"search": {"depth": 3}}, "depth"),
        ({"reward_model": "./scorer"}, "no tree grows"),
    ],
)
def test_what_can_not_be_is_refused_with_the_recipe(changes, told):
    with pytest.raises(RecipeError, match=told):
        tiny.recipe({"eval": {"stage": "evaluate", "search": {"width": 4}, **changes}}, model="bundled")


def test_a_script_grows_no_tree(tmp_path):
    wanted = tiny.recipe({"eval": {"stage": "evaluate", "problems": 1, "search": {}}}, model="bundled")
    with Live(plain=True) as display, pytest.raises(RecipeError, match=r"stages\.eval\.search"):
        evaluate_checkpoint(wanted, tmp_path, display, POLICIES["empty"]())
