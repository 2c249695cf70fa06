"""Compares hard negatives that lateforge mined by a dense model with those of sentence-transformers 6.2, on the same pairs.

usage: lateforge mine PAIRS --by MODEL --dense --depth 1-50 --drop-above 0.95 --negatives 5 --out MINED.jsonl
       python st6_mine.py MODEL PAIRS.jsonl.gz MINED.jsonl

Pairs have "query" and "document". Needs the package datasets. Rows without five negatives are left out there, and not compared.
Prints JSON: rows of each, rows that both have, and how many of these have the same negatives, and in the same order.
"""

import gzip
import json
import sys

from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import mine_hard_negatives

NEGATIVES = 5


def lines(path):
    with gzip.open(path, "rt") if path.endswith(".gz") else open(path) as file:
        return [json.loads(line) for line in file]


def main():
    folder, pairs, mined = sys.argv[1:]
    rows = lines(pairs)
    found = mine_hard_negatives(
        Dataset.from_dict({"query": [row["query"] for row in rows], "positive": [row["document"] for row in rows]}),
        SentenceTransformer(folder, device="cpu"),
        range_max=50,
        relative_margin=0.05,
        num_negatives=NEGATIVES,
        output_format="n-tuple",
        verbose=False,
    )
    theirs = {
        (row["query"], row["positive"]): [row[f"negative_{i + 1}"] for i in range(NEGATIVES)] for row in found
    }
    ours = {(row["query"], row["documents"][0]): row["documents"][1:] for row in lines(mined)}
    both = theirs.keys() & ours.keys()
    print(
        json.dumps(
            {
                "sentenceTransformers": len(theirs),
                "lateforge": len(ours),
                "both": len(both),
                "sameNegatives": sum(set(theirs[row]) == set(ours[row]) for row in both),
                "sameOrder": sum(theirs[row] == ours[row] for row in both),
            }
        )
    )


main()
