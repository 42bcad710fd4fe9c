"""Our tokenizer against the goldens of llama.cpp's models/ folder; used by compare.py.

The folder holds ggml-vocab-NAME.gguf with NAME.gguf.inp (texts, each followed by a separator line)
and .out (one line of ids a text). A vocabulary whose model or pre-tokenizer is not supported must be
refused with a message that names it."""

import os
import struct
import subprocess
import sys

SEPARATOR = "\n__ggml_vocab_test__\n"


def encode(cli, path, texts):
    frames = b"".join(struct.pack("<II", len(t.encode()), 0) + t.encode() for t in texts)
    done = subprocess.run([cli, "ids", path], input=frames, capture_output=True)
    if done.returncode:
        return done.stderr.decode().strip()
    out, at = [], 0
    while at < len(done.stdout):
        count, = struct.unpack_from("<I", done.stdout, at)
        out.append(list(struct.unpack_from(f"<{count}i", done.stdout, at + 4)))
        at += 4 + 4 * count
    return out


def check(cli, path):
    with open(path + ".inp", encoding="utf-8", newline="") as file:
        texts = file.read().split(SEPARATOR)
    with open(path + ".out", encoding="utf-8") as file:
        wanted = [[int(x) for x in line.split()] for line in file.read().split("\n")]
    texts, wanted = texts[:-1] if texts[-1] == "" else texts, wanted[:len(texts)]
    wanted = wanted[:len(texts)]
    name = os.path.basename(path)
    got = encode(cli, path, texts)
    if isinstance(got, str):
        refused = "supported" in got and "tokenizer.ggml" in got
        print(f"{name}: {'refused' if refused else 'FAILED'}: {got}")
        return not refused
    bad = [(t, w, g) for t, w, g in zip(texts, wanted, got) if w != g]
    print(f"{name}: {len(texts)} texts, {len(bad)} differences")
    for text, w, g in bad[:5]:
        print(f"  {text!a}\n  wanted {w}\n  got    {g}")
    return bool(bad) or len(texts) < 40


def check_folder(cli, directory):
    """True on any difference."""
    paths = sorted(os.path.join(directory, name[:-4]) for name in os.listdir(directory)
                   if name.endswith(".gguf.inp"))
    if not paths:
        sys.exit(f"no goldens in {directory}")
    return any([check(cli, path) for path in paths])
