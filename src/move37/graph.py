"""A recipe is a graph of stages: who starts from whom, what decides a result, and what a changed key invalidates.

Every stage that has begun keeps a lineage in its directory: the keys and files that decide its result, the artefacts it was
made from by hash, the code; once it has ended, what it made as well. These records are compared with the recipe at hand.
The run's own `recipe.yaml` only says what it was run with last. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from move37 import __version__
from move37.errors import RecipeError, UserError, nearest
from move37.files import find_directory, fingerprint
from move37.recipe import Recipe
from move37.runs import ARTEFACTS, Run, StageLog, differences, flat
from move37.sections import FileTask

# ----------------------------------------------------------------------------------------------------------- the graph


def parents(recipe: Recipe, name: str) -> dict[str, str]:
    """Input key -> the stage that makes it. The recipe's model and files are no stages."""
    return {key: value for key, value in recipe.stages[name].inputs().items() if value in recipe.stages}


def ancestors(recipe: Recipe, names: Iterable[str]) -> set[str]:
    """The stages that any of `names` needs, directly or not."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        new = set(parents(recipe, waiting.pop()).values()) - found
        found |= new
        waiting += new
    return found


def chosen(recipe: Recipe, only: str | None, start: str | None) -> list[str]:
    """The stages a command is about, in order: all, one (`--only`), or one and those after it (`--from`).

    Raises:
        UserError: no stage of that name, or both given.
    """
    if only and start:
        raise UserError("--only and --from exclude each other; choose one")
    names = list(recipe.stages)
    for option, value in (("--only", only), ("--from", start)):
        if value and value not in names:
            raise UserError(f"{option} {value!r} is no stage of this recipe; {nearest(value, names)}")
    if only:
        return [only]
    return names[names.index(start) :] if start else names


def _log(run: Run, name: str) -> StageLog:
    """A stage's records for reading alone: what is torn is repaired, and told, when the stage goes on."""
    return StageLog(run.stage(name), writing=False)


# -------------------------------------------------------------------------------------------- what decides a result


def decides(recipe: Recipe, name: str) -> dict[str, Any]:
    """Dotted key -> value of all that decides what a stage makes, apart from the content of files and parents.

    Left out: the machine, and the keys its section calls free (memory, checkpoints, limits that only stop a run).
    """
    section = recipe.stages[name]
    given = section.model_dump(mode="json", exclude=set(section.FREE))
    keys: dict[str, Any] = {"seed": recipe.seed, "stages": {name: given}}
    if "tasks" in section.READS:
        keys["tasks"] = {t: recipe.tasks[t].model_dump(mode="json") for t in _tasks(recipe, name)}
        keys["sandbox"] = recipe.sandbox
    if "template" in section.READS:
        keys["template"] = recipe.template
    if "model" in section.inputs().values():
        keys["model"] = recipe.model
    return flat(keys)


def contents(recipe: Recipe, name: str, base: Path) -> dict[str, str]:
    """Files and model directories a stage reads, as the recipe writes them -> sha256; none that is missing."""
    section = recipe.stages[name]
    paths: dict[str, Path] = {}
    for key, value in section.inputs().items():
        if value != "model" and value not in recipe.stages:
            paths[value] = find_directory(value, base) if section.takes_directory(key) else base / value
    named: list[str] = []
    if "template" in section.READS and recipe.template is not None:
        named.append(recipe.template)
    if "tasks" in section.READS:
        for task in (recipe.tasks[t] for t in _tasks(recipe, name)):
            named += [f for f in (task.file, task.held_out_file) if f] if isinstance(task, FileTask) else []
    named += [key.rpartition(":")[0] for key in section.functions() if ".py:" in key]
    paths |= {text: base / text for text in named}
    return {text: fingerprint(path) for text, path in sorted(paths.items()) if path.exists()}


def _tasks(recipe: Recipe, name: str) -> list[str]:
    """The tasks a stage names, or all."""
    return dict(recipe.stages[name]).get("tasks") or list(recipe.tasks)


@cache
def code() -> dict[str, str]:
    """Version of the package, and hashes over its source, which tell changes that have no version as well."""
    here = Path(__file__).parent
    return {"version": __version__, "sha256": fingerprint(here, "*.py"), "kernels": fingerprint(here / "native", "*.[ch]")}


# ------------------------------------------------------------------------------------------------------------- changes


def stale(recipe: Recipe, run: Run) -> dict[str, list[str]]:
    """The stages on disk that this recipe would make otherwise -> why, one sentence each, in the recipe's order."""
    found: dict[str, list[str]] = {}
    weights = cache(lambda path: fingerprint(path, "*.safetensors"))  # many stages start from the one large model
    for name in recipe.stages:
        record = _log(run, name).lineage
        if not record:
            continue
        why = differences(record["recipe"], decides(recipe, name))
        now = contents(recipe, name, run.base)
        why += [f"{text} has another content" for text, sha in record["files"].items() if now.get(text, sha) != sha]
        for key, parent in parents(recipe, name).items():
            why += _other_parent(run, record["parents"].get(key, {}), parent, parent in found)
        why += _other_model(record["parents"].values(), weights)
        if why:
            found[name] = why
    return found


