"""What a problem asks for is read off its words; what merely resembles one of the three stays."""

from __future__ import annotations

import pytest

from move37.tasks.formats import format_of


@pytest.mark.parametrize(
    ("question", "answer", "found"),
    [
        ("What is 12+7?", "19", None),
        ("What is 12+7?\nA. 18\nB. 19\nC. 20", "B", "multiple_choice"),
        ("What is 12+7? (A) 18 (B) 19", "B", "multiple_choice"),
        ("Options: A)21 B)21.5 C)22", "A", "multiple_choice"),
        ("Which of the following is prime?", "7", "multiple_choice"),
        ("12加7等于多少?A、18 B、19 C、20", "B", "multiple_choice"),
        ("下列说法正确的是", "B", "multiple_choice"),
        ("A train goes from A to B. How far is B?", "12", None),
        ("Points A, B and C lie on a line with AB = 3. What is AC?", "5", None),
        ("Team A. scored twice as often as the others. How often?", "4", None),
        ("Is 7 a prime?", "Yes", "true_false"),
        ("7是质数吗?", "是。", "true_false"),
        ("True or false: 7 is even.", "false", "true_false"),
        ("判断正误:7是偶数。", "错", "true_false"),
        ("How many are true of false coins?", "3", None),
        ("Prove that 7 is prime.", "", "proof"),
        ("Show that the sum is 12.", "12", "proof"),
        ("求证:7是质数。", "", "proof"),
        ("Tom can improve his waterproof coat for 5 coins. He approved. How many are left?", "3", None),
        ("He showed that to 3 friends. How many saw it?", "3", None),
        ("", "", None),
    ],
)
def test_formats(question: str, answer: str, found: str | None) -> None:
    assert format_of(question, answer) == found
