"""Compares our tokenizer with the reference: the full run behind `make test-full PARTS=tokens`.

    python compare.py --cli CLI [--model MODEL.gguf ...] [--vocabularies DIRECTORY] [--count 100000]

CLI is the built tests/golden/tokenizer/tokenize_cli.c. Compared are every pre-tokenizer shape on its
own, each MODEL, and the vocabularies of DIRECTORY (llama.cpp's models/ folder, as in the source
package llama-cpp-python 0.3.36) with the goldens that lie beside them.

COUNT seeded texts a vocabulary are encoded twice, as trusted (all special tokens count) and as
untrusted (only user-defined ones); the ids must be equal, decoding them must give Python's
bytes.decode(errors="replace") of the joined pieces, and no untrusted text may give a control token.
Needs tokenizers, gguf, sentencepiece (tests/golden/requirements.txt). Exit status 1 on any
difference."""

import argparse
import os
import struct
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import goldens
import reference
from texts import Texts

TRUSTED = 1


def run(cli, mode, what, frames, item):
    """Sends frames (data, flags), returns the answers as bytes objects or tuples of numbers."""
    size = 1 if item == "B" else 4
    sent = b"".join(struct.pack("<II", len(data) // size, flags) + data for data, flags in frames)
    done = subprocess.run([cli, mode, what], input=sent, stdout=subprocess.PIPE, check=True)
    answer_size = 1 if mode == "text" else 4
    out, at = [], 0
    while at < len(done.stdout):
        count, = struct.unpack_from("<I", done.stdout, at)
        at += 4
        data = done.stdout[at:at + count * answer_size]
        out.append(data if mode == "text" else list(struct.unpack(f"<{count}i", data)))
        at += count * answer_size
    if len(out) != len(frames):
        sys.exit(f"{len(frames)} frames sent, {len(out)} answers")
    return out


def report(name, differences, total):
    print(f"{name}: {total} texts, {len(differences)} differences", flush=True)
    for text, wanted, got in differences[:3]:
        print("  text  ", ascii(text)[:300])
        print("  wanted", str(wanted)[:300])
        print("  got   ", str(got)[:300])
    return bool(differences)


def compare_ids(cli, path, vocab, texts, trusted):
    wanted = reference.reference(vocab, trusted).encode(texts)
    got = run(cli, "ids", path, [(t.encode(), TRUSTED * trusted) for t in texts], "B")
    bad = [(t, w, g) for t, w, g in zip(texts, wanted, got) if w != g]
    label = f"{os.path.basename(path)} {'trusted' if trusted else 'untrusted'}"
    failed = report(label, bad, len(texts))
    if not trusted:
        control = [(t, "no control token", g) for t, g in zip(texts, got)
                   if any(vocab.kinds[i] in (reference.CONTROL, reference.UNKNOWN) for i in g)]
        failed |= report(label + ", control tokens", control, len(texts))
    return failed, got


def compare_text(cli, path, vocab, all_ids):
    pieces = vocab.pieces()
    wanted = []
    for ids in all_ids:
        data = b"".join(pieces[i] for i in ids)
        if vocab.add_space_prefix and vocab.model == "llama" and ids and \
                pieces[ids[0]].startswith(b" "):
            data = data[1:]
        wanted.append(data.decode(errors="replace").encode())
    got = run(cli, "text", path, [(struct.pack(f"<{len(i)}i", *i), 0) for i in all_ids], "i")
    bad = [(i, w, g) for i, w, g in zip(all_ids, wanted, got) if w != g]
    return report(f"{os.path.basename(path)} decoding", bad, len(all_ids))


def compare_model(cli, path, count, seed):
    vocab = reference.Vocab(path)
    pieces = [p.decode(errors="ignore") for p in vocab.pieces()]
    specials = [t for t, k in zip(vocab.tokens, vocab.kinds)
                if k in (reference.CONTROL, reference.USER_DEFINED)]
    maker = Texts(seed, [p for p in pieces if p], specials)
    texts = [maker.next() for _ in range(count)]
    texts += ["", " ", "\n", "a", "\0"]
    failed, ids = compare_ids(cli, path, vocab, texts, True)
    failed |= compare_text(cli, path, vocab, ids)
    again, ids = compare_ids(cli, path, vocab, texts, False)
    return failed | again | compare_text(cli, path, vocab, ids)


def compare_shape(cli, name, count, seed):
    maker = Texts(seed)
    texts = [t for t in (maker.next() for _ in range(count)) if t]
    splitter = reference.pre_tokenizer(name)
    wanted = [[len(piece.encode()) for piece, _ in splitter.pre_tokenize_str(t)] for t in texts]
    got = run(cli, "pieces", name, [(t.encode(), 0) for t in texts], "B")
    bad = [(t, w, g) for t, w, g in zip(texts, wanted, got) if w != g]
    return report(f"shape {name}", bad, len(texts))


# Whose model and pre-tokenizer are supported; compared beyond the goldens.
VOCABULARIES = ["gpt-2", "llama-bpe", "qwen2", "llama-spm", "phi-3", "gemma-4", "deepseek-coder",
                "deepseek-llm", "starcoder", "refact", "command-r", "qwen35", "falcon", "mpt",
                "gpt-neox", "aquila", "baichuan"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cli", required=True)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--vocabularies")
    parser.add_argument("--count", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-shapes", action="store_true", help="vocabularies alone")
    args = parser.parse_args()
    failed = False
    if args.vocabularies:
        failed |= goldens.check_folder(args.cli, args.vocabularies)
        args.model += [os.path.join(args.vocabularies, f"ggml-vocab-{name}.gguf")
                       for name in VOCABULARIES]
    for name in [] if args.no_shapes else [*reference.SHAPES, *reference.SAME]:
        failed |= compare_shape(args.cli, name, args.count, args.seed)
    for path in args.model:
        failed |= compare_model(args.cli, path, args.count, args.seed)
    print("FAILED" if failed else "no difference")
    sys.exit(failed)


main()
