#!/usr/bin/env bats
# cx-drain: a node is taken out of service and back, in a cluster of three real nodes.

load common

setup() {
    dir=$BATS_TEST_TMPDIR/cluster
    local-cluster up --nodes 3 --dir "$dir" --base "$CX_NETWORK" >"$BATS_TEST_TMPDIR/up"
    eval "$(local-cluster env node-1 --dir "$dir")"
}

teardown() {
    local-cluster down --dir "$dir" --purge >"$BATS_TEST_TMPDIR/down" || true
    end_daemons
}

state_is() { [[ $(cx-drain status "$1" | jq -r .state) == "$2" ]]; }
tag_is() { [[ $(cx-gossip members --tag "state=$2" | jq -r '.members[].node_id') == "$1" ]]; }

# messages COUNT MS: so many for the agent slow, each of so long.
messages() {
    jq -nc --argjson n "$1" --argjson ms "$2" \
        'range($n) | {message_id: "m-\(.)", receiver: "slow", content: {sleep_ms: $ms}}'
}

@test "enter, exit: refuses new work, finishes what it has, suspends, comes back" {
    cx-agents deploy "$CX_ROOT/share/agents/slow.json" --node node-2
    messages 30 30 | cx-queue send - >"$BATS_TEST_TMPDIR/sent"
    [[ $(jq -r .status "$BATS_TEST_TMPDIR/sent" | sort | uniq -c | xargs) == '30 accepted' ]]

    run --separate-stderr cx-drain enter node-2 --reason 'new disk' --deadline 60s
    assert_success
    validate_schema cx-drain-enter
    assert_json .changed true
    assert_json .state drained
    assert_json .remaining 0
    assert_json .reason 'new disk'
    assert_json .suspended '["slow"]'
    [[ $(cx-queue messages stats --node node-2 | jq -c '[.done, .failed, .queued]') == '[30,0,0]' ]]
    wait_until 10 tag_is node-2 drained

    # Clients are told to go elsewhere, by name and reason; a second run changes nothing.
    run --separate-stderr cx-queue send --to slow --content 1 --timeout 1s
    [[ $status == 75 && $stderr == *node-2*'new disk'* ]]
    [[ $(cx-drain enter node-2 | jq .changed) == false ]]
    run --separate-stderr cx-drain status --all
    validate_schema cx-drain-status
    assert_json '[.nodes[].state]' '["active","drained","active"]'

    # The mark outlives the node's process, even killed.
    local-cluster kill node-2 node --dir "$dir"
    local-cluster start node-2 --dir "$dir"
    wait_until 20 state_is node-2 drained

    run --separate-stderr cx-drain exit node-2
    assert_success
    validate_schema cx-drain-exit
    assert_json .changed true
    assert_json .state active
    [[ $(jq -r '.health.checks | length' <<<"$output") -gt 0 ]]
    wait_until 10 tag_is node-2 active || wait_until 10 state_is node-2 active
    [[ $(cx-queue send --to slow --content 1 --wait 20s | jq -r .status) == 'done' ]]
    [[ $(cx-drain exit node-2 | jq .changed) == false ]]
}

@test "enter: a second node, a lost majority, a dry run: refused or nothing changed" {
    [[ $(cx-drain enter node-2 --dry-run | jq -c '[.changed, .state]') == '[true,"active"]' ]]
    state_is node-2 active
    cx-drain enter node-2 >"$BATS_TEST_TMPDIR/out"
    wait_until 10 tag_is node-2 drained
    run --separate-stderr cx-drain enter node-3
    assert_error busy
    [[ $stderr == *node-2* ]]
    run --separate-stderr cx-drain enter node-2 --mode maintenance --allow fly
    assert_error invalid
    [[ $(jq -r .error.message <<<"$stderr") == "drain: node-2: "* ]] # its name once
    # One of no length would be one without an end; a plain drain has none at all.
    run --separate-stderr cx-drain enter node-3 --mode maintenance --duration 0s
    assert_error usage
    run --separate-stderr cx-drain enter node-3 --mode maintenance --duration soon
    assert_error usage
    run --separate-stderr cx-drain enter node-3 --duration 1h
    assert_error usage
    state_is node-3 active
    [[ $(cx-drain enter node-3 --force | jq -r .state) == drained ]]
    cx-drain exit node-3 >"$BATS_TEST_TMPDIR/out"
    cx-drain exit node-2 >"$BATS_TEST_TMPDIR/out"

    local-cluster kill node-3 --dir "$dir"
    one_failed() { [[ $(cx-gossip members --status failed | jq .count) == 1 ]]; }
    wait_until 20 one_failed
    run --separate-stderr cx-drain enter node-2
    assert_error no_majority
    state_is node-2 active
}

