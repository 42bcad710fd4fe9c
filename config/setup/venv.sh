#!/bin/sh
# Makes build/venv with the pinned Python packages of the tests, and build/venv-clients with those of
# the clients that tests/api/clients speaks through; does nothing when they are current.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)

make_venv() {  # directory, requirements
    if cmp -s "$2" "$1/requirements.txt" 2>/dev/null; then
        return
    fi
    echo "set-up: installing the packages of $2" >&2
    rm -rf "$1"
    mkdir -p "$root/build"
    python3 -m venv "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check -r "$2"
    cp "$2" "$1/requirements.txt"
}
make_venv "$root/build/venv" "$root/tests/requirements.txt"
make_venv "$root/build/venv-clients" "$root/tests/api/clients/requirements.txt"
