#!/bin/bash
# lint.sh - every rule that a program can hold us to. Each lint prints its
# violations, one a line, "file:line: what"; the last line here is their count.
set -u
cd "$(dirname "$0")/.."

total=0

# Runs one lint; every line that it prints is a violation, and one that fails
# without a word counts as one too.
check() {
    local name=$1 out count
    shift
    out=$("$@" 2>&1)
    local code=$?
    count=$(printf '%s' "$out" | grep -c '' || true)
    if [ "$code" -ne 0 ] && [ "$count" -eq 0 ]; then
        out="failed with $code and said nothing"
        count=1
    fi
    [ "$count" -eq 0 ] || printf '%s\n' "$out" | sed "s/^/$name: /"
    total=$((total + count))
}

check format scripts/lint-format
check luacheck scripts/lint-luacheck
check layers scripts/lint-layers
check requires luajit scripts/lint-requires.lua
check banned scripts/lint-banned
check patterns luajit scripts/lint-patterns.lua
check sizes luajit scripts/lint-sizes.lua
check faults scripts/lint-faults
check options scripts/lint-options
check migrations scripts/lint-migrations
check metrics scripts/lint-metrics
check surface scripts/lint-surface
check docs scripts/lint-docs
for extra in scripts/lint.d/*; do
    [ ! -x "$extra" ] || check "$(basename "$extra")" "$extra"
done

if [ "$total" -eq 0 ]; then
    echo "lint: no violations"
else
    echo "lint: $total violations"
    exit 1
fi
