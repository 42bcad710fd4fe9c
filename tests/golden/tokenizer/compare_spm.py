"""Compares our reading of tokenizer.model files with the `sentencepiece` library's.

    python compare_spm.py --cli CLI [--count 100000] [--seed 1] DIRECTORY ...

Each DIRECTORY holds a tokenizer.model as published and no tokenizer.json. COUNT seeded texts are
encoded as untrusted text (control pieces are not seen; pieces that are user-defined cut the text) and
as trusted text (control and unknown pieces cut it too): between the cuts the reference is the library
on the published file. Ids must be equal; those of the trusted texts without cuts are decoded and
compared with the library's decoding. Exit status 1 on any difference."""

import os
import re
import struct
import sys
import tempfile

import sentencepiece

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from compare_json import TRUSTED, checkpoint, compare_directories, report, run
from texts import Texts

NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4


def fields(data):
    """(number, value) of each field of a protocol buffer."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(data):
        tag = varint()
        size = {1: 8, 5: 4}.get(tag & 7)
        if tag & 7 == 0:
            yield tag >> 3, varint()
            continue
        size = varint() if size is None else size
        yield tag >> 3, data[at:at + size]
        at += size


def pieces(path):
    """(text, kind) of each piece."""
    with open(path, "rb") as file:
        data = file.read()
    for number, value in fields(data):
        if number == 1:
            piece = dict(fields(value))
            yield piece[1].decode(), piece.get(3, NORMAL)


class Reference:
    def __init__(self, path, kinds):
        self.library = sentencepiece.SentencePieceProcessor(model_file=path)
        self.ids = {text: i for i, (text, kind) in enumerate(pieces(path)) if kind in kinds}
        words = sorted(self.ids, key=lambda t: -len(t.encode()))
        self.cuts = re.compile("(" + "|".join(map(re.escape, words)) + ")") if words else None

    def encode(self, text):
        parts = self.cuts.split(text) if self.cuts else [text]
        out = []
        for i, part in enumerate(parts):
            out += [self.ids[part]] if i % 2 else self.library.encode(part) if part else []
        return out


def compare(cli, directory, count, seed):
    path = os.path.join(directory, "tokenizer.model")
    table = list(pieces(path))
    special = [text for text, kind in table if kind in (UNKNOWN, CONTROL, USER_DEFINED)]
    words = [text.replace("\u2581", " ") for text, kind in table if kind == NORMAL]
    maker = Texts(seed, words[:20000], special[:60])
    texts = [maker.next() for _ in range(count)]
    texts += ["", " ", "\n", "a", "  a", " \u2581 a", "\u2581", "\x00"]
    name = os.path.basename(os.path.abspath(directory))
    failed = False
    with tempfile.TemporaryDirectory() as work:
        checkpoint(directory, work)
        trusted = Reference(path, (UNKNOWN, CONTROL, USER_DEFINED))
        for what, reference, flags in (("untrusted", Reference(path, (USER_DEFINED,)), 0),
                                       ("trusted", trusted, TRUSTED)):
            wanted = [reference.encode(text) for text in texts]
            got = run(cli, "ids", work, [(t.encode(), flags) for t in texts], 1)
            failed |= report(f"{name} {what}", texts, wanted, got)
        plain = [trusted.library.encode(text) for text in texts]
        decoded = [trusted.library.decode(ids).encode() for ids in plain]
        keep = [i for i, text in enumerate(texts) if decoded[i] == text.encode()]
        back = run(cli, "text", work,
                   [(struct.pack(f"<{len(plain[i])}i", *plain[i]), 0) for i in keep], 4)
        failed |= report(f"{name} decoding", [plain[i] for i in keep],
                         [decoded[i] for i in keep], back)
    return failed


if __name__ == "__main__":
    compare_directories(compare)
