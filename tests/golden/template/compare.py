"""Renders every template of a directory with jinja2 and with the interpreter and compares bytes.

    python3 tests/golden/template/compare.py RENDER_CLI DIRECTORY

Each template x conversation must give the same text, or be refused by both. Exits 1 otherwise."""

import collections
import json
import pathlib
import sys

from conversations import variables
from oracle import Renderer, reference


CASES = """{% for c in s %}{{ c.upper() ~ c.lower() ~ c.title() ~ c.capitalize() ~ c.swapcase() ~
c.casefold() ~ c.isalpha() ~ c.isdigit() ~ c.isdecimal() ~ c.isnumeric() ~ c.isalnum() ~ c.isspace() ~
c.isupper() ~ c.islower() ~ c.istitle() ~ [c] ~ c.strip()|length ~ ("1" ~ c)|int ~ (c ~ "x")|title ~
("AΣ" ~ c ~ "A")|lower ~ ("A" ~ c ~ "Σ")|lower ~ (c ~ "z").splitlines() }}
{% endfor %}{{ s.upper() }}{{ s.lower() }}{{ s.title() }}{{ s | tojson(ensure_ascii=true) }}"""


def unicode_cases():
    """Every character through the methods that depend on Unicode tables."""
    for start in range(0, 0x110000, 1024):
        text = "".join(chr(c) for c in range(start, start + 1024)
                       if c and not 0xD800 <= c < 0xE000)
        if any(c.isprintable() for c in text):
            yield f"U+{start:04X}", json.dumps({"s": text}, ensure_ascii=False)


def main(program, directory):
    renderer = Renderer(program)
    counts = collections.Counter()
    wrong = collections.Counter()
    shown = 0
    for name, values in unicode_cases():
        expected = reference(CASES, values)
        status, text, _ = renderer.render(CASES, values)
        if (status, text) == expected:
            counts["characters x 1024 equal"] += 1
        else:
            wrong[name] += 1
            for ours, theirs in zip(text.splitlines(), expected[1].splitlines()):
                if ours != theirs and shown < 20:
                    shown += 1
                    print(f"--- {name}\njinja2: {theirs!r:.300}\nours:   {ours!r:.300}")
    for path in sorted(pathlib.Path(directory).glob("*.jinja")):
        source = path.read_text(encoding="utf-8")
        for name, values in variables():
            kind, expected = reference(source, values)
            status, text, _ = renderer.render(source, values)
            if kind == "OK" and status == "OK" and text == expected:
                counts["equal"] += 1
            elif kind != "OK" and status != "OK":
                counts["refused by both"] += 1
            else:
                wrong[path.name] += 1
                if shown < 20:
                    shown += 1
                    print(f"--- {path.name} / {name}\njinja2: {kind} {expected!r:.700}\n"
                          f"ours:   {status} {text!r:.700}")
    total = sum(counts.values())
    print(", ".join(f"{n} {what}" for what, n in counts.items()), f"of {total + wrong.total()}")
    for name, n in wrong.most_common():
        print(f"{n:5} wrong: {name}")
    print("PASS" if total and not wrong else "FAIL")
    return 0 if total and not wrong else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
