"""The commands that measure: `eval`, `judge`, `probe`. Thin, like `cli.py`, which registers them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from move37.asked import DATA, EvalOptions, JudgeOptions, ProbeOptions
from move37.errors import UserError
from move37.terminal import comparison, console, options_of, table

if TYPE_CHECKING:
    from move37.endpoint import Endpoint


@options_of(EvalOptions)
def evaluate(ctx: typer.Context, given: EvalOptions) -> None:
    """Measure a model: pass@1, pass@k, majority, extraction, truncation, with 95% intervals."""
    import tempfile

    from move37 import trial
    from move37.report import export

    if given.export:
        export.known(given.export[0])
    with tempfile.TemporaryDirectory() as scratch:
        wanted = trial.plan(given, Path(os.environ[DATA]) if DATA in os.environ else None, Path(scratch))
        found = _evaluate(ctx, given, wanted)
    shown = console(ctx.obj["plain"])
    records = {name: finding.record for name, finding in found.items()}
    for name, record in records.items():
        record |= trial.cost(record, given.price_in, given.price_out)
        comparison(shown, {"before": None, "after": record["overall"]}, "" if len(records) == 1 else name)
        if len(record["tasks"]) > 1:
            for task, metrics in record["tasks"].items():
                comparison(shown, {"before": None, "after": metrics}, task)
        typer.echo(trial.footnote(record))
    if given.out:
        from move37.files import write_json

        typer.echo(f"numbers: {write_json(given.out, records)}")
    if given.export:
        for name, finding in found.items():
            typer.echo(f"responses: {export.write(given.export[0], given.export[1], name, finding.record, finding.groups)}")


def _evaluate(ctx: typer.Context, given: EvalOptions, wanted: Any) -> Any:
    from move37 import stages
    from move37.report.live import Live
    from move37.stages import engines

    plain = ctx.obj["plain"]
    if given.endpoint:
        make = engines.remote(endpoint_of(given.endpoint, given.model, given.key_env), given.ledger)
    else:
        make = engines.POLICIES.get(str(given.checkpoint), engines.local)()
    with Live(title=str(wanted.model), console=console(plain, error=True), plain=plain) as display:
        return stages.evaluate_checkpoint(wanted, Path.cwd(), display, make)


def endpoint_of(url: str, model: str | None, key_env: str) -> Endpoint:
    """Raises UserError for what can not be an endpoint."""
    from pydantic import ValidationError

    from move37.endpoint import Endpoint

    if not model:
        raise UserError("--endpoint needs --model, the model's name there")
    try:
        return Endpoint(base_url=url, model=model, key_env=key_env)
    except ValidationError as problem:
        raise UserError(f"--endpoint {url}: {problem.errors()[0]['msg'].removeprefix('Value error, ')}") from None


@options_of(JudgeOptions)
def judge(ctx: typer.Context, given: JudgeOptions) -> None:
    """Measure a judge: does it agree with people, and with itself when the two responses are swapped?"""
    from pydantic import ValidationError

    from move37.rewards import agreement
    from move37.rewards.judge import JudgePair, Source

    pairs = agreement.load(given.pairs, given.layout)[: given.n]
    try:
        source = Source(
            base_url=given.endpoint or "",
            model=given.model or "",
            key_env=given.key_env,
            checkpoint=given.checkpoint,
            max_tokens=given.max_tokens,
        )
    except ValidationError as problem:
        raise UserError(f"move37 judge: {problem.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    from move37.sections import Hardware
    from move37.stages.context import Device
    from move37.stages.judges import Place, asker_of

    asker = asker_of(source, given.ledger, Place(base=Path.cwd(), device=Device.choose(Hardware())))
    found = agreement.measure(JudgePair(judge=source).asked_by(asker), pairs)
    table(console(ctx.obj["plain"]), "", [found])
    if given.out:
        from move37.files import write_json

        typer.echo(f"numbers: {write_json(given.out, found)}")
    if not found["told"]:
        raise UserError(f"no verdict could be read for any of {len(pairs)} pairs: {found['trouble']}")


@options_of(ProbeOptions)
def probe(ctx: typer.Context, given: ProbeOptions) -> None:
    """Try to cheat every reward of a recipe; exit code 1 where one pays more than it does for an honest wrong answer."""
    from move37 import recipe as recipes
    from move37.report import holes

    if given.problems < 1:
        raise UserError(f"--problems {given.problems}: at least 1")
    loaded = recipes.load(given.recipe, given.overrides or [])
    from move37.stages.probing import probe as tried

    paid = tried(loaded, given.recipe.resolve().parent, given.problems, given.ledger)
    shown = console(ctx.obj["plain"])
    for title, rows in holes.tables(paid).items():
        table(shown, title, rows)
    for line in holes.sentences(paid):
        typer.echo(line)
    if given.out:
        from move37.files import write_json

        typer.echo(f"numbers: {write_json(given.out, holes.records(paid))}")
    if any(one.hole for one in paid):
        raise typer.Exit(1)
