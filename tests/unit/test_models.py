"""Model directories: the lean decoder computes what transformers computes, and what it writes transformers loads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import tiny
from move37.errors import ModelError
from move37.models import folder
from move37.models.decoder import Decoder
from move37.models.hf import HFModel
from move37.models.packed import pack

Directory = Callable[..., Path]

TOKENS = torch.arange(3, 43)
LEAN = [
    ("llama", {"tie_word_embeddings": True}),
    ("llama", {"tie_word_embeddings": False}),
    ("llama", {"head_dim": 16, "num_key_value_heads": 1}),  # heads * head_dim is not hidden_size; one key/value head
    ("qwen2", {"tie_word_embeddings": True}),
    ("qwen2", {"tie_word_embeddings": False}),
    ("qwen3", {"tie_word_embeddings": True}),
    ("qwen3", {"tie_word_embeddings": False, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
]
# What the lean decoder does not compute goes through transformers.
OTHERS = [
    ("gpt2", {}),
    ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10_000.0}}),
    ("llama", {"attention_bias": True}),
    ("llama", {"mlp_bias": True}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}),
]


def load(path: Path) -> folder.Loaded:
    return folder.load(path, torch.float32, tiny.CPU)


def logits(model: Decoder | HFModel) -> torch.Tensor:
    with torch.no_grad():
        return model.hidden(pack([], [TOKENS.numpy()], [-1])) @ model.head.T


def reference(path: Path) -> torch.Tensor:
    net = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    with torch.no_grad():
        return net(input_ids=TOKENS[None]).logits[0]


@pytest.mark.parametrize(("kind", "changes"), LEAN, ids=str)
def test_the_lean_decoder_gives_the_logits_of_transformers(directory: Directory, kind: str, changes: dict) -> None:
    path = directory(kind, **changes)
    model = load(path).model
    assert isinstance(model, Decoder)
    expected = reference(path)
    assert expected.std() > 0.5  # far from uniform, so that an error would show
    torch.testing.assert_close(logits(model), expected, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize(("kind", "changes"), OTHERS, ids=str)
def test_what_the_lean_decoder_does_not_compute_goes_through_transformers(
    directory: Directory, kind: str, changes: dict
) -> None:
    path = directory(kind, **changes)
    loaded = load(path)
    model = loaded.model
    assert isinstance(model, HFModel)
    torch.testing.assert_close(logits(model), reference(path), atol=5e-5, rtol=1e-4)
    assert loaded.context == tiny.CONTEXT


@pytest.mark.parametrize(("kind", "changes"), [*LEAN[:4], LEAN[6], OTHERS[0]], ids=str)
def test_what_is_saved_loads_in_transformers_with_equal_logits(
    directory: Directory, tmp_path: Path, kind: str, changes: dict
) -> None:
    path = directory(kind, **changes)
    before = load(path)
    folder.save(before, tmp_path / "out")
    assert torch.equal(reference(tmp_path / "out"), reference(path))
    text = "What is 12+7? 12加7等于多少? <think>19</think>"
    assert AutoTokenizer.from_pretrained(tmp_path / "out").encode(text) == before.tokenizer.encode(text)
    again = load(tmp_path / "out")
    assert again.tokenizer.chat_template == before.tokenizer.chat_template
    for (name, one), two in zip(before.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(one, two), name


def test_a_fresh_model_of_ours_loads_in_transformers(tmp_path: Path) -> None:
    made = tiny.loaded()
    folder.save(made, tmp_path)
    torch.testing.assert_close(logits(made.model), reference(tmp_path), atol=5e-5, rtol=1e-4)
    assert AutoTokenizer.from_pretrained(tmp_path).decode(made.tokenizer.encode("7*8=56 对")) == "7*8=56 对"


def test_the_dtype_on_disk_is_the_one_of_the_weights(tmp_path: Path) -> None:
    made = tiny.loaded()
    made.model.to(torch.bfloat16)
    folder.save(made, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    assert AutoModelForCausalLM.from_pretrained(tmp_path).dtype is torch.bfloat16


def test_shapes_of_configurations_as_they_are_published() -> None:
    """The way older transformers wrote them: rope_theta at the top, rope_scaling null."""
    qwen = {
        "model_type": "qwen2",
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_attention_heads": 12,
        "num_hidden_layers": 28,
        "num_key_value_heads": 2,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "rope_scaling": None,
        "sliding_window": 131072,
        "use_sliding_window": False,
        "tie_word_embeddings": True,
        "vocab_size": 151936,
        "hidden_act": "silu",
    }
    shape = folder.read_shape(qwen)
    assert shape is not None
    assert (shape.head_width, shape.rope_theta, shape.qkv_bias, shape.tied) == (128, 1e6, True, True)
    assert folder.read_shape({**qwen, "rope_scaling": {"type": "yarn", "factor": 4.0}}) is None
    assert folder.read_shape({**qwen, "model_type": "mistral"}) is None
    assert folder.read_shape({**qwen, "hidden_act": "gelu"}) is None


# --------------------------------------------------------------------------------------------------- what is broken


@pytest.fixture
def copied(directory: Directory, tmp_path: Path) -> Path:
    """A model directory that may be broken."""
    return Path(shutil.copytree(directory("llama", tie_word_embeddings=True), tmp_path / "model"))


def edit(path: Path, **changes: object) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, **changes}))


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'qwen-7b'.*no such directory"):
        folder.resolve("qwen-7b", tmp_path)


def test_a_path_is_relative_to_the_recipe(copied: Path) -> None:
    assert folder.resolve("model", copied.parent) == copied


@pytest.mark.parametrize("missing", ["config.json", "tokenizer_config.json"])
def test_a_directory_without_configuration_or_tokenizer(copied: Path, missing: str) -> None:
    (copied / missing).unlink()
    with pytest.raises(ModelError, match=missing):
        folder.resolve(str(copied), copied.parent)


def test_a_tokenizer_without_its_words(copied: Path) -> None:
    (copied / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="tokenizer does not load"):
        load(copied)


def test_a_directory_without_weights(copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no \*\.safetensors weights"):
        folder.resolve(str(copied), copied.parent)


def test_an_interrupted_download(copied: Path) -> None:
    (copied / "model.safetensors").rename(copied / "model.safetensors.incomplete")
    with pytest.raises(ModelError, match=r"model\.safetensors\.incomplete looks like an interrupted download"):
        folder.resolve(str(copied), copied.parent)


def test_a_shard_that_is_missing(copied: Path) -> None:
    weights = folder.load_file(copied / "model.safetensors")
    (copied / "model.safetensors").rename(copied / "model-00001-of-00002.safetensors")
    shards = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(weights)}
    (copied / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(ModelError, match=r"missing, model-00002-of-00002\.safetensors"):
        folder.resolve(str(copied), copied.parent)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_torn_file(copied: Path, name: str, kept: float) -> None:
    whole = (copied / name).read_bytes()
    (copied / name).write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(ModelError) as caught:
        load(copied)
    assert str(copied) in str(caught.value)
    assert name in str(caught.value) or name != "model.safetensors"


def test_torn_weights_of_a_model_that_goes_through_transformers(directory: Directory, tmp_path: Path) -> None:
    path = Path(shutil.copytree(directory("gpt2"), tmp_path / "model"))
    whole = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="weights do not load"):
        load(path)


def test_weights_and_configuration_that_do_not_fit(copied: Path) -> None:
    edit(copied, intermediate_size=96)
    with pytest.raises(ModelError, match="gate_up"):
        load(copied)


def test_weights_that_lack_a_layer(copied: Path) -> None:
    edit(copied, num_hidden_layers=3)
    with pytest.raises(ModelError, match=r"model\.layers\.2"):
        load(copied)


def test_weights_of_a_layer_too_many(copied: Path) -> None:
    edit(copied, num_hidden_layers=1)
    with pytest.raises(ModelError, match=r"model\.layers\.1"):
        load(copied)


def test_a_configuration_without_a_size(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    del config["hidden_size"]
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="hidden_size"):
        load(copied)


def test_a_model_whose_logits_are_not_head_times_hidden(directory: Directory, tmp_path: Path) -> None:
    """Cohere scales its logits: the learner would compute other log-probs than the model, so it is refused."""
    from transformers import AutoModelForCausalLM, CohereConfig

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    config = CohereConfig(vocab_size=tiny.VOCABULARY, logit_scale=0.0625, pad_token_id=1, **sizes)
    tiny.spread(AutoModelForCausalLM.from_config(config)).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="not its output matrix times its hidden state"):
        load(tmp_path)
