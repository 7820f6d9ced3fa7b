#!/usr/bin/env bats
# The gossip key ring for a host that has its certificate: the node's API hands it over to nodes alone,
# cx-join enroll takes it.

load common
load fake
load node

setup_file() {
    make_pki
}

setup() {
    cp -r "$PKI" "$BATS_TEST_TMPDIR/pki" # the key ring of a test lies beside its certificates
    PKI=$BATS_TEST_TMPDIR/pki
    write_node 1
    ring=$PKI/node-1/gossip.keys
    key=$(head -c 32 /dev/urandom | base64)
    (umask 077 && jq -n --arg key "$key" '[$key]' >"$ring")
    log=$BATS_TEST_TMPDIR/node-1/data/audit.log
}

audited() {
    jq -e "select($1)" "$log"
}

# write_host: node-2 as it is before it joins: its certificate, and nothing else. Its API has node-1's port,
# its seeds are taken for gossip addresses: only the host of node-1 counts.
write_host() {
    host=$BATS_TEST_TMPDIR/host
    address=$(free_loopback)
    seed=$(<"$BATS_TEST_TMPDIR/node-1/address")
    seed=${seed%:*}:7946
    rm -rf "$host"
    mkdir -p "$host/certs"
    cp "$PKI/node-2/"* "$host/certs/"
}

enroll() {
    "${crash[@]}" cx-join enroll --config "$host/config.yaml" --cert-dir "$host/certs" --data-dir "$host/data" \
        --log-dir "$host/log" --run-dir "$host/run" --bind-addr "$address:7946" --api-addr "$address:8080" "$@"
}

@test "the key ring is for certificates of nodes alone, and every read leaves its line" {
    start_node 1
    run api node-2 GET /api/v1/cluster/keyring
    assert_equal "$(http_status)" 200
    assert_json '.gossip_keyring[0]' "$key"
    wait_until 5 audited '.who == "node/node-2" and .action == "read_keyring" and .result == "ok"'
    run api node-3 GET '/api/v1/cluster/keyring?dry_run=1'
    assert_equal "$(http_status)" 200
    wait_until 5 audited '.who == "node/node-3" and .action == "read_keyring" and .result == "ok"'

    local who
    for who in vic olga adam; do
        run api "$who" GET /api/v1/cluster/keyring
        assert_equal "$(http_status)" 403
        assert_json .error.code permission
        wait_until 5 audited '.who == "operator/'"$who"'" and .action == "read_keyring" and .result == "refused"'
    done
    run ! grep -rF "$key" "$BATS_TEST_TMPDIR/node-1.log" "$log"
}

@test "the key ring is handed over in maintenance too; where there is none, it is not found" {
    start_node 1
    run api adam POST /api/v1/node/drain --data '{"mode":"maintenance"}'
    assert_json .changed true
    run api node-2 GET /api/v1/cluster/keyring
    assert_equal "$(http_status)" 200

    rm "$ring"
    run api node-2 GET /api/v1/cluster/keyring
    assert_equal "$(http_status)" 404
    wait_until 5 audited '.who == "node/node-2" and .action == "read_keyring" and .result == "failed"'
}

@test "enroll: a host with a certificate gets the keys and a configuration; again, nothing changes" {
    start_node 1
    write_host

    run --separate-stderr enroll --seed "$seed" --dry-run
    assert_success
    assert_json .changed true
    [[ ! -e $host/certs/gossip.keys && ! -e $host/config.yaml ]]

    run --separate-stderr enroll --seed "$(free_loopback):7946" --seed "$seed"
    assert_success
    validate_schema cx-join-init
    assert_json .changed true
    assert_equal "$(jq -c . "$host/certs/gossip.keys")" "[\"$key\"]"
    assert_equal "$(stat -c %a "$host/certs/gossip.keys")" 600
    assert_equal "$(cx-config get node_id --raw --config "$host/config.yaml")" node-2
    assert_equal "$(cx-config get cluster --raw --config "$host/config.yaml")" test
    run ! grep -F "$key" <<<"$output$stderr"

    run --separate-stderr enroll
    assert_success
    validate_schema cx-join-init
    assert_json .changed false

    # A configuration that is there stays, and says where all is.
    rm "$host/certs/gossip.keys"
    run --separate-stderr cx-join enroll --config "$host/config.yaml" --seed "$seed"
    assert_success
    assert_json '[.steps[] | select(.changed).name]' '["gossip_keyring"]'
}

@test "enroll: no certificate, no seed, one that is away, a stranger's CA: each its own error, nothing written" {
    start_node 1
    write_host
    run --separate-stderr enroll
    assert_error usage
    run --separate-stderr enroll --seed "$(free_loopback):7946" --timeout 1s
    assert_error unavailable
    cp "$PKI/other-ca/ca.crt" "$host/certs/"
    run --separate-stderr enroll --seed "$seed" --timeout 1s
    assert_error cert_invalid
    rm "$host/certs/node.crt"
    run --separate-stderr enroll --seed "$seed"
    assert_error not_found
    [[ ! -e $host/certs/gossip.keys && ! -e $host/config.yaml && ! -e $host/data ]]
}

crashed_or_done() {
    [[ ! -e $host/certs/gossip.keys ]] || [[ $(jq -c . "$host/certs/gossip.keys") == "[\"$key\"]" ]]
    [[ ! -e $host/config.yaml ]] || cx-config check "$host/config.yaml"
    [[ $1 == crashed ]] || [[ -e $host/certs/gossip.keys && -e $host/config.yaml ]]
}

enroll_with_seed() {
    enroll --seed "$seed"
}

@test "enroll: killed at every durable step, a rerun finishes" {
    start_node 1
    crash_at_every_step write_host enroll_with_seed crashed_or_done
    echo "# $crash_count crashes" >&3
}
