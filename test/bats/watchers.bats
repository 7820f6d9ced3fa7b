#!/usr/bin/env bats
# Many watchers: real gossip agents, stand-ins for the nodes, one receiver.

load common
load fake
load receiver
load watch
load gossip

setup_file() {
    CERTS=$BATS_FILE_TMPDIR/certs
    export CERTS
    make_ca "$CERTS/ca"
    local number
    for number in 1 2 3; do
        make_cert "$CERTS/ca" "$CERTS/$number" node "spiffe://test/node/node-$number" node
    done
}

# member NUMBER [DISK_PERCENT]: agent, stand-in and configuration of node-NUMBER.
member() {
    local folder=$BATS_TEST_TMPDIR/node-$1 port
    mkdir -p "$folder/fake"
    port=$(free_port)
    free_loopback >"$folder/address"
    cat >"$folder/config.yaml" <<END
cluster: test
node_id: node-$1
api_addr: $(<"$folder/address"):$port
data_dir: $folder/data
cert_dir: $CERTS/$1
run_dir: $folder
END
    FAKE=$folder/fake
    disk "$1" "${2:-50}"
    start_daemon "fake-$1" /usr/bin/python3 "$CX_ROOT/test/fake_node.py" "$(<"$folder/address")" "$port" \
        "$CERTS/$1" "$folder/fake"
    wait_until 10 listens "$(<"$folder/address")" "$port"
    start_member "node-$1" --plain --expect 3 --tag "api=$(<"$folder/address"):$port" --tag version=0.1.0
    [[ $1 == 1 ]] || ask "node-$1" join "$(<"$BATS_TEST_TMPDIR/node-1/address"):7946" >/dev/null
}

# disk NUMBER PERCENT: what node-NUMBER says from now on.
disk() {
    FAKE=$BATS_TEST_TMPDIR/node-$1/fake
    answers "{\"GET /api/v1/node\": {json: $(ADDRESS='' PORT='' node_says ".node_id = \"node-$1\" | .system.disk_percent = $2")},
        \"GET /api/v1/agents\": {json: {agents: [], count: 0}}}"
}

watcher() {
    CX_CONFIG=$BATS_TEST_TMPDIR/node-$1/config.yaml start_daemon "watch-$1" \
        cx-health watch --policy "$HEALTH" --alerts "$ALERTS"
}

# watching NUMBER COUNT: so many watchers are known to node-NUMBER's agent.
watching() {
    [[ $(ask "node-$1" members --status alive | jq '[.members[] | select(.tags.watch)] | length') == "$2" ]]
}

three() {
    new_receiver
    write_policies
    start_receiver
    local number
    for number in 1 2 3; do
        member "$number"
    done
    for number in 1 2 3; do
        wait_until 10 sees "node-$number" 3 alive
        watcher "$number"
    done
    for number in 1 2 3; do
        wait_until 15 watching "$number" 3
    done
    all_looked
}

# all_looked: every watcher has looked twice since now.
all_looked() {
    local number before=()
    for number in 1 2 3; do
        before[number]=$(saved_at "$number")
    done
    for number in 1 2 3; do
        [[ -e $BATS_TEST_TMPDIR/.daemons/watch-$number ]] || continue
        wait_until 15 saved_later "$number" "$((before[number] + 2500))"
    done
}

saved_at() {
    sqlite3 "$BATS_TEST_TMPDIR/node-$1/data/health.db" "SELECT json_extract(document, '$.saved_ms') FROM state" 2>/dev/null || echo 0
}

saved_later() {
    (($(saved_at "$1") >= $2))
}

# state_at NUMBER NAME SUBJECT
state_at() {
    CX_CONFIG=$BATS_TEST_TMPDIR/node-$1/config.yaml cx-health alerts |
        jq -r --arg name "$2" --arg subject "$3" '.alerts[] | select(.name == $name and .subject == $subject).state'
}

all_see() {
    local number
    for number in 1 2 3; do
        [[ ! -e $BATS_TEST_TMPDIR/.daemons/watch-$number || $(state_at "$number" disk "$1") == "$2" ]] || return
    done
}

# disks PERCENT: of all three nodes.
disks() {
    local number
    for number in 1 2 3; do
        disk "$number" "$1"
    done
}

# all_become STATE: the alerts of all three nodes, at all watchers.
all_become() {
    local number
    for number in 1 2 3; do
        wait_until 15 all_see "node-$number" "$1"
    done
}

# teller SUBJECT: the number of the watcher that told of it.
teller() {
    received "[.[].body.alerts[] | select(.subject == \"$1\").watcher][0]" | tr -dc 0-9
}

# one_waits: the number of the watcher that could not send.
one_waits() {
    local file
    file=$(grep -l '"event":"not_sent"' "$BATS_TEST_TMPDIR"/watch-?.log) || return
    basename "$file" .log | tr -dc 0-9
}

sorted_pages() {
    [[ $(pages | sort) == "$1" ]]
}

@test "three watchers: one page for each alert, one when it is over, from more than one of them" {
    three
    disks 95
    all_become firing
    all_looked
    wait_until 15 sorted_pages $'firing disk node-1\nfiring disk node-2\nfiring disk node-3'
    disks 50
    all_become resolved
    all_looked
    wait_until 15 sorted_pages $'firing disk node-1\nfiring disk node-2\nfiring disk node-3\nresolved disk node-1\nresolved disk node-2\nresolved disk node-3'
}

