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
from move37.graph import begin
from move37.models import folder
from move37.models.merge import check, headers, merge
from move37.recipe import parse
from move37.runs import StageLog
from move37.sections import Merge
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
        ({"other": "shrt"}, "other='shrt' is no earlier training stage.*'short'"),
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
