"""The `move37` command. Thin: every command imports what it needs when it is called, so that `--help` is quick."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from move37 import measure
from move37.errors import Interrupted, Move37Error, UserError
from move37.terminal import comparison, console, options_of, table

if TYPE_CHECKING:
    from move37.runs import Run


class Commands(TyperGroup):
    """One message on standard error and the right exit code for everything raised on purpose; no traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Move37Error as error:
            typer.echo(str(error) if isinstance(error, Interrupted) else f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the framed help costs a third of the time that --help takes
    help="Turn a base language model into a reasoning model. One recipe file, every number on disk.",
)

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="a recipe file (YAML)")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="such as rl.steps=50")]
RunDirectory = Annotated[Path, typer.Argument(metavar="RUN", help="a run directory, such as runs/r1_zero")]


def _version(asked: bool) -> None:
    if asked:
        from move37 import __version__

        typer.echo(f"move37 {__version__}")
        raise typer.Exit


@app.callback()
def common(
    ctx: typer.Context,
    plain: Annotated[bool, typer.Option("--plain", help="lines without colour or frames, as when piped")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="show it")] = False,
) -> None:
    ctx.obj = {"plain": plain or not sys.stdout.isatty()}


@dataclass(frozen=True, kw_only=True)
class Going:
    """What `run` does about a run that is there, and which stages it is about."""

    resume: Annotated[bool, typer.Option("--resume", help="go on with the run that is there")] = False
    new: Annotated[bool, typer.Option("--new", help="start another one beside it: name-2, name-3 ...")] = False
    force: Annotated[bool, typer.Option("--force", help="delete it and start again")] = False
    remake: Annotated[
        bool, typer.Option("--remake", help="go on; make again what a changed key invalidates, or the stages named")
    ] = False
    only: Annotated[str | None, typer.Option("--only", metavar="STAGE", help="this stage alone")] = None
    start: Annotated[str | None, typer.Option("--from", metavar="STAGE", help="this stage and those after it")] = None

    def choice(self) -> list[str]:
        """The options that choose stages, as they were given."""
        return [word for option, value in (("--only", self.only), ("--from", self.start)) if value for word in (option, value)]

    def mode(self, there: bool) -> Literal["resume", "new", "force"] | None:
        """How to open the run. Who names a stage of a run that is there means that run."""
        going_on = "remake" if self.remake else "resume"
        given = {going_on: self.resume or self.remake, "new": self.new, "force": self.force}
        asked = [name for name, wanted in given.items() if wanted]
        if len(asked) > 1:
            raise UserError(f"--{' and --'.join(asked)} exclude each other; choose one")
        if going_on in asked or (not asked and there and (self.only or self.start)):
            return "resume"
        return "new" if self.new else "force" if self.force else None


