"""`merge`: a model between two models, such as a long and a short way of thinking (Kimi k1.5, section 2.4)."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

from move37.checkpoint import write_directory
from move37.errors import ModelError
from move37.models import folder, merge
from move37.recipe import Recipe, origin
from move37.sections import Merge, Pretrain
from move37.stages.context import Context
from move37.stages.pretrain import shape_of


class Merging:
    """Averages weights; nothing is sampled or trained. What does not fit is told before weights are read."""

    total = 1

    def __init__(self, context: Context, name: str, section: Merge) -> None:
        self.context, self.section, self.log = context, section, context.run.log(name)
        self.one = context.source(section)
        self.two = context.directory(section.other)
        merge.check(self.one, self.two)

    def sentence(self) -> str:
        return self.section.sentence()

    def run(self) -> None:
        self.log.truncate_after(0)  # a run that was killed in here begins it again
        started = time.perf_counter()
        made: list[merge.Difference] = []

        def fill(path: Path) -> None:
            made.append(merge.merge(self.one, self.two, self.section.share, path))

        write_directory(self.log.final, fill)
        seconds = time.perf_counter() - started
        found = {"tensors": made[0].tensors, "parameters": made[0].numbers, "distance": made[0].distance}
        self.log.record(1, {**found, "seconds": seconds, "wall_s": seconds})
        self.context.display.note(f"{self.log.path.name}: the two are {made[0].distance:.3g} of the first one's length apart")
        self.log.finish({"seconds": seconds, **found}, "checkpoint")


# --------------------------------------------------------------------------------------------- before anything is trained


def check_merge(recipe: Recipe, base: Path, name: str) -> list[str]:
    """Refuse a merge that can not be, as far as it is known before a stage runs; else a line on what has been looked at.

    Training keeps shape and tokenizer, so a stage counts as what it descends from: `model`, a directory or a `pretrain`
    stage. The tensors of a trained model are not there yet; the merge itself looks at them.

    Raises:
        ModelError: a directory is missing or incomplete, or the two are unlike; it says in what.
    """
    section = recipe.stages[name]
    assert isinstance(section, Merge)
    values = [section.init, section.other]
    roots = [origin(value, recipe.stages) for value in values]
    if roots[0] == roots[1]:
        return []
    try:
        paths = [_directory(recipe, base, root) for root in roots if root not in recipe.stages]
        if len(paths) == 2:
            (merge.check if roots == values else merge.check_settings)(*paths)
            return [f"stages.{name}: {paths[0]} and {paths[1]} fit each other"]
        if len(paths) == 1:  # of none, two stages make the models: told when the recipe is read
            _check_made(recipe, base, next(root for root in roots if root in recipe.stages), paths[0])
    except ModelError as problem:
        told = "".join(f" ({v} descends from {r})" for v, r in zip(values, roots, strict=True) if v != r)
        raise ModelError(f"stages.{name}{told}: {problem}") from None
    return []


def _directory(recipe: Recipe, base: Path, root: str) -> Path:
    return folder.resolve((recipe.model or "") if root == "model" else root, base)


def _check_made(recipe: Recipe, base: Path, root: str, path: Path) -> None:
    """A model that a `pretrain` stage will make, against a directory. A tokenizer that it will train is not known yet."""
    section = recipe.stages[root]
    assert isinstance(section, Pretrain)
    config, shape = folder.read_config(path)
    kind = config.get("model_type")
    fix = "set them alike, or name another checkpoint: an average needs one shape and tokenizer"
    if shape is None:
        raise ModelError(f"merge: stages.{root} makes a plain llama, {path} is of another kind ({kind}); {fix}")
    size = section.vocabulary
    if size == "model":
        shared = _directory(recipe, base, "model")
        merge.check_tokenizers(shared, path)
        size = folder.tokens(shared)[1]
    theirs = asdict(shape)
    for key, value in asdict(shape_of(section, size)).items():
        if value != theirs[key]:
            raise ModelError(f"merge: {key} is {value!r} in stages.{root} and {theirs[key]!r} in {path}; {fix}")
