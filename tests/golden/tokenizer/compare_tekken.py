"""Compares our ids for Mistral's Tekken vocabularies with tiktoken's, which is what their authors use.

    PYTHONPATH=OUT/python python compare_tekken.py --cli CLI [--count 100000] [--seed 1] DIRECTORY ...

Each DIRECTORY holds a tekken.json as published. Checkpoints carry it as a tokenizer.json too, which is
made here: ranks to pairs, the same expression. COUNT seeded texts, as untrusted text: the reference is
tiktoken on the ranks of tekken.json. Exit status 1 on any difference."""

import base64
import json
import os
import sys
import tempfile

import tiktoken

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from compare_json import checkpoint, compare_directories, report, run
from texts import Texts


def byte_names():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


def last_pair(ranks, token):
    """The two tokens that are merged last when bytes become this token."""
    parts = [bytes([b]) for b in token]
    while len(parts) > 2:
        rank, at = min((ranks.get(parts[i] + parts[i + 1], 1 << 30), i)
                       for i in range(len(parts) - 1))
        if rank >= ranks[token]:
            return None  # no pair makes it: it is found whole (ignore_merges)
        parts[at:at + 2] = [parts[at] + parts[at + 1]]
    return parts


def tokenizer_json(config, ranks):
    names = byte_names()

    def text(token):
        return "".join(names[b] for b in token)
    n_special = config["default_num_special_tokens"]
    special = ["<unk>", "<s>", "</s>"] + [f"<SPECIAL_{i}>" for i in range(3, n_special)]
    vocab = {t: i for i, t in enumerate(special)}
    vocab.update({text(token): rank + n_special for token, rank in ranks.items()})
    pairs = (last_pair(ranks, token) for token in ranks if len(token) > 1)
    split = {"type": "Split", "pattern": {"Regex": config["pattern"]}, "behavior": "Isolated",
             "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
             "use_regex": False}
    return {"version": "1.0", "normalizer": None, "post_processor": None,
            "added_tokens": [{"id": i, "content": t, "special": True, "single_word": False,
                              "lstrip": False, "rstrip": False, "normalized": False}
                             for i, t in enumerate(special)],
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
            "decoder": level,
            "model": {"type": "BPE", "ignore_merges": True, "byte_fallback": False, "vocab": vocab,
                      "merges": [[text(a), text(b)] for a, b in filter(None, pairs)]}}


def compare(cli, directory, count, seed):
    with open(os.path.join(directory, "tekken.json")) as file:
        data = json.load(file)
    config = data["config"]
    n_special = config["default_num_special_tokens"]
    ranks = {base64.b64decode(t["token_bytes"]): t["rank"]
             for t in data["vocab"][:config["default_vocab_size"] - n_special]}
    reference = tiktoken.Encoding("tekken", pat_str=config["pattern"], mergeable_ranks=ranks,
                                  special_tokens={})
    words = [t.decode(errors="ignore") for t in list(ranks)[256:20256]]
    maker = Texts(seed, words, ["<s>", "</s>", "[INST]", "<unk>"])
    texts = [maker.next() for _ in range(count)] + ["", " ", "\n", "a", "  a"]
    wanted = [[i + n_special for i in reference.encode_ordinary(text)] for text in texts]
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as work:
        with open(os.path.join(made, "tokenizer.json"), "w") as file:
            json.dump(tokenizer_json(config, ranks), file)
        checkpoint(made, work)
        got = run(cli, "ids", work, [(t.encode(), 0) for t in texts], 1)
    return report(os.path.basename(os.path.abspath(directory)), texts, wanted, got)


if __name__ == "__main__":
    compare_directories(compare)
