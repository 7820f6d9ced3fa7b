#!/usr/bin/env bats
# cx-node run: several nodes, each with a stand-in for its gossip agent. Messages find their way.

load common
load fake
load node

setup_file() {
    make_pki
}

@test "a message reaches its agent from every node, and is known by its id there" {
    nodes_up 1 2 3
    on 2 deploy counter
    for number in 1 2 3; do
        run on $number send_message '{"receiver":"counter","message_id":"m-'$number'"}' 10s
        assert_json '.status, .reply.count' $'done\n'$number
    done
    run on 3 send_message '{"receiver":"counter","message_id":"m-1"}' 10s
    assert_json '.duplicate, .reply.count' $'true\n1'
    run on 2 api vic GET /api/v1/messages/m-1
    assert_json '[.hops[] | "\(.node_id) \(.event)"] | join(", ")' \
        'node-1 forwarded, node-2 accepted, node-2 delivered, node-2 done'
    assert_json .sender operator/olga
}

@test "an agent that was deployed a moment ago is found, one that was removed is not" {
    nodes_up 1 2
    on 2 deploy echo
    run on 1 send_message '{"receiver":"echo","content":1}' 10s
    assert_json .reply 1
    on 2 api adam DELETE /api/v1/agents/echo
    run on 1 send_message '{"receiver":"echo"}'
    assert_json .error.code not_found
    on 1 deploy echo
    run on 2 send_message '{"receiver":"echo","content":2}' 10s
    assert_json .reply 2
}

@test "many lines for agents of several nodes are answered in order" {
    nodes_up 1 2 3
    on 1 deploy a '{"command":["counter"]}'
    on 2 deploy b '{"command":["counter"]}'
    on 3 deploy c '{"command":["counter"]}'
    jq -nc 'range(300) | {receiver: (["a", "b", "c", "nobody"][. % 4]), message_id: "m-\(.)"}' \
        >"$BATS_TEST_TMPDIR/lines"
    run on 1 send_lines "$BATS_TEST_TMPDIR/lines"
    output=$(jq -s . <<<"$output")
    assert_json '[.[] | .message_id] == [range(300) | "m-\(.)"]' true
    assert_json '[.[] | select(.status == "accepted")] | length' 225
    assert_json '[.[] | select(.error.code == "not_found")] | length' 75
    for number in 1 2 3; do
        NODE=$number wait_until 20 figure_is /api/v1/messages/stats .processed_total 75
    done
}

@test "a capability is found on any node, and a conversation stays with its agent" {
    nodes_up 1 2 3
    on 2 deploy a '{"command":["counter"],"capabilities":["count"]}'
    on 3 deploy b '{"command":["counter"],"capabilities":["count"]}'
    wait_until 10 figure_is /api/v1/debug/state '[.peers[].agents] | add' 2
    jq -nc 'range(40) | {receiver: "capability:count", message_id: "m-\(.)", conversation_id: "c-\(. % 8)"}' \
        >"$BATS_TEST_TMPDIR/lines"
    run on 1 send_lines "$BATS_TEST_TMPDIR/lines"
    total() {
        local a b
        a=$(on 2 figure /api/v1/messages/stats .processed_total)
        b=$(on 3 figure /api/v1/messages/stats .processed_total)
        ((a + b == 40 && a % 5 == 0 && b % 5 == 0))
    }
    wait_until 20 total
}

@test "the host is away: 503, and an agent's message waits for it" {
    nodes_up 1 2
    on 1 deploy echo
    on 2 deploy counter
    wait_until 10 figure_is /api/v1/debug/state '.peers[0].agents' 1
    stop_daemon node-2 KILL
    gossip_status node-2 failed
    wait_until 5 figure_is /api/v1/debug/state '.peers[0].alive' false

    run on 1 send_message '{"receiver":"counter"}'
    assert_json .error.code unavailable
    assert_equal "$(http_status)" 503
    run on 1 send_message \
        '{"receiver":"echo","message_id":"m","content":{"forward_to":"counter"}}' 5s
    assert_json .status 'done'
    wait_until 5 figure_is /api/v1/queues '[.queues[] | select(.agent == "to:counter")] | length' 1

    stop_daemon node-1 KILL # and it survives that
    start_node 1
    start_node 2
    gossip_status node-2 alive
    NODE=2 wait_until 20 figure_is /api/v1/messages/m.fwd .state 'done'
    wait_until 5 figure_is /api/v1/messages/m.fwd '"\(.state) \(.hops[-1].event)"' 'done forwarded'
    run on 2 api vic GET /api/v1/messages/m.fwd
    assert_json '.reply.count, .sender' $'1\necho'
    assert_json '[.hops[] | "\(.node_id) \(.event)"] | join(", ")' \
        'node-1 accepted, node-1 forwarded, node-2 accepted, node-2 delivered, node-2 done'
}

