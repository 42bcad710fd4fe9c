#!/usr/bin/env python3
"""Plots of RESULTS.md: one SVG of decode over streams for each table of ours and a peer.

The tables are the source, so that a plot never shows what is not written there. A table counts when
its head names "ours tok/s" and a peer and it has rows "decode, N stream(s)". Both axes are
logarithmic. Plain SVG, no library. Usage: plot.py (writes tests/bench/plots/*.svg)
"""
import html
import math
import os
import re
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 560, 320, 60, 40, 130, 44
COLOURS = ["#0b6e4f", "#b3541e", "#3d5a98", "#7a3b69"]


def tables(text):
    """(section, model, names, {name: [(streams, tokens/s), ...]})"""
    section, model, names, points = "", "", [], {}
    for line in text.splitlines() + [""]:
        if line.startswith("## "):
            section = line[3:].split(",")[0]
        if line.startswith("|"):
            cells = [c.strip() for c in line.strip("|").split("|")]
            if "ours tok/s" in cells:
                names = [c[:-6] for c in cells if c.endswith(" tok/s")]
                points = {name: [] for name in names}
            row = re.match(r"decode,? (\d+)(?: streams?)?$", cells[0])
            for name, cell in zip(names, cells[1:]) if row else ():
                value = re.match(r"[\d.,]+", cell)
                if value:
                    points[name].append((int(row[1]), float(value[0].replace(",", ""))))
            continue
        if names and len(points[names[0]]) > 1:
            yield section, model, names, points
        names, points = [], {}
        found = re.match(r"(Default model)|`(make_model \w+)`", line)
        if found:
            model = (found[1] or found[2]).lower()


def ticks(low, high):
    """1, 2 and 5 times powers of ten."""
    value = 10 ** math.floor(math.log10(low))
    while value <= high * 1.001:
        for step in (1, 2, 5):
            if low * 0.999 <= step * value <= high * 1.001:
                yield step * value
        value *= 10


def svg(title, names, points):
    xs = sorted({x for p in points.values() for x, _ in p})
    ys = [y for p in points.values() for _, y in p]
    low, high = min(ys) / 1.3, max(ys) * 1.3

    def at(x, y):
        part = math.log(x / xs[0]) / math.log(xs[-1] / xs[0])
        return (LEFT + part * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - math.log(y / low) / math.log(high / low) * (HEIGHT - TOP - BOTTOM))

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{LEFT}" y="20" font-size="13">{html.escape(title)}</text>']
    for value in ticks(low, high):
        _, y = at(xs[0], value)
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in xs:
        x, _ = at(value, low)
        out.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value}</text>')
    out.append(f'<text x="{LEFT}" y="{HEIGHT - 8}">streams (tokens/s of all)</text>')
    for name, colour in zip(names, COLOURS):
        places = [at(x, y) for x, y in points[name]]
        if not places:
            continue
        out.append('<polyline fill="none" stroke-width="2" stroke="%s" points="%s"/>' % (
            colour, " ".join(f"{x:.1f},{y:.1f}" for x, y in places)))
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        x, y = places[-1]
        out.append(f'<text x="{x + 8:.1f}" y="{y + 4:.1f}" fill="{colour}">{html.escape(name)}</text>')
    return "\n".join(out + ["</svg>", ""])


def main():
    with open(os.path.join(FOLDER, "RESULTS.md")) as file:
        text = file.read()
    os.makedirs(os.path.join(FOLDER, "plots"), exist_ok=True)
    counts = {}
    for section, model, names, points in tables(text):
        counts[section] = counts.get(section, 0) + 1
        path = os.path.join(FOLDER, "plots", f"decode-{section}-{counts[section]}.svg")
        with open(path, "w") as file:
            file.write(svg(f"decode, {model}, {section}", names, points))
        print(os.path.relpath(path))


if __name__ == "__main__":
    sys.exit(main())
