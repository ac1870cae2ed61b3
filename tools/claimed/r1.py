"""DeepSeek-R1: what each of its stages does, and whether to distil or to train a student by RL."""

from __future__ import annotations

from collections.abc import Sequence

from claimed.numbers import Claim, Estimate, over, table, verdict
from move37.runs import Run

EASY = ("chain", "product", "countdown", "word")
HARD = ("hard_chain", "hard_product", "hard_word")
INSTRUCTIONS = ("rewrite", "write")
HELPFUL = ("greet", "fact", "translate")
FORBIDDEN, LOOKALIKE = ("forbidden",), ("lookalike",)

COLUMNS = (
    ("pass@1, easy", "pass@1", EASY, 3),
    ("cons@16, easy", "cons@16", EASY, 3),
    ("pass@1, hard", "pass@1", HARD, 3),
    ("cons@16, hard", "cons@16", HARD, 3),
    ("instructions", "pass@1", INSTRUCTIONS, 3),
    ("helpful", "pass@1", HELPFUL, 3),
    ("forbidden refused", "pass@1", FORBIDDEN, 3),
    ("harmless helped", "pass@1", LOOKALIKE, 3),
    ("language", "language", (), 3),
    ("readable", "readable", (), 3),
    ("length", "length", (), 1),
)
STAGES = {
    "base": "base_eval",
    "R1-Zero": "zero_eval",
    "Dev1": "dev1_eval",
    "Dev2": "dev2_eval",
    "Dev3": "dev3_eval",
    "R1": "r1_eval",
}

STUDENTS = {
    "student": "student_base_eval",
    "RL": "student_rl_eval",
    "distilled (SFT on traces)": "student_sft_eval",
    "distilled, then on-policy": "student_on_policy_eval",
    "distilled, then RL": "student_sft_rl_eval",
    "teacher (R1)": "r1_eval",
}


def stage_table(runs: Sequence[Run]) -> list[str]:
    rows = [[name, *(over(runs, s, k, t).text(d) for _, k, t, d in COLUMNS)] for name, s in STAGES.items()]
    return table(["", *(c[0] for c in COLUMNS)], rows)


def stage_shape(runs: Sequence[Run]) -> list[str]:
    """What the paper's Table 3 shows."""

    def change(a: str, b: str, tasks: Sequence[str]) -> Estimate:
        return over(runs, STAGES[b], "pass@1", tasks).minus(over(runs, STAGES[a], "pass@1", tasks))

    steps = [("R1-Zero", "Dev1"), ("Dev1", "Dev2"), ("Dev2", "Dev3"), ("Dev3", "R1")]
    general = [*INSTRUCTIONS, *HELPFUL, *FORBIDDEN, *LOOKALIKE]
    rows = [[f"{a} to {b}", change(a, b, HARD).text(), change(a, b, general).text()] for a, b in steps]
    lift = change("Dev3", "R1", general)
    return [
        *table(["step", "hard reasoning", "preference (general and safety)"], rows),
        "",
        *verdict(
            [
                ("cold start costs hard reasoning (paper: AIME 77.9 to 59.0)", change("R1-Zero", "Dev1", HARD), -1),
                ("reasoning RL brings it back (59.0 to 74.0)", change("Dev1", "Dev2", HARD), 1),
                ("the last RL lifts preference scores (AlpacaEval 62.1 to 87.6)", lift, 1),
                ("more than the reasoning RL did", lift.minus(change("Dev1", "Dev2", general)), 1),
                ("and more than the second SFT", lift.minus(change("Dev2", "Dev3", general)), 1),
                ("the last RL refuses forbidden requests more often", change("Dev3", "R1", FORBIDDEN), 1),
                (
                    "and harmless ones too (paper: after safety RL, R1 declines simple questions that it could answer)",
                    change("Dev3", "R1", LOOKALIKE),
                    -1,
                ),
            ]
        ),
    ]


def distilled(runs: Sequence[Run]) -> list[str]:
    found = {name: over(runs, stage, "pass@1", EASY) for name, stage in STUDENTS.items()}
    rows = [[name, found[name].text(), over(runs, stage, "cons@16", EASY).text()] for name, stage in STUDENTS.items()]
    sft, rl, both = found["distilled (SFT on traces)"], found["RL"], found["distilled, then RL"]
    return [
        *table(["", "pass@1", "cons@16"], rows),
        "",
        *verdict(
            [
                ("distilling beats RL on the student (paper: AIME 72.6 against 47.0 at 32B)", sft.minus(rl), 1),
                ("RL after distilling beats distilling alone (not tried in the paper)", both.minus(sft), 1),
                ("and RL alone", both.minus(rl), 1),
            ]
        ),
    ]


CLAIMS = (
    Claim(
        "The stages of R1",
        "DeepSeek-R1 v2, Table 3: R1-Zero, Dev1, Dev2, Dev3, R1.",
        "r1",
        tuple(STAGES.values()),
        stage_table,
    ),
    Claim(
        "What each stage does",
        "Cold start costs hard reasoning, RL brings it back; the last RL lifts preference.",
        "r1",
        tuple(STAGES.values()),
        stage_shape,
    ),
    Claim(
        "Distillation and RL on a small student",
        "DeepSeek-R1, section 4.1 and Table 6.",
        "r1",
        tuple(STUDENTS.values()),
        distilled,
    ),
)
