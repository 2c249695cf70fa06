"""How far embeddings are from float64: under torch's autocast, with everything in bfloat16, and with norms that round what
they pass on (as lateforge stores it) while the residual stream stays as autocast has it.

usage: python residual_stream.py        needs torch and transformers; random weights, CPU, about a minute

Prints the norm of the difference of unit-norm token embeddings as a share of their norm. For ModernBERT the third row is
what lateforge computes; for BERT, whose stream is the norms' own output, it is what it would be without a float32 copy.
"""

import copy

import torch
from transformers import BertConfig, BertModel, ModernBertConfig, ModernBertModel

SPECIAL = dict(pad_token_id=0, eos_token_id=2, bos_token_id=1, cls_token_id=1, sep_token_id=2)


def rounded(x):
    return x.to(torch.bfloat16).to(x.dtype)


def embeddings(model, ids, projection, dtype, autocast=False, norms_round=False):
    model = copy.deepcopy(model).to(dtype)
    if norms_round:
        for parameter in model.parameters():
            if parameter.dim() < 2:
                parameter.data = rounded(parameter.data)
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.register_forward_hook(lambda _module, _inputs, output: rounded(output))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        rows = model(ids).last_hidden_state @ projection.to(dtype).T
    return torch.nn.functional.normalize(rows if dtype == torch.float64 else rows.float(), dim=-1).double()


def study(name, model, width, ids):
    projection = torch.randn(128, width) / width**0.5
    exact = embeddings(model.eval(), ids, projection, torch.float64)
    for what, how in [
        ("autocast", dict(dtype=torch.float32, autocast=True)),
        ("all bfloat16", dict(dtype=torch.bfloat16)),
        ("norms round", dict(dtype=torch.float32, autocast=True, norms_round=True)),
    ]:
        off = embeddings(model, ids, projection, **how) - exact
        print(f"{name:24} {what:14} {(off.norm() / exact.norm()).item():.5f}", flush=True)


torch.manual_seed(0)
IDS = torch.randint(10, 5000, (8, 64))
common = dict(hidden_size=256, vocab_size=5000, attn_implementation="eager")
study("BERT, 12 layers", BertModel(BertConfig(intermediate_size=1024, num_hidden_layers=12, num_attention_heads=8, **common)), 256, IDS)
study("ModernBERT, 22 layers", ModernBertModel(ModernBertConfig(intermediate_size=384, num_hidden_layers=22, num_attention_heads=4, **SPECIAL, **common)), 256, IDS)
