"""Downloads against a hub on loopback that serves, lies, breaks off and refuses (fake_hub.py)."""

import fcntl
import json
import os
import pathlib
import pty
import re
import resource
import signal
import subprocess
import threading
import time

import pytest

import fake_hub
import servers

REPO = "org/tiny-GGUF"
SMALL, LARGE = "tiny.Q8_0.gguf", "tiny.Q4_K_M.gguf"
RANDOM = os.urandom


@pytest.fixture
def hub():
    files = {SMALL: RANDOM(5000), LARGE: RANDOM(300000), "README.md": b"# tiny\n",
             "mmproj-Q4_K_M.gguf": RANDOM(2000), "dir/tiny.BF16-00001-of-00002.gguf": RANDOM(4000),
             "dir/tiny.BF16-00002-of-00002.gguf": RANDOM(4001)}
    server = fake_hub.FakeHub({REPO: files})
    yield server
    server.close()


@pytest.fixture
def home(tmp_path):
    return tmp_path / "hf"


def run(hub, home, *args, env=None, **more):
    environment = {k: v for k, v in os.environ.items()
                   if not k.startswith(("WICARA_", "HF_", "XDG_"))}
    environment.update({"HF_HOME": str(home), "HF_ENDPOINT": hub.url if hub else "http://127.0.0.1:1",
                        "HOME": str(home / "home"), "HF_HUB_DOWNLOAD_TIMEOUT": "5"})
    environment.update(env or {})
    return subprocess.run([servers.FAKE_BIN, *args], env=environment, capture_output=True,
                          text=True, timeout=60, check=False, **more)


def pull(hub, home, name=REPO, *args, **more):
    return run(hub, home, "pull", name, *args, **more)


def good(hub, home, name=REPO, *args, **more):
    done = pull(hub, home, name, *args, **more)
    assert done.returncode == 0, done.stderr
    return pathlib.Path(done.stdout.strip())


def bad(hub, home, *words, name=REPO, **more):
    """The command fails with one line that has these words."""
    done = pull(hub, home, name, **more)
    assert done.returncode in (1, 2) and done.stdout == "", done.stderr
    line = done.stderr.strip().split("\n")[-1]
    assert line.startswith("wicara pull: "), done.stderr
    for word in words:
        assert word in line, line
    return line


def incomplete(home):
    return sorted(home.glob("hub/models--*/blobs/*.incomplete"))


# ---- the right way ----


def test_layout_and_choice_of_file(hub, home):
    data = hub.repos[REPO][LARGE]
    path = good(hub, home)
    root = home / "hub/models--org--tiny-GGUF"
    assert path == root / "snapshots" / hub.commit(REPO) / LARGE
    assert path.read_bytes() == data and path.is_symlink()
    assert os.readlink(path) == f"../../blobs/{fake_hub.etag_of(data)}"
    assert (root / "refs/main").read_text() == hub.commit(REPO)
    assert [p.name for p in (root / "blobs").iterdir()] == [fake_hub.etag_of(data)]
    assert good(hub, home, REPO + ":q8_0").read_bytes() == hub.repos[REPO][SMALL]
    first = good(hub, home, REPO + ":BF16")
    assert first.name == "tiny.BF16-00001-of-00002.gguf"
    assert os.readlink(first).startswith("../../../blobs/")
    assert (first.parent / "tiny.BF16-00002-of-00002.gguf").stat().st_size == 4001
    assert good(hub, home, REPO, "--hf-file", SMALL).name == SMALL


def test_second_time_downloads_nothing(hub, home):
    good(hub, home)
    sent = hub.bytes_sent
    good(hub, home)
    assert hub.bytes_sent == sent and len(hub.gets()) == 1


