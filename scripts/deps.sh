#!/bin/bash
# deps.sh [test|bench] - installs what is missing of the Debian packages that
# the build and the server need; with `test`, what the tests and lints need as
# well, with the npm packages of tests/doubles; with `bench`, what the benchmarks do.
# Where all are there it does nothing and needs no root. Away from a terminal,
# what apt says goes to build/deps.log and is shown when it failed.
set -eu
cd "$(dirname "$0")/.."

build=(make cmake ninja-build gcc libc6-dev pkg-config libh2o-evloop-dev libwslay-dev
    libluajit-5.1-dev luajit libmariadb-dev libhiredis-dev libcurl4-openssl-dev libssl-dev
    zlib1g-dev liblzma-dev librabbitmq-dev)
serve=(mariadb-server mariadb-client redis-server curl xz-utils ca-certificates openssl)
test=(check lua-check clang clang-format libclang-rt-14-dev nodejs npm git procps prometheus
    nghttp2-client haproxy chromium rabbitmq-server node-ws # prometheus: promtool; node-ws: a WebSocket client
    galera-4 rsync lsof) # a Galera cluster
bench=(nodejs git luajit nghttp2-client wrk sysbench redis-tools node-ws)

wanted=("${build[@]}" "${serve[@]}")
if [ "${1:-}" = test ]; then
    wanted+=("${test[@]}")
elif [ "${1:-}" = bench ]; then
    wanted+=("${bench[@]}")
elif [ $# -ne 0 ]; then
    echo "usage: scripts/deps.sh [test|bench]" >&2
    exit 2
fi

if ! command -v dpkg-query >/dev/null; then
    echo "deps: this is not a Debian; what is needed, by Debian 12's names: ${wanted[*]}" >&2
    exit 1
fi

# One call for all: a start that installs nothing is not to take long.
declare -A there=()
while read -r package status; do
    [ "$status" != installed ] || there[$package]=1
done < <(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${wanted[@]}" 2>/dev/null || true)
# a Node from elsewhere, newer than Debian's, will do
! command -v node >/dev/null || there[nodejs]=1
! command -v npm >/dev/null || there[npm]=1

# What the doubles of providers are checked with, of the versions in the lock file. Without them the step `doubles` of
# the tests fails; everything else can be tested all the same.
npm_packages() {
    local log=build/npm.log try
    [ "$1" = test ] || return 0
    ! cmp -s tests/doubles/package-lock.json tests/doubles/node_modules/.installed || return 0
    mkdir -p build
    for try in 1 2 3; do
        if (cd tests/doubles && npm ci --ignore-scripts --no-audit --no-fund) >"$log" 2>&1 </dev/null; then
            cp tests/doubles/package-lock.json tests/doubles/node_modules/.installed
            return 0
        fi
        sleep $((try * 2))
    done
    tail -n 20 "$log" >&2
    echo "deps: npm could not install the packages of tests/doubles; is the registry there? All that it said is in $log" >&2
}

missing=()
for package in "${wanted[@]}"; do
    [ -n "${there[$package]:-}" ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    npm_packages "${1:-}"
    exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "deps: packages are missing, and installing them needs root. As root:" >&2
        echo "    apt-get update && apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi

apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"
}

# Debian starts a service as soon as it is installed. Ours are started by whoever needs them, on sockets and ports of
# his own: while we install, a policy says no to all of them. One that is there already is left alone.
policy=/usr/sbin/policy-rc.d
has_policy=

forbid_starts() {
    [ ! -e $policy ] || return 0
    has_policy=1
    trap allow_starts EXIT
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" sh -c "cat >$policy && chmod 755 $policy"
}

allow_starts() {
    [ -z "$has_policy" ] || "${as_root[@]}" rm -f $policy
    has_policy=
}

# Of prometheus only promtool is wanted, and the tests start a broker of their own: neither is to run from the next
# boot on.
disable_unwanted() {
    local package
    [ -d /run/systemd/system ] || return 0
    for package in prometheus rabbitmq-server; do
        [[ " ${missing[*]} " != *" $package "* ]] || "${as_root[@]}" systemctl disable $package >/dev/null 2>&1 || true
    done
}

install() {
    # a mirror that is half out of order may still have what we want
    apt update || echo "deps: the list of packages could not be brought up to date; trying with the one that is here"
    apt install -y --no-install-recommends -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
        "${missing[@]}"
}

echo "deps: installing ${#missing[@]} packages and what they need: ${missing[*]}" >&2
if [ -d /run/systemd/system ] && [ -z "${there[mariadb-server]:-}${there[redis-server]:-}" ]; then
    echo "deps: mariadb and redis-server are not started, but Debian enables them for the next boot; Moontill starts its own" >&2
fi
forbid_starts
if [ -t 1 ]; then
    install
else
    mkdir -p build
    if ! install >build/deps.log 2>&1 </dev/null; then
        tail -n 60 build/deps.log >&2
        echo "deps: apt failed; all that it said is in build/deps.log" >&2
        exit 1
    fi
fi
disable_unwanted
npm_packages "${1:-}"
echo "deps: done, $SECONDS s" >&2