@test "the watcher that told dies: another takes over and repeats nothing, and tells the end; it comes back and repeats nothing" {
    three
    disk 2 95
    wait_until 15 all_see node-2 firing
    wait_until 15 paged 'firing disk node-2'
    all_looked
    dead=$(teller node-2)
    stop_daemon "watch-$dead" KILL
    other=$((dead % 3 + 1))
    wait_until 15 watching "$other" 2
    all_looked
    assert_equal "$(pages)" 'firing disk node-2'

    disk 2 50
    wait_until 15 all_see node-2 resolved
    wait_until 15 paged $'firing disk node-2\nresolved disk node-2'
    watcher "$dead"
    wait_until 15 watching "$other" 3
    all_looked
    assert_equal "$(pages)" $'firing disk node-2\nresolved disk node-2'
}

@test "what a dead watcher could not tell is told by another, and not again when it comes back" {
    three
    stop_daemon receiver
    disk 2 95
    wait_until 15 all_see node-2 firing
    wait_until 15 one_waits
    dead=$(one_waits)
    stop_daemon "watch-$dead" KILL
    other=$((dead % 3 + 1))
    wait_until 15 watching "$other" 2
    start_receiver
    wait_until 30 paged 'firing disk node-2'
    watcher "$dead"
    wait_until 15 watching "$other" 3
    all_looked
    assert_equal "$(pages)" 'firing disk node-2'
}

# restart_agent NUMBER: as `member` started it.
restart_agent() {
    rm -f "$BATS_TEST_TMPDIR/node-$1/gossip.sock" # of the dead one
    start_member "node-$1" --plain --expect 3 --tag version=0.1.0 \
        --tag "api=$(awk '/^api_addr/ { print $2 }' "$BATS_TEST_TMPDIR/node-$1/config.yaml")"
    ask "node-$1" join "$(<"$BATS_TEST_TMPDIR/node-$2/address"):7946" >/dev/null
}

@test "a watcher whose gossip agent is dead keeps quiet while others tell, and tells when nobody does" {
    local fired ended
    three
    stop_daemon node-1 KILL
    wait_until 15 watching 2 2
    kill -STOP "$(pid_of watch-1)" # the others are first, and don't know of it
    disks 95
    fired=$'firing disk node-1\nfiring disk node-2\nfiring disk node-3'
    wait_until 20 sorted_pages "$fired"
    kill -CONT "$(pid_of watch-1)"
    all_become firing
    all_looked
    assert_equal "$(pages | sort)" "$fired"
    restart_agent 1 2
    wait_until 15 watching 2 3
    wait_until 15 grep -q sees_again "$BATS_TEST_TMPDIR/watch-1.log"
    all_looked
    assert_equal "$(pages | sort)" "$fired"

    stop_daemon node-1 KILL
    stop_daemon watch-2 KILL
    stop_daemon watch-3 KILL
    disks 50
    all_become resolved
    ended=$'resolved disk node-1\nresolved disk node-2\nresolved disk node-3'
    wait_until 45 sorted_pages "$fired"$'\n'"$ended"
    grep -q nobody_else_tells "$BATS_TEST_TMPDIR/watch-1.log"
}

@test "what another watcher told meanwhile is not sent any more" {
    local key notice
    new_receiver
    write_policies
    member 1 95
    watcher 1
    wait_until 15 watching 1 1
    wait_until 15 grep -q '"event":"not_sent"' "$BATS_TEST_TMPDIR/watch-1.log"
    key=$(sqlite3 "$BATS_TEST_TMPDIR/node-1/data/health.db" "SELECT key FROM outbox")
    notice=$(jq -nc --arg key "$key" '{key: $key, by: "node-3", firing: false, delivered: true, at_ms: (now * 1000 | floor)}')
    # As the watcher of a host that this one does not see: it told the beginning, and now the end.
    run curl -sk --cert "$CERTS/3/node.crt" --key "$CERTS/3/node.key" --json "{\"notices\": [$notice]}" \
        --connect-to "node-1::$(ask node-1 members | jq -r '.members[0].tags.watch')" https://node-1/api/v1/watch/notices
    assert_json .ok true
    nothing_waits() { [[ $(CX_CONFIG=$BATS_TEST_TMPDIR/node-1/config.yaml cx-health alerts | jq -c .outbox) == '{}' ]]; }
    wait_until 10 nothing_waits
    start_receiver
    wait_until 15 saved_later 1 "$(($(saved_at 1) + 2500))"
    assert_equal "$(received length)" 0
}

@test "a silence made on one host is heeded by all watchers" {
    three
    CX_CONFIG=$BATS_TEST_TMPDIR/node-1/config.yaml cx-health silence disk --for 1h --reason test >/dev/null
    id=$(CX_CONFIG=$BATS_TEST_TMPDIR/node-1/config.yaml cx-health alerts | jq -r '.silences[0].id')
    silenced_at() { CX_CONFIG=$BATS_TEST_TMPDIR/node-$1/config.yaml cx-health alerts | jq -e --arg id "$id" '.silences[] | select(.id == $id)'; }
    for number in 1 2 3; do
        wait_until 15 silenced_at "$number"
    done
    disks 95
    all_become silenced
    all_looked
    assert_equal "$(pages)" ''
    CX_CONFIG=$BATS_TEST_TMPDIR/node-1/config.yaml cx-health unsilence "$id" >/dev/null
    wait_until 20 sorted_pages $'firing disk node-1\nfiring disk node-2\nfiring disk node-3'
}