def test_checkpoint(hub, home):
    hub.repos["org/ckpt"] = {
        "config.json": b"{}", "tokenizer.json": b"{ }", "tokenizer_config.json": b"{}  ",
        "model-00001-of-00001.safetensors": RANDOM(3000), "model.safetensors.index.json": b"{}\n",
        "chat_template.jinja": b"x", "generation_config.json": b"{}\n\n",
        "pytorch_model.bin": RANDOM(2000), "original/consolidated.00.pth": RANDOM(2000),
        "consolidated.safetensors": RANDOM(2000)}
    path = good(hub, home, "org/ckpt")
    assert sorted(p.name for p in path.iterdir()) == [
        "chat_template.jinja", "config.json", "generation_config.json",
        "model-00001-of-00001.safetensors", "model.safetensors.index.json", "tokenizer.json",
        "tokenizer_config.json"]
    for entry in path.iterdir():
        assert entry.read_bytes() == hub.repos["org/ckpt"][entry.name]
    bad(hub, home, "no GGUF", "leave ':Q4_0' away", name="org/ckpt:Q4_0")


def test_token_goes_to_the_hub_only_and_into_no_message(hub, home):
    hub.token = "hf_secret"
    bad(hub, home, "HTTP 401", "HF_TOKEN")
    done = pull(hub, home, REPO, "--log-level", "debug", env={"HF_TOKEN": "hf_secret"})
    assert done.returncode == 0 and "hf_secret" not in done.stderr + done.stdout
    asked = [(r[0], r[3].get("Authorization")) for r in hub.requests]
    assert ("hub", "Bearer hf_secret") in asked
    assert ("cdn", None) in asked and ("cdn", "Bearer hf_secret") not in asked
    line = bad(hub, home, "HTTP 401", "token", env={"HF_TOKEN": "hf_wrong"})
    assert "hf_wrong" not in line
    (home / "token").write_text("hf_secret\n")
    good(hub, home)
    bad(hub, home, "no token", env={"HF_TOKEN": "a b\r\nX-Evil: 1"})


def test_resume(hub, home):
    data = hub.repos[REPO][LARGE]
    hub.faults[LARGE] = ["drop:1000", "drop:2000", "status:503"]
    assert good(hub, home).read_bytes() == data
    ranges = [r[3].get("Range") for r in hub.gets()]
    assert ranges == [None, "bytes=1000-", "bytes=3000-", "bytes=3000-"]


def test_resume_by_the_next_run(hub, home):
    data = hub.repos[REPO][LARGE]
    hub.faults[LARGE] = ["drop:100000"] + ["drop:0"] * 5
    bad(hub, home, LARGE, "same command")
    assert [p.stat().st_size for p in incomplete(home)] == [100000]
    hub.faults.clear()
    hub.requests.clear()
    assert good(hub, home).read_bytes() == data
    assert [r[3].get("Range") for r in hub.gets()] == ["bytes=100000-"]
    assert incomplete(home) == []


def test_server_without_ranges_starts_anew(hub, home):
    hub.faults[LARGE] = ["drop:1000", "norange"]
    assert good(hub, home).read_bytes() == hub.repos[REPO][LARGE]


def test_bar_on_a_terminal_and_lines_elsewhere(hub, home):
    assert "downloading " + LARGE in pull(hub, home, REPO, env={"HF_HOME": str(home / "b")}).stderr
    hub.faults[LARGE] = ["slow:20000"]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": hub.url}
    process = subprocess.Popen([servers.FAKE_BIN, "pull", REPO], env=environment, stderr=theirs,
                               stdout=subprocess.DEVNULL)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(10) == 0
    bars = shown.decode().split("\r")[1:]
    assert len(bars) >= 2 and all(len(bar) < 90 for bar in bars), shown
    assert "[........" in bars[0] and f"[{'#' * 24}] 100 %  300.0 kB of 300.0 kB" in bars[-2] + bars[-1]


