#!/usr/bin/env bats
# cx-gossip: agents find each other, notice who fails, and withstand what strangers send.

load common
load gossip

setup() { export CX_CONFIG=/nonexistent/config.yaml; }

# A cluster of node-1 … node-N that all know each other.
start_cluster() {
    local count=$1 number
    shift
    start_member node-1 --expect "$count" "$@"
    seed=$member_address:7946
    for ((number = 2; number <= count; number++)); do
        start_member "node-$number" --expect "$count" --join "$seed" "$@"
    done
    for ((number = 1; number <= count; number++)); do
        wait_until 10 sees "node-$number" "$count" alive
    done
}

@test "members, status: the documents are as their schemas say, and all agree on the digest" {
    start_cluster 3 --tag role=node
    run --separate-stderr ask node-2 members
    assert_success
    validate_schema cx-gossip-members
    assert_json '[.members[].tags.role] | unique' '["node"]'
    assert_json '[.members[].node_id] | sort' '["node-1","node-2","node-3"]'
    same_digest() {
        [[ $(for n in 1 2 3; do ask "node-$n" status | jq -r .digest; done | sort -u | wc -l) == 1 ]]
    }
    wait_until 5 same_digest
    run --separate-stderr ask node-3 status
    validate_schema cx-gossip-status
    assert_json .partition majority
    assert_json .encrypted false
}

@test "members: by status and by tag" {
    start_cluster 2 --tag zone=a
    ask node-1 tags set zone=b 'text=with spaces = and more'
    wait_until 5 eval '[[ $(ask node-2 members --tag zone=b | jq -r ".members[].node_id") == node-1 ]]'
    [[ $(ask node-2 members --tag zone=a --tag 'text=x' | jq .count) == 0 ]]
    [[ $(ask node-2 members --status failed | jq .count) == 0 ]]
    ask node-1 tags unset text
    wait_until 5 eval '[[ $(ask node-2 members --tag zone=b | jq -c ".members[0].tags") == "{\"zone\":\"b\"}" ]]'
}

@test "tags: what is there already changes nothing, a dry run neither" {
    start_member node-1 --tag a=1
    [[ $(ask node-1 tags set a=1 | jq .changed) == false ]]
    [[ $(ask node-1 tags set a=2 --dry-run | jq -c .) == '{"changed":true,"dry_run":true}' ]]
    [[ $(ask node-1 members | jq -r '.members[0].tags.a') == 1 ]]
    run --separate-stderr ask node-1 tags set nonsense
    assert_error usage
    run --separate-stderr ask node-1 tags set "big=$(printf 'x%.0s' {1..600})"
    [[ $status != 0 ]]
    [[ $(ask node-1 members | jq -c '.members[0].tags') == '{"a":"1"}' ]]
}

@test "kill -9: all others see it failed, no other is accused, and it comes back" {
    start_cluster 5
    before=$(incarnation node-1 node-3)
    stop_daemon node-3 KILL
    for n in 1 2 4 5; do wait_until 15 sees_as "node-$n" node-3 failed; done
    for n in 1 2 4 5; do
        sees "node-$n" 4 alive
        [[ -z $(accusations_but "node-$n" node-3) ]]
    done
    start_member node-3 --expect 5 # no seed: it knows the others from before
    for n in 1 2 3 4 5; do wait_until 15 sees "node-$n" 5 alive; done
    is_higher() { (($(incarnation node-1 node-3) > before)); }
    wait_until 10 is_higher
}

@test "SIGSTOP: a member that hangs is seen as failed, and alive again when it goes on" {
    start_cluster 5
    before=$(incarnation node-1 node-2)
    kill -STOP "$(pid_of node-2)"
    for n in 1 3 4 5; do wait_until 15 sees_as "node-$n" node-2 failed; done
    for n in 1 3 4 5; do [[ -z $(accusations_but "node-$n" node-2) ]]; done
    kill -CONT "$(pid_of node-2)"
    for n in 1 2 3 4 5; do wait_until 20 sees "node-$n" 5 alive; done
    is_higher() { (($(incarnation node-1 node-2) > before)); }
    wait_until 10 is_higher
}

@test "leave: graceful, seen as left, and the agent ends with status 0" {
    start_cluster 3
    [[ $(ask node-3 leave | jq .changed) == true ]]
    wait_until 5 is_gone "$(pid_of node-3)"
    for n in 1 2; do wait_until 5 sees_as "node-$n" node-3 left; done
}

@test "SIGINT leaves, SIGTERM ends at once; both with status 0" {
    start_cluster 3
    stop_daemon node-3 INT 10
    [[ $daemon_status == 0 ]]
    wait_until 5 sees_as node-1 node-3 left
    stop_daemon node-2 TERM 5
    [[ $daemon_status == 0 ]]
    wait_until 15 sees_as node-1 node-2 failed
}

@test "remove: a failed member becomes left everywhere" {
    start_cluster 3
    stop_daemon node-3 KILL
    wait_until 15 sees_as node-1 node-3 failed
    [[ $(ask node-2 remove node-3 --dry-run | jq .dry_run) == true ]]
    ask node-2 remove node-3
    for n in 1 2; do wait_until 5 sees_as "node-$n" node-3 left; done
    run --separate-stderr ask node-1 remove nobody
    assert_error not_found
}

