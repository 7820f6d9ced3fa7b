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

# here_is_there: the hosts of all nodes are this one.
here_is_there() {
    printf '%s\n' '#!/bin/bash' 'shift 2' 'exec "$@"' >"$BATS_TEST_TMPDIR/remote"
    chmod +x "$BATS_TEST_TMPDIR/remote"
    export CX_REMOTE=$BATS_TEST_TMPDIR/remote
}

@test "disk-full: what is large is found among thousands of folders, too" {
    here_is_there
    mkdir -p "$BATS_TEST_TMPDIR"/{log,data/agents}
    (cd "$BATS_TEST_TMPDIR/data/agents" && seq -f "agent-with-a-long-name-%g" 4000 | xargs mkdir)
    run --separate-stderr "$CX_ROOT/runbooks/disk-full" node-1 --threshold 1 --dry-run
    assert_success
    output=$(tail -n 1 <<<"$output")
    assert_json .detail.outcome planned
}

# stand_in NAME FILTER: a tool that prints this as its document.
stand_in() {
    local program
    mkdir -p "$BATS_TEST_TMPDIR/bin"
    for program in "$CX_BUILD"/cx-*; do
        [[ -e $BATS_TEST_TMPDIR/bin/${program##*/} ]] || ln -s "$program" "$BATS_TEST_TMPDIR/bin/"
    done
    jq -nc "$2" >"$BATS_TEST_TMPDIR/$1.json"
    rm -f "$BATS_TEST_TMPDIR/bin/$1"
    printf '%s\n' '#!/bin/bash' "exec cat '$BATS_TEST_TMPDIR/$1.json'" >"$BATS_TEST_TMPDIR/bin/$1"
    chmod +x "$BATS_TEST_TMPDIR/bin/$1"
}

@test "more agents, and more kinds of errors, than an argument of a program may hold: they are looked at all the same" {
    mkdir -p "$BATS_TEST_TMPDIR"/{data,log/reports}
    stand_in cx-agents '{agents: [range(3000) | {id: "an-agent-of-a-rather-long-name-\(. + 100000)", node_id: "node-1", state: "running", placement: "pinned",
        priority: "normal", capabilities: [], queued: 1, in_flight: 1, oldest_in_flight_seconds: 20, latency_ms: {p99: 1},
        processed: 1, failed: 0}]}'
    stand_in cx-gossip '{members: [{node_id: "node-1", status: "alive", addr: "127.0.0.1:1", tags: {role: "node"}}]}'
    stand_in cx-node '{nodes: [{node_id: "node-1", latency_ms: {p99: 1}, messages: {queued: 3000}, agents: {total: 3000, max: 10000}}]}'
    export CX_BUILD=$BATS_TEST_TMPDIR/bin
    run --separate-stderr "$CX_ROOT/scripts/tasks/architecture_review"
    assert_success
    assert_json '.facts.single_points | length' 3000
    run --separate-stderr "$CX_ROOT/runbooks/performance-degradation" --queue-limit 10 --slow-threshold 60s --dry-run --phase detect
    assert_failure 1
    assert_equal "$(tail -n 1 <<<"$output" | jq -r .detail.outcome)" found

    jq -nc 'range(500) | {time: (now - 60 | todate), level: "error", program: "cx-node", code: "io", message: ("x y z " * 60),
        event: (tostring | explode | map(. + 49) | implode)}' >"$BATS_TEST_TMPDIR/log/node.log"
    run --separate-stderr "$CX_ROOT/scripts/tasks/review_error_logs"
    assert_success
    assert_json '[(.findings | length), .facts.groups[0].new]' '[500,true]'
    rm "$BATS_TEST_TMPDIR/log/node.log"
    jq -nc '{time: (now - 50 | todate), level: "error", program: "cx-node", event: "a", code: "io", message: ("x y z " * 60)}' >"$BATS_TEST_TMPDIR/log/node.log"
    run --separate-stderr "$CX_ROOT/scripts/tasks/review_error_logs"
    assert_json '.facts.groups[0].new' false
}

@test "prometheus-rules: an option without its value is told" {
    run --separate-stderr prometheus-rules --file
    assert_error usage
}

