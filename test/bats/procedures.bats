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
