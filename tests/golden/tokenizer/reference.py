"""Reference tokenizers, built from the vocabulary of a GGUF file.

Byte-level BPE: the `tokenizers` library with the regular expressions that the models' own
tokenizer.json files state. SPM: the `sentencepiece` library on a model made of the file's pieces,
scores and types, called for each stretch between special tokens (Hugging Face's "legacy" way, which
GGUF files mean too)."""

import re
import struct

from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LINES = r"\s*[\r\n]+|\s+(?!\S)|\s+"


def words(number, letters=r"\p{L}", contraction=CONTRACTION + "|", tail=r"[\r\n]*"):
    none = r"\r\n" if not tail else ""
    return (contraction + r"[^\r\n\p{L}\p{N}]?[" + letters + r"]+|" + number +
            r"| ?[^\s" + letters + r"\p{N}" + none + "]+" + tail + "|" + LINES)


def mixed(number, suffix):
    upper, lower = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    prefix = r"[^\r\n\p{L}\p{N}]?"
    return (prefix + upper + "*" + lower + "+" + suffix + "|" + prefix + upper + "+" + lower + "*" +
            suffix + "|" + number + r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + LINES)


# The letters with case that deepseek-llm lists.
CASED = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-"
    "\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1"
    "\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-"
    "\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15"
    "\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d"
    "\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"
    "\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d"
    "\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183"
    "\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b"
    "\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-"
    "\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb"
    "\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943")
CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
DIGITS = object()  # the library's Digits(individual_digits=True)

