#!/bin/bash
# coverage.sh [STEP...] - how much of core/ the steps of scripts/test.sh run (default: core, corpora
# and lua), file by file and in all. The annotated sources are build/coverage/gcov/*.gcov.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- core corpora lua
dir=build/coverage

scripts/deps.sh test
scripts/build.sh coverage
find "$dir" -name '*.gcda' -delete
status=0
PRESET=coverage scripts/test.sh "$@" >&2 || status=$?

mkdir -p "$dir/gcov"
cd "$dir/gcov"
rm -f ./*.gcov
# by the compiler's notes, not by the counts: what never ran has none
find .. -name '*.gcno' -path '*/core/*' -not -path '*/tests/*' -print0 |
    xargs -0 gcov --preserve-paths --relative-only --source-prefix "$(cd ../../.. && pwd -P)" \
        >../gcov.log 2>../gcov.err || { cat ../gcov.err >&2; exit 1; }
# "File 'core/io/sql.c'" followed by "Lines executed:87.50% of 64"
awk -F"[':% ]+" '
    function line(share, count, name) { printf "%6.1f %%  of %5d  %s\n", share, count, name | sort }
    BEGIN { sort = "sort -k5" }
    $1 == "File" { file = $2 }
    $1 == "Lines" && file ~ /^core\/.*\.c$/ {
        split(file, part, "/")
        layer = part[3] != "" ? "core/" part[2] : "core"
        lines[layer] += $5; hit[layer] += $3 * $5 / 100
        all += $5; hits += $3 * $5 / 100
        line($3, $5, file)
        file = ""
    }
    END {
        close(sort)
        print ""
        delete lines["core"]
        for (layer in lines) line(100 * hit[layer] / lines[layer], lines[layer], layer)
        close(sort)
        line(100 * hits / all, all, "core")
    }' ../gcov.log
exit $status
