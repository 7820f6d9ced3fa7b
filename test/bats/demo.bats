#!/usr/bin/env bats
# The tour that a newcomer takes first.

load common

setup() {
    export CX_CLUSTER_DIR=$BATS_TEST_TMPDIR/cluster CX_CLUSTER_BASE=$CX_NETWORK
}

teardown() {
    end_daemons
    [[ ! -e $CX_CLUSTER_DIR/cluster.json ]] || local-cluster down --timeout 5
    [[ -z $(processes) ]]
}

processes() {
    pgrep -f -- "--config $CX_CLUSTER_DIR" || true
}

no_processes() {
    [[ -z $(processes) ]]
}

log_has() {
    grep -q -- "$1" "$BATS_TEST_TMPDIR/demo.log"
}

@test "the demo shows every step and leaves three nodes alive; a second run works" {
    local round
    for round in first second; do
        run demo
        assert_success
        assert_output --partial "node-3  $CX_NETWORK.13:7946  failed"
        assert_output --partial "spiffe://local/node/node-1  valid"
        assert_output --partial "local-cluster down"
        run --separate-stderr local-cluster status
        assert_json '[.nodes[] | "\(.gossip.state) \(.node.state) \(.alive)"] | unique' '["running running 3"]'
    done
}

@test "Ctrl-C at any step leaves no process behind" {
    local words
    for words in "== 2" "node-3 .* running" "== 6" "local-cluster start node-3"; do
        : >"$BATS_TEST_TMPDIR/demo.log"
        start_daemon demo env --default-signal=INT demo
        wait_until 60 log_has "$words"
        [[ $words != "== 2" ]] || wait_until 30 processes_appear

        kill -INT -- "-$daemon_pid"
        wait_until 30 is_gone "$daemon_pid"

        no_processes
        log_has "stopping the cluster"
        stop_daemon demo
        assert_equal "$daemon_status" 130
    done
}

processes_appear() {
    [[ -n $(processes) ]]
}