@test "monitor: events as they happen, by name" {
    start_cluster 2
    start_daemon watch cx-gossip monitor --run-dir "$BATS_TEST_TMPDIR/node-1" \
        --event member_failed,member_left
    wait_until 5 eval '[[ $(ask node-1 status | jq .members) == 2 ]]'
    stop_daemon node-2 INT 10
    wait_until 10 grep -q member_left "$BATS_TEST_TMPDIR/watch.log"
    validate_schema --lines cx-gossip-monitor "$(<"$BATS_TEST_TMPDIR/watch.log")"
    run ! grep -v '"event":"member_left"' "$BATS_TEST_TMPDIR/watch.log"
}

@test "ping: measures, and says who does not answer" {
    start_cluster 2
    run --separate-stderr ask node-1 ping node-2 --count 3
    assert_success
    validate_schema cx-gossip-ping
    assert_json .sent 3
    assert_json .lost 0
    kill -STOP "$(pid_of node-2)"
    run --separate-stderr ask node-1 ping node-2
    assert_failure 1
    assert_json .lost 1
    run --separate-stderr ask node-1 ping nobody
    assert_error not_found
}

@test "encryption: with the key a member, without it or with another none" {
    (umask 077 && cx-gossip keys generate --raw >"$BATS_TEST_TMPDIR/keys" &&
        cx-gossip keys generate --raw >"$BATS_TEST_TMPDIR/other")
    start_cluster 2 --keyring-file "$BATS_TEST_TMPDIR/keys"
    [[ $(ask node-2 status | jq .encrypted) == true ]]
    start_member stranger --keyring-file "$BATS_TEST_TMPDIR/other"
    start_member naked
    for who in stranger naked; do
        run --separate-stderr ask "$who" join "$seed"
        [[ $status != 0 ]]
        [[ $(ask "$who" status | jq .members) == 1 ]]
    done
    sees node-1 2 alive
    chmod 644 "$BATS_TEST_TMPDIR/keys"
    run --separate-stderr cx-gossip agent --bind "$(free_loopback):7946" --node-id x \
        --run-dir "$BATS_TEST_TMPDIR/x" --keyring-file "$BATS_TEST_TMPDIR/keys"
    assert_error permission
}

@test "two agents on one run folder, one address: the second is refused" {
    start_member node-1
    run --separate-stderr cx-gossip agent --bind "$(free_loopback):7946" --node-id other \
        --run-dir "$BATS_TEST_TMPDIR/node-1"
    assert_error busy
    run --separate-stderr cx-gossip agent --bind "$member_address:7946" --node-id other \
        --run-dir "$BATS_TEST_TMPDIR/other"
    assert_error unavailable
    sees node-1 1 alive
}

# throw PROTOCOL: stdin to node-1's port.
throw() { timeout 5 socat -t 1 -u - "$1:$member_address:7946" || true; }

@test "hostile bytes: cut packets, garbage, an oversized push/pull: the agent lives and goes on" {
    local size
    start_member node-1
    for size in 1 2 3 7 40 1400 60000; do
        head -c "$size" /dev/urandom | throw UDP
    done
    # Every message type with a cut body.
    for ((type = 0; type < 256; type += 1)); do
        printf '%b' "\\x$(printf %02x "$type")\\x86\\xa4Node\\xda\\xff" >"$BATS_TEST_TMPDIR/packet"
        throw UDP <"$BATS_TEST_TMPDIR/packet"
    done
    # A push/pull that promises 2^31 nodes, one that sends 30 MiB, and a sealed one of 4 GiB.
    printf '\x06\x83\xa4Join\xc3\xa5Nodes\xce\x7f\xff\xff\xff\xacUserStateLen\x00' | throw TCP
    { printf '\x06\x83\xa4Join\xc3\xa5Nodes\xcd\xff\xff\xacUserStateLen\x00' && head -c 30000000 /dev/zero; } | throw TCP
    printf '\x0a\xff\xff\xff\xffxxxx' | throw TCP
    head -c 100000 /dev/urandom | throw TCP
    is_running "$(pid_of node-1)"
    start_member node-2 --join "$member_address:7946" --join "$(<"$BATS_TEST_TMPDIR/node-1/address"):7946"
    wait_until 10 sees node-1 2 alive
    (($(awk '/VmHWM/ {print $2}' "/proc/$(pid_of node-1)/status") < 200000))
}

@test "control socket: a request that is none, too long, unknown: refused by its own code" {
    start_member node-1
    local socket=UNIX-CONNECT:$BATS_TEST_TMPDIR/node-1/gossip.sock
    [[ $(echo nonsense | socat -t 2 - "$socket" | jq -r .error.code) == malformed ]]
    [[ $(echo '{"command":"fly"}' | socat -t 2 - "$socket" | jq -r .error.code) == usage ]]
    [[ $(echo '{"command":7}' | socat -t 2 - "$socket" | jq -r .error.code) == invalid ]]
    head -c 300000 /dev/zero | tr '\0' x | socat -t 2 - "$socket" >"$BATS_TEST_TMPDIR/answer" || true
    sees node-1 1 alive
    [[ $(stat -c %a "$BATS_TEST_TMPDIR/node-1/gossip.sock") == 660 ]]
}

@test "no agent: the message names the socket and how to start one" {
    run --separate-stderr cx-gossip members --run-dir "$BATS_TEST_TMPDIR"
    assert_error unavailable
    [[ $stderr == *gossip.sock* && $stderr == *'cx-gossip agent'* ]]
}
