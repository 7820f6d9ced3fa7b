#!/usr/bin/env bats
# rolling-upgrade and rolling-restart over tools that play a cluster: what they do, in which order, and what is
# left when something fails or somebody kills them.
# shellcheck disable=SC2119,SC2120,SC2030,SC2031 # each test is a subshell of its own

load common

setup() {
    FAKE=$BATS_TEST_TMPDIR/fake
    mkdir -p "$FAKE" "$BATS_TEST_TMPDIR/bin"
    export FAKE CX_RUNS=$BATS_TEST_TMPDIR/runs CX_CONFIG=$BATS_TEST_TMPDIR/config.yaml
    local name
    for name in cx-gossip cx-node cx-health cx-drain cx-lock cx-agents cx-queue cx-backup fake-upgrade; do
        ln -s "$BATS_TEST_DIRNAME/procedures/fake-tool" "$BATS_TEST_TMPDIR/bin/$name"
    done
    ln -s "$CX_BUILD/cx-config" "$BATS_TEST_TMPDIR/bin/cx-config"
    export CX_BUILD=$BATS_TEST_TMPDIR/bin CX_SHARE=$CX_ROOT/share
    export CX_REMOTE="$BATS_TEST_TMPDIR/bin/remote"
    printf '#!/bin/bash\nshift 2\nexec "$@"\n' >"$CX_REMOTE"
    chmod +x "$CX_REMOTE"
    PATH=$CX_BUILD:$PATH
    cat >"$CX_CONFIG" <<CONFIG
node_id: node-1
log_dir: $BATS_TEST_TMPDIR/log
CONFIG
    cluster 0.1.0 0.1.0 0.1.0
    quick=(--upgrade-command fake-upgrade --canary-duration 300ms --batch-delay 0s --start-timeout 2s --health-timeout 2s)
}

# cluster VERSION…: node-1, node-2, …, all well.
cluster() {
    jq -n '[$ARGS.positional | to_entries[] | {key: "node-\(.key + 1)", value: {version: .value, state: "active",
        status: "alive", started_at: "0", agents: 1, critical: [], upgrades: 0}}] | {nodes: from_entries}' \
        --args "$@" >"$FAKE/cluster.json"
    : >"$FAKE/calls"
    rm -f "$FAKE/behaviour"
}

behaves() {
    jq -n "$1" >"$FAKE/behaviour"
}

# set_node FILTER: of .nodes.
set_node() {
    jq "$1" "$FAKE/cluster.json" >"$FAKE/new" && mv "$FAKE/new" "$FAKE/cluster.json"
}

upgrade() {
    rolling-upgrade --to "${1:-0.1.1}" "${quick[@]}" "${@:2}"
}

versions() {
    jq -r '[.nodes[].version] | join(" ")' "$FAKE/cluster.json"
}

states() {
    jq -r '[.nodes[].state] | unique | join(" ")' "$FAKE/cluster.json"
}

journal() {
    cat "$CX_RUNS"/*/*/journal.ndjson
}

@test "upgrade: every node gets the new version, each step once, the canary first, this host's node last" {
    run --separate-stderr upgrade
    assert_success
    assert_equal "$(versions)" "0.1.1 0.1.1 0.1.1"
    assert_equal "$(states)" active
    assert_equal "$(jq -rs '[.[] | select(.status == "ok" and (.step == "perform_upgrade" or .step == "upgrade_canary")) | .node_id] | join(" ")' <<<"$output")" "node-2 node-3 node-1"
    assert_equal "$(jq -r '[.nodes[].upgrades] | max' "$FAKE/cluster.json")" 1
    validate_schema --lines procedure-record
    assert_equal "$(jq -rs 'last | .status' <<<"$output")" 'done'
    [[ -s $(echo "$CX_RUNS"/*/*/report.md) ]]
}

@test "upgrade: the steps are those of the policy, in its order" {
    upgrade >"$BATS_TEST_TMPDIR/out"
    run jq -rs '[.[] | select(.status == "started" and .phase != "run" and (.node_id == null or .node_id == "node-2")) | .step] | join(" ")' "$BATS_TEST_TMPDIR/out"
    assert_output "verify_cluster_health backup_critical_state verify_version_compatibility select_canary_node drain_canary_traffic upgrade_canary validate_canary monitor_canary_24h verify_cluster_consistency run_integration_tests update_documentation"
}

