"""How far a judge agrees with people, and with itself when the order of two responses is swapped.

Pairs with human preferences: LLMBar (Zeng et al., arXiv 2310.07641; one label each) and the test set of PandaLM (Wang et
al., arXiv 2306.05087; three annotators, the majority counts, 0 is a tie). What is measured is the reward itself: the same
questions, the same reading.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from move37.errors import UserError, nearest
from move37.rewards.judge import JudgePair, Pair, preferred


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Two responses to a question, and which one people prefer: 1, 2, or 0 for neither."""

    question: str
    first: str
    second: str
    label: int


def _joined(instruction: str, given: str) -> str:
    return f"{instruction}\n\n{given}" if given else instruction


def llmbar(row: Mapping[str, Any]) -> Compared | None:
    return Compared(question=row["input"], first=str(row["output_1"]), second=str(row["output_2"]), label=row["label"])


def pandalm(row: Mapping[str, Any]) -> Compared | None:
    """None where the three annotators say three different things."""
    label, votes = Counter(row[f"annotator{n}"] for n in (1, 2, 3)).most_common(1)[0]
    question = _joined(row["instruction"], row["input"])
    first, second = str(row["response1"]), str(row["response2"])  # one answer of the public file is a bare `true`
    pair = Compared(question=question, first=first, second=second, label=label)
    return pair if votes > 1 else None


READERS: dict[str, Callable[[Mapping[str, Any]], Compared | None]] = {"llmbar": llmbar, "pandalm": pandalm}


def load(path: Path, layout: str) -> list[Compared]:
    """The pairs of a JSON file on which people agree.

    Raises:
        UserError: unknown layout, or a file that is not one of that layout.
    """
    if layout not in READERS:
        raise UserError(f"--layout {layout!r} is not known; {nearest(layout, READERS)}")
    try:
        found = [READERS[layout](row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except OSError as problem:
        raise UserError(f"{path}: can not be read: {problem.strerror}") from None
    except (ValueError, KeyError, TypeError) as problem:
        raise UserError(f"{path}: is not in the layout {layout} ({type(problem).__name__}: {problem})") from None
    return [pair for pair in found if pair is not None]


def measure(judge: JudgePair, pairs: Sequence[Compared]) -> dict[str, Any]:
    """Ask for every pair in both orders.

    Returns:
        pairs: how many. told: of which both orders could be read. agreement: share of the told ones where the averaged
        verdict prefers whom people prefer; where it prefers neither and people do not, it counts half. order_consistent:
        share of the told ones where both orders prefer the same. first_shown: of the single verdicts that prefer one,
        the share that prefers the one shown first (0.5 is unbiased). None where there is nothing to divide by. trouble:
        why the first pair that could not be told could not be; None where all were.
    """
    results = judge.compare([(pair.question, pair.first, pair.second) for pair in pairs])
    told = [(result, pair.label) for result, pair in zip(results, pairs, strict=True) if result.value is not None]
    return {
        "pairs": len(pairs),
        "told": len(told),
        "agreement": _share([_credit(preferred(result.value or 0.0), label) for result, label in told]),
        **orders([result for result, _ in told]),
        "trouble": next((result.why for result in results if result.value is None), None),
    }


def orders(told: Sequence[Pair]) -> dict[str, float | None]:
    """`order_consistent` and `first_shown` of comparisons of which both orders are told."""
    shown = [preference for result in told for preference in _shown(result) if preference]
    return {
        "order_consistent": _share([float(bool(result.consistent)) for result in told]),
        "first_shown": _share([float(preference == 1) for preference in shown]),
    }


def _credit(said: int, label: int) -> float:
    if said == label:
        return 1.0
    return 0.5 if said == 0 else 0.0


def _shown(result: Pair) -> list[int]:
    """By each order: 1 where the one shown first is preferred, 2 the one shown second, 0 neither."""
    assert result.shown_first is not None and result.shown_second is not None
    return [preferred(result.shown_first), preferred(1 - result.shown_second)]


def _share(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
