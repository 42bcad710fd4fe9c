"""Makes tests/golden/tokenizer/json/NAME/: small tokenizer.json files that the `tokenizers` library trained
and saved, and ids.bin with texts and the ids that it gives them.

    python make_json_goldens.py

ids.bin: for each text u32 bytes, the bytes, u32 ids, the ids. Between them the files use every part that
engine/tokenizer/pipeline.c reads: byte level behind NFC and an expression; characters with U+2581 by Prepend
and Replace, and by Metaspace; byte fallback, unknown tokens fused and not; added tokens of every flag.
Made with tokenizers 0.23.3."""

import json
import os
import pathlib
import struct
import sys

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        processors, trainers)

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from texts import Texts

HERE = pathlib.Path(__file__).parent / "json"
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
         r"\s*[\r\n]+|\s+(?!\S)|\s+")
CORPUS = [line for name in ("chinese.txt",) for line in
          (HERE.parent.parent / "model" / "texts" / name).read_text().splitlines()] + \
    ["the quick brown fox jumps over the lazy dog 12345 times, isn't it?"] * 20 + \
    (HERE.parent.parent.parent.parent / "LICENSE").read_text().splitlines()
NFC = ["e\u0301 x", "a\u0302\u0323", "\u1100\u1161\u11a8", "\u212b", "<|n|>\u0338", "q\u0307\u0323"]


def added():
    return [AddedToken("<|s|>", special=True, normalized=False),
            AddedToken("<|l|>", special=True, normalized=False, lstrip=True),
            AddedToken("<|r|>", special=False, normalized=False, rstrip=True),
            AddedToken("<|lr|>", special=False, normalized=False, lstrip=True, rstrip=True),
            AddedToken("<|s|>x", special=False, normalized=False)]


def bytes_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(QWEN2), "isolated"),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.add_tokens(added() + [AddedToken("<|n|>", special=True, normalized=True)])
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|s|> $A", special_tokens=[
            ("<|s|>", tokenizer.token_to_id("<|s|>"))])])
    return tokenizer


def digits():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.add_tokens(added())
    return tokenizer


def marked(kind):
    fallback = [f"<0x{b:02X}>" for b in range(256)] if kind != "metaspace" else []
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=kind == "llama",
                                     byte_fallback=bool(fallback)))
    if kind == "metaspace":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    elif kind == "first":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    if kind != "metaspace":
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
             decoders.Strip(" ", 1, 0)])
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<unk>", "<s>", "</s>", *fallback], show_progress=False,
        limit_alphabet=90, max_token_length=12))
    tokenizer = Tokenizer.from_str(without(tokenizer, fallback))
    tokenizer.add_tokens(added())
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>" if kind == "first" else "<s> $A",
        special_tokens=[("<s>", 1), ("</s>", 2)])
    return tokenizer


def without(tokenizer, names):
    """The bytes of the fallback are in the vocabulary, but are no added tokens."""
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = [t for t in data["added_tokens"] if t["content"] not in names]
    return json.dumps(data)


def main():
    for name, tokenizer in {"bytes": bytes_level(), "digits": digits(), "llama": marked("llama"),
                            "metaspace": marked("metaspace"), "first": marked("first")}.items():
        folder = HERE / name
        folder.mkdir(parents=True, exist_ok=True)
        data = json.loads(tokenizer.to_str())
        (folder / "tokenizer.json").write_text(
            json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n")
        specials = [t["content"] for t in data["added_tokens"]]
        maker = Texts(5, list(data["model"]["vocab"])[-100:], specials)
        texts = [maker.next()[:120] for _ in range(150)] + ["", " ", "a", "  a ", "\u2581a"] + NFC
        texts += [f"{a}{t}{b}" for t in specials[:8] for a in ("", " ", "x ", "\n") for b in ("x", " y")]
        out = b""
        for text in texts:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            out += struct.pack("<I", len(text.encode())) + text.encode()
            out += struct.pack(f"<I{len(ids)}I", len(ids), *ids)
        (folder / "ids.bin").write_bytes(out)
        print(name, tokenizer.get_vocab_size(), len(texts), len(out))


main()
