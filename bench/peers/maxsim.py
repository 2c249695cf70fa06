"""Times MaxSim in Python's libraries on the very shapes and vectors of a report of ours, and prints the ratios.

usage: lateforge bench maxsim SHAPES --json > ours.json
       python maxsim.py --ours ours.json [--seconds 1] [--threads 2] [--only NAME,…] [--out FILE.json]

Shapes, dimension, type and device are those of ours.json; vectors are drawn by the same generator. Every text of a shape
has the same length, so nobody pads. Peers, each left out with the reason where it is not installed or does not run:
  torch-einsum, torch-matmul   the usual two lines, documents in chunks so that similarities stay below 100 M elements
  torch-compile                the same matmul, compiled (its first call is not timed)
  sentence-transformers        util.maxsim, or for groups util.maxsim of each query with its own documents
  flash-maxsim, late-interaction-kernels   on CUDA
  maxsim-cpu, fast-maxsim      on the CPU, one query after the other; they have no gradient
A peer whose scores are off by more than 1e-3 (1e-1 in 16 bits, where torch rounds similarities) is not timed.
forward: scores alone. step: scores and both gradients of their sum, compared with our argmax + backward.
On the CPU by the host's clock; on CUDA by events, warm and after 256 MB were overwritten, as ours.
Prints a table; --out writes JSON with a result for every shape and peer, as `lateforge bench maxsim --compare` takes it.
"""

import argparse
import importlib
import json
import os
import platform
import sys
import time
from importlib import metadata

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--ours", required=True)
parser.add_argument("--seconds", type=float, default=1)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--only", help="peers, separated by commas")
parser.add_argument("--out")
options = parser.parse_args()
for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = str(options.threads)
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch

torch.set_num_threads(options.threads)
with open(options.ours) as file:
    ours = json.load(file)
device = "cuda" if ours["device"] == "cuda" else "cpu"
BUDGET = 100_000_000  # elements of a similarity tensor, as sentence-transformers has it


def xorshift(count, seed):
    """Marsaglia's xorshift32 from `seed` on. A step is linear over GF(2), so a run of states gives the next one at once."""

    def step(x):
        x = x ^ (x << np.uint32(13))
        x = x ^ (x >> np.uint32(17))
        return x ^ (x << np.uint32(5))

    def apply(columns, x):
        y = np.zeros_like(x)
        for byte in range(4):
            table = np.zeros(256, np.uint32)
            for bit in range(8):
                table[1 << bit : 2 << bit] = table[: 1 << bit] ^ columns[8 * byte + bit]
            y ^= table[(x >> np.uint32(8 * byte)) & np.uint32(255)]
        return y

    columns = step(np.uint32(1) << np.arange(32, dtype=np.uint32))
    states = step(np.array([seed], np.uint32))
    while len(states) < count:
        states = np.concatenate([states, apply(columns, states)])
        columns = apply(columns, columns)
    return states[:count]


def unit_vectors(rows, dim, seed):
    x = xorshift(rows * dim, seed).view(np.int32).reshape(rows, dim) / 2.0**31
    return (x.astype(np.float32) * (1 / np.sqrt((x * x).sum(axis=1, keepdims=True)))).astype(np.float32)


def matmul(q, d):
    """Scores [queries, documents] of documents [n, length, dim], or [queries, n] of [queries, n, length, dim]."""
    if d.dim() == 4:
        return torch.matmul(q.unsqueeze(1), d.transpose(2, 3)).amax(-1).float().sum(-1)
    sims = q.flatten(0, 1) @ d.flatten(0, 1).T
    return sims.view(len(q), q.shape[1], len(d), d.shape[1]).amax(-1).float().sum(1)


def einsum(q, d):
    sims = torch.einsum("qnld,qsd->qnsl", d, q) if d.dim() == 4 else torch.einsum("nld,qsd->qnsl", d, q)
    return sims.amax(-1).float().sum(-1)


