"""What a stage starts from, what a changed key invalidates, and what is refused. Run directories are made up."""

from __future__ import annotations

import shutil

import pytest

import fabricate
from move37 import graph
from move37.errors import RecipeError, UserError
from move37.files import fingerprint
from move37.recipe import parse
from move37.runs import Run

MODEL = {"path": "bundled", "sha256": "0" * 64}


def chain(**changes):
    """first -> second -> third, and an evaluation of each; `second.steps=9` changes a key."""
    stages = {
        "first": {"stage": "rl", "steps": 5},
        "look": {"stage": "evaluate", "init": "first"},
        "second": {"stage": "rl", "init": "first", "steps": 6},
        "third": {"stage": "rl", "init": "second", "steps": 7},
        "after": {"stage": "evaluate", "init": "third"},
    }
    top = {"name": "chain", "model": "bundled", "template": "r1_zero", "tasks": {"sums": {"family": "chain"}}}
    for key, value in changes.items():
        place, _, field = key.partition("__")
        if field:
            stages[place] = {**stages[place], field: value}
        else:
            top[place] = value
    return parse({**top, "stages": stages}, "chain.yaml")


def make(root, recipe, *names):
    """A run in which these stages are done."""
    with Run.create(root, recipe) as run:
        for name in names:
            log = fabricate.begin(run, name)
            if recipe.stages[name].stage == "evaluate":
                log.evaluation({"overall": {}}, [], [])
                log.finish({}, "evaluation")
            else:
                log.record(1, {"wall_s": 60.0})
                fabricate.checkpoint(log, name.encode(), 1)
        return run.path


def settle(root, recipe, names=None, remake=False):
    with Run.create(root, recipe, "resume") as run:
        return graph.settle(run, names or list(recipe.stages), remake)


def there(path):
    return sorted(p.parent.name for p in path.glob("stages/*/lineage.json"))


# -------------------------------------------------------------------------------------------------------------- graph


def test_who_starts_from_whom():
    recipe = chain()
    assert graph.parents(recipe, "first") == {}
    assert graph.parents(recipe, "third") == {"init": "second"}
    assert graph.ancestors(recipe, ["after"]) == {"third", "second", "first"}
    assert graph.ancestors(recipe, ["look"]) == {"first"}


def test_which_stages_a_command_is_about():
    recipe = chain()
    assert graph.chosen(recipe, None, None) == list(recipe.stages)
    assert graph.chosen(recipe, "second", None) == ["second"]
    assert graph.chosen(recipe, None, "second") == ["second", "third", "after"]
    with pytest.raises(UserError, match=r"--only 'secnd'.*did you mean 'second'"):
        graph.chosen(recipe, "secnd", None)
    with pytest.raises(UserError, match=r"exclude each other"):
        graph.chosen(recipe, "first", "second")


# ------------------------------------------------------------------------------------------------------------ changes


def test_nothing_changed_nothing_is_stale(tmp_path):
    path = make(tmp_path, chain(), "first", "look", "second")
    assert settle(tmp_path, chain()) == []
    assert there(path) == ["first", "look", "second"]


def test_a_changed_key_invalidates_the_stage_and_what_descends_from_it(tmp_path):
    path = make(tmp_path, chain(), "first", "look", "second", "third")
    with pytest.raises(RecipeError) as caught:
        settle(tmp_path, chain(second__steps=9))
    told = str(caught.value)
    assert "second (done, 1 steps, 4 s): stages.second.steps: 6 -> 9" in told
    assert "third (done, 1 steps, 4 s): it starts from second" in told
    assert "--remake" in told and "first" not in told and "look" not in told
    assert there(path) == ["first", "look", "second", "third"]

    notes = settle(tmp_path, chain(second__steps=9), remake=True)
    assert there(path) == ["first", "look"]
    assert [note.split(":")[0] for note in notes] == ["second", "third"]
    assert settle(tmp_path, chain(second__steps=9)) == []


def test_a_key_of_the_whole_recipe_invalidates_all(tmp_path):
    make(tmp_path, chain(), "first", "look")
    with pytest.raises(RecipeError, match=r"first \(.*seed: 0 -> 1\n  look"):
        settle(tmp_path, chain(seed=1))
    with pytest.raises(RecipeError, match=r"tasks.sums.weight: 1.0 -> 2.0"):
        settle(tmp_path, chain(tasks={"sums": {"family": "chain", "weight": 2.0}}))


