#!/usr/bin/env bats
# The front command: its table, and `server start`, here with stand-ins for the two daemons.

load common

# stand_in NAME STATUS: a daemon that tells what it is asked, and ends with STATUS on SIGTERM.
stand_in() {
    cat >"$BATS_TEST_TMPDIR/bin/$1" <<END
#!/usr/bin/env bash
echo "$1 \$*"
trap 'echo $1 TERM; exit $2' TERM
trap 'echo $1 HUP' HUP
echo \$\$ >"$BATS_TEST_TMPDIR/$1.pid"
while :; do sleep 0.05; done
END
    chmod +x "$BATS_TEST_TMPDIR/bin/$1"
}

start_stand_ins() {
    mkdir "$BATS_TEST_TMPDIR/bin"
    printf '#!/bin/sh\necho "cx-join $*"\n' >"$BATS_TEST_TMPDIR/bin/cx-join"
    chmod +x "$BATS_TEST_TMPDIR/bin/cx-join"
    stand_in cx-gossip 0
    stand_in cx-node "$1"
    export CX_BUILD=$BATS_TEST_TMPDIR/bin
    start_daemon caxton caxton server start --config /c.yaml "${@:2}"
    wait_until 5 test -s "$BATS_TEST_TMPDIR/cx-gossip.pid"
    wait_until 5 test -s "$BATS_TEST_TMPDIR/cx-node.pid"
}

log_has() {
    grep -q "$1" "$BATS_TEST_TMPDIR/caxton.log"
}

@test "--help names every command of the table" {
    run caxton --help

    assert_success
    assert_output --partial "security init-ca"
    assert_output --partial "cluster members"
    assert_output --partial "messages stats"
    assert_output --partial "performance-degradation  "
}

@test "every row of the table runs a program of ours and a command that it has" {
    local words command program PATH=$PATH:$CX_ROOT/runbooks
    while IFS='|' read -r words command _; do
        read -r program _ <<<"$command"
        [[ $program != server_start ]] || continue
        type -P "$program" >/dev/null || fail "$words: $program is not there"
        # shellcheck disable=SC2086 # words
        run caxton $words --help
        assert_success
    done < <(caxton --table)
}

@test "an unknown word is a usage error" {
    run --separate-stderr caxton cluster dance
    assert_error usage
    run --separate-stderr caxton server start --bootstrap --join a:1
    assert_error usage
    run --separate-stderr caxton server start --config
    assert_error usage
}

@test "half a command lists what may follow, a mistyped word the nearest one" {
    run caxton queue --help
    assert_success
    assert_output --partial "queue stats"
    assert_output --partial "queue drain"
    refute_output --partial "cluster members"

    local words message hint
    while IFS='|' read -r words message hint; do
        # shellcheck disable=SC2086 # words
        run --separate-stderr caxton $words
        assert_error usage
        [[ $(jq -r .error.message <<<"$stderr") == *"$message"* ]] || fail "$words: $stderr"
        [[ $(jq -r .error.hint <<<"$stderr") == *"$hint"* ]] || fail "$words: $stderr"
    done <<'END'
cluster|'cluster' alone|events, members, ping
cluster upgrade|'cluster upgrade' alone|one of rollback, start, status
cluster upgrade stort --to 2|cluster upgrade stort|did you mean 'cluster upgrade start'?
clustr members|clustr|did you mean 'cluster'?
cluster membres --json|cluster membres|did you mean 'cluster members'?
xyzzy plugh|xyzzy|one of add-node, agents, backup
cluster --json|'cluster' alone|members
--versoin|no such command: --versoin|one of add-node, agents, backup
END
}

@test "server start: runs agent and node with the same configuration, and joins every address" {
    start_stand_ins 0 --join a.example:7946,b.example:7946

    log_has "cx-gossip agent --config /c.yaml --join a.example:7946 --join b.example:7946"
    log_has "cx-node run --config /c.yaml"
    # Before both: what a host that is to join may lack.
    assert_equal "$(head -n 1 "$BATS_TEST_TMPDIR/caxton.log")" \
        "cx-join enroll --config /c.yaml --seed a.example:7946 --seed b.example:7946"
}

@test "server start: a host that can't become a member starts nothing, and ends with the reason's status" {
    export CX_CONFIG=$BATS_TEST_TMPDIR/none.yaml
    cat >"$CX_CONFIG" <<<"cert_dir: $BATS_TEST_TMPDIR/none"
    run --separate-stderr caxton server start --join "$(free_loopback):7946"
    assert_error not_found
}

@test "server start: SIGTERM ends the node, then the agent, with the node's status" {
    start_stand_ins 3 --bootstrap

    stop_daemon caxton TERM

    assert_equal "$daemon_status" 3
    run grep TERM "$BATS_TEST_TMPDIR/caxton.log"
    assert_line --index 0 "cx-node TERM"
    assert_line --index 1 "cx-gossip TERM"
}

@test "server start: SIGHUP reaches both, and both go on" {
    start_stand_ins 0 --bootstrap

    kill -HUP "$daemon_pid"

    wait_until 5 log_has "cx-node HUP"
    wait_until 5 log_has "cx-gossip HUP"
    is_running "$daemon_pid"
}

@test "server start: the end of one ends the other" {
    local victim other
    for victim in cx-gossip cx-node; do
        rm -rf "${BATS_TEST_TMPDIR:?}"/{bin,cx-*.pid}
        start_stand_ins 0 --bootstrap
        other=cx-node
        [[ $victim != cx-node ]] || other=cx-gossip

        kill -KILL "$(<"$BATS_TEST_TMPDIR/$victim.pid")"

        wait_until 5 is_gone "$(<"$BATS_TEST_TMPDIR/$other.pid")"
        wait_until 5 is_gone "$daemon_pid"
        stop_daemon caxton
        assert_equal "$daemon_status" 137
    done
}

@test "server start: killed itself, it leaves neither behind" {
    start_stand_ins 0 --bootstrap

    kill -KILL "$daemon_pid"

    wait_until 5 is_gone "$(<"$BATS_TEST_TMPDIR/cx-gossip.pid")"
    wait_until 5 is_gone "$(<"$BATS_TEST_TMPDIR/cx-node.pid")"
}
