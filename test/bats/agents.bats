#!/usr/bin/env bats
# cx-agents against a stand-in for a node.

load common
load fake

setup_file() {
    make_certs
}

setup() {
    write_config
}

# An agent's object, as a function for jq.
# shellcheck disable=SC2016 # its variables are jq's
AGENT='def agent($id; $more): {id: $id, node_id: "node-1", state: "running", priority: "normal",
    placement: "pinned", queued: 0, in_flight: 0, processed: 42, failed: 0, restarts: 0,
    latency_ms: {p50: 1, p99: 5}, cpu_percent: 0.1, rss_bytes: 1000,
    last_active: "2020-01-01T00:00:00Z", responsive: true, last_error: null} + $more;'

three_agents() {
    echo "$AGENT"'{agents: [agent("echo"; {}), agent("low"; {priority: "low"}),
        agent("stuck"; {in_flight: 1, oldest_in_flight_seconds: 90, last_active: "2020-01-01T00:00:00Z"})], count: 3}'
}

# ---- what cannot be asked

@test "without a config, the error says where one is looked for" {
    CX_CONFIG=$BATS_TEST_TMPDIR/none run --separate-stderr cx-agents list

    assert_error not_found
    [[ $stderr == *"cx-join init"* ]]
}

@test "without a certificate, the error says how to get one" {
    sed -i "s|^cert_dir:.*|cert_dir: $BATS_TEST_TMPDIR/none|" "$CX_CONFIG"

    run --separate-stderr cx-agents list

    assert_error not_found
    [[ $stderr == *"cx-ca issue"* ]]
}

@test "a node that is down is unavailable, and the error names it" {
    run --separate-stderr cx-agents list

    assert_error unavailable
    [[ $stderr == *node-1* ]]
}

@test "a node of another cluster is refused" {
    make_ca "$BATS_TEST_TMPDIR/ca" other
    make_cert "$BATS_TEST_TMPDIR/ca" "$BATS_TEST_TMPDIR/certs" node spiffe://other/node/node-1 node
    sed -i "s|^cluster:.*|cluster: other|; s|^cert_dir:.*|cert_dir: $BATS_TEST_TMPDIR/certs|" "$CX_CONFIG"
    start_fake '{"GET /api/v1/agents": {json: {agents: []}}}'

    run --separate-stderr cx-agents list

    assert_error cert_invalid
}

@test "another node at the address is refused" {
    sed -i 's|^node_id:.*|node_id: node-2|' "$CX_CONFIG"
    start_fake '{"GET /api/v1/agents": {json: {agents: []}}}'

    run --separate-stderr cx-agents list
    assert_error cert_invalid

    # By its address alone any node of the cluster will do.
    run --separate-stderr cx-agents list --node "$ADDRESS:$PORT"
    assert_success
}

@test "an expired certificate of ours is told as that" {
    mkdir "$BATS_TEST_TMPDIR/certs"
    cp "$CERTS"/node.* "$CERTS/ca.crt" "$BATS_TEST_TMPDIR/certs"
    make_cert "$CERTS/ca" "$BATS_TEST_TMPDIR/certs" operator spiffe://test/operator/ann admin 0
    export CX_CERT_DIR=$BATS_TEST_TMPDIR/certs
    start_fake '{"GET /api/v1/agents": {json: {agents: []}}}'
    is_expired() { ! openssl x509 -checkend 0 -noout -in "$CX_CERT_DIR/operator.crt"; }
    wait_until 5 is_expired

    run --separate-stderr cx-agents list

    assert_error cert_expired
}

@test "hostile answers are errors: no JSON, too large, hanging, garbage, an array" {
    start_fake '{"GET /api/v1/agents": {text: "<html>", type: "text/html"}}'
    run --separate-stderr cx-agents list
    assert_error malformed

    answers '{"GET /api/v1/agents": {huge: 200000000}}'
    run --separate-stderr cx-agents list
    assert_error too_large

    answers '{"GET /api/v1/agents": {hang: true}}'
    run --separate-stderr cx-agents list --timeout 300ms
    assert_error timeout

    answers '{"GET /api/v1/agents": {drop: true}}'
    run --separate-stderr cx-agents list
    assert_error unavailable

    answers '{"GET /api/v1/agents": {text: "[]"}}'
    run --separate-stderr cx-agents list
    assert_error protocol

    answers '{"GET /api/v1/agents": {status: 502, text: "bad gateway"}}'
    run --separate-stderr cx-agents list
    assert_failure
    [[ $stderr == *502* ]]
}

