#!/bin/bash
# test.sh [STEP...] - everything that must hold, in one run: lints, core, corpora,
# Lua specs, doubles of providers, flows. Each step writes build/test-logs/STEP.log, which is shown when
# something in it failed. The last line is "N passed, N failed, N skipped".
# PRESET of the environment names what is built and tested (default: dev).
set -u
cd "$(dirname "$0")/.."

preset=${PRESET:-dev}
export MOONTILL=$PWD/build/$preset/moontill # for the flows

all_steps=(lint core corpora lua doubles flow)
steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=("${all_steps[@]}")
for step in "${steps[@]}"; do
    if [[ " ${all_steps[*]} " != *" $step "* ]]; then
        echo "test: $step: the steps are ${all_steps[*]}" >&2
        exit 2
    fi
done

logs=build/test-logs
shop_pid=
trap stop_shop EXIT
trap 'exit 130' INT TERM
passed=0
failed=0
skipped=0
broken=()
mkdir -p "$logs" || exit 1
rm -f "$logs"/*.log

# What failed, without what passed: of TAP a file's name and the blocks under "not ok"; of Check and the specs the
# lines that tell a failure. Where nothing of that is there the step broke otherwise, and its end is shown.
show_failures() { # log
    local found
    found=$(awk '
        /^# (Subtest|tests|suites|pass|fail|cancelled|skipped|todo|duration_ms)/ {next}
        /^# / {file = $0; next}
        /^ *not ok/ {if (file != "") print file; file = ""; inside = 1}
        inside {print}
        /^ *\.\.\.$/ {inside = 0}
        /^FAILED / {print; spec = 1; next}
        !/^  / {spec = 0}
        spec {print; next}
        !inside && (/:[FE]:[^:]*:/ || /\*\*\*(Failed|Timeout|Exception)/ || /^lint[-a-z]*: / ||
            /ERROR: AddressSanitizer|runtime error:|took more than/)' "$1" | cut -c1-600 | head -n 300)
    if [ -n "$found" ]; then
        echo "$found"
    else
        tail -n 200 "$1"
    fi
}

# Adds one step to the sum; what failed is shown at the end.
count() { # step, exit code, passed, failed, skipped
    local step=$1 code=$2 p=${3:-0} f=${4:-0} s=${5:-0}
    # a step that broke without counting a failure is a failure, and so is one that tested nothing
    [ "$code" -eq 0 ] || [ "$f" -gt 0 ] || f=1
    [ $((p + f + s)) -gt 0 ] || f=1
    passed=$((passed + p))
    failed=$((failed + f))
    skipped=$((skipped + s))
    printf '%-8s %4d s  %s passed, %s failed, %s skipped\n' "$step" $((SECONDS - began)) "$p" "$f" "$s"
    if [ "$f" -gt 0 ]; then
        broken+=("$step")
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

# What is tested, and what `make run` starts: each warns of other things.
step_build() {
    {
        scripts/build.sh "$preset" && scripts/build.sh release
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
    ctest --test-dir "build/$preset" -R '^core/' -V >"$logs/core.log" 2>&1
    local code=$?
    local checks bad
    checks=$(sum core 's/.*[0-9]+%: Checks: ([0-9]+), Failures.*/\1/p')
    bad=$(sum core 's/.*Checks: [0-9]+, Failures: ([0-9]+), Errors.*/\1/p')
    bad=$((bad + $(sum core 's/.*Checks: [0-9]+, Failures: [0-9]+, Errors: ([0-9]+).*/\1/p')))
    count core "$code" $((checks - bad)) "$bad"
}

step_corpora() {
    ctest --test-dir "build/$preset" -R '^corpus/' -V >"$logs/corpora.log" 2>&1
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
        port=$((20000 + RANDOM % 12000))
        "$MOONTILL" dev --no-demo --var "$1/var" --listen "127.0.0.1:$port" \
            --set server.workers=1 --set server.jobs_workers=0 >"$1/out" 2>&1 &
        shop_pid=$!
        for ((i = 0; i < 600; ++i)); do
            ! grep -q '^ready ' "$1/out" || return 0
            kill -0 "$shop_pid" 2>/dev/null || break
            sleep 0.1
        done
        stop_shop
    done
    cat "$1/out"
    return 1
}

