"""Who answers for rewards that ask a model: a client of a judge's endpoint, a checkpoint sampled here, a reward model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast

from move37.endpoint import Asker, Client, Reply, Request
from move37.errors import ModelError, RunError
from move37.models import folder
from move37.rewards import Weighted
from move37.rewards.judge import Judged, Source
from move37.rewards.modelled import Modelled
from move37.rewards.verdicts import Messages
from move37.rollout.draw import Sampling
from move37.rollout.prompt import Prompter
from move37.rollout.sampler import Sampler
from move37.sections import StageSection
from move37.stages.context import Context, Device
from move37.stages.scoring import Scorer
from move37.tasks.base import problem_id
from move37.types import Problem


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the judges and reward models of a stage are looked up in."""

    base: Path  # a judge's `checkpoint` and a reward's `model` are relative to it
    device: Device
    made: Mapping[str, Path] = dataclasses.field(default_factory=dict)  # stage, or `model` -> the directory of its model
    template: str | None = None  # the recipe's: the models of its stages are asked in it

    @classmethod
    def of(cls, context: Context, section: StageSection) -> Place:
        recipe = context.recipe
        return cls(base=context.run.base, device=context.device, made=context.models(section), template=recipe.template)


def bind(rewards: Sequence[Weighted], ledger: Path | None, place: Place) -> list[Weighted]:
    """The same rewards, judges and reward models among them with somebody to ask; equal ones are one.

    Args:
        ledger: the file that remembers what endpoints have answered; a resumed run goes on from it.

    Raises:
        UserError: the libraries for endpoints are missing, or the key's variable is not set.
        ModelError: the checkpoint does not load, has no chat template, or is no reward model.
        RewardError: a reward model that was trained on another part of responses.
    """
    askers: dict[Source, Asker] = {}
    scorers: dict[str, Scorer] = {}
    bound = []
    for weighted in rewards:
        if isinstance(weighted.reward, Judged):
            source = weighted.reward.judge
            if source not in askers:
                askers[source] = asker_of(source, ledger, place)
            weighted = dataclasses.replace(weighted, reward=weighted.reward.asked_by(askers[source]))
        if isinstance(weighted.reward, Modelled):
            name = weighted.reward.model
            if name not in scorers:
                scorers[name] = Scorer(place.made.get(name, place.base / name), place.device)
            weighted = dataclasses.replace(weighted, reward=weighted.reward.scored_by(scorers[name]))
        bound.append(weighted)
    return bound


def asker_of(source: Source, ledger: Path | None, place: Place) -> Asker:
    """Raises as `bind` does."""
    if source.base_url:
        return Client(source.endpoint(), ledger)
    if source.checkpoint in place.made:
        loaded = folder.load(place.made[source.checkpoint], place.device.weights, place.device.device)
        prompter = Prompter.build(loaded.tokenizer, place.template, place.base)
    else:
        path = folder.resolve(source.checkpoint, place.base)
        loaded = folder.load(path, place.device.weights, place.device.device)
        if not loaded.tokenizer.chat_template:
            raise ModelError(f"{path}: a judge follows instructions; this model has no chat template")
        prompter = Prompter.of(loaded.tokenizer, None)
    return Local(loaded, prompter, place.device)


LOST = 0.1  # share of a step's questions without a text; where it is more, something is wrong that will be mended


class Asking:
    """Questions of a stage to whoever its recipe names: a script, an endpoint, a checkpoint.

    A few that get no text are no reason to stop. Nobody there, or many without a text, ends the run: what an endpoint has
    answered is in its ledger, so going on asks for the rest alone.
    """

    def __init__(self, asker: Asker, source: Source | None) -> None:
        self.asker = asker
        self.who = "the script" if source is None else source.base_url or source.checkpoint
        limits = ("temperature", "max_tokens") if source else ()
        self.limits = {name: getattr(source, name) for name in limits}

    def __call__(self, questions: Sequence[Messages], sample: int = 0) -> list[Reply]:
        """One reply per question.

        Raises:
            RunError: nobody is there, more than LOST of the questions failed, or all were refused.
        """
        replies = self.asker.ask([Request(messages=messages, sample=sample, **self.limits) for messages in questions])
        missing = [reply for reply in replies if reply.text is None]
        failed = [reply for reply in missing if not reply.refused]
        gone = not all(reply.connected for reply in failed)
        if missing and (gone or len(failed) > LOST * len(replies) or len(missing) == len(replies)):
            first, *_ = failed or missing
            told = f"{self.who} left {len(missing)} of {len(replies)} requests without a text: {first.why}"
            raise RunError(f"{told}. What it has written is kept and not asked for again: go on with --resume once it answers")
        return replies


class Local:
    """A model, asked like an endpoint. Seeded by the request, so it repeats itself."""

    def __init__(self, loaded: folder.Loaded, prompter: Prompter, device: Device) -> None:
        """`prompter` tells how messages become a prompt: by a template of one slot, or the chat template."""
        self.loaded, self.prompter = loaded, prompter
        self.sampler = Sampler(loaded, _Rendered(loaded.tokenizer, prompter.template, ""), device.autocast)

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        replies: list[Reply | None] = [None] * len(requests)
        for place, request in enumerate(requests):
            prompt = self._prompt(request)
            room = self.loaded.context - len(prompt)
            if room < request.max_tokens:
                told = f"a question of {len(prompt)} tokens leaves {room} of the {request.max_tokens} to reply"
                replies[place] = Reply.none(told, refused=True)
        kinds = {_sampling(request) for request in requests}
        for kind in sorted(kinds, key=repr):
            mine = [p for p, request in enumerate(requests) if replies[p] is None and _sampling(request) == kind]
            problems = [self._problem(requests[place]) for place in mine]
            for place, group in zip(mine, self.sampler.sample(problems, 1, kind, 0), strict=True):
                [rollout] = group.rollouts
                text = self.loaded.tokenizer.decode(rollout.token_ids[rollout.sampled], skip_special_tokens=True)
                used = len(rollout.token_ids) - rollout.length
                replies[place] = Reply(
                    text=text, truncated=rollout.truncated, prompt_tokens=used, completion_tokens=rollout.length, paid=False
                )
        return [reply or Reply.none("lost") for reply in replies]

    def _problem(self, request: Request) -> Problem:
        """Its id, which seeds the reply, depends on the request alone, whatever else is asked with it."""
        text = self._text(request)
        return Problem(id=f"{problem_id('judge', text)}/{request.sample}", task="judge", question=text, answer="")

    def _prompt(self, request: Request) -> list[int]:
        return self.sampler.prompter.encode(self._text(request))

    def _text(self, request: Request) -> str:
        """The rendered chat. No special token of this very model may come out of a message."""
        tokenizer = self.loaded.tokenizer
        messages = [{**m, "content": _tamed(m["content"], tokenizer)} for m in request.messages]
        joined = "\n\n".join(m["content"] for m in messages)  # where there is no system role, it opens the user's message
        if self.prompter.template is not None:
            return self.prompter.render(joined)
        try:
            return self.prompter.render_messages(messages)
        except TemplateError:
            return self.prompter.render(joined)


class _Rendered(Prompter):
    """For prompts that are rendered already."""

    def render(self, question: str) -> str:
        return question


def _tamed(text: str, tokenizer: PreTrainedTokenizerFast) -> str:
    for token in tokenizer.all_special_tokens:
        if len(token) > 1:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def _sampling(request: Request) -> Sampling:
    return Sampling(temperature=request.temperature, top_p=request.top_p, max_new_tokens=request.max_tokens, stop=request.stop)
