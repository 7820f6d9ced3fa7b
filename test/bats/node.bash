# node: real nodes for tests: `load fake` and `load node` after common. Certificates of a CA by openssl,
# the API raw through curl.
# shellcheck shell=bash

# make_pki: once a file, in $PKI: a CA, node-1 to node-3, operators vic (viewer), olga (operator) and
# adam (admin), old (expired), and an admin of another CA.
make_pki() {
    PKI=$BATS_FILE_TMPDIR/pki
    export PKI
    make_ca "$PKI/ca"
    local number
    for number in 1 2 3; do
        make_cert "$PKI/ca" "$PKI/node-$number" node "spiffe://test/node/node-$number" node
    done
    make_cert "$PKI/ca" "$PKI/vic" operator spiffe://test/operator/vic viewer
    make_cert "$PKI/ca" "$PKI/olga" operator spiffe://test/operator/olga operator
    make_cert "$PKI/ca" "$PKI/adam" operator spiffe://test/operator/adam admin
    make_cert "$PKI/ca" "$PKI/old" operator spiffe://test/operator/old admin 0
    make_ca "$PKI/other-ca"
    make_cert "$PKI/other-ca" "$PKI/stranger" operator spiffe://test/operator/adam admin
}

# write_node NUMBER [EXTRA]: node-NUMBER's folder and config below $BATS_TEST_TMPDIR/node-NUMBER.
write_node() {
    local home=$BATS_TEST_TMPDIR/node-$1
    mkdir -p "$home/run"
    [[ -e $home/address ]] || echo "$(free_loopback):8080" >"$home/address"
    cat >"$home/config.yaml" <<END
cluster: test
node_id: node-$1
bind_addr: $CX_NETWORK.$((200 + $1)):7946
api_addr: $(<"$home/address")
data_dir: $home/data
cert_dir: $PKI/node-$1
run_dir: $home/run
bootstrap_expect: 1
${2-}
END
}

# start_node NUMBER: and wait until it answers.
start_node() {
    start_daemon "node-$1" cx-node run --config "$BATS_TEST_TMPDIR/node-$1/config.yaml"
    wait_until 20 answers_health "$1"
}

answers_health() {
    [[ $(NODE=$1 api adam GET /healthz) == *ok* ]]
}

# with_gossip NUMBER: a stand-in for its gossip agent; all of a test are one cluster.
with_gossip() {
    mkdir -p "$BATS_TEST_TMPDIR/gossip"
    start_daemon "gossip-$1" /usr/bin/python3 "$CX_ROOT/test/fake_gossip.py" \
        "$BATS_TEST_TMPDIR/node-$1/run/gossip.sock" "$BATS_TEST_TMPDIR/gossip" "node-$1"
}

# api WHO METHOD PATH [CURL OPTION…]: a request to node-$NODE (default 1) with WHO's certificate. The
# answer's body; its HTTP status is written to $BATS_TEST_TMPDIR/http.
api() {
    local who=$1 method=$2 path=$3 address kind=operator
    shift 3
    address=$(<"$BATS_TEST_TMPDIR/node-${NODE:-1}/address")
    [[ $who != node-* ]] || kind=node
    # A node is known by its URI, not by its address: curl can't check that, so it checks the CA only.
    curl --silent --show-error --max-time 30 --cert "$PKI/$who/$kind.crt" --key "$PKI/$who/$kind.key" \
        --insecure --request "$method" --output - --write-out '%{stderr}%{http_code}' \
        "https://$address$path" "$@" 2>"$BATS_TEST_TMPDIR/http"
}

http_status() {
    tail -c 3 "$BATS_TEST_TMPDIR/http"
}

# deploy AGENT [SPEC]: one of share/agents, or a spec.
deploy() {
    api adam PUT "/api/v1/agents/$1" --data-binary "${2-@$CX_ROOT/share/agents/$1.json}"
}

# send_message JSON [WAIT]
send_message() {
    api olga POST "/api/v1/messages${2:+?wait=$2}" --header 'Content-Type: application/json' \
        --data-binary "$1"
}

# send_lines FILE: NDJSON in, NDJSON out.
send_lines() {
    api olga POST /api/v1/messages --header 'Content-Type: application/x-ndjson' --data-binary "@$1"
}

# figure PATH FILTER: what jq makes of an answer.
figure() {
    api vic GET "$1" | jq -r "$2"
}

figure_is() {
    [[ $(figure "$1" "$2") == "$3" ]]
}

# audited FILTER: a line of node-$NODE's audit log for which the filter is true.
audited() {
    jq -Rne "[inputs | fromjson? | select($1)] | length > 0" \
        "$BATS_TEST_TMPDIR/node-${NODE:-1}/data/audit.log" >/dev/null
}

# logged NAME FILTER: a line of a daemon's log.
logged() {
    jq -Rne "[inputs | fromjson? | select($2)] | length > 0" "$BATS_TEST_TMPDIR/$1.log" >/dev/null
}

# nodes_up NUMBER…: nodes that see each other, each with a stand-in for its gossip agent.
nodes_up() {
    local number
    for number; do
        write_node "$number"
        with_gossip "$number"
        start_node "$number"
    done
    for number; do
        NODE=$number wait_until 10 sees_alive $#
    done
}

sees_alive() {
    figure_is /api/v1/debug/state '[.peers[] | select(.alive)] | length' $(($1 - 1))
}

# gossip_status NODE STATUS: what all agents say of a node from now on.
gossip_status() {
    local file=$BATS_TEST_TMPDIR/gossip/$1.json
    jq --arg status "$2" '.status = $status' "$file" >"$file.new"
    mv "$file.new" "$file"
}

# on NUMBER CMD…: with the functions here meaning that node.
on() {
    NODE=$1 "${@:2}"
}
