"""Trains a multi-vector model by sentence-transformers 6.2 on given batches, for st6_train.mjs to train on the same ones.

usage: python st6_train.py MODEL PROJECTION.safetensors BATCHES.jsonl.gz OUT

MODEL is an encoder folder (all-MiniLM-L6-v2), PROJECTION its 384 to 128 head (`linear.weight`, no bias). A line of BATCHES is
{"source", "rows": [[query, document], ...]}: one step. The loss is CachedMultiVectorMultipleNegativesRankingLoss at
temperature 1, without dropout; AdamW 5e-5 without decay, clipped at 1; the rate goes up as (step + 1) / (warmup + 1) over
the first tenth, then straight to 0, which is lateforge's `linear`.
Writes OUT/start and OUT/end, the model before and after, and OUT/losses.json.
"""

import gzip
import json
import os
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import sentence_transformers
import torch
from safetensors.torch import load_file
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.multi_vector_encoder.losses import CachedMultiVectorMultipleNegativesRankingLoss

folder, projection, batches, out = sys.argv[1:]
RATE = 5e-5
torch.manual_seed(42)
model = MultiVectorEncoder(folder, device="cpu")
model[1].linear.weight.data.copy_(load_file(projection)["linear.weight"])
model.save(os.path.join(out, "start"))
model.eval()  # no dropout, whose draws nobody could repeat
loss = CachedMultiVectorMultipleNegativesRankingLoss(model, mini_batch_size=32, scale=1.0)
optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
with gzip.open(batches, "rt") as file:
    steps = [json.loads(line)["rows"] for line in file]
warmup = round(0.1 * len(steps))
losses, started = [], time.time()
for step, rows in enumerate(steps):
    factor = (step + 1) / (warmup + 1) if step < warmup else (len(steps) - step) / (len(steps) - warmup)
    for group in optimizer.param_groups:
        group["lr"] = RATE * factor
    features = [
        model.preprocess([query for query, _ in rows], task="query"),
        model.preprocess([document for _, document in rows], task="document"),
    ]
    value = loss(features, None)
    value.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    losses.append(float(value.detach()))
    if step % 10 == 0:
        print(f"step {step}: {losses[-1]:.4f}, {time.time() - started:.0f} s", flush=True)
model.save(os.path.join(out, "end"))
with open(os.path.join(out, "losses.json"), "w") as file:
    versions = {"sentence-transformers": sentence_transformers.__version__, "torch": torch.__version__}
    json.dump({"versions": versions, "warmup": warmup, "seconds": time.time() - started, "losses": losses}, file)
