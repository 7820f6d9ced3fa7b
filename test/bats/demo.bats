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

# demo_ran [WORD]: what the demo prints when all went well.
demo_ran() {
    assert_success
    assert_output --partial "node-3  $CX_NETWORK.13:7946  failed"
    assert_output --partial "spiffe://local/node/node-1  valid"
    assert_output --partial "token_used"
    assert_output --partial "node-4  $CX_NETWORK.14:7946  alive"
    assert_output --partial "node-2: drained"
    assert_output --regexp "node-2-full-.* verified: true"
    assert_output --regexp "node-2-incremental-.* verified: true"
    assert_output --partial "local-cluster down"
    # Twice two agents, once under the drain and once under the upgrade.
    assert_equal "$(grep -cE '^  counter(-4)?: ([0-9]+) sent, \2 accepted, 0 failed, 0 lost, 0 done twice$' <<<"$output")" 4
}

# leaves_all_well: four nodes, of the version that the demo upgraded to, which is another one than what was built.
leaves_all_well() {
    run --separate-stderr local-cluster status
    assert_json '[.nodes[] | "\(.gossip.state) \(.node.state) \(.alive)"] | unique' '["running running 4"]'
    run --separate-stderr local-cluster exec node-1 -- cx-node status --all
    assert_json '[.nodes[].version] | unique | length' 1
    version=$(jq -r '.nodes[0].version' <<<"$output")
    [[ "cx-node $version" != "$(cx-node --version)" ]]
}

@test "the demo shows every step, loses no message, and leaves four nodes alive" {
    run demo
    demo_ran
    leaves_all_well
}

# That one begins anew where another ended early is in each round of the last test.
@test "a second run of the demo does the same" {
    local first
    long_test
    run demo
    leaves_all_well
    first=$version
    run demo
    demo_ran
    leaves_all_well
    assert_equal "$version" "$first"
}

@test "a cluster that the demo did not make is left alone" {
    local-cluster up --nodes 1 >"$BATS_TEST_TMPDIR/up"
    run demo
    assert_failure 73
    local-cluster status | jq -e '.nodes[0].node.state == "running"'
}

@test "Ctrl-C at any step leaves no process behind" {
    local words pid
    for words in "== 2" "local-cluster start node-3" "upgrade_canary"; do
        : >"$BATS_TEST_TMPDIR/demo.log"
        start_daemon demo env --default-signal=INT demo
        pid=$daemon_pid
        wait_until 120 log_has "$words"
        [[ $words != "== 2" ]] || wait_until 30 processes_appear

        kill -INT -- "-$pid"
        wait_until 30 is_gone "$pid"

        no_processes
        wait_until 10 session_is_gone "$pid"
        log_has "stopping the cluster"
        stop_daemon demo
        assert_equal "$daemon_status" 130
    done
}

# The daemons have sessions of their own; all else of the demo is in this one.
session_is_gone() {
    [[ -z $(pgrep -s "$1" -r D,R,S,T) ]]
}

processes_appear() {
    [[ -n $(processes) ]]
}
