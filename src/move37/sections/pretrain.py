"""`pretrain`."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from move37.errors import nearest
from move37.sections.base import Artefact, Positive, Share
from move37.sections.training import TrainingSection

SHAPE = ("hidden", "layers", "heads", "kv_heads", "ffn", "context", "vocabulary")  # and tokenizer of the model
SMALLEST = 262  # tokens of a BPE vocabulary: 256 bytes, EOS, pad and four tags


class Pretrain(TrainingSection):
    """A new language model on documents of the tiny world."""

    INPUTS: ClassVar[dict[str, Artefact]] = {"vocabulary": "checkpoint"}
    READS: ClassVar[frozenset[str]] = frozenset({"tasks"})

    stage: Literal["pretrain"]
    steps: Positive = Field(description="optimizer updates")
    documents_per_step: Positive = Field(128, description="documents per update")
    hidden: Positive = Field(128, description="width")
    layers: Positive = Field(6, description="decoder layers")
    heads: Positive = Field(4, description="attention heads")
    kv_heads: Positive = Field(2, description="key/value heads")
    ffn: Positive = Field(384, description="inner width of the MLP")
    context: Positive = Field(1024, description="longest sequence, in tokens")
    vocabulary: int | Literal["model"] = Field(
        1024, description="size of the BPE vocabulary trained for it; `model`: the tokenizer of the recipe's model"
    )
    documents: dict[str, Share] = Field(description="direct, worked, checked, corrected -> share, in ordinary layouts")
    template_documents: dict[str, Share] = Field(description="the same in the layout of the R1-Zero template")
    template_share: Share = Field(0.2, description="share of documents in that layout")
    direct_right: Share = Field(0.9, description="how often a direct answer to the easiest problem is right")
    slips: Share = Field(0.02, description="chance that one worked step goes wrong")
    mixed: Share = Field(0.05, description="share whose solution is in another language than the question")

    def inputs(self) -> dict[str, str]:
        """The recipe's model where its tokenizer is used: a distilled student shares its teacher's."""
        return {"vocabulary": "model"} if self.vocabulary == "model" else {}

    @field_validator("vocabulary", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:
        if value != "model" and (not isinstance(value, int) or isinstance(value, bool) or value < SMALLEST):
            raise ValueError(f"a number of at least {SMALLEST} (256 bytes, EOS, pad and four tags), or `model`")
        return value

    @model_validator(mode="after")
    def _shapes(self) -> Pretrain:
        if self.hidden % self.heads or self.heads % self.kv_heads:
            raise ValueError(
                f"heads={self.heads} must divide hidden={self.hidden}, and kv_heads={self.kv_heads} divide heads"
            )
        kinds = {"direct", "worked", "checked", "corrected"}
        for key, shares in (("documents", self.documents), ("template_documents", self.template_documents)):
            for kind in shares:
                if kind not in kinds:
                    raise ValueError(f"{key}.{kind} is no kind of document; {nearest(kind, kinds)}")
            if abs(sum(shares.values()) - 1) > 1e-6:
                raise ValueError(f"{key} must sum to 1, they sum to {sum(shares.values()):g}")
        return self