# Both at the same moment, again and again: one drains, the other is told who was first.
@test "enter: of two at once one drains and one is refused, again and again" {
    local round first second
    for ((round = 1; round <= ${CX_TEST_ROUNDS:-5}; round++)); do
        cx-drain enter node-2 --reason "round $round" >"$BATS_TEST_TMPDIR/2" 2>"$BATS_TEST_TMPDIR/2.err" &
        first=$!
        cx-drain enter node-3 --reason "round $round" >"$BATS_TEST_TMPDIR/3" 2>"$BATS_TEST_TMPDIR/3.err" &
        second=$!
        status=0 other=0
        wait "$first" || status=$?
        wait "$second" || other=$?
        echo "round $round: $status $other $(cat "$BATS_TEST_TMPDIR"/{2,3}.err)"
        [[ "$status $other" == @("0 75"|"75 0") ]]
        # The holder of the lease, or the node that is out already.
        cat "$BATS_TEST_TMPDIR"/{2,3}.err | jq -e '.error | .code == "busy"
            and (.message | test("held by .*cx-drain enter node-|node-[23] is drain"))' >/dev/null
        assert_equal "$(cx-drain status --all | jq -c '[.nodes[].state] | sort')" '["active","active","drained"]'
        cx-drain exit node-2 >"$BATS_TEST_TMPDIR/out"
        cx-drain exit node-3 >"$BATS_TEST_TMPDIR/out"
    done
    [[ $(cx-lock list | jq -c '[.leases[] | select(.name == "drain")]') == '[]' ]]
}

@test "enter: while another holds the lease it is refused with the holder's name; --force goes past" {
    cx-lock acquire drain --ttl 60s --reason 'a long look' --owner ann >"$BATS_TEST_TMPDIR/out"
    run --separate-stderr cx-drain enter node-2
    assert_error busy
    [[ $stderr == *ann*'a long look'* ]]
    state_is node-2 active
    [[ $(cx-drain enter node-2 --force | jq -r .state) == drained ]]
}

@test "enter: past its deadline it says what is left, and wait waits for the rest" {
    cx-agents deploy "$CX_ROOT/share/agents/slow.json" --node node-2
    messages 4 1500 | cx-queue send - >"$BATS_TEST_TMPDIR/sent"
    run --separate-stderr cx-drain enter node-2 --deadline 500ms
    assert_failure 1
    assert_json .state draining
    (($(jq .remaining <<<"$output") > 0))
    run --separate-stderr cx-drain wait node-2 --state drained --timeout 200ms
    assert_error timeout
    [[ $(cx-drain wait node-2 --state drained --timeout 60s | jq -r .state) == drained ]]
    [[ $(cx-queue messages stats --node node-2 | jq .done) == 4 ]]
}

@test "a node that hangs: --timeout and the deadline hold, and its state is as it was" {
    local started=$SECONDS command
    cx-agents deploy "$CX_ROOT/share/agents/slow.json" --node node-2
    local-cluster pause node-2 node --dir "$dir"
    for command in status enter exit; do
        run --separate-stderr cx-drain "$command" node-2 --timeout 300ms
        assert_error timeout
    done
    local-cluster resume node-2 node --dir "$dir"
    state_is node-2 active
    messages 1 3000 | cx-queue send - >"$BATS_TEST_TMPDIR/sent"
    cx-drain enter node-2 --deadline 2s 2>"$BATS_TEST_TMPDIR/late" &
    local drain_pid=$!
    wait_until 5 state_is node-2 draining
    local-cluster pause node-2 node --dir "$dir"
    wait "$drain_pid" || true
    local-cluster resume node-2 node --dir "$dir"
    [[ $(jq -r .error.code "$BATS_TEST_TMPDIR/late") == timeout ]]
    ((SECONDS - started < 15))
}

@test "maintenance: allows what its list says, others see it, and it ends by itself" {
    run --separate-stderr cx-drain enter node-3 --mode maintenance --duration 6s --allow restart,retry
    assert_success
    assert_json .state maintenance
    wait_until 5 tag_is node-3 maintenance
    run --separate-stderr cx-agents deploy "$CX_ROOT/share/agents/echo.json" --node node-3
    assert_error draining
    run --separate-stderr cx-drain enter node-3 --mode maintenance --allow restrat
    [[ $status == 0 && $(jq .changed <<<"$output") == false ]] || [[ $stderr == *restrat* ]]
    wait_until 20 state_is node-3 active
    cx-agents deploy "$CX_ROOT/share/agents/echo.json" --node node-3
    grep -q maintenance_over "$dir/node-3/data/audit.log"
}

@test "a viewer may look and not drain; the refusal is audited" {
    cx-ca issue --ca-dir "$dir/node-1/certs/ca" --operator vic --role viewer --output "$BATS_TEST_TMPDIR/vic"
    export CX_CERT_DIR=$BATS_TEST_TMPDIR/vic
    state_is node-2 active
    run --separate-stderr cx-drain enter node-2
    assert_error permission
    grep -q '"action":"drain"' "$dir/node-2/data/audit.log"
    state_is node-2 active
}
