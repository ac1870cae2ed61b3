"""`pretrain`: a new language model on documents of the tiny world."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from move37.learner.batch import Example
from move37.learner.learner import Learner
from move37.models import folder
from move37.models.decoder import Decoder, Shape
from move37.sections import Pretrain
from move37.stages.context import Context
from move37.stages.training import Training
from move37.templates import R1_ZERO
from move37.types import LossSpec
from move37.world.documents import Mixture, check_known, document
from move37.world.tokenizer import train_tokenizer

TOKENIZER_DOCUMENTS = 20_000
HELD_OUT_DOCUMENTS = 256
LOSS = LossSpec(kind="cross_entropy", normalise="token")


class Pretraining(Training):
    """Next-token prediction on the documents, the template's fixed words apart; none of them sees another."""

    section: Pretrain

    def __init__(self, context: Context, name: str, section: Pretrain) -> None:
        super().__init__(context, name, section, section.steps)
        self.tasks = list(context.tasks.values())
        for task in self.tasks:
            check_known(task)
        self.mixture = Mixture(
            ordinary=section.documents,
            template=section.template_documents,
            template_share=section.template_share,
            direct_right=section.direct_right,
            slips=section.slips,
            mixed=section.mixed,
        )
        seed = context.recipe.seed
        tokenizer, vocabulary = self._tokenizer()
        fixed = R1_ZERO.split("{question}")[0].rstrip()
        self.preamble = np.asarray(tokenizer.encode(fixed, add_special_tokens=False), np.int32)
        shape = shape_of(section, vocabulary)
        model = Decoder(shape)
        model.initialise(torch.Generator().manual_seed(seed))
        config = folder.new_config(shape, tokenizer.eos_token_id, tokenizer.pad_token_id)
        self.loaded = folder.Loaded(model.to(context.device.device), tokenizer, config)
        self.learner = Learner(
            self.loaded.model,
            section.optimizer,
            section.steps,
            section.tokens_per_microbatch,
            context.device.autocast,
            self.log.path,
            context.recipe.hardware.kernels,
        )
        self.held_out = self._documents(section.steps * section.documents_per_step, HELD_OUT_DOCUMENTS)

    def _tokenizer(self) -> tuple[PreTrainedTokenizerFast, int]:
        """A new tokenizer, or that of the recipe's model; with the number of logits, which may be larger than it needs."""
        size = self.section.vocabulary
        if size == "model":
            return folder.tokens(self.context.model())
        seed = self.context.recipe.seed
        sample = (document(self.tasks, self.mixture, seed, i) for i in range(TOKENIZER_DOCUMENTS))
        return train_tokenizer(sample, size), size

    def sentence(self) -> str:
        return f"{self.steps} steps of {self.section.documents_per_step} documents."

    def step(self, number: int) -> dict[str, Any]:
        examples = self._documents((number - 1) * self.section.documents_per_step, self.section.documents_per_step)
        tokens = sum(len(e.tokens) for e in examples)
        sums = self.learner.step(examples, LOSS)
        metrics = {"loss": sums["loss"], "grad_norm": sums["grad_norm"], "lr": sums["lr"], "tokens": tokens}
        if number % self.section.save_every == 0 or number == self.steps:
            metrics["held_out_loss"] = self._held_out_loss()
        return metrics

    def _documents(self, first: int, count: int) -> list[Example]:
        """Documents number first .. first + count, each with its end-of-sequence token."""
        seed, eos = self.context.recipe.seed, self.loaded.tokenizer.eos_token
        texts = [document(self.tasks, self.mixture, seed, i) + eos for i in range(first, first + count)]
        encoded = self.loaded.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return [self._example(np.asarray(ids, np.int32)) for ids in encoded]

    def _example(self, tokens: np.ndarray) -> Example:
        """The fixed words of the R1-Zero template are context, run once for all documents that begin with them."""
        shared = len(self.preamble)
        in_template = len(tokens) > shared and np.array_equal(tokens[:shared], self.preamble)
        start = shared if in_template else 0
        return Example(tokens=tokens, start=start, weight=np.ones(len(tokens) - max(start, 1), np.float32))

    def _held_out_loss(self) -> float:
        """Nats per token on documents that come after the last one trained on."""
        values = self.learner.logprobs(self.held_out, 1.0)
        return -float(np.concatenate(values).mean())


def shape_of(section: Pretrain, vocabulary: int) -> Shape:
    """What a `pretrain` stage makes, with so many logits."""
    return Shape(
        family="llama",
        vocabulary=vocabulary,
        hidden=section.hidden,
        layers=section.layers,
        heads=section.heads,
        kv_heads=section.kv_heads,
        head_width=section.hidden // section.heads,
        ffn=section.ffn,
        context=section.context,
        rope_theta=10_000.0,
        norm_eps=1e-6,
        tied=True,
        qkv_bias=False,
        qk_norm=False,
    )
