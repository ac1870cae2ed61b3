"""Pure RL mixes languages, and a reward repairs it."""

from __future__ import annotations

from collections.abc import Sequence

from claimed.numbers import Claim, over, table, verdict
from move37.runs import Run

LANGUAGE = {"base": "before", "R1-Zero": "alone_eval", "with the language reward": "rewarded_eval"}


def languages(runs: Sequence[Run]) -> list[str]:
    keys = ("language", "language/other", "language/mixed", "readable", "pass@1", "cons@16")
    found = {name: {key: over(runs, stage, key) for key in keys} for name, stage in LANGUAGE.items()}
    rows = [[name, *(found[name][key].text() for key in keys)] for name in LANGUAGE]
    alone, with_reward, base = found["R1-Zero"], found["with the language reward"], found["base"]
    return [
        *table(["", "words in the question's language", "wholly another", "mixed", "readable", "pass@1", "cons@16"], rows),
        "",
        *verdict(
            [
                ("pure RL leaves the question's language", alone["language"].minus(base["language"]), -1),
                ("the reward repairs it", with_reward["language"].minus(alone["language"]), 1),
                ("at a cost in accuracy", with_reward["pass@1"].minus(alone["pass@1"]), -1),
            ]
        ),
    ]


CLAIMS = (
    Claim(
        "Language mixing",
        "Pure RL mixes languages; a language reward repairs it at a small cost (v2, B.6).",
        "language",
        tuple(LANGUAGE.values()),
        languages,
    ),
)