def _other_parent(run: Run, recorded: Mapping[str, Any], parent: str, is_stale: bool) -> list[str]:
    """Why a stage does not descend from what its parent is now."""
    if is_stale:
        return [f"it starts from {parent}"]
    if recorded.get("from") != parent:
        return []  # the key has changed, and is told as such
    made = _log(run, parent).done
    if made is None:
        return [f"{parent}, which it started from, is not there any more"]
    return [f"{parent} has been made again since"] if made["sha256"] != recorded["sha256"] else []


def _other_model(recorded: Iterable[Mapping[str, Any]], weights: Callable[[Path], str]) -> list[str]:
    """Whether the recipe's model has other weights, in the same place, than a stage started from."""
    paths = {Path(parent["path"]): parent["sha256"] for parent in recorded if parent["from"] == "model"}
    return [f"{p} has other weights now" for p, sha in paths.items() if p.is_dir() and weights(p) != sha]


def settle(run: Run, names: list[str], remake: bool) -> list[str]:
    """Bring a run that exists and its recipe together, before anything runs.

    What is finished, unchanged and descends from what is there stays. Where a stage among `names`, or one that they
    need, is stale this refuses. With `remake` the stale ones among `names` are deleted, to be made again; where `names`
    are not all stages, all of `names` are.

    Returns:
        Sentences for the user: what was deleted, and which changes do no harm to what is there.

    Raises:
        RecipeError: naming stages, keys and what would have to be made again.
    """
    recipe = run.recipe
    told = stale(recipe, run)
    needed = ancestors(recipe, names) - set(names)
    if foreign := [name for name in told if name in needed]:
        fix = f"make the earlier stage again first (--from {foreign[0]} --remake), or undo the change"
        raise RecipeError(_refusal(run, told, foreign, fix))
    mine = [name for name in told if name in names]
    if mine and not remake:
        fix = "undo the change, say --remake to make these again, or --new for another run beside this one"
        raise RecipeError(_refusal(run, told, mine, fix))
    harmless = [change for change in run.changes() if not any(change in why for why in told.values())]
    notes = [f"changed, and nothing that is there depends on it: {change}" for change in harmless]
    if remake:
        again = mine if len(names) == len(recipe.stages) else [n for n in names if _log(run, n).lineage]
        for name in reversed(again):
            run.forget(name)
        notes += [f"{name}: to be made again ({'; '.join(told.get(name, ['as asked']))})" for name in again]
    run.adopt()
    return notes


def _refusal(run: Run, told: Mapping[str, list[str]], names: list[str], fix: str) -> str:
    lines = [f"{run.path}: made by another recipe than this one:"]
    for name in names:
        spent = _spent(run, name)
        lines += [f"  {name} ({spent}): {why}" for why in told[name][:1]] + [f"    {why}" for why in told[name][1:]]
    return "\n".join([*lines, fix])


def _spent(run: Run, name: str) -> str:
    """How much would be lost: `done, 12 steps, 34 s`."""
    log = _log(run, name)
    rows = log.metrics()
    seconds = (log.done or {}).get("seconds") or (rows[-1].get("wall_s") if rows else None)
    parts = ["done" if log.done else "begun"]
    parts += [f"{rows[-1]['step']} steps"] if rows else []
    return ", ".join(parts + ([f"{seconds:.0f} s"] if seconds else []))


# ------------------------------------------------------------------------------------------------------------- lineage


def begin(run: Run, name: str, model: Mapping[str, str]) -> dict[str, Any]:
    """Check what a stage starts from.

    Args:
        model: {"path", "sha256"} of the recipe's model, where the stage starts from it.

    Returns:
        Its lineage, to be written when it begins.

    Raises:
        RecipeError: a parent has not been made, is gone or damaged, or is another than when the stage was begun.
    """
    recipe = run.recipe
    made_from: dict[str, Any] = {}
    for key, value in recipe.stages[name].inputs().items():
        if value == "model":
            made_from[key] = {"from": "model", **model}
        elif value in recipe.stages:
            made_from[key] = {"from": value, "sha256": _artefact(run, f"stages.{name}.{key}", value)}
    before = _log(run, name).lineage
    if before and before["parents"] != made_from:
        other = next(key for key in made_from if before["parents"].get(key) != made_from[key])
        fix = f"--only {name} --remake begins it again"
        raise RecipeError(f"{run.path}: {name} was begun with other weights or data for {other!r} than there are now; {fix}")
    codes = before.get("code", [])
    return {
        "stage": name,
        "kind": recipe.stages[name].stage,
        "recipe": decides(recipe, name),
        "files": contents(recipe, name, run.base),
        "parents": made_from,
        "code": codes if codes[-1:] == [code()] else [*codes, code()],  # all that has worked on it, in order
    }


def _artefact(run: Run, key: str, parent: str) -> str:
    """The hash of what a parent made, which must be what is on disk."""
    log = _log(run, parent)
    made = log.done
    if made is None:
        state = "was begun and has not ended" if log.lineage else "has not been made"
        raise RecipeError(f"{run.path}: {key} is {parent}, which {state} in this run; run it first: --from {parent}")
    where, pattern = ARTEFACTS[made["artefact"]]
    path = log.path / where
    if not path.exists():
        raise RecipeError(f"{path}: gone, but {key} needs it; make it again: --only {parent} --remake")
    if fingerprint(path, pattern) != made["sha256"]:
        told = f"{path}: not what {parent} left there (its hash is another), and {key} needs it"
        raise RecipeError(f"{told}; make it again: --only {parent} --remake")
    return made["sha256"]
