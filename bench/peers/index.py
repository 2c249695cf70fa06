"""fast-plaid or xtr-warp-rs on given token vectors: one step of bench/peers/index.mjs, in a process of its own; prints JSON.

usage: python bench/peers/index.py fast-plaid|xtr-warp build|use|change VECTORS INDEX      (index.mjs calls it)
VECTORS is a safetensors file: documents [tokens, dim] float16 with offsets, queries with queryOffsets, added documents with
addedOffsets, and of each query the numbers of the best ten documents.
"""

import importlib.metadata
import json
import os
import re
import resource
import signal
import sys
import time

import torch
from safetensors.torch import load_file

engine, mode, vectors, folder = sys.argv[1:]
# Where something else stops the processes of a machine, no time of a clock that it falls into counts.
stops = []
signal.signal(signal.SIGCONT, lambda *_: stops.append(1))
threads = int(os.environ["OMP_NUM_THREADS"])
torch.set_num_threads(threads)


def memory(name):
    with open("/proc/self/status") as status:
        return int(re.search(rf"{name}:\s+(\d+)", status.read())[1]) / 1024


def texts(values, offsets):
    bounds = offsets.long().tolist()
    return [values[a:b].clone() for a, b in zip(bounds, bounds[1:])]


def processor():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(call):
    wall, cpu = time.perf_counter(), processor()
    before = len(stops)
    value = call()
    seconds = round(time.perf_counter() - wall, 3) if len(stops) == before else None
    return value, {"seconds": seconds, "cpuSeconds": round(processor() - cpu, 3)}


def size():
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names)


given = load_file(vectors)
documents = texts(given["documents"].float(), given["offsets"])
queries = texts(given["queries"], given["queryOffsets"])
added = texts(given["added"].float(), given["addedOffsets"])
tokens = int(given["offsets"][-1])
if engine == "fast-plaid":
    from fast_plaid.search import FastPlaid

    version = importlib.metadata.version("fast-plaid")
    settings = [{}, {"n_ivf_probe": 4, "n_full_scores": 512}]
    build = lambda index: index.create(documents_embeddings=documents)
    opened = lambda: FastPlaid(folder, device="cpu")
    search = lambda index, query, way: index.search([query], top_k=10, show_progress=False, **way)[0]
    add = lambda index: index.update(documents_embeddings=added)
else:
    from xtr_warp.search import XTRWarp

    version = importlib.metadata.version("xtr-warp-rs")
    wide = {"nprobe": 32, "bound": 1024, "centroid_score_threshold": 0.0, "max_candidates": 100_000}
    settings = [{}, wide]
    build = lambda index: index.create(documents, device="cpu", show_progress=False)
    opened = lambda: XTRWarp(folder, device="cpu").load(device="cpu")
    search = lambda index, query, way: index.search(
        [query], top_k=10, num_threads=threads, show_progress=False, **way
    )[0]
    add = lambda index: index.add(added, show_progress=False)

before = memory("RssAnon")
result = {"engine": engine, "version": version, "torch": torch.__version__, "threads": threads}
if mode == "build":
    index = FastPlaid(folder, device="cpu") if engine == "fast-plaid" else XTRWarp(folder, device="cpu")
    _, result["build"] = timed(lambda: build(index))
    result["bytesPerToken"] = round(size() / tokens, 1)
    result["peakMiB"] = round(memory("VmHWM"))
else:
    index, result["open"] = timed(opened)
    result["ways"] = []
    for way in settings:
        search(index, queries[0], way)
        wall, cpu, same = [], processor(), 0
        for query, best in zip(queries, given["best"].long().tolist()):
            started, before = time.perf_counter(), len(stops)
            hits = search(index, query, way)
            if len(stops) == before:
                wall.append((time.perf_counter() - started) * 1000)
            same += len({document for document, _ in hits[:10]} & set(best))
        wall.sort()
        result["ways"].append(
            {
                "way": way or "default",
                "cpuMs": round((processor() - cpu) * 1000 / len(queries), 2),
                "p50": round(wall[len(wall) // 2], 2),
                "p99": round(wall[int(0.99 * len(wall))], 2),
                "recall": round(same / given["best"].numel(), 4),
            }
        )
    if mode == "change":
        _, result["add"] = timed(lambda: add(index))
        _, result["delete"] = timed(lambda: index.delete(list(range(200, 1200))))
    result["anonymousMiB"] = round(memory("RssAnon") - before)
    result["peakMiB"] = round(memory("VmHWM"))
print(json.dumps(result))
