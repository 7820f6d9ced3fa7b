#!/usr/bin/env bats
# Agents with placement any: one copy, on a node that works, and no message lost or done twice.

load common
load fake
load node

setup_file() {
    make_pki
}

# up NUMBER…: nodes of one cluster.
up() {
    local number
    for number; do
        write_node "$number" "bootstrap_expect: $#"
        sed -i '0,/^bootstrap_expect/{//d}' "$BATS_TEST_TMPDIR/node-$number/config.yaml"
        with_gossip "$number"
        start_node "$number"
    done
    for number; do
        NODE=$number wait_until 10 sees_alive $#
    done
}

# deploy_any AGENT [FIELDS]: the counter with placement any.
deploy_any() {
    api adam PUT "/api/v1/agents/$1" --data-binary \
        "$(jq -c --arg id "$1" '.id = $id | .placement = "any" | . + ('"${2:-{\}}"')' "$CX_ROOT/share/agents/counter.json")"
}

# host_of AGENT NUMBER…: the nodes of these on which it runs, by their own lists.
host_of() {
    local number agent=$1
    for number in "${@:2}"; do
        on "$number" figure /api/v1/agents \
            ".agents[] | select(.id == \"$agent\" and .state == \"running\" and .pid) | .node_id"
    done
}

runs_on() {
    [[ $(host_of "$1" 1 2 3) == "$2" ]]
}

runs_somewhere() {
    [[ $(host_of "$@") == node-? ]]
}

other_than() {
    local number
    for number in 1 2 3; do
        [[ node-$number == "$1" ]] || {
            echo "$number"
            return
        }
    done
}

@test "one copy runs, whichever node it was deployed on, and is known everywhere" {
    up 1 2 3
    run on 2 deploy_any counter
    assert_json .changed true
    wait_until 15 runs_somewhere counter 1 2 3
    run on 2 deploy_any counter
    assert_json .changed false
    for number in 1 2 3; do
        run on $number send_message '{"receiver":"counter","message_id":"m-'$number'"}' 10s
        assert_json '.status, .reply.count' $'done\n'$number
        run on $number api vic GET /api/v1/agents/counter
        assert_json '.state, .node_id' "running"$'\n'"$(host_of counter 1 2 3)"
    done
}

# ledger NUMBER AGENT: the ids of the messages that the agent's copy on this node has counted.
ledger() {
    local file=$BATS_TEST_TMPDIR/node-$1/data/agents/$2/log.ndjson
    [[ ! -e $file ]] || jq -r .message_id "$file"
}

ledgers() {
    local number
    for number in 1 2 3; do
        ledger "$number" "$1"
    done
}

# entered STATE
entered() {
    figure_is /api/v1/node/drain .state "$1"
}

@test "400 sends one after another while its node is drained, exited, killed with -9 and started again: none fails, none is lost, none is done twice" {
    up 1 2 3
    on 1 deploy_any counter
    wait_until 15 runs_somewhere counter 1 2 3
    local host other i
    host=$(host_of counter 1 2 3)
    other=$(other_than "$host")
    host=${host#node-}
    for i in {1..400}; do
        case $i in
            50) on "$host" api adam POST /api/v1/node/drain --data '{"mode":"drain"}' ;;
            150) on "$host" api adam POST /api/v1/node/resume ;;
            250) stop_daemon "node-$host" KILL ;;
            255) start_node "$host" ;;
        esac
        cx-queue send --config "$BATS_TEST_TMPDIR/node-$other/config.yaml" --to counter \
            --id "m-$i" --wait 20s --timeout 60s >"$BATS_TEST_TMPDIR/answer" 2>"$BATS_TEST_TMPDIR/error" ||
            {
                cat "$BATS_TEST_TMPDIR/answer" "$BATS_TEST_TMPDIR/error"
                false
            }
        jq -e '.status == "done"' "$BATS_TEST_TMPDIR/answer" >/dev/null
    done
    assert_equal "$(ledgers counter | sort | uniq -d)" ""
    assert_equal "$(ledgers counter | sort -u | wc -l)" 400
    assert_equal "$(ledgers counter | wc -l)" 400
}

