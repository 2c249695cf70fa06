"""Synthetic query/document pairs as Parquet, of any size: python make_pairs.py OUT_FOLDER GIGABYTES (pyarrow, numpy)."""
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

out, gigabytes = Path(sys.argv[1]), float(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
random = np.random.default_rng(1)
letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
words = np.array(["".join(letters[random.integers(0, 26, n)]) for n in random.integers(2, 11, 50_000)])
rank = 1 / np.arange(10, len(words) + 10)  # Zipf's law
cumulative = np.cumsum(rank / rank.sum())
cumulative[-1] = 1


def text(lengths):
    drawn = words[np.searchsorted(cumulative, random.random(lengths.sum()))]
    ends = np.cumsum(lengths)
    return [" ".join(drawn[end - n : end]) for end, n in zip(ends, lengths)]


rows_of_group, written, number = 5_000, 0, 0
schema = pa.schema([("query", pa.string()), ("document", pa.string()), ("dataset", pa.string())])
while written < gigabytes * 1e9:
    path = out / f"train-{number:05d}.parquet"
    with pq.ParquetWriter(path, schema, compression="snappy") as writer:
        for _ in range(20):
            documents = text(np.maximum(20, random.exponential(700, rows_of_group)).astype(int))
            queries = text(random.integers(3, 12, rows_of_group))
            table = pa.table([queries, documents, ["synthetic"] * rows_of_group], schema=schema)
            writer.write_table(table, row_group_size=rows_of_group)
    written += path.stat().st_size
    number += 1
print(f"{number} files, {number * 20 * rows_of_group} rows, {written / 1e9:.2f} GB")
