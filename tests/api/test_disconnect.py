"""A client that leaves stops its work, in every phase, streamed or not; nothing is left behind."""

import concurrent.futures
import socket
import struct
import time

import pytest

import servers

PHASES = {
    "prefill": "x [[tokens=5 prefill_ms=60000]]",
    "decode": "x [[tokens=100000 delay_ms=20]]",
}


def leave(sock, how):
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "half":
        sock.shutdown(socket.SHUT_WR)
    else:
        sock.close()


def body(text, stream, n=1):
    return {"messages": [{"role": "user", "content": text}], "stream": stream, "n": n}


def wait_for(server, name, value, seconds=5):
    end = time.monotonic() + seconds
    while server.metrics()[name] != value:
        assert time.monotonic() < end, server.metrics()
        time.sleep(0.005)


@pytest.mark.parametrize("how", ["close", "reset", "half"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("phase", PHASES)
def test_leaving(launch_one, phase, stream, how):
    server = launch_one
    before = server.metrics()["wicara_http_clients_gone_total"]
    sock = server.connect()
    sock.sendall(servers.chat_bytes(body(PHASES[phase], stream)))
    wait_for(server, "vllm:num_requests_running", 1)
    if phase == "decode":
        time.sleep(0.1)
    aborted = server.metrics()['vllm:request_success_total{finished_reason="abort"}']
    leave(sock, how)
    took = server.idle(2)
    after = server.metrics()
    assert took < 0.5, took
    assert after["wicara_http_clients_gone_total"] == before + 1
    assert after['vllm:request_success_total{finished_reason="abort"}'] == aborted + 1
    sock.close()


@pytest.fixture(scope="module")
def launch_one(empty_model):
    server = servers.Server(servers.FAKE_BIN, empty_model, ["--parallel", "2"])
    yield server
    assert server.stop() == 0


def test_leaving_the_queue(launch_one):
    server = launch_one
    running = [server.connect() for _ in range(2)]
    for sock in running:
        sock.sendall(servers.chat_bytes(body(PHASES["decode"], True)))
    wait_for(server, "vllm:num_requests_running", 2)
    waiting = [server.connect() for _ in range(4)]
    for i, sock in enumerate(waiting):
        sock.sendall(servers.chat_bytes(body(PHASES["decode"], i % 2 == 0)))
    wait_for(server, "vllm:num_requests_waiting", 4)
    for sock in waiting:
        leave(sock, "close")
    wait_for(server, "vllm:num_requests_waiting", 0, 2)
    assert server.metrics()["vllm:num_requests_running"] == 2
    for sock in running:
        leave(sock, "close")
    server.idle(2)


def test_leaving_before_the_body_is_whole(launch_one):
    data = servers.chat_bytes(body("x", True))
    for cut in (10, 60, len(data) - 3):
        with launch_one.connect() as sock:
            sock.sendall(data[:cut])
    launch_one.idle(2)
    assert launch_one.chat("x [[tokens=1]]")[0] == 200


def test_cancel_is_fast(launch_one):
    """From FIN to a cancelled job, seen through /metrics: a few milliseconds."""
    times = []
    for _ in range(10):
        sock = launch_one.connect()
        sock.sendall(servers.chat_bytes(body(PHASES["prefill"], True)))
        wait_for(launch_one, "vllm:num_requests_running", 1)
        leave(sock, "close")
        times.append(launch_one.idle(2))
    times.sort()
    print("median", times[5])
    assert times[5] < 0.1, times


def test_many_leave_at_once(launch):
    """200 clients, all leave at random places; then nothing runs and nothing is held."""
    server = launch()

    def visit(i):
        try:
            with server.connect() as sock:
                sock.sendall(servers.chat_bytes(body("x [[tokens=200 delay_ms=2]]", i % 3 != 0, 1 + i % 2)))
                sock.settimeout(0.005 * (i % 20) + 0.001)
                try:
                    sock.recv(4096)
                except TimeoutError:
                    pass
        except OSError:
            pass

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        list(pool.map(visit, range(200)))
    server.idle(5)
    end = time.monotonic() + 3
    while True:
        time.sleep(0.1)  # a closed connection is counted until its thread has cleaned up
        if server.metrics()["wicara_http_connections"] == 1:  # the one that asks
            break
        assert time.monotonic() < end
    assert server.chat("x [[tokens=3]]")[0] == 200


def test_kept_connection_survives_a_full_answer(launch_one):
    with launch_one.connect() as sock:
        for _ in range(3):
            sock.sendall(servers.chat_bytes(body("x [[tokens=3 delay_ms=1]]", True)))
            assert b"[DONE]" in servers.read_until(sock, b"0\r\n\r\n")
