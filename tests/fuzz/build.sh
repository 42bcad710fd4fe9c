#!/bin/sh
# Builds one fuzz target of the tree in the current folder.
#
#   tests/fuzz/build.sh TARGET OUT [standalone]
#
# TARGET is the name behind fuzz_, OUT the folder for the program and its seeds. The sources (files,
# or folders for all their .c) and libraries are named in the head of fuzz_TARGET.c. With "standalone" the program only replays
# inputs and is built by gcc. Leaves OUT/fuzz_TARGET and OUT/seeds/TARGET/.
set -eu
target=$1
out=$2
main=tests/fuzz/fuzz_$target.c
head=$(sed '/\*\//q' "$main")
field() {
    printf '%s\n' "$head" | tr '\n' ' ' | sed 's/ \* / /g; s/ \*\/.*//' |
        sed -n "s/.*$1: \(.*\)/\1/p" | sed 's/fuzz-[a-z]*:.*//'
}
sources=
for source in $(field fuzz-sources); do
    [ -d "$source" ] && source=$(ls "$source"/*.c)
    sources="$sources $source"
done
libraries=$(field fuzz-libraries)
flags="-std=gnu11 -g -O1 -fno-omit-frame-pointer -I. -D_GNU_SOURCE -DWICARA_DEBUG=1
       -ffp-contract=off -include engine/base/banned.h"
if [ "${3:-}" = standalone ]; then
    compiler="${CC:-gcc} -fsanitize=address,undefined"
    main="$main tests/fuzz/standalone.c"
    objects=objects-standalone
else
    compiler="${CLANG:-clang-14} -fsanitize=fuzzer,address,undefined"
    objects=objects
fi
mkdir -p "$out"
# A makefile, so that only what changed is compiled, on all cores.
cat >"$out/$objects.mk" <<EOF
objects := $(printf "$out/$objects/%s.o " $main $sources)
$out/fuzz_$target: \$(objects) $out/$objects.mk
	@$compiler -o \$@ \$(objects) $libraries
$out/$objects/%.c.o: %.c
	@mkdir -p \$(@D)
	@$compiler -fno-sanitize-recover=all $(echo $flags) -MMD -MP -c -o \$@ \$<
-include \$(objects:.o=.d)
EOF
make -s -j"$(nproc)" -f "$out/$objects.mk" "$out/fuzz_$target"
# shellcheck disable=SC2086
${CC:-gcc} $flags -o "$out/make_seeds" tests/fuzz/make_seeds.c
"$out/make_seeds" "$out/seeds" >"$out/seeds.log"
