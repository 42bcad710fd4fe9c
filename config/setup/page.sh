#!/bin/sh
# Builds the page into BUILD/web and the table that embeds it into BUILD/generated/web_assets.c.
# Libraries come from npm by the committed lock file; without npm and network a plain page is built.
set -eu
build=${1:-build}
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$build/generated" "$build/web"
build=$(cd "$build" && pwd)
node_bin=$(sh "$root/config/setup/node.sh") && PATH=$node_bin:$PATH && export PATH || {
    echo "set-up: no Node.js; run 'make setup' on a machine with a package index" >&2
    exit 1
}
cd "$root/web"
if ! cmp -s package-lock.json "$build/node/package-lock.json"; then
    echo "set-up: fetching the page's libraries"
    rm -rf "$build/node"
    mkdir -p "$build/node"
    cp package.json package-lock.json "$build/node/"
    [ -f .npmrc ] && cp .npmrc "$build/node/"
    (cd "$build/node" && npm ci --ignore-scripts --no-audit --no-fund --silent)
fi
echo "  PAGE  build/web"
NODE_PATH="$build/node/node_modules" node "$root/web/build.mjs" "$root/web" "$build"
