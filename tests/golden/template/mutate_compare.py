"""Damaged copies of real templates, rendered by jinja2 and by the interpreter.

    python3 tests/golden/template/mutate_compare.py RENDER_CLI DIRECTORY COUNT SEED

Each copy has one to three tokens deleted, moved, swapped or replaced, which mostly ends in an error: both
must give the same text or refuse, and the interpreter must live (build it with sanitizers). Copies that
keep jinja2 busy for seconds are only rendered by the interpreter. Exits 1 when a verdict differs."""

import collections
import pathlib
import random
import re
import signal
import sys
import warnings

from conversations import variables
from fuzz_compare import clean
from oracle import Renderer, reference

TOKEN = re.compile(r"\s+|\w+|'[^']*'|\"[^\"]*\"|\{%-?|-?%\}|\{\{-?|-?\}\}|.", re.S)
PIECES = ["-", "+", " ", "\n", "not ", "none", "''", "0", "[0]", ".x", "|length", "|trim", "is string",
          "true", "(", ")", "%}", "{%", "}}", "{{", "~", "-1", "loop.last", "|list", "is defined"]
JINJA2_SECONDS = 5


def damage(rng, source):
    tokens = TOKEN.findall(source)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(tokens))
        how = rng.randrange(5)
        if how == 0 and len(tokens) > 1:
            del tokens[at]
        elif how == 1:
            tokens[at] = rng.choice(tokens)
        elif how == 2:
            tokens.insert(at, rng.choice(tokens))
        elif how == 3 and at + 1 < len(tokens):
            tokens[at], tokens[at + 1] = tokens[at + 1], tokens[at]
        else:
            tokens[at] = rng.choice(PIECES)
    return "".join(tokens)


class TooSlow(BaseException):
    """Not an Exception, so that the oracle does not take it for a refusal."""


def out_of_time(*_):
    raise TooSlow


def main(program, directory, count, seed):
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, out_of_time)
    sources = [p.read_text(encoding="utf-8") for p in sorted(pathlib.Path(directory).glob("*.jinja"))]
    inputs = [v for _, v in variables()]
    renderer = Renderer(program)
    counts = collections.Counter()
    wrong = 0
    for i in range(int(count)):
        rng = random.Random(int(seed) * 1000003 + i)
        source, values = damage(rng, rng.choice(sources)), rng.choice(inputs)
        status, text, _ = renderer.render(source, values)
        try:
            signal.alarm(JINJA2_SECONDS)
            kind, expected = reference(source, values)
            signal.alarm(0)
        except TooSlow:
            counts["too slow for jinja2"] += 1
            continue
        if kind == "OK" and status == "OK" and text == expected:
            counts["equal"] += 1
        elif kind != "OK" and status != "OK":
            counts["refused by both"] += 1
        elif kind == "OK" and clean(expected):
            counts["skipped (prints an address)"] += 1
        else:
            wrong += 1
            if wrong <= 10:
                print(f"--- copy {i} of seed {seed}\njinja2: {kind} {expected!r:.300}\n"
                      f"ours:   {status} {text!r:.300}")
    print(", ".join(f"{n} {what}" for what, n in counts.items()), f"of {count}")
    print("PASS" if counts["equal"] and not wrong else f"FAIL: {wrong} differ")
    return 0 if counts["equal"] and not wrong else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5]))
