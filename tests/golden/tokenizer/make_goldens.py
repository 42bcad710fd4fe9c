"""Writes the committed goldens beside this script, from the reference tokenizers.

    python make_goldens.py MODEL.gguf        (the default model)

shapes.bin.gz: texts cut by every pre-tokenizer shape; records of name, text, lengths of the pieces.
smollm.bin.gz: texts with the ids of the default model's vocabulary; records of a flag byte (1: all
trusted), text, ids. Every field is a little-endian u32 count and its items (bytes or 32-bit
numbers). Made with tokenizers 0.23.3 and gguf 0.19.0 (tests/golden/requirements.txt)."""

import gzip
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import reference
from texts import Texts

BYTES_MAX = 120  # long texts are for compare.py


def field(data):
    if isinstance(data, bytes):
        return struct.pack("<I", len(data)) + data
    return struct.pack(f"<I{len(data)}i", len(data), *data)


def write(name, records):
    with open(os.path.join(HERE, name), "wb") as file:
        data = b"".join(field(x) for record in records for x in record)
        file.write(gzip.compress(data, 9, mtime=0))
    print(name, len(records), "records")


def short_texts(maker, count):
    out = []
    while len(out) < count:
        text = maker.next()
        if 0 < len(text.encode()) <= BYTES_MAX:
            out.append(text)
    return out


def main():
    records = []
    for name in [*reference.SHAPES, "bailingmoe"]:
        splitter = reference.pre_tokenizer(name)
        for text in short_texts(Texts(name), 100):
            lengths = [len(piece.encode()) for piece, _ in splitter.pre_tokenize_str(text)]
            records.append((name.encode(), text.encode(), lengths))
    write("shapes.bin.gz", records)

    vocab = reference.Vocab(sys.argv[1])
    pieces = [p.decode(errors="ignore") for p in vocab.pieces()]
    maker = Texts(2026, [p for p in pieces if p], vocab.specials(True))
    records = []
    for trusted in (True, False):
        texts = short_texts(maker, 1000)
        ids = reference.reference(vocab, trusted).encode(texts)
        records += [(bytes([trusted]), t.encode(), i) for t, i in zip(texts, ids)]
    write("smollm.bin.gz", records)


main()
