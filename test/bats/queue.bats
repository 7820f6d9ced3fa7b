#!/usr/bin/env bats
# cx-queue against a stand-in for a node: hostile, busy, dying.

load common
load fake

setup_file() {
    make_certs
}

setup() {
    write_config
}

messages() {
    jq -nc --argjson count "$1" 'range($count) | {receiver: "echo", message_id: "m-\(.)", content: .}'
}

# ---- one message

@test "send: the message goes out with an id of its own and the answer is printed" {
    start_fake '{"POST /api/v1/messages": {status: 202, json: {message_id: "x", status: "accepted", duplicate: false}}}'

    run --separate-stderr cx-queue send --to echo --content '{"a":1}'

    assert_success
    assert_json .status accepted
    validate_schema cx-queue-send
    run jq -r .body "$FAKE/requests"
    assert_json '.receiver, .content.a' $'echo\n1'
    assert_json '.message_id | test("^[0-9A-Z]{26}$")' true
}

@test "send: a lost answer is asked for again under the same id" {
    start_fake '{"POST /api/v1/messages": [{drop: true}, {status: 202, json: {message_id: "x", status: "accepted", duplicate: true}}]}'

    run --separate-stderr cx-queue send --to echo --timeout 10s

    assert_success
    assert_equal "$(jq -rs 'map(.body | fromjson | .message_id) | unique | length' "$FAKE/requests")" 1
    assert_equal "$(requests 'POST /api/v1/messages')" 2
}

@test "send: without a --timeout a lost answer is an error that names the id" {
    start_fake '{"POST /api/v1/messages": {drop: true}}'

    run --separate-stderr cx-queue send --to echo --id my-id

    assert_error unavailable
    [[ $(jq -r .error.hint <<<"$stderr") == *"--id my-id"* ]]
}

@test "send: a full queue is tried again after the node's Retry-After" {
    start_fake '{"POST /api/v1/messages": [
        {status: 503, headers: {"Retry-After": "1"}, json: {error: {code: "busy", message: "full", exit: 75}}},
        {status: 202, json: {message_id: "x", status: "accepted"}}]}'

    run --separate-stderr cx-queue send --to echo --timeout 10s

    assert_success
    assert_equal "$(requests 'POST /api/v1/messages')" 2
}

@test "send: a queue that stays full is an error when --timeout is over" {
    start_fake '{"POST /api/v1/messages": {status: 503, headers: {"Retry-After": "1"},
        json: {error: {code: "busy", message: "the queue of echo is full", exit: 75}}}}'

    run --separate-stderr cx-queue send --to echo --timeout 500ms

    assert_error busy
}

@test "send: a draining node is an error at once" {
    start_fake '{"POST /api/v1/messages": {status: 503, json: {error: {code: "draining", message: "node-1 is draining", exit: 75}}}}'

    run --separate-stderr cx-queue send --to echo

    assert_error draining
    assert_equal "$(requests 'POST /api/v1/messages')" 1
}

@test "send: while it waits for a draining node it says for whom, and its name once" {
    start_fake '{"POST /api/v1/messages": {status: 503, headers: {"Retry-After": "1"},
        json: {error: {code: "draining", message: "node-1 is draining: new disk", exit: 75}}}}'

    run --separate-stderr cx-queue send --to echo --node node-1 --timeout 3s

    assert_error draining
    [[ $(jq -r '.remark // empty' <<<"$stderr" | head -n 1) == *"node-1 is draining: new disk"* ]]
    [[ $stderr != *"node-1: node-1"* ]]
}

@test "send: interrupted, it names the id with which to send again, and the status that the shell sees" {
    start_fake '{"POST /api/v1/messages": {hang: true}}'
    start_daemon send env --default-signal=INT cx-queue send --to echo
    wait_until 10 test -s "$FAKE/requests"

    stop_daemon send INT

    assert_equal "$daemon_status" 130
    output=$(tail -n 1 "$BATS_TEST_TMPDIR/send.log")
    validate_schema cx-error
    assert_json '.error | [.code, .exit]' '["interrupted",130]'
    [[ $(jq -r .error.hint <<<"$output") == *"--id $(jq -r '.body | fromjson | .message_id' "$FAKE/requests")"* ]]
}

@test "send --wait: done is a yes, failed and not yet done are a no" {
    start_fake '{"POST /api/v1/messages": [
        {json: {message_id: "x", status: "done", reply: {n: 1}, latency_ms: 2}},
        {json: {message_id: "x", status: "failed", reply: "no", latency_ms: 2}},
        {status: 202, json: {message_id: "x", status: "accepted", duplicate: false}}]}'

    run --separate-stderr cx-queue send --to echo --wait 2s
    assert_success
    assert_json .reply.n 1
    run --separate-stderr cx-queue send --to echo --wait 2s
    assert_failure 1
    assert_json .status failed
    run --separate-stderr cx-queue send --to echo --wait 2s
    assert_failure 1
    assert_equal "$(jq -rs '.[0].query' "$FAKE/requests")" "wait=2000ms"
}

