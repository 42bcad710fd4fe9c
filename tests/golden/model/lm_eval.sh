#!/bin/sh
# lm_eval_local.py with the pinned packages of lm_eval_requirements.txt, in build/venv-lm on top of the
# reference libraries (torch, transformers) of another venv.
#
#   lm_eval.sh VENV_WITH_TORCH [flag of lm_eval_local.py ...]
set -eu
full=$(cd "$1" && pwd)
shift
wanted=tests/golden/model/lm_eval_requirements.txt
venv=build/venv-lm
if ! cmp -s "$wanted" "$venv/requirements.txt" 2>/dev/null; then
    echo "set-up: installing lm-eval"
    rm -rf "$venv"
    python3 -m venv "$venv"
    for folder in "$venv"/lib/python*/site-packages; do
        (cd "$full" && echo "$PWD"/lib/python*/site-packages) > "$folder/full.pth"
    done
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"
    cp "$wanted" "$venv/requirements.txt"
fi
exec "$venv/bin/python" tests/golden/model/lm_eval_local.py "$@"
