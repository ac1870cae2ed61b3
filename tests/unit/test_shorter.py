"""Pairs of a short right response and a longer one; numbers by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from move37.stages.shorter import Written, pairs


def right(text: str, tokens: int, passes: bool = True) -> Written:
    return Written(text, tokens, True, passes)


def wrong(text: str, tokens: int) -> Written:
    return Written(text, tokens, False, False)


def names(responses: list[Written], longer: float = 1.5) -> list[str]:
    return [chosen.text + rejected.text for chosen, rejected in pairs(responses, longer)]


@pytest.mark.parametrize(
    ("responses", "expected"),
    [
        # 10 is the shortest right one: 14 is right and not long enough, 15 is; of wrong ones any that is longer
        ([right("a", 14), right("b", 10), right("c", 15), wrong("d", 11), wrong("e", 10), wrong("f", 3)], ["bc", "bd"]),
        ([wrong("a", 9), wrong("b", 90)], []),  # nothing to choose
        ([right("a", 10)], []),  # nothing to reject
        ([right("a", 10), right("b", 10)], []),
        # a short right one that fails a filter is not chosen; a long one is rejected all the same
        ([right("a", 4, passes=False), right("b", 10), right("c", 16, passes=False)], ["bc"]),
        # equal texts once, and none against itself
        ([right("a", 10), right("b", 20), right("b", 21), wrong("a", 12)], ["ab"]),
        ([right("a", 10), right("b", 10), wrong("c", 12)], ["ac"]),  # of equally short ones the first
    ],
)
def test_pairs_by_hand(responses: list[Written], expected: list[str]) -> None:
    assert names(responses) == expected


def test_how_much_longer_is_an_option() -> None:
    responses = [right("a", 10), right("b", 11), right("c", 30)]
    assert names(responses, 1.1) == ["ab", "ac"]
    assert names(responses, 3.0) == ["ac"]


some = st.builds(Written, st.sampled_from("abcdef"), st.integers(1, 40), st.booleans(), st.just(False))


@given(st.lists(some, max_size=12), st.floats(1, 4))
def test_the_chosen_one_is_right_and_shorter(responses: list[Written], longer: float) -> None:
    marked = [Written(r.text, r.tokens, r.right, r.right) for r in responses]
    found = pairs(marked, longer)
    assert len({rejected.text for _, rejected in found}) == len(found)
    for chosen, rejected in found:
        assert chosen.passes and chosen.tokens == min(r.tokens for r in marked if r.passes)
        assert chosen.text != rejected.text and chosen.tokens <= rejected.tokens
        assert not rejected.right or rejected.tokens >= longer * chosen.tokens
