#!/usr/bin/env bats
# The operators' own bootstrap, line by line as it stands in their procedures
# (test/reference/operational-procedures.md), and scripts/bootstrap.

load common

setup() {
    root=$BATS_TEST_TMPDIR/root
    mkdir -p "$root"
    SCRIPT=$BATS_TEST_TMPDIR/initial-cluster-formation
    document_block "Initial Cluster Formation" >"$SCRIPT"
    grep -q "caxton server start" "$SCRIPT"
}

# document_block HEADING: the shell block below this heading of the operators' document, as it stands.
document_block() {
    awk -v heading="#### $1" '$0 == heading {there = 1} there && /^```$/ {exit} inside; there && /^```bash$/ {inside = 1}' \
        "$CX_ROOT/test/reference/operational-procedures.md"
}

teardown() {
    end_daemons
    wait_until 20 no_processes
}

# What runs with this test's folder on its command line.
no_processes() {
    ! pgrep -f -- "--config $root/"
}

# moved ADDRESS: the script with its paths below $root and its addresses on ADDRESS. The folders that it leaves
# to their defaults are moved by two more options of `caxton init`.
moved() {
    sed -e "s#/etc/caxton#$root/etc/caxton#g" -e "s#/var/lib/caxton#$root/var/lib/caxton#g" \
        -e "s#0\.0\.0\.0#$1#g" \
        -e "s#^caxton init #caxton init --run-dir $root/run --log-dir $root/log #" "$SCRIPT"
}

answers() {
    caxton cluster status --config "$root/etc/caxton/config.yaml"
}

api_answers() {
    cx-node status --config "$root/etc/caxton/config.yaml"
}

@test "the bootstrap script runs line by line, twice without harm, and its node lives" {
    local address round first
    address=$(free_loopback)
    export CX_CONFIG=$root/etc/caxton/config.yaml
    moved "$address" >"$BATS_TEST_TMPDIR/bootstrap"

    for round in first second; do
        start_daemon bootstrap bash -e "$BATS_TEST_TMPDIR/bootstrap"
        wait_until 15 answers
        wait_until 15 api_answers
        run --separate-stderr caxton cluster members
        assert_success
        assert_json .count 1
        assert_json '.members[0] | [.node_id, .status] | join(" ")' "node-1 alive"
        run openssl x509 -in "$root/etc/caxton/certs/node.crt" -noout -ext subjectAltName -fingerprint
        assert_success
        assert_output --partial "URI:spiffe://caxton/node/node-1"
        [[ $round != first ]] || first=$output
        assert_equal "$output" "$first"
        # The script's last line is in the foreground: its end is the end of the script.
        kill -TERM "$(pgrep -P "$daemon_pid" -f "server start")"
        wait_until 20 is_gone "$daemon_pid"
        wait_until 20 no_processes
        stop_daemon bootstrap
    done
    run openssl verify -CAfile "$root/etc/caxton/ca.crt" "$root/etc/caxton/certs/node.crt"
    assert_success
    assert_equal "$(stat -c %a "$root/etc/caxton/ca.key")" 600
    assert_equal "$(stat -c %a "$root/etc/caxton/certs/node.key")" 600
}

# In namespaces of its own the script finds empty folders at the very paths that it names, and a network
# that is all its own.
@test "the bootstrap script runs word for word, with the paths and addresses that it names" {
    unshare --map-root-user --mount --net --pid --fork true 2>/dev/null ||
        skip "no namespaces here"

    # shellcheck disable=SC2016 # the inner shell expands it
    start_daemon bootstrap unshare --map-root-user --mount --net --pid --fork --mount-proc --kill-child \
        bash -euc '
        ip link set lo up
        ip address add 192.0.2.1/24 dev lo
        for folder in etc var run; do
            mkdir -p "$1/$folder/upper" "$1/$folder/work"
            mount -t overlay overlay \
                -o "userxattr,lowerdir=/$folder,upperdir=$1/$folder/upper,workdir=$1/$folder/work" \
                "/$folder"
        done
        rm -rf /etc/caxton /var/lib/caxton /run/caxton
        mkdir -p /etc/caxton
        bash -e "$2" &
        for ((i = 0; i < 300; i++)); do
            if caxton cluster members >"$3" 2>&1 && cx-node status >"$3.node" 2>&1; then
                echo up
                wait
            fi
            sleep 0.1
        done' - "$root" "$SCRIPT" "$BATS_TEST_TMPDIR/members"
    is_up() {
        grep '^up$' "$BATS_TEST_TMPDIR/bootstrap.log" || {
            tail "$BATS_TEST_TMPDIR/bootstrap.log"
            return 1
        }
    }
    wait_until 40 is_up

    output=$(<"$BATS_TEST_TMPDIR/members")
    assert_json .count 1
    assert_json '.members[0].node_id' node-1
}