# a_service: log_dir and data_dir belong to somebody else, as the package makes them; runs of root go to $XDG_STATE_HOME.
a_service() {
    ((EUID == 0)) || skip "only root writes into folders of others"
    unset CX_RUNS
    export XDG_STATE_HOME=$BATS_TEST_TMPDIR/state
    mkdir -p "$BATS_TEST_TMPDIR"/{log,data,victim}
    echo precious >"$BATS_TEST_TMPDIR/victim/file"
    chown 65534:65534 "$BATS_TEST_TMPDIR"/{log,data}
    chmod o+x "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/test" "$BATS_TEST_TMPDIR" # they come as far as to their folders
}

@test "root keeps its runs out of a folder that a service owns, and follows no link that the service has put there" {
    a_service
    # As a service would do it that knows what root writes, and where.
    mkdir -p "$BATS_TEST_TMPDIR/log/runs"
    ln -s "$BATS_TEST_TMPDIR/victim" "$BATS_TEST_TMPDIR/log/runs/small"
    ln -s "$BATS_TEST_TMPDIR/victim/file" "$BATS_TEST_TMPDIR/log/runs/.lock"
    ln -s "$BATS_TEST_TMPDIR/victim/file" "$BATS_TEST_TMPDIR/log/runs/.bootstrap-lock"
    ln -s "$BATS_TEST_TMPDIR/victim" "$BATS_TEST_TMPDIR/data/incidents"
    chown -hR 65534:65534 "$BATS_TEST_TMPDIR"/{log/runs,data/incidents}
    procedure "source $CX_ROOT/scripts/lib/runbook.bash" 'detect() { is_wrong "it is bad"; }' \
        'conclude() { cause=bad explained="it is bad"; add_action help "help it"; }' \
        'mitigate_help() { fail_step "no help"; }' 'parse_options "$@"' 'run_runbook'
    run --separate-stderr "$small" --yes
    assert_failure 1
    run --separate-stderr bootstrap --log-dir "$BATS_TEST_TMPDIR/log" --cluster test --start-command false --bind-addr 0.0.0.0:1x
    assert_failure
    run find "$BATS_TEST_TMPDIR/victim"
    assert_output "$(printf '%s\n' "$BATS_TEST_TMPDIR/victim" "$BATS_TEST_TMPDIR/victim/file")"
    assert_equal "$(<"$BATS_TEST_TMPDIR/victim/file")" precious
    run find "$BATS_TEST_TMPDIR"/{log,data} ! -user 65534
    assert_output ""
    [[ -s $(echo "$XDG_STATE_HOME"/cx/runs/test/small/*/journal.ndjson) ]]
    # The record that could not be where it belongs is beside the journal.
    [[ -s $(echo "$XDG_STATE_HOME"/cx/runs/test/small/*/*-small-*.md) ]]
}

