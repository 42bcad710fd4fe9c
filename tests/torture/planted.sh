#!/bin/sh
# Does the same-bytes test see what it is for? Plants another order of summation for batches over 8
# rows into a copy of the tree, builds it, and expects the test to turn red.
#
#   planted.sh MODEL
set -eu
model=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git ls-files | tar -cf - -T - | tar -xf - -C "$work"
mkdir -p "$work/build"
cp -a build/release build/generated "$work/build/"
patch -s -d "$work" -p1 < tests/torture/planted/order-of-summation.patch
make -s -C "$work" all >/dev/null
if python3 "$work/tests/torture/same_bytes.py" --model "$model" \
    --binary "$work/build/release/wicara" --quick --count 16 > "$work/log" 2>&1; then
    echo "the planted change was not seen"
    echo "0 passed, 1 failed"
    exit 1
fi
grep FAIL "$work/log" | head -3
echo "1 passed, 0 failed"
