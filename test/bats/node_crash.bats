#!/usr/bin/env bats
# cx-node run: killed with -9 in the middle of its work. What it acknowledged is worked on, once, in order.

load common
load fake
load node

setup_file() {
    make_pki
}

setup() {
    write_node 1
}

# acknowledge FILE: sends the lines in batches of 200 until each is accepted, whatever dies meanwhile.
# The ids that were acknowledged go to $BATS_TEST_TMPDIR/acknowledged, in order.
acknowledge() {
    local batch
    split -l 200 -a 4 "$1" "$BATS_TEST_TMPDIR/batch-"
    for batch in "$BATS_TEST_TMPDIR"/batch-*; do
        until send_lines "$batch" 2>/dev/null >"$batch.answer" &&
            [[ $(jq -s 'map(select(.status == "accepted")) | length' "$batch.answer") == "$(wc -l <"$batch")" ]]; do
            jq -r 'select(.status == "accepted").message_id' "$batch.answer" 2>/dev/null \
                >>"$BATS_TEST_TMPDIR/acknowledged" || true
            ((SECONDS < deadline)) || return 1
        done
        jq -r .message_id "$batch.answer" >>"$BATS_TEST_TMPDIR/acknowledged"
    done
}

# kills NUMBER: as often, -9 and a new start, at moments that the answers decide.
kills() {
    local number processed
    for ((number = 1; number <= $1; number++)); do
        processed=$(figure /api/v1/messages/stats .processed_total)
        has_worked_on() { (($(figure /api/v1/messages/stats .processed_total) > processed + 100)); }
        wait_until 30 has_worked_on
        stop_daemon node-1 KILL
        start_node 1
    done
}

@test "thousands in bulk while it is killed: all worked on, none twice, in order" {
    deadline=$((SECONDS + 120))
    count=${CX_CRASH_MESSAGES:-3000}
    printf 'queue_max: 100000\n' >"$BATS_TEST_TMPDIR/extra"
    write_node 1 'queue_max: 100000'
    start_node 1
    deploy counter
    jq -nc "range($count) | {receiver: \"counter\", message_id: \"m-\\(.)\", content: .}" \
        >"$BATS_TEST_TMPDIR/all"

    acknowledge "$BATS_TEST_TMPDIR/all" &
    sender=$!
    kills 5
    wait "$sender"

    wait_until 60 figure_is /api/v1/queues .total.queued 0
    wait_until 10 figure_is /api/v1/queues .total.in_flight 0
    log=$BATS_TEST_TMPDIR/node-1/data/agents/counter/log.ndjson
    # The agent's own log: each message once, as often as there are messages, in the order they were sent.
    assert_equal "$(wc -l <"$log")" "$count"
    assert_equal "$(jq -r .message_id "$log" | sort -u | wc -l)" "$count"
    diff <(jq -r .message_id "$log") <(jq -r .message_id "$BATS_TEST_TMPDIR/all")
    assert_equal "$(sort -u "$BATS_TEST_TMPDIR/acknowledged" | wc -l)" "$count"
    run api vic GET /api/v1/messages/stats
    assert_json '[.done, .failed, .lost] | @csv' "$count,0,0"
}

@test "in flight at the kill: delivered again under its id, as attempt 2; done is not" {
    start_node 1
    deploy slow '{"command":["slow"],"limits":{"in_flight":1}}'
    send_message '{"receiver":"slow","message_id":"first","content":{"sleep_ms":1}}' 5s
    send_message '{"receiver":"slow","message_id":"long","content":{"sleep_ms":2000}}'
    wait_until 5 figure_is /api/v1/messages/long .state in_flight
    stop_daemon node-1 KILL
    start_node 1
    wait_until 10 figure_is /api/v1/messages/long '"\(.state) \(.attempts)"' 'done 2'
    figure_is /api/v1/messages/first '"\(.state) \(.attempts)"' 'done 1'
}

prepare_deploy() {
    end_daemons
    rm -rf "$BATS_TEST_TMPDIR/node-1/data"
}

# The node under strace deploys an agent; killed at a step, the reader asks a healthy one what is left.
run_deploy() {
    local pid
    "${crash[@]}" cx-node run --config "$BATS_TEST_TMPDIR/node-1/config.yaml" \
        2>>"$BATS_TEST_TMPDIR/crashed.log" &
    pid=$!
    until answers_health 1 || ! is_running $pid; do sleep 0.05; done
    deploy counter >"$BATS_TEST_TMPDIR/deployed" 2>/dev/null || true
    kill -TERM $pid 2>/dev/null || true
    pkill -TERM -P $pid 2>/dev/null || true # strace passes no signal on
    wait $pid || true
    [[ $(jq -r .changed "$BATS_TEST_TMPDIR/deployed") != null ]]
}

check_deploy() {
    start_node 1
    local count
    count=$(figure /api/v1/agents .count)
    [[ $1 == crashed ]] || assert_equal "$count" 1
    ((count == 0)) || figure_is /api/v1/agents/counter .state running
    ((count == 1)) || assert_equal "$(jq -r .changed "$BATS_TEST_TMPDIR/deployed" 2>/dev/null)" ''
    stop_daemon node-1
}

@test "killed at every durable step of a deploy: deployed, or not at all" {
    CRASH_CALLS='fsync fdatasync'
    crash_at_every_step prepare_deploy run_deploy check_deploy
}
