#!/usr/bin/env python3
"""lm-eval itself against our server and against transformers in float32 on the same weights.

Three tasks made here, from local JSON files, one of each kind that harness knows: multiple choice,
rolling log-likelihood, generation until a stop. The harness runs them twice: through its
`local-completions` model on our server in the numerics class precise (the server's own tokenizer, token arrays, echo, logprobs),
and through its `hf` model on the dequantised weights. Judged are each choice's log-likelihood (mean
difference a token and 99th percentile), the choice itself wherever the reference's margin is above
--margin, the sums of the rolling task, the generated texts, and that the metrics which the harness
prints are equal then.

    lm_eval_local.py --model FILE [--binary build/release/wicara] [--items 120] [--numerics precise]

Uses no network. Ends with the line "N passed, N failed", status 1 when something failed. Needs the
packages of tests/golden/model/lm_eval_requirements.txt beside torch and transformers.
"""
import argparse
import json
import os
import random
import sys
import tempfile

for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
    os.environ[name] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, HERE + "/../../torture"]
from greedy import PROMPTS  # noqa: E402
from kl import load_reference  # noqa: E402
from wicara_client import Server  # noqa: E402

OMIT = 0
THINGS = [("sky", "blue"), ("grass", "green"), ("snow", "white"), ("blood", "red"), ("coal", "black"),
          ("the sun", "yellow"), ("a lemon", "yellow"), ("an orange", "orange"), ("milk", "white"),
          ("a carrot", "orange"), ("the sea", "blue"), ("chocolate", "brown")]
COLOURS = ["blue", "green", "white", "red", "black", "yellow", "orange", "brown"]

CHOICE = """task: local_choice
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/choice.json}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
target_delimiter: " "
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
ROLLING = """task: local_rolling
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/rolling.json}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
"""
GENERATE = """task: local_generate
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/generate.json}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 16, do_sample: false, temperature: 0}
metric_list: [{metric: exact_match}]
"""
TASKS = ["local_choice", "local_rolling", "local_generate"]


def write_tasks(folder, n_items):
    rng = random.Random(5)
    choice, generate = [], []
    for i in range(n_items):
        thing, colour = THINGS[i % len(THINGS)]
        wrong = rng.sample([c for c in COLOURS if c != colour], 3)
        place = i % 4
        before = rng.choice(PROMPTS).split("\n")[0][:160]
        choice.append({"question": f"{before}\nQuestion {i}: What colour is {thing}?\nAnswer:",
                       "choices": wrong[:place] + [colour] + wrong[place:], "answer": place})
        if i % 4 == 0:
            a, b = rng.randrange(2, 50), rng.randrange(2, 50)
            generate.append({"question": f"1 + 1 = 2\n5 + 7 = 12\n{a} + {b} =", "answer": f" {a + b}"})
    rolling = [{"text": prompt} for prompt in PROMPTS[:20]]
    for name, items in (("choice", choice), ("rolling", rolling), ("generate", generate)):
        with open(f"{folder}/{name}.json", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(item) + "\n" for item in items)
    for name, text in (("choice", CHOICE), ("rolling", ROLLING), ("generate", GENERATE)):
        with open(f"{folder}/{name}.yaml", "w", encoding="utf-8") as file:
            file.write(text.replace("FOLDER", folder))


def run(manager, model):
    import lm_eval
    result = lm_eval.simple_evaluate(model=model, tasks=TASKS, task_manager=manager, log_samples=True,
                                     bootstrap_iters=0, use_cache=None)
    samples = {task: sorted(result["samples"][task], key=lambda s: s["doc_id"]) for task in TASKS}
    return result["results"], samples


def log_likelihoods(sample):
    """Of each choice; the harness gives (log-likelihood, is greedy), as floats or as text."""
    return [float(response[0][0]) for response in sample["resps"]]


def judge(args, tokenizer, ours, theirs):
    passed = failed = 0

    def check(name, ok, detail):
        nonlocal passed, failed
        passed, failed = passed + bool(ok), failed + (not ok)
        print(("ok    " if ok else "FAIL  ") + f"{name}: {detail}", flush=True)

    differences, clear, wrong = [], 0, 0
    for a, b in zip(ours[1]["local_choice"], theirs[1]["local_choice"]):
        mine, reference = log_likelihoods(a), log_likelihoods(b)
        lengths = [len(tokenizer.encode(" " + c)) for c in a["doc"]["choices"]]
        differences += [abs(x - y) / n for x, y, n in zip(mine, reference, lengths)]
        order = sorted(reference)
        if order[-1] - order[-2] > args.margin:
            clear += 1
            wrong += int(np.argmax(mine)) != int(np.argmax(reference))
    mean, p99 = float(np.mean(differences)), float(np.percentile(differences, 99))
    check("choices' log-likelihoods", len(differences) >= 4 and mean <= args.mean and p99 <= args.p99,
          f"{len(differences)}, mean |difference| a token {mean:.5f}, p99 {p99:.5f}")
    check("choices", clear > 0 and wrong == 0, f"{wrong} of {clear} clear ones differ")
    rolling = [abs(float(a["resps"][0][0]) - float(b["resps"][0][0])) / len(tokenizer.encode(a["doc"]["text"]))
               for a, b in zip(ours[1]["local_rolling"], theirs[1]["local_rolling"])]
    check("rolling log-likelihoods", rolling and max(rolling) <= args.mean,
          f"{len(rolling)} texts, most |difference| a token {max(rolling):.5f}")
    texts = [(a["resps"][0][0], b["resps"][0][0])
             for a, b in zip(ours[1]["local_generate"], theirs[1]["local_generate"])]
    same = sum(x.strip() == y.strip() for x, y in texts)
    check("generated texts", same >= 0.95 * len(texts), f"{same} of {len(texts)} the same")
    for task, metric in (("local_choice", "acc,none"), ("local_choice", "acc_norm,none"),
                         ("local_rolling", "bits_per_byte,none"), ("local_generate", "exact_match,none")):
        x, y = ours[0][task][metric], theirs[0][task][metric]
        check(f"{task} {metric.split(',')[0]}", abs(x - y) <= (0.002 if "bits" in metric else 0.02),
              f"{x:.5f} here, {y:.5f} by the hf model")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--binary", default="build/release/wicara")
    parser.add_argument("--items", type=int, default=120)
    parser.add_argument("--numerics", default="precise", choices=["fast", "precise"])
    parser.add_argument("--mean", type=float, default=0.02)
    parser.add_argument("--p99", type=float, default=0.15)
    parser.add_argument("--margin", type=float, default=0.1, help="of the choices' sums, in nats")
    args = parser.parse_args()
    from lm_eval.models.huggingface import HFLM
    from lm_eval.models.openai_completions import LocalCompletionsAPI
    from lm_eval.tasks import TaskManager
    from transformers import PreTrainedTokenizerFast
    model, plain = load_reference(args.model)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<|im_end|>",
                                        pad_token="<|im_end|>", bos_token="<|im_start|>")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HF_DATASETS_CACHE"] = folder + "/cache"
        write_tasks(folder, args.items)
        manager = TaskManager(include_path=folder, include_defaults=False)
        theirs = run(manager, HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8, max_length=2048))
        with Server(args.binary, args.model, "--numerics", args.numerics) as server:
            ours = run(manager, LocalCompletionsAPI(
                model="default", base_url=f"http://127.0.0.1:{server.port}/v1/completions",
                tokenizer_backend="remote", num_concurrent=1, batch_size=16, max_length=2048))
    judge(args, plain, ours, theirs)


if __name__ == "__main__":
    main()
