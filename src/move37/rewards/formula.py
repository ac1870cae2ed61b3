"""Small LaTeX to exact values: tokens, and a recursive reader of expressions.

It reads what it is certain of (sums, products, fractions, powers, roots, names, common functions) and raises `Unsure` at
everything else, such as `1/2x`, which people write for two different things. What it can not read goes to math-verify.
"""

from __future__ import annotations

import re
from fractions import Fraction

from move37.rewards.exact import (
    IMAGINARY,
    ONE,
    Unsure,
    Value,
    factorial,
    minus,
    name,
    number,
    opaque,
    over,
    plus,
    power,
    times,
    tower,
)

DEEPEST = 30
LONGEST_DIGITS = 1000
LONGEST_WORD = 4  # more letters in a row are no product
TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[0-9]+(?:\.[0-9]+)?|\.[0-9]+|\S", re.DOTALL)
PLAIN = re.compile(r"(?<![A-Za-z\\])(sqrt|pi|sin|cos|tan|ln|log)(?![A-Za-z])")  # written without the backslash
DROPPED = {
    *("\\left", "\\right", "\\displaystyle", "\\limits", "\\,", "\\;", "\\!", "\\:", "\\ ", "\\quad", "\\qquad", "~"),
    *("\\big", "\\Big", "\\bigl", "\\bigr", "\\Bigl", "\\Bigr", "\\bigg", "\\Bigg", "\\mathopen", "\\mathclose", "$"),
}
MEANT = {
    **{"\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\cfrac": "\\frac", "\\div": "/", "÷": "/", "∞": "\\infty", "π": "\\pi"},
    **{"\\times": "*", "\\cdot": "*", "×": "*", "·": "*", "⋅": "*", "\\ast": "*", "√": "\\sqrt", "±": "\\pm", "∪": "\\cup"},
    **{"\\lbrace": "\\{", "\\rbrace": "\\}", "\\lbrack": "[", "\\rbrack": "]", "∈": "\\in", "≈": "\\approx"},
    **{"\\le": "\\leq", "\\ge": "\\geq", "≤": "\\leq", "≥": "\\geq", "\\leqslant": "\\leq", "\\geqslant": "\\geq"},
    **{"\\degree": "°", "′": "'", "\\prime": "'", "\\lvert": "|", "\\rvert": "|", "\\varnothing": "\\emptyset"},
}
# Only where it is marked as one: 1,234 among other things may be two numbers.
THOUSANDS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:(?:\{,\}|,\\!)[0-9]{3})+(?![0-9])")
DEGREES = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)|\\degree\b")
FUNCTIONS = {
    *("sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "arccot", "sinh", "cosh", "tanh"),
    *("ln", "log", "exp", "lg"),
}
GREEK = {
    *("alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota", "kappa"),
    *("lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "upsilon", "phi", "varphi", "chi", "psi", "omega", "hbar", "ell"),
    *("Gamma", "Theta", "Lambda", "Xi", "Sigma", "Upsilon", "Phi", "Psi", "Omega"),
}
APPLIED = set("fghFGHPQy")  # f(x) is no product
OPENERS, CLOSERS = {"(", "[", "{", "\\{"}, {")", "]", "}", "\\}"}


def tokenize(text: str) -> list[str]:
    """Commands, numbers and single characters, without what only changes the look."""
    text = DEGREES.sub("°", text)
    text = THOUSANDS.sub(lambda found: re.sub(r"\D", "", found[0]), text).replace("{,}", ",").replace("**", "^")
    text = PLAIN.sub(r"\\\1 ", text)
    return [MEANT.get(token, token) for token in TOKEN.findall(text) if token not in DROPPED]


def canonical(tokens: list[str]) -> str:
    """One way to write it: no braces around a single token after ^ and _ or around an argument of \\frac and \\sqrt."""
    out: list[str] = []
    for token in tokens:
        if token == "}" and len(out) >= 2 and out[-2] == "{" and (len(out[-1]) == 1 or out[-1][0] == "\\"):
            inner = out.pop()
            out[-1] = inner
        else:
            out.append(token)
    return " ".join(out)


class Reader:
    """One expression from a list of tokens. `value` reads all of it or raises Unsure."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0

    def value(self) -> Value:
        found = self.sum()
        if self.at != len(self.tokens):
            raise Unsure(f"at {self.tokens[self.at]}")
        return found

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        token = self.peek()
        if not token or (wanted and token != wanted):
            raise Unsure(f"{wanted or 'more'} is missing")
        self.at += 1
        return token

    def sum(self) -> Value:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unsure("nested too deeply")
        out = number(0)
        first = True
        while first or self.peek() in ("+", "-"):
            sign = self.take() if self.peek() in ("+", "-") else "+"
            term = self.product()
            out = plus(out, minus(term) if sign == "-" else term)
            first = False
        self.depth -= 1
        return out

    def product(self) -> Value:
        out = self.factor()
        divided = False
        while True:
            token = self.peek()
            if token == "*":
                self.take()
                out, divided = times(out, self.signed()), False
            elif token == "/":
                self.take()
                out, divided = over(out, self.signed()), True
            elif token and self.begins(token):
                before = self.tokens[self.at - 1]
                if divided or numeric(token) or before == "°":
                    raise Unsure("what belongs together is not clear")
                if numeric(before) and "." not in before and token == "\\frac" and (mixed := self.mixed(before)) is not None:
                    if len(self.tokens) > self.at and self.begins(self.peek()):
                        raise Unsure("a mixed number in a product")
                    out = plus(out, mixed)
                    continue
                out = times(out, self.factor())
            else:
                return out

    def signed(self) -> Value:
        if self.peek() == "-":
            self.take()
            return minus(self.factor())
        return self.factor()

    def mixed(self, whole: str) -> Value | None:
        """The fraction of a mixed number such as 1\\frac{4}{5}, when it is one; the whole part stands right before it."""
        before = self.tokens[self.at - 2] if self.at >= 2 else "("
        start = self.at
        value = self.factor().rational
        if value is not None and 0 < value < 1 and not set(self.tokens[start + 1 : self.at]) - set("{}") - _digits(self.tokens):
            if before in ("(", "[", "{", "\\{", "+", "-", ",", "="):
                return number(value)
            raise Unsure("a mixed number or a product")
        self.at = start
        return None

    def begins(self, token: str) -> bool:
        if token[0] == "\\":
            return token[1:] in GREEK or token[1:] in FUNCTIONS or token in ("\\frac", "\\sqrt", "\\pi", "\\infty", "\\Delta")
        return numeric(token) or token in "({" or _is_letter(token) or token == "°"

    def factor(self) -> Value:
        base = self.primary()
        while self.peek() in ("^", "!", "°", "'"):
            token = self.take()
            if token == "!":
                base = factorial(base)
            elif token == "^":
                base = self.raised(base)
            elif token == "°":
                base = times(base, name("@degree"))
            else:
                raise Unsure("a prime")
        return base

    def raised(self, base: Value) -> Value:
        exponent = self.argument(exponent=True)
        if self.peek() == "^":
            raise Unsure("two exponents")
        plain = exponent.rational
        return tower(base, exponent) if plain is None else power(base, plain)

    def argument(self, exponent: bool = False) -> Value:
        """What belongs to \\frac, \\sqrt, ^: a group, or one token; 12 in \\frac12 is two of them."""
        token = self.peek()
        if token == "{":
            return self.group("}")
        if numeric(token) and len(token) > 1:
            if exponent or len(token) > 2 or "." in token or not self.splits:
                raise Unsure("where the number ends is not clear")
            self.tokens[self.at] = token[1:]
            return number(int(token[0]))
        if token and (numeric(token) or token == "\\pi" or _is_letter(token)):
            self.take()
            return number(int(token)) if numeric(token) else _letter(token)
        if exponent and token == "(":
            return self.primary()
        raise Unsure(f"an argument that begins with {token}")

    splits = False  # whether a number of two digits may be two arguments: only at the first of \frac

    def group(self, closer: str) -> Value:
        self.take()
        found = self.sum()
        self.take(closer)
        return found

    def primary(self) -> Value:
        token = self.peek()
        if not token:
            raise Unsure("it ends too early")
        if numeric(token):
            if len(token) > LONGEST_DIGITS:
                raise Unsure("a very long number")
            self.take()
            if self.peek() == "_":
                raise Unsure("a number in another base")
            return number(Fraction(token))
        if token == "(":
            return self.group(")")
        if token == "{":
            return self.group("}")
        if token == "|":
            return self.absolute()
        if token == "\\frac":
            return self.fraction()
        if token == "\\sqrt":
            return self.root()
        if token[1:] in FUNCTIONS and token[0] == "\\":
            return self.function()
        return self.symbol()

    def fraction(self) -> Value:
        self.take()
        self.splits = True
        top = self.argument()
        self.splits = False
        before = self.peek()
        if numeric(before) and len(before) > 1:
            raise Unsure("where the number ends is not clear")
        return over(top, self.argument())

    def root(self) -> Value:
        self.take()
        degree = 2
        if self.peek() == "[":
            self.take()
            degree_token = self.take()
            self.take("]")
            if not (re.fullmatch("[0-9]{1,2}", degree_token) and 2 <= int(degree_token) <= 64):
                raise Unsure("the degree of a root")
            degree = int(degree_token)
        inside = self.primary() if self.peek() == "(" else self.argument()
        return power(inside, Fraction(1, degree))

    def absolute(self) -> Value:
        self.take()
        if "|" in self.tokens[self.at :][:1]:
            raise Unsure("an empty absolute value")
        inside = self.sum()
        self.take("|")
        value = inside.rational
        return number(abs(value)) if value is not None else opaque("abs", inside)

    def function(self) -> Value:
        """sin x, sin^2 x, log_b x, sin(x): the argument is a group in brackets or a run of letters and numbers."""
        called = self.take()[1:]
        if self.peek() == "_":
            self.take()
            called += f"_{self.argument(exponent=True).key()}"
        exponent: Value | None = None
        if self.peek() == "^":
            self.take()
            exponent = self.argument(exponent=True)
        if self.peek() == "(":
            inside = self.group(")")
        elif self.peek() == "{":
            inside = self.group("}")
        else:
            inside = self.run()
        value = opaque(called, inside)
        if exponent is None:
            return value
        plain = exponent.rational
        if plain is None or plain.denominator != 1 or plain < 1:
            raise Unsure("a function with an exponent that is no count")
        return power(value, plain)

    def run(self) -> Value:
        """The juxtaposed argument of sin 2x; it ends at the next operator, bracket or function."""
        out, count = ONE, 0
        while (token := self.peek()) and self.begins(token) and token != "(" and token[1:] not in FUNCTIONS:
            out, count = times(out, self.factor()), count + 1
        if not count:
            raise Unsure("a function of nothing")
        return out

    def symbol(self) -> Value:
        token = self.take()
        if token == "\\Delta" and self.peek() and self.begins(self.peek()):
            inner = self.take()
            token = f"\\Delta {inner}"
        elif not (token[1:] in GREEK or token in ("\\pi", "\\infty") or _is_letter(token)):
            raise Unsure(f"{token} is not known")
        text = self.marked(token)
        if text == token:
            if token in APPLIED and self.peek() == "(":
                raise Unsure("a function or a product")
            return _letter(token)
        return name(text)

    def marked(self, token: str) -> str:
        """With subscript and primes, also where the exponent stands between them (v^2_0)."""
        if self.peek() == "^" and self.tokens[self.at + 1 : self.at + 2] and self.at + 2 < len(self.tokens):
            end = self.at + 2
            if self.tokens[self.at + 1] == "{" and "}" in self.tokens[end:]:
                end = self.tokens.index("}", end) + 1
            if self.tokens[end : end + 1] == ["_"]:  # move the subscript before the exponent
                exponent = self.tokens[self.at : end]
                size = len(self.tokens)
                self.tokens[self.at : end] = []
                token = self.subscript(token)
                self.tokens[self.at : self.at] = exponent
                assert len(self.tokens) <= size
                return token
        if self.peek() == "_":
            token = self.subscript(token)
        primes = 0
        while self.peek() == "'" or self.tokens[self.at : self.at + 2] == ["^", "'"]:
            primes += 1
            self.at += 1 if self.peek() == "'" else 2
        if self.tokens[self.at : self.at + 4] == ["^", "{", "'", "}"]:
            primes, self.at = primes + 1, self.at + 4
        return token + "'" * primes

    def subscript(self, token: str) -> str:
        self.take("_")
        if self.peek() != "{":
            return f"{token}_{self.take()}"
        start = self.at
        while self.peek() != "}":
            self.take()
            if self.peek() == "{":
                raise Unsure("a subscript in a subscript")
        self.take("}")
        return f"{token}_{''.join(self.tokens[start + 1 : self.at - 1])}"


def _letter(token: str) -> Value:
    if token == "i":
        return IMAGINARY
    if token in ("\\pi", "\\infty"):
        return name({"\\pi": "pi", "\\infty": "infinity"}[token])
    return name(token)


def numeric(token: str) -> bool:
    return token[:1] in set("0123456789") or (token[:1] == "." and len(token) > 1)


def _is_letter(token: str) -> bool:
    return len(token) == 1 and token.isascii() and token.isalpha()


def _digits(tokens: list[str]) -> set[str]:
    return {token for token in tokens if numeric(token) and "." not in token}


def read_value(tokens: list[str]) -> Value:
    """The exact value of an expression.

    Raises:
        Unsure: it is not certain what is meant, or it is too large.
    """
    letters = 0
    for token in tokens:
        letters = letters + 1 if _is_letter(token) else 0
        if letters > LONGEST_WORD:
            raise Unsure("a word")
    return Reader(list(tokens)).value()

