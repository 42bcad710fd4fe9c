#!/bin/sh
# Makes build/venv with the pinned Python packages of the tests; does nothing when it is current.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
venv=$root/build/venv
wanted=$root/tests/requirements.txt
if ! cmp -s "$wanted" "$venv/requirements.txt" 2>/dev/null; then
    echo "set-up: installing the Python packages of the tests" >&2
    rm -rf "$venv"
    mkdir -p "$root/build"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"
    cp "$wanted" "$venv/requirements.txt"
fi
