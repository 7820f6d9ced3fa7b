#!/usr/bin/env bats
# cx-join: a host becomes a node; run twice, interrupted, refused.

load common

setup() {
    root=$BATS_TEST_TMPDIR/node
    address=$(free_loopback)
    export CX_CONFIG=$root/etc/config.yaml
}

# init_node [OPTION…]: cx-join init with all of its paths below $root.
init_node() {
    "${crash[@]}" cx-join init --cluster prod --node-id node-1 --bind-addr "$address:7946" \
        --api-addr "$address:8080" --data-dir "$root/data" --cert-dir "$root/certs" \
        --log-dir "$root/log" --run-dir "$root/run" --bootstrap-expect 3 "$@"
}

# join_node [OPTION…]: the same for a second node, made for csr and install.
second_node() {
    local command=$1
    shift
    cx-join "$command" --cluster prod --node-id node-2 --bind-addr "$address:7946" \
        --api-addr "$address:8080" --data-dir "$root/2/data" --cert-dir "$root/2/certs" \
        --log-dir "$root/2/log" --run-dir "$root/2/run" --config "$root/2/config.yaml" "$@"
}

@test "init: one command makes CA, certificates, key ring and configuration" {
    run --separate-stderr init_node
    assert_success
    validate_schema cx-join-init
    assert_json .changed true
    assert_json .node_id node-1
    openssl verify -CAfile "$root/certs/ca.crt" "$root/certs/node.crt" "$root/certs/operator.crt"
    [[ $(stat -c %a "$root/certs/node.key") == 600 ]]
    [[ $(stat -c %a "$root/certs/gossip.keys") == 600 ]]
    [[ $(jq 'length' "$root/certs/gossip.keys") == 1 ]]
    cx-config check "$CX_CONFIG"
    [[ $(cx-config get --raw bootstrap_expect) == 3 ]]
}

@test "init: a second run changes nothing, not a byte" {
    init_node
    before=$(find "$root" -type f ! -name '*lock' -exec sha256sum {} + | sort)
    run --separate-stderr init_node
    assert_success
    assert_json .changed false
    assert_json '[.steps[] | select(.changed)]' '[]'
    [[ $(find "$root" -type f ! -name '*lock' -exec sha256sum {} + | sort) == "$before" ]]
}

@test "init: a configuration that says something else is not overwritten" {
    init_node
    run --separate-stderr init_node --advertise-addr "$address:7999"
    assert_error exists
    [[ $stderr == *advertise_addr* ]]
    run --separate-stderr init_node --bootstrap-expect 5
    assert_error exists
    [[ $stderr == *bootstrap_expect* ]]
}

@test "init: run again with fewer options it takes the rest from what is there" {
    init_node --advertise-addr "$address:7947" --san DNS:extra.example --gossip-profile local
    before=$(find "$root" -type f ! -name '*lock' -exec sha256sum {} + | sort)
    run --separate-stderr cx-join init
    assert_success
    assert_json .changed false
    run --separate-stderr cx-join init --node-id node-1 --bind-addr "$address:7946" --cert-dir "$root/certs/"
    assert_success
    assert_json '[.steps[] | select(.changed)]' '[]'
    [[ $(find "$root" -type f ! -name '*lock' -exec sha256sum {} + | sort) == "$before" ]]
    run --separate-stderr cx-join init --bind-addr 0.0.0.0:7946
    assert_error exists
    [[ $stderr == *bind_addr* ]]
}

@test "init: a folder that can't be made is told as that, and nothing is left behind" {
    mkdir -p "$root"
    touch "$root/file"
    local option
    for option in data-dir log-dir run-dir cert-dir; do
        run --separate-stderr init_node "--$option" "$root/file/below"
        assert_error cant_create
        [[ $stderr == *"$root/file"* ]]
        assert_equal "$(ls "$root")" file
    done
}

@test "init: --dry-run writes nothing and says what it would" {
    run --separate-stderr init_node --dry-run
    assert_success
    assert_json .changed true
    assert_json '[.steps[] | select(.name == "config")][0].changed' true
    [[ ! -e $root ]]
}

@test "init --no-ca: configuration, folders and key ring alone" {
    run --separate-stderr init_node --no-ca
    assert_success
    [[ ! -e $root/certs/ca && ! -e $root/certs/node.crt && -e $root/certs/gossip.keys ]]
}

@test "init: what can't be is refused before anything is made" {
    run --separate-stderr cx-join init --config "$CX_CONFIG"
    assert_error usage
    run --separate-stderr cx-join init --node-id '../x' --config "$CX_CONFIG"
    assert_error invalid
    run --separate-stderr init_node --bind-addr nonsense:port
    [[ $status != 0 && ! -e $root/etc/config.yaml ]]
    run --separate-stderr cx-join init --node-idd node-1
    assert_error usage
    [[ $stderr == *node-id* ]]
}

prepare_init() { rm -rf "$root"; }
check_init() {
    if [[ $1 == crashed ]]; then
        # Before or after: what is there is whole, and a key ring is never readable for others.
        [[ ! -e $CX_CONFIG ]] || cx-config check "$CX_CONFIG"
        [[ ! -e $root/certs/gossip.keys ]] || [[ $(jq length "$root/certs/gossip.keys") == 1 ]]
        return
    fi
    cx-config check "$CX_CONFIG"
    openssl verify -CAfile "$root/certs/ca.crt" "$root/certs/node.crt" "$root/certs/operator.crt"
    cmp <(openssl x509 -in "$root/certs/node.crt" -noout -pubkey) \
        <(openssl pkey -in "$root/certs/node.key" -pubout)
    [[ -z $(find "$root" -name '.*.cxtmp-*') ]]
}

