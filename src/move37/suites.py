"""Test suites by name: where their problems are, how they are asked and how often. One dict literal.

A suite's file is looked for in the data directory, under the names of its public repositories. The protocol `r1` is that
of DeepSeek-R1 (arXiv 2501.12948v1, section 3, and v2, D.1): temperature 0.6, top-p 0.95, at most 32,768 tokens, pass@1 as
the mean of k samples, no greedy decoding, no examples in the prompt; k is 64 for AIME and 16 for MATH. Deviation: for the
suites that the paper does not name k is 16 where a suite has at most 200 problems, and 4 otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from move37.errors import TaskError, UserError, nearest
from move37.files import write_atomic

STEPS = "Please reason step by step, and put your final answer within \\boxed{}."
LETTER = "Please reason step by step, and put the letter of your choice within \\boxed{}."
PEOPLE = (
    "Please reason step by step, and put `NAME is a knight` or `NAME is a knave` for everybody, with commas, within \\boxed{}."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    layout: str
    files: tuple[str, ...]  # looked for in this order, below the data directory
    k: int  # samples per problem under the protocol r1
    instruction: str = STEPS  # for models that were not trained on the R1-Zero form
    reading: str = "box"  # where those models write the answer
    hub: tuple[str, str | None, str] | None = None  # name, configuration and split of the `datasets` hub


SUITES: dict[str, Suite] = {
    "aime24": Suite(
        layout="aime24", files=("aime24/test.jsonl", "aime24.jsonl"), k=64, hub=("HuggingFaceH4/aime_2024", None, "train")
    ),
    "amc23": Suite(layout="amc23", files=("amc23/test.jsonl", "amc23.jsonl"), k=16),
    "aqua": Suite(
        layout="aqua",
        files=("aqua/test.jsonl", "aqua.jsonl", "qwen_other_math/aqua.jsonl"),
        k=4,
        instruction=LETTER,
        hub=("deepmind/aqua_rat", "raw", "test"),
    ),
    "cmath": Suite(layout="cmath", files=("cmath/test.jsonl", "cmath.jsonl", "qwen_other_math/cmath.jsonl"), k=4),
    "college_math": Suite(
        layout="college_math", files=("college_math/test.jsonl", "college_math.jsonl", "qwen_other_math/college_math.jsonl"), k=4
    ),
    "gsm8k": Suite(layout="gsm8k", files=("gsm8k/test.jsonl", "gsm8k.jsonl"), k=4, hub=("openai/gsm8k", "main", "test")),
    "humaneval": Suite(
        layout="humaneval",
        files=("humaneval/HumanEval.jsonl", "HumanEval.jsonl"),
        k=16,
        instruction="",  # the layout asks for the whole function
        reading="text",
        hub=("openai/openai_humaneval", None, "test"),
    ),
    "ifeval": Suite(
        layout="ifeval",
        files=("ifeval/en_input_data.jsonl", "ifeval/input_data.jsonl", "ifeval.jsonl"),
        k=4,
        instruction="",  # the prompts are the instructions
        reading="text",
        hub=("google/IFEval", None, "train"),
    ),
    "knights_knaves": Suite(
        layout="knights_knaves", files=("knights_knaves/3ppl_test.parquet", "3ppl/test.parquet"), k=16, instruction=PEOPLE
    ),
    "math500": Suite(
        layout="math500", files=("math500/test.jsonl", "math500.jsonl"), k=16, hub=("HuggingFaceH4/MATH-500", None, "test")
    ),
    "olymmath": Suite(
        layout="olymmath",
        files=("olymmath/OlymMATH-EN-EASY.jsonl", "OlymMATH-EN-EASY.jsonl"),
        k=16,
        hub=("RUC-AIBOX/OlymMATH", "en-easy", "test"),
    ),
    "sat_math": Suite(
        layout="sat_math",
        files=("sat_math/test.jsonl", "sat_math.jsonl", "qwen_other_math/sat_math.jsonl"),
        k=16,
        instruction=LETTER,
    ),
    "svamp": Suite(layout="svamp", files=("svamp/test.jsonl", "svamp.jsonl", "qwen_other_math/svamp.jsonl"), k=4),
}

# name -> settings of the evaluate stage; `samples` is each suite's own
PROTOCOLS: dict[str, dict[str, Any]] = {
    "r1": {"temperature": 0.6, "top_p": 0.95, "max_new_tokens": 32768, "greedy": False},
}


def named(name: str) -> Suite:
    """Raises TaskError for an unknown suite."""
    if name not in SUITES:
        raise TaskError(f"--suite {name!r} is not known; {nearest(name, SUITES)}")
    return SUITES[name]


def protocol(name: str) -> dict[str, Any]:
    """Raises UserError for an unknown protocol."""
    if name not in PROTOCOLS:
        raise UserError(f"--protocol {name!r} is not known; {nearest(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def sections(names: Sequence[str], data: Path | None, scratch: Path) -> dict[str, dict[str, Any]]:
    """The task sections of some suites.

    Args:
        data: the directory that holds their files; None downloads them from the hub.
        scratch: where downloads go.

    Raises:
        TaskError: an unknown suite, a file that is not there, or a download that fails.
    """
    found = {}
    for name in names:
        suite = named(name)
        path = _file(name, suite, data) if data else _download(name, suite, scratch)
        found[name] = {"file": str(path), "layout": suite.layout, "held_out": 1.0}  # nothing of it is for training
    return found


def stage(name: str, rules: str | None, tags: bool) -> dict[str, Any]:
    """The evaluate stage of a suite: its way of asking and, under a protocol, the protocol's settings.

    Args:
        tags: the model answers in the R1-Zero form, which its template asks for.
    """
    suite = named(name)
    asked = {"reading": "tags"} if tags else {"reading": suite.reading, "instruction": suite.instruction}
    ruled = protocol(rules) | {"samples": suite.k} if rules else {}
    return {"stage": "evaluate", "tasks": [name], "problems": None, **asked, **ruled}


def _file(name: str, suite: Suite, data: Path) -> Path:
    if not data.is_dir():
        raise TaskError(f"--data {data}: no such directory")
    for file in suite.files:
        if (data / file).is_file():
            return (data / file).resolve()
    raise TaskError(f"suite {name}: none of {', '.join(suite.files)} is in {data}")


def _download(name: str, suite: Suite, scratch: Path) -> Path:
    local = "; or give --data DIR (or the environment variable MOVE37_DATA), a directory with " + suite.files[0]
    if suite.hub is None:
        raise TaskError(f"suite {name}: it is not on the hub under a name known here{local}")
    try:
        import datasets
    except ImportError:
        raise TaskError(f"suite {name}: downloading needs the datasets library: pip install 'move37[datasets]'{local}") from None
    hub, configuration, split = suite.hub
    try:
        rows = datasets.load_dataset(hub, configuration, split=split)
    except Exception as problem:  # the library raises its own, the hub's and the network's errors
        told = " ".join(f"{type(problem).__name__}: {problem}".split())[:200]
        raise TaskError(f"suite {name}: {hub} can not be downloaded ({told}); is this machine online?{local}") from None
    return write_atomic(scratch / f"{name}.jsonl", lambda path: rows.to_json(str(path), force_ascii=False))
