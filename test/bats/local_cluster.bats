#!/usr/bin/env bats
# A cluster of real processes: it comes up, loses nodes and finds them again.

load common

setup() {
    export CX_CLUSTER_DIR=$BATS_TEST_TMPDIR/cluster
}

teardown() {
    end_daemons
    [[ ! -e $CX_CLUSTER_DIR/cluster.json ]] || local-cluster down --timeout 5
    [[ -z $(processes) ]]
}

# What runs with this test's folder on its command line.
processes() {
    pgrep -f -- "--config $CX_CLUSTER_DIR" || true
}

up() {
    local-cluster up --base "$CX_NETWORK" --nodes "$@"
}

on() {
    local-cluster exec "$1" -- "${@:2}"
}

# status_on NODE OTHER: what NODE thinks of OTHER.
status_on() {
    on "$1" cx-gossip members | jq -r --arg id "$2" '.members[] | select(.node_id == $id).status'
}

sees() {
    [[ $(status_on "$1" "$2") == "$3" ]]
}

incarnation_on() {
    on "$1" cx-gossip members | jq --arg id "$2" '.members[] | select(.node_id == $id).incarnation'
}

partition_is() {
    [[ $(on "$1" cx-gossip status | jq -r .partition) == "$2" ]]
}

# watch NODE…: records every accusation that these nodes make.
watch() {
    local node
    for node; do
        start_daemon "watch-$node" local-cluster exec "$node" -- cx-gossip monitor \
            --event member_suspect,member_failed
        wait_until 5 test -e "$BATS_TEST_TMPDIR/watch-$node.log"
    done
}

accused() {
    cat "$BATS_TEST_TMPDIR"/watch-*.log | jq -r 'select(.event).node_id' | sort -u | paste -sd' '
}

@test "up: an address that is taken is told before anything is made, and the folder stays free" {
    start_daemon squatter /usr/bin/python3 -c "import socket, time
s = socket.create_server(('$CX_NETWORK.13', 8080)); time.sleep(60)"
    is_taken() { ss -Hlnt "src = $CX_NETWORK.13" | grep -q 8080; }
    wait_until 5 is_taken
    run --separate-stderr up 3
    assert_error unavailable
    [[ $stderr == *node-3*--base* && ! -e $CX_CLUSTER_DIR/node-1 ]]
    stop_daemon squatter
    run -0 --separate-stderr up 3
}

@test "up: five nodes see five, a second up changes nothing, down leaves nothing" {
    run --separate-stderr up 5
    assert_success
    assert_json .changed true
    assert_json .count 5
    assert_json '[.nodes[].alive]' '[5,5,5,5,5]'
    local node
    for node in node-{1..5}; do
        run on "$node" cx-gossip members
        assert_json .count 5
    done

    run --separate-stderr up 5
    assert_success
    assert_json .changed false

    run --separate-stderr local-cluster down
    assert_success
    assert_json .changed true
    assert_equal "$(processes)" ""
    run --separate-stderr local-cluster down --purge
    assert_success
    [[ ! -e $CX_CLUSTER_DIR ]]
}

@test "up: a watcher a node, with a dashboard; --no-watch leaves them out, also of a later up" {
    unset CX_CLUSTER_WATCH
    run --separate-stderr up 1
    assert_success
    assert_json '.nodes[0].watch | .state, .url' "running"$'\n'"http://$CX_NETWORK.11:9180/"
    [[ $(curl -s "http://$CX_NETWORK.11:9180/") == *'dashboard.js'* ]]
    local-cluster kill node-1
    assert_equal "$(local-cluster status | jq -r '.nodes[0] | .gossip.state, .node.state, .watch.state' | xargs)" 'stopped stopped stopped'
    local-cluster start node-1
    local-cluster stop node-1 watch
    assert_equal "$(local-cluster status | jq -r '.nodes[0] | .node.state, .watch.state' | xargs)" 'running stopped'
    local-cluster down --purge

    run --separate-stderr up 1 --no-watch
    assert_json '.nodes[0].watch.state' stopped
    run --separate-stderr up 1
    assert_json '.changed, .nodes[0].watch.state' $'false\nstopped'
}

