"""Partial rollouts: taken up again a response is the one it would have been; what is old is known, bounded and told."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from move37 import shards
from move37.errors import RecipeError
from move37.learner.batch import microbatch
from move37.learner.loss import Totals, policy_loss
from move37.models import folder
from move37.models.decoder import Cache
from move37.rollout.draw import Sampling
from move37.rollout.prompt import Prompter
from move37.rollout.sampler import Sampler, Trajectory
from move37.sections.partial import Partial
from move37.stages import watch
from move37.stages.partial import Partials
from move37.tasks.curriculum import Curriculum
from move37.types import Credit, LossSpec, Problem, Rollout, Stop

QUESTIONS = ["What is 12+7?", "1+1?", "小明有3个苹果。现在有多少个苹果?", "Work out 17-2+24+7 and then tell why it is so."]
PROBLEMS = [Problem(id=f"p{i}", task="chain", question=q, answer="19") for i, q in enumerate(QUESTIONS)]
LIMITS = Sampling(max_new_tokens=24)

# ---------------------------------------------------------------------------------------- the sampler takes up again


def sampler(kernels: str) -> Sampler:
    loaded = tiny.loaded()
    made = Sampler(loaded, Prompter(loaded.tokenizer, tiny.SHORT, ""), torch.float32, kernels)
    made.eos = frozenset(range(20))  # so that some end early
    return made


@pytest.mark.parametrize("kernels", ["auto", "torch"])
def test_written_in_pieces_a_response_is_the_one_written_at_once(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = sampler(kernels)
    whole = [r for g in one.sample(PROBLEMS, 3, LIMITS, seed=4) for r in g.rollouts]
    monkeypatch.setattr(Cache, "leave_at", 0.5)  # some rows stay in the batch after their end
    for pieces in ((24,), (7, 17), (1, 1, 9, 13)):
        written = [t for p in PROBLEMS for t in one.begin(p, 3, LIMITS, seed=4)]
        for one.version, most in enumerate(pieces, 5):
            one.advance(written, LIMITS, most)
        for found, expected in zip(map(one.rollout, written), whole, strict=True):
            assert found.token_ids.tolist() == expected.token_ids.tolist()
            assert (found.stop, found.text) == (expected.stop, expected.text)
            np.testing.assert_allclose(found.logprobs, expected.logprobs, atol=1e-5)
            assert len(found.versions) == found.length and found.version == found.versions[-1]
            left, cuts = found.length, []
            for version, most in enumerate(pieces, 5):
                cuts += [version] * min(left, most)
                left -= min(left, most)
            assert found.versions.tolist() == cuts
    lengths = {r.length for r in whole}
    assert len(lengths) > 3 and 24 in lengths  # the case is no trivial one


@pytest.mark.parametrize(("kind", "changes"), [("gpt2", {}), ("qwen2", {"tie_word_embeddings": True})])
def test_through_transformers_too(directory: Callable[..., Path], kind: str, changes: dict) -> None:
    loaded = folder.load(directory(kind, **changes), torch.float32, tiny.CPU)
    one = Sampler(loaded, Prompter(loaded.tokenizer, tiny.SHORT, ""), torch.float32)
    whole = [r.token_ids.tolist() for g in one.sample(PROBLEMS, 2, LIMITS, seed=4) for r in g.rollouts]
    written = [t for p in PROBLEMS for t in one.begin(p, 2, LIMITS, seed=4)]
    for most in (5, 11, 8):
        one.advance(written, LIMITS, most)
    assert [one.rollout(t).token_ids.tolist() for t in written] == whole


def test_what_is_taken_up_does_not_depend_on_the_batch() -> None:
    one = sampler("auto")
    together = [t for p in PROBLEMS for t in one.begin(p, 2, LIMITS, seed=1)]
    alone = [t for p in PROBLEMS for t in one.begin(p, 2, LIMITS, seed=1)]
    one.advance(together, LIMITS, 5)
    one.advance(together, LIMITS, 9)
    for trajectory in alone:
        one.advance([trajectory], LIMITS, 14)
    assert [t.tokens for t in together] == [t.tokens for t in alone]


# ------------------------------------------------------------------------------------------- groups over iterations


@dataclass
class Writer:
    """A sampler whose response k of a problem has LENGTHS[k] tokens: 10, 20, 30 ... in order, each of log-prob -1."""

    lengths: list[int]
    version: int = 0
    asked: list[int] = field(default_factory=list)

    def begin(self, problem: Problem, n: int, sampling: Sampling, seed: int) -> list[Trajectory]:
        return [Trajectory(problem, np.array([7, 8], np.int32), k, 100 * seed + k) for k in range(n)]

    def advance(self, trajectories: list[Trajectory], sampling: Sampling, most: int) -> None:
        self.asked.append(len(trajectories))
        for t in trajectories:
            new = min(most, self.lengths[t.sample] - len(t.tokens))
            t.tokens += [10 * (len(t.tokens) + i + 1) for i in range(new)]
            t.logprobs += [-1.0 / 3] * new
            t.drawn += [-1.0 / 3] * new
            t.segments.append((new, self.version))
            t.stop = Stop.EOS if len(t.tokens) == self.lengths[t.sample] else None

    def rollout(self, written: Trajectory) -> Rollout:
        tokens = np.array([*written.prompt, *written.tokens], np.int32)
        logprobs = np.array([0, 0, *written.logprobs], np.float32)
        return Rollout(
            problem=written.problem.id, task=written.problem.task, sample=written.sample, token_ids=tokens,
            sampled=np.arange(len(tokens)) >= 2, logprobs=logprobs, sampling_logprobs=logprobs, text="", stop=Stop.EOS,
            version=written.segments[-1][1], segments=tuple(written.segments) if len(written.segments) > 1 else (),
        )  # fmt: skip


def partials(lengths: list[int], **options: object) -> Partials:
    section = Partial(**{"new_tokens": 3, **options})
    curriculum = Curriculum(tiny.families(), 0)
    return Partials(section, Writer(lengths), LIMITS, len(lengths), curriculum)


def test_a_group_is_graded_when_its_last_response_has_ended() -> None:
    """Responses of 2, 5 and 7 tokens, 3 at a time: done in the third iteration, with 2 | 3+2 | 3+3+1 tokens."""
    one = partials([2, 5, 7])
    (problem,) = one.curriculum.draw(1, 1)
    assert one.step(1, [problem], seed=1) == []
    assert (one.metrics["partial/open"], one.metrics["tokens"]) == (2, 2 + 3 + 3)
    one.sampler.version = 4
    assert one.step(2, [], seed=2) == []
    assert (one.metrics["partial/continued"], one.metrics["partial/open"], one.metrics["tokens"]) == (2, 1, 2 + 3)
    one.sampler.version = 9
    (group,) = one.step(3, [], seed=3)
    assert [r.segments for r in group.rollouts] == [(), ((3, 0), (2, 4)), ((3, 0), (3, 4), (1, 9))]
    assert [r.versions.tolist() for r in group.rollouts] == [[0, 0], [0, 0, 0, 4, 4], [0, 0, 0, 4, 4, 4, 9]]
    assert one.metrics["partial/age"] == 2 and one.metrics["partial/dropped"] == 0
    assert one.metrics["partial/stale"] == pytest.approx(13 / 14)
    assert one.sampler.asked == [3, 2, 1] and one.open == []


def test_what_is_too_old_is_dropped_and_counted() -> None:
    one = partials([2, 50], max_age=2)
    (problem,) = one.curriculum.draw(1, 1)
    assert one.step(1, [problem], seed=1) == one.step(2, [], seed=2) == []
    (group,) = one.step(3, [], seed=3)
    assert [r.sample for r in group.rollouts] == [0]
    assert (one.metrics["partial/dropped"], one.metrics["partial/open"]) == (1, 0)
    alone = partials([50, 50], max_age=1)
    assert alone.step(1, [problem], seed=1) == alone.step(2, [], seed=2) == []  # nothing is left of it
    assert alone.metrics["partial/dropped"] == 2


@pytest.mark.parametrize(("earlier", "weights"), [("learn", [1, 1, 1, 1, 1]), ("leave_out", [0, 0, 0, 1, 1])])
def test_what_the_learner_is_given(earlier: str, weights: list[int]) -> None:
    one = partials([5, 2], earlier=earlier)
    (problem,) = one.curriculum.draw(1, 1)
    one.step(1, [problem], seed=1)
    one.sampler.version = 3
    (group,) = one.step(2, [], seed=2)
    long, short = (one.example(Credit(rollout=r, advantage=0.5)) for r in group.rollouts)
    assert long.weight.tolist() == weights
    assert long.fresh.tolist() == [False, False, False, True, True]
    assert short.weight.tolist() == [1, 1]  # of one segment, which is its last: waiting for others takes nothing away
    assert short.fresh.tolist() == [False, False]


def test_state_comes_back_exactly() -> None:
    one, again = partials([2, 9, 5]), partials([2, 9, 5])
    problems = one.curriculum.draw(1, 2)
    one.step(1, problems, seed=1)
    one.sampler.version = 2
    one.step(2, one.curriculum.draw(2, 1), seed=2)
    tensors = {name: tensor.clone() for name, tensor in one.tensors().items()}
    again.restore(json.loads(json.dumps(one.state())), tensors)
    again.sampler.version = 2
    assert again.state() == one.state()
    for mine, theirs in zip(again.open, one.open, strict=True):
        for a, b in zip(mine.written, theirs.written, strict=True):
            assert (a.problem, a.key, a.tokens, a.segments, a.stop) == (b.problem, b.key, b.tokens, b.segments, b.stop)
            np.testing.assert_array_equal(np.float32(a.logprobs), np.float32(b.logprobs))
    ended = [[r.token_ids.tolist() for g in it.step(3, [], seed=3) for r in g.rollouts] for it in (again, one)]
    assert ended[0] == ended[1] and len(ended[0]) == 6


# ------------------------------------------------------------------------------------------------- loss and records


def test_sampler_and_learner_are_compared_on_fresh_tokens_alone() -> None:
    """Two old tokens that drifted by ln 2, k3 = 2 - 1 - ln 2, and a fresh one that did not."""
    one = partials([3], new_tokens=2)
    (problem,) = one.curriculum.draw(1, 1)
    one.step(1, [problem], seed=1)
    one.sampler.version = 1
    (group,) = one.step(2, [], seed=2)
    example = one.example(Credit(rollout=group.rollouts[0], advantage=1.0))
    streams = microbatch([example], [0]).streams
    now = torch.tensor([-1 / 3 + math.log(2), -1 / 3 + math.log(2), -1 / 3])
    _, sums = policy_loss(now, streams, LossSpec(), Totals(sequences=1, tokens=3))
    drift = 2 * (2 - 1 - math.log(2))
    assert float(sums["drift_sum"]) == pytest.approx(drift, abs=1e-6)
    assert float(sums["fresh_drift_sum"]) == pytest.approx(0, abs=1e-6) and int(sums["fresh_tokens"]) == 1
    told = {key: float(value) for key, value in sums.items()}
    assert watch.mismatch(told) == pytest.approx(0, abs=1e-6)
    updates = watch.update_metrics([{**told, "loss": 0.0, "grad_norm": 0.0, "lr": 0.0, "entropy_sum": 0.0}])
    assert updates["partial/drift"] == pytest.approx(drift / 3, abs=1e-6)


def test_segments_are_on_record(tmp_path) -> None:
    one = partials([2, 5])
    (problem,) = one.curriculum.draw(1, 1)
    one.step(1, [problem], seed=1)
    (group,) = one.step(2, [], seed=2)
    (found,) = shards.read(shards.write(tmp_path / "shard.parquet", 2, [group]))
    assert [r.segments for r in found.rollouts] == [(), ((3, 0), (2, 0))]
    assert shards.read(shards.write(tmp_path / "none.parquet", 3, [])) == []


def test_a_step_without_a_finished_group_has_metrics() -> None:
    assert math.isnan(watch.rl_metrics([], [], [], [])["pass@1"])


# --------------------------------------------------------------------------------------------------------- recipes


@pytest.mark.parametrize(
    ("rl", "told"),
    [
        ({"partial": {"new_tokens": 64}, "max_new_tokens": 64}, "is not below max_new_tokens=64"),
        ({"partial": {"new_tokens": 8}, "algorithm": "dapo"}, "dynamic_sampling"),
        ({"partial": {"new_tokens": 8, "age": 3}}, r"partial.age is not a key"),
        ({"partial": {"new_tokens": 8, "max_age": 0}}, "max_age"),
        ({"draw": {"kind": "random"}}, "draw 'random' is not known"),
        ({"draw": {"kind": "uniform", "pool": 3}}, "no option 'pool'"),
        ({"draw": {"kind": "curriculum", "levels": [["chain"], ["other"]], "at": [2]}}, "names 'other', which is none of its"),
        ({"draw": {"kind": "curriculum", "levels": [["chain"], ["chain"]], "at": [9]}}, "never reached in 4 steps"),
        ({"draw": {"kind": "uniform", "problems": "curated"}}, "draw.problems='curated' is no earlier stage that makes data"),
        ({"draw": {"kind": "curriculum", "levels": [], "at": []}}, r"levels=\[\]: there is no level"),
        ({"draw": {"kind": "curriculum", "levels": [["chain"], []], "at": [2]}}, "level 2 is empty; name tasks"),
        ({"algorithm": {"name": "mirror_descent", "tau": 0}}, "mirror_descent: tau=0: Input should be greater than 0"),
        ({"algorithm": {"name": "mirror_descent", "tau": -0.1}}, "mirror_descent: tau=-0.1: Input should be greater than 0"),
        (
            {"algorithm": "reinforce", "samples_per_prompt": 1, "rewards": {"accuracy": 1.0, "length": 0.5}},
            "length compares the responses to one problem: set samples_per_prompt to 2 or more",
        ),
    ],
)
def test_refused_when_the_recipe_is_read(rl: dict, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        tiny.recipe({"rl": {"stage": "rl", "steps": 4, **rl}}, model="bundled")


def test_a_bare_kind_of_draw_and_the_settings_it_means() -> None:
    section = tiny.recipe({"rl": {"stage": "rl", "steps": 4, "draw": "prioritised"}}, model="bundled").stages["rl"]
    assert section.draw == {"kind": "prioritised", "problems": None, "pool": 256}


def test_other_data_than_curated_problems_is_refused_when_the_recipe_is_read() -> None:
    stages = {
        "kept": {"stage": "rejection_sample", "prompts": 4},
        "rl": {"stage": "rl", "steps": 4, "draw": {"kind": "uniform", "problems": "kept"}},
    }
    with pytest.raises(RecipeError, match="'kept' makes data of another kind"):
        tiny.recipe(stages, model="bundled")
