#!/usr/bin/env bats
# cx-ca is killed before each durable step: what is left is as before or as after, never between, and
# the same command again finishes.

bats_require_minimum_version 1.5.0

setup() {
    load common
    cd "$BATS_TEST_TMPDIR" || return
    export CX_CONFIG=$BATS_TEST_TMPDIR/config.yaml
    printf 'cluster: prod\n' >config.yaml
}

differ() {
    ! cmp -s "$1" "$2"
}

same_key() {
    [[ $(openssl x509 -in "$1" -noout -pubkey) == $(openssl pkey -in "$2" -pubout) ]]
}

# All that is in the folder is whole: no temporary file is left, and the log is in order.
check_ca() {
    [[ -z $(find . -name '*cxtmp*') ]]
    cx-ca audit verify --ca-dir ca | jq -e .ok
    [[ $(jq -s 'length == (map(.seq) | unique | length)' ca/audit.log) == true ]]
}

# A certificate that somebody can see is in the record.
check_recorded() {
    local serial
    serial=$(openssl x509 -in "$1" -noout -serial | sed 's/.*=//' | tr A-F a-f)
    cx-ca list --ca-dir ca --all | jq -e --arg serial "$serial" 'any(.certificates[]; .serial == $serial)'
}

fresh() {
    rm -rf ca out
}

# ---- init

run_init() {
    "${crash[@]}" cx-ca init --ca-dir ca
}

check_init() {
    if [[ $1 == crashed ]]; then
        if [[ -e ca/ca.crt ]]; then
            same_key ca/ca.crt ca/ca.key
            openssl verify -CAfile ca/ca.crt ca/ca.crt
        fi
        if [[ -e ca/ca.key ]]; then
            openssl pkey -in ca/ca.key -noout
            cp ca/ca.key key-of-crash
        else
            rm -f key-of-crash
        fi
        return
    fi
    same_key ca/ca.crt ca/ca.key
    [[ ! -e key-of-crash ]] || cmp ca/ca.key key-of-crash
    check_ca
    [[ $(jq -s '[.[] | select(.event == "ca_recorded")] | length' ca/audit.log) == 1 ]]
}

@test "init: killed before any step, the next run finishes with the same key" {
    crash_at_every_step fresh run_init check_init
}

# ---- issue

with_ca() {
    fresh
    cx-ca init --ca-dir ca >/dev/null
}

run_issue() {
    "${crash[@]}" cx-ca issue --ca-dir ca --node-id node-1 --output out
}

check_issue() {
    if [[ $1 == crashed ]]; then
        rm -f cert-of-crash
        [[ -e out/node.crt ]] || return 0
        same_key out/node.crt out/node.key
        openssl verify -CAfile out/ca.crt out/node.crt
        cp out/node.crt cert-of-crash
        return
    fi
    same_key out/node.crt out/node.key
    openssl verify -CAfile out/ca.crt out/node.crt
    [[ ! -e cert-of-crash ]] || cmp out/node.crt cert-of-crash
    check_recorded out/node.crt
    check_ca
    # one certificate, however often it was tried
    [[ $(cx-ca list --ca-dir ca --all | jq .count) == 1 ]]
}

@test "issue: killed before any step, the next run finishes, and no certificate is lost" {
    crash_at_every_step with_ca run_issue check_issue
}

with_node() {
    with_ca
    cx-ca issue --ca-dir ca --node-id node-1 --output out >/dev/null
    cp out/node.crt old.crt
}

run_reissue() {
    "${crash[@]}" cx-ca issue --ca-dir ca --node-id node-1 --output out --san IP:10.0.0.1
}

check_reissue() {
    same_key out/node.crt out/node.key
    openssl verify -CAfile out/ca.crt out/node.crt
    if [[ $1 == 'done' ]]; then
        differ out/node.crt old.crt
        check_recorded out/node.crt
        check_ca
        [[ $(cx-ca list --ca-dir ca --all | jq .count) == 2 ]]
    fi
}

@test "issue: with a certificate there, it is the old or the new one at any time" {
    crash_at_every_step with_node run_reissue check_reissue
}

run_new_key() {
    "${crash[@]}" cx-ca issue --ca-dir ca --node-id node-1 --output out --new-key
}

check_new_key() {
    [[ ! -e out/node.crt && $1 == crashed ]] || same_key out/node.crt out/node.key
    [[ $1 == crashed ]] || check_ca
}

@test "issue --new-key: a certificate never stands beside another key" {
    crash_at_every_step with_node run_new_key check_new_key
}

# ---- renew, revoke

run_renew() {
    "${crash[@]}" cx-ca renew --ca-dir ca --cert out/node.crt --key out/node.key --before-expiry 91d
}

check_renew() {
    same_key out/node.crt out/node.key
    openssl verify -CAfile ca/ca.crt out/node.crt
    [[ $1 == crashed ]] || {
        differ out/node.crt old.crt
        check_recorded out/node.crt
        check_ca
    }
}

@test "renew: it is the old or the new one at any time" {
    crash_at_every_step with_node run_renew check_renew
}

run_revoke() {
    "${crash[@]}" cx-ca revoke --ca-dir ca --node-id node-1
}

check_revoke() {
    [[ ! -e ca/crl.pem ]] || openssl crl -in ca/crl.pem -CAfile ca/ca.crt -noout
    [[ $1 == 'done' ]] || return 0
    openssl crl -in ca/crl.pem -noout -text |
        grep -q "Serial Number: $(openssl x509 -in old.crt -noout -serial | sed 's/.*=//')"
    check_ca
    [[ $(jq -s '[.[] | select(.event == "certificate_revoked")] | length' ca/audit.log) == 1 ]]
    [[ $(jq -s '[.[] | select(.event == "crl_signed") | .number] | . == unique' ca/audit.log) == true ]]
}

@test "revoke: killed before any step, the next run brings it into the list" {
    crash_at_every_step with_node run_revoke check_revoke
}
