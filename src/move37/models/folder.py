"""Hugging Face model directories: read and written as they are, no format of our own.

The Llama / Qwen2 / Qwen3 family runs on the lean `Decoder`; everything else through transformers (`models.hf`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from move37.errors import ModelError
from move37.files import find_directory
from move37.models.decoder import Cache, Decoder, Shape
from move37.models.hf import HFModel
from move37.models.packed import Packed
from move37.models.scalar import ScalarDecoder, ScalarHF, is_scalar, says_scalar, scalar_config

REWARD = "reward"  # the key of a reward model's config.json that says how its numbers are to be read
FAMILIES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}


class Model(Protocol):
    """What sampler and learner need of a model; `Decoder` and `HFModel` have it."""

    @property
    def head(self) -> Tensor: ...

    def hidden(self, packed: Packed) -> Tensor: ...

    def prefill(self, tokens: Tensor, pad: Tensor) -> tuple[Tensor, Cache]: ...

    def decode(self, tokens: Tensor, cache: Cache) -> Tensor: ...


@dataclass(slots=True)
class Loaded:
    """A model with its tokenizer and the config it came with."""

    model: nn.Module  # Decoder or HFModel
    tokenizer: PreTrainedTokenizerFast
    config: dict[str, Any]

    @property
    def context(self) -> int:
        """The longest sequence the model takes, in tokens."""
        for key in ("max_position_embeddings", "n_positions", "max_sequence_length"):
            if key in self.config:
                return int(self.config[key])
        raise ModelError("config.json does not say how long a sequence may be (max_position_embeddings); add it")

    @property
    def scalar(self) -> bool:
        """Whether the model gives one number per position in place of words."""
        return is_scalar(self.model)

    @property
    def eos(self) -> frozenset[int]:
        """Every token that ends a response: the tokenizer's EOS and those of config.json."""
        more = self.config.get("eos_token_id")
        ids = {self.tokenizer.eos_token_id, *(more if isinstance(more, list) else [more])}
        return frozenset(i for i in ids if i is not None)


def bundled() -> Path:
    """The directory of the base model that ships with the package."""
    return Path(str(resources.files("move37") / "assets" / "base"))


def resolve(name: str, base: Path) -> Path:
    """`bundled`, or a directory relative to the recipe file or to the working directory.

    Raises:
        ModelError: there is no such directory, or it lacks a file.
    """
    path = bundled() if name == "bundled" else find_directory(name, base)
    if not path.is_dir():
        raise ModelError(f"model {name!r}: no such directory ({path}); give a Hugging Face model directory or `bundled`")
    for wanted, what in (("config.json", "a model configuration"), ("tokenizer_config.json", "a tokenizer")):
        if not (path / wanted).is_file():
            raise ModelError(
                f"model {path}: {wanted} is missing, so it has no {what.removeprefix('a ')}; save one there with save_pretrained"
            )
    if not list(path.glob("*.safetensors")):
        partial = [p.name for p in path.iterdir() if p.suffix in {".incomplete", ".tmp", ".part"}]
        hint = f"; {partial[0]} looks like an interrupted download" if partial else ""
        raise ModelError(f"model {path}: no *.safetensors weights{hint}")
    _check_shards(path)
    return path


def _check_shards(path: Path) -> None:
    """Every shard that the index of a large model names must be there."""
    index = path / "model.safetensors.index.json"
    if not index.is_file():
        return
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, AttributeError, TypeError) as problem:
        raise ModelError(f"model {path}: {index.name} is torn ({problem}); fetch it again") from None
    missing = sorted(name for name in shards if not (path / name).is_file())
    if missing:
        told = f"{len(missing)} of {len(shards)} weight files missing, {missing[0]} first"
        raise ModelError(f"model {path}: {told}; an interrupted download?")


