#!/usr/bin/env python3
"""Greedy answers against transformers in float32 on the same dequantised weights.

The server answers chats and plain continuations at temperature 0; its tokens are then fed to the float32
reference, which must have chosen the same token at every position, unless its best logits nearly tie:
ours is at most --tie below the best one (default 0.5; kl.py measures how far quantised activations move
the distribution). After a tie the reference follows our text, so one tie hides nothing behind it.

    greedy.py --model FILE --binary build/release/wicara [--count 40] [--max-tokens 128] [--tie 0.5]

Ends with status 1 when a token differs without a tie.
"""
import argparse
import json
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, HERE + "/../../torture"]
from kl import load_reference, reference_logits  # noqa: E402
from wicara_client import Server  # noqa: E402

PROMPTS = [
    "Once upon a time there was a fox who", "The three laws of thermodynamics are", "def fibonacci(n):\n",
    "Ingredients for a simple bread:", "In 1969, two astronauts", "La capitale de la France est",
    "The derivative of x squared is", "Dear Sir or Madam,\n", "#include <stdio.h>\n\nint main(void)\n{",
    "1, 2, 3, 5, 8, 13,", "Water boils at", "The opposite of hot is", "SELECT name, age FROM",
    "To be, or not to be, that is", "The mitochondria is", "A haiku about autumn:\n",
    "Roses are red, violets are", "The largest planet of the solar system", "Step 1: preheat the oven.",
    "He opened the door and", "人工智能是", "Photosynthesis is the process by which", "Breaking news:",
    "The recipe calls for two cups of", "My favourite colour is blue because", "import numpy as np\n",
    "In conclusion, the results show that", "Q: What is the speed of light?\nA:", "Chapter 1\n",
    "The quick brown fox", "An algorithm is", "Gravity pulls objects", "The history of bread begins",
    "Four score and seven years ago", "Once the rain stopped,", "There are seven days in a week:",
    "The cat sat on", "Electric current is measured in", "A prime number is", "The sun rises in the",
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--binary", default="build/release/wicara")
    parser.add_argument("--count", type=int, default=len(PROMPTS))
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--tie", type=float, default=0.5)
    args = parser.parse_args()
    model, _ = load_reference(args.model)
    equal = ties = wrong = 0
    widest = 0.0
    with Server(args.binary, args.model) as server:
        for prompt in PROMPTS[:args.count]:
            status, data = server.request("POST", "/v1/completions", {
                "model": "default", "prompt": prompt, "temperature": 0, "max_tokens": args.max_tokens,
                "ignore_eos": True, "return_token_ids": True})
            assert status == 200, data
            choice = json.loads(data)["choices"][0]
            status, data = server.request("POST", "/tokenize", {"content": prompt})
            assert status == 200, data
            before, after = json.loads(data)["tokens"], choice["token_ids"]
            logits = reference_logits(model, before + after)[len(before) - 1:-1]
            for position, token in enumerate(after):
                row = logits[position]
                best, gap = int(row.argmax()), float(row.max() - row[token])
                if best == token:
                    equal += 1
                elif gap <= args.tie:
                    ties, widest = ties + 1, max(widest, gap)
                else:
                    wrong += 1
                    print(f"FAIL  {prompt!r} token {position}: ours {token}, reference {best}, "
                          f"{gap:.3f} better; rank {int((row > row[token]).sum())}")
    total = equal + ties + wrong
    print(f"{total} greedy tokens: {equal} equal, {ties} where the reference's best logits tie (at most "
          f"{widest:.3f} apart), {wrong} others")
    sys.exit(1 if wrong or not total else 0)


if __name__ == "__main__":
    main()
