"""Renders every template of a directory with jinja2 and with the interpreter and compares bytes.

    python3 tests/golden/template/compare.py RENDER_CLI DIRECTORY

Each template x conversation must give the same text, or be refused by both. Exits 1 otherwise."""

import collections
import pathlib
import sys

from conversations import variables
from oracle import Renderer, reference


def main(program, directory):
    renderer = Renderer(program)
    counts = collections.Counter()
    wrong = collections.Counter()
    shown = 0
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
