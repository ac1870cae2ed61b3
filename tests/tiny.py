"""Very small models, tokenizers and recipes: everything runs in milliseconds and on a CPU.

Weights are random, but wide enough spread that the next-token distributions are far from uniform.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from move37 import tasks
from move37.models import folder
from move37.models.decoder import Decoder, Shape
from move37.recipe import Recipe, parse
from move37.report.live import Live
from move37.runs import Run
from move37.sections import FamilyTask
from move37.stages import run_recipe
from move37.tasks.base import Task
from move37.world.documents import Mixture, document
from move37.world.tokenizer import train_tokenizer

torch.set_num_threads(1)  # models this small gain nothing from a second one, and waiting threads fight over busy cores

VOCABULARY, CONTEXT = 300, 512
KINDS = {"direct": 0.4, "worked": 0.3, "checked": 0.2, "corrected": 0.1}
CPU = torch.device("cpu")
SHORT = "Q: {question}\nA:"  # the R1-Zero template is some 150 tokens of so small a vocabulary
PRETRAIN = {
    "stage": "pretrain",
    "steps": 4,
    "documents_per_step": 8,
    "hidden": 32,
    "layers": 2,
    "heads": 4,
    "kv_heads": 2,
    "ffn": 64,
    "context": CONTEXT,
    "vocabulary": VOCABULARY,
    "documents": KINDS,
    "template_documents": KINDS,
    "tokens_per_microbatch": 1024,
    "optimizer": {"kind": "muon", "lr": 5e-3, "schedule": "cosine", "warmup_steps": 2, "weight_decay": 0.1},
}


@cache
def families() -> dict[str, Task]:
    """The four families, in two languages."""
    languages = {"en": 0.8, "zh": 0.2}
    sections = {name: FamilyTask(family=name, languages=languages) for name in ("chain", "product", "countdown", "word")}
    return tasks.load_all(sections, 0, Path())


def mixture(**changes: Any) -> Mixture:
    shares = {"ordinary": KINDS, "template": KINDS, "template_share": 0.2, "direct_right": 0.9, "slips": 0.02, "mixed": 0.05}
    return Mixture(**{**shares, **changes})


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    texts = (document(list(families().values()), mixture(), 0, i) for i in range(400))
    return train_tokenizer(texts, VOCABULARY)


def shape(**changes: Any) -> Shape:
    """Llama-shaped, tied, 2 layers of width 32."""
    sizes = {"vocabulary": VOCABULARY, "hidden": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_width": 8, "ffn": 64}
    rest = {"context": CONTEXT, "rope_theta": 10_000.0, "norm_eps": 1e-6, "tied": True, "qkv_bias": False, "qk_norm": False}
    return Shape(family="llama", **{**sizes, **rest, **changes})


def spread(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights of visible size in place, norms and biases included, so that nothing is silently left out."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3, generator=generator)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.2, generator=generator)
            else:
                parameter.uniform_(0.5, 1.5, generator=generator)
    return model


def decoder(dtype: torch.dtype = torch.float32, seed: int = 0, **changes: Any) -> Decoder:
    model = Decoder(shape(**changes))
    spread(model, seed)
    return model.to(dtype)


def loaded(seed: int = 0) -> folder.Loaded:
    """A lean model with tokenizer and config, as `folder.load` gives it."""
    words = tokenizer()
    return folder.Loaded(decoder(seed=seed), words, folder.new_config(shape(), words.eos_token_id, words.pad_token_id))


def configuration(kind: str, **changes: Any) -> PreTrainedConfig:
    """A transformers config of the tests' size."""
    ends = {"eos_token_id": tokenizer().eos_token_id, "pad_token_id": tokenizer().pad_token_id, "bos_token_id": None}
    if kind == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT}
        return GPT2Config(vocab_size=VOCABULARY, **sizes, **ends, **changes)
    common = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-6,
    }
    if kind == "qwen3":
        common["head_dim"] = 8
    classes = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}
    return classes[kind](**{**common, **ends, **changes})


def save(path: Path, kind: str, **changes: Any) -> Path:
    """A Hugging Face directory with random weights, written by transformers itself."""
    model = AutoModelForCausalLM.from_config(configuration(kind, **changes))
    spread(model)
    model.tie_weights()
    model.save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


def recipe(stages: dict[str, Any], **top: Any) -> Recipe:
    """A recipe on the chain family, on one thread."""
    raw = {"name": "tiny", "tasks": {"chain": {"family": "chain"}}, "hardware": {"threads": 1, "device": "cpu"}}
    return parse({**raw, **top, "stages": stages}, "tiny.yaml")


def run(root: Path, wanted: Recipe) -> Run:
    """Run a recipe in this process; the run is closed, its files are there."""
    source = root / "tiny.yaml"
    source.write_text(wanted.to_yaml(), encoding="utf-8")
    with Run.create(root / "runs", wanted, source=source) as made, Live(plain=True) as display:
        run_recipe(wanted, made, display)
    return made