@pytest.mark.skipif("san/" in servers.FAKE_BIN, reason="the sanitizer's own thread takes the signal")
def test_stop_by_signal_and_resume(hub, home):
    hub.faults[LARGE] = ["slow:500"]  # six seconds, so that the signal comes in time everywhere
    environment = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": hub.url}
    process = subprocess.Popen([servers.FAKE_BIN, "pull", REPO], env=environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not incomplete(home) or incomplete(home)[0].stat().st_size < 6000:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 1 and "stopped" in stderr
    assert good(hub, home).read_bytes() == hub.repos[REPO][LARGE]
    assert any(r[3].get("Range") for r in hub.gets())


# ---- lies and failures ----


def test_wrong_bytes(hub, home):
    hub.faults[LARGE] = ["wrong"]
    bad(hub, home, LARGE, "wrong contents")
    assert not list(home.glob("hub/*/snapshots/*/*")) and not (home / "hub/x/refs/main").exists()
    assert good(hub, home).read_bytes() == hub.repos[REPO][LARGE]


def test_wrong_part_of_an_earlier_run(hub, home):
    data = hub.repos[REPO][LARGE]
    good(hub, home, REPO + ":Q8_0")
    blobs = home / "hub/models--org--tiny-GGUF/blobs"
    (blobs / (fake_hub.etag_of(data) + ".incomplete")).write_bytes(b"x" * 1000)
    assert good(hub, home).read_bytes() == data
    path = good(hub, home)
    path.unlink()
    (blobs / fake_hub.etag_of(data)).unlink()
    (blobs / (fake_hub.etag_of(data) + ".incomplete")).write_bytes(b"x" * 400000)
    assert good(hub, home).read_bytes() == data


def test_git_digest_of_small_files(hub, home):
    hub.repos["org/ckpt"] = {"config.json": b'{"a": 1}', "model.safetensors": RANDOM(2000)}
    hub.faults["config.json"] = ["wrong"]
    bad(hub, home, "config.json", "wrong contents", name="org/ckpt")
    assert (good(hub, home, "org/ckpt") / "config.json").read_bytes() == b'{"a": 1}'


@pytest.mark.parametrize("fault", ["long:10", "short:1000"])
def test_another_size_than_announced(hub, home, fault):
    hub.faults[LARGE] = [fault]
    bad(hub, home, LARGE, "300000 bytes were announced")
    assert good(hub, home).read_bytes() == hub.repos[REPO][LARGE]


def test_truncated_answers(hub, home):
    hub.faults[LARGE] = ["chunked:5000"] + ["chunked:0"] * 6
    bad(hub, home, "300000 bytes were announced", "ends after 5000")
    hub.faults.clear()
    assert good(hub, home).read_bytes() == hub.repos[REPO][LARGE]


def test_announced_facts_are_wrong(hub, home):
    hub.head_faults[LARGE] = "size:299999"
    bad(hub, home, "299999 bytes were announced")
    hub.head_faults[LARGE] = "etag:" + "0" * 64
    bad(hub, home, "wrong contents")
    for etag in ("../../evil", ".hidden", "a/b", "x" * 200):
        hub.head_faults[LARGE] = "etag:" + etag
        bad(hub, home, LARGE, "no usable ETag")
    hub.head_faults[LARGE] = "none"
    bad(hub, home, "ETag")
    hub.head_faults[LARGE] = "size:99999999999999999"
    bad(hub, home, "MiB free")
    hub.head_faults.clear()
    good(hub, home)
    assert not list(home.rglob("evil*"))


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "a\\b", "a/./b", "a//b",
                                  "a\nb", "", "x" * 1100])
def test_hostile_file_names(hub, home, name):
    hub.extra_names = [name]
    bad(hub, home, "unsafe name")


@pytest.mark.parametrize("body, word", [
    ("", "JSON"), ("[]", "object"), ("{}", "sha"), ('{"sha": "../x", "siblings": []}', "sha"),
    ('{"sha": "%s"}' % ("a" * 40), "siblings"), ('{"sha": "%s", "sha": "b"}' % ("a" * 40), "twice|dup"),
    ('{"sha": "%s", "siblings": [{"rfilename": 1}]}' % ("a" * 40), "rfilename"),
    ('{"sha": "%s", "siblings": [{"rfilename": "a\\u0000b"}]}' % ("a" * 40), "NUL|0000"),
    ("[" * 1000, "deep|nest")])
def test_hostile_api_answers(hub, home, body, word):
    hub.api_faults = ["body:" + body]
    line = bad(hub, home, "hub's answer")
    assert re.search(word, line), line


