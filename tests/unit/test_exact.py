"""Exact values, formulas and shapes: what is read, what is equal, what is left to math-verify."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from move37.rewards import exact, shapes
from move37.rewards.exact import Unsure, number, power, same, times
from move37.rewards.formula import canonical, read_value, tokenize
from move37.rewards.shapes import compare, read

COMMANDS = ("\\frac", "\\sqrt", "\\pm", "\\cup", "\\text{", "\\left", "\\sin", "\\pi", "\\in", "\\begin{", "\\end{", "pmatrix}")


def value(text):
    exact.work.refill()
    return read_value(tokenize(text))


def verdict(answer, gold):
    return compare(read(answer), read(gold))[0]


@pytest.mark.parametrize(
    ("written", "fraction"),
    [
        ("1+2*3-4", Fraction(3)),
        ("-2^2", Fraction(-4)),  # the sign is outside of the power
        ("(-2)^{2}", Fraction(4)),
        (r"\frac12", Fraction(1, 2)),
        (r"\frac{3}4", Fraction(3, 4)),
        (r"\frac9{19}", Fraction(9, 19)),
        (r"1\frac{4}{5}", Fraction(9, 5)),
        (r"-1\frac{4}{5}", Fraction(-9, 5)),
        (r"2\times 3\div 4", Fraction(3, 2)),
        (r"7.8\times 10^2", Fraction(780)),
        (r"\sqrt{16}", Fraction(4)),
        (r"\sqrt[3]{-27+54}", Fraction(3)),
        ("4^{-1/2}", Fraction(1, 2)),
        ("5!", Fraction(120)),
        (r"10,\!080", Fraction(10080)),
        ("1/3+1/6", Fraction(1, 2)),
        (r"|{-3}|", Fraction(3)),
        ("i^2", Fraction(-1)),
    ],
)
def test_constants(written, fraction):
    assert value(written).rational == fraction


@pytest.mark.parametrize(
    "written",
    [
        *("", "+", "1/2x", "2 3", r"\frac123", "2^10", "x^12", "f(x)", "a <b", "(1", "1)", r"\frac{1}{0}", "0^0", "0^{-1}"),
        *(r"\int_0^1 x", r"\sum_{k=1}^9 k", "3:5", r"\begin{x}", "²", "9" * 1200, "(" * 50 + "1" + ")" * 50, "hello"),
    ],
)
def test_what_is_not_read(written):
    with pytest.raises(Unsure):
        value(written)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\sqrt{8}", r"2\sqrt2"),
        (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"),
        (r"\frac{1}{1+\sqrt{2}}", r"\sqrt{2}-1"),
        (r"\sqrt{-4}", "2i"),
        (r"\frac{1}{i}", "-i"),
        ("(x+1)^2", "x^2+2x+1"),
        (r"\frac{x^2-1}{x-1}", "x+1"),
        (r"\frac{2}{x+1}", r"\frac{4}{2x+2}"),
        (r"\frac{3\pi}{4}", r"\pi - \pi/4"),
        (r"\sqrt[3]{5}", "5^{1/3}"),
        (r"\sin 2x", r"\sin(2x)"),
        (r"\frac{q}{\sqrt{2LC}}", r"\frac{q}{\sqrt{2CL}}"),
        ("v_0^2", "v^2_0"),
        ("x_{1}", "x_1"),
        ("3pi", r"3\pi"),
        ("sqrt(3)/2", r"\frac{\sqrt{3}}{2}"),
    ],
)
def test_equal_values(one, other):
    assert same(value(one), value(other)) is True


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),  # math-verify 0.9.0: equal
        (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}"),
        ("1-1/e", "1+1/e"),
        (r"\sqrt{2}", "1.41421356"),
        ("1/3", "0.333333333333333333333333"),
        (r"\sqrt{2}+\sqrt{3}", r"\sqrt{5}"),
        (r"\pi", "3.14159"),
        ("x+1", "x-1"),
        ("0.64N", "0.64"),
        ("10^{10^{10^{10}}}", "10^{10}"),
        ("9^{9^{9^{9}}}", "9^{9^{9}}"),
    ],
)
def test_different_values(one, other):
    assert same(value(one), value(other)) is False


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\sin x", r"\cos x"),
        (r"\sqrt[3]{2}", r"\sqrt[6]{4}"),
        ("e^{x}e^{x}", "e^{2x}"),
        (r"e+\pi", "5"),  # whether e + pi is rational is not known
        ("n!", "n(n-1)!"),
        (r"2^{10^{100}}", r"4^{10^{99}}"),
        (r"2\infty", r"\infty"),
    ],
)
def test_what_exact_arithmetic_does_not_know(one, other):
    assert same(value(one), value(other)) is None


@given(st.fractions(max_denominator=99), st.integers(0, 99), st.fractions(max_denominator=99), st.integers(0, 99))
def test_square_roots_agree_with_arithmetic(a, m, b, n):
    """(a sqrt m)(b sqrt n) = ab sqrt(mn), and the two sides differ where one is moved."""
    left = times(times(number(a), root(m)), times(number(b), root(n)))
    assert same(left, times(number(a * b), root(m * n))) is True
    assert same(exact.plus(left, number(1)), left) is False


def root(n):
    exact.work.refill()
    return power(number(n), Fraction(1, 2)) if n else number(0)


polynomials = st.lists(st.tuples(st.integers(-9, 9), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=4)


def written(terms):
    return "+".join(f"({c})x^{{{p}}}y^{q}" for c, p, q in terms)


@given(polynomials, polynomials)
def test_polynomials_are_what_they_are_at_points(one, other):
    """Equal if and only if the coefficients are."""

    def collected(terms):
        out = {}
        for c, p, q in terms:
            out[p, q] = out.get((p, q), 0) + c
        return {k: c for k, c in out.items() if c}

    assert same(value(written(one)), value(written(other))) is (collected(one) == collected(other))


@settings(max_examples=300)
@given(st.lists(st.sampled_from([*"0123456789xyei+-*/^_(){}[]=,.!|%$ \n²π", *COMMANDS]), max_size=50))
def test_no_text_breaks_reading(parts):
    text = "".join(parts)
    found = read(text)
    assert compare(found, found)[0] in (True, None)


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_two_texts_break_comparing(one, other):
    assert compare(read(one), read(other))[0] in (True, False, None)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("7,5,3", "3, 5, 7"),
        (r"\{1,2\}", "2, 1"),
        (r"1 \pm \sqrt{2}", r"1-\sqrt{2}, 1+\sqrt{2}"),
        ("x=5", "5"),
        ("5", "x = 5"),
        (r"y = \pm 3", "3, -3"),
        ("x = 1, 2", "1, 2"),
        (r"x \in [-2,7]", "[-2, 7]"),
        (r"(3,\infty)\cup(-\infty,1]", r"(-\infty, 1] \cup (3, +\infty)"),
        (r"\begin{bmatrix} 0.5 & 1 \\ 2 & 3 \end{bmatrix}", r"\begin{pmatrix} 1/2 & 1 \\ 2 & 3 \end{pmatrix}"),
        (r"\left[\begin{array}{rr}1 & 2\end{array}\right]", r"\begin{pmatrix} 1 & 2 \end{pmatrix}"),
        ("x^2 = 1 - y^2", "x^2+y^2=1"),
        ("a_n = 2n+1", "2n + 1"),
        (r"\Phi (x, y)=\frac{x}{2y} + \frac{1}{2y}", r"\Phi (x,y)=\frac{x+1}{2y}"),
        ("Even", r"\text{even}"),
        ("C", r"\text{(C)}"),
        (r"\textbf{(C)}", r"\text{(C)}"),
        ("4343_{6}", "4343_6"),
        ("4343", "4343_6"),
        (r"(0,2)\cup(1,3)", r"(0,1]\cup(1,3)"),
        (r"(-\infty, 5]\cup\{6\}", r"\{6\}\cup(-\infty, 5]"),
        ("15", r"15\mbox{ cm}^2"),
        (r"15\text{ square centimeters}", r"15\mbox{ cm}^2"),
        ("5 m", r"5\text{ m}"),
        ("441 pounds", r"441\text{ pounds}"),
        (r"60\%", "0.6"),
        (r"\$32,348", r"\$32,\!348"),
        ("90", r"90^\circ"),
    ],
)
def test_shapes_that_are_equal(answer, gold):
    assert verdict(answer, gold) is True


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("(4,3)", "(3,4)"),
        ("[1,2]", "[1,2)"),
        ("1", "1,2"),
        ("1,2,3", "1,2"),
        ("5", r"\text{even}"),
        ("odd", r"\text{even}"),
        ("(1,2)", "5"),
        (r"(0,1)\cup(1,2)", r"(0,1]\cup(1,2)"),
        (r"(-\infty,1)\cup(2,\infty)", r"(-\infty,1)\cup[2,\infty)"),
        ("3x+4y+14=0", "3x-y+13=0"),  # math-verify 0.9.0: equal
        ("x^2+y^2=2", "x^2+y^2=1"),
        ("x=2", "x=1"),
        (r"2/3 \approx 0.68", r"2/3 \approx 0.67"),
        ("B", r"\text{(C)}"),
        ("4343_7", "4343_6"),
        ("11_2", "11"),
        (r"10\%", "10"),
        ("73", r"73\%"),
        (r"15\text{ m}", r"15\mbox{ cm}"),
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 5 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"),
    ],
)
def test_shapes_that_differ(answer, gold):
    assert verdict(answer, gold) is False


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("1,2", "(1,2)"),
        (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
        ("x<2", "(1,2)"),
        (r"\sin x", r"\cos x"),
        (r"(0,\pi)\cup(1,3)", r"(0,1]\cup(1,\pi)"),
        ("xy=1", "y=1/x"),
        ("no real solution", r"\text{no solution}"),
    ],
)
def test_shapes_left_to_math_verify(answer, gold):
    assert verdict(answer, gold) is None


def test_canonical_text_keeps_different_things_apart():
    assert canonical(tokenize(r"x^{2}")) == canonical(tokenize("x ^ 2"))
    assert canonical(tokenize("1 2")) != canonical(tokenize("12"))
    assert canonical(tokenize(r"\dfrac{1}{2}")) == canonical(tokenize(r"\frac{1}{2}"))


def test_hostile_values_are_refused_or_small():
    """Bounded in this process: none of these may grow."""
    for text in (
        "+".join(["(x+y+z)^9"] * 180),
        "+".join(f"1/{k}^{{4999}}" for k in range(2, 200)),
        "9^{9^{9^{9}}}",
        "((9!)!)!",
        "(x+y+z)^{12}(a+b+c)^{12}",
        "10^{20000}" * 20,
        "{" * 500,
        r"\sqrt{99999989}" * 60,
    ):
        found = read(text).shape
        assert found is None or isinstance(found, shapes.Number)


def test_comparing_too_much_is_not_certain():
    """Each of the two is read; their cross product is past the bounds."""
    one, other = (rf"\frac{{({a}+y+z)^9}}{{({b}+v+w)^9}}" for a, b in (("x", "u"), ("u", "x")))
    assert read(one).shape and verdict(one, other) is None
