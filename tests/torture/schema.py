#!/usr/bin/env python3
"""schemathesis on /openapi.json: requests made from the document, fitting and broken ones.

Every answer must be one that the document names: no 5xx, errors in OpenAI's shape (the document's
schema of errors), answers of the declared type and shape, and what breaks the schema refused. Left
out are two checks that no document of this API could meet: that every fitting body is accepted (a
field may depend on another one, token ids on the model), and the one about authentication (this
server has no key).

    schema.py --model FILE --binary build/release/wicara [--schemathesis build/venv-clients/bin/st]
              [--examples 10] [--requests 1] [--seed 1] [--pairs 1]

--examples: requests an operation and round beside those that cover each field's limits; rounds go
on, each with the next seed, until --requests were made. With the binary on the fake engine
(wicara_fake) it judges the HTTP side alone, at thousands of requests a minute. Making the requests is
what takes the time: --pairs of one server and one schemathesis, with seeds of their own, use as many
cores. Ends with the line
"N passed, N failed" (rounds); exit status 1 when a check failed.
"""
import argparse
import itertools
import re
import subprocess
import sys
import threading

from wicara_client import Server

CHECKS_LEFT_OUT = "positive_data_acceptance,ignored_auth"


def run_round(command, url, examples, seed):
    """(requests made, report or None). One worker: hypothesis parses source texts, and Python 3.11's
    parser of them fails now and then when two threads use it at once."""
    done = subprocess.run(
        [command, "run", url + "/openapi.json", "--phases", "coverage,fuzzing", "--seed", str(seed),
         "--max-examples", str(examples), "--exclude-checks", CHECKS_LEFT_OUT, "--continue-on-failure",
         "--no-shrink", "--request-timeout", "60", "--workers", "1",
         "--generation-database", "none"],
        capture_output=True, text=True)
    counted = re.search(r"(\d+) generated", done.stdout)
    made = int(counted.group(1)) if counted else 0
    return made, None if done.returncode == 0 and made else done.stdout + done.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--binary", default="build/release/wicara")
    parser.add_argument("--schemathesis", default="build/venv-clients/bin/st")
    parser.add_argument("--examples", type=int, default=10)
    parser.add_argument("--requests", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=1)
    args = parser.parse_args()
    seeds, lock = itertools.count(args.seed), threading.Lock()
    total = {"made": 0, "passed": 0, "failed": 0}

    def pair():
        # A short context ends the answers of requests that name no length.
        with Server(args.binary, args.model, "--ctx-size", 192) as server:
            n = 1
            while n and total["made"] < args.requests:
                with lock:
                    seed = next(seeds)
                n, report = run_round(args.schemathesis, f"http://127.0.0.1:{server.port}",
                                      args.examples, seed)
                with lock:
                    total["made"] += n
                    total["passed" if report is None else "failed"] += 1
                    print(f"{'ok  ' if report is None else 'FAIL'}  seed {seed}: {n} requests", flush=True)
                    if report is not None:
                        print(report[-6000:], flush=True)
            if server.process.poll() is not None:
                total["failed"] += 1
                print(f"the server ended with {server.process.returncode}", flush=True)

    pairs = [threading.Thread(target=pair) for _ in range(args.pairs)]
    for thread in pairs:
        thread.start()
    for thread in pairs:
        thread.join()
    made, passed, failed = total["made"], total["passed"], total["failed"]
    print(f"{made} requests; {passed} passed, {failed} failed")
    sys.exit(0 if passed and not failed else 1)


if __name__ == "__main__":
    main()
