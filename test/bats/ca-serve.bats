#!/usr/bin/env bats
# shellcheck disable=SC2030,SC2031 # each test is a process of its own, with its own $url
# cx-ca serve and tokens: hosts join once, certificates are renewed, everybody else is refused.

bats_require_minimum_version 1.5.0

setup() {
    load common
    cd "$BATS_TEST_TMPDIR" || return
    address=$(free_loopback)
    export CX_CONFIG=$BATS_TEST_TMPDIR/config.yaml
    printf 'cluster: prod\ncert_dir: %s/certs\nadvertise_addr: %s:7946\n' "$PWD" "$address" >config.yaml
    cx-ca init --ca-dir ca >/dev/null
}

# serve [OPTION…]: its address is then in $url
serve() {
    start_daemon serve cx-ca serve --ca-dir ca --listen "$address:0" "$@"
    wait_until 10 is_ready
    url=https://$address:$(jq -r 'select(.event == "ready").port' serve.log)
}

is_ready() {
    grep -q '"event":"ready"' serve.log
}

# new_token NODE [OPTION…]: prints it.
new_token() {
    cx-ca token create --ca-dir ca --url "$url" --node-id "$1" "${@:2}" | jq -r .token
}

# join TOKEN DIR [OPTION…]
join() {
    cx-join join --token "$1" --config "$2/config.yaml" --cert-dir "$2/certs" \
        --data-dir "$2/data" "${@:3}"
}

# post PATH JSON [CURL OPTION…]: the status on the last line
post() {
    curl -sS --cacert ca/ca.crt --connect-to "ca:${url##*:}:$address:${url##*:}" -w '\n%{http_code}' \
        --json "$2" "${@:3}" "https://ca:${url##*:}$1"
}

# field TOKEN NAME
field() {
    basenc -d --base64url 2>/dev/null <<<"${1#cxj1.}==" | jq -r ".$2"
}

same_key() {
    [[ $(openssl x509 -in "$1" -noout -pubkey) == $(openssl pkey -in "$2" -pubout) ]]
}

