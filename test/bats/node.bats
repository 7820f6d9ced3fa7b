#!/usr/bin/env bats
# cx-node run: agents, messages, the API's door. One node, without a gossip agent.

load common
load fake
load node

setup_file() {
    make_pki
}

setup() {
    write_node 1
}

teardown() {
    end_daemons
    ! mountpoint -q "$BATS_TEST_TMPDIR/node-1/data" || umount "$BATS_TEST_TMPDIR/node-1/data"
}

# ---- messages

@test "a message is answered, kept, and the same id is not worked on twice" {
    start_node 1
    run deploy echo
    assert_json '.changed, .agent.state' $'true\nrunning'

    run send_message '{"receiver":"echo","message_id":"m-1","content":{"n":[1,"ä"]}}' 5s
    assert_json '.status, .reply.n[1], .duplicate' $'done\nä\nfalse'
    assert_equal "$(http_status)" 200
    validate_schema cx-queue-send

    run send_message '{"receiver":"echo","message_id":"m-1","content":"other"}'
    assert_json '.status, .reply.n[0], .duplicate' $'done\n1\ntrue'

    run api vic GET /api/v1/messages/m-1
    assert_json '.state, .attempts, .sender, .hops[-1].event' $'done\n1\noperator/olga\ndone'
    validate_schema cx-message
    run api vic GET /api/v1/messages/stats
    assert_json '[.accepted_total, .processed_total, .duplicates_total, .lost] | @csv' 1,1,1,0
}

@test "a message without wait is accepted at once, and is there after a restart" {
    start_node 1
    deploy slow
    run send_message '{"receiver":"slow","message_id":"m-1","content":{"sleep_ms":300}}'
    assert_json '.status' accepted
    assert_equal "$(http_status)" 202

    stop_daemon node-1 # SIGTERM lets it finish
    assert_equal "$daemon_status" 0
    start_node 1
    run api vic GET /api/v1/messages/m-1
    assert_json '.state, .reply.slept_ms' $'done\n300'
    figure_is /api/v1/agents '.agents[0].state' running
}

@test "many lines: each has its own result, in order" {
    start_node 1
    deploy echo
    cat >"$BATS_TEST_TMPDIR/lines" <<'END'
{"receiver":"echo","message_id":"a"}
{"receiver":"nobody","message_id":"b"}
not json

{"receiver":"echo","message_id":"c","surplus":1}
{"receiver":"echo","message_id":"d"}
{"receiver":"echo","message_id":"a"}
END
    run send_lines "$BATS_TEST_TMPDIR/lines"
    assert_equal "${#lines[@]}" 6
    output=$(jq -s . <<<"$output")
    assert_json 'map(.message_id) | @csv' '"a","b",,"c","d","a"'
    assert_json 'map(.status // .error.code) | join(" ")' \
        'accepted not_found malformed invalid accepted accepted'
    assert_json '.[5].duplicate' true
}

@test "more than 1000 lines, or content over 256 KiB, is refused" {
    start_node 1
    deploy echo
    jq -nc 'range(1001) | {receiver: "echo"}' >"$BATS_TEST_TMPDIR/lines"
    run send_lines "$BATS_TEST_TMPDIR/lines"
    assert_json .error.code too_large
    figure_is /api/v1/messages/stats .accepted_total 0

    jq -nc '{receiver: "echo", content: ("x" * 262143)}' >"$BATS_TEST_TMPDIR/lines"
    run send_lines "$BATS_TEST_TMPDIR/lines"
    assert_json .error.code too_large
}

@test "an agent's failure fails the message; retry queues it again" {
    start_node 1
    deploy echo
    run send_message '{"receiver":"echo","message_id":"f","content":{"fail":true}}' 5s
    assert_json '.status, .reply.error' $'failed\nasked to fail'

    run api olga POST /api/v1/messages/f/retry
    assert_json .changed true
    wait_until 5 figure_is /api/v1/messages/f '"\(.state) \(.attempts)"' 'failed 1'
    wait_until 5 figure_is /api/v1/messages/stats .failed_total 2
    run api vic GET '/api/v1/messages?state=failed&agent=echo'
    assert_json '.messages[0].message_id' f
    wait_until 5 audited '.action == "retry" and .target == "f" and .result == "ok"'
}

@test "a receiver by capability, and one that nobody is" {
    start_node 1
    deploy echo
    run send_message '{"receiver":"capability:echo","content":7}' 5s
    assert_json .reply 7
    run send_message '{"receiver":"capability:flying"}'
    assert_json .error.code not_found
    assert_equal "$(http_status)" 404
}

