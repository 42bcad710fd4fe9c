"""`wicara inspect`: what it says is what the server then takes; foreign files are described too."""

import json
import os
import re
import struct
import subprocess

import pytest

import servers


def inspect(*args):
    return subprocess.run([servers.REAL_BIN, "inspect", *args], capture_output=True, text=True,
                          timeout=30, check=False)


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def gguf(path, architecture="unheard-of", dtype=0):
    """A file with one tensor of 64 x 2 values and a few keys."""
    keys = [("general.architecture", architecture), ("general.name", "A \x1b[31mname")]
    out = b"GGUF" + struct.pack("<IQQ", 3, 1, len(keys) + 2)
    for key, value in keys:
        out += text(key) + struct.pack("<I", 8) + text(value)
    for key, value in (("block_count", 7), ("context_length", 4096)):
        out += text(f"{architecture}.{key}") + struct.pack("<II", 4, value)
    out += text("a.weight") + struct.pack("<IQQIQ", 2, 64, 2, dtype, 0)
    out += b"\0" * (-len(out) % 32)
    path.write_bytes(out + b"\0" * 512)
    return str(path)


def test_memory_is_what_the_server_takes():
    if not servers.MODEL:
        pytest.skip("WICARA_TEST_MODEL is not set")
    flags = ["--ctx-size", "512", "--parallel", "3", "--threads", "2"]
    report = json.loads(inspect(servers.MODEL, *flags, "--json").stdout)
    server = servers.Server(servers.REAL_BIN, servers.MODEL, flags)
    banner = ""
    while "scratch" not in banner:
        banner = server.text()
    assert server.stop() == 0
    found = re.search(r"(\d+) MiB weights, (\d+) MiB KV cache, (\d+) MiB scratch", banner)
    memory = report["memory"]
    assert [int(n) for n in found.groups()] == [round(memory[k] / 2**20) for k in (
        "weight_bytes", "kv_pool_bytes", "scratch_bytes")]
    assert memory["kv_bytes_per_conversation"] == 512 * memory["kv_bytes_per_token"]
    assert report["served"] and report["problems"] == [] and report["reply_format"]
    words = inspect(servers.MODEL, *flags).stdout
    for word in ("ChatML", "llama", "Q4_1", "trained for", "served        yes", "replies       read as", "3 full conversations"):
        assert word in words, words


def test_a_file_that_the_engine_does_not_serve(tmp_path):
    done = inspect(gguf(tmp_path / "x.gguf"))
    assert done.returncode == 0
    for word in ("unheard-of: 7 layers", "trained for 4096", "served        no",
                 "architecture 'unheard-of' is not supported", "tokenizer.ggml.model is missing",
                 "no chat template"):
        assert word in done.stdout, done.stdout
    assert "\x1b" not in done.stdout
    report = json.loads(inspect(gguf(tmp_path / "x.gguf"), "--json").stdout)
    assert report["memory"] is None and not report["served"] and report["parameters"] == 128
    assert report["types"] == [{"type": "F32", "tensors": 1, "elements": 128, "bytes": 512}]


def test_quantised_at_load():
    """The report is about the matrices as they are then kept in memory."""
    if not servers.MODEL:
        pytest.skip("WICARA_TEST_MODEL is not set")
    done = inspect(servers.MODEL, "--quantize", "q9")
    assert done.returncode == 2 and "q8_0, q4_k" in done.stderr
    plain = json.loads(inspect(servers.MODEL, "--json").stdout)
    again = json.loads(inspect(servers.MODEL, "--quantize", "q8_0", "--json").stdout)
    assert again["served"] and again["memory"]["weight_bytes"] >= plain["memory"]["weight_bytes"]


def test_what_is_no_model(tmp_path):
    (tmp_path / "x").write_bytes(b"hello")
    for path, status in ((tmp_path / "x", 1), (tmp_path / "nothing", 1), (tmp_path, 1)):
        done = inspect(str(path))
        assert done.returncode == status and len(done.stderr.strip().split("\n")) == 1, done
    assert inspect().returncode == 2


def doctor(*args, env=None):
    return subprocess.run([servers.REAL_BIN, "doctor", *args], capture_output=True, text=True,
                          timeout=30, check=False, env={**os.environ, **(env or {})})


def test_doctor(tmp_path):
    done = doctor(env={"HF_HOME": str(tmp_path / "not" / "there")})
    assert done.returncode in (0, 1)
    for word in ("CPU", "core", "memory", "huge pages", f"downloads go to {tmp_path}"):
        assert word in done.stdout, done.stdout
    assert all(line[:6] in ("ok    ", "note  ", "bad   ") for line in done.stdout.splitlines())
    done = doctor(gguf(tmp_path / "x.gguf"))
    assert done.returncode == 1 and "architecture 'unheard-of'" in done.stdout
    assert "to mend" in done.stderr
    if servers.MODEL:
        done = doctor(servers.MODEL, "--ctx-size", "512")
        assert "ok    the model is served" in done.stdout and "512 tokens" in done.stdout
        done = doctor(servers.MODEL, "--ctx-size", "16M", "--parallel", "1")
        assert "note  one conversation of 16777216 tokens" in done.stdout, done.stdout
