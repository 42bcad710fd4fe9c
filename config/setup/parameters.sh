#!/bin/sh
# Writes the table of request parameters, as the binary prints it, into README.md.
#   parameters.sh BINARY
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
table=$(mktemp)
"$1" --print-parameters > "$table"
awk -v table="$table" '
    /<!-- parameters: begin -->/ { print; while ((getline line < table) > 0) print line; skip = 1 }
    /<!-- parameters: end -->/ { skip = 0 }
    !skip { print }' "$root/README.md" > "$table.md"
cat "$table.md" > "$root/README.md"
rm -f "$table" "$table.md"