def test_statuses(hub, home):
    bad(hub, home, "no such repository", "404", name="org/nothing")
    hub.api_faults = ["status:403"]
    bad(hub, home, "403", "ask for it")
    hub.api_faults = ["status:429,3600"]
    bad(hub, home, "429", "3600 s")
    hub.api_faults = ["status:503"] * 5
    bad(hub, home, "503", "later")
    hub.api_faults = ["status:429,1", "status:500"]
    good(hub, home)


def test_names_and_settings(hub, home):
    for name in ("org", "org/", "/repo", "org/re po", "org/../x", "a/b/c", "org/repo:", "org/repo:a/b",
                 "-org/repo", "org/re--po"):
        done = pull(hub, home, "--", name) if name.startswith("-") else pull(hub, home, name)
        assert done.returncode == 2, name
    line = bad(hub, home, "Q5_K_M", name=REPO + ":Q5_K_M")
    assert "BF16, Q4_K_M, Q8_0" in line
    bad(hub, home, "HF_ENDPOINT", env={"HF_ENDPOINT": "ftp://x"})
    bad(hub, home, "HF_ENDPOINT", env={"HF_ENDPOINT": "http://user:pw@x"})
    assert run(hub, home, "pull").returncode == 2


def test_offline_and_unreachable(hub, home):
    bad(hub, home, "not in the cache", env={"HF_HUB_OFFLINE": "1"})
    path = good(hub, home)
    hub.requests.clear()
    assert good(hub, home, env={"HF_HUB_OFFLINE": "1"}) == path
    assert good(hub, home, REPO, "--offline") == path
    assert hub.requests == []
    bad(hub, home, "Q8_0", name=REPO + ":Q8_0", env={"HF_HUB_OFFLINE": "1"})
    done = pull(None, home)
    assert done.returncode == 0 and done.stdout.strip() == str(path)
    assert "from the cache" in done.stderr


def test_full_disk(hub, home):
    """A limit on the size of files stands for the disk that is full."""
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
    bad(hub, home, "cannot write", "100000 of 300000", preexec_fn=limit)
    assert good(hub, home).read_bytes() == hub.repos[REPO][LARGE]


# ---- two at a time, and with others ----


