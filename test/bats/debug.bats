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
    assert_json '.state, .node_id' $'queued\nnode-1'
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