@test "upgrade: no node is touched before the one before it works again" {
    upgrade >/dev/null
    run awk '/^cx-drain enter/ {open++; if (open > 1) print "two at once"} /^cx-drain exit/ {open--}' "$FAKE/calls"
    assert_output ""
}

@test "upgrade: another major version, two minors at once and a downgrade are refused before anything is touched" {
    local version
    for version in 1.0.0 0.3.0 0.0.9 0.1.0-rc1; do
        run --separate-stderr upgrade "$version"
        assert_error invalid
    done
    assert_equal "$(grep -cE '^(cx-drain|fake-upgrade|cx-lock)' "$FAKE/calls" || true)" 0
    [[ ! -e $CX_RUNS ]]
}

@test "upgrade: what is no version is a usage error" {
    run --separate-stderr upgrade "0.1"
    assert_error usage
}

@test "upgrade: a sick canary goes back by itself, works again, and nobody else was touched" {
    behaves '{"0.1.1": "sick"}'
    run --separate-stderr upgrade
    assert_failure 1
    assert_equal "$(versions)" "0.1.0 0.1.0 0.1.0"
    assert_equal "$(states)" active
    assert_equal "$(jq -r '[.nodes[].upgrades] | add' "$FAKE/cluster.json")" 2
    assert_equal "$(jq -rs 'last | .status' <<<"$output")" rolled_back
    assert_equal "$(rolling-upgrade --status | jq -r .state)" rolled_back
}

@test "upgrade: a canary that falls sick while it is watched goes back too" {
    quick+=(--canary-duration 20s)
    rolling-upgrade --to 0.1.1 "${quick[@]}" >"$BATS_TEST_TMPDIR/out" 2>&1 &
    local pid=$!
    wait_until 60 grep -q '"step":"monitor_canary_24h","status":"started"' "$BATS_TEST_TMPDIR/out"
    set_node '.nodes["node-2"].critical = ["error_rate"]'
    wait "$pid" && fail "it succeeded"
    assert_equal "$(versions)" "0.1.0 0.1.0 0.1.0"
    assert_equal "$(states)" active
}

@test "upgrade: a node that never comes back stops it; it is rolled back, the others keep their version" {
    behaves '{"0.1.1/node-3": "gone"}'
    run --separate-stderr upgrade
    assert_failure 1
    assert_equal "$(versions)" "0.1.0 0.1.1 0.1.0"
    assert_equal "$(states)" active
    assert_equal "$(rolling-upgrade --status | jq -r '.state, .failure.node_id' | xargs)" "failed node-3"

    rm "$FAKE/behaviour"
    run --separate-stderr rolling-upgrade --resume
    assert_success
    assert_equal "$(versions)" "0.1.1 0.1.1 0.1.1"
}

@test "upgrade: a command that fails is rolled back, its words are in the record" {
    behaves '{"0.1.1/node-3": "refused"}'
    run --separate-stderr upgrade
    assert_failure 1
    assert_equal "$(versions)" "0.1.0 0.1.1 0.1.0"
    journal | jq -es 'any(.[]; .status == "failed" and .step == "perform_upgrade" and (.detail | contains("exit status 65")))'
}

@test "upgrade: a node that can't be drained stops it, goes back to work, and was not upgraded" {
    set_node '.nodes["node-2"].stuck = true'
    run --separate-stderr upgrade
    assert_failure 1
    assert_equal "$(versions)" "0.1.0 0.1.0 0.1.0"
    assert_equal "$(states)" active
    assert_equal "$(grep -c ^fake-upgrade "$FAKE/calls" || true)" 0
    journal | jq -es 'any(.[]; .status == "failed" and (.detail | contains("3 messages")))'
}

@test "upgrade: an unhealthy cluster is not touched" {
    set_node '.nodes["node-3"].critical = ["error_rate"]'
    run --separate-stderr upgrade
    assert_failure 1
    assert_equal "$(grep -cE '^(cx-drain|fake-upgrade)' "$FAKE/calls" || true)" 0
}

@test "upgrade: a full disk that was there before is not blamed on the version; a busy CPU only when it lasts" {
    set_node '.nodes["node-3"].critical = ["disk_usage", "cpu_usage"]'
    run --separate-stderr upgrade
    assert_success
}

@test "upgrade: a held lock is a refusal that names the holder" {
    exec 6>"$FAKE/lock"
    flock 6
    echo "ann" >"$FAKE/holder"
    run --separate-stderr upgrade
    assert_failure 75
    [[ $stderr == *"held by ann"* ]]
    assert_equal "$(grep -cE '^(cx-drain|fake-upgrade)' "$FAKE/calls" || true)" 0
}