@pytest.mark.parametrize(
    "change",
    [
        {"third__steps": 99},  # not begun
        {"first__save_every": 3, "first__tokens_per_microbatch": 64, "first__keep_last": 9},  # memory and checkpoints
        {"first__starve_limit": 99, "first__mismatch_limit": 0.5},  # they only stop a run
        {"hardware": {"threads": 1, "device": "cpu"}},
    ],
)
def test_a_change_that_does_no_harm_is_told_and_taken(tmp_path, change):
    path = make(tmp_path, chain(), "first", "look", "second")
    notes = settle(tmp_path, chain(**change))
    assert len(notes) == (len(change) if "hardware" not in change else 2)
    assert there(path) == ["first", "look", "second"]
    assert Run.open(path).recipe == chain(**change)
    assert len(Run.open(path).lineage["resumed"]) == 1


def test_a_new_stage_and_a_dropped_one_harm_nobody(tmp_path):
    path = make(tmp_path, chain(), "first", "look", "second")
    raw = chain().model_dump(mode="json")
    again = {"stage": "rl", "init": "first", "steps": 1}
    raw["stages"] = {key: raw["stages"][key] for key in ("first", "second")} | {"again": again}
    notes = settle(tmp_path, parse(raw, "x"))
    assert any("stages.again.steps" in note for note in notes)
    assert there(path) == ["first", "look", "second"]


def test_another_parent_is_a_changed_key(tmp_path):
    make(tmp_path, chain(), "first", "second", "third")
    with pytest.raises(RecipeError, match=r"stages.third.init: 'second' -> 'first'"):
        settle(tmp_path, chain(third__init="first"))


def test_files_count_by_their_content(tmp_path):
    source = tmp_path / "recipe.yaml"
    source.write_text("")
    template, reward = tmp_path / "short.txt", tmp_path / "mine.py"
    template.write_text("Q: {question} A:")
    reward.write_text("def early(rollout, problem): return 1.0")
    recipe = chain(template="short.txt", first__rewards={"mine.py:early": 1.0})
    with Run.create(tmp_path / "runs", recipe, source=source) as run:
        fabricate.checkpoint(fabricate.begin(run, "first"), b"w", 1)
        assert set(run.log("first").lineage["files"]) == {"short.txt", "mine.py"}
    reward.write_text("def early(rollout, problem): return 2.0")
    with pytest.raises(RecipeError, match=r"mine.py has another content"):
        settle(tmp_path / "runs", recipe)
    reward.unlink()  # what is not there any more has not changed: a finished stage does not need it
    assert settle(tmp_path / "runs", recipe) == []


# ----------------------------------------------------------------------------------------------- chosen stages, parents


def test_only_looks_at_the_stage_and_what_it_needs(tmp_path):
    path = make(tmp_path, chain(), "first", "look", "second", "third")
    changed = chain(second__steps=9)
    settle(tmp_path, changed, ["look"])  # second has changed, and look has nothing to do with it
    with pytest.raises(RecipeError, match=r"second .*6 -> 9[\s\S]*make the earlier stage again first"):
        settle(tmp_path, changed, ["third"], remake=True)
    settle(tmp_path, changed, ["second"], remake=True)
    assert there(path) == ["first", "look", "third"]
    with pytest.raises(RecipeError, match=r"third.*second, which it started from, is not there any more"):
        settle(tmp_path, changed)


def test_remake_of_named_stages_needs_no_change(tmp_path):
    path = make(tmp_path, chain(), "first", "look", "second", "third")
    notes = settle(tmp_path, chain(), ["second", "third", "after"], remake=True)
    assert there(path) == ["first", "look"]
    assert notes == ["second: to be made again (as asked)", "third: to be made again (as asked)"]


def test_a_stage_made_again_leaves_its_children_stale_unless_it_came_out_equal(tmp_path):
    path = make(tmp_path, chain(), "first", "second")
    for weights, equal in ((b"first", True), (b"other", False)):
        with Run.create(tmp_path, chain(), "resume") as run:
            run.forget("first")
            fabricate.checkpoint(fabricate.begin(run, "first"), weights, 1)
        if equal:
            assert settle(tmp_path, chain()) == []
        else:
            with pytest.raises(RecipeError, match=r"second.*first has been made again since"):
                settle(tmp_path, chain())
    assert there(path) == ["first", "second"]


