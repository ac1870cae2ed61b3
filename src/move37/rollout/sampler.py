"""The local sampler: batched decoding with a KV cache on the learner's own weights. Tokens in, tokens out.

Each prompt is run once and its cache repeated for its samples; finished rows leave the batch; every response has its
own random stream, so what is sampled does not depend on how rows are batched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from move37.errors import TaskError
from move37.models import engines, native
from move37.models.folder import Loaded
from move37.models.head import logits
from move37.rollout.draw import Sampling, choose, stream, uniforms
from move37.rollout.loops import due, loops
from move37.rollout.prompt import Prompter
from move37.types import Group, Problem, Rollout, Stop

ROWS = 512  # most responses in flight
ROOM = 32  # columns by which a cache grows: few copies, and little that is never used


@dataclass(slots=True)
class _Row:
    """One response being written."""

    problem: int
    sample: int
    key: np.uint64
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    drawn: list[float] = field(default_factory=list)
    stop: Stop = Stop.LENGTH


class Sampler:
    """Samples groups of responses from a model that a learner may be changing in place."""

    def __init__(self, loaded: Loaded, prompter: Prompter, autocast: torch.dtype, kernels: str = "auto") -> None:
        self.engine = engines.engine(loaded.model, autocast, kernels)
        self.prompter = prompter
        self.context = loaded.context
        self.eos = loaded.eos
        self.autocast_dtype = torch.float32 if isinstance(self.engine, native.NativeDecoder) else autocast
        self.version = 0  # updates the weights have seen; whoever trains them sets it

    def render(self, question: str) -> str:
        """The prompt as text."""
        return self.prompter.render(question)

    @torch.no_grad()
    def sample(self, problems: Sequence[Problem], n: int, sampling: Sampling, seed: int) -> list[Group]:
        """n responses to each problem.

        Raises:
            TaskError: a prompt leaves no room for a response in the model's context.
        """
        prompts = [np.asarray(self.prompter.encode(p.question), np.int32) for p in problems]
        for problem, prompt in zip(problems, prompts, strict=True):
            if len(prompt) + sampling.max_new_tokens > self.context:
                raise TaskError(
                    f"task {problem.task}: a prompt of {len(prompt)} tokens and max_new_tokens={sampling.max_new_tokens} do not "
                    f"fit the model's context of {self.context}; lower max_new_tokens or drop long problems"
                )
        groups = [Group(problem=p, rollouts=[]) for p in problems]
        per_pass = max(1, ROWS // n)
        for first in range(0, len(problems), per_pass):
            chosen = range(first, min(first + per_pass, len(problems)))
            rows = [_Row(i, s, stream(seed, problems[i].id, s)) for i in chosen for s in range(n)]
            self._decode(rows, prompts, sampling)
            for row in rows:
                groups[row.problem].rollouts.append(self._rollout(row, problems[row.problem], prompts[row.problem]))
        return groups

    def _decode(self, rows: list[_Row], prompts: list[np.ndarray], sampling: Sampling) -> None:
        """Write the rows to their ends."""
        device = self.engine.head.device
        needed = sorted({row.problem for row in rows})
        longest = max(len(prompts[i]) for i in needed)
        grid = np.zeros((len(needed), longest), np.int64)
        for line, i in zip(grid, needed, strict=True):
            line[longest - len(prompts[i]) :] = prompts[i]
        pad = torch.tensor([longest - len(prompts[i]) for i in needed], device=device)
        with self._autocast():
            hidden, cache = self.engine.prefill(torch.from_numpy(grid).to(device), pad)
        repeat = torch.tensor([needed.index(row.problem) for row in rows], device=device)
        cache.select(repeat)
        hidden = hidden.index_select(0, repeat)
        alive = list(rows)
        for position in range(sampling.max_new_tokens):
            keys = np.array([row.key for row in alive], np.uint64)
            tokens, logprobs, drawn = self._choose(hidden, uniforms(keys, position), sampling)
            going = self._append(alive, tokens.tolist(), logprobs.tolist(), drawn.tolist(), sampling)
            if not any(going) or position + 1 == sampling.max_new_tokens:
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
        self, rows: list[_Row], tokens: list[int], logprobs: list[float], drawn: list[float], sampling: Sampling
    ) -> list[bool]:
        """Give each unfinished row its token; True where it goes on."""
        going = []
        for row, token, logprob, under in zip(rows, tokens, logprobs, drawn, strict=True):
            if row.stop is not Stop.LENGTH:  # finished, still in the batch: its tokens are nobody's
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
            going.append(row.stop is Stop.LENGTH)
        return going

    def _stopped(self, tokens: list[int], stops: tuple[str, ...]) -> bool:
        """Whether a stop string ends in the last token. Looks at as many tokens as the longest string has bytes."""
        tail = self.prompter.tokenizer.decode(tokens[-(max(len(s.encode()) for s in stops) + 1) :])
        return any(s in tail for s in stops)

    def _rollout(self, row: _Row, problem: Problem, prompt: np.ndarray) -> Rollout:
        def after_prompt(values: list[float]) -> np.ndarray:
            return np.concatenate([np.zeros(len(prompt), np.float32), np.asarray(values, np.float32)])

        text = row.tokens[:-1] if row.stop is Stop.EOS else row.tokens
        return Rollout(
            problem=problem.id,
            task=problem.task,
            sample=row.sample,
            token_ids=np.concatenate([prompt, np.asarray(row.tokens, np.int32)]),
            sampled=np.arange(len(prompt) + len(row.tokens)) >= len(prompt),
            logprobs=after_prompt(row.logprobs),
            sampling_logprobs=after_prompt(row.drawn),
            text=self.prompter.tokenizer.decode(text, skip_special_tokens=False, clean_up_tokenization_spaces=False),
            stop=row.stop,
            version=self.version,
            prefill=self.prompter.prefill,
        )

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        enabled = self.autocast_dtype is not torch.float32
        return torch.autocast(self.engine.head.device.type, dtype=self.autocast_dtype, enabled=enabled)
