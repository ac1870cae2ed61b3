"""A model behind an OpenAI-compatible endpoint, sampled like a local one."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from move37.endpoint import Client, Reply, Request
from move37.errors import RunError, UserError
from move37.rollout.draw import Sampling
from move37.types import Group, Problem, Rollout, Stop

UNKNOWN = -1  # the id of a token that the endpoint counted and did not tell
SEEDS = 2**31 - 1  # servers take seeds of 32 bits


class Remote:
    """Samples groups by asking. Each sample is a request of its own, so that a ledger can go on after a stop.

    The question is the one user message; the server puts its own template around it. A thought that the server parts
    from the text is put back before it, in <think> tags. Token ids are unknown (-1), their number is what the server
    says; log-probs are 0.
    """

    def __init__(self, client: Client) -> None:
        self.client = client

    def render(self, question: str) -> str:
        """What is sent, as text."""
        return json.dumps(_messages(question), ensure_ascii=False)

    def sample(self, problems: Sequence[Problem], n: int, sampling: Sampling, seed: int) -> list[Group]:
        """n responses to each problem.

        Raises:
            RunError: samples are missing; names them. What came is in the ledger, and is not asked for again.
            UserError: a way of sampling that the chat API does not have.
        """
        if sampling.top_k or sampling.min_p or sampling.repeat:
            raise UserError("an endpoint takes no top_k, min_p or end of loops (stop: [{repeat: n}]); leave them out")
        places = [(problem, sample) for problem in problems for sample in range(n)]
        replies = self.client.ask([_request(problem, sample, sampling, seed) for problem, sample in places])
        missing = [(p, s, r) for (p, s), r in zip(places, replies, strict=True) if r.text is None]
        if missing:
            raise RunError(self._told(missing, len(places)))
        rollouts = [_rollout(p, sample, reply) for (p, sample), reply in zip(places, replies, strict=True)]
        return [Group(problem=p, rollouts=rollouts[n * k : n * (k + 1)]) for k, p in enumerate(problems)]

    def _told(self, missing: list[tuple[Problem, int, Reply]], total: int) -> str:
        named = ", ".join(f"{p.task}/{p.id} sample {s}" for p, s, _ in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        ledger = self.client.ledger.path
        kept = f"what came is in {ledger} and is not paid again: run the same command once more" if ledger else "nothing is kept"
        return f"{len(missing)} of {total} samples are missing: {named}{more} ({missing[0][2].why}); {kept}"


def _messages(question: str) -> tuple[dict[str, str], ...]:
    return ({"role": "user", "content": question},)


def _request(problem: Problem, sample: int, sampling: Sampling, seed: int) -> Request:
    return Request(
        messages=_messages(problem.question),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_new_tokens,
        stop=sampling.stop,
        seed=(seed + sample) % SEEDS,
        sample=sample,
    )


def _rollout(problem: Problem, sample: int, reply: Reply) -> Rollout:
    text = reply.text or ""
    if reply.thinking is not None:
        closed = "" if reply.truncated and not text else "</think>"
        text = f"<think>{reply.thinking}{closed}{text}"
    return made_rollout(problem, sample, text, reply.truncated, reply.prompt_tokens, reply.completion_tokens)


def made_rollout(
    problem: Problem, sample: int, text: str, truncated: bool = False, prompt: int = 0, response: int = 0
) -> Rollout:
    """A response of which only the text and the numbers of tokens are known."""
    total = prompt + response
    return Rollout(
        problem=problem.id,
        task=problem.task,
        sample=sample,
        token_ids=np.full(total, UNKNOWN, np.int32),
        sampled=np.arange(total) >= prompt,
        logprobs=np.zeros(total, np.float32),
        sampling_logprobs=np.zeros(total, np.float32),
        text=text,
        stop=Stop.LENGTH if truncated else Stop.EOS,
        version=0,
    )