@test "send: content that is no JSON is refused before anything is sent" {
    start_fake '{}'

    run --separate-stderr cx-queue send --to echo --content 'plain text'
    assert_error malformed
    run --separate-stderr cx-queue send
    assert_error usage
    run --separate-stderr cx-queue send --to echo --id '../x'
    assert_error invalid
    assert_equal "$(requests 'POST /api/v1/messages')" 0
}

@test "send --dry-run: shows the message and sends nothing" {
    start_fake '{}'

    run --separate-stderr cx-queue send --to echo --content 1 --dry-run

    assert_success
    assert_json '.message.receiver, .dry_run' $'echo\ntrue'
    assert_equal "$(requests 'POST /api/v1/messages')" 0
}

# ---- in bulk

@test "send -: every line has its result, in order, over batches of 1000" {
    start_fake '{"POST /api/v1/messages": {bulk: {}}}'

    run --separate-stderr cx-queue send - < <(messages 2500)

    assert_success
    validate_schema --lines cx-queue-send-bulk
    assert_equal "$(jq -rs 'map(.message_id) == [range(2500) | "m-\(.)"]' <<<"$output")" true
    assert_equal "$(requests 'POST /api/v1/messages')" 3
    assert_equal "$(jq -s 'map(.body | split("\n") | length - 1) | max' "$FAKE/requests")" 1000
}

@test "send -: an answer that is lost is asked for again and nothing is doubled" {
    start_fake '{"POST /api/v1/messages": {bulk: {drop: 2}}}'

    run --separate-stderr cx-queue send - --timeout 20s < <(messages 1500)

    assert_success
    assert_equal "$(jq -rs 'map(select(.status == "accepted")) | length' <<<"$output")" 1500
    assert_equal "$(sort "$FAKE/accepted" | uniq -d | wc -l)" 0
}

@test "send -: without an answer the ids are reported as unacknowledged" {
    start_fake '{"POST /api/v1/messages": [{bulk: {}}, {drop: true}]}'

    run --separate-stderr cx-queue send - < <(messages 1200)

    assert_failure 1
    assert_equal "$(jq -rs 'map(select(.status == "accepted")) | length' <<<"$output")" 1000
    assert_equal "$(jq -rs 'map(select(.status == "unacknowledged")) | length' <<<"$output")" 200
    validate_schema --lines cx-queue-send-bulk
}

@test "send -: only messages for a full queue are sent again" {
    start_fake '{"POST /api/v1/messages": {bulk: {busy: ["echo", 1]}}}'

    run --separate-stderr cx-queue send - <<'END'
{"receiver":"echo","message_id":"a"}
{"receiver":"other","message_id":"b"}
{"receiver":"echo","message_id":"c"}
END

    assert_success
    assert_equal "$(jq -r .message_id <<<"$output" | paste -sd,)" a,b,c
    assert_equal "$(paste -sd, "$FAKE/accepted")" b,a,c
    assert_equal "$(requests 'POST /api/v1/messages')" 2
}

@test "send -: bad lines and unknown receivers fail at their place, the others go" {
    start_fake '{"POST /api/v1/messages": {bulk: {unknown: ["nobody"]}}}'

    run --separate-stderr cx-queue send - --to echo < <(
        echo '{"message_id":"a"}'
        echo '{"message_id":'
        echo '{"receiver":"nobody","message_id":"b"}'
        printf '{"message_id":"long","content":"%s"}\n' "$(head -c 600000 /dev/zero | tr '\0' x)"
        echo
        printf '{"message_id":"c"}'
    )

    assert_failure 1
    assert_equal "$(jq -r '.status + (.error.code // "")' <<<"$output" | paste -sd,)" \
        accepted,refusedmalformed,refusednot_found,refusedtoo_large,accepted
    assert_equal "$(paste -sd, "$FAKE/accepted")" a,c
    validate_schema --lines cx-queue-send-bulk
    # By the line of stdin, whatever was sent before it.
    run --separate-stderr cx-queue send - --to echo < <(
        messages 1500
        echo
        echo '{"message_id":'
        echo 7
    )
    assert_equal "$(jq -r 'select(.status == "refused").error.message | split(":")[0]' <<<"$output" | paste -sd,)" \
        "line 1502,line 1503"
}