@app.command()
@options_of(Going)
def run(
    ctx: typer.Context,
    recipe: RecipeFile,
    overrides: Overrides = None,
    runs: Annotated[Path, typer.Option("--runs", help="directory of run directories")] = Path("runs"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check and show the recipe, run nothing")] = False,
    going: Going = Going(),
) -> None:
    """Run a recipe: train, evaluate, and write the report. Stages that are done and unchanged are passed over."""
    from move37 import graph
    from move37 import recipe as recipes
    from move37.runs import Run, is_run

    loaded = recipes.load(recipe, overrides or [])
    names = graph.chosen(loaded, going.only, going.start)
    mode = going.mode(there=is_run(runs / loaded.name))
    if dry_run:
        typer.echo(_sentences(loaded) + "\n" + loaded.to_yaml())
        return
    made = Run.create(runs, loaded, mode, source=recipe, overrides=overrides or [], choice=going.choice())
    with made:
        notes = graph.settle(made, names, going.remake) if mode == "resume" else []
        try:
            _run(made, names, notes, ctx.obj["plain"])
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted: {made.path} keeps what was saved. Go on with: {made.resume_command()}") from None
        except Move37Error:
            raise
        except Exception:
            _crash(made.path, f"what was saved is safe. Go on with: {made.resume_command()}")


def _run(made: Run, names: list[str], notes: list[str], plain: bool) -> None:
    from move37 import stages
    from move37.report import page, summary
    from move37.report.live import Live

    with Live(title=made.recipe.name, console=console(plain), plain=plain) as display:
        for note in notes:
            display.note(note)
        try:
            stages.run_recipe(made.recipe, made, display, names)
        except Interrupted:
            summary.write(made)
            page.write(made)
            raise
    found = summary.write(made)
    comparison(console(plain), found)
    typer.echo(f"report: {page.write(made)}")


@app.command()
def check(
    ctx: typer.Context,
    recipe: RecipeFile,
    overrides: Overrides = None,
    no_model: Annotated[bool, typer.Option("--no-model", help="tasks and template only; loads no weights")] = False,
) -> None:
    """Check a recipe: its keys, that gold answers score 1 and wrong ones 0, and the base model's pass@k."""
    from move37 import recipe as recipes

    loaded = recipes.load(recipe, overrides or [])
    typer.echo(_sentences(loaded))
    from move37 import stages

    out = console(ctx.obj["plain"])
    for line in stages.check_data(loaded, recipe.resolve().parent, list(loaded.stages)):
        out.print(line)
    records = stages.check_tasks(loaded, recipe.resolve().parent)
    table(out, "tasks", records)
    failed = any(record.get("ok") is False for record in records)
    if not no_model and loaded.model is not None:
        records = stages.check_model(loaded, recipe.resolve().parent)
        table(out, "base model", records)
        failed = failed or any(record.get("ok") is False for record in records)
    if failed:
        raise typer.Exit(1)


app.command("eval")(measure.evaluate)
app.command()(measure.judge)
app.command()(measure.probe)


@app.command()
def samples(
    ctx: typer.Context,
    run: RunDirectory,
    stage: Annotated[str | None, typer.Option("--stage", help="only this stage")] = None,
    step: Annotated[int | None, typer.Option("--step", help="only this step; -1 is the last")] = None,
    task: Annotated[str | None, typer.Option("--task", help="only this task")] = None,
    reward: Annotated[str | None, typer.Option("--reward", help="LOW..HIGH, either may be left out: 0.5.. or ..0")] = None,
    verdict: Annotated[str | None, typer.Option("--verdict", help="right, wrong or cannot_tell")] = None,
    n: Annotated[int, typer.Option("--n", "-n", help="how many to show")] = 5,
) -> None:
    """Read what the model wrote, by stage, step, task, reward and verdict."""
    from itertools import islice

    from move37.report.samples import Filter, select, show
    from move37.runs import Run

    low, high = _range(reward)
    wanted = Filter(stage=stage, step=step, task=task, verdict=verdict, min_reward=low, max_reward=high)
    out = console(ctx.obj["plain"])
    count = 0
    for count, (where, row) in enumerate(islice(select(Run.open(run), wanted), n), 1):  # noqa: B007
        show(out, where, row, ctx.obj["plain"])
    if not count:
        typer.echo("no response is like that")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="run directories")],
    picture: Annotated[Path | None, typer.Option("--picture", help="draw the curves of these runs: .svg or .png")] = None,
) -> None:
    """Draw the report page anew; or, with --picture, the curves of one run or of several seeds."""
    from move37.report import page, summary
    from move37.report.picture import picture as draw
    from move37.runs import Run

    opened = [Run.open(path) for path in runs]
    if picture:
        typer.echo(f"picture: {draw(opened, picture)}")
        return
    for one in opened:
        summary.write(one)
        typer.echo(f"report: {page.write(one)}")


@app.command()
def lineage(ctx: typer.Context, run: RunDirectory) -> None:
    """Show what a run's stages were made from, what they made, and what that cost."""
    from move37.report.lineage import tree
    from move37.runs import Run

    out = console(ctx.obj["plain"])
    if not out.is_terminal:
        out.width = 200  # a pipe has none, and rich would cut at 80
    out.print(tree(Run.open(run)))