# document_commands HEADING: the command lines of that block, each on a line of its own.
document_commands() {
    document_block "$1" | sed -e ':join;/\\$/{N;s/\\\n *//;b join}' -e '/^#/d;/^$/d'
}

# Two hosts, each with a network, an /etc and a /var of its own, joined by a cable. The new one has what
# `scp` brings (a stand-in that copies from the other's folders), and the CA's key, which gen-cert on it
# needs and the document leaves to the operator; no configuration and no gossip keys.
@test "'Adding Nodes' runs word for word: two hosts, and the new one joins with a certificate alone" {
    unshare --map-root-user --mount --net --pid --fork true 2>/dev/null ||
        skip "no namespaces here"
    local line commands=$BATS_TEST_TMPDIR/adding-nodes
    document_commands "Adding Nodes to Cluster" >"$commands"
    assert_equal "$(wc -l <"$commands")" 4

    mkdir -p "$root/bin"
    cat >"$root/bin/scp" <<END
#!/bin/sh
[ "\${1%%:*}" = seed-node ] && cp "$root/seed/etc/upper/\${1#*:/etc/}" "\$2"
END
    chmod +x "$root/bin/scp"
    cat >"$root/host" <<'END'
set -eu
root=$1 name=$2 address=$3 go=$4
trap 'touch "$root/over"' EXIT
until [[ -e $go ]]; do sleep 0.05; done # the cable is plugged in
ip link set lo up
ip address add "$address/24" dev cable
ip link set cable up
for folder in etc var run; do
    mkdir -p "$root/$name/$folder/upper" "$root/$name/$folder/work"
    mount -t overlay overlay \
        -o "userxattr,lowerdir=/$folder,upperdir=$root/$name/$folder/upper,workdir=$root/$name/$folder/work" "/$folder"
done
rm -rf /etc/caxton /var/lib/caxton /run/caxton
mkdir -p /etc/caxton
printf '%s\n' '192.0.2.1 node-1.example.com' '192.0.2.2 node-2.example.com' >>/etc/hosts
source "$root/$name.sh"
END
    cat >"$root/seed.sh" <<'END'
bash -e "$root/../initial-cluster-formation"
END
    cat >"$root/new.sh" <<'END'
until [[ -e $root/seed/run/upper/caxton/gossip.sock ]]; do sleep 0.05; done
cp "$root/seed/etc/upper/caxton/ca.key" /etc/caxton/
while read -r line; do
    if [[ $line == *"server start"* ]]; then
        bash -ec "$line" </dev/null &
        for ((i = 0; i < 300; i++)); do
            ! [[ $(caxton cluster members 2>/dev/null | jq .count) == 2 ]] || break
            sleep 0.1
        done
    else
        bash -ec "$line" </dev/null >"$root/last"
        echo "$line" >>"$root/well"
    fi
done <"$1/../adding-nodes"
for ((i = 0; i < 300; i++)); do
    ! cx-node status >"$1/../node-2-status" || break
    sleep 0.1
done
stat -c %a /etc/caxton/certs/gossip.keys >"$1/../mode"
touch "$1/over"
wait
END
    # shellcheck disable=SC2016 # the inner shell expands it
    start_daemon hosts env PATH="$root/bin:$PATH" unshare --map-root-user --mount --net --pid --fork --mount-proc \
        --kill-child bash -euc '
        ip link add cable type veth peer name other
        unshare --mount --net bash "$1/host" "$1" seed 192.0.2.1 "$1/go" >"$1/seed.log" 2>&1 &
        seed=$!
        unshare --mount --net bash "$1/host" "$1" new 192.0.2.2 "$1/go" >"$1/new.log" 2>&1 &
        new=$!
        own=$(readlink /proc/self/ns/net)
        for host in $seed $new; do
            until [[ $(readlink "/proc/$host/ns/net") != "$own" ]]; do sleep 0.05; done
        done
        ip link set cable netns "$seed"
        ip link set other netns "$new" name cable
        touch "$1/go"
        wait' - "$root"
    wait_until 60 test -e "$root/over"
    tail -n 5 "$root/new.log" "$root/seed.log" "$BATS_TEST_TMPDIR/hosts.log"

    # Each line ended well, and the last one shows both.
    assert_equal "$(<"$root/well")" "$(grep -v 'server start' "$commands")"
    output=$(<"$root/last")
    assert_json '[.members[] | "\(.node_id) \(.status)"] | sort | join(", ")' "node-1 alive, node-2 alive"
    assert_equal "$(<"$BATS_TEST_TMPDIR/mode")" 600
    output=$(<"$BATS_TEST_TMPDIR/node-2-status")
    assert_json '[.. | .node_id? // empty] | unique | join(" ")' node-2
}

