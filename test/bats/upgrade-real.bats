#!/usr/bin/env bats
# rolling-upgrade over three real nodes, each with releases of its own, while 200 messages a second flow: what it
# does to them is read from the queues and from the ledger of the agents.
# shellcheck disable=SC2030,SC2031,SC2154 # each test is a subshell of its own

load common
load load

# The version of these sources, the next one, and the next one as it must not be.
setup_file() {
    export OLD NEW
    OLD=$(cx-node --version)
    OLD=${OLD##* }
    NEW=${OLD%.*}.$((${OLD##*.} + 1))
    release build --version "$OLD" --output "$BATS_FILE_TMPDIR/old.tar.zst" >/dev/null 2>"$BATS_FILE_TMPDIR/build.log"
    release build --version "$NEW" --output "$BATS_FILE_TMPDIR/new.tar.zst" >/dev/null 2>>"$BATS_FILE_TMPDIR/build.log"
    make_sick "$BATS_FILE_TMPDIR/sick"
}

# make_sick TREE: the next version, whose node does what the file $SICK says: it does not start, or it ends when the
# file says so.
make_sick() {
    mkdir -p "$1"
    tar -C "$1" --strip-components=1 --zstd -xf "$BATS_FILE_TMPDIR/new.tar.zst"
    rm "$1/SHA256SUMS"
    mkdir "$1/libexec"
    mv "$1/bin/cx-node" "$1/libexec/"
    cat >"$1/bin/cx-node" <<'NODE'
#!/bin/bash
real=$(dirname "$(dirname "$(readlink -f "$0")")")/libexec/cx-node
[[ ${1-} == run ]] || exec "$real" "$@"
[[ $(<"$SICK") != never ]] || exit 1
"$real" "$@" &
trap 'kill $!' TERM
until [[ $(<"$SICK") == now ]] || ! kill -0 $!; do
    sleep 0.1
done
kill -KILL $!
NODE
    chmod +x "$1/bin/cx-node"
}

setup() {
    dir=$BATS_TEST_TMPDIR/cluster
    export SICK=$BATS_TEST_TMPDIR/sick
    echo well >"$SICK"
    local-cluster up --nodes 3 --dir "$dir" --base "$CX_NETWORK" >"$BATS_TEST_TMPDIR/up"
    eval "$(local-cluster env node-1 --dir "$dir")"
    quick=(--canary-duration 2s --batch-delay 0s --backup-command none --yes)
}

teardown() {
    touch "$BATS_TEST_TMPDIR/load/stop" 2>/dev/null || true
    end_daemons
    local-cluster down --dir "$dir" --purge >"$BATS_TEST_TMPDIR/down" || true
}

# releases NEXT: every node has the old version and NEXT, runs the old one, and an agent that keeps a ledger.
releases() {
    local number node
    for number in 1 2 3; do
        node=node-$number
        local-cluster exec "$node" -- release install "$BATS_FILE_TMPDIR/old.tar.zst"
        local-cluster exec "$node" -- release install "$1"
        local-cluster exec "$node" -- release activate "$OLD" --restart
        jq --arg id "counter-$number" '.id = $id' "$CX_ROOT/share/agents/counter.json" >"$BATS_TEST_TMPDIR/agent"
        cx-agents deploy "$BATS_TEST_TMPDIR/agent" --node "$node"
    done >"$BATS_TEST_TMPDIR/releases"
}

# 200 messages a second, a third to each agent, each through another node than its own.
begin_load() {
    wait_until 20 cx-queue send --to counter-1 --node node-2 --wait 5s
    wait_until 20 cx-queue send --to counter-2 --node node-3 --wait 5s
    wait_until 20 cx-queue send --to counter-3 --node node-1 --wait 5s
    start_load "$BATS_TEST_TMPDIR/load" 67 load counter-1/node-2 counter-2/node-3 counter-3/node-1
    wait_until 20 has_lines "$BATS_TEST_TMPDIR/load/counter-1.results" 20
}

# Nothing failed, nothing was lost, nothing was done twice: by what the senders were told, the queues, and the ledgers.
none_failed() {
    loads_are_whole "$dir" '.failed == 0 and .lost == 0 and .twice == 0 and .sent > 300'
    run --separate-stderr cx-queue messages stats --all
    assert_json '[.failed, .lost]' '[0,0]'
}

versions() {
    cx-node status --all | jq -r '[.nodes[].version] | join(" ")'
}

# What runs, as the kernel has it, and the link of every node.
programs_are() {
    local path
    for path in "$dir"/node-*; do
        [[ $(readlink "$path/opt/current") == "$1" ]]
        [[ $(readlink -f "/proc/$(cut -d' ' -f1 "$path/run/gossip.pid")/exe") == "$path/opt/$1/bin/cx-gossip" ]]
        [[ $(readlink -f "/proc/$(cut -d' ' -f1 "$path/run/node.pid")/exe") == "$path/opt/$1/bin/cx-node" ]]
    done
}

states() {
    cx-drain status --all | jq -r '[.nodes[].state] | unique | join(" ")'
}

@test "upgrade: three nodes under 200 messages a second: none fails, none is lost, none is done twice" {
    long_test # the next one has it with interruptions, demo.bats without
    releases "$BATS_FILE_TMPDIR/new.tar.zst"
    begin_load
    run --separate-stderr rolling-upgrade --to "$NEW" "${quick[@]}"
    assert_success
    validate_schema --lines procedure-record
    programs_are "$NEW"
    assert_equal "$(versions) $(states)" "$NEW $NEW $NEW active"
    none_failed
}

# kill_run PID HOW: with all that it started, as when the host's memory is gone, or the script alone.
kill_run() {
    local pids
    if [[ $2 == all ]]; then
        kill -KILL -- "-$1"
    else
        # The lease's keeper has its id; the script is its child.
        pids=$(pgrep -P "$1" -f rolling-upgrade) || pids=$1
        # shellcheck disable=SC2086 # a list of process ids
        kill -KILL $pids
    fi 2>/dev/null || true
    wait "$1" 2>/dev/null || true
    wait_until 30 session_is_gone "$1"
}

session_is_gone() {
    [[ -z $(pgrep -s "$1" -r D,R,S,T) ]]
}

# read_lines COUNT: from the fifo open as $records, to the file out; fails when there are no more. What is polled
# for would be long past on a busy machine.
read_lines() {
    local line number
    for ((number = 0; number < $1; number++)); do
        IFS= read -r -t 120 -u "$records" line || return 1
        echo "$line" >>"$BATS_TEST_TMPDIR/out"
    done
}

@test "upgrade: killed with -9 at ten random moments it resumes and finishes; nothing fails, nothing is lost" {
    local number pid records command=(rolling-upgrade --to "$NEW" "${quick[@]}")
    mkfifo "$BATS_TEST_TMPDIR/records"
    RANDOM=${CX_TEST_SEED:-20251123}
    releases "$BATS_FILE_TMPDIR/new.tar.zst"
    begin_load
    for ((number = 1; number <= 10; number++)); do
        setsid "${command[@]}" >"$BATS_TEST_TMPDIR/records" 2>"$BATS_TEST_TMPDIR/err" 3>&- &
        pid=$!
        exec {records}<"$BATS_TEST_TMPDIR/records"
        read_lines $((2 + RANDOM % 7)) ||
            fail "$number: it ended: $(tail -n 2 "$BATS_TEST_TMPDIR/out" "$BATS_TEST_TMPDIR/err")"
        if ((number % 2)); then kill_run "$pid" all; else kill_run "$pid" script; fi
        echo "# killed after: $(tail -n 1 "$BATS_TEST_TMPDIR/out" | cut -c1-200)" >&3
        exec {records}<&-
        command=(rolling-upgrade --resume "${quick[@]}")
    done
    run --separate-stderr "${command[@]}"
    assert_success
    programs_are "$NEW"
    assert_equal "$(versions) $(states)" "$NEW $NEW $NEW active"
    # What is done was not done again: each node was restarted by one activation, unless that was cut off.
    assert_equal "$(rolling-upgrade --status | jq -r .state)" 'done'
    none_failed
}

# fall_sick: as soon as the canary is watched.
fall_sick() {
    wait_until 120 grep -q '"step":"monitor_canary_24h","status":"started"' "$BATS_TEST_TMPDIR/out"
    echo now >"$SICK"
}

@test "upgrade: a version that does not start, or dies under watch, goes back by itself; nothing is lost" {
    local kind pid
    releases "$BATS_FILE_TMPDIR/sick"
    begin_load
    for kind in never watched; do
        echo "$kind" >"$SICK"
        rolling-upgrade --to "$NEW" "${quick[@]}" --canary-duration 60s >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" 3>&- &
        pid=$!
        [[ $kind == never ]] || fall_sick
        wait "$pid" && fail "$kind: it succeeded"
        assert_equal "$(tail -n 1 "$BATS_TEST_TMPDIR/out" | jq -r .status)" rolled_back
        assert_equal "$(jq -rs '[.[] | select(.step == "drain_traffic" or .step == "drain_canary_traffic") | .node_id] | unique | length' \
            "$BATS_TEST_TMPDIR/out")" 1
        programs_are "$OLD"
        assert_equal "$(versions) $(states)" "$OLD $OLD $OLD active"
    done
    none_failed
}

# What an upgrade could have changed.
everything() {
    cx-node status --all | jq -c '[.nodes[] | {node_id, version, state, started_at}]'
    cat "$dir"/node-*/data/audit.log
    readlink "$dir"/node-*/opt/current
}

@test "upgrade: versions that don't go together, that a host does not have, or that can't read its data: refused, nothing is touched" {
    local version
    releases "$BATS_FILE_TMPDIR/new.tar.zst"
    everything >"$BATS_TEST_TMPDIR/before"
    for version in 1.0.0 "${OLD%%.*}.9.0" 0.0.0 "$OLD-rc1"; do
        run --separate-stderr rolling-upgrade --to "$version" "${quick[@]}"
        assert_error invalid
    done
    [[ ! -e $dir/node-1/log/runs ]]

    local-cluster exec node-3 -- release remove "$NEW" >/dev/null
    run --separate-stderr rolling-upgrade --to "$NEW" "${quick[@]}"
    assert_failure 1
    [[ $stderr == *node-3*"$NEW"* ]]
    assert_equal "$(jq -rs 'map(select(.status == "failed")) | .[0].phase' <<<"$output")" pre_upgrade_validation
    # Leases come and go; what nodes do to themselves and their agents does not.
    diff <(grep -v '"lease' "$BATS_TEST_TMPDIR/before") <(everything | grep -v '"lease')

    # A version that can't read what a node has stored stays out.
    local-cluster stop node-2 node --dir "$dir" >/dev/null
    sqlite3 "$dir/node-2/data/registry.db" 'PRAGMA user_version = 99'
    run --separate-stderr local-cluster exec node-2 -- release activate "$NEW"
    assert_error invalid
    [[ $stderr == *"registry.db has schema 99"* ]]
    assert_equal "$(readlink "$dir/node-2/opt/current")" "$OLD"
    run --separate-stderr local-cluster start node-2 node --dir "$dir"
    assert_error unavailable
    [[ $stderr == *registry.db* ]]
}
