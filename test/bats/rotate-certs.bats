#!/usr/bin/env bats
# rotate-certs: the certificates of a real cluster, renewed node by node while its daemons run.

load common

setup_file() {
    # The tests change the certificates of one cluster.
    export BATS_NO_PARALLELIZE_WITHIN_FILE=true
    export dir=$BATS_FILE_TMPDIR/cluster
    local-cluster up --no-watch --nodes 3 --dir "$dir" --base "$CX_NETWORK" >"$BATS_FILE_TMPDIR/up"
}

setup() {
    eval "$(local-cluster env node-1 --dir "$dir")"
}

teardown_file() {
    local-cluster down --dir "$dir" --purge >"$BATS_FILE_TMPDIR/down" || true
}

# serials: what the nodes say of the certificates that they use, by name.
serials() { cx-node status --all | jq -c '[.nodes[] | .certificate.serial]'; }
pids() { cx-node status --all | jq -c '[.nodes[] | .pid]'; }

@test "every node gets a new certificate and shows it; no daemon is restarted" {
    local before processes
    before=$(serials) processes=$(pids)
    run --separate-stderr rotate-certs --dry-run
    assert_success
    assert_equal "$(serials)" "$before"
    run --separate-stderr rotate-certs
    assert_success
    validate_schema --lines procedure-record
    assert_equal "$(jq -sc 'last | [.status, .detail.renewed]' <<<"$output")" '["done",["node-2","node-3","node-1"]]'
    assert_equal "$(jq -nc --argjson a "$before" --argjson b "$(serials)" '$a - $b | length')" 3
    assert_equal "$(pids)" "$processes"
    # The names in it are those of before.
    run cx-ca show "$dir/node-2/certs/node.crt"
    assert_json ".items[0] | [.dns, .ip]" "[[\"node-2\"],[\"$(jq -r .base "$dir/cluster.json").12\"]]"
    run --separate-stderr cx-health certs --all
    assert_success
}

@test "--before-expiry: only what is due; a wrong name, a host without the CA's key: refused" {
    local before
    before=$(serials)
    run --separate-stderr rotate-certs --before-expiry 30d
    assert_success
    assert_equal "$(jq -sc 'last | .detail.renewed' <<<"$output")" '[]'
    assert_equal "$(serials)" "$before"
    run --separate-stderr rotate-certs --before-expiry 100d --nodes node-3
    assert_equal "$(jq -sc 'last | .detail.renewed' <<<"$output")" '["node-3"]'
    run --separate-stderr rotate-certs --nodes node-7
    assert_error invalid
    run --separate-stderr local-cluster exec node-2 --dir "$dir" -- rotate-certs
    assert_error not_found
}

@test "what this CA did not give to this node is refused: its names go into no new certificate" {
    local certs=$dir/node-2/certs before made
    before=$(serials)
    cp "$certs/node.crt" "$BATS_TEST_TMPDIR/kept.crt"
    openssl req -x509 -new -key "$certs/node.key" -subj /CN=node-2 -days 30 -out "$BATS_TEST_TMPDIR/own.crt" \
        -addext 'subjectAltName=DNS:elsewhere.example.com,URI:spiffe://local/node/node-2'
    for made in "$BATS_TEST_TMPDIR/own.crt" "$dir/node-3/certs/node.crt"; do
        cat "$made" >"$certs/node.crt"
        run --separate-stderr rotate-certs --nodes node-2
        assert_failure 65
        [[ $(jq -r .error.message <<<"${stderr##*$'\n'}") == *"not the certificate that this CA gave it"* ]]
        cmp "$made" "$certs/node.crt"
    done
    cat "$BATS_TEST_TMPDIR/kept.crt" >"$certs/node.crt"
    assert_equal "$(serials)" "$before"
}

@test "a certificate that was revoked is refused, also when it has ended: its node gets no new one" {
    local certs=$dir/node-2/certs ca=$dir/node-1/certs/ca before validity
    before=$(serials)
    cp "$certs/node.crt" "$BATS_TEST_TMPDIR/kept.crt"
    for validity in 90d 1s; do
        cx-ca issue --ca-dir "$ca" --node-id node-2 --validity "$validity" --force --output "$BATS_TEST_TMPDIR/$validity" >"$BATS_TEST_TMPDIR/issued"
        cx-ca revoke --ca-dir "$ca" --serial "$(cx-ca show "$BATS_TEST_TMPDIR/$validity/node.crt" --json | jq -r '.items[0].serial')" \
            >"$BATS_TEST_TMPDIR/revoked"
        cat "$BATS_TEST_TMPDIR/$validity/node.crt" >"$certs/node.crt"
        [[ $validity != 1s ]] || wait_until 10 has_ended "$certs/node.crt"
        run --separate-stderr rotate-certs --nodes node-2
        assert_failure 65
        [[ $(jq -r .error.message <<<"${stderr##*$'\n'}") == *"certificate is revoked"* ]]
        cmp "$BATS_TEST_TMPDIR/$validity/node.crt" "$certs/node.crt"
    done
    cat "$BATS_TEST_TMPDIR/kept.crt" >"$certs/node.crt"
    assert_equal "$(serials)" "$before"
}

has_ended() {
    ! openssl x509 -in "$1" -noout -checkend 0
}

@test "a node that can't be reached stops it; --resume goes on and renews nothing twice" {
    local third
    cat >"$BATS_TEST_TMPDIR/remote" <<END
#!/bin/bash
[[ \$1 != node-3 || ! -e $BATS_TEST_TMPDIR/cut ]] || exit 255
exec local-cluster exec "\$@"
END
    chmod +x "$BATS_TEST_TMPDIR/remote"
    export CX_REMOTE=$BATS_TEST_TMPDIR/remote
    touch "$BATS_TEST_TMPDIR/cut"
    run --separate-stderr rotate-certs
    assert_failure 1
    third=$(serials)
    rm "$BATS_TEST_TMPDIR/cut"
    run --separate-stderr rotate-certs --resume
    assert_success
    assert_equal "$(jq -sc 'last | .detail.renewed' <<<"$output")" '["node-2","node-3","node-1"]'
    # node-2 had its new one before.
    assert_equal "$(jq -nc --argjson a "$third" --argjson b "$(serials)" '$a - $b | length')" 2
}
