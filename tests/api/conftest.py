"""Fixtures: one fake server for the session, servers with settings of their own, the real model."""

import os
import pathlib
import tempfile

import openai
import pytest

import servers


@pytest.fixture(scope="session")
def empty_model():
    """A file for the fake engine, which looks at its name only."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "fake-model.gguf")
        path.write_bytes(b"GGUF")
        yield str(path)


@pytest.fixture
def launch(empty_model):
    """launch(*args, env=, wait=): a fake server of its own, stopped after the test."""
    started = []

    def start(*args, env=None, wait=True):
        if not os.path.exists(servers.FAKE_BIN):
            pytest.skip(f"{servers.FAKE_BIN} is not built")
        server = servers.Server(servers.FAKE_BIN, empty_model, args, env, wait)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def fake(empty_model):
    if not os.path.exists(servers.FAKE_BIN):
        pytest.skip(f"{servers.FAKE_BIN} is not built")
    server = servers.Server(servers.FAKE_BIN, empty_model, env={"FAKE_DELAY_MS": "1"})
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="session")
def client(fake):
    return openai.OpenAI(base_url=fake.url + "/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="session")
def real():
    if not servers.MODEL:
        pytest.skip("WICARA_TEST_MODEL is not set: tests with a real model are left out")
    if not os.path.exists(servers.REAL_BIN):
        pytest.skip(f"{servers.REAL_BIN} is not built")
    server = servers.Server(servers.REAL_BIN, servers.MODEL, ["--ctx-size", "2048"])
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="session")
def real_client(real):
    return openai.OpenAI(base_url=real.url + "/v1", api_key="none", max_retries=0)