def chunked(score):
    def run(q, d):
        if d.dim() == 4:
            return score(q, d)
        chunk = max(1, BUDGET // (q.shape[0] * q.shape[1] * d.shape[1]))
        return torch.cat([score(q, d[i : i + chunk]) for i in range(0, len(d), chunk)], 1)

    return run


def of_each_query(score):
    return lambda q, d: torch.stack([score(q[i], d[i] if d.dim() == 4 else d) for i in range(len(q))])


def sentence_transformers():
    from sentence_transformers.util import maxsim

    return lambda q, d: maxsim(q, d) if d.dim() == 3 else of_each_query(lambda a, b: maxsim(a, b)[0])(q, d)


def on_numpy(module, name):
    score = getattr(importlib.import_module(module), name)
    return of_each_query(lambda q, d: torch.from_numpy(np.asarray(score(q.numpy(), d.numpy()))))


def on_cuda(module, name):
    if device != "cuda":
        raise RuntimeError("needs CUDA")
    return getattr(importlib.import_module(module), name)


def on_cpu(module, name):
    if device != "cpu":
        raise RuntimeError("for the CPU")
    return on_numpy(module, name)


# name: (package, what makes its function of scores, what makes one with gradients or None)
PEERS = {
    "torch-einsum": ("torch", lambda: chunked(einsum), lambda: chunked(einsum)),
    "torch-matmul": ("torch", lambda: chunked(matmul), lambda: chunked(matmul)),
    "torch-compile": ("torch", lambda: chunked(torch.compile(matmul)), lambda: chunked(torch.compile(matmul))),
    "sentence-transformers": ("sentence-transformers", sentence_transformers, sentence_transformers),
    "flash-maxsim": (
        "flash-maxsim",
        lambda: on_cuda("flash_maxsim", "flash_maxsim_batched"),
        lambda: on_cuda("flash_maxsim", "flash_maxsim_batched_train"),
    ),
    "late-interaction-kernels": (
        "late-interaction-kernels",
        lambda: on_cuda("late_interaction_kernels", "maxsim"),
        lambda: on_cuda("late_interaction_kernels", "maxsim"),
    ),
    "maxsim-cpu": ("maxsim-cpu", lambda: on_cpu("maxsim_cpu", "maxsim_scores"), None),
    "fast-maxsim": ("fast-maxsim", lambda: on_cpu("fast_maxsim", "maxsim_scores"), None),
}


def timing(millis):
    millis = sorted(millis)
    at = lambda share: millis[round(share * (len(millis) - 1))]
    return {"median": at(0.5), "low": at(0.1), "high": at(0.9), "calls": len(millis)}


def sample(measure):
    """As lib/bench/timing.ts: for about `seconds` and at least five calls, after two that do not count."""
    millis, end = [], float("inf")
    i = -2
    while i < 5 or time.perf_counter() < end:
        if i == 0:
            end = time.perf_counter() + options.seconds
        took = measure()
        if i >= 0:
            millis.append(took)
        i += 1
    return timing(millis)


def timed(call):
    if device == "cpu":

        def host():
            start = time.perf_counter()
            call()
            return 1000 * (time.perf_counter() - start)

        return {"forward": sample(host)}
    waste = torch.empty(2**26, device="cuda")

    def events(before):
        before()
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop)

    warm = sample(lambda: events(call))
    return {"forward": warm, "flushed": sample(lambda: events(waste.zero_))}


def truth(shape, q, d, scores):
    """The largest error over a sample of pairs, in float64."""
    worst = 0.0
    flat = scores.detach().double().cpu().flatten()
    for s in range(min(16, len(flat))):
        k = int((s + 0.5) * len(flat) / min(16, len(flat)))
        i, j = divmod(k, shape["documents"]) if d.dim() == 3 else divmod(k, d.shape[1])
        a, b = q[i].double().cpu(), (d[j] if d.dim() == 3 else d[i, j]).double().cpu()
        worst = max(worst, abs(float((a @ b.T).amax(1).sum() - flat[k])))
    return worst


def measure(peer, shape, q, d):
    package, forward, training = PEERS[peer]
    score = forward()
    with torch.no_grad():
        error = truth(shape, q, d, score(q, d))
        if not error < (1e-3 if shape["dtype"] == "float32" else 1e-1):
            raise RuntimeError(f"its scores are off by {error:.2g}")
        result = timed(lambda: score(q, d))
    result = {"peer": peer, "version": metadata.version(package), **result, "error": error}
    if training:
        train = training()
        q, d = (x.clone().requires_grad_() for x in (q, d))

        def step():
            q.grad = d.grad = None
            train(q, d).sum().backward()

        result["step"] = timed(step)["forward"]
    return result


def mine(result):
    """Our forward, and argmax with backward, by the same clock."""
    times = result["onDevice"]
    if not times:
        return result["forward"]["median"], result["withArgmax"]["median"] + result["backward"]["median"]
    return times["forward"]["warm"]["median"], sum(times[k]["warm"]["median"] for k in ("withArgmax", "backward"))


def main():
    report = {
        "what": "maxsim",
        "device": ours["device"],
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "processor": ours["processor"],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": options.threads,
        "results": [],
        "leftOut": [],
    }
    print("| shape | library | forward ms (range) | ours, ms | ratio | with gradients ms | ours, ms | ratio | error |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for shape in ours["results"]:
        dim, dtype = shape["dim"], getattr(torch, shape["dtype"])
        keys = ("name", "layout", "queries", "queryTokens", "documents", "documentTokens", "dim", "dtype")
        place = lambda count, length, seed: (
            torch.from_numpy(unit_vectors(count * length, dim, seed)).view(count, length, dim).to(device, dtype)
        )
        q = place(shape["queries"], shape["queryTokens"], 1)
        d = place(shape["documents"], shape["documentTokens"], 2)
        if shape["layout"] == "grouped":
            d = d.view(shape["queries"], -1, *d.shape[1:])
        forward, step = mine(shape)
        for peer in options.only.split(",") if options.only else PEERS:
            try:
                result = measure(peer, shape, q, d)
            except Exception as reason:
                why = f"{type(reason).__name__}: {str(reason).strip().splitlines()[0] if str(reason) else ''}"
                report["leftOut"].append({"name": shape["name"], "peer": peer, "reason": why[:200]})
                print(f"{shape['name']}: {peer} is left out: {why[:200]}", file=sys.stderr)
                continue
            report["results"].append({**{k: shape[k] for k in keys}, **result})
            t, s = result["forward"], result.get("step")
            cells = [shape["name"], f"{peer} {result['version']}", f"{t['median']:.2f} ({t['low']:.2f}-{t['high']:.2f})"]
            cells += [f"{forward:.2f}", f"{t['median'] / forward:.2f}"]
            cells += [f"{s['median']:.1f}", f"{step:.1f}", f"{s['median'] / step:.2f}"] if s else ["none", "", ""]
            print(f"| {' | '.join(cells)} | {result['error']:.1e} |", flush=True)
    if options.out:
        with open(options.out, "w") as file:
            json.dump(report, file, indent=1)
            file.write("\n")


main()
