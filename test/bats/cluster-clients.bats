#!/usr/bin/env bats
# cx-agents, cx-queue and cx-health across a cluster of three real nodes.

load common
load real

setup_file() {
    make_real_certs
    local number
    for number in 2 3; do
        cx-ca issue --ca-dir "$CERTS/ca" --node-id "node-$number" --output "$CERTS/node-$number"
    done
    mkdir "$CERTS/node-1"
    cp "$CERTS"/{ca.crt,node.crt,node.key} "$CERTS/node-1"
}

# use NUMBER: the tools speak for this node.
use() {
    export CX_CONFIG=$BATS_TEST_TMPDIR/node-$1/config.yaml
}

write_member() {
    local home=$BATS_TEST_TMPDIR/node-$1
    mkdir -p "$home"/{run,data,log}
    [[ -e $BATS_TEST_TMPDIR/address-$1 ]] || free_loopback >"$BATS_TEST_TMPDIR/address-$1"
    cat >"$home/config.yaml" <<END
cluster: test
node_id: node-$1
bind_addr: $(<"$BATS_TEST_TMPDIR/address-$1"):7946
api_addr: $(<"$BATS_TEST_TMPDIR/address-$1"):8080
data_dir: $home/data
cert_dir: $CERTS/node-$1
run_dir: $home/run
log_dir: $home/log
bootstrap_expect: 3
seeds: [$(<"$BATS_TEST_TMPDIR/address-1"):7946]
gossip_profile: local
encrypt: false
END
}

start_member() {
    use "$1"
    start_daemon "gossip-$1" cx-gossip agent --config "$CX_CONFIG"
    start_daemon "node-$1" cx-node run --config "$CX_CONFIG"
}

all_alive() {
    local number
    for number in 1 2 3; do
        use "$number"
        [[ $(cx-gossip members | jq '[.members[] | select(.status == "alive" and .tags.api != null)] | length') == 3 ]] ||
            return 1
    done
    use 1
}

setup() {
    export CX_CERT_DIR=$CERTS
    local number
    for number in 1 2 3; do write_member "$number"; done
    for number in 1 2 3; do start_member "$number"; done
    wait_until 30 all_alive
    use 1
}

@test "every node reaches an agent wherever it lives, and --all sees all of it" {
    write_agent noter
    jq -nc --arg path "$BATS_TEST_TMPDIR/noter" '{id: "noter", command: [$path]}' |
        cx-agents deploy - --node node-2
    local number

    for number in 1 2 3; do
        use "$number"
        reaches() { cx-queue send --to noter --content "$number" --id "from-$number" --wait 5s; }
        wait_until 10 reaches
    done

    use 1
    run --separate-stderr cx-agents list --all
    assert_success
    assert_json '.agents | map(.id + "@" + .node_id)' '["noter@node-2"]'
    validate_schema cx-agents-list
    run --separate-stderr cx-agents show noter
    assert_error not_found
    run --separate-stderr cx-agents show noter --all
    assert_success
    run --separate-stderr cx-agents count --all
    assert_json '.count, (.nodes | length)' $'1\n3'
    run --separate-stderr cx-queue drain --all --timeout 10s
    assert_success
    run --separate-stderr cx-queue messages show from-3 --all
    assert_json .state 'done'
    assert_equal "$(sort -u "$BATS_TEST_TMPDIR/noter.log" | wc -l)" 3
    run --separate-stderr cx-agents suspend noter --all
    assert_success
    assert_json '.agents[0].state' suspended
}

@test "health of the cluster: whole, then with a member that died" {
    run --separate-stderr cx-health cluster
    assert_success
    validate_schema cx-health-cluster
    # What cx-gossip prints, cx-health takes. The machine may be busy: reachability is what counts.
    run --separate-stderr bash -c 'cx-gossip members | jq -c ".members[]" | cx-health node -'
    assert_json '.checks | map(.node_id) | unique' '["node-1","node-2","node-3"]'
    assert_json '[.checks[] | select(.status == "unknown")] | length' 0

    stop_daemon gossip-3 KILL
    stop_daemon node-3 KILL
    has_failed() { [[ $(cx-gossip members --status failed | jq .count) == 1 ]]; }
    wait_until 20 has_failed

    run --separate-stderr cx-health cluster
    assert_failure 1
    assert_json '.checks[] | select(.name == "cluster_membership") | .status' warning
    assert_json '.checks[] | select(.name == "partition_detection") | .status' ok
    run --separate-stderr cx-health node --all
    assert_json '[.checks[] | select(.name == "node_reachable") | .node_id]' '["node-3"]'
    run --separate-stderr cx-agents list --all
    assert_success
    run --separate-stderr cx-agents list --node node-3
    assert_error unavailable
    run --separate-stderr cx-agents list --node node-9
    assert_error not_found
}
