"""How often the extractive model's answer holds the expected words.

For each question of a corpus in BEIR layout whose queries carry `answers`, the gold passage comes first and
four random ones follow. Run from the repository root:

    python benchmarks/quality/extractive.py --corpora ../shared/corpora/retrieval --limit 400
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rag.extractive import compose
from rag.types import Passage

CORPORA = ("xquad_en", "xquad_de", "xquad_es", "xquad_zh")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=Path("../shared/corpora/retrieval"))
    parser.add_argument("--limit", type=int, default=400, help="questions per corpus")
    parser.add_argument("--misses", type=int, default=0, help="print so many wrong answers")
    given = parser.parse_args()
    for name in CORPORA:
        folder = given.corpora / name
        if not folder.is_dir():
            parser.error(f"{folder} does not exist: give the folder of the corpora with --corpora")
        print(report(name, folder, given.limit, given.misses))


def report(name: str, folder: Path, limit: int, misses: int) -> str:
    """One line: share of right answers, words and sentences per answer, milliseconds per question."""
    right = asked = length = sentences = 0
    started = time.perf_counter()
    for question, answers, passages in cases(folder, limit):
        said = compose(question, passages)
        hit = any(answer.casefold() in said.casefold() for answer in answers)
        asked, right = asked + 1, right + hit
        length, sentences = length + len(said), sentences + said.count(" [")
        if not hit and misses > 0:
            misses -= 1
            print(f"  {question}\n    expected {answers}\n    said {said}")
    spent = (time.perf_counter() - started) / asked
    return (
        f"{name}: {right / asked:.1%} of {asked} ({sentences / asked:.2f} sentences, "
        f"{length / asked:.0f} characters, {spent * 1000:.1f} ms each)"
    )


def cases(folder: Path, limit: int) -> Iterator[tuple[str, list[str], list[Passage]]]:
    rng = random.Random(7)
    corpus = {row["_id"]: row["text"] for row in _rows(folder / "corpus.jsonl")}
    lines = (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]
    gold = dict(line.split("\t")[:2] for line in lines)
    queries = [row for row in _rows(folder / "queries.jsonl") if row.get("answers") and row["_id"] in gold]
    for row in rng.sample(queries, min(limit, len(queries))):
        ids = [gold[row["_id"]], *rng.sample([n for n in corpus if n != gold[row["_id"]]], 4)]
        yield row["text"], row["answers"], [_passage(n, corpus[n]) for n in ids]


def _passage(name: str, text: str) -> Passage:
    return Passage(name, name, "kb_benchmark", name, text, 0, len(text))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


if __name__ == "__main__":
    main()
