"""Verifiers: right, wrong, can not tell. Known traps of numeric and mathematical graders are fixtures here."""

import threading
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from move37.rewards import equality
from move37.rewards.plain import parse_number
from move37.rewards.verify import VERIFIERS, choice, math, number, text
from move37.types import Verdict

RIGHT, WRONG, CANNOT_TELL = Verdict.RIGHT, Verdict.WRONG, Verdict.CANNOT_TELL


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("18", Fraction(18)),
        (" 18. ", Fraction(18)),
        ("18.0", Fraction(18)),
        ("007", Fraction(7)),
        ("+5", Fraction(5)),
        ("- 5", Fraction(-5)),
        ("−5", Fraction(-5)),
        (".5", Fraction(1, 2)),
        ("1/2", Fraction(1, 2)),
        ("-1/2", Fraction(-1, 2)),
        ("1 1/2", Fraction(3, 2)),
        (r"\frac{1}{2}", Fraction(1, 2)),
        (r"-\dfrac{3}{4}", Fraction(-3, 4)),
        ("1,234,567.5", Fraction(2469135, 2)),
        ("1{,}000", Fraction(1000)),
        ("$18", Fraction(18)),
        ("-$5", Fraction(-5)),
        ("$-5", Fraction(-5)),
        (r"\$1,200", Fraction(1200)),
        ("5 €", Fraction(5)),
        ("$12$", Fraction(12)),
        (r"\boxed{12}", Fraction(12)),
        (r"$\boxed{12}$.", Fraction(12)),
        ("10%", Fraction(1, 10)),
        ("１２。", Fraction(12)),
        ("0.1", Fraction(1, 10)),
        ("18 dollars", Fraction(18)),
        (r"15\mbox{ cm}^2", Fraction(15)),
        (r"90^\circ", Fraction(90)),
    ],
)
def test_numbers_that_are_read(written, value):
    assert parse_number(written) == value


@pytest.mark.parametrize(
    "written",
    [
        *("", ".", "-", "$", "%", "x", "1,23", "12,3456", "1 2", "3/0", "1e9", "2 million", "18 apples", "5²", "½"),
        *(
            "5..",
            "--5",
            "5 or 6",
            "5,6",
            "5=5",
            r"\boxed{5}, no, \boxed{6}",
            "$5$ and $6$",
            "∞",
            "nan",
            "1_000",
            "0x10",
        ),
        *("5-2", "9" * 201),
    ],
)
def test_what_is_no_number(written):
    assert parse_number(written) is None


def test_number_verdicts():
    assert number("18.00", "18").verdict is RIGHT
    assert number("17.999999999999999999", "18").verdict is WRONG
    assert number("0.3333333333", "1/3").verdict is WRONG
    assert number("10%", "10").verdict is WRONG  # a known false positive of other graders
    assert number("10%", "0.1").verdict is RIGHT
    assert number("", "18").verdict is WRONG
    assert number("18", "eighteen").verdict is CANNOT_TELL
    assert "no number" in number("18", "eighteen").why


@given(st.fractions())
def test_a_fraction_equals_itself_and_not_its_neighbour(value):
    gold = str(value)
    if len(gold) < 100:
        assert number(gold, gold).verdict is RIGHT
        assert number(str(value + 1), gold).verdict is WRONG


@given(st.integers())
def test_integers_with_separators(value):
    assert number(f"{value:,}", str(value)).verdict is RIGHT


@given(st.text(max_size=50), st.text(max_size=50))
def test_no_text_breaks_a_verifier(answer, gold):
    for name in ("number", "choice", "text"):
        assert VERIFIERS[name]([(answer, gold)])[0].verdict in (RIGHT, WRONG, CANNOT_TELL)


@pytest.mark.parametrize(
    "answer", ["B", "b", "(B)", "B.", "B)", "[B]", r"$\text{(B)}$", r"\boxed{B}", "B) $65", "(B) sixty five"]
)
def test_choices_right(answer):
    assert choice(answer, "B").verdict is RIGHT


@pytest.mark.parametrize("answer", ["A", "A or B", "A) or B)", "B or A", "(A) B", "AB", "", "Bob", "5", "not B"])
def test_choices_wrong(answer):
    assert choice(answer, "B").verdict is WRONG


def test_choice_of_no_letter():
    assert choice("A", "12").verdict is CANNOT_TELL


def test_texts():
    assert text("  Straße\n x. ", "STRASSE x").verdict is RIGHT
    assert text("ｆｕｌｌ", "full").verdict is RIGHT
    assert text("no", "yes").verdict is WRONG
    assert text("", " ").verdict is CANNOT_TELL


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"\frac{1}{2}", "0.5"),
        (r"x+1", "1 + x"),
        ("a + b + c", "c+b+a"),
        (r"\sqrt{8}", r"2\sqrt{2}"),
        (r"\{1,2\}", r"\{2, 1\}"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3, \pi/2)"),
        ("x=5", "5"),
        ("y=2x+1", "2x - y + 1 = 0"),
        (r"90^\circ", "90"),
        (r"x \in [-2,7]", r"x\in[-2, 7]"),
        ("4343_6", "4343_{6}"),
        ("4343_6", "4343"),
        (r"\frac{1}{2}", r"the answer is \boxed{\frac{2}{4}}"),
    ],
)
def test_mathematics_right(gold, answer):
    assert math(answer, gold).verdict is RIGHT


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        # math-verify 0.9.0 says yes to these
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
        (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}"),
        (r"1-\frac{1}{\mathrm{e}}", r"1+\frac{1}{\mathrm{e}}"),
        ("10", r"10\%"),
        (r"\frac13", "0.333333"),
        (r"\sqrt{2}", "1.41421356"),
        ("5", "6=5"),
        ("4343_6", "4343_7"),
        ("11", "11_2"),
        ("5", r"6, \boxed{5}"),
        ("5", r"\boxed{6}, no, \boxed{5}"),
        # and to these it says no
        ("3x-y+13=0", "3x+4y+14=0"),
        ("[1,2)", "[1,2]"),
        ("(3,4)", "(4,3)"),
        ("1,2", "1"),
        ("x", "the answer is x"),
        ("x+1", ""),
        ("x+1", "x" * 3000),
    ],
)
def test_mathematics_wrong(gold, answer):
    assert math(answer, gold).verdict is WRONG


def test_mathematics_that_can_not_be_told():
    for gold in ("Yes. It has a unique solution.", "", r"9^{9^{9^9}}"):
        score = math("x+1", gold)
        assert score.verdict is CANNOT_TELL and score.why


@pytest.mark.parametrize(
    "answer", [r"9^{9^{9^{9}}}", r"\boxed{9^{9^{9^{9}}}}", "9^9^9^9", "10^{999999}", "99999!", "((9!)!)!"]
)
def test_what_would_explode_is_refused(answer):
    assert math(answer, "x+1").verdict is CANNOT_TELL


def test_a_hang_past_the_guard_is_killed_and_the_next_answer_is_graded(monkeypatch):
    monkeypatch.setattr(equality, "LIMIT_S", 0.5)
    score = math(r"\sum_{k=1}^{9000} \frac{1}{k!^{k!}}", r"\sqrt{2}+x^{x}")
    assert score.verdict is not RIGHT
    monkeypatch.undo()
    assert math("1+x", "x+1").verdict is RIGHT


def test_mathematics_in_other_threads():
    found = []
    threads = [threading.Thread(target=lambda k=k: found.append(math(f"{k}+x", f"x+{k}").verdict)) for k in range(2, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [RIGHT] * 4