@test "send -: a writer that pauses is not kept waiting for a full batch" {
    start_fake '{"POST /api/v1/messages": {bulk: {}}}'
    mkfifo "$BATS_TEST_TMPDIR/pipe"
    cx-queue send - <"$BATS_TEST_TMPDIR/pipe" >"$BATS_TEST_TMPDIR/results" &
    exec 6>"$BATS_TEST_TMPDIR/pipe"

    messages 1 >&6
    wait_until 5 grep -q m-0 "$BATS_TEST_TMPDIR/results"

    exec 6>&-
    wait $!
}

@test "send -: an answer about other messages is not believed" {
    start_fake '{"POST /api/v1/messages": {text: "{\"message_id\":\"other\",\"status\":\"accepted\"}\n"}}'

    run --separate-stderr cx-queue send - < <(messages 1)

    assert_failure 76
    assert_json .status unacknowledged
}

@test "send -: who may not send is told once, as an error" {
    start_fake '{"POST /api/v1/messages": {status: 403, json: {error: {code: "permission", message: "ann is a viewer", exit: 77}}}}'

    run --separate-stderr cx-queue send - < <(messages 3)

    assert_failure 77
    assert_equal "$(requests 'POST /api/v1/messages')" 1
}

@test "send -: nothing on stdin is nothing to do" {
    start_fake '{}'

    run --separate-stderr cx-queue send - </dev/null

    assert_success
    assert_output ""
}

# ---- queues

@test "stats: what waits, and the sum" {
    start_fake '{"GET /api/v1/queues": {json: {queues: [
        {agent: "echo", queued: 2, in_flight: 1, oldest_seconds: 0.5, done: 7, failed: 0}], total: {queued: 2, in_flight: 1}}}}'

    run --separate-stderr cx-queue stats

    assert_success
    assert_json '.total.queued, .queues[0].node_id' $'2\nnode-1'
    validate_schema cx-queue-stats
}

@test "drain: waits until nothing is queued or in work" {
    start_fake '{"GET /api/v1/queues": [
        {json: {queues: [{agent: "echo", queued: 2, in_flight: 1}]}},
        {json: {queues: [{agent: "echo", queued: 0, in_flight: 1}]}},
        {json: {queues: [{agent: "echo", queued: 0, in_flight: 0}]}}]}'

    run --separate-stderr cx-queue drain --timeout 10s

    assert_success
    assert_json '.drained, .remaining' $'true\n0'
    validate_schema cx-queue-drain
}

@test "drain: what is left at the deadline is a no that names the queue" {
    start_fake '{"GET /api/v1/queues": {json: {queues: [
        {agent: "stuck", queued: 2, in_flight: 1}, {agent: "echo", queued: 9, in_flight: 0}]}}}'

    run --separate-stderr cx-queue drain --agent stuck --timeout 300ms

    assert_failure 1
    assert_json '.remaining, .queues[0].agent' $'3\nstuck'
    validate_schema cx-queue-drain
}

@test "drain: a hostile count neither overflows nor ends the wait" {
    start_fake '{"GET /api/v1/queues": {text: "{\"queues\":[{\"agent\":\"a\",\"queued\":9223372036854775807,\"in_flight\":9223372036854775807}]}"}}'

    run --separate-stderr cx-queue drain --timeout 100ms

    assert_failure 1
}

# ---- messages

@test "messages: list, show, stats and retry" {
    start_fake '{
        "GET /api/v1/messages": {json: {messages: [{message_id: "m-1", state: "failed", receiver: "echo", attempts: 5}], count: 1}},
        "GET /api/v1/messages/m-1": {json: {message_id: "m-1", state: "failed", receiver: "echo", hops: []}},
        "GET /api/v1/messages/stats": {json: {queued: 1, in_flight: 0, done: 2, failed: 1, accepted_total: 4, lost: 0}},
        "POST /api/v1/messages/m-1/retry": {json: {changed: true}}}'

    run --separate-stderr cx-queue messages list --state failed --conversation c-1 --limit 5
    assert_success
    assert_json '.count, .messages[0].message_id' $'1\nm-1'
    validate_schema cx-queue-messages-list
    assert_equal "$(jq -r .query "$FAKE/requests")" 'limit=5&state=failed&conversation=c-1'

    run --separate-stderr cx-queue messages show m-1
    assert_json .state failed
    validate_schema cx-queue-messages-show

    run --separate-stderr cx-queue messages stats
    assert_json '.accepted_total, .nodes[0].node_id' $'4\nnode-1'
    validate_schema cx-queue-messages-stats

    run --separate-stderr cx-queue messages retry m-1 --dry-run
    assert_json .changed true
    assert_equal "$(requests 'POST /api/v1/messages/m-1/retry')" 0
    run --separate-stderr cx-queue messages retry --failed
    assert_success
    assert_json '.changed, .count' $'true\n1'
    validate_schema cx-queue-messages-retry
    run --separate-stderr cx-queue messages show m-2
    assert_error not_found
}
