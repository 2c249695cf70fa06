"""Times sentence-transformers 6.2 multi-vector training steps and encoding, on seeded synthetic token ids.

usage: python st6_step.py [--shape ettin-17m|nano|modernbert-base] [--mode cached|plain|encode] [--threads 2] [--steps 5]
                          [--warmup 2] [--batch 64] [--mini-batch 32] [--expansion] [--lengths FILE.json] [--out FILE.json]
                          [--device cpu|cuda] [--dtype float32|bfloat16] [--attention sdpa|flash_attention_2|eager]

A step is loss, backward and torch.optim.AdamW, on BATCH (query, document) pairs, fed as padded id tensors straight
into the loss (no tokenizer, no data loader: less work than a real trainer does). The encoder is ModernBERT with random weights.
Lengths: read from FILE.json if it is there, else drawn and written to it, so that another bench can run the very same ones:
  {"seed", "batch", "queryCap": 32, "documentCap": 180, "steps": [{"queries": [n…], "documents": [n…]}…]}
Each length counts real tokens with markers, [CLS] and [SEP]; log-normal spread, means about 12 and 119 after the caps.
Step s uses entry s modulo the number of entries. Ids are uniform over the vocabulary: their values change no timing.
--expansion pads queries to 32 unattended [MASK] rows as ColBERT does; off by default, and to be set alike on both sides.
Mini-batch 32 is the library's default, for scoring too; `cached` recomputes every chunk. On two cores 16 was a little faster and
64 slower: quote the better of 16 and 32 as the peer.
bfloat16 is autocast, as the trainer's `bf16=True`; on CUDA AdamW is the fused one, and memory is what torch allocated at most.
Prints JSON: tokensPerSecond counts real tokens over the median step; on the CPU memory is VmHWM of this process, libraries included.
Sorting: encode mode sorts by length as the library's own encode() does, in batches of 32.
"""

import argparse
import json
import math
import os
import platform
import random
import statistics
import tempfile
import time
from importlib import metadata

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--shape", choices=["ettin-17m", "nano", "modernbert-base"], default="ettin-17m")
parser.add_argument("--mode", choices=["cached", "plain", "encode"], default="cached")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--steps", type=int, default=5)
parser.add_argument("--warmup", type=int, default=2)
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--mini-batch", type=int, default=32)
parser.add_argument("--expansion", action="store_true")
parser.add_argument("--lengths", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "lengths.json"))
parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
parser.add_argument("--attention", choices=["sdpa", "flash_attention_2", "eager"], default="sdpa")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--out")
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(options.threads)

import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.multi_vector_encoder.losses import (
    CachedMultiVectorMultipleNegativesRankingLoss,
    MultiVectorMultipleNegativesRankingLoss,
)
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.modules import Normalize
from tokenizers import Tokenizer, models
from transformers import ModernBertConfig, ModernBertModel, PreTrainedTokenizerFast

SHAPES = {
    "ettin-17m": dict(num_hidden_layers=7, hidden_size=256, intermediate_size=384, num_attention_heads=4),
    "nano": dict(num_hidden_layers=4, hidden_size=128, intermediate_size=192, num_attention_heads=2),
    "modernbert-base": dict(num_hidden_layers=22, hidden_size=768, intermediate_size=1152, num_attention_heads=12),
}
VOCABULARY, DIM, QUERY_CAP, DOCUMENT_CAP, ENTRIES = 50368, 128, 32, 180, 8
SPECIAL = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
FIRST_SPECIAL = 50280
PAD, MASK = FIRST_SPECIAL + 3, FIRST_SPECIAL + 4


def draw_lengths():
    rng = random.Random(options.seed)
    def one(median, spread, low, cap):
        return max(low, min(cap, round(rng.lognormvariate(math.log(median), spread))))
    steps = [
        {
            "queries": [one(11, 0.42, 4, QUERY_CAP) for _ in range(options.batch)],
            "documents": [one(121, 0.55, 8, DOCUMENT_CAP) for _ in range(options.batch)],
        }
        for _ in range(ENTRIES)
    ]
    return {"seed": options.seed, "batch": options.batch, "queryCap": QUERY_CAP, "documentCap": DOCUMENT_CAP, "steps": steps}


def read_lengths():
    if not os.path.exists(options.lengths):
        with open(options.lengths, "w") as file:
            json.dump(draw_lengths(), file)
            file.write("\n")
    with open(options.lengths) as file:
        lengths = json.load(file)
    if lengths["batch"] != options.batch:
        parser.error(f"{options.lengths} holds batches of {lengths['batch']}, not {options.batch}")
    return lengths


