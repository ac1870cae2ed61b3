"""`preference`: direct preference optimisation, from pairs to a policy without a reward model or sampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from move37.learner.batch import Example
from move37.learner.preference import pairwise, weigh_pairs
from move37.sections import Preference
from move37.stages import preferences
from move37.stages.context import Context, frozen_copy
from move37.stages.preferences import Row
from move37.stages.preferring import Preferring


class PreferenceTraining(Preferring):
    """DPO (Rafailov et al., arXiv 2305.18290, eq. 7), the reference being the model it starts from.

        L = mean over pairs of -log sigmoid(beta (d(chosen) - d(rejected))),   d(y) = log pi(y | x) - log pi_ref(y | x)

    With `length_normalised` d is divided by the tokens of y (Tulu 3, arXiv 2411.15124). y includes its EOS.
    """

    section: Preference

    def __init__(self, context: Context, name: str, section: Preference) -> None:
        rows = preferences.read(f"stages.{name}.data", context.data(section.data), section.columns, pairs=True)
        super().__init__(context, name, section, rows, scalar=False)
        self.reference = frozen_copy(self.loaded.model)  # made anew from `init` when the stage goes on

    def examples(self, row: Row) -> list[Example] | None:
        """Replies and their end are learned; the prompt, run once for both, is context."""
        prompt, eos = self.prompter.encode_messages(row.messages), self.loaded.tokenizer.eos_token_id
        texts = [self.prompter.after_prefill(text) for text in row.responses]
        replies = [[*ids, eos] for ids in self.loaded.tokenizer(texts, add_special_tokens=False)["input_ids"]]
        if len(prompt) + max(map(len, replies)) > self.limit:
            return None
        return [
            Example(tokens=np.array([*prompt, *reply], np.int32), start=len(prompt), weight=np.ones(len(reply), np.float32))
            for reply in replies
        ]

    def weigh(self, rows: Sequence[Row], examples: list[Example]) -> dict[str, Any]:
        changes, sizes = self._changes(examples)
        losses, slopes = pairwise(self._gaps(changes, sizes))
        weigh_pairs(examples, self.section.beta * slopes)
        if self.section.length_normalised:
            for example, tokens in zip(examples, sizes, strict=True):
                assert example.advantage is not None
                example.advantage /= np.float32(tokens)
        return self._told(changes, sizes, losses)

    def measure(self) -> dict[str, float]:
        rows, examples = self.fitting(self.held_out)
        if not rows:
            return {}
        changes, sizes = self._changes(examples)
        return self._told(changes, sizes, pairwise(self._gaps(changes, sizes))[0])

    def _changes(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
        """log pi - log pi_ref of every reply, and its tokens; [2 P] float64."""
        now, before = (self.learner.logprobs(examples, 1.0, model) for model in (None, self.reference))
        gaps = [(a.astype(np.float64) - b).sum() for a, b in zip(now, before, strict=True)]
        return np.array(gaps), np.array([example.targets for example in examples], np.float64)

    def _gaps(self, changes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Differences of implicit rewards, [P]."""
        rewards = self.section.beta * (changes / sizes if self.section.length_normalised else changes)
        return rewards[0::2] - rewards[1::2]

    def _told(self, changes: np.ndarray, sizes: np.ndarray, losses: np.ndarray) -> dict[str, float]:
        gaps = self._gaps(changes, sizes)
        return {
            "loss": float(losses.mean()),
            "accuracy": float(np.where(gaps == 0, 0.5, gaps > 0).mean()),
            "margin": float(gaps.mean()),  # of implicit rewards
            "chosen_change": float(changes[0::2].mean()),  # nats per reply; both can fall
            "rejected_change": float(changes[1::2].mean()),
        }
