#!/usr/bin/env bats
# The runbooks, each on its incident made for real, in one cluster of three nodes: it ends it, and no acknowledged
# message is lost; or it says that it can't. With nothing wrong it changes nothing.
# shellcheck disable=SC2030,SC2031,SC2154 # each test is a subshell of its own

load common
load runbooks

setup_file() {
    shared_cluster_up
}

teardown_file() {
    shared_cluster_down
}

setup() {
    use_cluster
    wait_until 30 well
}

teardown() {
    touch "$BATS_TEST_TMPDIR/load/stop" 2>/dev/null || true
    end_daemons
}

@test "on a healthy cluster a runbook changes nothing and says that nothing is wrong" {
    everything >"$BATS_TEST_TMPDIR/before"
    runbook nothing_wrong 0 node-failure node-2 --yes
    everything >"$BATS_TEST_TMPDIR/after"
    diff "$BATS_TEST_TMPDIR/before" "$BATS_TEST_TMPDIR/after"
    [[ ! -e $BATS_TEST_TMPDIR/incidents ]]
}

@test "node-failure: daemons killed with -9 run again, under load, and nothing acknowledged is lost" {
    begin_load
    local-cluster kill node-3 >/dev/null
    # Nobody to ask, and nobody said yes: it finds out what is to be done, and does nothing.
    runbook not_confirmed 75 node-failure node-3
    cause_is process_crashed
    assert_equal "$(jq -c .changes <<<"$incident")" '[]'
    run local-cluster status
    assert_json '.nodes[2].node.state' stopped

    runbook planned 0 node-failure node-3 --dry-run
    runbook ended 0 node-failure node-3 --yes
    cause_is process_crashed
    assert_equal "$(jq -c '[.messages.lost, .messages.before.nodes["node-3"].source, .unresolved]' <<<"$incident")" '[0,"disk",[]]'
    assert_equal "$(jq -c '[.changes[].step]' <<<"$incident")" '["restart"]'
    well
    load_is_whole
}

@test "node-failure: a node that hangs (SIGSTOP) is restarted; one that left in order is not" {
    local-cluster pause node-2 node >/dev/null
    runbook ended 0 node-failure node-2 --yes
    cause_is process_hung
    well

    local-cluster stop node-2 >/dev/null
    runbook not_ended 1 node-failure node-2 --yes
    cause_is stopped
    assert_equal "$(jq -c .changes <<<"$incident")" '[]'
    local-cluster start node-2 >/dev/null
}