stop_shop() {
    [ -n "$shop_pid" ] || return 0
    kill "$shop_pid" 2>/dev/null
    wait "$shop_pid" 2>/dev/null
    shop_pid=
}

step_lua() {
    local folder code=1
    folder=$(mktemp -d)
    chmod 711 "$folder" # the database runs as a user of its own
    {
        start_shop "$folder" &&
            timeout -k 10 600 "$MOONTILL" spec --var "$folder/var" --set "log.file=$folder/log" \
                tests/lua plugins
        code=$?
        stop_shop
    } >"$logs/lua.log" 2>&1
    [ "$code" -eq 0 ] || cat "$folder"/var/*/*.log >"$logs/lua-servers.log" 2>&1
    rm -rf "$folder"
    count_last_line lua "$code"
}

# What node's TAP in the log of a step says at the end of each file.
count_tap() { # step, exit code
    local step=$1
    count "$step" "$2" "$(sum "$step" 's/^# pass ([0-9]+)$/\1/p')" \
        $(($(sum "$step" 's/^# fail ([0-9]+)$/\1/p') + $(sum "$step" 's/^# cancelled ([0-9]+)$/\1/p'))) \
        $(($(sum "$step" 's/^# skipped ([0-9]+)$/\1/p') + $(sum "$step" 's/^# todo ([0-9]+)$/\1/p')))
}

# The doubles of providers against their specifications and official clients; no server of ours.
step_doubles() {
    timeout -k 10 300 node --test --test-reporter=tap tests/doubles/*.test.mjs </dev/null >"$logs/doubles.log" 2>&1
    count_tap doubles $?
}

# Flows that wait most of their time: for the time limits of others, for statements that are held. They take their turns
# beside the rest. Those that look at how the server holds out at its limits come when nothing runs beside them.
waiting=" order_states payment_stripe rabbitmq rabbitmq_tls sagas statements timing "
alone=" overload stuck monitoring zero_downtime clock "

# Each file starts servers of its own. Its log is build/test-logs/flow/NAME; one that ran out of time says so.
run_flows() { # file...
    local file name one began_file
    for file in "$@"; do
        began_file=$SECONDS
        name=$(basename "$file" .test.mjs)
        echo "# $file" >"$logs/flow/$name"
        timeout -k 10 300 node --test --test-reporter=tap "$file" </dev/null >>"$logs/flow/$name" 2>&1
        one=$?
        [ "$one" -ne 124 ] || echo "# $file took more than 300 s and was stopped" >>"$logs/flow/$name"
        [ "$one" -eq 0 ] || : >"$logs/flow/.failed"
        echo "  $name, $((SECONDS - began_file)) s$([ "$one" -eq 0 ] || echo ', failed')"
    done
}

step_flow() {
    local file name beside=() first=() last=()
    rm -rf "$logs/flow"
    mkdir -p "$logs/flow"
    for file in tests/flow/*.test.mjs tests/fault/*.test.mjs; do
        name=$(basename "$file" .test.mjs)
        if [[ $waiting == *" $name "* ]]; then
            beside+=("$file")
        elif [[ $alone == *" $name "* ]]; then
            last+=("$file")
        else
            first+=("$file")
        fi
    done
    run_flows "${beside[@]}" &
    run_flows "${first[@]}"
    wait $!
    run_flows "${last[@]}"
    cat "$logs"/flow/* >"$logs/flow.log"
    [ ! -e "$logs/flow/.failed" ]
    count_tap flow $?
}

run() {
    began=$SECONDS
    echo "$1 ..."
    "step_$1"
}

# what could be built is tested, even where something else could not
if run deps; then
    run build
    for step in "${steps[@]}"; do
        run "$step"
    done
fi

for step in ${broken[@]+"${broken[@]}"}; do
    echo "---- $logs/$step.log"
    show_failures "$logs/$step.log"
    echo "----"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
