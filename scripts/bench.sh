#!/bin/bash
# bench.sh [NAMES] [--rounds N] [--seconds N] [--json FILE] - what the server costs on this machine, beside baselines that
# run in turns with it; docs/performance.md says how to read it and what was found. `--list` names the benchmarks.
set -eu
cd "$(dirname "$0")/.."
scripts/deps.sh bench
scripts/build.sh release
scripts/build.sh release bench_handler bench_order bench_combine bench_hot bench_sql bench_box
ulimit -n "$(ulimit -Hn)" # 10,000 clients and their connections
exec node tests/bench/bench.mjs "$@"
