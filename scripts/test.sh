#!/bin/bash
# test.sh [STEP...] - everything that must hold, in one run: lints, core, corpora,
# Lua specs, flows. Each step writes build/test-logs/STEP.log, which is shown when
# something in it failed. The last line is "N passed, N failed, N skipped".
set -u
cd "$(dirname "$0")/.."

logs=build/test-logs
passed=0
failed=0
skipped=0
mkdir -p "$logs"
rm -f "$logs"/*.log

# Adds one step to the sum; what failed is shown at once.
count() { # step, exit code, passed, failed, skipped
    local step=$1 code=$2 p=${3:-0} f=${4:-0} s=${5:-0}
    # a step that broke without counting a failure is a failure, and so is one that tested nothing
    [ "$code" -eq 0 ] || [ "$f" -gt 0 ] || f=1
    [ $((p + f + s)) -gt 0 ] || f=1
    passed=$((passed + p))
    failed=$((failed + f))
    skipped=$((skipped + s))
    printf '%-8s %s passed, %s failed, %s skipped\n' "$step" "$p" "$f" "$s"
    if [ "$f" -gt 0 ]; then
        echo "---- $logs/$step.log"
        tail -n 400 "$logs/$step.log"
        echo "----"
    fi
}

# The sum of the first numbers that `sed` expression $2 finds in the log.
sum() {
    sed -nE "$2" "$logs/$1.log" | awk '{n += $1} END {print n + 0}'
}

step_deps() {
    scripts/deps.sh test >"$logs/deps.log" 2>&1
    local code=$?
    [ "$code" -eq 0 ] || count deps "$code"
    return "$code"
}

step_build() {
    {
        cmake --preset dev && cmake --build --preset dev -- -k 0
    } >"$logs/build.log" 2>&1
    local code=$?
    count build "$code" $((code == 0))
    return "$code"
}

step_lint() {
    scripts/lint.sh >"$logs/lint.log" 2>&1
    local code=$?
    count lint "$code" $((code == 0)) "$(sum lint 's/^lint: ([0-9]+) violations$/\1/p')"
}

# One layer at a time: those that start servers would fight for the machine.
step_core() {
    ctest --test-dir build/dev -R '^core/' -V >"$logs/core.log" 2>&1
    local code=$?
    local checks bad
    checks=$(sum core 's/.*[0-9]+%: Checks: ([0-9]+), Failures.*/\1/p')
    bad=$(sum core 's/.*Checks: [0-9]+, Failures: ([0-9]+), Errors.*/\1/p')
    bad=$((bad + $(sum core 's/.*Checks: [0-9]+, Failures: [0-9]+, Errors: ([0-9]+).*/\1/p')))
    count core "$code" $((checks - bad)) "$bad"
}

step_corpora() {
    ctest --test-dir build/dev -R '^corpus/' -V >"$logs/corpora.log" 2>&1
    local code=$?
    count corpora "$code" "$(sum corpora 's/.*: ([0-9]+) inputs$/\1/p')"
}

# From the last line of a log that ends in "N passed, N failed, N skipped".
count_last_line() {
    local step=$1 code=$2 last
    last=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$logs/$step.log" | tail -n 1)
    # shellcheck disable=SC2046
    count "$step" "$code" $(tr -cd '0-9 ' <<<"$last")
}

# A shop for the specs alone: they empty it. No jobs worker takes their events away.
start_shop() { # folder
    local try port
    for try in 1 2 3; do
        port=$((20000 + RANDOM % 20000))
        build/dev/moontill dev --no-demo --var "$1/var" --listen "127.0.0.1:$port" \
            --set server.workers=1 --set server.jobs_workers=0 >"$1/out" 2>&1 &
        shop_pid=$!
        for ((i = 0; i < 600; ++i)); do
            ! grep -q '^ready ' "$1/out" || return 0
            kill -0 "$shop_pid" 2>/dev/null || break
            sleep 0.1
        done
        kill "$shop_pid" 2>/dev/null
        wait "$shop_pid"
    done
    cat "$1/out"
    return 1
}

step_lua() {
    local folder code=1
    folder=$(mktemp -d)
    chmod 711 "$folder" # the database runs as a user of its own
    {
        start_shop "$folder" &&
            timeout 600 build/dev/moontill spec --var "$folder/var" --set "log.file=$folder/log" \
                tests/lua plugins
        code=$?
        kill "$shop_pid" 2>/dev/null
        wait "$shop_pid"
    } >"$logs/lua.log" 2>&1
    rm -rf "$folder"
    count_last_line lua "$code"
}

step_flow() {
    local files=()
    shopt -s nullglob
    files=(tests/flow/*.test.mjs)
    [ ${#files[@]} -gt 0 ] || return 0
    # one file at a time: each starts servers of its own
    for file in "${files[@]}"; do
        echo "# $file"
        timeout 600 node --test --test-reporter=tap "$file" || touch "$logs/flow.broke"
    done >"$logs/flow.log" 2>&1
    local code=0
    [ ! -e "$logs/flow.broke" ] || code=1
    rm -f "$logs/flow.broke"
    count flow "$code" "$(sum flow 's/^# pass ([0-9]+)$/\1/p')" \
        $(($(sum flow 's/^# fail ([0-9]+)$/\1/p') + $(sum flow 's/^# cancelled ([0-9]+)$/\1/p'))) \
        $(($(sum flow 's/^# skipped ([0-9]+)$/\1/p') + $(sum flow 's/^# todo ([0-9]+)$/\1/p')))
}

steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(lint core corpora lua flow)
# what could be built is tested, even where something else could not
if step_deps; then
    step_build
    for step in "${steps[@]}"; do
        "step_$step"
    done
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
