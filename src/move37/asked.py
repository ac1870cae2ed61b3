"""What the measuring commands can be asked: one dataclass each, its fields the options. Imports typer alone, for `--help`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

DATA = "MOVE37_DATA"  # environment variable: directory of the suites' files
LEDGER = Path("runs/ledger.jsonl")

Url = Annotated[str | None, typer.Option("--endpoint", metavar="URL", help="an OpenAI-compatible endpoint; ends in /v1")]
Model = Annotated[str | None, typer.Option("--model", help="the model's name at the endpoint")]
KeyEnv = Annotated[str, typer.Option("--key-env", help="environment variable that holds the endpoint's key")]
LedgerFile = Annotated[Path, typer.Option("--ledger", help="file of finished requests; none is paid twice")]
Prices = (
    typer.Option("--price-in", help="price of a million prompt tokens"),
    typer.Option("--price-out", help="of response tokens"),
)


@dataclass(frozen=True)
class EvalOptions:
    checkpoint: Annotated[
        str | None,
        typer.Argument(metavar="CKPT", help="a model directory, a run, `bundled`; `oracle` or `empty` to try a suite"),
    ] = None
    task: Annotated[list[str] | None, typer.Option("--task", help="recipe, file, layout:file, family or reasoning-gym name")] = (
        None
    )
    suite: Annotated[list[str] | None, typer.Option("--suite", help="gsm8k, math500, aime24 ...: docs/evaluation.md")] = None
    data: Annotated[
        Path | None, typer.Option("--data", help=f"directory of the suites' files [default: ${DATA}, else the hub]")
    ] = None
    protocol: Annotated[str | None, typer.Option("--protocol", help="`r1`: T 0.6, top-p 0.95, k of the suite, 32,768 tokens")] = (
        None
    )
    samples: Annotated[int | None, typer.Option("--samples", help="responses per problem [default: 16]")] = None
    problems: Annotated[int | None, typer.Option("--problems", help="problems per task [default: 30; of a suite all]")] = None
    max_new_tokens: Annotated[int | None, typer.Option("--max-new-tokens", help="longest response [default: 256]")] = None
    template: Annotated[str | None, typer.Option("--template", help="r1_zero, chat or a file")] = None
    reading: Annotated[str | None, typer.Option("--reading", help="where the answer stands: tags, box or text")] = None
    seed: Annotated[int, typer.Option("--seed", help="of sampling")] = 0
    endpoint: Url = None
    model: Model = None
    key_env: KeyEnv = ""
    ledger: LedgerFile = LEDGER
    price_in: Annotated[float | None, Prices[0]] = None
    price_out: Annotated[float | None, Prices[1]] = None
    export: Annotated[
        tuple[str, Path] | None, typer.Option("--export", metavar="FORMAT DIR", help="responses for inspect or lm-eval")
    ] = None
    out: Annotated[Path | None, typer.Option("--json", help="write the numbers to this file as well")] = None


@dataclass(frozen=True)
class JudgeOptions:
    pairs: Annotated[Path, typer.Argument(metavar="PAIRS", help="a file of pairs with human preferences")]
    layout: Annotated[str, typer.Option("--layout", help="llmbar or pandalm")] = "llmbar"
    endpoint: Url = None
    model: Model = None
    key_env: KeyEnv = ""
    checkpoint: Annotated[str, typer.Option("--checkpoint", help="a model directory with a chat template, instead")] = ""
    n: Annotated[int | None, typer.Option("--n", "-n", help="only the first so many pairs")] = None
    max_tokens: Annotated[int, typer.Option("--max-tokens", help="longest reply of the judge")] = 1024
    ledger: LedgerFile = LEDGER
    out: Annotated[Path | None, typer.Option("--json", help="write the numbers to this file as well")] = None


@dataclass(frozen=True)
class ProbeOptions:
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="a recipe file (YAML)")]
    overrides: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="such as rl.rewards.format=0")] = None
    problems: Annotated[int, typer.Option("--problems", help="held-out problems per task")] = 5
    ledger: LedgerFile = LEDGER
    out: Annotated[Path | None, typer.Option("--json", help="write what every attempt was paid to this file")] = None
