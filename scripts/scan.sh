#!/bin/bash
# scan.sh [FILE...] - clang's static analyzer over core/ (or these files): paths through the
# code that end in a null pointer, freed memory, a value never set. Silent files are fine ones;
# the last line is the count, and the exit code says whether it is none.
set -u
cd "$(dirname "$0")/.."
scripts/deps.sh test || exit 1

mapfile -t packages < <(sed -nE 's/^till_package\(\w+ (.*)\)$/\1/p' scripts/cmake/packages.cmake)
mapfile -t files < <(if [ $# -gt 0 ]; then printf '%s\n' "$@"; else find core -name '*.c' | sort; fi)
# shellcheck disable=SC2046
flags=(-std=gnu11 -D_GNU_SOURCE -DH2O_USE_LIBUV=0 -DTILL_VERSION='"scan"' -Icore $(pkg-config --cflags "${packages[@]}") -include scripts/scan.h)

mkdir -p build
printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$(nproc)" \
    clang --analyze --analyzer-output text "${flags[@]}" -o /dev/null >build/scan.log 2>&1
code=$?
found=$(grep -cE ': (warning|error|fatal error): ' build/scan.log)
cat build/scan.log
echo "scan: ${#files[@]} files, $found findings, $SECONDS s"
[ "$found" -eq 0 ] && [ "$code" -eq 0 ]