def build():
    torch.manual_seed(options.seed)
    config = ModernBertConfig(
        vocab_size=VOCABULARY, global_attn_every_n_layers=3, local_attention=128, global_rope_theta=160000.0,
        local_rope_theta=160000.0, max_position_embeddings=8192, **SHAPES[options.shape],
    )
    with tempfile.TemporaryDirectory() as folder:
        ModernBertModel(config).save_pretrained(folder)
        # The module wants a tokenizer; it is never used.
        words = {f"w{i}": i for i in range(FIRST_SPECIAL)}
        words.update({token: FIRST_SPECIAL + i for i, token in enumerate(SPECIAL)})
        names = dict(unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", mask_token="[MASK]")
        core = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
        PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=8192, **names).save_pretrained(folder)
        encoder = Transformer(folder, model_kwargs={"attn_implementation": options.attention})
    projection = Dense(
        config.hidden_size, DIM, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings"
    )
    modules = [encoder, projection, MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
    return MultiVectorEncoder(modules=modules, device=options.device).float()


def autocast():
    return torch.autocast(options.device, torch.bfloat16, enabled=options.dtype == "bfloat16")


def now():
    """Seconds, once the device has done what it was given."""
    if options.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def features(lengths, task, generator):
    query = task == "query"
    width = QUERY_CAP if query and options.expansion else max(lengths)
    ids = torch.full((len(lengths), width), MASK if query and options.expansion else PAD)
    mask = torch.zeros(len(lengths), width, dtype=torch.int64)
    for row, n in enumerate(lengths):
        ids[row, :n] = torch.randint(0, FIRST_SPECIAL, (n,), generator=generator)
        mask[row, :n] = 1
    result = {"input_ids": ids.to(options.device), "attention_mask": mask.to(options.device), "task": task, "modality": "text"}
    if query and options.expansion:
        result["query_expansion_positions"] = (1 - mask).to(options.device)
    return result


def memory():
    if options.device == "cuda":
        return torch.cuda.max_memory_allocated()
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def training_step(model):
    if options.mode == "cached":
        loss = CachedMultiVectorMultipleNegativesRankingLoss(model, mini_batch_size=options.mini_batch)
    else:
        loss = MultiVectorMultipleNegativesRankingLoss(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=options.device == "cuda")
    model.train()      # ModernBERT has no dropout
    def run(entry, generator):
        columns = [features(entry["queries"], "query", generator), features(entry["documents"], "document", generator)]
        begin = now()
        with autocast():
            value = loss(columns, None)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        value = float(value.detach())
        return now() - begin, value
    return run


def encode_step(model):
    model.eval()
    def run(entry, generator):
        batches = []
        for task, lengths in (("query", entry["queries"]), ("document", entry["documents"])):
            ordered = sorted(lengths, reverse=True)
            for at in range(0, len(ordered), options.mini_batch):
                batches.append((task, features(ordered[at : at + options.mini_batch], task, generator)))
        begin = now()
        with torch.inference_mode(), autocast():
            for task, batch in batches:
                output = model(batch, task=task)
                rows = [e[m] for e, m in zip(output["token_embeddings"], output["attention_mask"].bool())]
        return now() - begin, float(rows[0].sum())
    return run


def main():
    torch.set_num_threads(options.threads)
    lengths = read_lengths()
    model = build()
    run = encode_step(model) if options.mode == "encode" else training_step(model)
    generator = torch.Generator().manual_seed(options.seed)
    seconds, rates, values = [], [], []
    for step in range(options.warmup + options.steps):
        entry = lengths["steps"][step % len(lengths["steps"])]
        elapsed, value = run(entry, generator)
        if step >= options.warmup:
            seconds.append(elapsed)
            rates.append((sum(entry["queries"]) + sum(entry["documents"])) / elapsed)
            values.append(value)
    everything = [n for e in lengths["steps"] for n in e["queries"]], [n for e in lengths["steps"] for n in e["documents"]]
    result = {
        "what": f"sentence-transformers {options.mode}", "shape": options.shape, **SHAPES[options.shape], "vocabulary": VOCABULARY,
        "dim": DIM, "batch": options.batch, "miniBatch": options.mini_batch if options.mode != "plain" else None,
        "expansion": options.expansion, "dtype": options.dtype, "attention": options.attention,
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu", "threads": options.threads, "warmup": options.warmup,
        "meanQueryLength": statistics.mean(everything[0]), "meanDocumentLength": statistics.mean(everything[1]),
        "tokensPerSecond": statistics.median(rates), "tokensPerSecondRange": [min(rates), max(rates)],
        "stepSeconds": {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds), "all": seconds},
        "peakBytes": memory(), "values": values, "loadAverage": os.getloadavg(), "python": platform.python_version(),
        "versions": {p: metadata.version(p) for p in ("torch", "transformers", "sentence-transformers")},
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        with open(options.out, "w") as file:
            file.write(text + "\n")


main()
