#!/bin/sh
# The full counts behind `make test-full`: 100,000 strings a vocabulary, every template, 64 requests
# over every dimension and a planted fault, 10,000 disconnects, start, logits beside llama.cpp, greedy
# answers beside float32. About an hour on two cores.
# Fetches the pinned llama-cpp-python source (vocabularies, goldens, templates, the peer) and the
# pinned reference libraries into build/.
#
#   full.sh MODEL BINARY_DIR [part ...]      parts: see all_parts
#
# Each part runs though another has failed; the last lines give every part's time and result.
set -eu
model=$1
out=$2
shift 2
all_parts="tokens published checkpoints templates bytes planted disconnects start logits greedy scores
           lm-eval streamed schema grammar"

sh tests/bench/build_peers.sh source
peer=build/peers/source
llama=$peer/vendor/llama.cpp

venv=build/venv-full
if ! cmp -s tests/golden/requirements.txt "$venv/requirements.txt" 2>/dev/null; then
    echo "set-up: installing the reference libraries (torch, transformers: some 5 GB)"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/golden/requirements.txt
    cp tests/golden/requirements.txt "$venv/requirements.txt"
fi
python=$venv/bin/python

# A shell for each part, so that the first failing command ends that part only.
if [ $# -ne 1 ]; then
    results=
    failed=0
    for part in ${*:-$all_parts}; do
        echo "== $part"
        began=$(date +%s)
        result=passed
        sh "$0" "$model" "$out" "$part" || { result=FAILED && failed=$((failed + 1)); }
        results="$results$(printf '%-12s %s, %d s' "$part" "$result" $(($(date +%s) - began)))
"
    done
    printf '== all parts\n%s' "$results"
    [ "$failed" = 0 ]
    exit
fi

for part; do
    case $part in
    tokens)
        $python tests/golden/tokenizer/compare.py --cli "$out/tests/golden/tokenizer/tokenize_cli" \
            --model "$model" --vocabularies "$llama/models" --count 100000 ;;
    published)
        sh tests/golden/tokenizer/published.sh build/published
        cli=$out/tests/golden/tokenizer/tokenize_cli
        for kind in json:tokenizer.json spm:tokenizer.model tekken:tekken.json; do
            set --
            for file in build/published/*/"${kind#*:}"; do
                set -- "$@" "$(dirname "$file")"
            done
            PYTHONPATH=build/published/python $python \
                "tests/golden/tokenizer/compare_${kind%:*}.py" --cli "$cli" "$@"
        done ;;
    checkpoints)
        for walk in "" --walk; do
            $python tests/golden/model/checkpoints.py $walk \
                --cli "$out/tests/golden/model/logits_cli"
        done ;;
    templates)
        $python tests/golden/template/compare.py "$out/tests/golden/template/render_cli" \
            "$llama/models/templates" ;;
    bytes)
        $python tests/torture/same_bytes.py --model "$model" --binary "$out/wicara" --count 64 ;;
    planted)
        sh tests/torture/planted.sh "$model" ;;
    disconnects)
        $python tests/torture/disconnect.py --model "$model" --binary "$out/wicara" --count 10000 ;;
    start)
        sh tests/bench/build_peers.sh
        $python tests/torture/start.py --model "$model" --binary "$out/wicara" --memory-limit \
            --peer build/peers/build/bin/llama-server ;;
    logits)
        sh tests/bench/build_peers.sh
        $python tests/golden/model/kl.py --model "$model" --cli "$out/tests/golden/model/logits_cli" \
            --peer-source "$peer" --peer-lib build/peers/build/bin ;;
    scores)
        $python tests/golden/model/scores.py --model "$model" --binary "$out/wicara" --numerics precise
        $python tests/golden/model/scores.py --model "$model" --binary "$out/wicara" \
            --mean 0.1 --p99 0.5 ;;
    lm-eval)
        sh tests/golden/model/lm_eval.sh "$venv" --model "$model" --binary "$out/wicara" ;;
    streamed)
        python3 tests/torture/streamed_whole.py --model "$model" --binary "$out/wicara" --count 500 ;;
    schema)
        FAKE_DELAY_MS=0 python3 tests/torture/schema.py --model "$model" --binary "$out/wicara_fake" \
            --examples 400 --requests 100000 --pairs 2
        python3 tests/torture/schema.py --model "$model" --binary "$out/wicara" --examples 5 ;;
    greedy)
        $python tests/golden/model/greedy.py --model "$model" --binary "$out/wicara" ;;
    grammar)
        # jsonschema's source package holds the official test suite.
        grammar=build/venv-grammar
        suite=build/jsonschema-4.26.0/json/tests/draft2020-12
        if ! cmp -s tests/golden/grammar/requirements.txt "$grammar/requirements.txt"; then
            rm -rf "$grammar"
            python3 -m venv "$grammar"
            "$grammar/bin/pip" install --quiet --disable-pip-version-check \
                -r tests/golden/grammar/requirements.txt
            cp tests/golden/grammar/requirements.txt "$grammar/requirements.txt"
        fi
        if [ ! -d "$suite" ]; then
            "$grammar/bin/pip" download --quiet --disable-pip-version-check --no-deps \
                --no-binary :all: --require-hashes --dest build \
                -r tests/golden/grammar/suite.txt
            tar -xzf build/jsonschema-4.26.0.tar.gz -C build
        fi
        "$grammar/bin/python" tests/golden/grammar/compare.py --llguidance --times --count 4000 \
            --cli "$out/tests/golden/grammar/grammar_cli" --regex 500 --suite "$suite" \
            --model "$llama/models/ggml-vocab-qwen2.gguf" ;;
    *)
        echo "unknown part: $part" >&2
        exit 2 ;;
    esac
done
