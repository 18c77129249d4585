#!/bin/bash
# fuzz.sh [SECONDS [TARGET...]] - each fuzz target for so long (default 60). What it
# finds new goes to build/fuzz/corpus; a crash is kept in build/fuzz/crashes, and its
# input belongs into tests/fuzz/corpus/TARGET with the repair.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
[ $# -eq 0 ] || shift

scripts/deps.sh test
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for source in tests/fuzz/fuzz_*.c; do
        name=$(basename "$source" .c)
        targets+=("${name#fuzz_}")
    done
fi

scripts/build.sh fuzz "${targets[@]/#/fuzz_}"
mkdir -p build/fuzz/crashes
status=0
for target in "${targets[@]}"; do
    mkdir -p "build/fuzz/corpus/$target"
    echo "fuzz: $target for $seconds s"
    build/fuzz/fuzz_"$target" -max_total_time="$seconds" -max_len=4096 -verbosity=0 -print_final_stats=1 \
        -artifact_prefix="build/fuzz/crashes/$target-" "build/fuzz/corpus/$target" "tests/fuzz/corpus/$target" || status=1
done
exit $status
