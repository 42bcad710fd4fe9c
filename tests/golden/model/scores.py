#!/usr/bin/env python3
"""Log-likelihoods through echo + logprobs against transformers in float32 on the same dequantised
weights.

Multiple-choice items made here: each beginning with several endings, scored as evaluation harnesses do
it: batches of token arrays, echo, logprobs, max_tokens 0. Judged are the difference of each token's
log-probability (mean and 99th percentile), whether the answer calls a token the most probable one when
the reference does, and the ending that each item would choose, wherever the reference's margin is above
--margin.

With --float32 the server gets the weights dequantised too, as a file of F32 that is written for it. Then
only order of sums and the f16 of the KV cache are left between the two, which judges the way of the
scores. Without it products with quantised weights round their inputs to 8 bits, as in llama.cpp, which
for a model as small as the default one is most of the difference.

    scores.py --model FILE [--binary build/release/wicara] [--items 40] [--float32]
              [--numerics precise] [--mean 0.02] [--p99 0.15]

--numerics precise carries them to 15 bits and meets the bounds.

Ends with status 1 when a bound is broken. Needs torch and transformers (build/venv-full).
"""
import argparse
import json
import os
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, HERE + "/../../torture"]
from greedy import PROMPTS  # noqa: E402
from kl import load_reference, reference_logits  # noqa: E402
from wicara_client import Server  # noqa: E402

ENDINGS = [" a small house near the river.", " 42", " not known to anybody, which is why it matters.",
           " energy is never lost, it only changes its form.", "\n    return x + 1\n", " Paris.",
           " one of the oldest things that people have made with their hands.", " the, of, and"]


def score(server, batch):
    status, data = server.request("POST", "/v1/completions", {
        "model": "default", "prompt": batch, "max_tokens": 0, "echo": True, "logprobs": 1, "temperature": 0})
    assert status == 200, data
    return [c["logprobs"] for c in sorted(json.loads(data)["choices"], key=lambda c: c["index"])]


def encode(server, text):
    status, data = server.request("POST", "/tokenize", {"prompt": text})
    assert status == 200, data
    return json.loads(data)["tokens"]


def write_float32(source, path):
    """A copy of a GGUF file with all tensors as F32."""
    import gguf
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(path, architecture)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        is_array = field.types[0] == gguf.GGUFValueType.ARRAY
        writer.add_key_value(field.name, field.contents(), field.types[0],
                             sub_type=field.types[-1] if is_array else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def log_softmax(rows):
    rows = rows.astype(np.float64)
    best = rows.max(axis=1, keepdims=True)
    return rows - best - np.log(np.exp(rows - best).sum(axis=1, keepdims=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--binary", default="build/release/wicara")
    parser.add_argument("--items", type=int, default=len(PROMPTS))
    parser.add_argument("--float32", action="store_true")
    parser.add_argument("--numerics", default="fast", choices=["fast", "precise"])
    parser.add_argument("--mean", type=float, default=0.02)
    parser.add_argument("--p99", type=float, default=0.15)
    parser.add_argument("--margin", type=float, default=0.5, help="of the sums, in nats")
    args = parser.parse_args()
    model, _ = load_reference(args.model)
    served = args.model
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # a server that is started as root reads it as nobody
        if args.float32:
            served = os.path.join(folder, "float32.gguf")
            write_float32(args.model, served)
        judge(args, model, served)


def judge(args, model, served):
    differences, choices, wrong_choices, wrong_best = [], 0, 0, 0
    with Server(args.binary, served, "--numerics", args.numerics) as server:
        for prompt in PROMPTS[:args.items]:
            n_before = len(encode(server, prompt))
            batch = [encode(server, prompt + ending) for ending in ENDINGS]
            ours_sums, reference_sums = [], []
            for ids, lists in zip(batch, score(server, batch)):
                reference = log_softmax(reference_logits(model, ids))
                wanted = reference[np.arange(len(ids) - 1), ids[1:]]
                ours = np.array(lists["token_logprobs"][1:])
                differences += list(np.abs(ours - wanted))
                for i in range(len(ids) - 1):
                    top = max(lists["top_logprobs"][i + 1].values())
                    gap = np.sort(reference[i])[-1] - np.sort(reference[i])[-2]
                    is_best = ids[i + 1] == int(reference[i].argmax())
                    wrong_best += gap > args.margin and is_best != (ours[i] == top)
                ours_sums.append(ours[n_before - 1:].sum())
                reference_sums.append(wanted[n_before - 1:].sum())
            order = np.sort(reference_sums)
            if order[-1] - order[-2] > args.margin:
                choices += 1
                wrong_choices += int(np.argmax(ours_sums)) != int(np.argmax(reference_sums))
    mean, p99 = float(np.mean(differences)), float(np.percentile(differences, 99))
    print(f"{len(differences)} tokens of {args.items * len(ENDINGS)} texts: mean |difference| {mean:.4f}, "
          f"p99 {p99:.4f}, most {max(differences):.4f}; {wrong_best} differ in the most probable token, "
          f"{wrong_choices} of {choices} clear choices differ")
    sys.exit(1 if mean > args.mean or p99 > args.p99 or wrong_choices or wrong_best else 0)


if __name__ == "__main__":
    main()
