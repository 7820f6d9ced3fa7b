#!/usr/bin/env bats
# cx-debug: the way of a message over several nodes, the state of all, where an agent's time goes.

load common
load fake
load node

setup_file() {
    make_pki
}

# start_nodes NUMBER…: the tools talk to node-1.
start_nodes() {
    nodes_up "$@"
    export CX_CONFIG=$BATS_TEST_TMPDIR/node-1/config.yaml
}

way() {
    jq -r '[.hops[] | "\(.node_id) \(.event)"] | join(", ")' <<<"$output"
}

@test "trace: a message that another node's agent answered, and what was sent in its course" {
    start_nodes 1 2 3
    on 1 deploy echo
    on 2 deploy counter
    on 3 send_message '{"receiver":"echo","message_id":"m","content":{"forward_to":"counter"}}' 10s
    NODE=2 wait_until 10 figure_is /api/v1/messages/m.fwd .state 'done'
    wait_until 10 figure_is /api/v1/messages/m.fwd '.hops[-1].event' forwarded

    run --separate-stderr cx-debug trace m
    assert_success
    validate_schema cx-debug-trace
    assert_equal "$(way)" 'node-3 forwarded, node-1 accepted, node-1 delivered, node-1 done'
    assert_json .state 'done'
    assert_json '[.conversation[] | [.message_id, .receiver, .node_id]]' '[["m.fwd","counter","node-2"]]'
    run --separate-stderr cx-debug trace m.fwd
    validate_schema cx-debug-trace
    assert_equal "$(way)" \
        'node-1 accepted, node-1 forwarded, node-2 accepted, node-2 delivered, node-2 done'
    assert_json .nodes '["node-1","node-2"]'
    assert_json '.hops[3].attempt' 1
    assert_json '[.copies[] | select(.handed_on) | .node_id]' '["node-1"]'
    assert_json '[.hops[].elapsed_ms] | . == sort' true
    assert_json '[.conversation[].message_id]' '[]'
}

@test "trace: a message that crossed two nodes and was handed over in a drain" {
    start_nodes 1 2
    on 1 deploy echo
    on 2 deploy counter
    wait_until 10 figure_is /api/v1/debug/state '.peers[0].agents' 1
    stop_daemon node-2 KILL
    gossip_status node-2 failed
    wait_until 5 figure_is /api/v1/debug/state '.peers[0].alive' false
    on 1 send_message '{"receiver":"echo","message_id":"m","content":{"forward_to":"counter"}}' 5s
    wait_until 5 figure_is /api/v1/queues '[.queues[] | select(.agent == "to:counter")] | length' 1

    # While the receiver's node is away, the trace says where the message waits.
    run --separate-stderr cx-debug trace m.fwd
    assert_success
    assert_json .node_id node-1
    assert_json '.state == "queued" or .state == "in_flight"' true # it is tried now and then
    assert_json '[.absent[].node_id]' '["node-2"]'

    run api olga POST /api/v1/node/drain --header 'Content-Type: application/json' --data '{}'
    assert_json .state draining
    start_node 2
    gossip_status node-2 alive
    NODE=2 wait_until 20 figure_is /api/v1/messages/m.fwd .state 'done'
    wait_until 10 figure_is /api/v1/node/drain .state drained

    run --separate-stderr cx-debug trace m.fwd
    assert_success
    assert_equal "$(way)" \
        'node-1 accepted, node-1 forwarded, node-2 accepted, node-2 delivered, node-2 done'
    assert_json '.state, .node_id' $'done\nnode-2'
}

# host_of AGENT NUMBER…: the node of these on which it runs, as a number.
host_of() {
    local number
    for number in "${@:2}"; do
        [[ $(on "$number" figure /api/v1/agents \
            ".agents[] | select(.id == \"$1\" and .state == \"running\" and .pid) | .id") != "$1" ]] ||
            echo "$number"
    done
}

runs_once() {
    [[ $(host_of "$@" | wc -l) == 1 ]]
}

@test "trace: a message queued for an agent of any node that a drain handed over to the next host" {
    local number host sender
    for number in 1 2 3; do
        write_node "$number"
        sed -i 's/^bootstrap_expect:.*/bootstrap_expect: 3/' "$BATS_TEST_TMPDIR/node-$number/config.yaml"
        with_gossip "$number"
        start_node "$number"
    done
    for number in 1 2 3; do
        NODE=$number wait_until 10 sees_alive 3
    done
    export CX_CONFIG=$BATS_TEST_TMPDIR/node-1/config.yaml
    on 1 deploy slow "$(jq -c '.placement = "any" | .limits.in_flight = 1' "$CX_ROOT/share/agents/slow.json")"
    wait_until 20 runs_once slow 1 2 3
    host=$(host_of slow 1 2 3)
    sender=$((host % 3 + 1))
    jq -nc 'range(10) | {receiver: "slow", message_id: "m-\(.)", content: {sleep_ms: 500}}' \
        >"$BATS_TEST_TMPDIR/lines"
    on "$sender" send_lines "$BATS_TEST_TMPDIR/lines" >/dev/null
    on "$host" api adam POST /api/v1/node/drain --data '{"mode":"drain"}' >/dev/null
    is_done() {
        cx-debug trace m-9 >"$BATS_TEST_TMPDIR/trace" && [[ $(jq -r .state "$BATS_TEST_TMPDIR/trace") == 'done' ]]
    }
    wait_until 40 is_done
    output=$(<"$BATS_TEST_TMPDIR/trace")
    validate_schema cx-debug-trace
    # The way of the last one: sender, first host, and the one that took over (which may be the sender).
    local next
    next=$(jq -r .node_id <<<"$output")
    [[ $next != "node-$host" ]]
    assert_equal "$(way)" "node-$sender forwarded, node-$host accepted, node-$host forwarded, \
$next accepted, $next delivered, $next done"
}