@test "root's incident record in a service's folder belongs to the service" {
    a_service
    procedure "source $CX_ROOT/scripts/lib/runbook.bash" 'detect() { is_wrong "it is bad"; }' \
        'conclude() { cause=bad explained="it is bad"; leaves "it is bad"; }' 'parse_options "$@"' 'run_runbook'
    run --separate-stderr "$small" --yes --recover-timeout 1s
    assert_failure 1
    run stat -c '%u:%g %a' "$BATS_TEST_TMPDIR/data/incidents" "$BATS_TEST_TMPDIR"/data/incidents/*
    assert_output "$(printf '%s\n' "65534:65534 750" "65534:65534 640" "65534:65534 640")"
}

@test "what killed procedures left in the temporary folder goes with the next one of the same user" {
    local boot
    boot=$(</proc/sys/kernel/random/boot_id)
    mkdir -p "$TMPDIR"/cx-procedure-{aaaaaa,bbbbbb,cccccc} "$CX_RUNS/small/20200101T000000Z-small-0000" "$CX_RUNS/small/new"
    echo "999999999 1 $boot" >"$TMPDIR/cx-procedure-aaaaaa/pid"
    echo "$$ $(cut -d' ' -f22 /proc/$$/stat) $boot" >"$TMPDIR/cx-procedure-bbbbbb/pid"
    ln -s "$BATS_TEST_TMPDIR/data" "$TMPDIR/cx-procedure-dddddd"
    touch -d '401 days ago' "$CX_RUNS/small/20200101T000000Z-small-0000"
    procedure 'parse_options "$@"' 'works() { :; }' 'begin_run small "{}"' 'run_step a works' 'end_run done'
    run "$small" --dry-run
    [[ -e $TMPDIR/cx-procedure-aaaaaa ]]
    run "$small"
    assert_success
    assert_equal "$(cd "$TMPDIR" && echo *)" "cx-procedure-bbbbbb cx-procedure-cccccc cx-procedure-dddddd"
    [[ -e $CX_RUNS/small/new && ! -e $CX_RUNS/small/20200101T000000Z-small-0000 ]]
}

@test "add-node: without curl it says so before it starts anything" {
    mkdir "$BATS_TEST_TMPDIR/path"
    ln -s /usr/bin/* "$BATS_TEST_TMPDIR/path/"
    rm "$BATS_TEST_TMPDIR/path/curl"
    PATH=$BATS_TEST_TMPDIR/path run --separate-stderr "$CX_ROOT/scripts/add-node" node-4
    assert_error unavailable
    [[ $stderr == *"curl is missing"* && ! -e $CX_RUNS ]]
}

@test "host-look: a daemon's last words are found in the log that the units of systemd share" {
    mkdir -p "$BATS_TEST_TMPDIR/log"
    jq -nc '["cx-gossip", "cx-node", "cx-health"][] as $program | range(20) | {time: (now | todate), level: "info", program: $program, event: "e\(.)"}' \
        >"$BATS_TEST_TMPDIR/log/caxton.log"
    echo "Segmentation fault" >>"$BATS_TEST_TMPDIR/log/caxton.log"
    run --separate-stderr bash "$CX_ROOT/scripts/lib/host-look"
    assert_success
    assert_json '.logs | [.gossip, .node | map(select(type == "object" and .program != "cx-health")) | [.[0].program, .[0].event, length]]' \
        '[["cx-gossip","e8",12],["cx-node","e8",12]]'
    assert_json '.logs.node | last' "Segmentation fault"
}

# concludes CAUSE RUNBOOK…: what it finds out, with nothing but ssh to reach others.
concludes() {
    run --separate-stderr env -u CX_REMOTE CX_SSH="$BATS_TEST_TMPDIR/ssh" "$CX_ROOT/runbooks/$2" "${@:3}" --dry-run
    assert_success
    output=$(jq -c 'select(.step == "cause" and .status == "ok") | .detail' <<<"$output")
    assert_json .cause "$1"
}

@test "while the gossip agent of this host is down, runbooks take no other host for gone, and mend this one without ssh" {
    printf '%s\n' '#!/bin/bash' 'echo "ssh: Could not resolve hostname" >&2' 'exit 255' >"$BATS_TEST_TMPDIR/ssh"
    chmod +x "$BATS_TEST_TMPDIR/ssh"
    mkdir -p "$BATS_TEST_TMPDIR"/{data,log,run}
    stand_in cx-node '{ok: true, databases: []}' # whole
    export CX_BUILD=$BATS_TEST_TMPDIR/bin
    concludes process_crashed node-failure node-1
    assert_json '.actions | length' 1
    concludes agent_here node-failure node-2
    concludes node_down network-partition
}

@test "disk-full: on the very host whose logs have filled the disk it makes room, and is found again" {
    ((EUID == 0)) || skip "only root may mount"
    here_is_there
    unset CX_RUNS
    export XDG_STATE_HOME=$BATS_TEST_TMPDIR/state
    mkdir -p "$BATS_TEST_TMPDIR"/{log,data}
    # shellcheck disable=SC2016 # expanded there
    run --separate-stderr unshare --mount --propagation private bash -c 'mount -t tmpfs -o size=1m tmpfs "$1/log"
        head -c 2M /dev/zero >"$1/log/node.log.1" 2>/dev/null
        touch -d "3 days ago" "$1/log/node.log.1"
        "$2" node-1 --yes
        echo "status $?"
        ls "$1/log"
        "$2" node-1 --phase post_incident' bash "$BATS_TEST_TMPDIR" "$CX_ROOT/runbooks/disk-full"
    assert_line "status 1" # room there is; the node does not answer
    refute_line node.log.1
    output=$(sed '1,/^runs$/d' <<<"$output")
    assert_json '[.cause, .changes[0].step]' '["logs","remove_logs"]'
}

@test "on-node: stdin is passed on, also when it is a socket" {
    here_is_there
    # shellcheck disable=SC2016 # python
    run --separate-stderr /usr/bin/python3 -c '
import socket, subprocess
here, there = socket.socketpair()
there.send(b"said\n")
there.close()
print(subprocess.run(["on-node", "node-1", "--", "cat"], stdin=here, capture_output=True, text=True, check=True).stdout)'
    assert_success
    assert_output said
}
