#!/usr/bin/env bats
# cx-ca from the outside: what it prints, what it writes, what openssl says of it.

bats_require_minimum_version 1.5.0

setup() {
    load common
    cd "$BATS_TEST_TMPDIR" || return
    export CX_CONFIG=$BATS_TEST_TMPDIR/config.yaml
    printf 'cluster: prod\ncert_dir: %s/certs\n' "$BATS_TEST_TMPDIR" >config.yaml
}

# new_ca [OPTION…]: a CA in ./ca
new_ca() {
    cx-ca init --ca-dir ca "$@" >/dev/null
}

# issue_node ID DIR [OPTION…]
issue_node() {
    cx-ca issue --ca-dir ca --node-id "$1" --output "$2" "${@:3}"
}

differ() {
    ! cmp -s "$1" "$2"
}

# same_key CERT KEY: they belong together.
same_key() {
    [[ $(openssl x509 -in "$1" -noout -pubkey) == $(openssl pkey -in "$2" -pubout) ]]
}

is_expired() {
    ! openssl x509 -in "$1" -noout -checkend 0 >/dev/null
}

mode_of() {
    stat -c %a "$1"
}

# ---- init

@test "init: makes a CA that openssl accepts, with a key for its owner alone" {
    run --separate-stderr cx-ca init --ca-dir ca
    assert_success
    validate_schema cx-ca-init
    assert_json .changed true
    assert_json .cluster prod
    assert_json .fingerprint_sha256 "$(openssl x509 -in ca/ca.crt -noout -fingerprint -sha256 |
        sed 's/.*=//; s/://g' | tr A-F a-f)"

    assert_equal "$(mode_of ca) $(mode_of ca/ca.key) $(mode_of ca/ca.db)" "700 600 600"
    openssl verify -CAfile ca/ca.crt -check_ss_sig ca/ca.crt
    run openssl x509 -in ca/ca.crt -noout -text
    assert_output --partial 'CA:TRUE, pathlen:0'
    assert_output --partial 'URI:spiffe://prod'
    assert_output --partial 'Certificate Sign, CRL Sign'
    refute_output --partial 'Digital Signature'
}

@test "init: run again it changes nothing" {
    new_ca
    cp -a ca before
    run --separate-stderr cx-ca init --ca-dir ca --validity 10d --key-type ed25519
    assert_success
    assert_json .changed false
    cmp ca/ca.crt before/ca.crt
    cmp ca/ca.key before/ca.key
    cmp ca/audit.log before/audit.log
}

@test "init: never overwrites a key or a certificate" {
    new_ca
    mv ca/ca.key elsewhere
    run --separate-stderr cx-ca init --ca-dir ca
    assert_error exists
    mv elsewhere ca/ca.key

    run --separate-stderr cx-ca init --ca-dir ca --cluster other
    assert_error exists

    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca/ca.key 2>/dev/null
    run --separate-stderr cx-ca init --ca-dir ca
    assert_error cert_invalid
}

@test "init: --dry-run makes nothing" {
    run --separate-stderr cx-ca init --ca-dir ca --dry-run
    assert_success
    validate_schema cx-ca-init
    assert_json '.changed, .fingerprint_sha256' $'true\nnull'
    [[ ! -e ca ]]
}

@test "init: every kind of key, and a passphrase, work through to a handshake's certificate" {
    local type
    (umask 077 && echo 'correct horse' >passphrase && echo wrong >wrong)
    for type in p256 p384 ed25519; do
        cx-ca init --ca-dir "$type" --key-type "$type" --passphrase-file passphrase >/dev/null
        grep -q 'BEGIN ENCRYPTED PRIVATE KEY' "$type/ca.key"
        openssl pkey -in "$type/ca.key" -passin pass:'correct horse' -noout
        cx-ca issue --ca-dir "$type" --passphrase-file passphrase --node-id node-1 \
            --key-type "$type" --output "$type/node" >/dev/null
        openssl verify -x509_strict -CAfile "$type/ca.crt" "$type/node/node.crt"
    done
    run --separate-stderr cx-ca issue --ca-dir p256 --node-id node-2 --output x
    assert_error permission
    run --separate-stderr cx-ca issue --ca-dir p256 --passphrase-file wrong --node-id node-2 --output x
    assert_error permission
    [[ ! -e x ]]
}