def load(path: Path, dtype: torch.dtype, device: torch.device, scalar: bool = False) -> Loaded:
    """Read a model directory.

    Args:
        scalar: a model that gives numbers (`models.scalar`) is wanted. A language model becomes one, its `score` all zeros.

    Raises:
        ModelError: a file is torn, weights and configuration do not fit each other, or words are wanted of a reward model.
    """
    config, shape = read_config(path)
    scored = says_scalar(config)
    if scored and not scalar:
        raise ModelError(f"model {path}: a reward model gives numbers and writes no text; name the directory of a language model")
    tokenizer = load_tokenizer(path)
    try:
        if shape is None:
            model = (ScalarHF if scalar else HFModel).load(path, dtype)
        else:
            model = _load_decoder(path, ScalarDecoder(shape) if scalar else Decoder(shape), scored)
        if scalar and not scored:
            model.head.data.zero_()
            config = scalar_config(config, tokenizer)
    except (SafetensorError, KeyError, RuntimeError, OSError) as problem:
        raise ModelError(f"model {path}: the weights do not load ({problem}); an interrupted copy? fetch them again") from None
    return Loaded(model.to(device=device, dtype=dtype), tokenizer, config)


def read_config(path: Path) -> tuple[dict[str, Any], Shape | None]:
    """`config.json`, and the shape of a lean decoder where it fits one. Raises ModelError where it is torn or lacks a key."""
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        return config, read_shape(config)
    except (OSError, ValueError, AttributeError) as problem:
        raise ModelError(f"model {path}: config.json does not read ({problem}); fetch it again") from None
    except KeyError as problem:
        raise ModelError(f"model {path}: config.json has no {problem}") from None


def tokens(path: Path) -> tuple[PreTrainedTokenizerFast, int]:
    """The tokenizer of a model directory and the width of its logits: what a model that shares them is made with.

    Raises:
        ModelError: a file is torn, or the tokenizer has no EOS or pad token.
    """
    (config, _), tokenizer = read_config(path), load_tokenizer(path)
    for token, told in ((tokenizer.eos_token_id, "EOS"), (tokenizer.pad_token_id, "pad")):
        if token is None:
            raise ModelError(f"model {path}: its tokenizer has no {told} token, which a new model needs; set one and save it")
    if "vocab_size" not in config:
        raise ModelError(f"model {path}: config.json has no 'vocab_size'")
    return tokenizer, int(config["vocab_size"])


def load_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a model directory. Raises ModelError where it is torn."""
    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True)
    except Exception as problem:  # the tokenizers library raises plain Exception for a torn file
        raise ModelError(f"model {path}: the tokenizer does not load ({problem}); fetch its files again") from None


def read_shape(config: dict[str, Any]) -> Shape | None:
    """The lean decoder's shape, or None where the model computes something it does not."""
    family = config.get("model_type", "")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    plain = rope.get("rope_type", rope.get("type", "default")) == "default" and rope.get("partial_rotary_factor", 1.0) == 1.0
    windowed = config.get("use_sliding_window", False) or "sliding_attention" in (config.get("layer_types") or [])
    odd = config.get("mlp_bias") or (family != "qwen2" and config.get("attention_bias")) or config.get("quantization_config")
    if family not in FAMILIES or not plain or windowed or odd or config.get("hidden_act", "silu") != "silu":
        return None
    heads = config["num_attention_heads"]
    return Shape(
        family=family,
        vocabulary=config["vocab_size"],
        hidden=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_width=config.get("head_dim") or config["hidden_size"] // heads,
        ffn=config["intermediate_size"],
        context=config["max_position_embeddings"],
        rope_theta=float(rope.get("rope_theta") or config.get("rope_theta", 10000.0)),
        norm_eps=config["rms_norm_eps"],
        tied=config.get("tie_word_embeddings", False),
        qkv_bias=family == "qwen2",
        qk_norm=family == "qwen3",
    )


def new_config(shape: Shape, eos: int, pad: int) -> dict[str, Any]:
    """`config.json` of a fresh Llama-shaped model."""
    assert shape.family == "llama" and not shape.qkv_bias and not shape.qk_norm
    return {
        "architectures": [FAMILIES["llama"]],
        "model_type": "llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_width,
        "intermediate_size": shape.ffn,
        "max_position_embeddings": shape.context,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "rms_norm_eps": shape.norm_eps,
        "hidden_act": "silu",
        "tie_word_embeddings": shape.tied,
        "attention_bias": False,
        "bos_token_id": None,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "dtype": "float32",
    }


