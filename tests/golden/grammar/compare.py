#!/usr/bin/env python3
"""Texts that grammars allow against validators.

    python compare.py --cli grammar_cli --model MODEL.gguf [--count 300] [--docs 3] [--seed 1]
                      [--suite DIRECTORY] [--regex COUNT] [--times] [--llguidance]

Generates COUNT schemas, compiles each, draws DOCS texts at the shortest length + 0, + 1, + 10 and
+ 200 tokens of budget, and checks that each is complete, within its budget, and valid under
python-jsonschema. --suite adds the schemas of a checkout of JSON-Schema-Test-Suite's
tests/draft2020-12, with its valid and invalid instances: what the grammar accepts must be valid.
--regex makes COUNT patterns and compares what they accept of short texts with Python's re. --times
prints what a mask costs in CPU time. --llguidance counts the schemas that llguidance takes of the
same set, and with --times measures its masks on the same texts. Needs jsonschema (llguidance).
"""
import argparse
import collections
import glob
import json
import os
import random
import re
import subprocess
import sys

import jsonschema

EXTRAS = (0, 1, 10, 200)


class Cli:
    def __init__(self, path, model):
        self.process = subprocess.Popen([path, model], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def line(self):
        line = self.process.stdout.readline().decode()
        if not line:
            raise SystemExit(f"grammar_cli ended with {self.process.wait()}")
        return line.rstrip("\n")

    def send(self, header, *texts):
        self.process.stdin.write(header.encode() + b"\n" + b"".join(texts))
        self.process.stdin.flush()

    def sample(self, kind, text, seed=1, docs=1, extra=0, strict=0, times=False):
        """(error, shortest, [(text, tokens, complete, nanoseconds)])"""
        data = text.encode()
        self.send(f"{kind} {strict} {seed} {docs} {extra} {int(times)} {len(data)}", data)
        head = self.line()
        if head.startswith("error"):
            return head, 0, [], 0
        shortest, micros = int(head.split()[1]), int(head.split()[3])
        found = []
        for _ in range(docs):
            head = self.line()
            if head.startswith("error"):
                return head, shortest, found, micros
            n, tokens, complete = map(int, head.split())
            body = self.process.stdout.read(n + 1)[:-1]
            masks = [tuple(map(int, x.split(":"))) for x in self.line().split()] if times else []
            found.append((body, tokens, complete, masks))
        return None, shortest, found, micros

    def match(self, kind, text, value, strict=0):
        data, value = text.encode(), value.encode()
        self.send(f"match {kind} {strict} {len(data)} {len(value)}", data, value)
        return self.line()


# ---- generated schemas ----

NAMES = ["id", "name", "a b", "quo\"te", "ümlaut", "x", "list", "value", "zip", "back\\slash"]
PATTERNS = ["^[a-z]+$", "^\\d{3}-\\d{4}$", "foo|bar", "^(ab|cd){1,3}$", "^[^\\s@]+@[^\\s@]+$",
            "x{2,}", "^\\w+\\.\\w+$", "[A-Z]$", "^a.c$", "^\"quoted\"$", "^\\u00e9+$", "\\\\"]
FORMATS = ["date", "time", "date-time", "email", "ipv4", "ipv6", "uuid", "hostname", "uri",
           "duration", "int32"]
VALUES = [0, 1, -5, 2.5, "x", "a\"b", "é", True, False, None, [], [1, 2], {}, {"k": [1]}, "",
          "line\nbreak", 1e20]


class Generator:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def some(self, probability):
        return self.r.random() < probability

    def string(self):
        s = {"type": "string"}
        if self.some(.4):
            s["minLength"] = self.r.choice([0, 1, 2, 5, 20])
        if self.some(.4):
            s["maxLength"] = s.get("minLength", 0) + self.r.choice([0, 1, 3, 10, 100, 1000])
        if self.some(.25):
            s["pattern"] = self.r.choice(PATTERNS)
        elif self.some(.2):
            s["format"] = self.r.choice(FORMATS)
        return s

    def number(self):
        s = {"type": self.r.choice(["integer", "number"])}
        low = self.r.choice([-1000, -3, 0, 1, 7, 10, 99, 2.5, -0.25, 12345])
        if self.some(.5):
            s[self.r.choice(["minimum", "exclusiveMinimum"])] = low
        if self.some(.5):
            s[self.r.choice(["maximum", "exclusiveMaximum"])] = low + self.r.choice(
                [1, 2, 10, 1000, 0.5, 123456])
        if self.some(.2):
            s["multipleOf"] = self.r.choice([1, 2, 3, 7, 10, 25, 100, 0.5, 0.25])
        return s

    def array(self, depth):
        s = {"type": "array"}
        if self.some(.8):
            s["items"] = self.schema(depth - 1)
        if self.some(.2):
            s["prefixItems"] = [self.schema(depth - 1) for _ in range(self.r.randint(1, 3))]
        if self.some(.3):
            s["minItems"] = self.r.choice([0, 1, 2, 4])
        if self.some(.5):
            s["maxItems"] = s.get("minItems", 0) + self.r.choice([0, 1, 3, 20])
        return s

    def object(self, depth):
        s = {"type": "object"}
        names = self.r.sample(NAMES, self.r.randint(0, 5))
        s["properties"] = {n: self.schema(depth - 1) for n in names}
        s["required"] = [n for n in names if self.some(.5)]
        if self.some(.1):
            s["required"].append("undeclared")
        if self.some(.6):
            s["additionalProperties"] = self.r.choice(
                [False, False, True, {"type": "integer"}, {"type": "string", "maxLength": 3}])
        if self.some(.1):
            s["patternProperties"] = {self.r.choice(["^x-", "^[a-z]$", "\\d"]):
                                      self.schema(depth - 1)}
        if self.some(.1):
            s["minProperties"] = self.r.randint(0, len(s["required"]) + 1)
        if self.some(.1):
            s["maxProperties"] = len(s["required"]) + self.r.randint(0, 3)
        return s

    def schema(self, depth):
        kind = self.r.random()
        if depth <= 0:
            kind *= .6
        if kind < .2:
            return self.string()
        if kind < .4:
            return self.number()
        if kind < .45:
            return {"enum": self.r.sample(VALUES, self.r.randint(1, 4))}
        if kind < .48:
            return {"const": self.r.choice(VALUES)}
        if kind < .52:
            return {"type": self.r.sample(["string", "null", "boolean", "integer", "number"], 2)}
        if kind < .56:
            return self.r.choice([{"type": "boolean"}, {"type": "null"}, {}, True,
                                  {"type": "object"}, {"type": "array"}])
        if kind < .6:
            return {"$ref": "#/$defs/node"}
        if kind < .75:
            return self.array(depth)
        if kind < .9:
            return self.object(depth)
        if kind < .95:
            return {"anyOf": [self.schema(depth - 1) for _ in range(self.r.randint(1, 3))]}
        if kind < .97:
            return {"oneOf": [self.schema(depth - 1) for _ in range(self.r.randint(1, 3))]}
        return {"allOf": [self.object(depth), self.object(depth)]}

    def whole(self):
        s = self.schema(3)
        s = dict(s) if isinstance(s, dict) else {"anyOf": [s]}
        s["$defs"] = {"node": {"type": "object", "properties": {
            "v": self.schema(0), "next": {"$ref": "#/$defs/node"}},
            "required": ["v"] if self.some(.7) else [], "additionalProperties": False}}
        return s


CHECKER = jsonschema.Draft202012Validator.FORMAT_CHECKER


def validator(schema):
    return jsonschema.Draft202012Validator(schema, format_checker=CHECKER)


def unique(pairs):
    return dict(pairs)


class Counts(collections.Counter):
    def report(self, what):
        print(f"{what}: " + ", ".join(f"{n} {name}" for name, n in sorted(self.items())))


def fail(counts, schema, text):
    counts["FAILED"] += 1
    if counts["FAILED"] <= 10:
        print(f"FAILED {text}\n  {json.dumps(schema)[:600]}")


def check_schema(cli, schema, docs, seed, counts, refusals, times=None, peer=None):
    """True when it was accepted."""
    text = json.dumps(schema)
    matcher = peer and peer.matcher(text)
    if matcher:
        counts["accepted by llguidance"] += 1
        peer.accepted += 1
    for extra in EXTRAS:
        error, shortest, found, micros = cli.sample("schema", text, seed, docs, extra,
                                                    times=times is not None)
        if error and not error.startswith(("error ERR_UNSUPPORTED", "error ERR_INVALID",
                                           "error ERR_LIMIT")) or error and found:
            fail(counts, schema, error)
            return False
        if error:
            counts["refused"] += 1
            if matcher:
                counts["refused, but accepted by llguidance"] += 1
            if "UNSUPPORTED" in error and not re.search(r"'#[^']*'", error):
                fail(counts, schema, f"a refusal without a pointer: {error}")
            refusals[re.sub(r"'#[^']*/([^/']*)'", r"\1", error)] += 1
            return False
        for body, tokens, complete, masks in found:
            counts["documents"] += 1
            if times is not None:
                times += [(ns, extra, text, i) for i, (_, ns) in enumerate(masks)]
            if times is not None and matcher:
                peer.follow(matcher, masks)
            if not complete or tokens > shortest + extra:
                fail(counts, schema, f"incomplete at +{extra} ({tokens} of {shortest}): {body!r}")
                continue
            try:
                value = json.loads(body.decode("utf-8"))
            except ValueError as error:
                fail(counts, schema, f"no JSON ({error}): {body!r}")
                continue
            problem = next(validator(schema).iter_errors(value), None)
            if problem is not None:
                fail(counts, schema, f"invalid ({problem.message[:200]}): {body.decode()[:300]!r}")
    counts["accepted"] += 1
    return True


def report_times(what, nanos):
    nanos = sorted(nanos)
    if nanos:
        print(f"{what}: {len(nanos)}, mean {sum(nanos) / len(nanos) / 1000:.1f} us, "
              f"p50 {nanos[len(nanos) // 2] / 1000:.1f}, p99 {nanos[len(nanos) * 99 // 100] / 1000:.1f}, "
              f"p99.9 {nanos[len(nanos) * 999 // 1000] / 1000:.1f}, max {nanos[-1] / 1000:.1f}")


def report_masks(args, times, peer):
    report_times("masks", [t[0] for t in times])
    report_times("  far from the end of the budget", [t[0] for t in times if t[1] == EXTRAS[-1]])
    if peer:
        report_times("  that llguidance computed too", peer.ours)
        report_times("  llguidance", peer.theirs)
    if args.verbose:
        for ns, extra, text, i in sorted(times, reverse=True)[:40]:
            print(f"slow: {ns / 1000:.0f} us, +{extra}, mask {i}: {text[:700]}")


def generated(cli, args, counts, peer):
    refusals = collections.Counter()
    times = [] if args.times else None
    for i in range(args.count):
        schema = Generator(args.seed * 1000003 + i).whole()
        check_schema(cli, schema, args.docs, i, counts, refusals, times, peer)
    counts.report("generated schemas")
    for text, n in refusals.most_common(12):
        print(f"  {n} x {text[:150]}")
    if times:
        report_masks(args, times, peer)


def suite(cli, args, counts, peer):
    refusals = collections.Counter()
    for path in sorted(glob.glob(os.path.join(args.suite, "*.json"))):
        for case in json.load(open(path, encoding="utf-8")):
            schema = case["schema"]
            text = json.dumps(schema)
            if not check_schema(cli, schema, 2, 1, counts, refusals, peer=peer):
                continue
            for test in case["tests"]:
                value = json.dumps(test["data"], ensure_ascii=False, separators=(",", ":"))
                answer = cli.match("schema", text, value)
                counts[f"instances {'valid' if test['valid'] else 'invalid'}: {answer}"] += 1
                if answer == "yes" and not test["valid"]:
                    fail(counts, schema, f"accepts {value} ({test['description']})")
                elif answer == "no" and test["valid"] and args.verbose:
                    print("narrow:", case["description"], "|", test["description"], value[:80])
    counts.report("suite")
    for text, n in refusals.most_common(40):
        print(f"  {n} x {text[:150]}")


def random_pattern(r, depth):
    kind = r.random()
    if depth == 0 or kind < .4:
        return r.choice(["a", "b", "c", "[ab]", "[^a]", ".", "\\d", "\\w", "\\.", "1", "[a-c1]"])
    if kind < .6:
        return random_pattern(r, depth - 1) + random_pattern(r, depth - 1)
    if kind < .75:
        return f"({random_pattern(r, depth - 1)}|{random_pattern(r, depth - 1)})"
    return f"(?:{random_pattern(r, depth - 1)})" + r.choice(
        ["*", "+", "?", "{2}", "{1,2}", "{0,3}", "{2,}", "*?", "+?"])


def regex(cli, args, counts):
    r = random.Random(args.seed)
    for _ in range(args.regex):
        pattern = random_pattern(r, 4)
        for _ in range(20):
            text = "".join(r.choice("abc1.d ") for _ in range(r.randint(0, 6)))
            wanted = "yes" if re.fullmatch(pattern, text, re.A) else "no"
            if cli.match("regex", pattern, text) != wanted:
                fail(counts, pattern, f"python says {wanted} of {text!r}")
            counts["texts " + wanted] += 1
    counts.report("patterns")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cli", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--docs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--suite")
    parser.add_argument("--regex", type=int, default=0)
    parser.add_argument("--times", action="store_true")
    parser.add_argument("--llguidance", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    cli = Cli(args.cli, args.model)
    peer = None
    if args.llguidance:
        from peer import Peer
        peer = Peer(cli)
    counts = Counts()
    if args.count:
        generated(cli, args, counts, peer)
    failed, accepted = counts["FAILED"], counts["accepted"]
    if args.suite:
        counts = Counts()
        suite(cli, args, counts, peer)
        failed += counts["FAILED"]
        accepted += counts["accepted"]
    if args.regex:
        counts = Counts()
        regex(cli, args, counts)
        failed += counts["FAILED"]
    if peer:
        print(f"schemas accepted: {accepted}, by llguidance {peer.accepted}")
        failed += accepted < peer.accepted
    print("grammar: " + (f"{failed} FAILED" if failed else "all as they must be"))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
