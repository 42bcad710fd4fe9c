"""Compares our reading of tokenizer.json files with the `tokenizers` library's.

    python compare_json.py --cli CLI [--count 100000] [--seed 1] DIRECTORY ...

Each DIRECTORY holds a tokenizer.json as published (and the tokenizer_config.json beside it, where there is
one). COUNT seeded texts are encoded as trusted text (all added tokens count) and as untrusted text (special
ones do not: the reference then is the same file without them); ids must be equal. The ids of the trusted
texts are decoded and compared with the library's decode(skip_special_tokens=False). Exit status 1 on any difference."""

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from reference import END_MARKERS
from texts import Texts

TRUSTED = 1
CONFIG = dict(model_type="llama", num_hidden_layers=1, max_position_embeddings=128, hidden_size=16,
              intermediate_size=16, num_attention_heads=1, rms_norm_eps=1e-5)
# Texts whose normalisation is not trivial: marks out of order, Hangul in parts, composed and not.
NFC = ["e\u0301", "a\u0323\u0302", "a\u0302\u0323", "\u1100\u1161\u11a8", "\uac00\u11a8", "\u212b",
       "\u0958", "\u1e9b\u0323", "q\u0307\u0323", "\U0001d15e", "\u0344", ">\u0338", "\u0f73",
       "\u09c7\u09be", "\u2126", "\uf900", "\u0390", "A\u030a\u0301", "\u0334" * 3 + "\u0301" * 40]


def run(cli, mode, what, frames, size):
    sent = b"".join(struct.pack("<II", len(data) // size, flags) + data for data, flags in frames)
    done = subprocess.run([cli, mode, what], input=sent, stdout=subprocess.PIPE, check=True)
    out, at = [], 0
    while at < len(done.stdout):
        count, = struct.unpack_from("<I", done.stdout, at)
        at += 4
        width = 1 if mode == "text" else 4
        data = done.stdout[at:at + count * width]
        out.append(data if mode == "text" else list(struct.unpack(f"<{count}i", data)))
        at += count * width
    if len(out) != len(frames):
        sys.exit(f"{len(frames)} frames sent, {len(out)} answers")
    return out


def report(name, texts, wanted, got):
    bad = [(t, w, g) for t, w, g in zip(texts, wanted, got) if w != g]
    print(f"{name}: {len(texts)} texts, {len(bad)} differences", flush=True)
    for text, w, g in bad[:3]:
        print("  text  ", ascii(text)[:300])
        print("  wanted", str(w)[:300])
        print("  got   ", str(g)[:300])
    return bool(bad)


def without_special(path):
    """Tokens that end a generation are special here whatever the file says."""
    with open(path) as file:
        data = json.load(file)
    data["added_tokens"] = [t for t in data["added_tokens"]
                            if not t["special"] and t["content"] not in END_MARKERS]
    data["post_processor"] = None
    return Tokenizer.from_str(json.dumps(data))


def checkpoint(directory, work):
    """The tokenizer's files with the least that makes a checkpoint of them."""
    for name in os.listdir(directory):
        if name.startswith(("tokenizer", "generation_config", "special_tokens", "chat_template")):
            shutil.copy(os.path.join(directory, name), work)
    with open(os.path.join(work, "config.json"), "w") as file:
        json.dump(CONFIG, file)
    with open(os.path.join(work, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", 2) + b"{}")


def compare(cli, directory, count, seed):
    path = os.path.join(directory, "tokenizer.json")
    reference = Tokenizer.from_file(path)
    with open(path) as file:
        data = json.load(file)
    added = [t["content"] for t in data["added_tokens"]]
    words = [t for t in data["model"]["vocab"]][:20000]
    maker = Texts(seed, [w.replace("\u0120", " ").replace("\u2581", " ") for w in words], added[:60])
    texts = [maker.next() for _ in range(count)]
    texts += ["", " ", "\n", "a", "  a", " \u2581 a"] + NFC + [a + "x" + b for a in NFC for b in NFC]
    texts += [f"{a} {t}{b}" for t in added[:20] for a in NFC[:6] for b in ("", " ", "\u0338", "  x")]
    name = os.path.basename(os.path.abspath(directory))
    with tempfile.TemporaryDirectory() as work:
        checkpoint(directory, work)
        wanted = [e.ids for e in reference.encode_batch(texts, add_special_tokens=False)]
        got = run(cli, "ids", work, [(t.encode(), TRUSTED) for t in texts], 1)
        failed = report(f"{name} trusted", texts, wanted, got)
        decoded = [reference.decode(ids, skip_special_tokens=False).encode() for ids in wanted]
        back = run(cli, "text", work, [(struct.pack(f"<{len(i)}i", *i), 0) for i in wanted], 4)
        failed |= report(f"{name} decoding", wanted, decoded, back)
        plain = without_special(path)
        # The library numbers the added tokens that are left anew: their texts tell them apart.
        ids = {**data["model"]["vocab"], **{t["content"]: t["id"] for t in data["added_tokens"]}}
        wanted = [[ids[plain.id_to_token(i)] for i in e.ids]
                  for e in plain.encode_batch(texts, add_special_tokens=False)]
        got = run(cli, "ids", work, [(t.encode(), 0) for t in texts], 1)
        failed |= report(f"{name} untrusted", texts, wanted, got)
    return failed


def compare_directories(compare):
    """The command line of these programs; exits with 1 when any directory failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cli", required=True)
    parser.add_argument("--count", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("directories", nargs="+")
    args = parser.parse_args()
    failed = False
    for directory in args.directories:
        failed |= compare(args.cli, directory, args.count, args.seed)
    print("FAILED" if failed else "no difference")
    sys.exit(failed)


if __name__ == "__main__":
    compare_directories(compare)