def test_two_pulls_download_once(hub, home):
    hub.faults[LARGE] = ["slow:5000"]
    results = []
    threads = [threading.Thread(target=lambda: results.append(pull(hub, home))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [r.returncode for r in results] == [0, 0], results
    assert len(hub.gets()) == 1
    assert "waiting: another process" in results[0].stderr + results[1].stderr


def test_lock_is_the_one_of_huggingface_hub(hub, home):
    etag = fake_hub.etag_of(hub.repos[REPO][LARGE])
    folder = home / "hub/.locks/models--org--tiny-GGUF"
    folder.mkdir(parents=True)
    with open(folder / f"{etag}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        results = []
        thread = threading.Thread(target=lambda: results.append(pull(hub, home)))
        thread.start()
        time.sleep(0.5)
        assert not hub.gets()
        fcntl.flock(lock, fcntl.LOCK_UN)
        thread.join()
    assert results[0].returncode == 0


def hub_python(hub, home, code, **env):
    """Runs code in a process of its own, because huggingface_hub reads the environment once."""
    pytest.importorskip("huggingface_hub")
    import sys
    environment = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": hub.url,
                   "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", **env}
    done = subprocess.run([sys.executable, "-c", "from huggingface_hub import *\n" + code],
                          env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_huggingface_hub_takes_our_downloads(hub, home):
    path = good(hub, home)
    hub.requests.clear()
    found = hub_python(hub, home, f"print(snapshot_download('{REPO}', local_files_only=True))\n"
                       f"print(hf_hub_download('{REPO}', '{LARGE}', local_files_only=True))\n"
                       "print(len(scan_cache_dir().warnings), scan_cache_dir().size_on_disk)",
                       HF_HUB_OFFLINE="1").split("\n")
    assert found == [str(path.parent), str(path), "0 300000"]


def test_we_take_huggingface_hubs_downloads(hub, home):
    found = hub_python(hub, home, f"print(hf_hub_download('{REPO}', '{LARGE}'))")
    sent = hub.bytes_sent
    assert str(good(hub, home)) == found
    assert hub.bytes_sent == sent
    assert str(good(hub, home, REPO, "--offline")) == found


# ---- the server, and the list of models ----


def test_serve_from_the_hub(hub, home):
    """With the fake engine for the ways of naming it, with the real one for an answer."""
    env = {"HF_HOME": str(home), "HF_ENDPOINT": hub.url, "HOME": str(home)}
    for args, more in ((["-hf", REPO + ":Q8_0"], {}), ([], {"WICARA_HF_REPO": REPO + ":Q8_0"}),
                       (["-hf", REPO + ":Q8_0"], {"WICARA_MODEL": "/nowhere"})):
        server = servers.Server(servers.FAKE_BIN, None, args, {**env, **more})
        names = [m["id"] for m in json.loads(server.get("/v1/models")[2])["data"]]
        assert server.stop() == 0 and names[0] == REPO + ":Q8_0"
    if servers.MODEL:
        hub.repos["org/real"] = {"real.Q4_1.gguf": pathlib.Path(servers.MODEL).read_bytes()}
        server = servers.Server(servers.REAL_BIN, None, ["-hf", "org/real", "--ctx-size", "512"], env)
        status, _, answer = server.chat("Hello", max_tokens=4)
        assert server.stop() == 0 and status == 200 and answer["model"] == "org/real"


def test_models_list_serve_and_remove(hub, home, launch):
    user = home / "home"
    good(hub, home)
    good(hub, home, REPO + ":Q8_0")
    blob = user / f".ollama/models/blobs/sha256-{'a' * 64}"
    manifest = user / ".ollama/models/manifests/registry.ollama.ai/library/tiny/1b"
    for path in (blob, manifest, user / ".cache/llama.cpp/org_x_y-Q8_0.gguf",
                 user / ".lmstudio/models/pub/repo/studio-Q4_K_M.gguf"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"GGUF")
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": [
        {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "b" * 64},
        {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + "a" * 64,
         "size": 4}]}))
    (manifest.parent / "broken").write_text("{")

    def listed():
        models = json.loads(run(hub, home, "models", "--json").stdout)
        return {m["name"]: m for m in models if "/var/" not in m["path"]}

    models = listed()
    assert set(models) == {REPO + ":Q4_K_M", REPO + ":Q8_0", "tiny:1b", "org_x_y-Q8_0",
                           "studio-Q4_K_M"}
    assert models[REPO + ":Q4_K_M"]["bytes"] == 300000
    assert models["tiny:1b"]["path"] == str(blob) and models["tiny:1b"]["from"] == "Ollama"
    text = run(hub, home, "models").stdout
    assert "tiny:1b" in text and "LM Studio" in text
    environment = {"HF_HOME": str(home), "HOME": str(user)}
    server = launch("--model", "TINY:1b", env=environment)
    assert json.loads(server.get("/v1/models")[2])["data"][0]["id"] == "tiny:1b"
    done = run(hub, home, "--model", "nothing", "--port", "0")
    assert done.returncode == 1 and "wicara models" in done.stderr

    assert "Ollama" in run(hub, home, "models", "rm", "tiny:1b").stderr
    done = run(hub, home, "models", "rm", REPO + ":Q4_K_M")
    assert done.returncode == 0 and "0.3 MB" in done.stdout, done.stderr
    assert set(listed()) == set(models) - {REPO + ":Q4_K_M"}
    assert run(hub, home, "models", "rm", REPO + ":Q4_K_M").returncode == 1
    assert run(hub, home, "models", "rm", REPO).returncode == 1
    assert run(hub, home, "models", "rm", REPO + ":q8_0").returncode == 0
    assert not (home / "hub/models--org--tiny-GGUF").exists()


def test_flags_that_do_not_go_together(hub, home):
    done = run(hub, home, "--model", "x", "-hf", REPO, "--port", "0")
    assert done.returncode == 2 and "choose one" in done.stderr
    done = run(hub, home, "--hf-file", "x.gguf", "--port", "0")
    assert done.returncode == 2 and "--hf-repo" in done.stderr