@test "an answer of the wrong shape does no harm" {
    start_fake '{"GET /api/v1/agents": {json: {agents: [7, null, "x", {id: []}, []], count: -1}},
        "GET /api/v1/node": {json: {agents: {total: -5, running: 1e300, max: "many"}}}}'

    run --separate-stderr cx-agents list
    assert_success
    run --separate-stderr cx-agents slow
    assert_success
    run --separate-stderr cx-agents count
    assert_success
    assert_json .count 0
    run --separate-stderr cx-agents suspend --priority low
    assert_success
    assert_json .count 0
}

# ---- looking

@test "list: all agents, and those in a state" {
    start_fake "{\"GET /api/v1/agents\": {json: $(jq -n "$(three_agents)")}}"

    run --separate-stderr cx-agents list
    assert_success
    assert_json .count 3
    validate_schema cx-agents-list
    run --separate-stderr cx-agents list --state failed
    assert_json .count 0
    run --separate-stderr cx-agents list --priority low
    assert_json '.agents[].id' low
    run --separate-stderr cx-agents list --state broken
    assert_error usage
}

@test "list: a node that does not answer is named beside those that do" {
    start_fake "{\"GET /api/v1/agents\": {json: $(jq -n "$(three_agents)")}}"

    run --separate-stderr cx-agents list - < <(
        jq -nc --arg addr "$ADDRESS:$PORT" '{node_id: "node-1", api_addr: $addr}, {node_id: "node-9", api_addr: "127.0.0.1:1"}'
    )

    assert_failure 1
    assert_json '.count, .errors[0].node_id, .errors[0].error.code' $'3\nnode-9\nunavailable'
    validate_schema cx-agents-list
}

@test "count: by state and node" {
    start_fake '{"GET /api/v1/node": {json: {node_id: "node-1", agents: {total: 3, running: 2, suspended: 1, failed: 0, starting: 0, stopped: 0, max: 10}}}}'

    run --separate-stderr cx-agents count

    assert_success
    assert_json '.count, .suspended, .nodes[0].max' $'3\n1\n10'
    validate_schema cx-agents-count
}

@test "show: one agent; an unknown one is not found" {
    start_fake "{\"GET /api/v1/agents/echo\": {json: $(jq -n "$AGENT agent(\"echo\"; {})")}}"

    run --separate-stderr cx-agents show echo
    assert_success
    assert_json .id echo
    validate_schema cx-agents-show
    run --separate-stderr cx-agents show nobody
    assert_error not_found
    run --separate-stderr cx-agents show ../node
    assert_error invalid
}

@test "slow: one that hangs is slow though its latency is fine" {
    start_fake "{\"GET /api/v1/agents\": {json: $(jq -n "$(three_agents)")}}"

    run --separate-stderr cx-agents slow --threshold 10s

    assert_success
    assert_json '.agents[].id' stuck
    assert_json '.agents[].slowness_ms' 90000
    validate_schema cx-agents-slow
}

# ---- changing

# start_with VERB STATE: a stand-in with three agents; VERB brings any of them to STATE, at the second
# look.
start_with() {
    start_fake "$(
        jq -n --arg verb "$1" --arg state "$2" "$AGENT"'
            def listed: [agent("echo"; {}), agent("low"; {priority: "low"}),
                agent("busy"; {in_flight: 1, oldest_in_flight_seconds: 90, state: "suspended"})];
            {"GET /api/v1/agents": {json: {agents: listed, count: 3}}}
            + (listed | map({
                "POST /api/v1/agents/\(.id)/\($verb)": {json: {changed: true, agent: (. + {state: "starting"})}},
                "GET /api/v1/agents/\(.id)": [{json: (. + {state: "starting"})}, {json: (. + {state: $state})}]
            } | to_entries) | add | map({(.key): .value}) | add)'
    )"
}

@test "suspend --priority: those agents and no others, and waits until they are" {
    start_with suspend suspended

    run --separate-stderr cx-agents suspend --priority low

    assert_success
    assert_json '.changed, (.agents | map(.id + "=" + .state))' $'true\n["low=suspended"]'
    validate_schema cx-agents-suspend
    assert_equal "$(requests 'POST /api/v1/agents/echo/suspend')" 0
}

