"""The verifier of mathematics: an exact look in this process first, then math-verify in processes that can be killed.

The look (`shapes`) decides what exact arithmetic can decide, right and wrong. The rest, and only that, goes to
`mathematics.judge` in a pool of workers with limits of CPU time, wall-clock, memory and time in the queue. The verdict
does not depend on who asks: any thread, any process, a Ray actor.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

from move37 import machine
from move37.rewards import extract, shapes
from move37.rewards.worker import Outcome, Pool
from move37.types import Score

LONGEST = shapes.LONGEST
CPU_S = 3.0  # of one answer
LIMIT_S = 10.0  # wall-clock, of one answer
MEMORY_MB = 2048
QUEUE_S = 300.0  # after that, what has not begun is not tried
REMEMBERED = 16384  # verdicts of math-verify
LONGER = (300, 10)  # an answer of more characters than 300 + 10 for each of the gold is none, unless it is exactly equal
WORD = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{4,}(?![A-Za-z])")

Tolerance = float | Sequence[float] | None

pool = Pool("move37.rewards.mathematics:judge", memory_mb=MEMORY_MB, size=min(8, max(2, machine.cores())), cpu_s=CPU_S)
_verdicts: OrderedDict[tuple, Score] = OrderedDict()
_lock = Lock()


def verify_all(pairs: Sequence[tuple[str, str]], tolerances: Sequence[Tolerance] | None = None) -> list[Score]:
    """One score per (answer, gold), in order: 1 equal, 0 not, NaN with a reason where it can not be told.

    `tolerances` (absolute; one number, or one for each item of a list) is for those who ask for it: without, there is
    none, and 0.333333 is not 1/3.

    Raises:
        RewardError: math-verify is needed and not installed, or its process does not start.
    """
    asked = [None] * len(pairs) if tolerances is None else tolerances
    scores = [look(answer, gold, tolerance) for (answer, gold), tolerance in zip(pairs, asked, strict=True)]
    open_ = [place for place, score in enumerate(scores) if score is None]
    keys = {place: (*pairs[place], _tuple(asked[place])) for place in open_}
    with _lock:
        known = {key: _verdicts[key] for key in keys.values() if key in _verdicts}
    new = [key for key in dict.fromkeys(keys.values()) if key not in known]
    items = [(_inside(answer)[0] or "", _inside(gold)[0] or gold, tolerance) for answer, gold, tolerance in new]
    found = dict(zip(new, map(_score, pool.run(items, LIMIT_S, queue_s=QUEUE_S)), strict=True)) if new else {}
    with _lock:
        _verdicts.update({key: score for key, score in found.items() if not math.isnan(score.value)})
        while len(_verdicts) > REMEMBERED:
            _verdicts.popitem(last=False)
    for place in open_:
        scores[place] = known.get(keys[place]) or found[keys[place]]
    return scores


def look(answer: str, gold: str, tolerance: Tolerance = None) -> Score | None:
    """What can be said without math-verify; None where it has to be asked."""
    if not gold.strip() or len(gold) > LONGEST:
        return Score.cannot_tell(f"the gold is {'too long' if gold.strip() else 'empty'}")
    if not answer.strip() or len(answer) > LONGEST:
        return Score(value=0.0, why=f"the answer is {'too long' if answer.strip() else 'empty'}")
    said, why = _inside(answer)
    if said is None:
        return Score(value=0.0, why=why)
    have, want = shapes.read(said), shapes.read(_inside(gold)[0] or gold)
    if tolerance is not None:
        return None
    equal, how = shapes.compare(have, want)
    if equal:
        return Score(value=1.0)
    if equal is False:
        return Score(value=0.0, why=f"{said.strip()[:40]} is not {gold.strip()[:40]}" + (f": {how}" if "unit" in how else ""))
    if len(said) > LONGER[0] + LONGER[1] * len(gold):
        return Score(value=0.0, why="the answer is far longer than the gold")
    if have.shape is None and isinstance(want.shape, shapes.Number | shapes.Row) and (word := WORD.search(have.text)):
        return Score(value=0.0, why=f"the answer has words beside it, such as {word[0][:20]!r}")
    return None


def _inside(text: str) -> tuple[str | None, str]:
    """The answer that a text holds: what its boxes agree on, or all of it. None with the reason where it holds none."""
    if "\\boxed" not in text:
        return text, ""
    found = extract.boxes(text)
    if not found:
        return None, "the box is not closed"
    if len({shapes.read(box).canonical for box in found}) > 1:
        return None, "the answer has boxes that contradict each other"
    if re.search(r"\d", extract.outside(text)):
        return None, "the answer has numbers outside its box"
    return found[-1], ""


def _score(outcome: Outcome) -> Score:
    if outcome.kind != "ok":
        why = f"the mathematics verifier {outcome.told()}"
        return Score(value=math.nan, why=why, cause=outcome.kind, seconds=outcome.seconds)
    right, why = outcome.value
    return Score(value=math.nan if right is None else float(right), why=why, seconds=outcome.seconds)


def _tuple(tolerance: Tolerance) -> float | tuple[float, ...] | None:
    return tolerance if tolerance is None or isinstance(tolerance, int | float) else tuple(tolerance)
