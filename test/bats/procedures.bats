#!/usr/bin/env bats
# What the procedures and runbooks stand on (scripts/lib), tried by small ones of the tests' own, without a cluster.
# shellcheck disable=SC2016 # what is in single quotes is expanded in the small scripts

load common

setup() {
    export CX_RUNS=$BATS_TEST_TMPDIR/runs CX_CONFIG=$BATS_TEST_TMPDIR/config.yaml TMPDIR=$BATS_TEST_TMPDIR/tmp
    mkdir -p "$TMPDIR"
    printf '%s\n' 'cluster: test' 'node_id: node-1' "data_dir: $BATS_TEST_TMPDIR/data" "log_dir: $BATS_TEST_TMPDIR/log" \
        "run_dir: $BATS_TEST_TMPDIR/run" "cert_dir: $BATS_TEST_TMPDIR/certs" >"$CX_CONFIG"
}

# procedure LINE…: a script of these lines, over the library, as the program $small.
procedure() {
    small=$BATS_TEST_TMPDIR/small
    {
        printf '%s\n' '#!/usr/bin/env bash' 'set -euo pipefail' 'shopt -s inherit_errexit nullglob' \
            "source $CX_ROOT/scripts/lib/procedure.bash"
        printf '%s\n' "$@"
    } >"$small"
    chmod +x "$small"
}

@test "a tool that a signal ends is a failure of its step, and what is done after one is done" {
    local signal
    procedure 'parse_options "${@:2}"' 'dies() { bash -c "kill -s $signal \$\$"; }' 'signal=$1' \
        'on_failure() { echo "then: $1"; }' 'begin_run small "{}"' 'run_step a dies' 'end_run done'
    for signal in KILL TERM SEGV; do
        run --separate-stderr "$small" "$signal"
        assert_failure 1
        assert_output --partial "then: "
        refute_output --partial "interrupted"
    done
    [[ -z $(ls "$TMPDIR") ]]
}

@test "a procedure that a signal ends keeps everything as it is" {
    procedure 'parse_options "$@"' 'waits() { kill -s TERM $$; nap 60; }' \
        'on_failure() { echo "then: $1"; }' 'begin_run small "{}"' 'run_step a waits' 'end_run done'
    run --separate-stderr "$small"
    assert_failure 143
    refute_output --partial "then: "
    assert_output --partial "interrupted by a signal"
    [[ -z $(ls "$TMPDIR") ]]
}

@test "a runbook whose step fails leaves a whole incident record, as JSON and as a page" {
    local page
    procedure "source $CX_ROOT/scripts/lib/runbook.bash" 'detect() { is_wrong "it is bad"; }' \
        'conclude() { cause=bad explained="it is bad"; add_action help "help it"; }' \
        'mitigate_help() { fail_step "no help"; }' 'parse_options "$@"' 'run_runbook'
    run --separate-stderr "$small" --yes --incident-dir "$BATS_TEST_TMPDIR/incidents"
    assert_failure 1
    page=$(echo "$BATS_TEST_TMPDIR"/incidents/*.md)
    grep -qF 'mitigate help: no help' "$page"
    output=$(<"${page%.md}.json")
    validate_schema incident
    assert_json '[.outcome, .cause, .unresolved]' '["not_ended","bad",["mitigate help: no help"]]'
    [[ $stderr == *"not ended; $page"* ]]
}

@test "a backup policy that can't be read is an error of the drill and of backup-failure, and not nothing wrong" {
    mkdir -p "$BATS_TEST_TMPDIR/policies"
    echo 'backup: {destinations: none}' >"$BATS_TEST_TMPDIR/policies/backup.yaml"
    touch "$BATS_TEST_TMPDIR/identity"
    run --separate-stderr dr-drill --identity "$BATS_TEST_TMPDIR/identity"
    assert_error config
    run --separate-stderr "$CX_ROOT/runbooks/backup-failure" --yes --incident-dir "$BATS_TEST_TMPDIR/incidents"
    assert_error config
}

@test "figures of a node that does not answer: the task says so, and those of before stay as they are" {
    local before
    mkdir -p "$BATS_TEST_TMPDIR"/{data,log/reports}
    before='{"node_id":"node-1","time":"2026-01-01T00:00:00Z"}'
    echo "$before" >"$BATS_TEST_TMPDIR/log/reports/samples.ndjson"
    run --separate-stderr "$CX_ROOT/scripts/tasks/analyze_performance_trends"
    assert_success
    assert_json '[.findings[] | select(.subject == "sample") | .severity]' '["warning"]'
    assert_equal "$(<"$BATS_TEST_TMPDIR/log/reports/samples.ndjson")" "$before"
}

@test "security_audit: an API that answers strangers and speaks an old TLS is found, every time; without logs it waits for nobody" {
    local address number
    load fake
    mkfifo "$BATS_TEST_TMPDIR/stdin"
    make_ca "$BATS_TEST_TMPDIR/certs"
    make_cert "$BATS_TEST_TMPDIR/certs" "$BATS_TEST_TMPDIR/certs" node spiffe://test/node/node-1 node
    mkdir -p "$BATS_TEST_TMPDIR/data"
    address=$(free_loopback):$(free_port)
    echo "api_addr: $address" >>"$CX_CONFIG"
    start_daemon api openssl s_server -accept "$address" -cert "$BATS_TEST_TMPDIR/certs/node.crt" \
        -key "$BATS_TEST_TMPDIR/certs/node.key" -www -quiet
    wait_until 10 listens "${address%:*}" "${address#*:}"
    for number in 1 2 3; do
        # Its stdin never ends.
        run --separate-stderr timeout 30 "$CX_ROOT/scripts/tasks/security_audit" <>"$BATS_TEST_TMPDIR/stdin"
        assert_failure 1
        assert_json '[.facts.checks[] | select(.check | test("TLS|strangers")) | .ok]' '[true,false,false]'
    done
}

@test "disk-full: what is large is found among thousands of folders, too" {
    printf '%s\n' '#!/bin/bash' 'shift 2' 'exec "$@"' >"$BATS_TEST_TMPDIR/remote"
    chmod +x "$BATS_TEST_TMPDIR/remote"
    mkdir -p "$BATS_TEST_TMPDIR"/{log,data/agents}
    (cd "$BATS_TEST_TMPDIR/data/agents" && seq -f "agent-with-a-long-name-%g" 4000 | xargs mkdir)
    export CX_REMOTE=$BATS_TEST_TMPDIR/remote
    run --separate-stderr "$CX_ROOT/runbooks/disk-full" node-1 --threshold 1 --dry-run
    assert_success
    output=$(tail -n 1 <<<"$output")
    assert_json .detail.outcome planned
}
