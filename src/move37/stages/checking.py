"""What `move37 check` and `move37 eval` run: everything that can be known before, or without, training."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from move37 import tasks
from move37.models import folder
from move37.recipe import Recipe
from move37.report.estimators import pass_at_k
from move37.report.live import Live
from move37.rewards.combine import ACCURACY, grade
from move37.rollout.draw import Sampling
from move37.rollout.prompt import Prompter
from move37.rollout.sampler import Sampler
from move37.runs import Run
from move37.sections import RL, AnyStage, Evaluate, Merge, Preference, RewardModel
from move37.sections.base import JUDGE
from move37.stages import conversations, preferences, watch
from move37.stages.context import Context, Device, Interrupt
from move37.stages.engines import Make
from move37.stages.evaluate import Evaluation
from move37.stages.merge import check_merge
from move37.stages.scoring import read_scale, verdict_family
from move37.tasks import pool
from move37.tasks.check import check
from move37.types import Group, Verdict

PROBLEMS, SAMPLES = 20, 16  # per task, for pass@k of a base model
# Of our own trials on small models: RL worked from a pass@16 of 0.66, rose slowly from 0.43 and failed at 0.18.
WORKS, FAILS = 0.5, 0.2


def check_tasks(recipe: Recipe, base: Path) -> list[dict[str, Any]]:
    """Golds and junk through form and verifier; one record per task and one per gold that fails."""
    loaded = tasks.load_all(recipe.tasks, recipe.seed, base, recipe.sandbox)
    report = check(loaded)
    records = []
    for name in loaded:
        mine = [r for r in report.records if r.task == name]
        failed = [r for r in mine if not r.ok]
        notes = "; ".join(report.notes.get(name, []))
        records.append({"task": name, "probes": len(mine), "failed": len(failed), "ok": not failed, "told": notes})
        for r in failed[:20]:
            told = f"{r.answer[:60]!r} against {r.gold[:60]!r} got {r.got:g}, not {r.expected:g}: {r.why}"
            records.append({"task": name, "probes": r.probe, "failed": r.problem, "ok": False, "told": told})
    return records


def check_data(recipe: Recipe, base: Path, names: Sequence[str]) -> list[str]:
    """Look at the files and models that stages name, so that what is wrong is told before hours are spent; a line each.

    Raises:
        TaskError: naming the key, the file, the row and the column.
        ModelError: no such model lies there, or it can not be merged with the other.
    """
    told = []
    for name in names:
        section = recipe.stages[name]
        if isinstance(section, Evaluate) and section.reward_model:
            for task in tasks.load_all(recipe.tasks, recipe.seed, base, recipe.sandbox).values():
                if task.name in (section.tasks or recipe.tasks):
                    verdict_family(task)
        if isinstance(section, Merge):
            told += check_merge(recipe, base, name)
        for key, value in section.inputs().items():
            outside = value != "model" and value not in recipe.stages
            if key == "draw.problems" and outside:
                loaded = tasks.load_all(recipe.tasks, recipe.seed, base, recipe.sandbox)
                found = pool.read(f"stages.{name}.{key}", base / value, loaded)
                told.append(f"stages.{name}.{key}: {sum(map(len, found.values()))} problems in {base / value}")
            elif outside and key.endswith(JUDGE):
                told.append(f"stages.{name}.{key}: a model in {folder.resolve(value, base)}")
            elif outside and section.wants(key) != "checkpoint":
                what = _look(section, f"stages.{name}.{key}", base / value)
                told.append(f"stages.{name}.{key}: {what} in {base / value}")
    return told


def _look(section: AnyStage, where: str, path: Path) -> str:
    """What a file or directory holds that a stage names."""
    columns = dict(section).get("columns")
    if section.wants(where.split(".", 2)[2]) == "reward_model":
        return f"a reward model of {read_scale(path).kind}"
    if isinstance(section, RewardModel | Preference):
        return f"{len(preferences.read(where, path, columns, pairs=isinstance(section, Preference)))} rows"
    return f"{len(conversations.rows(where, path, columns))} rows"


def check_model(recipe: Recipe, base: Path) -> list[dict[str, Any]]:
    """Template, EOS and pad of the recipe's model, then its pass@k on every task with a plain verdict."""
    device = Device.choose(recipe.hardware)
    assert recipe.model is not None
    loaded = folder.load(folder.resolve(recipe.model, base), device.weights, device.device)
    prompter = Prompter.build(loaded.tokenizer, recipe.template, base)
    records = check_tokens(loaded.tokenizer, prompter)
    sampler = Sampler(loaded, prompter, device.autocast, recipe.hardware.kernels, recipe.hardware.cache)
    limit = next((s.max_new_tokens for s in recipe.stages.values() if isinstance(s, RL | Evaluate)), 256)
    known = tasks.load_all(recipe.tasks, recipe.seed, base, recipe.sandbox)
    for name, task in known.items():
        problems = task.held_out_problems(PROBLEMS)
        seed = watch.mix(recipe.seed, "check", name)
        groups = sampler.sample(problems, SAMPLES, Sampling(max_new_tokens=limit), seed)
        grade(groups, ACCURACY, known)
        records.append({"check": f"pass@{SAMPLES} of {name}", **_signal(groups)})
    return records