@test "init: the operators' own paths: certificate and key apart from the CA's folder" {
    run --separate-stderr cx-ca init --ca-cert etc/caxton/ca.crt --ca-key etc/caxton/ca.key \
        --validity 3650d --config /dev/null
    assert_success
    assert_json .changed true

    run --separate-stderr cx-ca issue --node-id node-1 --ca-cert etc/caxton/ca.crt \
        --ca-key etc/caxton/ca.key --output etc/caxton/certs/
    assert_success
    openssl verify -CAfile etc/caxton/ca.crt etc/caxton/certs/node.crt

    # the second node: its administrator copied both
    mkdir other
    cp etc/caxton/ca.crt etc/caxton/ca.key other
    run --separate-stderr cx-ca issue --node-id node-2 --ca-cert other/ca.crt \
        --ca-key other/ca.key --output other/certs/
    assert_success
    run --separate-stderr cx-ca list --ca-key other/ca.key
    assert_json '.certificates[].name' node-2
}

@test "init: without a place it is cert_dir/ca, and a CA beside cert_dir is found too" {
    run --separate-stderr cx-ca init
    assert_json .ca_cert "$PWD/certs/ca/ca.crt"
    rm -r certs
    new_ca
    mv ca/* .
    run --separate-stderr cx-ca issue --node-id node-1 --output certs
    assert_success
}

# ---- issue

@test "issue: a node's certificate for server and client, its key for its owner alone" {
    new_ca
    run --separate-stderr issue_node node-1 out --san DNS:a.example,IP:10.0.0.1 --san ::1
    assert_success
    validate_schema cx-ca-issue
    assert_json .changed true
    assert_json .uri spiffe://prod/node/node-1
    assert_json .certificate out/node.crt

    assert_equal "$(mode_of out) $(mode_of out/node.key)" "700 600"
    same_key out/node.crt out/node.key
    openssl verify -x509_strict -purpose sslserver -CAfile out/ca.crt out/node.crt
    openssl verify -x509_strict -purpose sslclient -CAfile out/ca.crt out/node.crt
    run openssl x509 -in out/node.crt -noout -text
    assert_output --partial 'URI:spiffe://prod/node/node-1, DNS:node-1, DNS:a.example, IP Address:10.0.0.1, IP Address:0:0:0:0:0:0:0:1'
    assert_output --partial 'TLS Web Server Authentication, TLS Web Client Authentication'
    assert_output --partial 'CA:FALSE'
}

@test "issue: an operator's certificate is for clients only and holds the role" {
    new_ca
    run --separate-stderr cx-ca issue --ca-dir ca --operator alice --role viewer --output out
    assert_success
    validate_schema cx-ca-issue
    assert_json .role viewer
    openssl verify -purpose sslclient -CAfile ca/ca.crt out/operator.crt
    run openssl verify -purpose sslserver -CAfile ca/ca.crt out/operator.crt
    assert_failure
    run openssl x509 -in out/operator.crt -noout -subject
    assert_output --partial 'OU = viewer, CN = alice'
}

@test "issue: a clock that is four minutes behind accepts it" {
    new_ca
    issue_node node-1 out
    openssl verify -attime $(($(date +%s) - 240)) -CAfile ca/ca.crt out/node.crt
}

@test "issue: what is there and matches stays; --force makes a new one for the same key" {
    new_ca
    issue_node node-1 out
    cp -a out before
    run --separate-stderr issue_node node-1 out
    assert_json .changed false
    cmp out/node.crt before/node.crt

    run --separate-stderr issue_node node-1 out --force
    assert_json .changed true
    cmp out/node.key before/node.key
    differ out/node.crt before/node.crt
    same_key out/node.crt out/node.key

    run --separate-stderr issue_node node-1 out --new-key
    assert_json .changed true
    differ out/node.key before/node.key
    same_key out/node.crt out/node.key
}

@test "issue: other names, an expired or a revoked certificate: a new one" {
    new_ca
    issue_node node-1 out --validity 1s
    wait_until 5 is_expired out/node.crt
    run --separate-stderr issue_node node-1 out
    assert_json .changed true

    run --separate-stderr issue_node node-1 out --san DNS:b.example
    assert_json .changed true
    run --separate-stderr issue_node node-1 out --san DNS:B.example
    assert_json .changed false

    cx-ca revoke --ca-dir ca --node-id node-1 2>/dev/null >&2
    run --separate-stderr issue_node node-1 out --san DNS:b.example
    assert_json .changed true
    run --separate-stderr cx-ca verify --ca-dir ca --cert out/node.crt --key out/node.key
    assert_json .valid true
}

@test "verify: the CA's own certificate is told for what it is" {
    new_ca
    issue_node node-1 out
    run --separate-stderr cx-ca verify --ca-dir ca --cert ca/ca.crt
    assert_failure 1
    validate_schema cx-ca-verify
    assert_json '[.valid, .kind, .uri]' '[false,"ca",null]'
    [[ $(jq -r .reason <<<"$output") == *"CA of cluster"* ]]
    run --separate-stderr cx-ca verify --ca-dir ca --cert out/node.crt
    validate_schema cx-ca-verify
    assert_json .kind node
}

@test "issue: another's certificate, or another CA's, is not overwritten unasked" {
    new_ca
    issue_node node-1 out
    run --separate-stderr issue_node node-2 out
    assert_error exists

    cx-ca init --ca-dir ca2 >/dev/null
    run --separate-stderr cx-ca issue --ca-dir ca2 --node-id node-1 --output out
    assert_error exists
    run --separate-stderr cx-ca issue --ca-dir ca2 --node-id node-1 --output out --force
    assert_success
    openssl verify -CAfile ca2/ca.crt out/node.crt
    cmp out/ca.crt ca2/ca.crt
}

@test "issue: a folder of roots that holds this CA's among others is kept" {
    new_ca
    cx-ca init --ca-dir ca2 >/dev/null
    mkdir out
    cat ca2/ca.crt ca/ca.crt >out/ca.crt
    run --separate-stderr issue_node node-1 out
    assert_success
    assert_equal "$(grep -c BEGIN out/ca.crt)" 2
}

@test "issue: --dry-run makes nothing" {
    new_ca
    cp -a ca before
    run --separate-stderr issue_node node-1 out --dry-run
    assert_success
    validate_schema cx-ca-issue
    assert_json '.changed, .serial' $'true\nnull'
    [[ ! -e out ]]
    diff -r -x 'ca.db-*' ca before
}

@test "issue: every mistake has its own error" {
    new_ca
    run --separate-stderr cx-ca issue --ca-dir ca --node-id node-1
    assert_error usage
    run --separate-stderr cx-ca issue --ca-dir ca --output out
    assert_error usage
    run --separate-stderr cx-ca issue --ca-dir ca --node-id a --operator b --output out
    assert_error usage
    run --separate-stderr cx-ca issue --ca-dir ca --operator alice --output out
    assert_error usage
    run --separate-stderr cx-ca issue --ca-dir ca --operator alice --role root --output out
    assert_error usage
    run --separate-stderr issue_node ../x out
    assert_error invalid
    run --separate-stderr issue_node 'node 1' out
    assert_error invalid
    run --separate-stderr issue_node node-1 out --san 'DNS:a b'
    assert_error invalid
    run --separate-stderr issue_node node-1 out --san IP:10.0.0.256
    assert_error invalid
    run --separate-stderr issue_node node-1 out --san URI:spiffe://prod/node/node-2
    assert_error invalid
    run --separate-stderr issue_node node-1 out --validity 200000d
    assert_error invalid
    run --separate-stderr issue_node node-1 ca/ca.key
    assert_error cant_create
    run --separate-stderr issue_node node-1 /proc/out
    assert_error cant_create
    run --separate-stderr cx-ca issue --ca-dir nowhere --node-id node-1 --output out
    assert_error not_found
    [[ $stderr == *'cx-ca init'* ]]
    [[ ! -e out ]]
}

@test "issue: a CA without its key says how to sign elsewhere" {
    new_ca
    mkdir seed
    cp ca/ca.crt seed
    run --separate-stderr cx-ca issue --ca-cert seed/ca.crt --node-id node-2 --output out
    assert_error not_found
    [[ $stderr == *'cx-ca sign'* ]]
}

@test "issue: an expired CA, another CA's key, a key that others may read are refused" {
    new_ca --validity 1s
    wait_until 5 is_expired ca/ca.crt
    run --separate-stderr issue_node node-1 out
    assert_error cert_expired

    cx-ca init --ca-dir good >/dev/null
    cx-ca init --ca-dir other >/dev/null
    run --separate-stderr cx-ca issue --ca-cert good/ca.crt --ca-key other/ca.key --node-id a --output out
    assert_error cert_invalid
    chmod 640 good/ca.key
    run --separate-stderr cx-ca issue --ca-dir good --node-id a --output out
    assert_error permission
    [[ ! -e out ]]
}

@test "issue: a second one waits for the first, and gives up with the holder's name" {
    new_ca
    exec 8>>ca/ca.lock
    flock 8
    run --separate-stderr issue_node node-1 out --timeout 200ms
    assert_error busy
    exec 8>&-
    run --separate-stderr issue_node node-1 out
    assert_success
}

@test "issue: twenty at once all get a certificate, and the audit log stays whole" {
    local pids=() number
    new_ca
    for ((number = 1; number <= 20; number++)); do
        issue_node "node-$number" "out-$number" >/dev/null &
        pids+=($!)
    done
    wait "${pids[@]}"
    run --separate-stderr cx-ca list --ca-dir ca
    assert_json .count 20
    run --separate-stderr cx-ca audit verify --ca-dir ca
    assert_json '.ok, .entries' $'true\n21'
}

# ---- sign

@test "sign: a request from openssl becomes a certificate for its key" {
    new_ca
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout node.key \
        -subj /CN=node-4/OU=admin -addext 'subjectAltName=URI:spiffe://prod/operator/root,DNS:evil' \
        -addext 'basicConstraints=CA:TRUE' -out csr.pem 2>/dev/null
    run --separate-stderr cx-ca sign --ca-dir ca <csr.pem
    assert_success
    validate_schema cx-ca-sign
    assert_json .uri spiffe://prod/node/node-4
    jq -r .certificate_pem <<<"$output" >node.crt
    same_key node.crt node.key
    openssl verify -purpose sslclient -CAfile ca/ca.crt node.crt
    run openssl x509 -in node.crt -noout -text
    refute_output --partial evil
    refute_output --partial operator
    refute_output --partial admin
    assert_output --partial 'CA:FALSE'

    # the same again: the same
    run --separate-stderr cx-ca sign --ca-dir ca --pem csr.pem
    assert_output "$(cat node.crt)"
    run --separate-stderr cx-ca list --ca-dir ca
    assert_json .count 1
    # unless a new one is wanted
    run --separate-stderr cx-ca sign --ca-dir ca --pem --force csr.pem
    refute_output "$(cat node.crt)"
}

@test "sign: a name that another key holds is given only when it is named" {
    new_ca
    issue_node node-4 out
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout node.key \
        -subj /CN=node-4 -out csr.pem 2>/dev/null
    run --separate-stderr cx-ca sign --ca-dir ca csr.pem
    assert_error exists
    run --separate-stderr cx-ca sign --ca-dir ca --node-id node-4 csr.pem
    assert_success
    run --separate-stderr cx-ca sign --ca-dir ca --operator eve --role admin csr.pem
    assert_json .uri spiffe://prod/operator/eve
}

@test "sign: garbage, a false signature and a weak key are refused" {
    new_ca
    run --separate-stderr cx-ca sign --ca-dir ca <<<hello
    assert_error malformed
    run --separate-stderr cx-ca sign --ca-dir ca </dev/null
    assert_error malformed
    openssl req -new -newkey rsa:1024 -nodes -keyout k -subj /CN=a -out weak.pem 2>/dev/null
    run --separate-stderr cx-ca sign --ca-dir ca weak.pem
    assert_error invalid
    openssl req -new -newkey rsa:2048 -nodes -keyout k -subj /CN=.. -out odd.pem 2>/dev/null
    run --separate-stderr cx-ca sign --ca-dir ca odd.pem
    assert_error usage
}

# ---- renew

@test "renew: only when it ends soon; same key, same names; expired ones too" {
    new_ca
    issue_node node-1 out --san IP:10.0.0.1 --validity 40d
    run --separate-stderr cx-ca renew --ca-dir ca --cert out/node.crt --key out/node.key
    assert_success
    validate_schema cx-ca-renew
    assert_json .changed false

    run --separate-stderr cx-ca renew --ca-dir ca --cert out/node.crt --key out/node.key --before-expiry 41d
    assert_json .changed true
    same_key out/node.crt out/node.key
    run openssl x509 -in out/node.crt -noout -text
    assert_output --partial 'IP Address:10.0.0.1'

    issue_node node-1 out --validity 1s --force --san IP:10.0.0.1
    wait_until 5 is_expired out/node.crt
    run --separate-stderr cx-ca renew --ca-dir ca --cert out/node.crt --key out/node.key
    assert_json .changed true
    openssl verify -CAfile ca/ca.crt out/node.crt
}

@test "renew: a revoked one, another key and another CA's are refused" {
    new_ca
    issue_node node-1 out
    issue_node node-2 out2
    run --separate-stderr cx-ca renew --ca-dir ca --cert out/node.crt --key out2/node.key --force
    assert_error cert_invalid
    cx-ca init --ca-dir ca2 >/dev/null
    run --separate-stderr cx-ca renew --ca-dir ca2 --cert out/node.crt --key out/node.key --force
    assert_error cert_invalid
    cx-ca revoke --ca-dir ca --node-id node-1 >/dev/null 2>&1
    run --separate-stderr cx-ca renew --ca-dir ca --cert out/node.crt --key out/node.key --force
    assert_error revoked
}

# ---- revoke, crl

@test "revoke: by name all that are alive, by serial one; the list says so to openssl" {
    new_ca
    issue_node node-1 a
    issue_node node-1 b
    issue_node node-2 c
    run --separate-stderr cx-ca revoke --ca-dir ca --node-id node-1 --reason key_compromise
    assert_success
    validate_schema cx-ca-revoke
    assert_json '.changed, .count' $'true\n2'

    run openssl verify -CAfile ca/ca.crt -crl_check -CRLfile ca/crl.pem a/node.crt
    assert_failure
    assert_output --partial 'certificate revoked'
    openssl verify -CAfile ca/ca.crt -crl_check -CRLfile ca/crl.pem c/node.crt
    run openssl crl -in ca/crl.pem -CAfile ca/ca.crt -noout -text
    assert_output --partial 'verify OK'
    assert_output --partial 'Key Compromise'

    run --separate-stderr cx-ca revoke --ca-dir ca --node-id node-1
    assert_json .changed false

    local serial
    serial=$(openssl x509 -in c/node.crt -noout -serial | sed 's/.*=//; s/../&:/g; s/:$//')
    run --separate-stderr cx-ca revoke --ca-dir ca --serial "$serial"
    assert_json .changed true
    run --separate-stderr cx-ca verify --ca-dir ca --cert c/node.crt
    assert_failure 1
    assert_json '.valid, .code' $'false\nrevoked'
}

@test "revoke: a compromised key gets no certificate any more" {
    new_ca
    issue_node node-1 out
    cx-ca revoke --ca-dir ca --node-id node-1 --reason key_compromise >/dev/null 2>&1
    run --separate-stderr issue_node node-1 out
    assert_error revoked
    run --separate-stderr issue_node node-1 out --new-key
    assert_success
    same_key out/node.crt out/node.key
    # the folder got the list as well
    cmp out/crl.pem ca/crl.pem
}

@test "revoke: what is not in the record needs --force" {
    new_ca
    run --separate-stderr cx-ca revoke --ca-dir ca --serial abcdef
    assert_error not_found
    run --separate-stderr cx-ca revoke --ca-dir ca --node-id node-9
    assert_error not_found
    run --separate-stderr cx-ca revoke --ca-dir ca --serial xyz
    assert_error invalid
    run --separate-stderr cx-ca revoke --ca-dir ca
    assert_error usage
    run --separate-stderr cx-ca revoke --ca-dir ca --serial ABCDEF --force --dry-run
    assert_success
    [[ ! -e ca/crl.pem ]]
    run --separate-stderr cx-ca revoke --ca-dir ca --serial ABCDEF --force
    assert_json '.revoked[0].serial' abcdef
}

@test "crl: a new list only when it is due; its number grows" {
    new_ca
    run --separate-stderr cx-ca crl --ca-dir ca --output out.pem
    assert_success
    validate_schema cx-ca-crl
    assert_json '.changed, .number, .count' $'true\n1\n0'
    openssl crl -in out.pem -CAfile ca/ca.crt -noout

    run --separate-stderr cx-ca crl --ca-dir ca --output out.pem
    assert_json '.changed, .number' $'false\n1'
    run --separate-stderr cx-ca crl --ca-dir ca --next-update 30d
    assert_json '.changed, .number' $'true\n2'
    run --separate-stderr cx-ca crl --ca-dir ca --force
    assert_json '.changed, .number' $'true\n3'
    issue_node node-1 out
    cx-ca revoke --ca-dir ca --node-id node-1 >/dev/null 2>&1
    run --separate-stderr cx-ca crl --ca-dir ca
    assert_json '.changed, .number, .count' $'false\n4\n1'
}

# ---- what was lost comes back

@test "a record from yesterday's backup does not bring a revoked certificate back" {
    new_ca
    issue_node node-1 out
    cp ca/ca.db yesterday.db
    cx-ca revoke --ca-dir ca --node-id node-1 >/dev/null 2>&1
    issue_node node-2 out2

    rm -f ca/ca.db-wal ca/ca.db-shm
    cp yesterday.db ca/ca.db
    run --separate-stderr cx-ca crl --ca-dir ca --force
    assert_json '.number, .count' $'2\n1'
    run --separate-stderr cx-ca list --ca-dir ca --all
    assert_json '[.certificates[] | [.name, .status]]' '[["node-1","revoked"],["node-2","valid"]]'
    run --separate-stderr cx-ca audit verify --ca-dir ca
    assert_json .ok true
}

@test "a lost record and a lost log are made again from what is left" {
    new_ca
    issue_node node-1 out
    cx-ca revoke --ca-dir ca --node-id node-1 >/dev/null 2>&1
    cp ca/audit.log before.log

    rm ca/audit.log
    issue_node node-2 out2
    run --separate-stderr cx-ca audit verify --ca-dir ca
    assert_json .ok true
    head -n "$(wc -l <before.log)" ca/audit.log | cmp - before.log

    rm ca/ca.db*
    issue_node node-3 out3
    run --separate-stderr cx-ca list --ca-dir ca --all
    assert_json '[.certificates[] | [.name, .status]]' \
        '[["node-1","revoked"],["node-2","valid"],["node-3","valid"]]'

    # only the published list is left
    rm ca/ca.db* ca/audit.log
    run --separate-stderr cx-ca crl --ca-dir ca --force
    assert_json '.number, .count' $'2\n1'
}

@test "audit verify: a changed, removed, added or cut line is found" {
    new_ca
    issue_node node-1 out
    issue_node node-2 out2
    run --separate-stderr cx-ca audit verify --ca-dir ca
    assert_success
    validate_schema cx-ca-audit-verify
    assert_json '.ok, .entries' $'true\n3'
    # by hand: each line names the SHA-256 of the one before
    assert_equal "$(sed -n 3p ca/audit.log | jq -r .prev)" \
        "$(sed -n 2p ca/audit.log | tr -d '\n' | sha256sum | cut -d' ' -f1)"

    cp ca/audit.log good.log
    sed -i '2s/node-1/node-7/' ca/audit.log
    run --separate-stderr cx-ca audit verify --ca-dir ca
    assert_failure 1
    validate_schema cx-ca-audit-verify
    assert_json '.ok, .broken_at' $'false\n2'
    sed 2d good.log >ca/audit.log
    run --separate-stderr cx-ca audit verify --ca-dir ca
    assert_json .broken_at 2
    sed 3d good.log >ca/audit.log
    run --separate-stderr cx-ca audit verify --ca-dir ca
    assert_json .broken_at 3
    head -c -10 good.log >ca/audit.log
    run --separate-stderr cx-ca audit verify --ca-dir ca
    assert_json .broken_at 3
    # which is what a crash leaves, and the next command completes
    issue_node node-1 out
    cmp ca/audit.log good.log
    { cat good.log && echo '{"seq":4,"prev":"0"}'; } >ca/audit.log
    run --separate-stderr cx-ca audit verify --ca-dir ca
    assert_json .broken_at 4

    # and a log whose end was changed is not written on
    sed '3s/node-2/node-7/' good.log >ca/audit.log
    run --separate-stderr issue_node node-3 out3
    assert_error corrupt
}

# ---- list, show, verify

@test "list: what is valid, what ends soon, and all" {
    new_ca
    issue_node node-1 a --validity 10d
    issue_node node-2 b
    cx-ca issue --ca-dir ca --operator alice --role admin --output c --validity 5d >/dev/null
    issue_node node-1 a --force
    run --separate-stderr cx-ca list --ca-dir ca
    assert_success
    validate_schema cx-ca-list
    assert_json .count 4
    run --separate-stderr cx-ca list --ca-dir ca --expiring 30d
    assert_json '[.certificates[].name]' '["alice"]'
    cx-ca revoke --ca-dir ca --operator alice >/dev/null 2>&1
    run --separate-stderr cx-ca list --ca-dir ca --expiring 30d
    assert_json .count 0
    run --separate-stderr cx-ca list --ca-dir ca --all
    validate_schema cx-ca-list
    assert_json '[.certificates[] | select(.status == "revoked") | .name]' '["alice"]'
    run --separate-stderr cx-ca list --ca-dir nowhere
    assert_error not_found
}

@test "show: certificates, requests, lists and keys of any maker, never a secret" {
    new_ca
    issue_node node-1 out
    cx-ca crl --ca-dir ca >/dev/null
    openssl req -new -x509 -newkey rsa:2048 -nodes -keyout rsa.key -subj '/CN=Käse/O=Q' -utf8 \
        -days 2 -out rsa.crt 2>/dev/null
    openssl req -new -key rsa.key -subj /CN=r -out rsa.csr
    openssl rsa -in rsa.key -traditional -aes128 -passout pass:secret -out old.key 2>/dev/null
    openssl pkey -in rsa.key -pubout -out rsa.pub
    run --separate-stderr cx-ca show out/node.crt out/node.key ca/crl.pem rsa.crt rsa.csr rsa.key old.key rsa.pub
    assert_success
    validate_schema cx-ca-show
    assert_json '[.items[].type]' '["certificate","private_key","revocation_list","certificate","certificate_request","private_key","private_key","public_key"]'
    assert_json '.items[0].serial' "$(openssl x509 -in out/node.crt -noout -serial | sed 's/.*=//' | tr A-F a-f)"
    assert_json '.items[3].subject' 'O=Q,CN=Käse'
    assert_json '.items[5].public_key.type' rsa-2048
    assert_json '.items[6].encrypted' true
    assert_json '.items[5].public_key == .items[3].public_key' true
    refute_output --partial "$(sed -n 2p rsa.key)"
    run --separate-stderr cx-ca show - <out/node.crt
    assert_json .count 1
}

@test "show: what is no PEM is named, what is half a one too" {
    echo hello >text
    run --separate-stderr cx-ca show text
    assert_error malformed
    run --separate-stderr cx-ca show nowhere
    assert_error not_found
    printf -- '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n' >odd
    run --separate-stderr cx-ca show odd
    assert_success
    validate_schema cx-ca-show
    assert_json '.items[0].error' malformed
    head -c 40 odd >half
    run --separate-stderr cx-ca show half
    assert_error malformed
    head -c 2000000 /dev/zero >big
    run --separate-stderr cx-ca show big
    assert_error too_large
}

@test "verify: yes or no, with the reason a peer would give" {
    new_ca
    issue_node node-1 out
    cx-ca issue --ca-dir ca --operator alice --role admin --output out >/dev/null
    run --separate-stderr cx-ca verify --ca-dir ca --cert out/node.crt --purpose server
    assert_success
    validate_schema cx-ca-verify
    assert_json '.valid, .reason' $'true\nnull'

    # on a node, without the CA: by what is beside the certificate
    run --separate-stderr cx-ca verify --cert out/node.crt --key out/node.key
    assert_json .valid true

    run --separate-stderr cx-ca verify --ca-dir ca --cert out/operator.crt --purpose server
    assert_failure 1
    validate_schema cx-ca-verify
    run --separate-stderr cx-ca verify --ca-dir ca --cert out/node.crt --node-id node-2
    assert_json .reason 'node node-1, not node-2'
    run --separate-stderr cx-ca verify --ca-dir ca --cert out/node.crt --key out/operator.key
    assert_json .code cert_invalid
    run --separate-stderr cx-ca verify --ca-dir ca --cert out/node.crt --cluster other
    assert_error cert_invalid
    cx-ca init --ca-dir ca2 >/dev/null
    run --separate-stderr cx-ca verify --ca-dir ca2 --cert out/node.crt
    assert_failure 1
    assert_json .reason 'certificate is signed by another CA'
    run --separate-stderr cx-ca verify --ca-dir ca --cert nowhere
    assert_error not_found
    run --separate-stderr cx-ca verify --ca-dir ca --cert out/node.crt --crl nowhere
    assert_error not_found
}

@test "verify: a list that is late is told, and refuses only whom it names" {
    new_ca
    issue_node node-1 a
    issue_node node-2 b
    cx-ca revoke --ca-dir ca --node-id node-1 >/dev/null 2>&1
    mkdir node
    cp ca/ca.crt node
    # openssl's own, made from the CA's key and out of date
    printf 'R\t401231235959Z\t250101000000Z\t%s\tunknown\t/CN=x\n' \
        "$(openssl x509 -in a/node.crt -noout -serial | sed 's/.*=//')" >index.txt
    printf '[ca]\ndefault_ca=x\n[x]\ndatabase=index.txt\ndefault_md=sha256\n' >openssl.cnf
    openssl ca -config openssl.cnf -gencrl -keyfile ca/ca.key -cert ca/ca.crt \
        -crl_lastupdate 20250101000000Z -crl_nextupdate 20250102000000Z -out node/crl.pem 2>/dev/null

    run --separate-stderr cx-ca verify --ca-cert node/ca.crt --cert b/node.crt
    assert_success
    assert_json .crl_stale_since 2025-01-02T00:00:00Z
    run --separate-stderr cx-ca verify --ca-cert node/ca.crt --cert a/node.crt
    assert_failure 1
    assert_json .code revoked
}

# ---- others' TLS

@test "openssl's server and client shake hands with these certificates by TLS 1.3" {
    local port
    new_ca
    issue_node node-1 node --san IP:127.0.0.1
    cx-ca issue --ca-dir ca --operator alice --role viewer --output op >/dev/null
    port=$(free_port)
    start_daemon server openssl s_server -accept "127.0.0.1:$port" -tls1_3 -Verify 1 \
        -verify_return_error -CAfile node/ca.crt -cert node/node.crt -key node/node.key -www -quiet
    ask() {
        openssl s_client -ign_eof -connect "127.0.0.1:$port" -tls1_3 -CAfile op/ca.crt -verify_return_error \
            -verify_ip 127.0.0.1 "$@" <<<$'GET / HTTP/1.0\r\n\r' 2>&1
    }
    accepted() { ask -cert op/operator.crt -key op/operator.key | grep -q 'Verify return code: 0'; }
    wait_until 10 accepted
    run ask
    assert_output --partial 'certificate required'
}
