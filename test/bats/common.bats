#!/usr/bin/env bats
# The test helpers themselves: a helper that passes by mistake hides every fault behind it.

load common

@test "free_loopback: each call gives another address of this test's own network" {
    local first second
    first=$(free_loopback)
    second=$(free_loopback)

    [[ $first == 127.*.1 && $second == "${first%.*}.2" ]]
}

@test "free_loopback: another process has another network" {
    local other
    other=$(bash -c 'bats_require_minimum_version() { :; }; bats_load_library() { :; }
        source "$1"; echo "$CX_NETWORK"' - "$CX_ROOT/test/bats/common.bash")

    [[ $other == 127.* && $other != "$CX_NETWORK" ]]
}

@test "wait_until: gives up at the deadline, with the last output" {
    run wait_until 0 ls /nowhere-at-all

    assert_failure
    assert_output --partial "gave up on: ls /nowhere-at-all"
    assert_output --partial "No such file"
}

@test "start_daemon, stop_daemon: a daemon ends by the signal, and its status is known" {
    start_daemon sleeper bash -c 'trap "exit 7" TERM; echo ready; while :; do sleep 0.1; done'
    local pid=$daemon_pid
    wait_until 5 grep ready "$BATS_TEST_TMPDIR/sleeper.log"
    is_running "$pid"

    stop_daemon sleeper

    is_gone "$pid"
    assert_equal "$daemon_status" 7
}

@test "stop_daemon: one that ignores the signal is a failure; end_daemons kills it and its children" {
    start_daemon deaf bash -c 'trap "" TERM; sleep 1000 & wait; sleep 1000'
    local pid=$daemon_pid
    child_of() { pgrep -P "$1"; }
    wait_until 5 child_of "$pid"
    local child
    child=$(child_of "$pid")

    run stop_daemon deaf TERM 0
    assert_failure
    end_daemons

    wait_until 5 is_gone "$pid"
    wait_until 5 is_gone "$child"
}

@test "end_daemons: kills what a daemon that ended left behind" {
    start_daemon parent bash -c 'sleep 1000 & echo $! >"$1"; wait' - "$BATS_TEST_TMPDIR/child"
    wait_until 5 test -s "$BATS_TEST_TMPDIR/child"
    stop_daemon parent
    is_running "$(<"$BATS_TEST_TMPDIR/child")"

    end_daemons

    wait_until 5 is_gone "$(<"$BATS_TEST_TMPDIR/child")"
}

@test "assert_json: compares what the filter gives, and fails on anything else" {
    output='{"a":{"b":[1,"x"]},"c":"text"}'

    assert_json .a '{"b":[1,"x"]}'
    assert_json .c text
    run assert_json .c other
    assert_failure
    output='not json'
    run assert_json .c text
    assert_failure
    output='{"c":"text"}{"c":"text"}'
    run assert_json .c text
    assert_failure
}

@test "assert_error: wants the code, its exit status, and an empty stdout" {
    refuse() {
        echo '{"error":{"code":"busy","message":"held by process 7","hint":"","exit":75}}' >&2
        return "$1"
    }
    run --separate-stderr refuse 75
    assert_error busy
    run assert_error config
    assert_failure

    run --separate-stderr refuse 1
    run assert_error busy
    assert_failure
}

@test "crash_at_every_step: finds the step after which a program leaves half a state" {
    fresh() { rm -rf "$BATS_TEST_TMPDIR/state" && mkdir "$BATS_TEST_TMPDIR/state"; }
    state_is_whole() {
        [[ ! -e $BATS_TEST_TMPDIR/state/a && ! -e $BATS_TEST_TMPDIR/state/b ]] ||
            [[ -e $BATS_TEST_TMPDIR/state/a && -e $BATS_TEST_TMPDIR/state/b ]]
    }
    in_two() { "${crash[@]}" /usr/bin/python3 -SE -c 'import os, sys
os.chdir(sys.argv[1])
os.makedirs("a", exist_ok=True); os.makedirs("b", exist_ok=True)' "$BATS_TEST_TMPDIR"/state; }
    is_there() { [[ $1 == crashed || -e $BATS_TEST_TMPDIR/state/b ]]; }

    run crash_at_every_step fresh in_two state_is_whole
    assert_failure
    assert_output --partial "killed before mkdir number 2"

    crash_at_every_step fresh in_two is_there
    assert_equal "$crash_count" 2
}

@test "crash_at_every_step: a program without a durable step is a failure" {
    nothing() { :; }
    idle() { "${crash[@]}" true; }

    run crash_at_every_step nothing idle nothing

    assert_failure
    assert_output --partial "no durable step seen"
}