def check_tokens(tokenizer: PreTrainedTokenizerFast, prompter: Prompter) -> list[dict[str, Any]]:
    """The pitfalls of templates and special tokens, each with what it would do to a run."""
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    prompt = prompter.encode("What is 1+1?")
    response = tokenizer.encode("<think>1+1=2</think><answer>2</answer>", add_special_tokens=False)
    together = tokenizer.encode(
        prompter.render("What is 1+1?") + "<think>1+1=2</think><answer>2</answer>",
        add_special_tokens=prompter.template is not None,
    )
    seam = together == prompt + response
    text = tokenizer.decode(response)
    found = [
        (
            "pad is not EOS",
            pad is None or pad != eos,
            "padding is never read here; other trainers would mask the EOS of your checkpoint",
        ),
        ("the prompt does not end in EOS", prompt[-1] != eos, "the model would believe it has answered"),
        (
            "a response starts where the prompt ends",
            seam,
            "the tokens at the seam merge; responses are sampled from another start",
        ),
        ("tags survive encoding", "<think>" in text and "</answer>" in text, "the format reward could never be earned"),
        ("the question is in the prompt", "What is 1+1?" in prompter.render("What is 1+1?"), "the template drops it"),
    ]
    return [{"check": what, "ok": bool(ok), "told": "" if ok else otherwise} for what, ok, otherwise in found]


def _signal(groups: list[Group]) -> dict[str, Any]:
    """pass@1 and pass@16 of a task with a verdict in words. A weak base is told, but only no signal at all is a failure."""
    counts = [sum(r.verdict is Verdict.RIGHT for r in g.rollouts) for g in groups]
    one, many = (sum(pass_at_k(SAMPLES, c, k) for c in counts) / len(counts) for k in (1, SAMPLES))
    ended = watch.mean([not r.truncated for g in groups for r in g.rollouts])
    if many == 0:
        told = f"no signal: pass@{SAMPLES} is 0"
    elif many < FAILS:
        told = "almost no signal: RL is likely to fail; easier problems, or a stronger base"
    elif many < WORKS:
        told = "weak signal: RL will be slow"
    else:
        told = "enough signal"
    if ended < 0.5:
        told += f"; only {ended:.0%} of the responses end within the limit: raise max_new_tokens"
    return {"ok": many > 0, "told": f"pass@1 {one:.3f}, pass@{SAMPLES} {many:.3f}: {told}"}


def evaluate_checkpoint(recipe: Recipe, base: Path, display: Live, make: Make) -> dict[str, Finding]:
    """Run a recipe of evaluate stages in a directory that is thrown away; stage -> what was found."""
    found: dict[str, Finding] = {}
    with tempfile.TemporaryDirectory() as scratch, Run.create(Path(scratch), recipe) as run, Interrupt(keeps=False) as interrupt:
        context = Context(
            recipe=recipe,
            run=run,
            display=display,
            tasks=tasks.load_all(recipe.tasks, recipe.seed, base, recipe.sandbox),
            device=Device.choose(recipe.hardware),
            interrupt=interrupt,
        )
        for name, section in recipe.stages.items():
            assert isinstance(section, Evaluate)
            stage = Evaluation(context, name, section, make(context, section))
            display.stage(name, "evaluate", stage.total, stage.sentence())
            stage.run()
            record = run.log(name).eval()
            assert record is not None
            found[name] = Finding(record, stage.sampled)
    return found


@dataclass(frozen=True, slots=True)
class Finding:
    """An evaluation's numbers, and the sampled responses behind them."""

    record: dict[str, Any]
    groups: list[Group]