@test "a killed agent and a stopped one are failed for all others, nobody else is accused, and they come back" {
    up 5
    watch node-1 node-2 node-3
    local before node
    before=$(incarnation_on node-1 node-4)

    local-cluster kill node-4 gossip
    local-cluster pause node-5 gossip
    for node in node-1 node-2 node-3; do
        wait_until 20 sees "$node" node-4 failed
        wait_until 20 sees "$node" node-5 failed
    done
    assert_equal "$(accused)" "node-4 node-5"

    local-cluster start node-4
    local-cluster resume node-5
    for node in node-1 node-2 node-3; do
        wait_until 20 sees "$node" node-4 alive
        wait_until 20 sees "$node" node-5 alive
    done
    (($(incarnation_on node-1 node-4) > before))
    assert_equal "$(accused)" "node-4 node-5"
}

@test "stop: a node that leaves is left, not failed; start brings it back" {
    up 3

    local-cluster stop node-3
    wait_until 10 sees node-1 node-3 left
    wait_until 10 sees node-2 node-3 left
    # Nothing is wrong with an end that was asked for.
    assert_equal "$(jq -c 'select(.level == "warn" or .level == "error")' "$CX_CLUSTER_DIR/node-3/log/node.log")" ''

    local-cluster start node-3
    wait_until 10 sees node-1 node-3 alive
}

@test "partition: each side sees the other as failed, the smaller one knows that it is; heal brings them together" {
    ((EUID == 0)) || skip "nftables needs root"
    up 5

    local-cluster partition node-4,node-5
    wait_until 30 sees node-1 node-4 failed
    wait_until 30 sees node-4 node-1 failed
    wait_until 30 partition_is node-1 majority
    wait_until 30 partition_is node-4 minority
    assert_equal "$(status_on node-1 node-2)" alive
    assert_equal "$(status_on node-4 node-5)" alive

    local-cluster heal
    local node
    for node in node-{1..5}; do
        wait_until 60 partition_is "$node" majority
        wait_until 60 sees "$node" node-1 alive
        wait_until 60 sees "$node" node-5 alive
    done
}

@test "up with more nodes: the cluster grows" {
    up 2
    run --separate-stderr up 3
    assert_success
    assert_json .changed true
    assert_json '[.nodes[].alive]' '[3,3,3]'
}

@test "env and exec: the tools talk to that node" {
    up 2

    # shellcheck disable=SC2016 # the inner shell expands it
    run --separate-stderr bash -c 'eval "$(local-cluster env node-2)"; cx-gossip status'
    assert_success
    assert_json .node_id node-2
    run --separate-stderr local-cluster exec 2 -- cx-gossip status
    assert_json .node_id node-2
    run --separate-stderr local-cluster exec node-2 -- bash -c 'exit 7'
    assert_failure 7
}

@test "a pid file that names another process proves nothing: that process is left alone" {
    up 1
    local-cluster kill node-1
    start_daemon bystander sleep 1000
    echo "$daemon_pid 1 $(cat /proc/sys/kernel/random/boot_id)" >"$CX_CLUSTER_DIR/node-1/run/gossip.pid"

    run --separate-stderr local-cluster status
    assert_json '.nodes[0].gossip.state' stopped
    local-cluster down

    is_running "$daemon_pid"
}

@test "what can't be done is said, with its exit status" {
    run --separate-stderr local-cluster status
    assert_error not_found
    run --separate-stderr local-cluster dance
    assert_error usage
    run --separate-stderr local-cluster up --base 10.0.0
    assert_error usage
    run --separate-stderr local-cluster up --nodes many
    assert_error usage
}

@test "heal: who may not heal is told so; a time-out may begin with a zero" {
    mkdir "$CX_CLUSTER_DIR"
    jq -nc --arg base "$CX_NETWORK" '{base: $base, cluster: "local"}' >"$CX_CLUSTER_DIR/cluster.json"
    local user=()
    if ((EUID == 0)); then
        run --separate-stderr local-cluster heal --timeout 09
        assert_success
        assert_json .changed false
        chown -R 65534 "$CX_CLUSTER_DIR"
        chmod a+x "$BATS_TEST_TMPDIR" "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/test"
        user=(setpriv --reuid 65534 --clear-groups)
    fi
    run --separate-stderr "${user[@]}" "$(type -P local-cluster)" heal --timeout 09
    assert_error permission
    rm -r "$CX_CLUSTER_DIR"
}

@test "up: another program on the port is named instead of a daemon that fails" {
    start_daemon other /usr/bin/python3 -c '
import socket, sys, time
listener = socket.create_server((sys.argv[1], 7946))
print("ready", flush=True)
time.sleep(1000)' "$CX_NETWORK.11"
    wait_until 5 grep ready "$BATS_TEST_TMPDIR/other.log"

    run --separate-stderr up 1

    assert_error unavailable
}