@test "a drain hands over what is queued, in order, and says how much" {
    up 1 2 3
    on 1 deploy_any slow '{"command":["slow"],"limits":{"in_flight":1}}'
    wait_until 15 runs_somewhere slow 1 2 3
    local host other
    host=$(host_of slow 1 2 3)
    other=$(other_than "$host")
    host=${host#node-}
    jq -nc 'range(20) | {receiver: "slow", message_id: "m-\(.)", content: {sleep_ms: 300}}' \
        >"$BATS_TEST_TMPDIR/lines"
    run on "$other" send_lines "$BATS_TEST_TMPDIR/lines"
    assert_equal "$(jq -s 'map(select(.status == "accepted")) | length' <<<"$output")" 20
    on "$host" api adam POST /api/v1/node/drain --data '{"mode":"drain"}'
    NODE=$host wait_until 20 entered drained
    run on "$host" api adam GET /api/v1/node/drain
    assert_json '.handed_over > 10, .remaining' $'true\n0'
    assert_equal "$(($(jq .handed_over <<<"$output") + $(on "$host" figure /api/v1/messages/stats .processed_total)))" 20
    all_done() {
        local number sum=0
        for number in 1 2 3; do
            sum=$((sum + $(on "$number" figure /api/v1/messages/stats .processed_total)))
        done
        ((sum == 20))
    }
    wait_until 30 all_done
    assert_equal "$(host_of slow 1 2 3 | wc -l)" 1
    refute_on "$host" slow
    # What was handed over was done in the order in which it was sent.
    local now
    now=$(host_of slow 1 2 3)
    now=${now#node-}
    run on "$now" api vic GET '/api/v1/messages?agent=slow&limit=100'
    # A time at a whole second has no fraction: as text it would come after those that have one.
    assert_json '[.messages | sort_by(.done_at | if test("[.]") then . else sub("Z$"; ".000Z") end)[]
        | .message_id[2:] | tonumber] | . == sort' true
}

refute_on() {
    [[ -z $(host_of "$2" "$1") ]]
}

@test "what is queued goes along from node to node, also back to where it was first" {
    up 1 2 3
    on 1 deploy_any counter
    wait_until 15 runs_somewhere counter 1 2 3
    local first second i
    first=$(host_of counter 1 2 3)
    first=${first#node-}
    on "$first" api adam POST /api/v1/agents/counter/suspend
    NODE=$first wait_until 10 figure_is /api/v1/agents/counter .state suspended
    for i in 1 2 3; do
        run on "$first" send_message '{"receiver":"counter","message_id":"m-'$i'"}'
        assert_json .status accepted
    done
    on "$first" api adam POST /api/v1/node/drain --data '{"mode":"drain"}'
    NODE=$first wait_until 20 entered drained
    second=$(holder_of counter)
    [[ -n $second && $second != "$first" ]]
    NODE=$second wait_until 10 figure_is /api/v1/agents/counter .queued 3
    on "$second" api adam POST /api/v1/node/drain --data '{"mode":"drain"}'
    NODE=$second wait_until 20 entered drained
    on "$first" api adam POST /api/v1/node/resume
    waits_on_first() { [[ $(holder_of counter) == "$first" ]] && NODE=$first figure_is /api/v1/agents/counter .queued 3; }
    wait_until 20 waits_on_first
    on "$first" api adam POST /api/v1/agents/counter/resume
    counted_all() { [[ $(ledger "$first" counter | paste -sd' ') == "m-1 m-2 m-3" ]]; }
    wait_until 20 counted_all
    assert_equal "$(ledgers counter | wc -l)" 3
}

# holder_of AGENT: the number of the node whose own list has it, running or suspended.
holder_of() {
    local number
    for number in 1 2 3; do
        on "$number" figure /api/v1/agents ".agents[] | select(.id == \"$1\" and has(\"restarts\")) | .node_id[5:]"
    done
}

@test "the node dies: the agent comes up elsewhere, and its messages when the node is back" {
    up 1 2 3
    on 1 deploy_any counter
    wait_until 15 runs_somewhere counter 1 2 3
    local host other
    host=$(host_of counter 1 2 3)
    other=$(other_than "$host")
    host=${host#node-}
    on "$other" send_message '{"receiver":"counter","message_id":"before"}' 10s
    # Three that it has durably, and has not done.
    on "$host" api adam POST /api/v1/agents/counter/suspend
    NODE=$host wait_until 10 figure_is /api/v1/agents/counter .state suspended
    for i in 1 2 3; do
        run on "$other" send_message '{"receiver":"counter","message_id":"kept-'$i'"}'
        assert_json .status accepted
    done
    stop_daemon "node-$host" KILL
    on "$other" api adam POST /api/v1/agents/counter/resume
    alive() { [[ -n $(host_of counter "$@") ]]; }
    local rest=()
    for i in 1 2 3; do [[ $i == "$host" ]] || rest+=("$i"); done
    wait_until 30 alive "${rest[@]}"
    run on "$other" send_message '{"receiver":"counter","message_id":"after"}' 20s
    assert_json .status 'done'
    start_node "$host"
    counted() { [[ $(ledgers counter | sort | paste -sd' ') == "after before kept-1 kept-2 kept-3" ]]; }
    wait_until 30 counted
    wait_until 20 runs_somewhere counter 1 2 3
}

@test "a minority stops its copies before others start theirs" {
    up 1 2 3
    on 1 deploy_any counter
    wait_until 15 runs_somewhere counter 1 2 3
    local host pid
    host=$(host_of counter 1 2 3)
    host=${host#node-}
    pid=$(on "$host" figure /api/v1/agents/counter .pid)
    # The two others are gone: what is left is a minority.
    local rest=()
    for i in 1 2 3; do [[ $i == "$host" ]] || rest+=("$i"); done
    for i in "${rest[@]}"; do stop_daemon "node-$i" KILL; done
    process_gone() { [[ ! -e /proc/$pid ]]; }
    wait_until 15 process_gone
    refute_on "$host" counter
    run on "$host" send_message '{"receiver":"counter"}'
    assert_json .error.code unavailable
    assert_equal "$(http_status)" 503
    start_node "${rest[0]}"
    wait_until 30 runs_somewhere counter "$host" "${rest[0]}"
}

@test "a gossip agent that starts again, and knows nobody yet, moves nothing" {
    up 1 2 3
    on 1 deploy_any counter
    wait_until 15 runs_somewhere counter 1 2 3
    local host pid now
    host=$(host_of counter 1 2 3)
    host=${host#node-}
    pid=$(on "$host" figure /api/v1/agents/counter .pid)
    mkdir "$BATS_TEST_TMPDIR/away"
    for i in 1 2 3; do
        [[ $i == "$host" ]] || mv "$BATS_TEST_TMPDIR/gossip/node-$i.json" "$BATS_TEST_TMPDIR/away/"
    done
    NODE=$host wait_until 10 figure_is /api/v1/debug/state '[.peers[] | select(.alive)] | length' 0
    # Its lease lives for 6 s: one that ends 12 s from now was renewed all the time.
    now=$(date +%s)
    renewed() {
        on "$host" figure '/api/v1/leases?agents=1' \
            '[.leases[] | select(.name == "agent/counter").expires_at | sub("\\.[0-9]+"; "") | fromdate] | max' |
            jq -e ". > $now + 12" >/dev/null
    }
    wait_until 20 renewed
    assert_equal "$(on "$host" figure /api/v1/agents/counter .pid)" "$pid"
    mv "$BATS_TEST_TMPDIR"/away/* "$BATS_TEST_TMPDIR/gossip/"
    NODE=$host wait_until 10 figure_is /api/v1/debug/state '[.peers[] | select(.alive)] | length' 2
    run on "$host" send_message '{"receiver":"counter","message_id":"m"}' 5s
    assert_json .status 'done'
    assert_equal "$(on "$host" figure /api/v1/agents/counter .pid)" "$pid"
}

@test "suspended, resumed and removed through any node" {
    up 1 2 3
    on 1 deploy_any counter
    wait_until 15 runs_somewhere counter 1 2 3
    local other
    other=$(other_than "$(host_of counter 1 2 3)")
    run on "$other" api adam POST /api/v1/agents/counter/suspend
    assert_json .changed true
    NODE=$other wait_until 10 figure_is /api/v1/agents/counter .state suspended
    on "$other" send_message '{"receiver":"counter","message_id":"m"}'
    run on "$other" api adam DELETE /api/v1/agents/counter
    assert_json .error.code busy
    on "$other" api adam POST /api/v1/agents/counter/resume
    NODE=$other wait_until 10 figure_is /api/v1/agents/counter .state running
    wait_until 10 counted_one
    run on "$other" api adam DELETE /api/v1/agents/counter
    assert_json .changed true
    for number in 1 2 3; do
        NODE=$number wait_until 10 figure_is /api/v1/agents/counter .error.code not_found
    done
    run on "$other" api adam DELETE /api/v1/agents/counter
    assert_json .changed false
    # A node that was off at that time does not bring it back.
    stop_daemon "node-$other" KILL
    start_node "$other"
    wait_until 10 figure_is /api/v1/agents .count 0
    NODE=$other wait_until 10 figure_is /api/v1/agents .count 0
}

counted_one() {
    [[ $(ledgers counter) == m ]]
}

@test "a cluster of one runs it at once, also after a restart" {
    up 1
    on 1 deploy_any counter
    wait_until 5 runs_somewhere counter 1
    stop_daemon node-1 KILL
    start_node 1
    wait_until 5 runs_somewhere counter 1
    run send_message '{"receiver":"counter","message_id":"m"}' 5s
    assert_json .status 'done'
}

@test "pinned where it was placed, placed where it was pinned" {
    up 1 2 3
    on 1 deploy_any counter
    wait_until 15 runs_somewhere counter 1 2 3
    run on 2 deploy counter
    assert_json '.changed, .agent.placement' $'true\npinned'
    wait_until 15 runs_on counter node-2
    run on 3 send_message '{"receiver":"counter","message_id":"m"}' 10s
    assert_json .status 'done'
    on 3 deploy_any counter
    wait_until 15 runs_somewhere counter 1 2 3
    for number in 1 2 3; do
        NODE=$number wait_until 10 figure_is /api/v1/agents/counter .placement any
    done
}

@test "a message that a dead node may have goes to no other, and is done once when that node is back" {
    up 1 2 3
    write_ledger_agent
    on 1 deploy_any slow '{"command":["'"$BATS_TEST_TMPDIR"'/ledger"]}'
    wait_until 15 runs_somewhere slow 1 2 3
    local host other
    host=$(host_of slow 1 2 3)
    other=$(other_than "$host")
    host=${host#node-}
    start_daemon sender curl --silent --max-time 60 --insecure --cert "$PKI/olga/operator.crt" \
        --key "$PKI/olga/operator.key" --request POST --header 'Content-Type: application/json' \
        --data '{"receiver":"slow","message_id":"unknown","content":{"sleep_ms":5000}}' \
        "https://$(<"$BATS_TEST_TMPDIR/node-$other/address")/api/v1/messages?wait=30s"
    NODE=$host wait_until 10 figure_is /api/v1/messages/unknown .state in_flight
    stop_daemon "node-$host" KILL
    answered() { [[ -s $BATS_TEST_TMPDIR/sender.log ]]; }
    wait_until 10 answered
    assert_equal "$(jq -r .error.code "$BATS_TEST_TMPDIR/sender.log")" unavailable

    # The agent comes up elsewhere; what may be on the dead node waits for it, by its id.
    up_elsewhere() {
        run on "$other" send_message '{"receiver":"slow","message_id":"new"}' 5s
        [[ $(jq -r .status <<<"$output") == 'done' ]]
    }
    wait_until 30 up_elsewhere
    run on "$other" send_message '{"receiver":"slow","message_id":"unknown","content":{"sleep_ms":0}}' 5s
    assert_equal "$(http_status)" 503
    assert_equal "$(grep -c unknown "$BATS_TEST_TMPDIR/counted" || true)" 0

    start_node "$host"
    done_at_last() {
        run on "$other" send_message '{"receiver":"slow","message_id":"unknown","content":{"sleep_ms":0}}' 10s
        [[ $(jq -r .status <<<"$output") == 'done' ]]
    }
    wait_until 40 done_at_last
    assert_equal "$(grep -c unknown "$BATS_TEST_TMPDIR/counted")" 1
}

@test "an agent that goes and comes back takes its queue along both times, and nothing is done twice" {
    up 1 2 3
    write_ledger_agent
    on 1 deploy_any slow '{"command":["'"$BATS_TEST_TMPDIR"'/ledger"]}'
    wait_until 15 runs_somewhere slow 1 2 3
    local host
    host=$(host_of slow 1 2 3)
    host=${host#node-}
    jq -nc 'range(60) | {receiver: "slow", message_id: "m-\(.)", content: {sleep_ms: 150}}' \
        >"$BATS_TEST_TMPDIR/lines"
    run on "$host" send_lines "$BATS_TEST_TMPDIR/lines"
    assert_equal "$(jq -s 'map(select(.status == "accepted")) | length' <<<"$output")" 60
    on "$host" api adam POST /api/v1/node/drain --data '{"mode":"drain"}'
    NODE=$host wait_until 20 entered drained
    on "$host" api adam POST /api/v1/node/resume
    wait_until 20 runs_on slow "node-$host"
    counted_all() { (($(wc -l <"$BATS_TEST_TMPDIR/counted") >= 60)); }
    wait_until 40 counted_all
    assert_equal "$(sort "$BATS_TEST_TMPDIR/counted" | uniq -d)" ""
    assert_equal "$(cut -c3- "$BATS_TEST_TMPDIR/counted" | paste -sd' ')" "$(seq -s' ' 0 59)"
    for number in 1 2 3; do
        NODE=$number wait_until 10 figure_is /api/v1/node '.messages | .queued + .in_flight' 0
    done
    # Some came back to where they had been.
    run on "$host" api vic GET '/api/v1/messages?agent=slow&limit=100'
    assert_json '[.messages[] | select(.hops | map(.node_id) | unique | length > 1)] | length > 0' true
}

# write_ledger_agent: an agent whose copies on all nodes write into one file what they have done.
write_ledger_agent() {
    cat >"$BATS_TEST_TMPDIR/ledger" <<END
#!/usr/bin/python3
import json, sys, time
for line in sys.stdin:
    message = json.loads(line)
    time.sleep((message.get("content") or {}).get("sleep_ms", 0) / 1000)
    with open("$BATS_TEST_TMPDIR/counted", "a") as log:
        log.write(message["message_id"] + "\n")
    print(json.dumps({"in_reply_to": message["message_id"], "performative": "inform", "content": None}), flush=True)
END
    chmod +x "$BATS_TEST_TMPDIR/ledger"
    : >"$BATS_TEST_TMPDIR/counted"
}

@test "a node that ends while an agent is leaving it does not wait for what that has in flight" {
    up 1 2
    for number in 1 2; do
        echo 'drain_timeout: 1s' >>"$BATS_TEST_TMPDIR/node-$number/config.yaml"
        kill -HUP "$(pid_of "node-$number")"
        wait_until 10 logged "node-$number" '.event == "config_reloaded"'
    done
    on 1 deploy_any slow '{"command":["slow"],"limits":{"in_flight":1,"message_timeout":"3m"}}'
    wait_until 15 runs_somewhere slow 1 2
    local host
    host=$(host_of slow 1 2)
    host=${host#node-}
    on "$host" send_message '{"receiver":"slow","message_id":"m","content":{"sleep_ms":170000}}'
    NODE=$host wait_until 10 figure_is /api/v1/messages/m .state in_flight
    on "$host" api adam POST /api/v1/node/drain --data '{"mode":"drain"}'
    wait_until 10 logged "node-$host" '.event == "agent_leaves"'
    stop_daemon "node-$host" TERM 30
}
