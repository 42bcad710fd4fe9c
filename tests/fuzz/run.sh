#!/bin/sh
# Builds a fuzz target and runs it on its seeds and dictionary.
#
#   tests/fuzz/run.sh TARGET [SECONDS] [FOLDER]
#
# New inputs and a crash are kept in FOLDER (default build/fuzz/TARGET); status 1 when it crashed.
# The seeds are those that make_seeds.c writes and those in tests/fuzz/corpus/TARGET/. The time-out of
# one input counts wall time, so it is far above what an input takes (a millisecond).
set -eu
target=$1
seconds=${2:-60}
out=${3:-build/fuzz/$target}
tests/fuzz/build.sh "$target" "$out"
mkdir -p "$out/corpus"
inputs=$out/corpus
for folder in "$out/seeds/$target" "tests/fuzz/corpus/$target"; do
    [ ! -d "$folder" ] || inputs="$inputs $folder"
done
dictionary=
[ ! -f "tests/fuzz/$target.dict" ] || dictionary=-dict=tests/fuzz/$target.dict
# shellcheck disable=SC2086
"$out/fuzz_$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=512 -max_len=4096 \
    -print_final_stats=1 -artifact_prefix="$out/" $dictionary ${FUZZ_FLAGS:-} \
    $inputs 2>"$out/log" || {
    grep -m 3 -E 'check failed|ERROR|runtime error|SUMMARY' "$out/log" || tail -5 "$out/log"
    exit 1
}
grep -E 'stat::number_of_executed_units|stat::peak_rss_mb' "$out/log"
