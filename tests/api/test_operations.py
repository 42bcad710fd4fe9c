"""Starting, stopping, settings, keys, health, metrics, the page."""

import gzip
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import openai
import pytest

import servers


def run(*args, env=None):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WICARA_")}
    environment.update(env or {})
    if not os.path.exists(servers.FAKE_BIN):
        pytest.skip(f"{servers.FAKE_BIN} is not built")
    return subprocess.run([servers.FAKE_BIN, *args], capture_output=True, text=True, timeout=20,
                          env=environment, cwd=servers.ROOT)


# ---- settings ----

def test_help_and_version():
    text = run("--help").stdout
    for flag in ("--model", "--host", "--port", "--threads", "--ctx-size", "--parallel",
                 "--kv-memory", "--kv-dir", "--kv-dir-size", "--api-key", "--config", "--cpu", "--log-level",
                 "--version", "--drain"):
        assert flag in text
    version = (servers.ROOT / "config/version").read_text().strip()
    assert run("--version").stdout == f"wicara {version}\n"


@pytest.mark.parametrize("args", [
    ["--nope"], ["--port"], ["--port", "x"], ["--port", "65536"], ["--port", "-1"], ["stray"],
    ["--config", "/does/not/exist"], ["--log-level", "loud"], ["--speculation", "maybe"],
    ["--numerics", "exact"], ["--model", "/x", "--sampling", "temperature=9"], ["--insecure=maybe"],
    ["--kv-memory", "12Q"], ["--kv-dir-size", "0"], ["--host", "no such host"], ["--model", "/x", "--api-key", "a b"],
    ["--web-dir", "/does/not/exist"], ["--model", "/x", "--host", "0.0.0.0"]])
def test_wrong_usage_is_2(args):
    if args[0] == "--host":
        args = ["--model", "/x", *args]
    done = run(*args)
    assert done.returncode in ((1,) if "no such host" in args else (2,)), done.stderr
    assert "error" in done.stderr


def test_missing_model_says_what_to_do(tmp_path):
    done = run("--port", "0", env={"XDG_CACHE_HOME": str(tmp_path)})
    assert done.returncode == 2
    assert "--model" in done.stderr and "make run" in done.stderr and str(tmp_path) in done.stderr
    done = run("--port", "0", "--model", "/no/such/model.gguf")
    assert done.returncode == 1 and "/no/such/model.gguf" in done.stderr


def test_order_flag_environment_config(tmp_path):
    config = tmp_path / "c.json"
    config.write_text('{ // a comment\n "port": 1001, "ctx-size": 1001, "parallel": 101 }')
    done = run("--config", str(config), "--port", "3003", "--print-config",
               env={"WICARA_PORT": "2002", "WICARA_CTX_SIZE": "2K"})
    text = re.sub(r"/\*.*?\*/", "", done.stdout)
    values = json.loads(text)
    assert (values["port"], values["ctx-size"], values["parallel"]) == (3003, 2048, 101)
    assert '"port": 3003  /* flag */' in done.stdout
    assert '"ctx-size": 2048  /* environment */' in done.stdout
    assert '"parallel": 101  /* config file */' in done.stdout
    assert '"drain": 30  /* default */' in done.stdout


def test_config_errors(tmp_path):
    config = tmp_path / "c.json"
    for text, word in (('{"prot": 1}', "prot"), ('{"port": "x"}', "port"), ('{"port": 1.5}', "port"),
                       ('{"port": 1, "port": 2}', "duplicate"), ("[]", "object"), ("{", "JSON"),
                       ('{"insecure": 3}', "insecure")):
        config.write_text(text)
        done = run("--config", str(config), "--print-config")
        assert done.returncode == 2 and word in done.stderr, (text, done.stderr)


def test_shipped_config_is_complete_and_default():
    """config/wicara.json holds every option, with the value that it has without the file."""
    path = str(servers.ROOT / "config/wicara.json")

    def settings(*args):
        return json.loads(re.sub(r"/\*.*?\*/", "", run("--print-config", *args).stdout))

    without, with_file = settings(), settings("--config", path)
    assert with_file == without
    shipped = json.loads(re.sub(r"^\s*//.*$", "", pathlib.Path(path).read_text(), flags=re.M))
    assert set(shipped) == set(without)


def test_secret_is_not_shown():
    done = run("--api-key", "sk-secret", "--print-config")
    assert "sk-secret" not in done.stdout + done.stderr


