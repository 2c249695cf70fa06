"""Token embeddings of texts by fastembed, from a local folder.

usage: python fastembed_reader.py stock|class FOLDER TEXTS OUT      needs fastembed

stock  fastembed's own class for ColBERT, under the name of a model that it knows
class  a class of fastembed's with what onnx_config.json says, as docs/guides/onnx.md has it
"""

import json
import struct
import sys
from pathlib import Path

from fastembed import LateInteractionTextEmbedding
from fastembed.late_interaction.colbert import Colbert
from fastembed.late_interaction.lateon import LateOn


def exported(folder):
    config = json.loads((Path(folder) / "onnx_config.json").read_text())
    special = json.loads((Path(folder) / "special_tokens_map.json").read_text())

    class Exported(Colbert if config["do_query_expansion"] else LateOn):
        QUERY_MARKER_TOKEN_ID = config["query_prefix_id"]
        DOCUMENT_MARKER_TOKEN_ID = config["document_prefix_id"]
        RESERVED_MARKER_TOKENS = 1
        MIN_QUERY_LENGTH = config["query_length"] - 1 if config["do_query_expansion"] else None
        MASK_TOKEN = special["mask_token"]

        def _load_tokenizer(self, model_dir):
            super()._load_tokenizer(model_dir)
            self.query_tokenizer.enable_truncation(max_length=config["query_length"] - 1)
            ids = map(self.tokenizer.token_to_id, config["skiplist_words"])
            self.skip_list = {id for id in ids if id is not None}

    return Exported(Exported._list_supported_models()[0].model, specific_model_path=str(folder), threads=1)


def main(how, folder, texts, out):
    texts = json.loads(Path(texts).read_text())
    if how == "class":
        model = exported(folder)
    else:
        model = LateInteractionTextEmbedding("colbert-ir/colbertv2.0", specific_model_path=folder, threads=1)
    with open(out, "wb") as file:
        for rows in [*model.query_embed(texts["query"]), *model.embed(texts["document"], batch_size=8)]:
            file.write(struct.pack("<i", len(rows)) + rows.astype("<f4").tobytes())


if len(sys.argv) != 5:
    sys.exit(__doc__)
main(*sys.argv[1:])
