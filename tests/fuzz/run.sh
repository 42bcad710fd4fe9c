#!/bin/sh
# Builds a fuzz target and runs it on its seeds and dictionary.
#
#   tests/fuzz/run.sh TARGET [SECONDS] [FOLDER]
#
# New inputs and a crash are kept in FOLDER (default build/fuzz/TARGET); status 1 when it crashed.
set -eu
target=$1
seconds=${2:-60}
out=${3:-build/fuzz/$target}
tests/fuzz/build.sh "$target" "$out"
mkdir -p "$out/corpus"
kept=tests/fuzz/corpus/$target
[ -d "$kept" ] || kept=
dictionary=
[ -f "tests/fuzz/$target.dict" ] && dictionary=-dict=tests/fuzz/$target.dict
# shellcheck disable=SC2086
"$out/fuzz_$target" -max_total_time="$seconds" -timeout=2 -rss_limit_mb=512 -max_len=4096 \
    -print_final_stats=1 -artifact_prefix="$out/" $dictionary ${FUZZ_FLAGS:-} \
    "$out/corpus" "$out/seeds/$target" $kept 2>"$out/log" || {
    grep -m 3 -E 'check failed|ERROR|runtime error|SUMMARY' "$out/log" || tail -5 "$out/log"
    exit 1
}
grep -E 'stat::number_of_executed_units|stat::peak_rss_mb' "$out/log"