@test "suspend --inactive-for: not one that has work" {
    start_with suspend suspended

    run --separate-stderr cx-agents suspend --inactive-for 1h --dry-run
    assert_success
    assert_json '.changed, .dry_run, (.agents | map(.id))' $'true\ntrue\n["echo","low"]'
    validate_schema cx-agents-suspend
    assert_equal "$(requests 'POST /api/v1/agents/echo/suspend')" 0
}

@test "restart --slow-threshold: only the slow ones" {
    start_with restart running

    run --separate-stderr cx-agents restart --slow-threshold 10s

    assert_success
    assert_json '.agents | map(.id)' '["busy"]'
    validate_schema cx-agents-restart
}

@test "resume: by name; without a selection it is a mistake" {
    start_with resume running

    run --separate-stderr cx-agents resume
    assert_error usage
    run --separate-stderr cx-agents resume nobody
    assert_error not_found
    run --separate-stderr cx-agents resume busy
    assert_success
    assert_json '.agents[0].state' running
    validate_schema cx-agents-resume
}

@test "an agent that does not come to the state in time is a no" {
    start_with restart starting

    run --separate-stderr cx-agents restart echo --wait 300ms

    assert_failure 1
    assert_json '.agents[0].state' starting
}

@test "deploy: waits until the agent runs; what failed is told" {
    start_fake "$(jq -n "$AGENT"'{
        "PUT /api/v1/agents/echo": {json: {changed: true, agent: agent("echo"; {state: "starting"}), revision: 2}},
        "GET /api/v1/agents/echo": [{json: agent("echo"; {state: "starting"})}, {json: agent("echo"; {})}],
        "PUT /api/v1/agents/bad": {json: {changed: true, agent: agent("bad"; {state: "failed", last_error: "no such file"})}},
        "PUT /api/v1/agents/odd": {status: 400, json: {error: {code: "invalid", message: "spec: unknown key comand", exit: 65}}}}')"
    echo '{"id": "echo", "command": ["cat"]}' >"$BATS_TEST_TMPDIR/echo.json"

    run --separate-stderr cx-agents deploy "$BATS_TEST_TMPDIR/echo.json"
    assert_success
    assert_json '.changed, .agents[0].state' $'true\nrunning'
    validate_schema cx-agents-deploy
    run --separate-stderr cx-agents deploy - <<<'{"id": "bad", "command": ["nonsense"]}'
    assert_failure 1
    assert_json '.agents[0].last_error' "no such file"
    run --separate-stderr cx-agents deploy - <<<'{"id": "odd", "comand": []}'
    assert_error invalid
    run --separate-stderr cx-agents deploy - <<<'{"command": []}'
    assert_error invalid
    run --separate-stderr cx-agents deploy "$BATS_TEST_TMPDIR/none.json"
    assert_error not_found
    run --separate-stderr cx-agents deploy - <<<'[{"id": "echo"}, {"id": "odd"}]'
    assert_failure 1
    assert_json '.count, .errors[0].id' $'1\nodd'
    validate_schema cx-agents-deploy
}

@test "deploy --dry-run: asks the node what would change" {
    start_fake "$(jq -n "$AGENT"'{"PUT /api/v1/agents/echo": {json: {changed: true, agent: agent("echo"; {state: "stopped"})}}}')"

    run --separate-stderr cx-agents deploy --dry-run - <<<'{"id": "echo", "command": ["cat"]}'

    assert_success
    assert_json .dry_run true
    assert_equal "$(jq -r .query "$FAKE/requests")" dry_run=1
}

@test "remove: an absent agent changes nothing, queued messages are in the way" {
    start_fake '{
        "DELETE /api/v1/agents/gone": {json: {changed: false}},
        "DELETE /api/v1/agents/echo": {json: {changed: true}},
        "DELETE /api/v1/agents/full": {status: 503, json: {error: {code: "busy", message: "7 messages are queued", exit: 75}}}}'

    run --separate-stderr cx-agents remove gone
    assert_success
    assert_json .changed false
    run --separate-stderr cx-agents remove echo gone
    assert_json '.changed, .count' $'true\n2'
    validate_schema cx-agents-remove
    run --separate-stderr cx-agents remove full
    assert_error busy
}