def test_aliases():
    done = run("-m", "a", "-c", "7", "-np", "5", "-t", "3", "--served-model-name", "x",
               "--max-model-len=9", "--print-config")
    values = json.loads(re.sub(r"/\*.*?\*/", "", done.stdout))
    assert (values["model"], values["ctx-size"], values["parallel"], values["threads"],
            values["alias"]) == ("a", 9, 5, 3, "x")


# ---- life ----

def test_loading_then_ready(launch):
    server = launch(env={"FAKE_LOAD_MS": "1500"}, wait=False)
    status, head, body = server.get("/health")
    assert status == 503 and json.loads(body)["error"]["message"] == "Loading model"
    assert json.loads(body)["error"]["code"] == "loading" and "retry-after" in head
    assert server.get("/livez")[0] == 200
    assert server.get("/readyz")[0] == 503
    assert server.get("/v1/models")[0] == 200
    assert server.get("/metrics")[0] == 200
    status, head, body = server.chat()
    assert status == 503 and head["x-should-retry"] == "true"
    assert run("healthcheck", "--port", str(server.port)).returncode == 1
    server.wait_ready()
    assert server.chat("x [[tokens=1]]")[0] == 200
    assert run("healthcheck", "--port", str(server.port)).returncode == 0
    end = time.monotonic() + 2  # the main thread looks every 20 ms
    while server.url not in server.text() and time.monotonic() < end:
        time.sleep(0.01)
    text = server.text()
    assert server.url in text and "curl" in text and "fake-model" in text and "KV" in text