@test "init: killed at every durable step, a rerun finishes" {
    crash_at_every_step prepare_init init_node check_init
    echo "# $crash_count crashes" >&3
}

@test "preflight: names all six checks, each with its reason" {
    init_node
    run --separate-stderr cx-join preflight
    assert_success
    validate_schema cx-join-checks
    assert_json .ok true
    assert_json '[.checks[].name] | sort' \
        '["certificates","clock_skew","data_directories","disk_space","network_connectivity","ports_free"]'
    assert_json '[.checks[] | select(.detail == "")]' '[]'
}

failed_check() { jq -r '.checks[] | select(.ok | not) | .name' <<<"$output"; }

@test "preflight: a port that is taken, a seed that is away, a certificate of another CA" {
    init_node
    start_squatter squatter "$address" 8080
    run --separate-stderr cx-join preflight
    assert_failure 1
    [[ $(failed_check) == ports_free ]]
    stop_daemon squatter

    run --separate-stderr cx-join preflight --seed "$(free_loopback):7946"
    assert_failure 1
    [[ $(failed_check) == network_connectivity ]]

    cx-ca init --ca-dir "$BATS_TEST_TMPDIR/other" --cluster prod
    cp "$BATS_TEST_TMPDIR/other/ca.crt" "$root/certs/ca.crt"
    run --separate-stderr cx-join preflight
    assert_failure 1
    [[ $(failed_check) == certificates ]]
}

agent_answers() { cx-gossip status; }
node_answers() { cx-node status; }

@test "preflight: this node's own daemons on its ports are no strangers" {
    init_node
    start_daemon agent cx-gossip agent --config "$CX_CONFIG"
    start_daemon node cx-node run --config "$CX_CONFIG"
    wait_until 10 agent_answers
    wait_until 10 node_answers
    run --separate-stderr cx-join preflight
    assert_success
    assert_json '.checks[] | select(.name == "ports_free") | .ok' true

    stop_daemon node
    start_squatter squatter "$address" 8080
    run --separate-stderr cx-join preflight
    assert_failure 1
    [[ $(failed_check) == ports_free ]]
}

@test "csr, sign, install: a node without a network path to the CA" {
    init_node
    run --separate-stderr second_node csr
    assert_success
    openssl req -verify -noout <<<"$output"
    cx-ca sign --ca-dir "$root/certs/ca" --node-id node-2 <<<"$output" >"$BATS_TEST_TMPDIR/signed"
    run --separate-stderr second_node install "$BATS_TEST_TMPDIR/signed"
    assert_success
    validate_schema cx-join-init
    assert_json .changed true
    openssl verify -CAfile "$root/2/certs/ca.crt" "$root/2/certs/node.crt"
    [[ $(stat -c %a "$root/2/certs/node.key") == 600 ]]
    # The seeds that the CA names are in the configuration.
    [[ $(cx-config get --config "$root/2/config.yaml" seeds | jq -c .value) == "$(jq -c '.seeds // []' "$BATS_TEST_TMPDIR/signed")" ]]
    run --separate-stderr second_node install "$BATS_TEST_TMPDIR/signed"
    assert_success
    assert_json .changed false
}

@test "csr: --dry-run makes no key, prints no request, and says what would be made" {
    run --separate-stderr second_node csr --dry-run
    assert_success
    validate_schema cx-join-init
    assert_json .changed true
    assert_json '[.steps[] | select(.name == "node_key").changed]' '[true]'
    [[ ! -e $root ]]
}

@test "install: a certificate for another key or another node is refused and nothing is written" {
    init_node
    second_node csr >"$BATS_TEST_TMPDIR/csr"
    cx-ca sign --ca-dir "$root/certs/ca" --node-id node-3 <"$BATS_TEST_TMPDIR/csr" \
        >"$BATS_TEST_TMPDIR/signed"
    run --separate-stderr second_node install "$BATS_TEST_TMPDIR/signed"
    assert_error cert_invalid
    [[ ! -e $root/2/certs/node.crt && ! -e $root/2/config.yaml ]]
    run --separate-stderr second_node install - <<<'{"certificate_pem": 3}'
    assert_error invalid
    run --separate-stderr second_node install - <<<'nonsense'
    assert_error malformed
}

@test "wait: passes at once, or says at its deadline who is there" {
    init_node
    run --separate-stderr cx-join wait --timeout 300ms
    assert_error timeout
    [[ $stderr == *'0 of 3'* ]]
}

# ---- verify

@test "verify: what comes up a moment later is waited for; what does not come is told" {
    init_node --bootstrap-expect 1
    run --separate-stderr cx-join verify --timeout 1ms
    assert_failure 1
    validate_schema cx-join-checks
    assert_json '[.checks[] | select(.ok | not) | .name]' '["members","api","smoke_message"]'

    start_daemon agent cx-gossip agent --config "$CX_CONFIG"
    cx-join wait
    start_daemon verify cx-join verify --json # the node is not there yet
    start_daemon node cx-node run
    wait_until 20 grep -q smoke_message "$BATS_TEST_TMPDIR/verify.log"
    run head -n 1 "$BATS_TEST_TMPDIR/verify.log"
    validate_schema cx-join-checks
    assert_json '[.checks[] | [.name, .ok]]' '[["members",true],["certificates",true],["api",true],["smoke_message",true]]'
}
