"""Run directories made up without a model, for tests of everything that reads one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from move37 import graph
from move37.recipe import Recipe, parse
from move37.report.estimators import summarise
from move37.runs import Run, StageLog
from move37.types import Group, Problem, Rollout, Score, Stop, Verdict

DIRECT = "I see it. </think> <answer>{answer}</answer>"
STEPS = "8 + 5 = 13. 13 + 4 = {answer}. </think> <answer>{answer}</answer>"
CHECKED = "8 + 5 = 12. Wait, 8 + 5 = 13. 13 + 4 = {answer}. Check: yes. </think> <answer>{answer}</answer>"
TEXTS = {"direct": DIRECT, "steps": STEPS, "checked": CHECKED}
HOSTILE = "<script>alert('x')</script> & <b>bold</b>"


def recipe(name: str = "made_up", seed: int = 0, **rl: object) -> Recipe:
    """Evaluate, train, evaluate; on two tasks."""
    raw = {
        "name": name,
        "seed": seed,
        "model": "bundled",
        "template": "r1_zero",
        "tasks": {"chain": {"family": "chain"}, "product": {"family": "product"}},
        "stages": {
            "before": {"stage": "evaluate", "problems": 4, "samples": 4},
            "rl": {"stage": "rl", "steps": 40, "algorithm": "grpo", "probe_every": 10, **rl},
            "after": {"stage": "evaluate", "init": "rl", "problems": 4, "samples": 4},
        },
    }
    return parse(raw, "made_up.yaml")


def rollout(problem: Problem, sample: int = 0, kind: str = "steps", right: bool = True, **fields: object) -> Rollout:
    """A graded response. Four prompt tokens; longer texts have more sampled tokens."""
    answer = problem.answer if right else str(int(problem.answer) + 1)
    text = TEXTS[kind].format(answer=answer)
    sampled = np.array([False] * 4 + [True] * (len(text) // 2))
    logprobs = np.where(sampled, -0.25 - 0.01 * sample, 0).astype(np.float32)
    made = Rollout(
        problem=problem.id,
        task=problem.task,
        sample=sample,
        token_ids=np.arange(len(sampled), dtype=np.int32),
        sampled=sampled,
        logprobs=logprobs,
        sampling_logprobs=logprobs.copy(),
        text=text,
        stop=Stop.EOS,
        version=3,
        prefill="<think>",
        thinking=text.partition("</think>")[0],
        answer=answer,
        final=answer,
        scores={
            "accuracy": Score(value=float(right), why="" if right else "another number"),
            "format": Score(value=1.0),
        },
        reward=float(right),
        verdict=Verdict.RIGHT if right else Verdict.WRONG,
    )
    for key, value in fields.items():
        setattr(made, key, value)
    return made


def group(index: int, chance: float, samples: int = 4, checked: float = 0.2, seed: int = 0) -> Group:
    """One problem and its responses, right with `chance`; worked with the same chance, checked with `checked`."""
    random = np.random.default_rng((seed, index))
    task = ("chain", "product")[index % 2]
    question = f"What is 8 + 5 + {index}? {HOSTILE}"
    problem = Problem(id=f"p{index}", task=task, question=question, answer=str(13 + index), meta={"language": "en"})
    rollouts = []
    for sample in range(samples):
        kind = "checked" if random.random() < checked else "steps" if random.random() < chance + 0.1 else "direct"
        rollouts.append(rollout(problem, sample, kind, bool(random.random() < chance)))
    return Group(problem=problem, rollouts=rollouts)


def metrics(step: int, of: int = 40) -> dict[str, float]:
    """One step of a run that learns, with every key a real one has."""
    share = step / of
    worked = 0.3 + 0.65 * share
    noise = float(np.sin(7 * step)) * 0.02
    return {
        "wall_s": 4.0 * step,
        "seconds": 4.0,
        "seconds/sample": 1.0,
        "seconds/grade": 0.1,
        "seconds/learn": 2.9,
        "tokens": 12000,
        "tokens_per_s": 11000 + 500 * noise,
        "reward": 0.1 + 0.7 * share + noise,
        "reward/accuracy": 0.08 + 0.65 * share + noise,
        "reward/format": 0.9,
        "pass@1": 0.08 + 0.65 * share + noise,
        "cannot_tell": 0.0,
        "length": 30 + 30 * share + 50 * noise,
        "length/right": 48 + 8 * share,
        "length/wrong": 28 + 20 * share,
        "truncated": 0.01,
        "no_eos": 0.01,
        "entropy": 0.6 - 0.3 * share,
        "kl": 0.05 * share,
        "mismatch_kl": 1e-7,
        "grad_norm": 0.5,
        "signal": 0.9 - 0.3 * share,
        "format": 0.95,
        "off_language": 0.02,
        "style/direct": 1 - worked,
        "style/steps": worked - 0.1,
        "style/checked": 0.1,
        "accuracy/direct": 0.07,
        "accuracy/steps": 0.3 + 0.45 * share,
        "accuracy/checked": 0.35 + 0.4 * share,
        "reflective": 0.3 + 0.2 * share,
        "task/chain/pass@1": 0.1 + 0.7 * share,
        "task/chain/length": 30 + 20 * share,
        "task/chain/checked": 0.1 - 0.09 * share,
        "task/product/pass@1": 0.05 + 0.6 * share,
        "task/product/length": 34 + 44 * share,
        "task/product/checked": 0.1 + 0.3 * share,
    }


def run(root: Path, name: str = "made_up", seed: int = 0, steps: int = 40) -> Path:
    """A finished run directory; returns its path."""
    with Run.create(root, recipe(name, seed), source=None) as made:
        for stage, chance in (("before", 0.2), ("after", 0.8)):
            sampled = [group(i, chance, samples=16, seed=seed + 10) for i in range(8)]
            greedy = [group(i, chance, samples=1, seed=seed + 20) for i in range(8)]
            numbers = {"stage": stage, "model": "bundled", "temperature": 1.0, "seconds": 9.0, "tokens": 4000}
            log = begin(made, stage) if stage == "before" else made.log(stage)
            log.evaluation(numbers | summarise(sampled, greedy), sampled, greedy)
            if stage == "before":
                log.finish({"tokens": 4000, "seconds": 9.0}, "evaluation")
        log = begin(made, "rl")
        for step in range(steps + 1):
            groups = [group(100 * step + i, 0.1 + 0.02 * step, seed=seed) for i in range(3)]
            if step % 10 == 0:
                looks = [group(i, 0.1 + 0.02 * step, samples=4, seed=seed + step) for i in range(4)]
                share = 0.1 + 0.6 * step / 40
                log.probe(step, {"pass@1": share, "cons@4": share + 0.15, "length": 30 + step}, looks)
            if step:
                log.rollouts(step, groups)
                log.record(step, metrics(step))
        checkpoint(log, b"weights", steps)
        begin(made, "after").finish({"tokens": 4000, "seconds": 9.0}, "evaluation")
        return made.path


def begin(made: Run, stage: str) -> StageLog:
    """Put on record that a stage has begun, from what its parents made."""
    log = made.log(stage)
    log.begin(graph.begin(made, stage, {"path": "bundled", "sha256": "0" * 64}))
    return log


def checkpoint(log: StageLog, weights: bytes, steps: int) -> None:
    """A stage has ended and left a model."""
    log.final.mkdir(exist_ok=True)
    (log.final / "model.safetensors").write_bytes(weights)
    log.finish({"steps": steps, "tokens": 12000 * steps, "seconds": 4.0 * steps}, "checkpoint")
