"""Clients that exist, unchanged: clients/*.py (LangChain, LlamaIndex, LiteLLM) from an environment of
their own, so that their pins do not meet ours."""

import os
import pathlib
import subprocess

import pytest

import servers

FOLDER = pathlib.Path(__file__).parent / "clients"
PYTHON = servers.ROOT / "build/venv-clients/bin/python"


def test_clients(real):
    if not PYTHON.exists():
        pytest.skip("build/venv-clients is missing: make setup-test installs it")
    environment = {**os.environ, "WICARA_URL": real.url}
    # Side by side: most of their time goes into importing themselves.
    running = {path.stem: subprocess.Popen([PYTHON, path], stdout=subprocess.PIPE, text=True,
                                           stderr=subprocess.STDOUT, env=environment)
               for path in sorted(FOLDER.glob("*_client.py"))}
    said = {name: process.communicate(timeout=300)[0] for name, process in running.items()}
    for name, process in running.items():
        assert process.returncode == 0 and said[name].endswith("ok\n"), f"{name}:\n{said[name]}"
    assert len(running) == 3
