#!/bin/bash
# bench.sh [BENCH...] - measures: price (rules, no server), sql (point reads through the pool),
# journey and the like (tests/bench/*.mjs, over a demo shop started for them). Default: all.
# Numbers of one machine are to be compared with numbers of the same machine only.
set -eu
cd "$(dirname "$0")/.."
wanted=("$@")

scripts/deps.sh test
scripts/build.sh release
nproc=$(nproc)
echo "bench: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $nproc cores"

is_wanted() {
    [ ${#wanted[@]} -eq 0 ] || [[ " ${wanted[*]} " == *" $1 "* ]]
}

dir=
pid=
stop() {
    [ -z "$pid" ] || { kill "$pid" 2>/dev/null && wait "$pid"; } || true
    [ -z "$dir" ] || rm -rf "$dir"
}
trap stop EXIT
trap 'exit 130' INT TERM

start_shop() {
    dir=$(mktemp -d)
    chmod 711 "$dir" # the database runs as a user of its own
    build/release/moontill dev --var "$dir/var" --listen "127.0.0.1:$((20000 + RANDOM % 20000))" \
        >"$dir/out" 2>"$dir/err" &
    pid=$!
    until grep -q '^ready ' "$dir/out"; do
        kill -0 "$pid" 2>/dev/null || { cat "$dir/err" >&2; exit 1; }
        sleep 0.1
    done
}

ran=0
for bench in tests/bench/*.lua tests/bench/bench_*.c tests/bench/*.mjs; do
    name=$(basename "$bench")
    name=${name%.*}
    name=${name#bench_}
    [ "$name" != support ] && is_wanted "$name" || continue
    echo "---- $name"
    ran=$((ran + 1))
    case $bench in
    *.lua) luajit "$bench" ;;
    *.c)
        scripts/build.sh release "bench_$name"
        "build/release/bench_$name"
        ;;
    *.mjs)
        [ -n "$pid" ] || start_shop
        node "$bench" "$dir/var"
        ;;
    esac
done
if [ "$ran" -eq 0 ]; then
    echo "bench: there is none of that name; look into tests/bench" >&2
    exit 2
fi