@test "upgrade: --rollback brings all nodes back, the last one first" {
    upgrade >/dev/null
    run --separate-stderr rolling-upgrade --rollback
    assert_success
    assert_equal "$(versions)" "0.1.0 0.1.0 0.1.0"
    assert_equal "$(states)" active
    assert_equal "$(jq -rs 'last | .status' <<<"$output")" rolled_back
    assert_equal "$(jq -rs '[.[] | select(.step == "perform_rollback" and .status == "ok") | .node_id] | join(" ")' <<<"$output")" "node-1 node-3 node-2"
}

@test "upgrade: --dry-run plans every step and changes nothing" {
    cp "$FAKE/cluster.json" "$BATS_TEST_TMPDIR/before"
    run --separate-stderr upgrade 0.1.1 --dry-run
    assert_success
    cmp "$FAKE/cluster.json" "$BATS_TEST_TMPDIR/before"
    [[ ! -e $CX_RUNS ]]
    assert_equal "$(jq -rs '[.[] | select(.step == "perform_upgrade" or .step == "upgrade_canary") | .status] | unique | join(" ")' <<<"$output")" "planned started"
    assert_equal "$(grep 'cx-drain' "$FAKE/calls" | grep -vc -- --dry-run || true)" 0
}

@test "upgrade: --canary none goes straight to the nodes; a named one is taken" {
    run --separate-stderr upgrade 0.1.1 --canary none
    assert_success
    assert_equal "$(jq -rs '[.[] | select(.phase == "canary_deployment") | .status] | unique | join(" ")' <<<"$output")" skipped
    cluster 0.1.0 0.1.0 0.1.0
    run --separate-stderr upgrade 0.1.1 --canary node-3
    assert_success
    assert_equal "$(jq -rs '[.[] | select(.step == "upgrade_canary" and .status == "ok") | .node_id] | join(" ")' <<<"$output")" node-3
    run --separate-stderr upgrade 0.1.2 --canary node-9
    assert_error invalid
}

@test "upgrade: again to the same version changes nothing" {
    upgrade >/dev/null
    : >"$FAKE/calls"
    run --separate-stderr upgrade
    assert_success
    assert_equal "$(grep -c ^fake-upgrade "$FAKE/calls" || true)" 0
}

# killed_after RECORDS: the script and all it started end by -9 after so many lines; a resumed one finishes.
killed_after() {
    local number=$1 pid
    setsid rolling-upgrade --to 0.1.1 "${quick[@]}" >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" &
    pid=$!
    wait_until 60 has_lines "$BATS_TEST_TMPDIR/out" "$number"
    kill -KILL -- "-$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    assert_equal "$(rolling-upgrade --status | jq -r '.state, .interrupted' | xargs)" "failed true"
    run --separate-stderr rolling-upgrade --to 0.1.1 "${quick[@]}" --resume
    [[ $status == 0 ]] || fail "after $number records: $output $stderr"
    assert_equal "$(versions)" "0.1.1 0.1.1 0.1.1"
    assert_equal "$(states)" active
    assert_equal "$(rolling-upgrade --status | jq -r .state)" 'done'
    # What the journal has as done was not done again, but for the drain of a node under way.
    assert_equal "$(journal | jq -rs '[.[] | select(.status == "ok" and .phase != "run") | "\(.step)/\(.node_id)"]
        | group_by(.) | map(select(length > 1) | .[0] | select(startswith("drain_") | not)) | join(" ")')" ""
}

@test "upgrade: killed with -9 while it validates, it resumes and finishes" {
    long_test
    killed_after 5
}

@test "upgrade: killed with -9 while it drains and upgrades the canary, it resumes and finishes" {
    killed_after 10
}

@test "upgrade: killed with -9 while it watches the canary, it resumes and finishes" {
    long_test
    killed_after 14
}

@test "upgrade: killed with -9 in the middle of the nodes, it resumes and finishes" {
    killed_after 22
}

@test "upgrade: killed with -9 at the last node and near the end, it resumes and finishes" {
    long_test
    killed_after 45
}

@test "upgrade: killed with -9 before the first record, --resume with --to starts" {
    run --separate-stderr rolling-upgrade --to 0.1.1 "${quick[@]}" --resume
    assert_success
    assert_equal "$(versions)" "0.1.1 0.1.1 0.1.1"
}

has_lines() {
    (($(wc -l <"$1") >= $2))
}

