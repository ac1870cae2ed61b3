"""Averages of two checkpoints, and everything that can not be averaged, told from headers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import tiny
from move37.errors import ModelError, RecipeError
from move37.graph import begin, stale
from move37.models import folder
from move37.models.merge import check, headers, merge
from move37.recipe import parse
from move37.runs import Run, StageLog
from move37.sections import Merge
from move37.stages import check_data
from move37.stages.merge import Merging


def two(path: Path) -> tuple[Path, Path]:
    """Lean models of one shape and of other weights."""
    for name, seed in (("one", 0), ("two", 1)):
        folder.save(tiny.loaded(seed=seed), path / name)
    return path / "one", path / "two"


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "model.safetensors")


def rewrite(path: Path, **changes: torch.Tensor | None) -> None:
    """Change or drop tensors of a directory; the names with _ for the dots."""
    found = weights(path)
    for name in list(found):
        key = name.replace(".", "_")
        if key in changes:
            found.pop(name)
            if changes[key] is not None:
                found[name] = changes[key]
    save_file(found, path / "model.safetensors", metadata={"format": "pt"})


def edit(path: Path, **changes: object) -> None:
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_every_tensor_is_the_average(tmp_path: Path, share: float) -> None:
    one, other = two(tmp_path)
    (tmp_path / "made").mkdir()
    check(one, other)
    found = merge(one, other, share, tmp_path / "made")
    a, b, mixed = weights(one), weights(other), weights(tmp_path / "made")
    assert a.keys() == mixed.keys() and found.tensors == len(a)
    for name in a:
        torch.testing.assert_close(mixed[name], (1 - share) * a[name] + share * b[name])
    gap = sum(((b[n] - a[n]).double() ** 2).sum() for n in a) ** 0.5
    assert found.distance == pytest.approx(float(gap / sum((t.double() ** 2).sum() for t in a.values()) ** 0.5))
    assert found.numbers == sum(t.numel() for t in a.values())
    made = folder.load(tmp_path / "made", torch.float32, torch.device("cpu"))
    assert made.tokenizer.get_vocab() == tiny.tokenizer().get_vocab()
    assert made.eos == tiny.loaded().eos


def test_numbers_by_hand_of_what_is_stored_in_bfloat16(tmp_path: Path) -> None:
    """1 and 1.0078125 are neighbours in bfloat16; their mean, 1.00390625, is none and must not be rounded to one."""
    one, other = two(tmp_path)
    (tmp_path / "made").mkdir()
    for path, value in ((one, 1.0), (other, 1.0078125)):
        low = {name: tensor.to(torch.bfloat16) for name, tensor in weights(path).items()}
        low["model.norm.weight"] = torch.full_like(low["model.norm.weight"], value)
        save_file(low, path / "model.safetensors", metadata={"format": "pt"})
        edit(path / "config.json", dtype="bfloat16")
    check(one, other)
    merge(one, other, 0.5, tmp_path / "made")
    norm = weights(tmp_path / "made")["model.norm.weight"]
    assert norm.dtype is torch.float32 and set(norm.tolist()) == {1.00390625}
    assert json.loads((tmp_path / "made" / "config.json").read_text())["dtype"] == "float32"


@pytest.mark.parametrize("kind", ["qwen3", "gpt2"])
def test_what_transformers_wrote_with_tied_embeddings(tmp_path: Path, kind: str) -> None:
    """Averaged once, not twice; also where one file names the output layer beside the embedding."""
    torch.manual_seed(0)
    one = tiny.save(tmp_path / "one", kind, tie_word_embeddings=True)
    other = tiny.save(tmp_path / "two", kind, tie_word_embeddings=True)
    named = "transformer.wte.weight" if kind == "gpt2" else "model.embed_tokens.weight"
    found = {name: 2 * tensor for name, tensor in weights(other).items()}
    save_file({**found, "lm_head.weight": found[named].clone()}, other / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "made").mkdir()
    check(one, other)
    merge(one, other, 0.5, tmp_path / "made")
    made = AutoModelForCausalLM.from_pretrained(tmp_path / "made")
    wanted = (weights(one)[named] + found[named]) / 2
    torch.testing.assert_close(made.get_input_embeddings().weight.detach(), wanted)
    torch.testing.assert_close(made.get_output_embeddings().weight.detach(), wanted)


def test_integers_must_agree(tmp_path: Path) -> None:
    one, other = two(tmp_path)
    (tmp_path / "made").mkdir()
    for path, value in ((one, 3), (other, 3)):
        save_file({**weights(path), "steps": torch.tensor([value])}, path / "model.safetensors", metadata={"format": "pt"})
    merge(one, other, 0.5, tmp_path / "made")
    assert weights(tmp_path / "made")["steps"].tolist() == [3]
    save_file({**weights(other), "steps": torch.tensor([4])}, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="steps holds integers that differ"):
        merge(one, other, 0.5, tmp_path / "made")


# ------------------------------------------------------------------------------------------------- what does not fit


def test_another_size_is_told_by_tensor(tmp_path: Path) -> None:
    one, other = two(tmp_path)
    rewrite(other, model_norm_weight=torch.ones(48))
    with pytest.raises(ModelError) as told:
        check(one, other)
    assert all(part in str(told.value) for part in ("model.norm.weight", "[32]", "[48]", str(one), str(other)))


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    one, other = two(tmp_path)
    rewrite(other, model_norm_weight=None)
    with pytest.raises(ModelError, match=f"{one} has the tensor model.norm.weight, {other} has none"):
        check(one, other)


@pytest.mark.parametrize(
    ("key", "value"), [("rms_norm_eps", 1e-3), ("num_attention_heads", 8), ("rope_parameters", {"rope_theta": 5.0})]
)
def test_equal_tensors_of_another_computation(tmp_path: Path, key: str, value: object) -> None:
    one, other = two(tmp_path)
    edit(other / "config.json", **{key: value})
    with pytest.raises(ModelError, match=f"config.json says {key}="):
        check(one, other)


def test_keys_that_compute_nothing_may_differ(tmp_path: Path) -> None:
    one, other = two(tmp_path)
    edit(other / "config.json", transformers_version="0", use_cache=False, torch_dtype="float16", eos_token_id=3)
    check(one, other)


def test_what_a_configuration_leaves_out_is_the_default(tmp_path: Path) -> None:
    """Of two programs one writes every key and one writes few."""
    one, other = (tiny.save(tmp_path / name, "qwen3") for name in ("one", "two"))
    config = json.loads((other / "config.json").read_text())
    for key in ("attention_dropout", "initializer_range", "rope_parameters"):
        del config[key]
    (other / "config.json").write_text(json.dumps(config))
    check(one, other)
    edit(other / "config.json", rope_parameters={"rope_theta": 5.0, "rope_type": "default"})
    with pytest.raises(ModelError, match=r"config.json says rope_parameters="):
        check(one, other)


def test_another_architecture_is_told_first(tmp_path: Path) -> None:
    one, other = (tiny.save(tmp_path / kind, kind) for kind in ("qwen3", "gpt2"))
    with pytest.raises(ModelError, match=r"config.json says model_type=.qwen3. in .* and .gpt2. in"):
        check(one, other)


def test_a_tokenizer_in_an_older_writing_is_the_same(tmp_path: Path) -> None:
    """Merges were once written with a space between their halves."""
    one, other = two(tmp_path)
    path = other / "tokenizer.json"
    found = json.loads(path.read_text())
    found["model"]["merges"] = [" ".join(pair) for pair in found["model"]["merges"]]
    path.write_text(json.dumps(found))
    check(one, other)
    found["model"]["merges"] = found["model"]["merges"][1:] + found["model"]["merges"][:1]
    path.write_text(json.dumps(found))
    with pytest.raises(ModelError, match=r"the model of tokenizer.json differs"):
        check(one, other)


def test_another_tokenizer_is_told_by_token(tmp_path: Path) -> None:
    one, other = two(tmp_path)
    path = other / "tokenizer.json"
    found = json.loads(path.read_text())
    vocabulary = found["model"]["vocab"]
    first, second = sorted(vocabulary, key=vocabulary.get)[100:102]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    path.write_text(json.dumps(found))
    with pytest.raises(ModelError) as told:
        check(one, other)
    assert repr(first) in str(told.value) and "100" in str(told.value) and "101" in str(told.value)
    del vocabulary[second]
    path.write_text(json.dumps(found))
    with pytest.raises(ModelError, match=r"300 tokens in .* and 299 in"):
        check(one, other)


def test_torn_weights_are_named(tmp_path: Path) -> None:
    one, _ = two(tmp_path)
    (one / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match=r"model.safetensors is torn"):
        headers(one)
    (one / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no .*safetensors"):
        headers(one)


# -------------------------------------------------------------------------------------------------------- the stage


def stages(**section: object) -> dict:
    sft = {"stage": "sft", "data": "d.jsonl", "steps": 1, "examples_per_step": 2, "held_out": 0.0}
    return {"long": sft, "short": {**sft, "init": "long"}, "middle": {"stage": "merge", "init": "long", **section}}


def test_a_stage_makes_a_checkpoint_with_a_lineage(tmp_path: Path) -> None:
    folder.save(tiny.loaded(), tmp_path / "model")
    (tmp_path / "short.txt").write_text(tiny.SHORT)
    (tmp_path / "d.jsonl").write_text("".join(json.dumps({"prompt": str(i), "response": f"{i}!"}) + "\n" for i in range(4)))
    recipe = tiny.recipe(stages(other="short", share=0.25), model="model", template="short.txt")
    made = tiny.run(tmp_path, recipe)
    a, b, mixed = (weights(made.stage(name) / "final") for name in ("long", "short", "middle"))
    for name in a:
        torch.testing.assert_close(mixed[name], 0.75 * a[name] + 0.25 * b[name])
    log = StageLog(made.stage("middle"), writing=False)
    parents = log.lineage["parents"]
    assert {key: parents[key]["from"] for key in parents} == {"init": "long", "other": "short"}
    assert log.done["artefact"] == "checkpoint" and log.done["distance"] > 0
    assert "template" not in log.lineage["recipe"]  # it reads weights, no problems
    assert begin(made, "middle", {})["parents"] == parents


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"other": "long"}, "init and other are both 'long'"),
        ({"other": "shrt"}, "other='shrt' is no earlier training stage.*'short'.*a directory is named with a slash"),
        ({}, "other is missing"),
        ({"other": "short", "share": 0}, "share.*greater than 0"),
        ({"other": "short", "share": 1.0}, "share.*less than 1"),
    ],
)
def test_wrong_sections_are_refused(section: dict, told: str) -> None:
    raw = {"name": "x", "model": "bundled", "template": "r1_zero", "stages": stages(**section)}
    with pytest.raises(RecipeError, match=told):
        parse(raw, "test")


PRETRAIN = {
    "stage": "pretrain",
    "steps": 1,
    "documents": {"direct": 1.0},
    "template_documents": {"direct": 1.0},
}


@pytest.mark.parametrize(
    ("change", "told"),
    [({"hidden": 64}, "hidden is 128 in stages.wide and 64 in stages.narrow"), ({"vocabulary": 512}, "vocabulary is 1024")],
)
def test_models_that_a_recipe_makes_in_unlike_shapes_are_refused_when_it_is_read(change: dict, told: str) -> None:
    """Also where a stage lies between; in one shape they pass."""
    sft = {"stage": "sft", "data": "d.jsonl", "steps": 1}
    made = {"wide": PRETRAIN, "narrow": {**PRETRAIN, **change}, "short": {**sft, "init": "narrow"}}
    merge = {"stage": "merge", "init": "wide", "other": "short"}
    with pytest.raises(RecipeError, match=f"stages.middle merges 'wide' and 'short': {told}"):
        tiny.recipe({**made, "middle": merge})
    tiny.recipe({**made, "narrow": PRETRAIN, "middle": merge})


def test_unlike_checkpoints_are_refused_before_a_weight_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = two(tmp_path)
    rewrite(other, model_norm_weight=torch.ones(48))
    monkeypatch.setattr("move37.models.merge._Weights.tensor", lambda *_: pytest.fail("a weight was read"))
    monkeypatch.setattr("move37.models.folder.load", lambda *_, **__: pytest.fail("a model was loaded"))
    log = SimpleNamespace(log=lambda name: None)
    context = SimpleNamespace(run=log, source=lambda section: one, directory=lambda name: other)
    with pytest.raises(ModelError, match=r"model.norm.weight is \[32\]"):
        Merging(context, "middle", Merge(stage="merge", init="long", other="short"))


# ------------------------------------------------------------------------------------------- directories, and early looks


def between(**inputs: str) -> dict:
    return {"middle": {"stage": "merge", **inputs}}


def test_two_directories_are_merged_and_another_content_makes_the_stage_again(tmp_path: Path) -> None:
    one, other = two(tmp_path)
    recipe = tiny.recipe(between(init="./one", other="two/"))
    assert check_data(recipe, tmp_path, ["middle"]) == [f"stages.middle: {one} and {other} fit each other"]
    made = tiny.run(tmp_path, recipe)
    a, b, mixed = (weights(path) for path in (one, other, made.stage("middle") / "final"))
    for name in a:
        torch.testing.assert_close(mixed[name], 0.5 * a[name] + 0.5 * b[name])
    assert sorted(StageLog(made.stage("middle"), writing=False).lineage["files"]) == ["./one", "two/"]
    with Run.create(tmp_path / "runs", recipe, "resume", source=tmp_path / "tiny.yaml") as again:
        assert stale(recipe, again) == {}
        rewrite(other, model_norm_weight=torch.ones(32))
        assert stale(recipe, again) == {"middle": ["two/ has another content"]}


def test_a_directory_is_found_from_where_one_works_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its content counts from there too."""
    two(tmp_path / "here")
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    recipe = tiny.recipe(between(init="./one", other="./two"))
    made = tiny.run(tmp_path / "there", recipe)
    assert sorted(StageLog(made.stage("middle"), writing=False).lineage["files"]) == ["./one", "./two"]


