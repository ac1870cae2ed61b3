"""`move37 lineage`: the artefacts of a run as a tree, each below what it was made from."""

from __future__ import annotations

from typing import Any

from rich.text import Text
from rich.tree import Tree

from move37 import graph
from move37.report.live import duration, number
from move37.runs import Run

SHOWN = 12  # digits of a hash


def tree(run: Run) -> Tree:
    """Models and stages; a stage with several inputs stands below the model it starts from and names the others."""
    top = Tree(Text(_head(run)), guide_style="dim")
    nodes: dict[str, Tree] = {}
    for name, section in run.recipe.stages.items():
        record = run.log(name).lineage
        inputs = section.inputs()
        root = next(iter(inputs.values()), None)
        if root == "model" and "model" not in nodes:
            nodes["model"] = top.add(Text(_model(run, record, next(iter(inputs)))))
        node = nodes.get(root, top) if root else top
        nodes[name] = node.add(Text(_line(run, name, record)))
        for key, value in list(inputs.items())[1:]:
            nodes[name].add(Text(f"{key}: {_source(run, record, key, value)}", style="dim"))
    return top


def _head(run: Run) -> str:
    lineage = run.lineage
    return f"{run.path}  seed {run.recipe.seed}  started {lineage.get('started', '?')}" + (
        f"  resumed {len(lineage['resumed'])} times" if lineage.get("resumed") else ""
    )


def _model(run: Run, record: dict[str, Any], key: str) -> str:
    known = record.get("parents", {}).get(key, {})
    return f"model {run.recipe.model}  {known.get('sha256', '')[:SHOWN]}".rstrip()


def _source(run: Run, record: dict[str, Any], key: str, value: str) -> str:
    known = record.get("parents", {}).get(key, {}).get("sha256") or record.get("files", {}).get(value, "")
    return f"{value}  {known[:SHOWN]}".rstrip()


def _line(run: Run, name: str, record: dict[str, Any]) -> str:
    """Name, kind, state, what was made, what it cost, and the code where it is not today's."""
    section = run.recipe.stages[name]
    parts = [f"{name} ({section.stage})"]
    made = record.get("made")
    if not record:
        return f"{parts[0]}  not begun"
    if made is None:
        rows = run.log(name).metrics()
        return f"{parts[0]}  begun {record['begun']}, " + (f"at step {rows[-1]['step']}" if rows else "no step done")
    if made["artefact"]:
        parts.append(f"{made['artefact']} {made['sha256'][:SHOWN]}")
    parts += [f"{number(made[key])} {key}" for key in ("steps", "rows", "tokens") if made.get(key)]
    if made.get("seconds"):
        parts.append(duration(made["seconds"]))
    if others := [code for code in record["code"] if code != graph.code()]:
        told = "; ".join(f"{code['version']}, {code['sha256'][:SHOWN]}" for code in others)
        parts.append(f"by other code ({told})")
    return "  ".join(parts)