@test "trace: what nobody knows is not found, a node that hangs is named" {
    start_nodes 1 2
    run --separate-stderr cx-debug trace nothing
    assert_error not_found
    run --separate-stderr cx-debug trace ../nodes
    assert_error invalid
    on 1 deploy echo
    on 1 send_message '{"receiver":"echo","message_id":"m"}' 10s
    kill -STOP "$(pid_of node-2)"
    run --separate-stderr cx-debug trace m --timeout 1s
    kill -CONT "$(pid_of node-2)"
    assert_equal "$status" 1
    validate_schema cx-debug-trace
    assert_json '.state, .errors[0].node_id, .errors[0].error.code' $'done\nnode-2\ntimeout'
}

@test "dump: the whole state of one node, of the named one, of all; a part that is missing is said" {
    start_nodes 1 2
    on 2 deploy echo
    run --separate-stderr cx-debug dump
    assert_success
    validate_schema cx-debug-dump
    assert_json '[.nodes[].state.node.node_id]' '["node-1"]'
    run --separate-stderr cx-debug dump node-2
    assert_json '[.nodes[].state.agents[].id]' '["echo"]'
    kill -STOP "$(pid_of node-2)"
    run --separate-stderr cx-debug dump --all --timeout 1s
    kill -CONT "$(pid_of node-2)"
    assert_equal "$status" 1
    validate_schema cx-debug-dump
    assert_json '[.nodes[] | [.node_id, .queues.total.queued, .errors.queues.code]]' \
        '[["node-1",0,null],["node-2",null,"timeout"]]'
    run --separate-stderr cx-debug dump node-2 --all
    assert_error usage
}

# busy: an agent that computes all the time, with a child that waits.
deploy_busy() {
    cat >"$BATS_TEST_TMPDIR/busy" <<'END'
#!/bin/bash
sleep 1000 &
while :; do :; done
END
    chmod +x "$BATS_TEST_TMPDIR/busy"
    deploy busy "$(jq -nc --arg path "$BATS_TEST_TMPDIR/busy" '{command: [$path]}')"
    wait_until 10 figure_is /api/v1/agents/busy .state running
}

@test "profile: an agent that computes and its child that waits, by /proc alone" {
    start_nodes 1
    deploy_busy
    run --separate-stderr cx-debug profile busy --duration 2s --no-perf
    assert_success
    validate_schema cx-debug-profile
    assert_json '.cpu.percent > 5 and .samples > 10 and .memory.pss_bytes > 100000' true
    assert_json '.stacks[0].stack | startswith("busy;[running];busy")' true
    assert_json '[.threads[] | select(.comm == "sleep") | .samples.running]' '[0]'
    assert_json '[.threads[] | select(.comm == "sleep") | .samples.waiting > 10]' '[true]'
    assert_json '.sources.user | [.available, .source, .reason]' '[false,null,"--no-perf"]'
    assert_json .ended false

    run --separate-stderr cx-debug profile busy --duration 1s --no-perf --folded
    assert_success
    [[ ! $output =~ [^[:print:][:space:]] ]]
    ! grep -vE '^busy;\[(running|waiting|blocked|stopped)\];[^;]+(;.+)? [0-9]+$' <<<"$output" ||
        fail "not folded"
    grep -q 'sleep' <<<"$output"
}

@test "profile: the program's own stacks come from perf; without it that is said" {
    start_nodes 1
    deploy_busy
    run --separate-stderr cx-debug profile busy --duration 2s
    assert_success
    validate_schema cx-debug-profile
    if [[ $(jq .sources.user.available <<<"$output") == true ]]; then
        assert_json '.sources.user | .source == "perf" and .samples > 10' true
        # Frames below the program's name: only perf knows them.
        assert_json '[.stacks[] | select(.stack | startswith("busy;[running];busy;"))] | length > 0' true
    else
        assert_json '.sources.user.reason | length > 0' true
    fi
    # Without perf in the PATH.
    run --separate-stderr env PATH="$BATS_TEST_TMPDIR" "$CX_BUILD/cx-debug" profile busy --duration 500ms
    assert_success
    assert_json '.sources.user | [.available, .reason]' '[false,"perf is not installed"]'
    [[ -z $(find "${TMPDIR:-/tmp}" -maxdepth 1 -name 'cx-debug-*' -newer "$BATS_TEST_TMPDIR/busy" 2>/dev/null) ]]
}

@test "profile: elsewhere, without a process, unknown: a clear error" {
    start_nodes 1 2
    on 2 deploy echo
    on 1 deploy counter
    run --separate-stderr cx-debug profile echo --duration 1s
    assert_error unavailable
    [[ $stderr == *node-2* ]]
    run --separate-stderr cx-debug profile nobody
    assert_error not_found
    run --separate-stderr cx-debug profile echo --duration 20m
    assert_error usage

    # Another host's numbers: the process is not what the node says that it is.
    cat >"$BATS_TEST_TMPDIR/foreign.py" <<'END'
import http.server, json, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"id": "echo", "node_id": "node-2", "pid": int(sys.argv[3]), "state": "running"})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[4] + "/node.crt", sys.argv[4] + "/node.key")
server = http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
END
    local address port
    address=$(free_loopback) port=$(free_port)
    start_daemon foreign /usr/bin/python3 "$BATS_TEST_TMPDIR/foreign.py" "$address" "$port" $$ "$PKI/node-2"
    wait_until 10 listens "$address" "$port"
    run --separate-stderr cx-debug profile echo --node "$address:$port" --duration 1s
    assert_error unavailable
    [[ $stderr == *'not on this host'* ]]
}
