"""Seeded texts that are hard for tokenizers: every plane of Unicode, runs of white space, digits of
many scripts, emoji, controls, contractions, marks, words and special tokens of a vocabulary."""

import random

# One or more of every class and every character that some shape treats on its own.
TRICKY = ["a", "A", "b", "Z", "\u01c5", "\u02b0", "\u00aa", "\u4f60", "\u597d", "\u0300", "\u0302",
          "1", "2", "34", "\u00b2", "\u2167", "\u0663", " ", "  ", "\t", "\n", "\r", "\r\n",
          "\u00a0", "\u3000", "\u2028", "\u0085", "\u200b", "'", "s", "S", "\u017f", "t", "re",
          "LL", "'ve", "'D", "'\u017f", "d", ".", "!", "?", "$", "+", "`", "/", "|", "^", "-", "_",
          "\x00", "\x04", "\x7f", "\U0001f600", "\U000e1000", "\U00011de0", "\u3001", "\u3002",
          "\uff01", "\uff21", "\u2019", "\u00df", "\u0130", "\u1e9e", "\u2581", "\u00e9", "\u0436",
          "\u0416", "\u05d0", "\u0e01", "\uac00", "\u30a2", "\u3042", "\u3005", "\u2e80"]
SPACES = [" ", " ", " ", "  ", "\t", "\n", "\n\n", "\r\n", "\r", "\u00a0", "\u3000", "\u2009",
          "\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\u1680", "\u202f"]
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'Ve", "'M", "'lL",
                "'D", "'\u017f", "\u2019s", "'x", "'", "''s", "'l", "'r"]
EMOJI = ["\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea",
         "\u2764\ufe0f", "\U0001f44d\U0001f3fd", "\u00a9", "\U0001fae8", "1\ufe0f\u20e3"]
SCRIPTS = [(0x20, 0x7e), (0xa0, 0x24f), (0x370, 0x3ff), (0x400, 0x52f), (0x590, 0x5ff),
           (0x600, 0x6ff), (0x900, 0x97f), (0x980, 0x9ff), (0xe00, 0xe7f), (0x1100, 0x11ff),
           (0x1e00, 0x1eff), (0x2000, 0x206f), (0x2190, 0x22ff), (0x2e80, 0x2fdf),
           (0x3000, 0x30ff), (0x3400, 0x4dbf), (0x4e00, 0x9fff), (0xac00, 0xd7a3),
           (0xfb00, 0xfdff), (0xff00, 0xffef), (0x10300, 0x104af), (0x1d400, 0x1d7ff),
           (0x1f300, 0x1faff), (0x20000, 0x2a6df)]
WORDS = ("the of and to in is that it for was on are as with his they at be this have from or one "
         "had by word but not what all were we when your can said there use an each which she do "
         "how their if will up other about out many then them these so some her would make like "
         "him into time has look two more write go see number no way could people my than first "
         "water been call who oil its now find long down day did get come made may part").split()


def any_char(rng):
    while True:
        c = rng.randrange(0x110000)
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def script_text(rng):
    first, last = rng.choice(SCRIPTS)
    return "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 20)))


def code_line(rng):
    names = [rng.choice(WORDS) for _ in range(4)]
    return (" " * (4 * rng.randrange(5)) + f"{names[0]}_{names[1]} = {names[2].title()}"
            f"({names[3]}[{rng.randrange(10 ** rng.randint(1, 9))}], \"%s\\n\");"
            + rng.choice(["\n", "\r\n", "\n\n    ", "  // ", "\t"]))


def english(rng):
    words = [rng.choice(WORDS) for _ in range(rng.randint(1, 12))]
    words = [w.title() if rng.random() < 0.1 else w.upper() if rng.random() < 0.05 else w
             for w in words]
    return " ".join(w + rng.choice(["", "", "", "", ",", ".", "'s", "n't", "!", "?"])
                    for w in words)


class Texts:
    """vocab_words: texts (not byte-mapped) of tokens; specials: texts of special tokens."""

    def __init__(self, seed, vocab_words=(), specials=()):
        self.rng = random.Random(seed)
        self.vocab_words = list(vocab_words) or WORDS
        self.specials = list(specials)
        self.makers = [
            lambda r: "".join(any_char(r) for _ in range(r.randint(1, 30))),
            lambda r: "".join(chr(r.randrange(128)) for _ in range(r.randint(1, 40))),
            lambda r: "".join(r.choice(TRICKY) for _ in range(r.randint(1, 30))),
            lambda r: "".join(r.choice(TRICKY) for _ in range(r.randint(1, 6))),
            lambda r: "".join(r.choice(SPACES) * r.randint(1, 4)
                              + r.choice(["", "a", "B1", ".", "\u4f60"])
                              for _ in range(r.randint(1, 10))),
            lambda r: "".join(str(r.randrange(10 ** r.randint(1, 12)))
                              + r.choice(["", " ", ",", ".", "a"])
                              for _ in range(r.randint(1, 6))),
            lambda r: "".join(r.choice(WORDS) + r.choice(CONTRACTIONS)
                              + r.choice(["", " ", "x", "\n"])
                              for _ in range(r.randint(1, 8))),
            lambda r: "".join(r.choice(EMOJI) + r.choice(["", " ", "a"])
                              for _ in range(r.randint(1, 8))),
            lambda r: "".join(r.choice("abcXYZ\u0105\u4f60")
                              + chr(r.choice([0x300, 0x301, 0x0323, 0x20dd, 0x1ab0]))
                              * r.randint(0, 3) for _ in range(r.randint(1, 12))),
            script_text,
            lambda r: "".join(script_text(r) + r.choice(["", " ", "\n"]) for _ in range(3)),
            lambda r: "".join(r.choice(self.vocab_words) for _ in range(r.randint(1, 8))),
            lambda r: " ".join(r.choice(self.vocab_words) for _ in range(r.randint(1, 6))),
            code_line,
            english,
            english,
            self.with_specials,
            self.long,
        ]

    def with_specials(self, rng):
        if not self.specials:
            return english(rng)
        out = []
        for _ in range(rng.randint(1, 6)):
            special = rng.choice(self.specials)
            kind = rng.random()
            if kind < 0.2:
                special = special[:rng.randint(0, len(special))]
            elif kind < 0.3:
                special = special[rng.randint(0, len(special)):]
            out.append(special + rng.choice(["", " ", "\n", "  ", "user\n", "a", "\u4f60", "1"]))
        return "".join(out)

    def long(self, rng):
        if rng.random() < 0.9:
            return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz")
                           for _ in range(rng.randint(30, 120)))
        unit = rng.choice(TRICKY + ["ab", "the", "\U0001f600", "=", "-"])
        return unit * rng.randint(50, 600) + rng.choice(["", "a", " ", "\n"])

    def next(self):
        return self.rng.choice(self.makers)(self.rng)
