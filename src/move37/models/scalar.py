"""A model that gives one number per position in place of words: a reward model, later a value function.

The trunk of a causal LM under `score`, a [1, hidden] matrix without bias. On disk it is what transformers calls sequence
classification with one label, so `AutoModelForSequenceClassification` loads it and gives the same number.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from move37.errors import ModelError
from move37.models.decoder import Decoder, Shape
from move37.models.hf import HFModel

SUFFIX = "ForSequenceClassification"


class ScalarDecoder(Decoder):
    """The lean decoder with `score` for an output layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(replace(shape, tied=True))  # without the layer over the vocabulary
        self.score = nn.Linear(shape.hidden, 1, bias=False)

    @property
    def head(self) -> Tensor:
        return self.score.weight


class ScalarHF(HFModel):
    """`net` is a transformers model for sequence classification."""

    @classmethod
    def load(cls, path: Path, dtype: torch.dtype) -> ScalarHF:
        """From such a model, or from a causal LM, whose `score` is then to be initialised.

        Raises:
            ModelError: transformers has no sequence classification for the architecture, or one of another form.
        """
        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()  # it would warn of the new `score`
        try:
            net = AutoModelForSequenceClassification.from_pretrained(path, dtype=dtype, local_files_only=True, num_labels=1)
        except ValueError as problem:
            raise ModelError(f"model {path}: transformers puts no score on this architecture ({problem})") from None
        score = dict(net.named_children()).get("score")
        if not isinstance(score, nn.Linear) or score.bias is not None or score.out_features != 1:
            raise ModelError(f"model {path}: its sequence classification is not one linear `score` without bias")
        return cls(net.eval())

    @property
    def head(self) -> Tensor:
        return self.net.score.weight

    @property
    def _body(self) -> nn.Module:
        return self.net.base_model


def is_scalar(model: nn.Module) -> bool:
    return isinstance(model, ScalarDecoder | ScalarHF)


def says_scalar(config: dict[str, Any]) -> bool:
    """Whether a `config.json` is that of a model for sequence classification."""
    return any(name.endswith(SUFFIX) for name in config.get("architectures") or [])


def scalar_config(config: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """`config.json` of a causal LM as that of the scalar model on it.

    transformers scores the last token that is not `pad_token_id`. Where the tokenizer pads with EOS (or with nothing) that
    would be the token before EOS, so the pad is left out: then it scores the last token, one sequence at a time.
    """
    pad, ends = tokenizer.pad_token_id, config.get("eos_token_id")
    unlike = pad is not None and pad != tokenizer.eos_token_id and pad not in (ends if isinstance(ends, list) else [ends])
    named = [name.replace("ForCausalLM", SUFFIX).replace("LMHeadModel", SUFFIX) for name in config.get("architectures") or []]
    labels = {"id2label": {"0": "reward"}, "label2id": {"reward": 0}}
    return {**config, "architectures": named, "pad_token_id": pad if unlike else None, **labels}


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """`score` from N(0, 1 / (hidden + 1)), so that first scores are about 1 wide (Stiennon et al., arXiv 2009.01325)."""
    with torch.no_grad():
        drawn = torch.randn(model.head.shape, generator=generator) / (model.head.shape[1] + 1) ** 0.5
        model.head.copy_(drawn)
