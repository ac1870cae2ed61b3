"""The work itself, the same for all contenders: prompts, lengths, rewards and sequences to learn from. Needs numpy alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

PROMPTS, SAMPLES, PROMPT, NEW, LONGEST = 16, 16, 32, 128, 256  # LONGEST: the limit of the ragged load
LOADS = ("forced", "ragged")
TINY_RUN = Path(__file__).parent / "lengths.json"


def parity(text: str) -> float:
    """A reward that costs nothing and splits every group."""
    return float(len(text) % 2)


def limit(load: str) -> int:
    """The most new tokens of a load."""
    return NEW if load == "forced" else LONGEST


def lengths(load: str, rows: int, seed: int) -> list[int]:
    """Tokens of each response: all NEW, or drawn from the lengths of the responses of the tiny run."""
    if load == "forced":
        return [NEW] * rows
    table = json.loads(TINY_RUN.read_text(encoding="utf-8"))
    counts = np.array(list(table["responses"].values()), np.float64)
    drawn = np.random.default_rng(seed).choice(len(counts), size=rows, p=counts / counts.sum())
    return [int(list(table["responses"])[i]) for i in drawn]


def word_prompts(tokenizer: Any, count: int, seed: int) -> list[str]:
    """Texts of exactly PROMPT tokens, all different, from words the tokenizer knows."""
    words = [tokenizer.decode([i]) for i in range(len(tokenizer))]
    words = [w for w in words if w.isascii() and w.isalnum()]
    draws = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        chosen = [words[i] for i in draws.integers(len(words), size=PROMPT)]
        while len(tokenizer(" ".join(chosen))["input_ids"]) > PROMPT:
            chosen.pop()
        if len(tokenizer(" ".join(chosen))["input_ids"]) == PROMPT:
            found[" ".join(chosen)] = None
    return list(found)


def update(load: str, vocabulary: int, prompts: int, samples: int, seed: int) -> dict[str, Any]:
    """A batch to learn from: groups of random tokens with shared prompts, advantages, and log-probs as if sampled.

    Returns prompts [P][PROMPT], responses [P * samples][length], advantages [P * samples], old (one number for all tokens).
    """
    draws = np.random.default_rng(seed)
    sizes = lengths(load, prompts * samples, seed)
    return {
        "prompts": draws.integers(2, vocabulary, size=(prompts, PROMPT)).tolist(),
        "responses": [draws.integers(2, vocabulary, size=n).tolist() for n in sizes],
        "advantages": draws.standard_normal(prompts * samples).tolist(),
        "old": -float(np.log(vocabulary)),
    }
