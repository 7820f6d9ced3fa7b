#!/usr/bin/env bats
# One cluster with real serf agents: each lists the other with its tags, failures and leaves are seen
# on both sides, plain and encrypted.

load ../bats/common
load ../bats/gossip

setup() { export CX_CONFIG=/nonexistent/config.yaml; }

# start_serf NAME [OPTION…]: a real agent; serf_address is its address.
start_serf() {
    local name=$1
    shift
    serf_address=$(free_loopback)
    echo "$serf_address" >"$BATS_TEST_TMPDIR/$name.address"
    start_daemon "$name" serf agent -node "$name" -bind "$serf_address:7946" \
        -rpc-addr "$serf_address:7373" -tag "who=$name" "$@"
    wait_until 10 serf members -rpc-addr "$serf_address:7373"
}

# serf_says NAME: its members as `NAME STATUS TAGS` lines.
serf_says() {
    serf members -rpc-addr "$(<"$BATS_TEST_TMPDIR/$1.address"):7373" -format json |
        jq -r '.members[] | "\(.name) \(.status) \(.tags | to_entries | map("\(.key)=\(.value)") | join(","))"'
}

serf_lists() { serf_says "$1" | grep -qx -- "$2"; }

three_serfs() {
    start_serf s1 "$@"
    local seed=$serf_address:7946
    start_serf s2 -join "$seed" "$@"
    start_serf s3 -join "$seed" "$@"
}

lives_with_serf() {
    local n
    for n in 1 2 3; do wait_until 10 serf_lists "s$n" "ours alive role=node,zone=a"; done
    wait_until 10 sees ours 4 alive
    [[ $(ask ours members | jq -r '.members[] | select(.node_id == "s2").tags.who') == s2 ]]

    # Tags of ours that change are seen there, with spaces and all.
    ask ours tags set 'zone=b c'
    wait_until 5 serf_lists s3 "ours alive role=node,zone=b c"

    # A killed serf agent is failed here, as with its own kind.
    stop_daemon s3 KILL
    wait_until 20 sees_as ours s3 failed
    wait_until 20 serf_lists s1 "s3 failed who=s3"

    # A graceful leave is left on both sides: theirs, then ours.
    serf leave -rpc-addr "$(<"$BATS_TEST_TMPDIR/s2.address"):7373"
    wait_until 10 sees_as ours s2 left
    ask ours leave
    wait_until 10 serf_lists s1 "ours left role=node,zone=b c"
}

@test "serf: three real agents and ours are one cluster, plain" {
    three_serfs
    start_member ours --profile lan --tag role=node --tag zone=a --join "$serf_address:7946"
    lives_with_serf
}

@test "serf: three real agents and ours are one cluster, encrypted" {
    local key
    key=$(cx-gossip keys generate | jq -r .key)
    (umask 077 && jq -n --arg k "$key" '[$k]' >"$BATS_TEST_TMPDIR/keys")
    three_serfs -encrypt "$key"
    start_member ours --profile lan --keyring-file "$BATS_TEST_TMPDIR/keys" --tag role=node \
        --tag zone=a --join "$serf_address:7946"
    [[ $(ask ours status | jq .encrypted) == true ]]
    lives_with_serf
}

@test "serf: ours killed is failed there, and alive again with a higher incarnation" {
    start_serf s1
    start_member ours --profile lan --join "$serf_address:7946"
    wait_until 10 serf_lists s1 "ours alive "
    wait_until 5 grep -q s1 "$BATS_TEST_TMPDIR/ours/gossip.state" # written within half a second
    stop_daemon ours KILL
    wait_until 20 serf_lists s1 "ours failed "
    start_member ours --profile lan
    wait_until 20 serf_lists s1 "ours alive "
    (($(incarnation ours ours) > 1))
}

@test "serf: its user events and queries pass through ours" {
    start_serf s1
    start_member ours --profile lan --join "$serf_address:7946"
    wait_until 10 sees ours 2 alive
    start_daemon watch cx-gossip monitor --run-dir "$BATS_TEST_TMPDIR/ours" --event user_event
    wait_until 5 eval '[[ $(ask ours status | jq .members) == 2 ]]'
    serf event -rpc-addr "$serf_address:7373" deploy v1
    wait_until 10 grep -q '"deploy"' "$BATS_TEST_TMPDIR/watch.log"
    # serf reachability asks every member for an acknowledgement.
    serf reachability -rpc-addr "$serf_address:7373"
}