def test_service_manager_is_told(launch, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        server = launch(env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert manager.recv(100) == b"READY=1"
        server.process.send_signal(signal.SIGTERM)
        assert manager.recv(100) == b"STOPPING=1"


def test_healthcheck_without_server():
    assert run("healthcheck", "--port", "1").returncode == 1


def test_broken_model_ends_with_1(launch):
    server = launch(env={"FAKE_LOAD_FAILS": "1", "FAKE_LOAD_MS": "100"}, wait=False)
    assert server.process.wait(10) == 1
    assert "broken" in server.text()


def test_port_in_use(launch, empty_model):
    server = launch()
    done = run("--model", empty_model, "--port", str(server.port))
    assert done.returncode == 1 and "--port" in done.stderr


def test_drain_lets_requests_end(launch):
    server = launch("--drain", "10")
    with server.connect() as sock:
        sock.sendall(servers.chat_bytes({"messages": [{"role": "user", "content":
                                        "x [[tokens=30 delay_ms=30]]"}], "stream": True,
                                         "temperature": 0}))
        servers.read_until(sock, b'"Wicara"')
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        status, head, body = server.get("/health")
        assert status == 503 and json.loads(body)["error"]["code"] == "shutting_down"
        status, head, answer = server.chat()
        assert status == 503 and answer["error"]["code"] == "shutting_down"
        assert head.get("connection") == "close"
        rest = servers.read_until(sock, b"[DONE]")
        assert b"[DONE]" in rest and b"error" not in rest
    assert server.process.wait(5) == 0


@pytest.mark.parametrize("stream", [True, False])
def test_drain_deadline(launch, stream):
    server = launch("--drain", "1")
    with server.connect() as sock:
        sock.sendall(servers.chat_bytes({"messages": [{"role": "user", "content":
                                        "x [[tokens=3000 delay_ms=30]]"}], "stream": stream}))
        time.sleep(0.2)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        got = servers.read_all(sock, 5)
    assert server.process.wait(5) == 0
    assert 0.9 < time.monotonic() - began < 3
    assert b"shutting_down" in got and b"[DONE]" not in got
    if stream:
        assert servers.events(servers.unchunk(got))[-1]["error"]["code"] == "shutting_down"
    else:
        assert got.startswith(b"HTTP/1.1 503 ")


def test_second_signal_ends_now(launch):
    server = launch("--drain", "60")
    with server.connect() as sock:
        sock.sendall(servers.chat_bytes({"messages": [{"role": "user", "content":
                                        "x [[tokens=3000 delay_ms=30]]"}], "stream": True}))
        time.sleep(0.2)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(2) == 1


def test_root_becomes_another_user(empty_model):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    os.chmod(pathlib.Path(empty_model).parent, 0o755)
    binary = pathlib.Path(servers.FAKE_BIN).resolve()
    process = subprocess.Popen([binary, "--model", empty_model, "--port", "0"], stderr=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, text=True)
    try:
        lines = [process.stderr.readline() for _ in range(2)]
        assert "as user nobody" in lines[0], lines
        uids = re.search(r"Uid:\s+(\d+)\s+(\d+)", pathlib.Path(
            f"/proc/{process.pid}/status").read_text()).groups()
        assert "0" not in uids
    finally:
        process.terminate()
        process.wait(5)
        process.stderr.close()
    os.chmod(pathlib.Path(empty_model).parent, 0o700)
    done = run("--model", empty_model, "--port", "0")
    assert done.returncode == 1 and "--user" in done.stderr


# ---- keys ----

@pytest.fixture
def guarded(launch, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("# comment\nsk-three\n\n  sk-four  \n")
    return launch("--api-key", "sk-one,sk-two", "--api-key-file", str(keys))


def test_keys(guarded):
    body = {"messages": [{"role": "user", "content": "x [[tokens=1]]"}]}
    for key in ("sk-one", "sk-two", "sk-three", "sk-four"):
        assert guarded.post("/v1/chat/completions", body, {"Authorization": "Bearer " + key})[0] == 200
        assert guarded.post("/v1/chat/completions", body, {"X-Api-Key": key})[0] == 200
    for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": "Bearer sk-on"},
                    {"Authorization": "Bearer sk-one,sk-two"}, {"Authorization": "Basic sk-one"},
                    {"X-Api-Key": "sk-five"}, {"Authorization": "Bearer " + "x" * 5000}):
        status, head, answer = guarded.post("/v1/chat/completions", body, headers)
        assert status == 401, headers
        assert answer["error"]["code"] == "invalid_api_key"
        assert head["www-authenticate"] == "Bearer"
    client = openai.OpenAI(base_url=guarded.url + "/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_open_and_closed_routes(guarded):
    for path in ("/health", "/livez", "/readyz", "/version", "/"):
        assert guarded.get(path)[0] == 200, path
    for path in ("/v1/models", "/v1/models/x", "/metrics", "/props", "/tokenizer_info"):
        assert guarded.get(path)[0] == 401, path
    for path in ("/tokenize", "/detokenize", "/apply-template", "/v1/completions"):
        assert guarded.post(path, {})[0] == 401, path


def test_401_comes_before_the_body(guarded):
    got = guarded.raw(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                      b"application/json\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 401 ")


def test_key_quota(launch):
    server = launch("--api-key", "a,b", "--key-jobs", "1")
    long = {"messages": [{"role": "user", "content": "x [[tokens=3000 delay_ms=30]]"}], "stream": True}
    short = {"messages": [{"role": "user", "content": "x [[tokens=1]]"}]}
    with server.connect() as sock:
        sock.sendall(servers.chat_bytes(long, extra=b"X-Api-Key: a\r\n"))
        servers.read_until(sock, b"chatcmpl")
        status, head, answer = server.post("/v1/chat/completions", short, {"X-Api-Key": "a"})
        assert status == 429 and answer["error"]["code"] == "rate_limit_exceeded"
        assert "retry-after" in head
        assert server.post("/v1/chat/completions", short, {"X-Api-Key": "b"})[0] == 200
    end = time.monotonic() + 2
    while server.post("/v1/chat/completions", short, {"X-Api-Key": "a"})[0] != 200:
        assert time.monotonic() < end


def test_queue_bound(launch):
    server = launch("--parallel", "1", "--queue", "2")
    socks = []
    for _ in range(6):
        sock = server.connect()
        sock.sendall(servers.chat_bytes({"messages": [{"role": "user", "content":
                                        "x [[tokens=3000 delay_ms=30]]"}], "stream": False}))
        socks.append(sock)
        time.sleep(0.05)
    status, head, answer = server.chat()
    assert status == 503 and answer["error"]["code"] == "server_is_overloaded"
    assert 1 <= int(head["retry-after"]) <= 120
    for sock in socks:
        sock.close()


# ---- metrics ----

def test_metrics_format(fake):
    fake.chat("x [[tokens=3]]")
    text = fake.get("/metrics")[2].decode()
    names = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in names
            names[name] = kind
        elif not line.startswith("#"):
            assert re.fullmatch(r'[a-z_:A-Z0-9]+\{model_name="fake-model"[^}]*\} [0-9.e+-]+', line), line
    for name, kind in {
            "vllm:num_requests_running": "gauge", "vllm:num_requests_waiting": "gauge",
            "vllm:kv_cache_usage_perc": "gauge", "vllm:prompt_tokens_total": "counter",
            "vllm:generation_tokens_total": "counter", "vllm:prefix_cache_queries_total": "counter",
            "vllm:prefix_cache_hits_total": "counter", "vllm:num_preemptions_total": "counter",
            "vllm:request_success_total": "counter", "vllm:time_to_first_token_seconds": "histogram",
            "vllm:inter_token_latency_seconds": "histogram",
            "vllm:e2e_request_latency_seconds": "histogram", "vllm:cache_config_info": "gauge",
            "wicara_decode_batch_rows": "histogram", "wicara_decode_rows_total": "counter",
            "wicara_decode_steps_total": "counter"}.items():
        assert names[name] == kind
    buckets = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
               if line.startswith("vllm:e2e_request_latency_seconds_bucket")]
    assert buckets == sorted(buckets) and buckets[-1] >= 1


def test_metrics_count(launch):
    server = launch(env={"FAKE_DELAY_MS": "1"})
    before = server.metrics()
    server.chat("x [[tokens=7]]")
    after = server.metrics()

    def grew(name):
        return after[name] - before[name]

    assert grew("vllm:generation_tokens_total") == 7
    assert grew("wicara_decode_rows_total") == 7
    assert grew('vllm:request_success_total{finished_reason="stop"}') == 1
    assert grew("vllm:e2e_request_latency_seconds_count") == 1


# ---- the page ----

def test_page(fake):
    status, head, body = fake.get("/")
    assert status == 200 and head["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in head["content-security-policy"]
    assert "script-src 'self'" in head["content-security-policy"]
    assert head["x-content-type-options"] == "nosniff" and head["referrer-policy"] == "no-referrer"
    assert head["cache-control"] == "no-cache" and head["etag"].startswith('"')
    assert fake.get("/", {"If-None-Match": head["etag"]})[0] == 304
    assert fake.get("/", {"If-None-Match": '"other"'})[0] == 200


def test_files_of_the_page(fake):
    """Every file that the page names is there, packed when asked, cached by its name."""
    page = fake.get("/")[2].decode()
    for path in re.findall(r'(?:src|href)="(/[^"]*)"', page):
        status, head, body = fake.get(path)
        assert status == 200 and body, path
        assert head["vary"] == "Accept-Encoding"
        packed = fake.get(path, {"Accept-Encoding": "gzip"})
        if packed[1].get("content-encoding") == "gzip":
            assert gzip.decompress(packed[2]) == body
        if path.startswith("/assets/"):
            assert head["cache-control"] == "public, max-age=31536000, immutable"
            assert fake.get(path, {"If-None-Match": head["etag"]})[0] == 304


def test_web_dir(launch, tmp_path):
    site = tmp_path / "site"
    (site / "sub").mkdir(parents=True)
    (site / "index.html").write_text("<p>own</p>")
    (site / "sub/app.js").write_text("1;")
    (tmp_path / "secret").write_text("secret")
    (site / "link").symlink_to("../secret")
    server = launch("--web-dir", str(site))
    assert server.get("/")[2] == b"<p>own</p>"
    assert server.get("/sub/app.js")[1]["content-type"] == "text/javascript; charset=utf-8"
    for path in ("/link", "/../secret", "/%2e%2e/secret", "/sub", "/none", "/sub/../../secret"):
        got = server.raw(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\n"
                         b"Connection: close\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 404 "), (path, got)


def test_props(fake):
    status, _, body = fake.get("/props")
    props = json.loads(body)
    assert status == 200 and props["n_ctx"] == 4096 and props["chat_template"] == "{{ fake }}"
    assert props["parameters"]["temperature"] == {"default": 0.8, "min": 0, "max": 2}
    assert props["numerics"] == "fast"


def test_tokenizer_info(fake):
    status, _, body = fake.get("/tokenizer_info")
    assert status == 200 and json.loads(body) == {
        "tokenizer_class": "wicara", "vocab_size": 4096, "model_max_length": 4096, "bos_token": None,
        "eos_token": "</s>", "pad_token": None, "chat_template": "{{ fake }}"}


def test_sampling_defaults_by_option(launch):
    server = launch("--sampling", "temperature=0.25,top_k=7", "--numerics", "precise")
    props = json.loads(server.get("/props")[2])
    parameters = props["parameters"]
    assert parameters["temperature"] == {"default": 0.25, "min": 0, "max": 2, "from": "option"}
    assert parameters["top_k"]["default"] == 7 and "from" not in parameters["top_p"]
    assert props["numerics"] == "precise"