RL = {"stage": "rl", "steps": 1}


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        (between(init="./one", other="./two"), "stages.middle: merge: config.json says hidden_act='silu' in .*one and 'gelu'"),
        ({"long": RL, **between(init="long", other="./two")}, r"stages.middle \(long descends from model\): .* hidden_act="),
        ({"mix": between(init="./one", other="./three")["middle"], **between(init="mix", other="./two")}, "hidden_act="),
        (between(init="./one", other="one/"), "both are .*one; the average of a model with itself"),
        (between(init="./one", other="./none"), "stages.middle: model './none': no such directory"),
    ],
)
def test_what_can_be_known_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stages: dict, told: str
) -> None:
    _, other = two(tmp_path)
    for name in ("three", "model"):
        folder.save(tiny.loaded(seed=2), tmp_path / name)
    edit(other / "config.json", hidden_act="gelu")
    (tmp_path / "short.txt").write_text(tiny.SHORT)
    monkeypatch.setattr("move37.models.folder.load", lambda *_, **__: pytest.fail("a model was loaded"))
    recipe = tiny.recipe(stages, model="model", template="short.txt")
    with pytest.raises(ModelError, match=told):
        check_data(recipe, tmp_path, list(stages))
    with pytest.raises(ModelError, match=told):
        tiny.run(tmp_path, recipe)
    assert not list((tmp_path / "runs").rglob("metrics.jsonl"))


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ({"hidden": 64}, "hidden is 64 in stages.wide and 32 in .*one; set them alike"),
        ({"vocabulary": 512}, "vocabulary is 512 in stages.wide and 300 in"),
        ({"vocabulary": "model", "layers": 3}, "layers is 3 in stages.wide and 2 in"),
    ],
)
def test_the_shape_of_a_model_to_be_made_is_held_against_a_directory(tmp_path: Path, made: dict, told: str) -> None:
    """Also where a stage trains it further; in one shape they pass."""
    folder.save(tiny.loaded(), tmp_path / "one")
    sft = {"stage": "sft", "data": "d.jsonl", "steps": 1, "init": "wide"}
    for other in ("./one", "model"):
        stages = {"wide": {**tiny.PRETRAIN, **made}, "short": sft, **between(init="wide", other=other)}
        with pytest.raises(ModelError, match=f"stages.middle: merge: {told}"):
            check_data(tiny.recipe(stages, model="one"), tmp_path, ["middle"])
        stages["middle"] = {"stage": "merge", "init": other, "other": "short"}
        with pytest.raises(ModelError, match=rf"stages.middle \(short descends from wide\): merge: {told}"):
            check_data(tiny.recipe(stages, model="one"), tmp_path, ["middle"])
        for size in (300, "model"):
            stages["wide"] = {**tiny.PRETRAIN, "vocabulary": size}
            assert check_data(tiny.recipe(stages, model="one"), tmp_path, ["middle"]) == []


def test_a_shared_tokenizer_must_be_that_of_the_directory(tmp_path: Path) -> None:
    """A `pretrain` stage with the tokenizer of `model`, against a directory that has another."""
    one, other = two(tmp_path)
    found = json.loads((other / "tokenizer.json").read_text())
    found["pre_tokenizer"] = {"type": "Whitespace"}
    (other / "tokenizer.json").write_text(json.dumps(found))
    stages = {"wide": {**tiny.PRETRAIN, "vocabulary": "model"}, **between(init="wide", other="./two")}
    with pytest.raises(ModelError, match=f"the pre_tokenizer of tokenizer.json differs between {one} and {other}"):
        check_data(tiny.recipe(stages, model="one"), tmp_path, ["middle"])


def test_another_architecture_than_a_model_to_be_made(tmp_path: Path) -> None:
    tiny.save(tmp_path / "one", "gpt2")
    stages = {"wide": tiny.PRETRAIN, **between(init="wide", other="./one")}
    with pytest.raises(ModelError, match=r"stages.wide makes a plain llama, .*one is of another kind \(gpt2\)"):
        check_data(tiny.recipe(stages), tmp_path, ["middle"])
