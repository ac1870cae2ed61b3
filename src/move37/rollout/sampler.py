"""The local sampler: batched decoding with a KV cache on the learner's own weights. Tokens in, tokens out.

Each prompt is run once and its cache repeated for its samples; finished rows leave the batch; every response has its
own random stream, so what is sampled does not depend on how rows are batched.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from move37.errors import TaskError
from move37.models import engines
from move37.models.folder import Loaded
from move37.models.head import logits
from move37.rollout.draw import Sampling, choose, stream, uniforms
from move37.rollout.loops import due, loops
from move37.rollout.prompt import Prompter
from move37.types import Group, Problem, Rollout, Stop

ROWS = 512  # most responses in flight
ROOM = 32  # columns by which a cache grows: few copies, and little that is never used


@dataclass(slots=True)
class Trajectory:
    """One response being written, perhaps by the weights of several iterations. Its random stream goes with it."""

    problem: Problem
    prompt: np.ndarray  # [P] int32
    sample: int
    key: int  # of its random stream
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    drawn: list[float] = field(default_factory=list)
    segments: list[tuple[int, int]] = field(default_factory=list)  # (tokens, version of the weights)
    stop: Stop | None = None  # None: it goes on


class Sampler:
    """Samples groups of responses from a model that a learner may be changing in place."""

    def __init__(
        self, loaded: Loaded, prompter: Prompter, autocast: torch.dtype, kernels: str = "auto", cache: str = "auto"
    ) -> None:
        """`kernels` and `cache` as in the recipe's `hardware`. Raises RecipeError where they ask for what can not be had."""
        self.engine = engines.engine(loaded.model, autocast, kernels, cache)
        self.prompter = prompter
        self.context = loaded.context
        self.eos = loaded.eos
        self.autocast_dtype = autocast
        self.version = 0  # updates the weights have seen; whoever trains them sets it

    def render(self, question: str) -> str:
        """The prompt as text."""
        return self.prompter.render(question)

    def speaking(self, prompter: Prompter) -> Sampler:
        """The same engine behind other prompts."""
        other = copy.copy(self)
        other.prompter = prompter
        return other

    @torch.no_grad()
    def sample(self, problems: Sequence[Problem], n: int, sampling: Sampling, seed: int) -> list[Group]:
        """n responses to each problem.

        Raises:
            TaskError: a prompt leaves no room for a response in the model's context.
        """
        written = [self.begin(problem, n, sampling, seed) for problem in problems]
        per_pass = max(1, ROWS // n)
        for first in range(0, len(problems), per_pass):
            self._decode([t for mine in written[first : first + per_pass] for t in mine], sampling, sampling.max_new_tokens)
        return [Group(problem=p, rollouts=[self.rollout(t) for t in mine]) for p, mine in zip(problems, written, strict=True)]

    def begin(self, problem: Problem, n: int, sampling: Sampling, seed: int) -> list[Trajectory]:
        """n responses to a problem, with nothing written yet.

        Raises:
            TaskError: as `sample` does.
        """
        prompt = np.asarray(self.prompter.encode(problem.question), np.int32)
        if len(prompt) + sampling.max_new_tokens > self.context:
            raise TaskError(
                f"task {problem.task}: a prompt of {len(prompt)} tokens and max_new_tokens={sampling.max_new_tokens} do not "
                f"fit the model's context of {self.context}; lower max_new_tokens or drop long problems"
            )
        return [Trajectory(problem, prompt, sample, int(stream(seed, problem.id, sample))) for sample in range(n)]

    @torch.no_grad()
    def advance(self, trajectories: Sequence[Trajectory], sampling: Sampling, most: int) -> None:
        """Write up to `most` more tokens of each response that goes on, with the weights at hand.

        What it has written so far is given to the model as context, as the prompt is. With equal weights a response is
        the same however often it is taken up again, up to the rounding of another order of summation.
        """
        going = [t for t in trajectories if t.stop is None]
        for first in range(0, len(going), ROWS):
            self._decode(going[first : first + ROWS], sampling, most)

    def _decode(self, rows: list[Trajectory], sampling: Sampling, most: int) -> None:
        """Write the rows to their ends, or `most` tokens further."""
        before = [len(row.tokens) for row in rows]
        self._write(rows, sampling, most)
        for row, had in zip(rows, before, strict=True):
            if len(row.tokens) > had:
                row.segments.append((len(row.tokens) - had, self.version))

    def _write(self, rows: list[Trajectory], sampling: Sampling, most: int) -> None:
        device = self.engine.head.device
        # What is written already is context too. Each is run once, by its tokens: a problem may come in two wordings
        places: dict[tuple[int, ...], int] = {}
        found = [places.setdefault((*row.prompt.tolist(), *row.tokens), len(places)) for row in rows]
        contexts = {place: context for context, place in places.items()}
        longest = max(map(len, contexts.values()))
        grid = np.zeros((len(contexts), longest), np.int64)
        for place, context in contexts.items():
            grid[place, longest - len(context) :] = context
        pad = torch.tensor([longest - len(contexts[place]) for place in range(len(contexts))], device=device)
        with self._autocast():
            hidden, cache = self.engine.prefill(torch.from_numpy(grid).to(device), pad)
        repeat = torch.tensor(found, device=device)
        cache.select(repeat)
        hidden = hidden.index_select(0, repeat)
        alive = list(rows)
        for written in range(1, most + 1):
            keys = np.array([row.key for row in alive], np.uint64)
            positions = np.array([len(row.tokens) for row in alive], np.uint64)
            tokens, logprobs, drawn = self._choose(hidden, uniforms(keys, positions), sampling)
            going = self._append(alive, tokens.tolist(), logprobs.tolist(), drawn.tolist(), sampling)
            if not any(going) or written == most:
                return
            if sum(going) < len(alive) and sum(going) <= cache.leave_at * len(alive):
                kept = torch.tensor([i for i, on in enumerate(going) if on], device=device)
                alive = [row for row, on in zip(alive, going, strict=True) if on]
                cache.select(kept)
                tokens = tokens.index_select(0, kept)
            cache.room(ROOM)
            with self._autocast():
                hidden = self.engine.decode(tokens, cache)

    def _choose(self, hidden: Tensor, uniform: np.ndarray, sampling: Sampling) -> tuple[Tensor, Tensor, Tensor]:
        """As `choose` from the logits of these states; the kernels never write all of them down."""
        if not isinstance(self.engine, engines.QUICK) or sampling.truncated:
            return choose(logits(hidden, self.engine.head), uniform, sampling)
        tokens, logprobs = self.engine.draw(hidden, uniform, sampling.temperature)
        return tokens, logprobs, logprobs if sampling.temperature > 0 else torch.zeros_like(logprobs)

    def _append(
        self, rows: list[Trajectory], tokens: list[int], logprobs: list[float], drawn: list[float], sampling: Sampling
    ) -> list[bool]:
        """Give each unfinished row its token; True where it goes on."""
        going = []
        for row, token, logprob, under in zip(rows, tokens, logprobs, drawn, strict=True):
            if row.stop is not None:  # finished, still in the batch: its tokens are nobody's
                going.append(False)
                continue
            row.tokens.append(token)
            row.logprobs.append(logprob)
            row.drawn.append(under)
            if token in self.eos:
                row.stop = Stop.EOS
            elif sampling.stop and self._stopped(row.tokens, sampling.stop):
                row.stop = Stop.STRING
            elif sampling.repeat and due(len(row.tokens)) and loops(row.tokens, sampling.repeat):
                row.stop = Stop.REPEAT
            elif len(row.tokens) >= sampling.max_new_tokens:
                row.stop = Stop.LENGTH
            going.append(row.stop is None)
        return going

    def _stopped(self, tokens: list[int], stops: tuple[str, ...]) -> bool:
        """Whether a stop string ends in the last token. Looks at as many tokens as the longest string has bytes."""
        tail = self.prompter.tokenizer.decode(tokens[-(max(len(s.encode()) for s in stops) + 1) :])
        return any(s in tail for s in stops)

    def rollout(self, written: Trajectory) -> Rollout:
        """The record of a response that has ended."""
        assert written.stop is not None, "it goes on"
        prompt = written.prompt

        def after_prompt(values: list[float]) -> np.ndarray:
            return np.concatenate([np.zeros(len(prompt), np.float32), np.asarray(values, np.float32)])

        text = written.tokens[:-1] if written.stop is Stop.EOS else written.tokens
        return Rollout(
            problem=written.problem.id,
            task=written.problem.task,
            sample=written.sample,
            token_ids=np.concatenate([prompt, np.asarray(written.tokens, np.int32)]),
            sampled=np.arange(len(prompt) + len(written.tokens)) >= len(prompt),
            logprobs=after_prompt(written.logprobs),
            sampling_logprobs=after_prompt(written.drawn),
            text=self.prompter.tokenizer.decode(text, skip_special_tokens=False, clean_up_tokenization_spaces=False),
            stop=written.stop,
            version=written.segments[-1][1],
            segments=tuple(written.segments) if len(written.segments) > 1 else (),
            prefill=self.prompter.prefill,
        )

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        enabled = self.autocast_dtype is not torch.float32
        return torch.autocast(self.engine.head.device.type, dtype=self.autocast_dtype, enabled=enabled)
