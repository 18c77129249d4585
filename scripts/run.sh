#!/bin/sh
# run.sh [OPTION...] - from a fresh clone to a running shop: install what is missing, build,
# start `moontill dev` with these options. ARGS of the environment does the same: make run ARGS=--no-demo
set -eu
cd "$(dirname "$0")/.."
scripts/deps.sh
scripts/build.sh release
# shellcheck disable=SC2086
exec build/release/moontill dev ${ARGS:-} "$@"