@app.command()
def grade(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="records as JSONL; - is standard input")] = "-",
    out: Annotated[Path | None, typer.Option("--out", help="write to this file, not to standard output")] = None,
) -> None:
    """Grade answers: JSONL in, JSONL out, as they come. docs/grading.md says what is right and what a record holds."""
    from move37.grading import stream
    from move37.streams import reading, writing

    with reading(file) as descriptor, writing(out, file) as write:
        counts = stream(descriptor, write, lambda message: typer.echo(f"error: {message}", err=True))
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count or name in ("right", "wrong"))
    if out:
        typer.echo(f"{out}: {told}", err=True)
    if counts["error"]:
        raise UserError(f"{counts['error']} lines could not be used; the others are graded ({told})")


@app.command()
def cases(
    file: Annotated[Path, typer.Argument(metavar="PROBLEMS", help="JSONL: question, generators, submissions")],
    out: Annotated[Path, typer.Option("--out", help="problems that are kept, in the layout `contest`")],
    report: Annotated[Path | None, typer.Option("--report", help="JSONL: what became of every problem")] = None,
    tests: Annotated[int, typer.Option("--tests", help="runs of the generators")] = 50,
    submissions: Annotated[int, typer.Option("--submissions", help="submissions that are run")] = 10,
    agree: Annotated[int, typer.Option("--agree", help="that must print the same, for a case")] = 7,
    passing: Annotated[int, typer.Option("--passing", help="that must pass all cases, for a problem")] = 9,
    least: Annotated[int, typer.Option("--least", help="cases that a problem needs")] = 40,
) -> None:
    """Make test cases for programs from generators, kept where reference submissions agree. See docs/tasks.md."""
    from move37.cases import Rules, make

    rules = Rules(tests=tests, submissions=submissions, agree=agree, passing=passing, least=least)
    typer.echo(make(file, out, report, rules))


@app.command("ls")
def list_(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="directory of run directories")] = Path("runs"),
) -> None:
    """List runs: how far each is, and pass@1 before and after."""
    from move37.report.listing import rows
    from move37.runs import list_runs

    found = list_runs(directory)
    if not found:
        typer.echo(f"{directory}: no runs here")
        return
    table(console(ctx.obj["plain"]), "", rows(found))


@app.command()
def doctor(ctx: typer.Context) -> None:
    """Say what this machine has, and what each missing piece would give."""
    from rich.text import Text

    from move37.doctor import examine

    out = console(ctx.obj["plain"])
    colours = {"ok": "green", "missing": "dim", "warning": "yellow"}
    for found in examine(Path.cwd()):
        out.print(Text(f"{found.state:8}", style=colours[found.state]), Text(f"{found.what}: {found.told}"))


# ------------------------------------------------------------------------------------------------------------- helpers


def _sentences(recipe: Any) -> str:
    """The derived sizes of every stage, for people."""
    return "\n".join(
        f"{name} ({stage.stage}): {stage.sentence()}".removesuffix(": ")
        for name, stage in recipe.stages.items()
    )


def _range(text: str | None) -> tuple[float, float]:
    """`LOW..HIGH` with either left out; one number alone is both."""
    if text is None:
        return -float("inf"), float("inf")
    low, separator, high = text.partition("..")
    try:
        first = float(low) if low else -float("inf")
        return first, (float(high) if high else float("inf")) if separator else first
    except ValueError:
        raise UserError(f"--reward {text!r} must look like 0.5..1, 0.5.. or ..0") from None


def _crash(directory: Path, advice: str) -> None:
    """An error of ours: the traceback goes to a file, the user gets one message."""
    target = directory / "crash.txt"
    text = traceback.format_exc()
    try:
        target.write_text(text, encoding="utf-8")
    except OSError:
        target = Path(tempfile.gettempdir()) / f"move37-crash-{os.getpid()}.txt"
        target.write_text(text, encoding="utf-8")
    last = text.strip().splitlines()[-1]
    typer.echo(f"error: Move37 itself failed ({last}); {advice}\nThe traceback is in {target}", err=True)
    raise typer.Exit(1)


def main() -> None:
    """Entry point of the `move37` command."""
    app()


__all__ = ["app", "main"]