@test "upgrade: killed while it rolls a sick canary back, it goes on with that" {
    behaves '{"0.1.1": "sick"}'
    setsid rolling-upgrade --to 0.1.1 "${quick[@]}" >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" &
    local pid=$!
    wait_until 60 grep -q '"phase":"rollback"' "$BATS_TEST_TMPDIR/out"
    kill -KILL -- "-$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    run --separate-stderr rolling-upgrade --resume
    assert_failure 1
    assert_equal "$(versions)" "0.1.0 0.1.0 0.1.0"
    assert_equal "$(states)" active
    assert_equal "$(rolling-upgrade --status | jq -r .state)" rolled_back
}

@test "upgrade: SIGTERM ends it where it is, and --resume goes on" {
    quick+=(--canary-duration 60s)
    rolling-upgrade --to 0.1.1 "${quick[@]}" >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" &
    local pid=$! ended=0
    wait_until 60 grep -q '"step":"monitor_canary_24h","status":"started"' "$BATS_TEST_TMPDIR/out"
    kill -TERM "$pid"
    wait "$pid" || ended=$?
    assert_equal "$ended" 143
    assert_equal "$(versions)" "0.1.0 0.1.1 0.1.0"
    run --separate-stderr rolling-upgrade --resume --canary-duration 300ms
    assert_success
    assert_equal "$(versions)" "0.1.1 0.1.1 0.1.1"
}

@test "upgrade: a signal to all its processes, as Ctrl-C sends it, is told in the journal, and --resume goes on" {
    quick+=(--canary-duration 60s)
    setsid rolling-upgrade --to 0.1.1 "${quick[@]}" >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" &
    local pid=$! ended=0
    wait_until 60 grep -q '"step":"monitor_canary_24h","status":"started"' "$BATS_TEST_TMPDIR/out"
    kill -TERM -- "-$pid"
    wait "$pid" || ended=$?
    assert_equal "$ended" 143
    assert_equal "$(tail -n 1 "$BATS_TEST_TMPDIR/out" | jq -c '[.phase, .status, .detail]')" \
        '["run","failed","interrupted by a signal"]'
    run --separate-stderr rolling-upgrade --resume --canary-duration 300ms
    assert_success
}

@test "upgrade: a journal whose last line is torn is read and continued" {
    behaves '{"0.1.1/node-3": "gone"}'
    upgrade >/dev/null 2>&1 || true
    rm "$FAKE/behaviour"
    printf '{"time":"2025' >>"$(echo "$CX_RUNS"/*/*/journal.ndjson)"
    run --separate-stderr rolling-upgrade --resume
    assert_success
    assert_equal "$(versions)" "0.1.1 0.1.1 0.1.1"
}

@test "upgrade: unknown options, missing values and absent runs have their exit statuses" {
    run --separate-stderr rolling-upgrade --too 0.1.1
    assert_error usage
    run --separate-stderr rolling-upgrade --to
    assert_error usage
    run --separate-stderr rolling-upgrade
    assert_error usage
    run --separate-stderr rolling-upgrade --resume
    assert_error not_found
    run --separate-stderr rolling-upgrade --status
    assert_error not_found
    run --separate-stderr upgrade 0.1.1 --batch-delay soon
    assert_error usage
}

@test "upgrade: two wishes at once, a stray word and an unknown phase are refused, and leave no run behind" {
    run --separate-stderr upgrade 0.1.1 --resume --rollback
    assert_error usage
    run --separate-stderr rolling-upgrade status
    assert_error usage
    run --separate-stderr rolling-upgrade --status one two
    assert_error usage
    run --separate-stderr upgrade 0.1.1 --phase canary
    assert_error usage
    run --separate-stderr rolling-upgrade --status
    assert_error not_found
    assert_equal "$(versions)" "0.1.0 0.1.0 0.1.0"
}

@test "restart: every node is restarted once, one after another" {
    run --separate-stderr rolling-restart --restart-command "CX_TO_VERSION=0.1.0 fake-upgrade"
    assert_success
    assert_equal "$(jq -r '[.nodes[].upgrades] | join(" ")' "$FAKE/cluster.json")" "1 1 1"
    assert_equal "$(states)" active
    validate_schema --lines procedure-record
}

@test "restart: a command that does nothing is noticed, and the node is put back to work" {
    run --separate-stderr rolling-restart --restart-command true --start-timeout 1s
    assert_failure 1
    assert_equal "$(states)" active
}