@test "what a node hosts is away, not gone, while its gossip agent is up before it, and while it was not asked" {
    nodes_up 1 2
    on 2 deploy echo
    run on 1 send_message '{"receiver":"echo","content":1}' 10s
    assert_json .reply 1
    stop_daemon node-2 KILL
    local file=$BATS_TEST_TMPDIR/gossip/node-2.json
    jq 'del(.tags.api)' "$file" >"$file.new"
    mv "$file.new" "$file"
    wait_until 5 figure_is /api/v1/debug/state '.peers[0].alive' false
    run on 1 send_message '{"receiver":"echo"}'
    assert_json .error.code unavailable

    # Started again, it knows of nobody yet what he hosts.
    stop_daemon node-1 KILL
    start_node 1
    jq --arg api "$(<"$BATS_TEST_TMPDIR/node-2/address")" '.tags.api = $api | .status = "failed"' "$file" >"$file.new"
    mv "$file.new" "$file"
    wait_until 5 figure_is /api/v1/debug/state '.peers | length' 1
    run on 1 send_message '{"receiver":"echo"}'
    assert_json .error.code unavailable
    start_node 2
    gossip_status node-2 alive
    wait_until 10 figure_is /api/v1/debug/state '.peers[0].alive' true
    run on 1 send_message '{"receiver":"echo","content":2}' 10s
    assert_json .reply 2
    run on 1 send_message '{"receiver":"nobody"}'
    assert_json .error.code not_found
}

@test "a peer's word is not passed on: forwarded messages are for agents of ours" {
    nodes_up 1 2 3
    on 3 deploy echo
    wait_until 10 figure_is /api/v1/debug/state '[.peers[].agents] | add' 1
    run on 1 api node-2 POST /api/v1/messages --data '{"receiver":"echo"}'
    assert_json .error.code not_found
    run on 1 api olga POST /api/v1/messages --data '{"receiver":"echo","hops":[]}'
    assert_json .error.code invalid
}

@test "the gossip agent comes and goes, the node stays" {
    nodes_up 1 2
    run on 1 api vic GET /api/v1/cluster
    assert_json '[.count, .status.partition] | @csv' '2,"majority"'
    stop_daemon gossip-1 KILL
    wait_until 5 figure_is /api/v1/node .gossip.connected false
    on 2 deploy echo
    run on 1 send_message '{"receiver":"echo","content":1}' 10s # what is known stays known
    assert_json .reply 1
    rm -f "$BATS_TEST_TMPDIR/node-1/run/gossip.sock"
    # A new one knows nobody until it has joined.
    mv "$BATS_TEST_TMPDIR/gossip/node-2.json" "$BATS_TEST_TMPDIR/node-2.json"
    with_gossip 1
    wait_until 10 figure_is /api/v1/node .gossip.connected true
    wait_until 5 figure_is /api/v1/debug/state '.peers[0].alive' false
    run on 1 send_message '{"receiver":"echo","content":1}'
    assert_json .error.code unavailable
    mv "$BATS_TEST_TMPDIR/node-2.json" "$BATS_TEST_TMPDIR/gossip/node-2.json"
    wait_until 5 figure_is /api/v1/debug/state '.peers[0].alive' true
    run on 1 send_message '{"receiver":"echo","content":2}' 10s
    assert_json .reply 2
    file=$BATS_TEST_TMPDIR/gossip/node-1.json
    tag_is() { [[ $(jq -r ".tags.$1" "$file") == "$2" ]]; }
    wait_until 5 tag_is role node
    wait_until 5 tag_is agents 0
    on 1 deploy counter
    wait_until 5 tag_is agents 1
    wait_until 5 tag_is rev 1
    tag_is api "$(<"$BATS_TEST_TMPDIR/node-1/address")"
    tag_is state active
}
