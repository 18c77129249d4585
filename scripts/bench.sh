#!/bin/bash
# bench.sh - what the server costs, on this machine, now: figures with their ratio to a baseline of the same run. Asserts
# nothing. Absolute figures swing with the machine; ratios and CPU are what to compare. It takes less than three minutes.
#
#   scripts/bench.sh [sql] [price] [http] [journey] [reload] [import]      all of them by default
set -eu
cd "$(dirname "$0")/.."
moontill=$PWD/build/release/moontill
wanted=${*:-sql price http journey reload import}
folder=$(mktemp -d)
chmod 711 "$folder" # the database runs as a user of its own
dev=

finish() {
    [ -z "$dev" ] || { kill "$dev" 2>/dev/null && wait "$dev" 2>/dev/null; } || true
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT TERM

scripts/deps.sh test
scripts/build.sh release

has() { [[ " $wanted " == *" $1 "* ]]; }

start_shop() {
    local port=$((20000 + RANDOM % 20000))
    "$moontill" dev --no-demo --var "$folder/var" --listen "127.0.0.1:$port" >"$folder/out" 2>"$folder/err" &
    dev=$!
    for ((i = 0; i < 300; ++i)); do
        ! grep -q '^ready ' "$folder/out" || return 0
        kill -0 "$dev" 2>/dev/null || break
        sleep 0.1
    done
    cat "$folder/err"
    exit 1
}

echo "$(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n1), load $(cut -d' ' -f1 /proc/loadavg)"
echo
if has sql; then
    scripts/build.sh release bench_sql
    build/release/bench_sql 2 8
    echo
fi
if has price; then
    luajit tests/bench/price.lua
    echo
fi
if has http || has journey || has reload || has import; then
    start_shop
    "$moontill" import products sql/demo/online-retail-slice.csv.xz --var "$folder/var" >/dev/null 2>&1
fi
! has http || node tests/bench/http.mjs "$folder/var" 2
! has journey || node tests/bench/journey.mjs "$folder/var" 16 8
! has reload || MOONTILL=$moontill node tests/bench/reload.mjs "$folder/var"
if has import; then
    whole=../shared/data/online-retail.csv.xz
    [ -f "$whole" ] || whole=sql/demo/online-retail-slice.csv.xz
    tests/bench/import.sh "$moontill" "$folder/var" "$whole"
fi