@test "token: created, listed, revoked; only its hash is kept" {
    url=https://ca.example:8443
    run --separate-stderr cx-ca token create --ca-dir ca --node-id node-4 --ttl 2h --url $url/
    assert_success
    validate_schema cx-ca-token-create
    assert_json .url $url
    local token id secret
    token=$(jq -r .token <<<"$output")
    id=$(jq -r .id <<<"$output")
    secret=$(field "$token" secret)
    [[ ${#secret} == 43 ]]
    assert_equal "$(field "$token" ca_sha256)" \
        "$(openssl x509 -in ca/ca.crt -noout -fingerprint -sha256 | sed 's/.*=//; s/://g' | tr A-F a-f)"
    run ! grep -r -- "$secret" ca

    run --separate-stderr cx-ca token list --ca-dir ca
    validate_schema cx-ca-token-list
    assert_json '.tokens[] | [.id, .node_id, .status]' "[\"$id\",\"node-4\",\"active\"]"
    run --separate-stderr cx-ca token revoke --ca-dir ca "$id"
    validate_schema cx-ca-token-revoke
    assert_json .changed true
    run --separate-stderr cx-ca token revoke --ca-dir ca "$id"
    assert_json .changed false
    run --separate-stderr cx-ca token revoke --ca-dir ca nobody
    assert_error not_found
    run --separate-stderr cx-ca token list --ca-dir ca
    assert_json .count 0
    run --separate-stderr cx-ca token list --ca-dir ca --all
    assert_json '.tokens[0].status' revoked
    run --separate-stderr cx-ca audit verify --ca-dir ca
    assert_json '.ok, .entries' $'true\n3'
}

@test "token create: mistakes are named, --dry-run makes none" {
    run --separate-stderr cx-ca token create --ca-dir ca
    assert_error usage
    run --separate-stderr cx-ca token create --ca-dir ca --node-id a/b
    assert_error invalid
    run --separate-stderr cx-ca token create --ca-dir ca --node-id ca
    assert_error invalid
    run --separate-stderr cx-ca token create --ca-dir ca --node-id a --ttl 400d
    assert_error usage
    run --separate-stderr cx-ca token create --ca-dir ca --node-id a --url http://x
    assert_error invalid
    run --separate-stderr cx-ca token create --ca-dir ca --node-id a --dry-run
    assert_success
    validate_schema cx-ca-token-create
    run --separate-stderr cx-ca token list --ca-dir ca --all
    assert_json .count 0
    # the default address is this host's own
    run --separate-stderr cx-ca token create --ca-dir ca --node-id a
    assert_json .url "https://$address:8443"
}

@test "a host joins by token: key made there, certificate, list, gossip keys and seeds from the CA" {
    mkdir certs
    (umask 077 && echo '["MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="]' >certs/gossip.keys)
    cx-ca crl --ca-dir ca >/dev/null
    serve
    local token
    token=$(new_token node-4)
    run --separate-stderr join "$token" node
    assert_success
    openssl verify -CAfile node/certs/ca.crt node/certs/node.crt
    same_key node/certs/node.crt node/certs/node.key
    assert_equal "$(stat -c %a node/certs/node.key node/certs/gossip.keys | sort -u)" 600
    cmp node/certs/crl.pem ca/crl.pem
    jq -e '. == ["MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="]' node/certs/gossip.keys
    run --separate-stderr cx-config get seeds --config node/config.yaml
    assert_json .value "[\"$address:7946\"]"

    run --separate-stderr cx-ca list --ca-dir ca
    assert_json '.certificates[] | select(.name == "node-4") | .how' token
    run --separate-stderr cx-ca token list --ca-dir ca --all
    assert_json '.tokens[0].status' used
    jq -se --arg from "$address" 'any(.[]; .event == "certificate_issued" and (.from // "" | startswith("127.")))' ca/audit.log
    stop_daemon serve
    assert_equal "$daemon_status" 0
}

@test "a token is refused: used, expired, revoked, unknown, of another CA; nothing is written" {
    serve
    local token secret csr body

    token=$(new_token node-4)
    join "$token" first >/dev/null
    run --separate-stderr join "$token" second
    assert_error token_used
    [[ ! -e second/certs/node.crt && ! -e second/certs/node.key ]]

    token=$(new_token node-5 --ttl 1s)
    is_over() { [[ $(cx-ca token list --ca-dir ca | jq .count) == 0 ]]; }
    wait_until 5 is_over
    run --separate-stderr join "$token" second
    assert_error token_expired

    token=$(new_token node-6)
    cx-ca token revoke --ca-dir ca "$(field "$token" id)" >/dev/null
    run --separate-stderr join "$token" second
    assert_error token_invalid

    cx-ca init --ca-dir other >/dev/null
    token=$(cx-ca token create --ca-dir other --url "$url" --node-id node-7 | jq -r .token)
    run --separate-stderr join "$token" second
    assert_error cert_invalid
    [[ ! -e second/certs/node.crt && ! -e second/config.yaml ]]

    # another node with a good secret; a good token with a false secret
    token=$(new_token node-8)
    secret=$(field "$token" secret)
    csr=$(openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -subj /CN=x 2>/dev/null)
    body=$(jq -n --arg id "$(field "$token" id)" --arg secret "$secret" --arg csr "$csr" \
        '{token_id: $id, secret: $secret, node_id: "node-9", csr_pem: $csr}')
    run post /join "$body"
    assert_output --partial token_invalid
    assert_line --index -1 401
    run post /join "$(jq '.node_id = "node-8" | .secret = "x"' <<<"$body")"
    assert_output --partial token_invalid
    refute_output --partial node-9
    run post /join "$(jq '.node_id = "node-8" | .token_id = "nobody"' <<<"$body")"
    assert_output --partial token_invalid
    run --separate-stderr join "$token" third
    assert_success

    run --separate-stderr cx-ca audit verify --ca-dir ca
    assert_json .ok true
    run ! grep -r "$secret" ca serve.log
}

@test "a CA that hangs: --timeout ends the join, nothing is written, and the token is still good" {
    serve
    local token started=$SECONDS
    token=$(new_token node-4)
    kill -STOP "$(pid_of serve)"
    run --separate-stderr join "$token" one --timeout 500ms
    kill -CONT "$(pid_of serve)"
    assert_error timeout
    ((SECONDS - started < 10))
    [[ ! -e one/certs/node.key ]]
    join "$token" one >/dev/null
}

@test "a token that two hosts use at once lets exactly one in" {
    serve
    local token pids=() number joined=0
    token=$(new_token node-4)
    for number in 1 2 3 4 5 6; do
        join "$token" "host-$number" >/dev/null 2>&1 &
        pids+=($!)
    done
    for number in "${pids[@]}"; do
        if wait "$number"; then joined=$((joined + 1)); fi
    done
    assert_equal "$joined" 1
    run --separate-stderr cx-ca list --ca-dir ca
    assert_json '[.certificates[] | select(.name == "node-4")] | length' 1
}

@test "whose answer was lost asks again with the same key and gets the same certificate" {
    serve
    local token csr body first
    token=$(new_token node-4)
    csr=$(openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -subj /CN=x 2>/dev/null)
    body=$(jq -n --arg id "$(field "$token" id)" --arg secret "$(field "$token" secret)" --arg csr "$csr" \
        '{token_id: $id, secret: $secret, node_id: "node-4", csr_pem: $csr}')
    first=$(post /join "$body" | head -n 1 | jq -r .certificate_pem)
    run post /join "$body"
    assert_line --index -1 200
    assert_equal "$(head -n 1 <<<"$output" | jq -r .certificate_pem)" "$first"
}

@test "renew --url: in good time, after the end within the grace, never a revoked or another's" {
    serve --grace 1h
    cx-ca issue --ca-dir ca --node-id node-1 --output one --validity 40d >/dev/null
    cx-ca issue --ca-dir ca --node-id node-2 --output two --validity 1s >/dev/null
    cx-ca issue --ca-dir ca --node-id node-3 --output three >/dev/null

    run --separate-stderr cx-ca renew --url "$url" --cert one/node.crt --key one/node.key
    assert_success
    assert_json .changed false
    run --separate-stderr cx-ca renew --url "$url" --cert one/node.crt --key one/node.key --before-expiry 41d
    assert_success
    validate_schema cx-ca-renew
    assert_json .changed true
    same_key one/node.crt one/node.key
    openssl verify -CAfile ca/ca.crt one/node.crt

    is_over() { ! openssl x509 -in two/node.crt -noout -checkend 0 >/dev/null; }
    wait_until 5 is_over
    run --separate-stderr cx-ca renew --url "$url" --cert two/node.crt --key two/node.key
    assert_success
    openssl verify -CAfile ca/ca.crt two/node.crt

    cx-ca revoke --ca-dir ca --node-id node-3 >/dev/null 2>&1
    run --separate-stderr cx-ca renew --url "$url" --cert three/node.crt --key three/node.key --force
    assert_error revoked

    # node-1's certificate, with node-2's key in the request, and shown by node-2
    local csr body
    csr=$(openssl req -new -key two/node.key -subj /CN=x)
    body=$(jq -n --rawfile cert one/node.crt --arg csr "$csr" '{certificate_pem: $cert, csr_pem: $csr}')
    run post /renew "$body"
    assert_output --partial cert_invalid
    csr=$(openssl req -new -key one/node.key -subj /CN=x)
    body=$(jq -n --rawfile cert one/node.crt --arg csr "$csr" '{certificate_pem: $cert, csr_pem: $csr}')
    run post /renew "$body" --cert two/node.crt --key two/node.key
    assert_output --partial permission

    stop_daemon serve
    run --separate-stderr cx-ca renew --url "$url" --cert one/node.crt --key one/node.key --force
    assert_error unavailable
}

@test "renew --url: too long after the end it is refused, and says what to do" {
    serve --grace 1s
    cx-ca issue --ca-dir ca --node-id node-2 --output two --validity 1s >/dev/null

    local end
    end=$(date -d "$(openssl x509 -in two/node.crt -noout -enddate | cut -d= -f2)" +%s)
    is_over() { (($(date +%s) > end + 2)); }
    wait_until 10 is_over
    run --separate-stderr cx-ca renew --url "$url" --cert two/node.crt --key two/node.key
    assert_error cert_expired
    [[ $stderr == *'token create'* ]]
}

@test "a node cannot pose as the CA" {
    local token port
    url=https://$address:1
    cx-ca issue --ca-dir ca --node-id node-1 --output evil --san "IP:$address" >/dev/null
    port=$(free_port)
    start_daemon evil openssl s_server -accept "$address:$port" -tls1_3 -cert evil/node.crt \
        -key evil/node.key -WWW -quiet
    answers() { curl -sk "https://$address:$port/ca/ca.crt" | grep -q BEGIN; }
    wait_until 10 answers
    token=$(cx-ca token create --ca-dir ca --url "https://$address:$port/ca" --node-id node-4 | jq -r .token)
    run --separate-stderr join "$token" node
    assert_error cert_invalid
    [[ ! -e node/certs/node.crt ]]
    run --separate-stderr cx-ca issue --ca-dir ca --node-id ca --output x
    assert_error invalid
}

@test "strangers: every endpoint without a token, garbage, a large body, TLS 1.2, plain HTTP, another CA" {
    serve
    local path
    run curl -sS --cacert ca/ca.crt --connect-to "ca:${url##*:}:$address:${url##*:}" "https://ca:${url##*:}/ca.crt"
    assert_output "$(cat ca/ca.crt)"
    for path in / /join/ /token /api/v1/node /ca.key /../ca.key /serve/node.key; do
        run curl -sk --path-as-is -o /dev/null -w '%{http_code}' "$url$path"
        assert_output 404
    done
    run post /join '{'
    assert_line --index -1 400
    run post /join '{"token_id":3}'
    assert_line --index -1 400
    run post /renew '{"certificate_pem":"x","csr_pem":"y"}'
    assert_line --index -1 400
    head -c 200000 /dev/zero | tr '\0' x >large
    run curl -sk -o /dev/null -w '%{http_code}' --data-binary @large "$url/join"
    assert_output 413
    run curl -sk --tls-max 1.2 "$url/ca.crt"
    assert_failure
    run curl -s "http://$address:${url##*:}/ca.crt"
    assert_failure
    cx-ca init --ca-dir other >/dev/null
    cx-ca issue --ca-dir other --node-id node-1 --output stranger >/dev/null
    run curl -sk --cert stranger/node.crt --key stranger/node.key "$url/ca.crt"
    refute_output --partial BEGIN
    was_told() { jq -se 'any(.[]; .event == "tls_refused" and (.reason | contains("another CA")))' serve.log; }
    wait_until 5 was_told
    is_running "$(pid_of serve)"
}

@test "one address that asks too often is told to wait; the CA goes on" {
    serve
    # at once, so that a slow machine gives no credit back meanwhile
    local busy
    busy=$(curl -sk --parallel --parallel-max 60 --json '{}' -o /dev/null -w '%{http_code}\n' \
        "$url/join?[1-60]" | grep -c 503)
    ((busy > 0))
    run curl -sk -o /dev/null -w '%{http_code}' "$url/ca.crt"
    assert_output 200
}

@test "openssl's client shakes hands with serve by TLS 1.3 and gets no session to resume" {
    serve
    cx-ca issue --ca-dir ca --node-id node-1 --output one >/dev/null
    run openssl s_client -connect "${url#https://}" -tls1_3 -CAfile ca/ca.crt -verify_return_error \
        -cert one/node.crt -key one/node.key </dev/null
    assert_output --partial 'Verify return code: 0'
    refute_output --partial 'Post-Handshake New Session Ticket'
}

# ---- crashes

with_server() {
    [[ ! -e .daemons/serve ]] || stop_daemon serve KILL
    rm -rf node ca/serve serve.log
    # a port of its own each time, as no other process asks for it
    port=$(free_port)
    url=https://$address:$port
    token=$(new_token "node-$(next_number node)")
}

run_join() {
    local pid status=0
    rm -f serve.log
    "${crash[@]}" cx-ca serve --ca-dir ca --listen "$address:$port" 2>serve.log &
    pid=$!
    gone_or_ready() { is_gone "$pid" || is_ready; }
    wait_until 20 gone_or_ready
    join "$token" node || status=$?
    # strace's child is the server
    pkill -TERM -P "$pid" 2>/dev/null || kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    return "$status"
}

check_join() {
    if [[ -e node/certs/node.crt ]]; then
        openssl verify -CAfile ca/ca.crt node/certs/node.crt
        same_key node/certs/node.crt node/certs/node.key
    fi
    [[ $1 == crashed ]] && return 0
    [[ -e node/certs/node.crt ]]
    cx-ca audit verify --ca-dir ca | jq -e .ok
    cx-ca list --ca-dir ca | jq -e --arg name "$(field "$token" node_id)" \
        '[.certificates[] | select(.name == $name)] | length == 1'
}

@test "serve: killed before any step of a join, the host asks again and is in, with one certificate" {
    crash_at_every_step with_server run_join check_join
}
