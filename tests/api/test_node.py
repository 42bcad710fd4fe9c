"""The official Node SDK (node/conversation.mjs) and the Vercel AI SDK (node/ai-sdk.mjs), against the
fake engine and the real model."""

import os
import pathlib
import shutil
import subprocess

import pytest

FOLDER = pathlib.Path(__file__).parent / "node"


def converse(server, script="conversation.mjs", is_real=False):
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed: the Node SDK is left out")
    if not all((FOLDER / "node_modules" / name).exists() for name in ("openai", "ai")):
        done = subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=FOLDER, capture_output=True,
                              text=True, timeout=120)
        if done.returncode != 0:
            pytest.skip("npm ci failed, the Node SDK is left out: " + done.stderr[-300:])
    done = subprocess.run(["node", script], cwd=FOLDER, capture_output=True, text=True,
                          timeout=120, env={**os.environ, "WICARA_URL": server.url,
                                            **({"WICARA_REAL": "1"} if is_real else {})})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("ok\n")


def test_conversation_with_the_fake(fake):
    converse(fake)


def test_conversation_with_the_model(real):
    converse(real, is_real=True)


def test_ai_sdk_with_the_fake(fake):
    converse(fake, "ai-sdk.mjs")


def test_ai_sdk_with_the_model(real):
    converse(real, "ai-sdk.mjs", is_real=True)
