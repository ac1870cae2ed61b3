"""The weights of two checkpoints averaged, tensor by tensor; what does not fit is told from the files' headers.

Reads Hugging Face directories of any architecture: nothing is computed with the model, so none is built.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer

from move37.errors import ModelError
from move37.models import folder

# keys of config.json that change nothing of what the weights compute, or that the first model decides
FREE_KEYS = {"_name_or_path", "architectures", "bos_token_id", "dtype", "eos_token_id", "pad_token_id", "torch_dtype"}
FREE_KEYS |= {"transformers_version", "use_cache"}
TEXT_TO_IDS = ("normalizer", "pre_tokenizer", "model")  # of tokenizer.json
TIED = "lm_head.weight"  # redundant in a file where the embeddings are tied


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two checkpoints are apart: tensors, numbers, and |b - a| / |a| over all of them."""

    tensors: int
    numbers: int
    distance: float


def check(one: Path, two: Path) -> None:
    """Whether two model directories can be merged. Reads configurations, tokenizers and headers, no weights.

    Raises:
        ModelError: one directory twice; another configuration, tokenizer, tensor or size; it says which.
    """
    if one.resolve() == two.resolve():
        raise ModelError(f"merge: both are {one}; the average of a model with itself is that model, so name another one")
    check_settings(one, two)
    shapes, others = headers(one), headers(two)
    for name in sorted(shapes.keys() | others.keys()):
        if name not in shapes or name not in others:
            has, lacks = (one, two) if name in shapes else (two, one)
            raise ModelError(f"merge: {has} has the tensor {name}, {lacks} has none; both must be of one architecture")
        if shapes[name] != others[name]:
            told = f"{name} is {list(shapes[name])} in {one} and {list(others[name])} in {two}"
            raise ModelError(f"merge: {told}; both must be of one size")


def check_settings(one: Path, two: Path) -> None:
    """Whether two directories say one computation and one way from text to ids; the weights need not be there.

    Raises:
        ModelError: another configuration or tokenizer; it says which key or token.
    """
    a, b = _filled(_json(one / "config.json"), _json(two / "config.json"))
    for key in sorted((a.keys() | b.keys()) - FREE_KEYS, key=lambda key: (key != "model_type", key)):
        if a.get(key) != b.get(key):
            told = f"config.json says {key}={a.get(key)!r} in {one} and {b.get(key)!r} in {two}"
            raise ModelError(f"merge: {told}; both must be one architecture of one size")
    check_tokenizers(one, two)


def check_tokenizers(one: Path, two: Path) -> None:
    """Whether one text becomes the same ids; the chat template may differ.

    Raises:
        ModelError: it says which token or part differs.
    """
    a, b = _json(one / "tokenizer.json"), _json(two / "tokenizer.json")
    ids, others = _tokens(a), _tokens(b)
    if len(ids) != len(others):
        raise ModelError(f"merge: {len(ids)} tokens in {one} and {len(others)} in {two}; both need one tokenizer")
    for token in ids:
        if ids[token] != others.get(token):
            told = f"token {token!r} is {ids[token]} in {one} and {others.get(token, 'none')} in {two}"
            raise ModelError(f"merge: {told}; both need one tokenizer")
    if any(a.get(part) != b.get(part) for part in TEXT_TO_IDS):
        a, b = _read(one), _read(two)  # one may only be written in an older way
    for part in TEXT_TO_IDS:
        if a.get(part) != b.get(part):
            raise ModelError(f"merge: the {part} of tokenizer.json differs between {one} and {two}; both need one tokenizer")


def headers(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of a model directory; the output layer not, where it is the embedding.

    Raises:
        ModelError: there are no weights, or a file is torn.
    """
    tied = _json(path / "config.json").get("tie_word_embeddings", False)
    with _Weights(path) as weights:
        return {name: weights.shape(name) for name in weights.where if not (tied and name == TIED)}


def merge(one: Path, two: Path, share: float, target: Path) -> Difference:
    """Write (1 - share) one + share two to `target`: a directory that `models.folder.load` and transformers load.

    Both are read as float32, whatever they are stored in, and the average is stored in float32. Configuration (but for the
    dtype) and tokenizer are those of `one`. Call `check` first.

    Raises:
        ModelError: a tensor of integers, which has no average, differs.
    """
    merged: dict[str, Tensor] = {}
    moved = length = 0.0
    for name, a, b in _pairs(one, two):
        if a.is_floating_point():
            a, b = a.float(), b.float()
            merged[name] = torch.lerp(a, b, share)
            moved += (b - a).double().square().sum().item()
            length += a.double().square().sum().item()
        elif torch.equal(a, b):
            merged[name] = a
        else:
            raise ModelError(f"merge: {name} holds integers that differ between {one} and {two}; they have no average")
    numbers = sum(tensor.numel() for tensor in merged.values())
    save_file(merged, target / "model.safetensors", metadata={"format": "pt"})
    config = {k: v for k, v in _json(one / "config.json").items() if k != "torch_dtype"}
    (target / "config.json").write_text(json.dumps({**config, "dtype": "float32"}, indent=2) + "\n", encoding="utf-8")
    AutoTokenizer.from_pretrained(one, local_files_only=True).save_pretrained(target)
    return Difference(len(merged), numbers, math.sqrt(moved / length) if length else 0.0)


class _Weights:
    """The open weight files of a model directory; a tensor is read when asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> _Weights:
        self.stack = ExitStack()
        self.where: dict[str, Any] = {}  # name of a tensor -> its file
        for file in sorted(self.path.glob("*.safetensors")):
            try:
                opened = self.stack.enter_context(safe_open(file, framework="pt"))
            except Exception as problem:  # safetensors reports torn files with types of its own
                self.stack.close()
                raise ModelError(f"model {self.path}: {file.name} is torn ({problem}); fetch it again") from None
            self.where.update(dict.fromkeys(opened.keys(), opened))
        if not self.where:
            raise ModelError(f"model {self.path}: no *.safetensors weights")
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.where[name].get_slice(name).get_shape())

    def tensor(self, name: str) -> Tensor:
        return self.where[name].get_tensor(name)


def _pairs(one: Path, two: Path) -> Iterator[tuple[str, Tensor, Tensor]]:
    names = sorted(headers(one))
    with _Weights(one) as a, _Weights(two) as b:
        for name in names:
            yield name, a.tensor(name), b.tensor(name)


def _filled(a: dict[str, Any], b: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two configurations with the defaults of their architectures: one program writes what another leaves out."""
    try:
        whole = [AutoConfig.for_model(**config).to_dict() for config in (a, b)]
    except Exception:  # an architecture that transformers does not know, or values that it refuses: as they are written
        return a, b
    return whole[0], whole[1]


def _read(path: Path) -> dict[str, Any]:
    """tokenizer.json as transformers reads it."""
    return json.loads(folder.load_tokenizer(path).backend_tokenizer.to_str())


def _tokens(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    vocabulary = tokenizer["model"]["vocab"]
    listed = vocabulary if isinstance(vocabulary, dict) else {token: i for i, (token, *_) in enumerate(vocabulary)}
    return {**listed, **{added["content"]: added["id"] for added in tokenizer.get("added_tokens", [])}}


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ModelError(f"model {path.parent}: {path.name} does not read ({problem})") from None
