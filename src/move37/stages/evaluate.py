"""`evaluate`: held-out problems, sampled and greedy, with intervals."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from move37 import shards
from move37.errors import RecipeError, RunError
from move37.files import read_json, write_json
from move37.models import folder, vocabulary
from move37.report.estimators import Searched, summarise
from move37.rewards.combine import ACCURACY, grade
from move37.rollout.draw import Sampling
from move37.rollout.sampler import Sampler
from move37.sections import Evaluate, stops
from move37.stages import voting, watch
from move37.stages.context import Context
from move37.stages.scoring import Scorer, Verdicts
from move37.stages.search import Judge, TreeSearch
from move37.types import Group, Problem, Rollout

AT_ONCE = 32  # problems between two looks at Ctrl-C, and of a part that is kept


class Engine(Protocol):
    """Who answers: the local sampler, a remote model, a script."""

    def render(self, question: str) -> str:
        """What the model is given for a question, as text."""

    def sample(self, problems: Sequence[Problem], n: int, sampling: Sampling, seed: int) -> list[Group]: ...


class Evaluation:
    """The same problems and random streams for every model of a recipe, so that models are compared pairwise.

    Parts of the answers lie in `parts/` until the evaluation ends: one that is killed loses the part at hand, and a tree
    search what it had searched.
    """

    def __init__(self, context: Context, name: str, section: Evaluate, engine: Engine | None = None) -> None:
        """Without an engine the model that the section names is loaded and sampled here."""
        self.context = context
        self.name = name
        self.section = section
        self.log = context.run.log(name)
        self.tasks = context.chosen(section.tasks)
        self.done = 0
        self.parts = self.log.path / "parts"
        self.started = 0.0
        self.problems = [self._asked(p) for task in self.tasks.values() for p in task.held_out_problems(section.problems)]
        if section.search and engine and not isinstance(engine, Sampler):
            raise RecipeError(
                f"stages.{name}.search: a tree grows from tokens of a model that is sampled here; leave `search` out of what "
                "asks an endpoint or a script"
            )
        self.judge = self._judge() if section.search and section.search.value else None
        self.source = context.recipe.model if engine else str(self._measured())
        self.engine = engine or self._loaded()
        self.sampled: list[Group] = []

    def _judge(self) -> Judge:
        """The value model that guides the search.

        Raises:
            RecipeError: it reads other tokens than the measured model writes.
        """
        assert self.section.search is not None and self.section.search.value is not None
        path = self.context.run.log(self.section.search.value).value
        told = vocabulary.difference(*(folder.load_tokenizer(p) for p in (self._measured(), path)))
        if told:
            raise RecipeError(f"stages.{self.name}.search.value: another tokenizer than that of the measured model: {told}")
        return Judge(path, self.context.device)

    def _measured(self) -> Path:
        return self.context.directory(self.section.reward_model or self.section.init)

    def _loaded(self) -> Engine:
        if self.section.reward_model:
            return Verdicts(Scorer(self._measured(), self.context.device), self.tasks, self.section.reading)
        return self.context.sampler(self.context.load(self.section))

    @property
    def total(self) -> int:
        """Problems to answer, the greedy pass and the search included."""
        return len(self.problems) * (1 + self.section.greedy + (self.section.search is not None))

    def sentence(self) -> str:
        greedy = " and once greedily" if self.section.greedy else ""
        search = " and a tree search of as many tokens" if self.section.search else ""
        return f"{len(self.problems)} held-out problems, {self.section.samples} samples each{greedy}{search}, from {self.source}"

    def run(self) -> None:
        self.started = time.perf_counter() - self._spent()
        sampled = self._answer(self.section.samples, self._sampling(self.section.temperature), "sampled")
        greedy = self._answer(1, self._sampling(0.0), "greedy") if self.section.greedy else []
        voting.fill(sampled, self.tasks)
        searched = self._search(sampled) if self.section.search else []
        seconds = time.perf_counter() - self.started
        record = self._record(sampled, greedy, searched) | {"seconds": seconds}
        self.log.evaluation(record, sampled, greedy, [one.group for one in searched])
        self.sampled = sampled
        self.log.finish({"tokens": record["tokens"], "seconds": seconds}, "evaluation")
        shutil.rmtree(self.parts, ignore_errors=True)
        value = record["overall"]["pass@1"]
        told = (
            "no response could be graded"
            if value["value"] is None
            else f"pass@1 {value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"
        )
        self.context.display.note(f"{self.name}: {told}")

    def _record(self, sampled: list[Group], greedy: list[Group], searched: list[Searched]) -> dict[str, Any]:
        """The numbers, and everything one needs to repeat or to doubt them."""
        rollouts = [r for g in [*sampled, *greedy] for r in g.rollouts]
        s = self.section
        return {
            "stage": self.name,
            "model": self.source,
            "seed": self.context.recipe.seed,
            "temperature": s.temperature,
            "top_p": s.top_p,
            "max_new_tokens": s.max_new_tokens,
            "template": self.context.recipe.template,
            "template_sha256": hashlib.sha256(self.engine.render(self._worded("{question}")).encode()).hexdigest(),
            "reading": s.reading,
            "instruction": s.instruction,
            "prompt_tokens": sum(len(r.token_ids) - r.length for r in rollouts),
            "tokens": sum(r.length for r in rollouts) + sum(one.tokens for one in searched),
            **({"search": s.search.model_dump()} if s.search else {}),
            **summarise(sampled, greedy, searched),
        }

    def _asked(self, problem: Problem) -> Problem:
        return dataclasses.replace(problem, question=self._worded(problem.question))

    def _worded(self, question: str) -> str:
        return f"{question}\n{self.section.instruction}" if self.section.instruction else question

    def _sampling(self, temperature: float) -> Sampling:
        s = self.section
        truncation = {} if temperature == 0 else {"top_p": s.top_p, "top_k": s.top_k, "min_p": s.min_p}
        return Sampling(temperature=temperature, max_new_tokens=s.max_new_tokens, **stops(s.stop), **truncation)

    def _answer(self, samples: int, sampling: Sampling, what: str) -> list[Group]:
        seed = watch.mix(self.context.recipe.seed, "evaluate", what)
        groups: list[Group] = []
        for first in range(0, len(self.problems), AT_ONCE):
            self._interrupted(f"problem {self.done} of {self.name}")
            asked = self.problems[first : first + AT_ONCE]
            path = self.parts / f"{what}-{first:06d}.parquet"
            part = shards.read(path) if path.exists() else self._part(asked, samples, sampling, seed, path)
            _check_complete(asked, samples, part)
            groups += [Group(problem=problem, rollouts=g.rollouts) for problem, g in zip(asked, part, strict=True)]
            self._shown(len(part), sum(r.length for g in part for r in g.rollouts))
        return groups

    def _part(self, asked: Sequence[Problem], samples: int, sampling: Sampling, seed: int, path: Path) -> list[Group]:
        """Answers to some problems, graded and kept."""
        part = self.engine.sample(asked, samples, sampling, seed)
        _check_complete(asked, samples, part)
        grade(part, ACCURACY, self.tasks, self.section.reading)
        shards.write(path, 0, part)
        write_json(self.parts / "clock.json", {"seconds": time.perf_counter() - self.started})
        return part

    def _spent(self) -> float:
        """Seconds that went into the parts that are there."""
        clock = self.parts / "clock.json"
        return read_json(clock)["seconds"] if clock.exists() else 0.0

    def _search(self, sampled: list[Group]) -> list[Searched]:
        """A tree for each problem, with the tokens that its samples took."""
        s = self.section
        assert s.search is not None and isinstance(self.engine, Sampler)
        seed = watch.mix(self.context.recipe.seed, "evaluate", "searched")
        search = TreeSearch(s.search, self.engine, self.tasks, s.reading, seed, self.judge)
        found: list[Searched] = []
        for first in range(0, len(sampled), AT_ONCE):
            self._interrupted(f"{self.name} up to its tree search")
            mine = sampled[first : first + AT_ONCE]
            budgets = [sum(r.length for r in g.rollouts) for g in mine]
            part = search.run([g.problem for g in mine], budgets, self._sampling(s.temperature))
            grade([one.group for one in part], ACCURACY, self.tasks, s.reading)
            found += part
            self._shown(len(part), sum(one.tokens for one in part))
        voting.fill([one.group for one in found], self.tasks)
        return found

    def _interrupted(self, saved: str) -> None:
        if self.context.interrupt.asked:
            self.context.interrupt.stop(saved, self.context.run.resume_command())

    def _shown(self, problems: int, tokens: int) -> None:
        self.done += problems
        self.context.display.step({"step": self.done, "tokens": tokens})


def _check_complete(problems: Sequence[Problem], samples: int, groups: Sequence[Group]) -> None:
    """A mean over what happens to be there is another number than it is called.

    Raises:
        RunError: naming the problems whose samples are missing.
    """
    found: dict[str, list[Rollout]] = {g.problem.id: g.rollouts for g in groups}
    short = [p for p in problems if len(found.get(p.id, [])) != samples]
    if short:
        named = ", ".join(f"{p.task}/{p.id} has {len(found.get(p.id, []))} of {samples}" for p in short[:5])
        raise RunError(f"samples are missing for {len(short)} of {len(problems)} problems: {named}")
