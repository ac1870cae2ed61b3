"""A search tree over one problem's responses: nodes are beginnings of a response, cut where a step of the thought ends.

No model and no gold: whoever samples the continuations tells what they were and what they answer.

Example:
    >>> tree = Tree(width=2, exploration=1.0)
    >>> node = tree.leaf()  # the root: nothing is written yet
    >>> tree.add(node, (5, 6), ended=False, answer="14")
    >>> tree.add(node, (7,), ended=True, answer=None)
    >>> tree.leaf().tokens  # the only one that goes on
    (5, 6)
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Node:
    """The beginning of a response."""

    tokens: tuple[int, ...] = ()  # sampled so far
    parent: Node | None = None
    ended: bool = False  # a whole response: nothing follows
    drawn: int = 0  # continuations sampled from here
    children: dict[tuple[int, ...], Node] = field(default_factory=dict)  # by all their tokens; equal steps are one child
    passed: list[int] = field(default_factory=list)  # finished responses that begin so, by number


class Tree:
    """UCT (Kocsis and Szepesvari 2006) over the steps of one problem's responses.

        choose   the child with the largest  Q + exploration sqrt(ln N_parent / N),  N the finished responses through it
        Q        mean over these of their value: what a value model gives it, or the share of this problem's finished responses
                 with its answer

    A node is extended `width` times, and its subtree is closed when all of it has ended or is extended: DeepSeek-R1's limit
    on extensions (arXiv 2501.12948, 4.2). Once the whole tree is closed the limit of every node rises by `width`.
    """

    def __init__(self, width: int, exploration: float) -> None:
        self.width, self.exploration = width, exploration
        self.root = Node()
        self.limit = width
        self.answers: list[str | None] = []  # of the finished responses, in the order they were added; None: it has none
        self.given: list[float | None] = []  # what a value model says of them; None: nobody was asked

    def leaf(self) -> Node:
        """The node to sample `width` continuations from."""
        if self._closed(self.root):
            self.limit += self.width
        values = self.values()
        node = self.root
        while node.drawn >= self.limit:
            going = [child for child in node.children.values() if not self._closed(child)]
            node = max(going, key=lambda child: self.bound(child, values))
        return node

    def add(self, node: Node, step: tuple[int, ...], ended: bool, answer: str | None, value: float | None = None) -> None:
        """A finished response through `node`, which `step` continues; `ended`: no token follows that step."""
        node.drawn += 1
        tokens = (*node.tokens, *step)
        child = node.children.setdefault(tokens, Node(tokens, node, ended))
        number = len(self.answers)
        self.answers.append(answer)
        self.given.append(value)
        above: Node | None = child
        while above is not None:
            above.passed.append(number)
            above = above.parent

    def values(self) -> list[float]:
        """Of each finished response what it was given, or the share of all of them that answer the same; without an answer 0."""
        counts = Counter(answer for answer in self.answers if answer is not None)
        shares = [counts[answer] / len(self.answers) if answer is not None else 0.0 for answer in self.answers]
        return [share if given is None else given for share, given in zip(shares, self.given, strict=True)]

    def bound(self, child: Node, values: list[float]) -> float:
        """The upper confidence bound of a node that is not the root."""
        assert child.parent is not None
        visits = len(child.passed)
        mean = sum(values[number] for number in child.passed) / visits
        return mean + self.exploration * math.sqrt(math.log(len(child.parent.passed)) / visits)

    def _closed(self, node: Node) -> bool:
        return node.ended or (node.drawn >= self.limit and all(self._closed(child) for child in node.children.values()))
