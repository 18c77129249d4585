#!/bin/bash
# build.sh [PRESET [TARGET...]] - configures where that is needed and builds (default: release).
# What the tools say is in build/PRESET.log; it is shown when something failed, or as it comes on a terminal.
set -eu
cd "$(dirname "$0")/.."
preset=${1:-release}
[ $# -eq 0 ] || shift
dir=build/$preset
log=$dir.log
there=
[ ! -x "$dir/moontill" ] || there=$dir/moontill

if ! mkdir -p build 2>/dev/null || [ ! -w build ] || { [ -e "$dir" ] && [ ! -w "$dir" ]; }; then
    echo "build: $PWD/$dir cannot be written${there:+; what is there is used}" >&2
    [ -n "$there" ]
    exit
fi

say_log() {
    cat "$log" >&2
    exit 1
}

# a checkout that was moved or copied: CMake refuses a cache of elsewhere
home=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$dir/CMakeCache.txt" 2>/dev/null || true)
[ -z "$home" ] || [ "$home" = "$(pwd -P)" ] || [ "$home" = "$PWD" ] || rm -rf "$dir"

if [ ! -e "$dir/build.ninja" ] || [ CMakePresets.json -nt "$dir/build.ninja" ]; then
    cmake --preset "$preset" >"$log" 2>&1 || say_log
fi
build=(cmake --build --preset "$preset")
[ $# -eq 0 ] || build+=(--target "$@")
if [ -t 1 ]; then
    "${build[@]}"
else
    "${build[@]}" -- -k 0 >"$log" 2>&1 || say_log
fi
[ "$SECONDS" -lt 2 ] || echo "build: $preset, $SECONDS s" >&2
