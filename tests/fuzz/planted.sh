#!/bin/bash
# Shows that a fuzz target finds bugs: plants each patch of planted/TARGET-*.patch into a copy of the
# tree, builds, runs for a bounded time and expects a crash; then runs the clean tree for the same
# time and expects none.
#
#   tests/fuzz/planted.sh TARGET [SECONDS [BUG ...]]      all bugs, or those with these names
#
# Prints one row a bug: name, seconds until found, what stopped the run. Status 1 when a bug was
# missed, a patch does not fit any more, or the clean tree crashed.
set -u
target=$1
seconds=${2:-60}
names=" ${*:3} "
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
missed=0

# try NAME [PATCH]: copies the tree, plants the patch, runs; says how it went in $found and $why.
try() {
    local copy=$work/$1
    cp -a "$work/tree" "$copy"
    cd "$copy" || exit 2
    if [ $# -gt 1 ] && ! patch -p1 -s --no-backup-if-mismatch <"$2" >patch.log 2>&1; then
        found=broken
        why="the patch does not fit: $(head -1 patch.log)"
        return
    fi
    if ! tests/fuzz/build.sh "$target" out >build.log 2>&1; then
        found=broken
        why="it does not build: $(grep -m 1 error build.log)"
        return
    fi
    local start=$SECONDS
    if tests/fuzz/run.sh "$target" "$seconds" out >run.log 2>&1; then
        found=no
        why=$(grep -o 'executed_units: *[0-9]*' run.log | tr -s ' ')
    else
        why=$(grep -m 1 -oE 'check failed: .*|(AddressSanitizer|libFuzzer): .*|runtime error: .*' \
            out/log | cut -c1-90)
        found=${why:+yes}
        if [ -z "$found" ]; then
            found=broken
            why="the run failed without a finding: $(tail -1 out/log)"
        fi
    fi
    took=$((SECONDS - start))
    cd "$root" && rm -rf "$copy"
}

# The tree as it is, built once: a planted bug compiles its own file anew.
mkdir -p "$work/tree/tests/engine"
cp -a "$root/engine" "$root/server" "$work/tree/"
cp -a "$root/tests/fuzz" "$work/tree/tests/"
cp -a "$root/tests/engine" "$work/tree/tests/"
(cd "$work/tree" && tests/fuzz/build.sh "$target" out) >"$work/build.log" 2>&1 || {
    echo "the tree does not build: $(grep -m 1 error "$work/build.log")"
    exit 1
}

printf '%-44s %-7s %s\n' "planted bug" found "after, by what"
n=0
for patch in "$root/tests/fuzz/planted/$target"-*.patch; do
    name=$(basename "$patch" .patch)
    [ -f "$patch" ] && [[ "$names" = "  " || "$names" = *" $name "* ]] || continue
    n=$((n + 1))
    took=0
    try "$name" "$patch"
    [ "$found" = yes ] || missed=1
    printf '%-44s %-7s %s\n' "$name" "$found" "$took s, $why"
done
if [ "$names" = "  " ]; then
    took=0
    try clean
    [ "$found" = no ] || missed=1
    printf '%-44s %-7s %s\n' "(nothing planted)" "$found" "$took s, $why"
    if [ "$n" -lt 3 ]; then
        echo "only $n bugs are planted for $target, three are needed"
        missed=1
    fi
fi
exit $missed