@test "an agent sends to another one" {
    start_node 1
    deploy echo
    deploy counter
    send_message '{"receiver":"echo","message_id":"m","content":{"forward_to":"counter","x":1}}' 5s
    wait_until 5 figure_is /api/v1/messages/m.fwd .state 'done'
    run api vic GET /api/v1/messages/m.fwd
    assert_json '.sender, .reply.count, .conversation_id' $'echo\n1\nm'
}

# ---- agents

@test "deploy: the same spec changes nothing, another one starts it anew, a bad one is refused" {
    start_node 1
    run deploy echo
    assert_json '[.changed, .revision] | @csv' true,1
    pid=$(jq .agent.pid <<<"$output")
    run deploy echo
    assert_json '[.changed, .revision] | @csv' false,1
    run deploy echo '{"command":["echo"],"priority":"low"}'
    assert_json '.changed, .agent.priority, .agent.state' $'true\nlow\nrunning'
    refute [ "$(jq .agent.pid <<<"$output")" = "$pid" ]
    run api vic GET /api/v1/agents/echo
    validate_schema cx-agent

    run deploy echo '{"command":["echo"],"prority":"low"}'
    assert_json '.error.code' invalid
    [[ $output == *prority* ]]
    run deploy ghost '{"command":["no-such-program"]}'
    assert_json '.error.code' not_found
    run deploy echo '{"command":["echo"],"priority":"normal"}' # dry run below changes nothing
    run api adam PUT '/api/v1/agents/new?dry_run=1' --data '{"command":["echo"]}'
    assert_json '[.changed, .dry_run] | @csv' true,true
    figure_is /api/v1/agents .count 1
}

@test "remove: refused while messages wait, unless forced; twice without harm" {
    start_node 1
    deploy slow
    send_message '{"receiver":"slow","message_id":"a","content":{"sleep_ms":60000}}'
    send_message '{"receiver":"slow","message_id":"b"}'
    run api adam DELETE /api/v1/agents/slow
    assert_json '.error.code' busy
    run api adam DELETE '/api/v1/agents/slow?force=1'
    assert_json .changed true
    run api vic GET /api/v1/messages/b
    assert_json .state failed
    run api vic GET /api/v1/messages/a
    assert_json .state failed
    run api adam DELETE /api/v1/agents/slow
    assert_json .changed false
    run send_message '{"receiver":"slow"}'
    assert_json .error.code not_found
    figure_is /api/v1/messages/stats .lost 0
}

@test "an agent that crashes is started again, and its message is tried again" {
    start_node 1
    deploy counter
    # Written, then dead before the answer: the second attempt finds it counted.
    run send_message '{"receiver":"counter","message_id":"m","content":{"crash_after":true}}' 10s
    assert_json '.status, .reply.count, .reply.duplicate' $'done\n1\ntrue'
    run api vic GET /api/v1/messages/m
    assert_json .attempts 2
    run api vic GET /api/v1/agents/counter
    assert_json '.restarts, .last_exit, .state' $'1\nexit 4\nrunning'
}

@test "a message that always crashes its agent fails after max_attempts, and the others go on" {
    start_node 1
    deploy echo '{"command":["echo"],"max_attempts":2}'
    run send_message '{"receiver":"echo","message_id":"bad","content":{"crash":true}}'
    run send_message '{"receiver":"echo","message_id":"good","content":1}' 20s
    assert_json .status 'done'
    run api vic GET /api/v1/messages/bad
    assert_json '.state, .attempts' $'failed\n2'
    assert_json '.error | test("exit 3")' true
}

@test "no answer within message_timeout: the agent is started anew, the message tried again" {
    start_node 1
    deploy slow '{"command":["slow"],"limits":{"message_timeout":"1s"},"max_attempts":2}'
    run send_message '{"receiver":"slow","message_id":"late","content":{"sleep_ms":60000}}' 20s
    assert_json .status failed
    assert_json '.error | test("message_timeout")' true
    run send_message '{"receiver":"slow","content":{"sleep_ms":1}}' 20s
    assert_json .status 'done'
}

@test "a program that can't run makes its agent failed, with the reason" {
    start_node 1
    printf '#!/no/such/interpreter\n' >"$BATS_TEST_TMPDIR/broken"
    chmod +x "$BATS_TEST_TMPDIR/broken"
    run deploy broken "$(jq -nc --arg c "$BATS_TEST_TMPDIR/broken" '{command: [$c]}')"
    assert_json '.agent.state' failed
    assert_json '.agent.last_exit | test("No such file")' true
}

