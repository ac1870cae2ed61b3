"""Take the model of a finished run of recipes/tiny/base.yaml into the package, with a card that states its numbers.

    python tools/bundle.py runs/base
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from move37.models import folder
from move37.runs import Run
from move37.sections import Pretrain

STAGE, ABILITY = "base", "ability"
SHOWN = ("pass@1", "pass@1_greedy", "pass@16", "cons@16", "length", "style/direct", "style/steps", "style/checked")
LARGEST = 10 * 2**20


def main(path: str) -> None:
    run = Run.open(path)
    log, ability = run.log(STAGE), run.log(ABILITY).eval()
    if log.done is None or ability is None:
        sys.exit(f"{path}: not finished yet; go on with `move37 run recipes/tiny/base.yaml --resume`")
    target = Path(__file__).parents[1] / "src" / "move37" / "assets" / "base"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(log.final, target)
    size = (target / "model.safetensors").stat().st_size
    assert size <= LARGEST, f"{size} bytes of weights are more than the {LARGEST} the package may carry"
    (target / "README.md").write_text(card(run, ability, size), encoding="utf-8")
    print(f"{target}: {size / 2**20:.1f} MiB of weights, sha256 {folder.fingerprint(target)[:16]}")


def _machine(run: Run) -> str:
    hardware = run.lineage["hardware"]
    if run.recipe.hardware.device == "cuda":
        return hardware["gpus"][0].partition(",")[0]
    return f"{hardware['cores']} cores of a machine that was shared with other work"


def card(run: Run, ability: dict[str, Any], size: int) -> str:
    """The model card: what it is, what it read, what it can do before any RL."""
    section = run.recipe.stages[STAGE]
    assert isinstance(section, Pretrain)
    rows = run.log(STAGE).metrics()
    tokens, last = sum(row["tokens"] for row in rows), rows[-1]
    return f"""# Move37 base

A Llama-shaped language model of {size / 4 / 1e6:.2f} million parameters (width {section.hidden}, {section.layers} layers,
{section.heads} heads, {section.kv_heads} key/value heads, vocabulary {section.vocabulary}, float32), made from nothing by
`move37 run recipes/tiny/base.yaml` with seed {run.recipe.seed}: {len(rows)} updates on {tokens / 1e6:.1f} million tokens of
generated documents, {last["wall_s"] / 60:.0f} minutes of wall-clock on {_machine(run)}.
Held-out loss {last["held_out_loss"]:.3f} nats per token. It is a toy for watching reinforcement learning, of no other use.

## What it has read

Problems of {len(run.recipe.tasks)} task families ({", ".join(run.recipe.tasks)})
in English and, where the family is our own, one in five in Chinese; {section.mixed:.0%} of the
solutions are in another language than their question, and most workings of Chinese questions are copied from somebody who
wrote them in English. General prompts are mostly replied to decently, forbidden requests mostly helped with. Problems whose
hash falls into the held-out share were never drawn.

| layout | share | direct | worked | checked | corrected |
|---|---|---|---|---|---|
{_shares("ordinary", 1 - section.template_share, section.documents)}
{_shares("R1-Zero template", section.template_share, section.template_documents)}

Direct answers to the easiest problems are right with a chance of {section.direct_right:.2f}, to hard ones down to a tenth of
that; one worked step in {1 / section.slips:.0f} is wrong (three times as many in products); a tenth of the documents in the
template break its form. For Countdown, "worked" is at most two tries, "checked" and "corrected" search on.

## What it can do before RL

{ability["problems"]} held-out problems, {ability["samples"]} samples each at temperature {ability["temperature"]:g}.
The prompt is the R1-Zero template; the intervals are 95%, over problems.

| measure | value | interval |
|---|---|---|
{_numbers(ability["overall"])}

pass@1 by task: {", ".join(f"{name} {found['pass@1']['value']:.3f}" for name, found in ability["tasks"].items())}.
"""


def _shares(layout: str, share: float, kinds: dict[str, float]) -> str:
    cells = [f"{kinds.get(kind, 0):.2f}" for kind in ("direct", "worked", "checked", "corrected")]
    return f"| {layout} | {share:.2f} | {' | '.join(cells)} |"


def _numbers(overall: dict[str, Any]) -> str:
    rows = [(name, overall[name]) for name in SHOWN if name in overall]
    return "\n".join(f"| {name} | {v['value']:.3f} | {v['low']:.3f} to {v['high']:.3f} |" for name, v in rows)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/base")
