#!/usr/bin/env bats
# cx-agents, cx-queue and cx-health with a cx-node that runs.

load common
load real

setup_file() {
    make_real_certs
}

setup() {
    write_real_config
}

messages() {
    jq -nc --argjson count "$1" 'range($count) | {receiver: "noter", message_id: "m-\(.)", content: .}'
}

drained() {
    cx-queue drain --agent noter --timeout 1s
}

@test "10,000 messages in bulk while the node is killed: none is lost, doubled or out of order" {
    write_agent noter
    start_node
    deploy noter '{limits: {in_flight: 16}}'
    cx-queue send - --timeout 30s < <(messages 10000) >"$BATS_TEST_TMPDIR/results" &
    local sender=$!
    wait_until 10 grep -q m-999 "$BATS_TEST_TMPDIR/results"

    stop_daemon node KILL
    start_node
    wait "$sender"
    wait_until 60 drained

    assert_equal "$(jq -s 'map(select(.status == "accepted")) | length' "$BATS_TEST_TMPDIR/results")" 10000
    # The agent may see a message again after a crash, under its id: after dropping those, each came
    # once and in order.
    assert_equal "$(awk '!seen[$1]++ {print $2}' "$AGENT_LOG" | cmp - <(seq 0 9999) && echo same)" same
    assert_equal "$(cx-queue messages stats | jq .lost)" 0
}

@test "a message that is sent twice under one id is delivered once" {
    write_agent noter
    start_node
    deploy noter

    run --separate-stderr cx-queue send --to noter --id one --content 1 --wait 5s
    assert_success
    run --separate-stderr cx-queue send --to noter --id one --content 1 --wait 5s
    assert_success
    assert_json .status 'done'

    assert_equal "$(wc -l <"$AGENT_LOG")" 1
    validate_schema cx-queue-send
}

@test "what waits for a suspended agent is kept, drain says so, resume lets it go" {
    write_agent noter
    start_node
    deploy noter '{priority: "low"}'

    run --separate-stderr cx-agents suspend --priority low
    assert_success
    assert_json '.agents[0].state' suspended
    validate_schema cx-agents-suspend
    cx-queue send - < <(messages 3)
    run --separate-stderr cx-queue drain --timeout 300ms
    assert_failure 1
    assert_json .remaining 3
    run --separate-stderr cx-agents remove noter
    assert_error busy
    run --separate-stderr cx-agents resume --suspended
    assert_success
    validate_schema cx-agents-resume
    run --separate-stderr cx-queue drain --timeout 10s
    assert_success
    run --separate-stderr cx-agents remove noter
    assert_json .changed true
    run --separate-stderr cx-agents remove noter
    assert_json .changed false
}

@test "a full queue holds the sender back until there is room" {
    write_real_config 'queue_max: 100'
    write_agent noter
    start_node
    deploy noter

    run --separate-stderr cx-queue send - --timeout 30s < <(messages 500)

    assert_success
    wait_until 10 drained
    assert_equal "$(wc -l <"$AGENT_LOG")" 500
    assert_equal "$(awk '{print $2}' "$AGENT_LOG" | cmp - <(seq 0 499) && echo same)" same
}

@test "a slow agent is found and restarted, its message is delivered again" {
    write_agent noter
    start_node
    deploy noter
    cx-queue send --to noter --id slow --content '{"sleep": 2}'
    is_slow() { cx-agents slow --threshold 500ms | jq -e '.agents[0].id == "noter"'; }
    wait_until 5 is_slow

    run --separate-stderr cx-agents restart --slow-threshold 500ms

    assert_success
    assert_json '.agents[0].restarts' 1
    validate_schema cx-agents-restart
    wait_until 15 drained
    assert_equal "$(cx-queue messages show slow | jq .attempts)" 2
}

@test "a failed message is listed, and goes again by retry" {
    write_agent noter
    start_node
    deploy noter '{max_attempts: 1}'

    run --separate-stderr cx-queue send --to noter --id bad --content '"fail"' --wait 5s
    assert_failure 1
    assert_json .status failed
    run --separate-stderr cx-queue messages list --state failed
    assert_json '.messages[0].message_id' bad
    validate_schema cx-queue-messages-list
    run --separate-stderr cx-queue messages retry --failed
    assert_success
    assert_json .changed true
    wait_until 5 drained
    assert_equal "$(wc -l <"$AGENT_LOG")" 2
}

@test "a viewer may look and not change" {
    write_agent noter
    start_node
    deploy noter
    export CX_CERT_DIR=$CERTS/viewer

    run --separate-stderr cx-agents list
    assert_success
    run --separate-stderr deploy noter
    assert_error permission
    run --separate-stderr cx-queue send --to noter
    assert_error permission
    run --separate-stderr cx-agents suspend noter
    assert_error permission
}

@test "what every command prints of a real node is as its schema says" {
    write_agent noter
    start_node
    run --separate-stderr deploy noter
    validate_schema cx-agents-deploy
    run --separate-stderr cx-queue send --to noter --content 1 --wait 5s
    validate_schema cx-queue-send
    run --separate-stderr cx-agents list
    validate_schema cx-agents-list
    run --separate-stderr cx-agents count
    assert_json .count 1
    validate_schema cx-agents-count
    run --separate-stderr cx-agents show noter
    validate_schema cx-agents-show
    run --separate-stderr cx-agents slow --threshold 1ms
    validate_schema cx-agents-slow
    run --separate-stderr cx-queue stats
    validate_schema cx-queue-stats
    run --separate-stderr cx-queue messages stats
    validate_schema cx-queue-messages-stats
    run --separate-stderr cx-queue messages list
    validate_schema cx-queue-messages-list
    run --separate-stderr cx-queue messages show "$(jq -r '.messages[0].message_id' <<<"$output")"
    validate_schema cx-queue-messages-show
    run --separate-stderr cx-health node
    assert_json '.checks | map(select(.status == "unknown")) | length' 0
    validate_schema cx-health-node
    run --separate-stderr cx-health agents
    assert_success
    validate_schema cx-health-agents
    run --separate-stderr cx-health certs
    assert_success
    validate_schema cx-health-certs
}

@test "a table for people has the columns that fit" {
    write_agent noter
    start_node
    deploy noter

    run --separate-stderr cx-agents list --table

    assert_success
    assert_line --regexp '^ *ID +NODE_ID +STATE'
    refute_output --partial COMMAND
}
