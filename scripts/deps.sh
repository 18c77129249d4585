#!/bin/bash
# deps.sh [test] - installs what is missing of the Debian packages that the
# build and the server need; with `test`, what the tests and lints need as well.
# Where all are there it does nothing and needs no root.
set -eu

build=(make cmake ninja-build gcc libc6-dev pkg-config libh2o-evloop-dev libwslay-dev
    libluajit-5.1-dev luajit libmariadb-dev libhiredis-dev libcurl4-openssl-dev libssl-dev
    zlib1g-dev liblzma-dev)
serve=(mariadb-server mariadb-client redis-server curl xz-utils ca-certificates openssl)
test=(check lua-check clang clang-format libclang-rt-14-dev nodejs git procps)

wanted=("${build[@]}" "${serve[@]}")
if [ "${1:-}" = test ]; then
    wanted+=("${test[@]}")
elif [ $# -ne 0 ]; then
    echo "usage: scripts/deps.sh [test]" >&2
    exit 2
fi

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=()
for package in "${wanted[@]}"; do
    is_installed "$package" || missing+=("$package")
done
# a Node from elsewhere, newer than Debian's, will do
if command -v node >/dev/null; then
    for i in "${!missing[@]}"; do
        [ "${missing[i]}" != nodejs ] || unset "missing[i]"
    done
fi
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "deps: missing: ${missing[*]}" >&2
        echo "deps: run this as root, or install sudo; or: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi

if ! command -v apt-get >/dev/null; then
    echo "deps: this needs Debian 12 (apt-get); missing: ${missing[*]}" >&2
    exit 1
fi

echo "deps: installing ${#missing[@]} packages: ${missing[*]}"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "${missing[@]}"
echo "deps: done"