def fingerprint(path: Path) -> str:
    """sha256 over the weights of a model directory, file by file in order of name."""
    digest = hashlib.sha256()
    for shard in sorted(path.glob("*.safetensors")):
        with shard.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def save(loaded: Loaded, path: Path) -> None:
    """Write a directory that `AutoModelForCausalLM` (or `...ForSequenceClassification`) and `AutoTokenizer` load.

    The caller makes it atomic.
    """
    path.mkdir(parents=True, exist_ok=True)
    if isinstance(loaded.model, HFModel):
        loaded.model.net.save_pretrained(path)
        if loaded.scalar:
            ours = ("pad_token_id", "id2label", "label2id", REWARD)
            _amend(path / "config.json", {key: loaded.config[key] for key in ours if key in loaded.config})
    else:
        save_file(export_weights(loaded.model), path / "model.safetensors", metadata={"format": "pt"})
        dtype = str(loaded.model.embedding.weight.dtype).removeprefix("torch.")
        (path / "config.json").write_text(json.dumps({**loaded.config, "dtype": dtype}, indent=2) + "\n", encoding="utf-8")
    loaded.tokenizer.save_pretrained(path)


def _amend(path: Path, changes: dict[str, Any]) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, **changes}, indent=2) + "\n", encoding="utf-8")


# ------------------------------------------------------------------------------------------- names of the weights


def _names(model: Decoder) -> list[tuple[str, list[tuple[str, int]]]]:
    """Our fused parameter -> the Hugging Face tensors it stacks, with their rows (0: all of it)."""
    shape = model.shape
    q, kv = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    pairs: list[tuple[str, list[tuple[str, int]]]] = [
        ("embedding.weight", [("model.embed_tokens.weight", 0)]),
        ("norm.weight", [("model.norm.weight", 0)]),
    ]
    if is_scalar(model):
        pairs.append(("score.weight", [("score.weight", 0)]))
    if not shape.tied:
        pairs.append(("lm_head.weight", [("lm_head.weight", 0)]))
    for i in range(shape.layers):
        ours, theirs = f"blocks.{i}", f"model.layers.{i}"
        for suffix in ("weight", "bias") if shape.qkv_bias else ("weight",):
            rows = (("q_proj", q), ("k_proj", kv), ("v_proj", kv))
            pairs.append((f"{ours}.qkv.{suffix}", [(f"{theirs}.self_attn.{n}.{suffix}", r) for n, r in rows]))
        gate_up = [(f"{theirs}.mlp.{n}.weight", shape.ffn) for n in ("gate_proj", "up_proj")]
        pairs += [
            (f"{ours}.attention_norm.weight", [(f"{theirs}.input_layernorm.weight", 0)]),
            (f"{ours}.out.weight", [(f"{theirs}.self_attn.o_proj.weight", 0)]),
            (f"{ours}.mlp_norm.weight", [(f"{theirs}.post_attention_layernorm.weight", 0)]),
            (f"{ours}.gate_up.weight", gate_up),
            (f"{ours}.down.weight", [(f"{theirs}.mlp.down_proj.weight", 0)]),
        ]
        if shape.qk_norm:
            pairs += [(f"{ours}.{n}.weight", [(f"{theirs}.self_attn.{n}.weight", 0)]) for n in ("q_norm", "k_norm")]
    return pairs


def export_weights(model: Decoder) -> dict[str, Tensor]:
    """The weights under their Hugging Face names."""
    own = model.state_dict()
    weights: dict[str, Tensor] = {}
    for name, parts in _names(model):
        rows = [r or len(own[name]) for _, r in parts]
        for (theirs, _), tensor in zip(parts, own[name].detach().cpu().split(rows), strict=True):
            weights[theirs] = tensor.contiguous()
    return weights


def _load_decoder(path: Path, model: Decoder, scored: bool) -> Decoder:
    """Fill `model` from the files; `scored`: they hold a `score`, where the model has one."""
    files: dict[str, Tensor] = {}
    for shard in sorted(path.glob("*.safetensors")):
        try:
            files.update(load_file(shard))
        except SafetensorError as problem:
            raise ModelError(f"model {path}: {shard.name} is torn ({problem}); fetch it again") from None
    if is_scalar(model) and not scored:
        files["score.weight"] = torch.zeros_like(model.head)
    names = _names(model)
    known = {theirs for _, parts in names for theirs, _ in parts}
    over = [n for n in sorted(files) if n.startswith("model.layers.") and n not in known and "rotary" not in n]
    if over:
        raise ModelError(f"model {path}: the weights have {over[0]}, of which config.json knows nothing")
    model.load_state_dict({name: torch.cat([files[theirs] for theirs, _ in parts]) for name, parts in names})
    return model
