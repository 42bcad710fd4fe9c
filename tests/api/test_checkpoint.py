"""A Hugging Face checkpoint directory, served: made here of random weights and a committed tokenizer."""

import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import tempfile

import pytest

import servers

TOKENIZER = servers.ROOT / "tests/golden/tokenizer/json/bytes/tokenizer.json"
N_VOCAB, N_EMBD, N_FF, N_HEADS, HEAD = 448, 64, 96, 4, 16


def tensors():
    yield "model.embed_tokens.weight", [N_VOCAB, N_EMBD]
    yield "model.norm.weight", [N_EMBD]
    for layer in range(2):
        name = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{name}{norm}.weight", [N_EMBD]
        for part in "qkv":
            rows = N_HEADS * HEAD if part == "q" else N_HEADS // 2 * HEAD
            yield f"{name}self_attn.{part}_proj.weight", [rows, N_EMBD]
            yield f"{name}self_attn.{part}_proj.bias", [rows]
        yield f"{name}self_attn.o_proj.weight", [N_EMBD, N_HEADS * HEAD]
        yield f"{name}mlp.gate_proj.weight", [N_FF, N_EMBD]
        yield f"{name}mlp.up_proj.weight", [N_FF, N_EMBD]
        yield f"{name}mlp.down_proj.weight", [N_EMBD, N_FF]


def write_shard(path, names):
    draw = random.Random(str(path.name))
    header, data = {}, b""
    for name, shape in names:
        n = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = [1 + draw.uniform(-.2, .2) if "norm" in name else draw.uniform(-.3, .3)
                  for _ in range(n)]
        part = struct.pack(f"<{n}e", *values)
        header[name] = {"dtype": "F16", "shape": shape,
                        "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.fixture(scope="module")
def checkpoint():
    if not os.path.exists(servers.REAL_BIN):
        pytest.skip(f"{servers.REAL_BIN} is not built")
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary, "Tiny-Checkpoint")
        folder.mkdir()
        shutil.copy(TOKENIZER, folder)
        (folder / "config.json").write_text(json.dumps(dict(
            model_type="qwen2", vocab_size=N_VOCAB, hidden_size=N_EMBD, intermediate_size=N_FF,
            num_hidden_layers=2, num_attention_heads=N_HEADS, num_key_value_heads=N_HEADS // 2,
            max_position_embeddings=256, rms_norm_eps=1e-6, rope_theta=10000.0,
            tie_word_embeddings=True, hidden_act="silu", torch_dtype="float16")))
        (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|s|>"}))
        (folder / "generation_config.json").write_text(json.dumps(
            {"eos_token_id": [420, 421], "temperature": 0.6, "top_k": 20, "top_p": 7, "min_p": None,
             "do_sample": True}))
        (folder / "chat_template.jinja").write_text(
            "{% for m in messages %}<|l|>{{ m.role }}: {{ m.content }}\n{% endfor %}")
        names = list(tensors())
        shards = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
        for shard, part in shards.items():
            write_shard(folder / shard, part)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {
            name: shard for shard, part in shards.items() for name, _ in part}}))
        yield folder


def ask(server, **fields):
    body = {"messages": [{"role": "user", "content": "the cafe\u0301"}], "max_tokens": 6,
            "temperature": 0, "logprobs": True, **fields}
    status, _, answer = server.post("/v1/chat/completions", body)
    assert status == 200, answer
    return answer


def test_serves_a_directory(checkpoint):
    server = servers.Server(servers.REAL_BIN, str(checkpoint))
    try:
        answer = ask(server)
        assert answer["model"] == "Tiny-Checkpoint"
        assert answer["usage"]["completion_tokens"] >= 1
        composed = ask(server, messages=[{"role": "user", "content": "the caf\u00e9"}])
        assert composed["usage"]["prompt_tokens"] == answer["usage"]["prompt_tokens"]
        assert composed["choices"] == answer["choices"]
    finally:
        assert server.stop() == 0


def test_sampling_of_the_checkpoint(checkpoint):
    """generation_config.json's values are the defaults; what is out of range is not taken."""
    fingerprints = set()
    for flags, temperature, top_k, origin in (
            ([], 0.6, 20, "model"), (["--sampling", "builtin"], 0.8, 0, None),
            (["--sampling", "temperature=0"], 0, 20, "option")):
        server = servers.Server(servers.REAL_BIN, str(checkpoint), flags)
        try:
            props = json.loads(server.get("/props")[2])
            fingerprints.add(props["system_fingerprint"])
            props = props["parameters"]
            assert (props["temperature"]["default"], props["top_k"]["default"]) == (temperature, top_k)
            assert props["temperature"].get("from") == origin
            assert (props["top_p"]["default"], props["min_p"]["default"]) == (1, 0.05)
            if temperature == 0:  # a request that says nothing is greedy
                answers = [ask(server, temperature=None, seed=seed)["choices"] for seed in (1, 2)]
                assert answers[0] == answers[1] == ask(server, top_k=0)["choices"]
        finally:
            assert server.stop() == 0
    assert len(fingerprints) == 3
    text = subprocess.run([servers.REAL_BIN, "inspect", str(checkpoint)], capture_output=True,
                          text=True, check=False).stdout
    assert "sampling      temperature=0.6,top_k=20\n" in text


def test_quantises_at_load(checkpoint):
    logprobs = []
    for kind in ("q8_0", "q4_k"):
        server = servers.Server(servers.REAL_BIN, str(checkpoint), ["--quantize", kind])
        try:
            logprobs.append(ask(server)["choices"][0]["logprobs"]["content"][0]["logprob"])
        finally:
            assert server.stop() == 0
    assert all(value < 0 for value in logprobs)


@pytest.mark.parametrize("change, message", [
    (lambda folder: (folder / "model-00002-of-00002.safetensors").unlink(),
     "model-00002-of-00002.safetensors: cannot open"),
    (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json"),
    (lambda folder: (folder / "config.json").write_text("{\"model_type\":\"gpt_neox\"}"),
     "model_type 'gpt_neox' is not supported"),
    (lambda folder: (folder / "config.json").unlink(), "neither a GGUF file nor a Hugging Face"),
])
def test_wrong_directories_end_in_one_line(checkpoint, tmp_path, change, message):
    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder)
    change(folder)
    server = servers.Server(servers.REAL_BIN, str(folder), wait=False)
    server.process.wait(20)
    assert server.process.returncode not in (0, -6, -11)
    errors = [line for line in server.text().splitlines() if " error " in line]
    assert len(errors) == 1 and message in errors[0], server.text()
    server.log.close()
