#!/bin/sh
# run.sh - from a fresh clone to a running shop: install what is missing, build, start `moontill dev`.
set -eu
cd "$(dirname "$0")/.."
scripts/deps.sh
make --no-print-directory build
exec build/release/moontill dev "$@"
