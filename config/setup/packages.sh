#!/bin/sh
# Installs the Debian packages that a build (and with "test" also the tests) needs, where they are
# missing. Needs root or sudo only when something is missing.
set -eu

build="gcc make pkg-config libmicrohttpd-dev libcjson-dev libopenblas-pthread-dev nettle-dev
       libcurl4-openssl-dev zlib1g-dev python3 python3-venv python3-pip ca-certificates util-linux"
tests="libcmocka-dev clang-14 libclang-rt-14-dev clang-format-14 curl chromium git"

wanted=$build
[ "${1:-build}" = test ] && wanted="$build $tests"

missing=
for package in $wanted; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
        missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "set-up: installing Debian packages:$missing"
as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || {
        echo "set-up: these packages need root; run as root, install sudo, or run:" >&2
        echo "  apt-get install$missing" >&2
        exit 1
    }
    as_root="sudo"
fi
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# shellcheck disable=SC2086
$as_root apt-get install -y -qq --no-install-recommends $missing