SHAPES = {
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "gpt-2": [GPT2],
    "smollm": [DIGITS, GPT2],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "llama-bpe": [words(r"\p{N}{1,3}")],
    "qwen2": [words(r"\p{N}")],
    "qwen35": [words(r"\p{N}", r"\p{L}\p{M}")],
    "seed-coder": [words(r"\p{N}{1}", tail="")],
    "ufakzeka": [words(r"\p{N}", contraction="")],
    "minicpm5": [r"\p{N}{1,3}", words(r"\p{N}+")],
    "laguna": [r"[^\n]+|[\n]+", words(r"\p{N}")],
    "gpt-4o": [mixed(r"\p{N}{1,3}", CONTRACTION + "?")],
    "tekken": [mixed(r"\p{N}", "")],
    "deepseek-llm": [r"[\r\n]", r"\s?[" + CASED + "]+",
                     "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
                     r"\s+$", CJK, r"\p{N}+"],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}"],
    "deepseek-v3": [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
                    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?"""
                    r"""[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|""" + LINES],
}
# Other names of a shape, as far as there are vocabularies to compare.
SAME = {"starcoder": "smollm", "refact": "smollm", "command-r": "smollm", "mpt": "gpt-2",
        "bailingmoe": "qwen2"}
# Stated on its own, not through words(): the one shape whose upstream expression looks different.
BAILING = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|"
           r"\s*[\r\n]|\s+(?!\S)|\s+")
# The tokenizer.json of Qwen2 to 3 normalises; GGUF has no key for it, so the name says it.
NORMALIZES = {"qwen2"}
IGNORE_MERGES = {"llama-bpe", "tekken", "minicpm5"}

# Made control tokens, whatever kind the file gives them (engine/tokenizer/token_flags.c).
END_MARKERS = {"<|eot_id|>", "<|im_end|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>", "<EOT>",
               "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<eos>", "<end_of_turn>", "<turn|>",
               "<|tool_response>", "<｜end▁of▁sentence｜>"}
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def pre_tokenizer(name):
    shape = [BAILING] if name == "bailingmoe" else SHAPES[SAME.get(name, name)]
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True) if rule is DIGITS
         else pre_tokenizers.Split(Regex(rule), behavior="isolated") for rule in shape])


def byte_map():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


class Vocab:
    def __init__(self, path):
        fields = GGUFReader(path).fields

        def get(key, default=None):
            field = fields.get("tokenizer.ggml." + key)
            return default if field is None else field.contents()

        self.model = get("model")
        self.pre = get("pre", "default")
        self.tokens = get("tokens")
        self.kinds = list(get("token_type", [NORMAL] * len(self.tokens)))
        self.scores = get("scores")
        self.merges = get("merges")
        self.add_space_prefix = get("add_space_prefix", self.model == "llama")
        arch = fields.get("general.architecture")
        self.is_phi3 = self.model == "llama" and arch is not None and arch.contents() == "phi3"
        for i, text in enumerate(self.tokens):
            if text in END_MARKERS:
                self.kinds[i] = CONTROL

    def merge_pairs(self):
        split = [(merge, merge.index(" ", 1)) for merge in self.merges]
        return [(merge[:at], merge[at + 1:]) for merge, at in split]

    def specials(self, trusted):
        kinds = (CONTROL, USER_DEFINED, UNKNOWN) if trusted else (USER_DEFINED,)
        return [t for t, k in zip(self.tokens, self.kinds) if k in kinds]

    def strips_right(self, text):
        return self.is_phi3 and text not in ("<unk>", "<s>", "<|endoftext|>") and \
            self.kinds[self.tokens.index(text)] in (CONTROL, USER_DEFINED)

    def pieces(self):
        """The bytes that each token stands for."""
        to_byte = {c: b for b, c in byte_map().items()}
        out = []
        for text, kind in zip(self.tokens, self.kinds):
            if kind in (CONTROL, USER_DEFINED, UNKNOWN):
                out.append(text.encode())
            elif kind == BYTE:
                out.append(bytes([int(text[3:5], 16)]))
            elif self.model in ("llama", "gemma4"):
                out.append(text.replace("\u2581", " ").encode())
            elif all(c in to_byte for c in text):
                out.append(bytes(to_byte[c] for c in text))
            else:
                out.append(text.encode())
        return out


class ByteLevelReference:
    def __init__(self, vocab, trusted):
        ids = {t: i for i, t in enumerate(vocab.tokens)
               if trusted or vocab.kinds[i] in (NORMAL, USER_DEFINED)}
        model = models.BPE(ids, vocab.merge_pairs(), ignore_merges=vocab.pre in IGNORE_MERGES)
        self.tokenizer = Tokenizer(model)
        if vocab.pre in NORMALIZES:
            self.tokenizer.normalizer = normalizers.NFC()
        self.tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizer(vocab.pre),
             pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        self.tokenizer.add_special_tokens(
            [AddedToken(t, normalized=False) for t in vocab.specials(trusted)])

    def encode(self, texts):
        return [e.ids for e in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def spm_model(vocab):
    """A sentencepiece model file: the protocol buffer written by hand, as it has few fields."""
    def varint(n):
        out = b""
        while n > 127:
            out += bytes([n & 127 | 128])
            n >>= 7
        return out + bytes([n])

    def number(field, n):
        return varint(field << 3) + varint(n)

    def block(field, data):
        return varint(field << 3 | 2) + varint(len(data)) + data

    model = b""
    seen_unknown = False
    for i, (text, score, kind) in enumerate(zip(vocab.tokens, vocab.scores, vocab.kinds)):
        if kind == UNKNOWN or (i == 0 and UNKNOWN not in vocab.kinds[:1]):
            kind = CONTROL if seen_unknown else UNKNOWN
            seen_unknown = True
        elif kind == USER_DEFINED:  # matched by SpecialSplit below
            kind = CONTROL
        model += block(1, block(1, text.encode()) + b"\x15" + struct.pack("<f", score) +
                       number(3, kind))
    trainer = number(3, 2) + number(35, 1)
    normalizer = block(1, b"identity") + number(3, int(vocab.add_space_prefix)) + number(4, 0) + \
        number(5, 1)
    return model + block(2, trainer) + block(3, normalizer)


class SpmReference:
    def __init__(self, vocab, trusted):
        import sentencepiece
        self.vocab = vocab
        self.spm = sentencepiece.SentencePieceProcessor(model_proto=spm_model(vocab))
        self.ids = {t: i for i, t in enumerate(vocab.tokens)}
        specials = sorted(vocab.specials(trusted), key=lambda t: -len(t.encode()))
        pattern = "|".join(re.escape(t) + (r"\s*" if vocab.strips_right(t) else "")
                           for t in specials)
        self.specials = specials
        self.split = re.compile("(" + pattern + ")") if specials else None

    def encode_one(self, text):
        parts = self.split.split(text) if self.split else [text]
        out = []
        for i, part in enumerate(parts):
            if i % 2:
                out.append(next(self.ids[t] for t in self.specials if part.startswith(t)))
            elif part:
                out += self.spm.encode(part)
        return out

    def encode(self, texts):
        return [self.encode_one(text) for text in texts]


class Gemma4Reference(ByteLevelReference):
    """BPE over characters with U+2581 for a space and byte fallback; nothing is cut before it."""

    def __init__(self, vocab, trusted):
        ids = {t: i for i, t in enumerate(vocab.tokens)
               if trusted or vocab.kinds[i] in (NORMAL, USER_DEFINED, BYTE)}
        model = models.BPE(ids, vocab.merge_pairs(), byte_fallback=True, fuse_unk=True)
        self.tokenizer = Tokenizer(model)
        self.tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
        self.tokenizer.add_special_tokens(
            [AddedToken(t, normalized=False) for t in vocab.specials(trusted)])


REFERENCES = {"gpt2": ByteLevelReference, "llama": SpmReference, "gemma4": Gemma4Reference}


def reference(vocab, trusted):
    return REFERENCES[vocab.model](vocab, trusted)