@test "an agent that prints garbage or endless lines is bounded" {
    start_node 1
    cat >"$BATS_TEST_TMPDIR/noisy" <<'END'
#!/bin/bash
echo hello, I am no JSON
head -c 3000000 /dev/zero | tr '\0' x
echo
while read -r line; do
    echo '{"in_reply_to":"no-such-message"}'
    id=${line#*'"message_id":"'}
    echo "{\"in_reply_to\":\"${id%%\"*}\",\"content\":\"ok\"}"
done
END
    chmod +x "$BATS_TEST_TMPDIR/noisy"
    run deploy noisy "$(jq -nc --arg c "$BATS_TEST_TMPDIR/noisy" '{command: [$c]}')"
    run send_message '{"receiver":"noisy"}' 10s
    assert_json '.status, .reply' $'done\nok'
    wait_until 5 logged node-1 '.event == "agent_garbage"'
    wait_until 5 logged node-1 '.event == "reply_unknown"'
    figure_is /api/v1/agents/noisy .restarts 0
}

@test "suspend stops the process after its work, resume goes on; both survive a restart" {
    start_node 1
    deploy slow
    send_message '{"receiver":"slow","message_id":"a","content":{"sleep_ms":300}}'
    run api olga POST /api/v1/agents/slow/suspend
    assert_json '.changed, .agent.state, .agent.in_flight' $'true\nsuspended\n0'
    pid=$(jq .agent.pid <<<"$output")
    assert_equal "$(ps -o stat= -p "$pid" | cut -c1)" T
    run api olga POST /api/v1/agents/slow/suspend
    assert_json .changed false
    run api vic GET /api/v1/messages/a
    assert_json .state 'done'
    run send_message '{"receiver":"slow","message_id":"b"}' 300ms
    assert_json .status accepted

    stop_daemon node-1
    start_node 1
    figure_is /api/v1/agents/slow .state suspended
    run api olga POST /api/v1/agents/slow/resume
    assert_json '.changed, .agent.state' $'true\nrunning'
    wait_until 5 figure_is /api/v1/messages/b .state 'done'
}

@test "restart gives an agent a new process" {
    start_node 1
    deploy echo
    pid=$(figure /api/v1/agents/echo .pid)
    run api olga POST /api/v1/agents/echo/restart
    assert_json '.changed, .agent.state' $'true\nrunning'
    refute [ "$(jq .agent.pid <<<"$output")" = "$pid" ]
    wait_until 5 is_gone "$pid"
}

@test "agents have limits, their own folder, no new privileges and nothing of ours" {
    start_node 1
    cat >"$BATS_TEST_TMPDIR/look" <<'END'
#!/usr/bin/python3
import json, os, resource, sys
for line in sys.stdin:
    print(json.dumps({"in_reply_to": json.loads(line)["message_id"], "content": {
        "cwd": os.getcwd(),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "data": resource.getrlimit(resource.RLIMIT_DATA)[1],
        "privs": [l.split()[1] for l in open("/proc/self/status") if "NoNewPrivs" in l][0],
        "fds": sorted(os.listdir("/proc/self/fd")),  # the last one is the list's own
        "mark": os.environ["MARK"], "secret": os.environ.get("SECRET", "none")}}), flush=True)
END
    chmod +x "$BATS_TEST_TMPDIR/look"
    stop_daemon node-1
    SECRET=ours start_node 1
    run deploy look "$(jq -nc --arg c "$BATS_TEST_TMPDIR/look" \
        '{command: [$c], env: {MARK: "theirs"}, limits: {open_files: 32, memory_bytes: 104857600}}')"
    run send_message '{"receiver":"look"}' 10s
    output=$(jq .reply <<<"$output")
    assert_json .cwd "$BATS_TEST_TMPDIR/node-1/data/agents/look"
    assert_json '.files, .data, .privs, .mark, .secret' $'32\n104857600\n1\ntheirs\nnone'
    assert_json '.fds | join(" ")' '0 1 2 3'
}

@test "when the node is killed its agents and all that they started are gone soon" {
    start_node 1
    cat >"$BATS_TEST_TMPDIR/parent" <<'END'
#!/bin/bash
sleep 1000 </dev/null >/dev/null 2>&1 &
echo $! >child
while read -r line; do :; done
END
    chmod +x "$BATS_TEST_TMPDIR/parent"
    deploy parent "$(jq -nc --arg c "$BATS_TEST_TMPDIR/parent" '{command: [$c]}')"
    pid=$(figure /api/v1/agents/parent .pid)
    child_file=$BATS_TEST_TMPDIR/node-1/data/agents/parent/child
    wait_until 5 test -s "$child_file"
    child=$(<"$child_file")

    stop_daemon node-1 KILL
    wait_until 5 is_gone "$pid"
    start_node 1 # ends what the dead node's agents left
    wait_until 5 is_gone "$child"
    wait_until 5 logged node-1 '.event == "orphans_killed"'

    wait_until 5 test -s "$child_file"
    child=$(<"$child_file")
    stop_daemon node-1
    wait_until 5 is_gone "$child"
}

# ---- who may

@test "a viewer reads, an operator sends, only an admin deploys; refusals are audited" {
    start_node 1
    run api vic PUT /api/v1/agents/echo --data @"$CX_ROOT/share/agents/echo.json"
    assert_json '.error.code, .error.exit' $'permission\n77'
    assert_equal "$(http_status)" 403
    wait_until 5 audited '.who == "operator/vic" and .action == "deploy" and .result == "refused"'
    run api olga PUT /api/v1/agents/echo --data @"$CX_ROOT/share/agents/echo.json"
    assert_json .error.code permission
    run deploy echo
    assert_json .changed true
    wait_until 5 audited '.who == "operator/adam" and .role == "admin" and .action == "deploy"
        and .target == "echo" and .result == "ok" and (.from | test("^127"))'
    run api vic POST /api/v1/messages --data '{"receiver":"echo"}'
    assert_json .error.code permission
    run api vic GET /api/v1/agents
    assert_json .count 1
    run api node-1 DELETE /api/v1/agents/echo # its own certificate rules it
    assert_json .changed true
    run api node-2 PUT /api/v1/agents/echo --data '{"command":["echo"]}'
    assert_json .error.code permission
    run api node-2 GET /api/v1/registry
    assert_json .node_id node-1
    run api adam POST /api/v1/agents/x
    assert_equal "$(http_status)" 405
}

@test "no certificate, an expired one, one of another CA: no handshake, an audit line" {
    start_node 1
    address=$(<"$BATS_TEST_TMPDIR/node-1/address")
    run curl --silent --insecure "https://$address/healthz"
    assert_failure
    wait_until 5 audited '.action == "tls_refused" and (.detail | test("no client certificate"))'
    run api old GET /healthz
    assert_failure
    wait_until 5 audited '.action == "tls_refused" and (.detail | test("expired"))'
    run api stranger GET /healthz
    assert_failure
    wait_until 5 audited '.action == "tls_refused" and (.detail | test("another CA"))'
    run api vic GET /healthz
    assert_json .status ok
    figure_is /api/v1/debug/state '.http.refused' 3
}

@test "the audit log is a chain: each line holds the hash of the one before" {
    start_node 1
    deploy echo
    deploy counter
    api vic DELETE /api/v1/agents/echo
    stop_daemon node-1
    printf '{"torn' >>"$BATS_TEST_TMPDIR/node-1/data/audit.log"
    start_node 1
    api adam DELETE /api/v1/agents/echo
    /usr/bin/python3 - "$BATS_TEST_TMPDIR/node-1/data/audit.log" <<'END'
import hashlib, json, sys
before = "0" * 64
lines = open(sys.argv[1], "rb").read().splitlines()
assert len(lines) == 5, len(lines)
for line in lines:
    if line != b'{"torn':
        assert json.loads(line)["prev"] == before, line
    before = hashlib.sha256(line).hexdigest()
END
    # What the crash cut off is no fault, while the node runs, and where it is the end.
    verify_audit
    assert_json '[.ok, .entries, .cut_off, .broken_at, .problem]' '[true,4,1,null,null]'
    stop_daemon node-1 KILL
    printf '{"torn' >>"$BATS_TEST_TMPDIR/node-1/data/audit.log"
    verify_audit
    assert_json '[.ok, .entries, .cut_off]' '[true,4,2]'
}

# verify_audit [OPTION…]: `run` of cx-node audit verify of node-1.
verify_audit() {
    run --separate-stderr cx-node audit verify --config "$BATS_TEST_TMPDIR/node-1/config.yaml" "$@"
    [[ $status -gt 1 ]] || validate_schema cx-node-audit-verify
}

# write_audit NUMBER: an audit log of node-1 with so many lines, as a node writes it.
write_audit() {
    mkdir -p "$BATS_TEST_TMPDIR/node-1/data"
    /usr/bin/python3 - "$1" >"$BATS_TEST_TMPDIR/node-1/data/audit.log" <<'END'
import hashlib, json, sys
before = "0" * 64
for number in range(int(sys.argv[1])):
    line = json.dumps({"time": "2026-01-01T00:00:00.000Z", "who": "operator/adam", "action": "deploy", "target": f"a{number}", "prev": before})
    before = hashlib.sha256(line.encode()).hexdigest()
    print(line)
END
}

@test "audit verify: a line that was changed, taken out, added or exchanged is found; a lost end by the head that was kept" {
    local log=$BATS_TEST_TMPDIR/node-1/data/audit.log head
    verify_audit
    assert_error not_found
    write_audit 1000 # more than one read
    cp "$log" "$log.good"
    verify_audit
    assert_success
    assert_json '[.ok, .entries, .cut_off]' '[true,1000,0]'
    assert_json .head "$(tail -n 1 "$log" | tr -d '\n' | sha256sum | cut -d' ' -f1)"
    head=$(jq -r .head <<<"$output")
    verify_audit --head "${head^^}"
    assert_success

    local change line
    for change in '700s/adam/eve./:701' '700d:700' '1d:1' '700{p;}:701' '700{h;d};701{G}:700' '700s/}$//:701' '700i {}:701' '999s/^.*$/x/;1000s/^.*$/y/:999'; do
        line=${change##*:}
        sed "${change%:*}" "$log.good" >"$log"
        verify_audit
        assert_failure 1
        assert_json '[.ok, .broken_at]' "[false,$line]"
    done

    # The chain up to there is whole: only who knows what was there can tell.
    head -n 990 "$log.good" >"$log"
    verify_audit
    assert_success
    verify_audit --head "$head"
    assert_failure 1
    assert_json '[.entries, .broken_at]' '[990,991]'
    verify_audit --head "$(head -n 990 "$log" | tail -n 1 | tr -d '\n' | sha256sum | cut -d' ' -f1)"
    assert_success
    verify_audit --head abc
    assert_error usage
    : >"$log"
    verify_audit --head "$(printf '%064d' 0)"
    assert_success
}

@test "the audit log on a full disk: what can't be written whole is not written, and the chain holds" {
    ((EUID == 0)) || skip "only root may mount"
    mkdir -p "$BATS_TEST_TMPDIR/node-1/data"
    mount -t tmpfs -o size=4m none "$BATS_TEST_TMPDIR/node-1/data"
    start_node 1
    dd if=/dev/zero of="$BATS_TEST_TMPDIR/node-1/data/full" bs=4k 2>/dev/null || true
    local try
    for try in {1..25}; do # more than a page
        api vic DELETE /api/v1/agents/echo >/dev/null
    done
    wait_until 10 grep -q audit_lost "$BATS_TEST_TMPDIR/node-1.log"
    rm "$BATS_TEST_TMPDIR/node-1/data/full"
    api vic DELETE "/api/v1/agents/after" >/dev/null
    wait_until 5 audited '.target == "after"'
    verify_audit
    assert_json '[.ok, .cut_off]' '[true,0]'
}

# ---- strangers

@test "garbage, a huge header, a slow client: refused, and the node goes on" {
    start_node 1
    address=$(<"$BATS_TEST_TMPDIR/node-1/address")
    head -c 100000 /dev/urandom >"$BATS_TEST_TMPDIR/noise"
    curl --silent --max-time 5 "telnet://$address" <"$BATS_TEST_TMPDIR/noise" >/dev/null || true
    curl --silent --max-time 5 "http://$address/" >/dev/null || true
    run api adam GET /healthz
    assert_json .status ok

    # 100 MB of header, as fast as it is taken; then a client that says nothing more.
    /usr/bin/python3 - "$address" "$PKI/adam" <<'END'
import socket, ssl, sys
host, port = sys.argv[1].split(":")
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
context.load_cert_chain(sys.argv[2] + "/operator.crt", sys.argv[2] + "/operator.key")
def connect():
    return context.wrap_socket(socket.create_connection((host, int(port)), 10))
big = connect()
big.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Big: ")
try:
    for _ in range(1600):
        big.sendall(b"x" * 65536)
    refusal = big.recv(4096)
except OSError:
    refusal = b"HTTP/1.1 431"  # reset: it did not want to hear more
assert refusal.startswith(b"HTTP/1.1 431"), refusal
for request in (b"BREW / HTTP/1.1\r\n\r\n", b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n",
                b"POST /api/v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
                b"POST /api/v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"):
    one = connect()
    one.sendall(request)
    answer = one.recv(4096)
    assert b" 200 " not in answer, (request, answer)
slow = [connect() for _ in range(20)]
for one in slow:
    one.sendall(b"GET /healthz HTTP/1.1\r\nHo")
other = connect()
other.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
assert b"200" in other.recv(4096)
END
    run api adam GET /healthz
    assert_json .status ok
    head -c 2000000 /dev/zero | tr '\0' '[' >"$BATS_TEST_TMPDIR/deep"
    run api adam PUT /api/v1/agents/x --data-binary "@$BATS_TEST_TMPDIR/deep"
    assert_json '.error.exit' 65
    is_running "$(pid_of node-1)"
    # The address sanitizer keeps what was freed for a while.
    [[ $CX_BUILD == *address* ]] || (($(figure /api/v1/node .process.rss_bytes) < 100000000))
}

# ---- the node itself

@test "its figures, metrics and readiness" {
    start_node 1
    deploy echo
    send_message '{"receiver":"echo"}' 5s
    run api vic GET /api/v1/node
    assert_json '.node_id, .state, .agents.running, .messages.processed_total, .gossip.connected' \
        $'node-1\nactive\n1\n1\nfalse'
    validate_schema cx-node-status
    run api vic GET /readyz
    assert_json '.ready' true
    run api vic GET /metrics
    assert_line 'cx_node_messages_processed_total 1'
    assert_line 'cx_node_agents{state="running"} 1'
    assert_line 'cx_node_message_latency_seconds_count 1'
    run api vic GET /api/v1/queues
    assert_json '.queues[0] | [.agent, .queued, .in_flight, .oldest_seconds, .done] | @csv' '"echo",0,0,0,1'
    run api vic GET /api/v1/cluster
    assert_equal "$(http_status)" 503
    assert_json .error.code unavailable
}

@test "check: the databases of a node that runs, that is dead, and of one whose disk has flipped bits" {
    start_node 1
    export CX_CONFIG=$BATS_TEST_TMPDIR/node-1/config.yaml
    deploy echo
    send_message '{"receiver":"echo","message_id":"m"}' 5s >"$BATS_TEST_TMPDIR/sent"
    run --separate-stderr cx-node check
    assert_success
    validate_schema cx-node-check
    assert_json '[.ok, .messages.accepted_total, .messages.done, .messages.lost]' '[true,1,1,0]'

    # What it accepted last is only in the write-ahead log, and counts.
    stop_daemon node-1 KILL
    run --separate-stderr cx-node check
    assert_success
    assert_json '[.messages.accepted_total, .messages.done]' '[1,1]'

    start_node 1
    stop_daemon node-1 TERM
    dd if=/dev/urandom of="$BATS_TEST_TMPDIR/node-1/data/queues.db" bs=1 seek=4100 count=3000 conv=notrunc 2>/dev/null
    run --separate-stderr cx-node check
    assert_failure 1
    validate_schema cx-node-check
    assert_json '[.ok, .messages, [.databases[] | select(.whole | not) | .name]]' '[false,null,["queues.db"]]'
    head -c 5000 /dev/zero >"$BATS_TEST_TMPDIR/node-1/data/registry.db"
    rm "$BATS_TEST_TMPDIR/node-1/data/leases.db"
    run --separate-stderr cx-node check
    assert_failure 1
    assert_json '[.databases[].whole]' '[false,false,false]'
}

@test "status and checkpoint are clients of the API" {
    start_node 1
    export CX_CONFIG=$BATS_TEST_TMPDIR/node-1/config.yaml
    run --separate-stderr cx-node status
    assert_success
    assert_json .node_id node-1
    validate_schema cx-node-status
    run --separate-stderr cx-node checkpoint
    assert_success
    assert_json '.changed, (.databases | map(.name) | join(" "))' $'true\nregistry.db queues.db leases.db'
    validate_schema cx-node-checkpoint
    stop_daemon node-1
    run --separate-stderr cx-node status
    assert_error unavailable
}

@test "compact: a node that runs gives its unused space back, twice is once, a damaged file hides no other" {
    local data=$BATS_TEST_TMPDIR/node-1/data
    start_node 1
    export CX_CONFIG=$BATS_TEST_TMPDIR/node-1/config.yaml
    run --separate-stderr cx-node compact
    assert_success
    validate_schema cx-node-compact
    assert_json '[.ok, .changed, (.databases | map(.path | split("/") | last) | join(" "))]' \
        '[true,false,"registry.db queues.db leases.db"]'
    sqlite3 "$data/queues.db" 'CREATE TABLE junk (body); INSERT INTO junk
        SELECT randomblob(4000) FROM generate_series(1, 500); DROP TABLE junk' >"$BATS_TEST_TMPDIR/.sqlite"
    run --separate-stderr cx-node compact --dry-run
    assert_json '[.dry_run, .changed, ([.databases[] | .before_bytes == .after_bytes] | all)]' '[true,true,true]'
    run --separate-stderr cx-node compact
    assert_json '.databases[1] | [.changed, .rebuilt, (.before_bytes - .after_bytes > 1900000)]' '[true,false,true]'
    run --separate-stderr cx-node compact
    assert_json .changed false
    echo 'no database at all, but as long as the header of one would be, and a bit: no database at all' >"$data/health.db"
    run --separate-stderr cx-node compact
    assert_failure 1
    validate_schema cx-node-compact
    assert_json '[.databases[] | .ok]' '[true,true,true,false]'
    assert_json '.databases[3].error.code' corrupt
    run api vic GET /api/v1/messages/stats
    assert_json .lost 0
}

@test "a second node on the same data folder is refused; so is a taken address" {
    start_node 1
    run --separate-stderr cx-node run --config "$BATS_TEST_TMPDIR/node-1/config.yaml"
    assert_failure 75
    sed "s|/data$|/data2|" "$BATS_TEST_TMPDIR/node-1/config.yaml" >"$BATS_TEST_TMPDIR/2.yaml"
    run --separate-stderr cx-node run --config "$BATS_TEST_TMPDIR/2.yaml"
    assert_failure 69
    run api vic GET /healthz
    assert_json .status ok
}

@test "SIGHUP reads config and certificates again; a bad config changes nothing" {
    start_node 1
    write_node 1 'max_agents: 1'
    kill -HUP "$(pid_of node-1)"
    wait_until 5 figure_is /api/v1/node .agents.max 1
    deploy echo
    run deploy counter
    assert_json .error.code busy

    write_node 1 'max_agent: 7'
    kill -HUP "$(pid_of node-1)"
    wait_until 5 logged node-1 '.event == "config_bad"'
    figure_is /api/v1/node .agents.max 1
}

@test "SIGTERM waits for what is in flight, but not longer than drain_timeout" {
    write_node 1 'drain_timeout: 500ms'
    start_node 1
    deploy slow
    send_message '{"receiver":"slow","message_id":"long","content":{"sleep_ms":60000}}'
    wait_until 5 figure_is /api/v1/messages/long .state in_flight
    stop_daemon node-1
    assert_equal "$daemon_status" 0
    logged node-1 '.event == "drain_timeout"'
    start_node 1
    wait_until 5 figure_is /api/v1/messages/long '"\(.state) \(.attempts)"' 'in_flight 2'
}

@test "a queue that is full is busy, with Retry-After" {
    write_node 1 'queue_max: 2'
    start_node 1
    deploy slow
    jq -nc 'range(5) | {receiver: "slow", content: {sleep_ms: 5000}}' >"$BATS_TEST_TMPDIR/lines"
    run send_lines "$BATS_TEST_TMPDIR/lines"
    output=$(jq -s 'map(.error.code // .status) | join(" ")' <<<"$output")
    [[ $output == *busy* && $output == *accepted* ]]
    run send_message '{"receiver":"slow"}' ''
    run api olga POST /api/v1/messages --include --data '{"receiver":"slow"}'
    [[ ${output,,} == *"retry-after: 1"* && $output == *busy* ]]
}

@test "the API's document names exactly the paths that are served" {
    awk '/^  \// { path = substr($1, 1, length($1) - 1) }
        /^    (get|put|post|delete):/ { print toupper(substr($1, 1, length($1) - 1)), path }
        /^components:/ { exit }' "$CX_ROOT/share/schemas/node-api.openapi.yaml" |
        sort >"$BATS_TEST_TMPDIR/documented"
    sed -nE 's/^ +\{NODE_[A-Z_]+, "([A-Z]+)", "([^"]+)".*/\1 \2/p' "$CX_ROOT/tools/node/access.c" |
        sort >"$BATS_TEST_TMPDIR/served"
    (($(wc -l <"$BATS_TEST_TMPDIR/served") > 20))
    diff "$BATS_TEST_TMPDIR/documented" "$BATS_TEST_TMPDIR/served"
}

@test "under valgrind: no error and no leak in a node's whole life" {
    [[ $CX_BUILD != *-* ]] || skip "valgrind and sanitizers exclude each other"
    need valgrind
    start_daemon node-1 valgrind --quiet --leak-check=full --error-exitcode=99 \
        --errors-for-leak-kinds=definite,possible \
        "$CX_BUILD/cx-node" run --config "$BATS_TEST_TMPDIR/node-1/config.yaml"
    wait_until 60 answers_health 1
    deploy echo
    deploy counter
    run send_message '{"receiver":"echo","content":{"forward_to":"counter"}}' 30s
    assert_json .status 'done'
    run send_message '{"receiver":"counter","content":{"crash_after":true}}' 30s
    assert_json .status 'done'
    jq -nc 'range(50) | {receiver: "echo"}, {receiver: "nobody"}, 1' >"$BATS_TEST_TMPDIR/lines"
    send_lines "$BATS_TEST_TMPDIR/lines" >/dev/null
    for path in /metrics /api/v1/node /api/v1/agents /api/v1/messages /api/v1/queues /api/v1/cluster \
        /api/v1/messages/stats /api/v1/registry /api/v1/debug/state /nowhere; do
        api vic GET "$path" >/dev/null
    done
    api olga POST /api/v1/agents/echo/suspend >/dev/null
    api olga POST /api/v1/agents/echo/resume >/dev/null
    api olga POST /api/v1/node/checkpoint >/dev/null
    api adam DELETE '/api/v1/agents/counter?force=1' >/dev/null
    api vic PUT /api/v1/agents/x --data '{}' >/dev/null
    api old GET /healthz || true
    send_message '{"receiver":"echo","content":{"sleep_ms":200}}'
    kill -TERM "$(figure /api/v1/node .pid)"
    wait_until 30 is_gone "$(pid_of node-1)"
    daemon_status=0
    wait "$(pid_of node-1)" || daemon_status=$?
    assert_equal "$daemon_status" 0
}

@test "an agent that sends more than its receiver's queue holds is slowed, and nothing is lost" {
    write_node 1 'queue_max: 20'
    start_node 1
    cat >"$BATS_TEST_TMPDIR/flood" <<'END'
#!/usr/bin/python3
import json, sys
for line in sys.stdin:
    for i in range(500):
        print(json.dumps({"receiver": "counter", "message_id": f"f-{i}", "sender": "somebody"}))
    print(json.dumps({"in_reply_to": json.loads(line)["message_id"]}), flush=True)
END
    chmod +x "$BATS_TEST_TMPDIR/flood"
    deploy counter
    deploy flood "$(jq -nc --arg c "$BATS_TEST_TMPDIR/flood" '{command: [$c]}')"
    send_message '{"receiver":"flood"}'
    wait_until 60 figure_is /api/v1/messages/stats .processed_total 501
    log=$BATS_TEST_TMPDIR/node-1/data/agents/counter/log.ndjson
    assert_equal "$(jq -r .message_id "$log" | sort -u | wc -l)" 500
    run api vic GET /api/v1/messages/f-7
    assert_json .sender flood
}

@test "a disk that is full refuses messages, and the node lives and goes on when there is room" {
    # A limit on the size of files stands for it: writes fail half-way, with EFBIG.
    start_daemon node-1 bash -c 'ulimit -f 400 && exec "$0" "$@"' \
        "$CX_BUILD/cx-node" run --config "$BATS_TEST_TMPDIR/node-1/config.yaml"
    wait_until 20 answers_health 1
    deploy echo
    jq -nc 'range(40) | {receiver: "echo", message_id: "m-\(.)", content: ("x" * 20000)}' \
        >"$BATS_TEST_TMPDIR/lines"
    run send_lines "$BATS_TEST_TMPDIR/lines"
    assert_equal "$(jq -s 'map(select(.error)) | length' <<<"$output")" 40 # all of it, or nothing
    run send_message '{"receiver":"echo","content":1}' 10s
    assert_json .status 'done'
    is_running "$(pid_of node-1)"

    stop_daemon node-1
    start_node 1
    run send_lines "$BATS_TEST_TMPDIR/lines"
    assert_equal "$(jq -s 'map(select(.status == "accepted")) | length' <<<"$output")" 40
    wait_until 20 figure_is /api/v1/messages/stats '[.processed_total, .lost] | @csv' 41,0
}

@test "a renewed certificate is served without a restart, one of another node is refused" {
    cp -r "$PKI/node-1" "$BATS_TEST_TMPDIR/certs"
    sed -i "s|^cert_dir:.*|cert_dir: $BATS_TEST_TMPDIR/certs|" "$BATS_TEST_TMPDIR/node-1/config.yaml"
    start_node 1
    address=$(<"$BATS_TEST_TMPDIR/node-1/address")
    served() {
        openssl s_client -connect "$address" -cert "$PKI/vic/operator.crt" \
            -key "$PKI/vic/operator.key" </dev/null 2>/dev/null | openssl x509 -noout -serial
    }
    before=$(served)
    make_cert "$PKI/ca" "$BATS_TEST_TMPDIR/new" node spiffe://test/node/node-1 node
    cp "$BATS_TEST_TMPDIR"/new/node.{key,crt} "$BATS_TEST_TMPDIR/certs/"
    is_served() { [[ $(served) == "$(openssl x509 -noout -serial -in "$BATS_TEST_TMPDIR/new/node.crt")" ]]; }
    wait_until 15 is_served
    refute [ "$(served)" = "$before" ]
    wait_until 15 logged node-1 '.event == "certificates_reloaded"'
    serial=$(served)
    figure_is /api/v1/node '.certificate.serial | ascii_upcase' "${serial#serial=}"

    echo garbage >"$BATS_TEST_TMPDIR/certs/node.crt" # the old one stays
    kill -HUP "$(pid_of node-1)"
    wait_until 15 logged node-1 '.event == "certificates_bad"'
    is_served
    stop_daemon node-1

    cp "$PKI/node-2"/node.{key,crt} "$BATS_TEST_TMPDIR/certs/"
    run --separate-stderr cx-node run --config "$BATS_TEST_TMPDIR/node-1/config.yaml"
    assert_error cert_invalid
}