def test_a_parent_that_is_not_there_is_refused_with_the_reason(tmp_path):
    path = make(tmp_path, chain(), "first")
    with Run.create(tmp_path, chain(), "resume") as run:
        with pytest.raises(RecipeError, match=r"stages.third.init is second, which has not been made.*--from second"):
            graph.begin(run, "third", MODEL)
        fabricate.begin(run, "second")
        with pytest.raises(RecipeError, match=r"second, which was begun and has not ended"):
            graph.begin(run, "third", MODEL)
        weights = path / "stages/first/final/model.safetensors"
        weights.write_bytes(b"tampered with")
        with pytest.raises(RecipeError, match=r"not what first left there.*stages.second.init needs it"):
            graph.begin(run, "second", MODEL)
        shutil.rmtree(weights.parent)
        with pytest.raises(RecipeError, match=r"gone.*--only first --remake"):
            graph.begin(run, "second", MODEL)


def test_a_stage_begun_from_another_model_does_not_go_on(tmp_path):
    make(tmp_path, chain())
    with Run.create(tmp_path, chain(), "resume") as run:
        fabricate.begin(run, "first")
        assert graph.begin(run, "first", MODEL)["parents"]["init"]["sha256"] == "0" * 64
        with pytest.raises(RecipeError, match=r"first was begun with other weights"):
            graph.begin(run, "first", {**MODEL, "sha256": "1" * 64})


def test_other_weights_under_the_same_path_invalidate_what_has_ended(tmp_path):
    """`first` starts from the model, `second` from `first`: the one is stale itself, the other by descent."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"old")
    recipe = chain(model=str(model))
    given = {"path": str(model), "sha256": fingerprint(model, "*.safetensors")}
    with Run.create(tmp_path, recipe) as run:
        for name in ("first", "second"):
            run.log(name).begin(graph.begin(run, name, given))
            fabricate.checkpoint(run.log(name), name.encode(), 1)
    assert graph.stale(recipe, run) == {}
    (model / "model.safetensors").write_bytes(b"new")
    assert graph.stale(recipe, run) == {"first": [f"{model} has other weights now"], "second": ["it starts from first"]}
    shutil.rmtree(model)  # gone: nobody can say, and a stage that needs it will
    assert graph.stale(recipe, run) == {}


# ------------------------------------------------------------------------------------------------------------ lineage


def test_all_code_that_has_worked_on_a_stage_is_on_record(tmp_path, monkeypatch):
    """Begun by one version, gone on with by another, which a third time changes nothing."""
    old, new = {"version": "1", "sha256": "a", "kernels": "k"}, {"version": "2", "sha256": "b", "kernels": "k"}
    with Run.create(tmp_path, chain()) as run:
        for current, told in ((old, [old]), (new, [old, new]), (new, [old, new])):
            monkeypatch.setattr(graph, "code", lambda current=current: current)
            assert fabricate.begin(run, "first").lineage["code"] == told


def test_the_lineage_of_an_artefact(tmp_path):
    path = make(tmp_path, chain(), "first", "second")
    first, second = (Run.open(path).log(name).lineage for name in ("first", "second"))
    assert second["parents"] == {"init": {"from": "first", "sha256": first["made"]["sha256"]}}
    assert second["recipe"]["seed"] == 0 and second["recipe"]["stages.second.steps"] == 6
    assert first["recipe"]["model"] == "bundled" and "model" not in second["recipe"]
    assert second["code"] == [graph.code()] and set(graph.code()) == {"version", "sha256", "kernels"}
    assert (first["made"]["tokens"], first["made"]["seconds"], first["made"]["artefact"]) == (12000, 4.0, "checkpoint")
    assert first["begun"] <= first["made"]["ended"]


def test_deleting_is_whole_or_not_at_all(tmp_path, monkeypatch):
    """Killed while a stage's files are being deleted: for whoever resumes the stage is not there."""
    path = make(tmp_path, chain(), "first", "second")

    def killed(*_, **__):
        raise KeyboardInterrupt

    with Run.create(tmp_path, chain(), "resume") as run, monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            run.forget("second")
    assert there(path) in (["first", "second"], [".gone-second", "first"])
    settle(tmp_path, chain())
    assert not list((path / "stages").glob(".gone*"))