# ---- scripts/bootstrap

# automated ADDRESS [OPTION…]: bootstrap with everything below $root.
automated() {
    bootstrap --node-id node-1 --expect 1 --bind-addr "$1:7946" --api-addr "$1:8080" --data-dir "$root/data" \
        --cert-dir "$root/certs" --log-dir "$root/log" --run-dir "$root/run" --gossip-profile local --yes "${@:2}"
}

@test "bootstrap: a port that a stranger has ends it with the check and the reason; a rerun finishes" {
    local address
    address=$(free_loopback)
    export CX_CONFIG=$root/config.yaml
    start_squatter squatter "$address" 8080

    run --separate-stderr automated "$address" --dry-run
    assert_failure 75
    run --separate-stderr automated "$address"
    assert_failure 75
    assert_equal "$(jq -r 'select(.status == "failed").step' <<<"$output" | tail -n 1)" bootstrap
    output=${stderr##*$'\n'}
    validate_schema cx-error
    assert_json '.error | [.code, .exit] | join(" ")' "busy 75"
    [[ $(jq -r .error.message <<<"$output") == *"ports_free: $address:8080"* ]]
    [[ $stderr != *--resume* ]]
    [[ ! -e $CX_CONFIG ]]

    stop_daemon squatter
    run --separate-stderr automated "$address"
    assert_success
    # Its own daemons have the ports now: run again, it changes nothing.
    run --separate-stderr automated "$address"
    assert_success
    assert_equal "$(jq -c 'select(.step == "start_node" and .status == "ok").detail' <<<"$output")" '{"changed":false}'
    kill -TERM "$(pgrep -f -- "caxton server start --config $root/")"
}

@test "bootstrap: no seed that answers is a time-out, and says so" {
    local address
    address=$(free_loopback)
    export CX_CONFIG=$root/config.yaml

    run --separate-stderr automated "$address" --seeds "$(free_loopback):7946" --timeout 1s

    assert_failure 75
    output=${stderr##*$'\n'}
    assert_json .error.code timeout
    [[ $output == *network_connectivity* ]]
}

@test "bootstrap: a host with a certificate alone gets the gossip keys from the seed" {
    local first second
    first=$(free_loopback) second=$(free_loopback)
    CX_CONFIG=$root/config.yaml automated "$first"
    cx-ca issue --ca-dir "$root/certs/ca" --node-id node-2 --output "$root/2/certs"

    run --separate-stderr env CX_CONFIG="$root/2/config.yaml" bootstrap --node-id node-2 --expect 1 --seeds "$first:7946" \
        --bind-addr "$second:7946" --api-addr "$second:8080" --data-dir "$root/2/data" --cert-dir "$root/2/certs" \
        --log-dir "$root/2/log" --run-dir "$root/2/run" --gossip-profile local --yes

    assert_success
    cmp "$root/certs/gossip.keys" "$root/2/certs/gossip.keys"
    run --separate-stderr cx-gossip members --config "$root/2/config.yaml"
    assert_json .count 2
    # shellcheck disable=SC2046 # process ids
    kill -TERM $(pgrep -f -- "caxton server start --config $root/")
}
