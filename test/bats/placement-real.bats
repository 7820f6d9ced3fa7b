#!/usr/bin/env bats
# Agents with placement any in a cluster of real processes: gossip tells who is there.

load common

setup() {
    export CX_CLUSTER_DIR=$BATS_TEST_TMPDIR/cluster
    local-cluster up --base "$CX_NETWORK" --nodes 3
}

teardown() {
    local-cluster down --timeout 5
}

on() {
    local-cluster exec "$1" -- "${@:2}"
}

# copies: the running ones, by the lists of all nodes that answer from NODE.
copies() {
    on "$1" cx-agents list counter --all 2>/dev/null |
        jq -r '.agents[] | select(.state == "running") | .node_id' || true
}

one_copy() {
    [[ $(copies "$1") == node-? ]]
}

# one_copy_elsewhere NODE ASKED: one copy, and not on NODE.
one_copy_elsewhere() {
    one_copy "$2" && [[ $(copies "$2") != "$1" ]]
}

# What runs of the agent, by the folders that the processes were started in.
processes() {
    pgrep -f "python3 $CX_ROOT/share/agents/counter" | while read -r pid; do
        [[ $(readlink "/proc/$pid/cwd") != "$CX_CLUSTER_DIR"/* ]] || echo "$pid"
    done
}

other_than() {
    [[ $1 == node-1 ]] && echo node-2 || echo node-1
}

send() {
    on "$1" cx-queue send --to counter --id "$2" --wait 20s --timeout 60s
}

deploy_any() {
    jq '.placement = "any"' "$CX_ROOT/share/agents/counter.json" >"$BATS_TEST_TMPDIR/spec.json"
    on "$1" cx-agents deploy "$BATS_TEST_TMPDIR/spec.json" --wait 20s
}

@test "deployed anywhere it runs once; drained, stopped or killed its node loses it, and messages lose nothing" {
    local host asked
    run --separate-stderr deploy_any node-2
    assert_success
    assert_json '.changed, .agents[0].state' $'true\nrunning'
    validate_schema cx-agents-deploy
    wait_until 15 one_copy node-1
    host=$(copies node-1)
    asked=$(other_than "$host")
    run --separate-stderr on "$asked" cx-agents show counter
    assert_success
    assert_json '.node_id, .placement' "$host"$'\nany'
    validate_schema cx-agents-show
    run --separate-stderr send "$asked" one
    assert_json .status 'done'

    run --separate-stderr on "$asked" cx-drain enter "$host" --deadline 30s
    assert_success
    assert_json .state drained
    wait_until 15 one_copy_elsewhere "$host" "$asked"
    run --separate-stderr send "$asked" two
    assert_json .status 'done'
    on "$asked" cx-drain exit "$host"

    # Stopped: the lease is given back. Its node is the owner again first.
    wait_until 20 one_copy "$asked"
    host=$(copies "$asked")
    asked=$(other_than "$host")
    local-cluster stop "$host"
    wait_until 30 one_copy_elsewhere "$host" "$asked"
    run --separate-stderr send "$asked" three
    assert_json .status 'done'
    local-cluster start "$host"

    # Killed, the gossip agent too.
    wait_until 30 one_copy "$asked"
    host=$(copies "$asked")
    asked=$(other_than "$host")
    local-cluster kill "$host"
    wait_until 60 one_copy_elsewhere "$host" "$asked"
    run --separate-stderr send "$asked" four
    assert_json .status 'done'
    local-cluster start "$host"
    wait_until 30 one_copy "$asked"
    assert_equal "$(cat "$CX_CLUSTER_DIR"/node-*/data/agents/counter/log.ndjson |
        jq -r .message_id | sort | paste -sd' ')" "four one three two"
    assert_equal "$(processes | wc -l)" 1
    # Leases of agents are no locks of people.
    run on "$asked" cx-lock list
    assert_json '.leases | map(select(.name | startswith("agent"))) | length' 0
}

@test "a paused node's copy gets nothing from it, and is ended when it wakes" {
    local host asked
    deploy_any node-1
    wait_until 15 one_copy node-1
    host=$(copies node-1)
    asked=$(other_than "$host")
    send "$asked" before
    local-cluster pause "$host"
    wait_until 60 one_copy_elsewhere "$host" "$asked"
    run --separate-stderr send "$asked" while
    assert_json .status 'done'
    local-cluster resume "$host"
    one_process() { [[ $(processes | wc -l) == 1 ]]; }
    wait_until 20 one_process
    wait_until 30 one_copy "$asked"
    run --separate-stderr send "$asked" after
    assert_json .status 'done'
    assert_equal "$(cat "$CX_CLUSTER_DIR"/node-*/data/agents/counter/log.ndjson |
        jq -r .message_id | sort | paste -sd' ')" "after before while"
}

# watch_processes: counts the copies all the time; more than one at a time is a line of two.log.
watch_processes() {
    start_daemon two bash -c '
        while sleep 0.02; do
            count=0
            for pid in $(pgrep -f "python3 $CX_ROOT/share/agents/counter"); do
                [[ $(readlink "/proc/$pid/cwd") == "$CX_CLUSTER_DIR"/* ]] && count=$((count + 1))
            done
            ((count < 2)) || echo "$count copies"
        done'
}

@test "split: the minority stops its copy before the majority starts one, and heals to one" {
    ((EUID == 0)) || skip "nftables needs root"
    local host asked
    deploy_any node-1
    wait_until 15 one_copy node-1
    host=$(copies node-1)
    asked=$(other_than "$host")
    send "$asked" before
    watch_processes
    local-cluster partition "$host"
    wait_until 60 one_copy_elsewhere "$host" "$asked"
    run --separate-stderr send "$asked" while
    assert_json .status 'done'
    # In the minority nobody is served, and nothing runs.
    run --separate-stderr on "$host" cx-queue send --to counter --timeout 2s
    assert_error unavailable
    none_listed() { [[ $(on "$host" cx-agents list counter | jq '.agents | length') == 0 ]]; }
    wait_until 20 none_listed
    local-cluster heal
    healed() { [[ $(on "$host" cx-gossip status | jq -r .partition) == majority ]]; }
    wait_until 60 healed
    wait_until 60 one_copy "$asked"
    wait_until 30 one_copy "$host"
    run --separate-stderr send "$host" after
    assert_json .status 'done'
    stop_daemon two
    assert_equal "$(cat "$BATS_TEST_TMPDIR/two.log")" ""
    assert_equal "$(cat "$CX_CLUSTER_DIR"/node-*/data/agents/counter/log.ndjson |
        jq -r .message_id | sort | paste -sd' ')" "after before while"
}
