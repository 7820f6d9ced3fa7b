#!/usr/bin/env bats
# maintenance: each task of the policy does its work on a real node, twice, and says truthfully what it did.
# shellcheck disable=SC2030,SC2031 # each test is a subshell of its own

load common
load backup

setup_file() {
    # The tests work on one node, one after the other.
    export BATS_NO_PARALLELIZE_WITHIN_FILE=true
    export dir=$BATS_FILE_TMPDIR/cluster
    local-cluster up --no-watch --nodes 1 --dir "$dir" --base "$CX_NETWORK" >"$BATS_FILE_TMPDIR/up"
    eval "$(local-cluster env node-1 --dir "$dir")"
    mkdir -p "$dir/node-1/etc/policies" "$BATS_FILE_TMPDIR/tmp"
    cat >"$dir/node-1/etc/policies/backup.yaml" <<END
backup:
  schedule:
    full_backup: {frequency: daily, time: 02:00}
    incremental_backup: {frequency: hourly}
  destinations:
    - {type: local, path: $dir/backups}
END
    cx-agents deploy "$CX_ROOT/share/agents/echo.json" >"$BATS_FILE_TMPDIR/out"
    cx-queue send --to echo --content 1 --wait 10s >"$BATS_FILE_TMPDIR/out"
    cx-backup keygen --quiet --output "$dir/node-1/etc/backup" >"$BATS_FILE_TMPDIR/out"
    cx-backup run >"$BATS_FILE_TMPDIR/out"
}

teardown_file() {
    local-cluster down --dir "$dir" --purge >"$BATS_FILE_TMPDIR/down"
}

setup() {
    eval "$(local-cluster env node-1 --dir "$dir")"
    export TMPDIR=$BATS_FILE_TMPDIR/tmp
    data=$dir/node-1/data
    log=$dir/node-1/log
    reports=$log/reports
    # Nothing is too young to be cleaned up.
    policy "  leftovers: {temp_age: 0s, old_data_age: 0s}" "  logs: {max_age: 1d, max_megabytes: 1, keep: 2}"
}

# policy LINE…: the operators' own lists, with these settings.
policy() {
    { cat "$CX_ROOT/share/policies/maintenance.yaml" && printf '%s\n' "$@"; } >"$dir/node-1/etc/policies/maintenance.yaml"
}

# last TASK: its latest report.
last() {
    output=$(cat "$(find "$reports/$1" -name '*.json' | sort | tail -n 1)")
}

# maintain PERIOD [OPTION…]: it succeeds; what it printed is kept for the last test.
maintain() {
    run --separate-stderr maintenance "$@"
    assert_success
    printf '%s\n' "$output" >>"$BATS_FILE_TMPDIR/records"
}

@test "daily: logs are rotated without losing a line, leftovers go, backups are read back; again: nothing is left to do" {
    local before keeper
    seq 1 40000 | sed 's/.*/{"time":"2026-01-01T00:00:00Z","level":"info","program":"test","event":"filler","n":&}/' >>"$log/node.log"
    before=$(wc -l <"$log/node.log")
    # Left by the dead; not: what somebody has open, a link that leads out, what an agent has.
    touch "$data/.queues.db.cxtmp-999999999-aa" "$data/live.cx-verify" "$dir/outside" "$data/agents/.x.cxtmp-999999999-bb"
    exec {keeper}>>"$data/live.cx-verify"
    ln -s "$dir/outside" "$data/.link.cxtmp-999999999-cc"
    mkdir -p "$data.old-X/agents" "$TMPDIR/cx-procedure-aaaaaa" "$TMPDIR/cx-procedure-bbbbbb"
    echo "999999999 1 $(</proc/sys/kernel/random/boot_id)" >"$TMPDIR/cx-procedure-aaaaaa/pid"
    echo "$$ $(cut -d' ' -f22 /proc/$$/stat) $(</proc/sys/kernel/random/boot_id)" >"$TMPDIR/cx-procedure-bbbbbb/pid"

    run --separate-stderr maintenance daily --dry-run
    assert_success
    [[ ! -e $reports && -e $data.old-X && $(wc -l <"$log/node.log") -ge $before ]]

    maintain daily
    last rotate_logs
    assert_json '[.changed, [.facts.logs[] | select(.rotated) | .name]]' '[true,["node.log"]]'
    # The node was told to open the new one, and says that in it.
    wait_until 10 grep -q config_reloaded "$log/node.log"
    assert_equal "$(zstdcat "$log"/node.log-*Z.zst | wc -l)" "$before"
    assert_equal "$(stat -c %a "$log/node.log")" "$(stat -c %a "$log"/node.log-*Z.zst)"
    last cleanup_temp_files
    # In /tmp there may be something of others. The folder of a dead procedure went when this one began.
    assert_json '[.facts.removed[].path | select(contains("/bats-run-")) | split("/") | last] | sort' '[".queues.db.cxtmp-999999999-aa","data.old-X"]'
    [[ ! -e $TMPDIR/cx-procedure-aaaaaa ]]
    [[ -e $data/live.cx-verify && -L $data/.link.cxtmp-999999999-cc && -e $dir/outside ]]
    [[ -e $data/agents/.x.cxtmp-999999999-bb && -d $TMPDIR/cx-procedure-bbbbbb && ! -e $data.old-X ]]
    last verify_backups
    assert_json '[.ok, (.facts.destinations[0].verified | length), .facts.destinations[0].backups]' '[true,1,1]'
    grep -q '^# verify backups: ok' "$reports"/verify_backups/*.md
    exec {keeper}>&-
    rm -r "$TMPDIR/cx-procedure-bbbbbb" "$data/live.cx-verify" "$data/.link.cxtmp-999999999-cc"

    maintain daily
    last rotate_logs
    assert_json '[.changed, ([.facts.logs[] | select(.rotated)] | length)]' '[false,0]'
    last cleanup_temp_files
    assert_json '[.facts.removed[].path | select(contains("/bats-run-"))]' '[]'
    assert_equal "$(find "$log" -name 'node.log-*' | wc -l)" 1
}

@test "daily: a damaged backup fails its task by name; whole again, it is well" {
    local object verified
    rm -rf "$reports/verify_backups" # all of them are due
    object=$(find "$dir/backups" -name '*.zst.age' -path '*segments*' -print -quit)
    cp "$object" "$BATS_TEST_TMPDIR/good"
    echo damaged >"$object"
    run --separate-stderr maintenance daily --task verify_backups
    cp "$BATS_TEST_TMPDIR/good" "$object"
    assert_failure 1
    assert_equal "$(jq -sc 'last | [.status, .detail.failed]' <<<"$output")" '["failed",["verify_backups"]]'
    last verify_backups
    assert_json '[.ok, .findings[0].severity, .facts.destinations[0].verified_all_at]' '[false,"critical",null]'
    maintain daily --task verify_backups
    last verify_backups
    assert_json .ok true
    verified=$(jq -r .facts.destinations[0].verified_all_at <<<"$output")
    [[ $verified != null ]]
    # A run that could not be done is no end of what the one before knew.
    jq '. + {ok: false, facts: {}, error: {message: "none", exit: 69}}' <<<"$output" >"$reports/verify_backups/99990101T000000.000Z.json"
    maintain daily --task verify_backups
    rm "$reports/verify_backups/99990101T000000.000Z.json"
    last verify_backups
    assert_json .facts.destinations[0].verified_all_at "$verified"
}

@test "rotate_logs: while a daemon's files can't be looked at, what it may write to is not compressed" {
    ((EUID == 0)) || skip "only root can have less rights than the node's owner"
    seq 1 40000 | sed 's/.*/{"time":"2026-01-01T00:00:00Z","level":"info","program":"test","event":"filler","n":&}/' >>"$log/node.log"
    run --separate-stderr setpriv --bounding-set=-sys_ptrace "$CX_ROOT/scripts/tasks/rotate_logs"
    assert_success
    assert_json '[.findings[] | select(.message | test("may have it open"))] | length' 1
    [[ -e $(find "$log" -name 'node.log-*Z') ]]
    # It is told later.
    maintain daily --task rotate_logs
    [[ -z $(find "$log" -name 'node.log-*Z') ]]
}

@test "rotate_logs: what an interruption has left renamed gets its new file, and no line is lost" {
    local old=$log/node.log-20260101T000000Z count
    rm -f "$log"/node.log-*
    mv "$log/node.log" "$old"
    count=$(wc -l <"$old")
    maintain daily --task rotate_logs
    wait_until 10 grep -q config_reloaded "$log/node.log"
    [[ ! -e $old && $(zstdcat "$old.zst" | wc -l) -ge $count ]]
}

@test "root does the work as the owner of the node's data, who finds nothing of root's in the way" {
    ((EUID == 0)) || skip "only root becomes somebody else"
    mkdir -p "$BATS_TEST_TMPDIR"/{bin,data}
    chown 65534:65534 "$BATS_TEST_TMPDIR/data"
    printf '%s\n' "data_dir: $BATS_TEST_TMPDIR/data" "log_dir: $BATS_TEST_TMPDIR/log" >"$BATS_TEST_TMPDIR/config.yaml"
    # shellcheck disable=SC2016 # the program's own
    printf '%s\n' '#!/bin/sh' 'case "$*" in *" bash -c "*) exit 0 ;; esac' 'echo "HOME=$HOME $*"' >"$BATS_TEST_TMPDIR/bin/setpriv"
    chmod +x "$BATS_TEST_TMPDIR/bin/setpriv"
    local words=(daily --dry-run --config "$BATS_TEST_TMPDIR/config.yaml")
    PATH=$BATS_TEST_TMPDIR/bin:$PATH run --separate-stderr maintenance "${words[@]}"
    assert_success
    assert_output "HOME=$(getent passwd 65534 | cut -d: -f6) --reuid=65534 --regid=65534 --init-groups $CX_ROOT/scripts/maintenance ${words[*]}"
    [[ ! -e $BATS_TEST_TMPDIR/log && -z $(ls -A "$BATS_TEST_TMPDIR/data") ]]
}

@test "sample: figures that can't be read stay as they are" {
    local before
    mkdir -p "$BATS_TEST_TMPDIR/bin"
    # shellcheck disable=SC2016 # the program's own
    printf '%s\n' '#!/bin/sh' 'case "$*" in *samples.ndjson) exit 1 ;; esac' 'exec /usr/bin/tail "$@"' >"$BATS_TEST_TMPDIR/bin/tail"
    chmod +x "$BATS_TEST_TMPDIR/bin/tail"
    maintenance sample >"$BATS_TEST_TMPDIR/out"
    before=$(<"$reports/samples.ndjson")
    PATH=$BATS_TEST_TMPDIR/bin:$PATH run --separate-stderr maintenance sample
    assert_failure 74
    assert_equal "$(<"$reports/samples.ndjson")" "$before"
}

next_review_has() {
    maintenance weekly --task review_error_logs >>"$BATS_FILE_TMPDIR/records"
    last review_error_logs
    jq -e --arg event "$1" 'any(.facts.groups[]; .event == $event)' <<<"$output"
}

@test "weekly: space is given back, what got worse and new errors are told; again: nothing new" {
    sqlite3 "$data/queues.db" 'CREATE TABLE junk (body); INSERT INTO junk
        SELECT randomblob(4000) FROM generate_series(1, 500); DROP TABLE junk' >"$BATS_TEST_TMPDIR/.sqlite"
    mkdir -p "$reports"
    # Two weeks of samples: in the second one messages take longer, and less CPU. The disk fills by 800 MB a day.
    df -B1 --output=used,size "$data" | tail -n 1 | jq -Rc '[scan("[0-9]+") | tonumber] as [$used, $total] | range(0; 56) as $i | (if $i < 28 then {p: 10, c: 60} else {p: 51, c: 20} end) as $v
        | {time: (now - (13.9 - $i / 4) * 86400 | todate), node_id: "node-1", p50_ms: 3, p99_ms: $v.p, queued: 0, accepted_total: ($i * 100),
           failed_total: 0, error_rate_percent: 0, agents: 1, max_agents: 10000, cpu_percent: $v.c, memory_percent: 10,
           disk_used_bytes: ($used - (56 - $i) * 200000000), disk_total_bytes: $total, data_bytes: 1000000, rss_bytes: 16000000}' \
        >"$reports/samples.ndjson"
    jq -nc 'range(3) as $i | {time: (now - 5 | todate), level: "error", program: "cx-node", event: "test_failed", code: "io", message: "message \($i + 100) of node-\($i)"}' \
        >>"$log/node.log"
    maintain weekly
    last compact_database
    assert_json '[.changed, ([.facts.databases[] | .before_bytes - .after_bytes] | add > 1900000)]' '[true,true]'
    last analyze_performance_trends
    assert_json '[.facts.worse[] | select(.figure == "p99_ms") | .before, .now, .percent]' '[10,51,410]'
    assert_json '[.facts.better[] | select(. == "cpu_percent")]' '["cpu_percent"]'
    last review_error_logs
    assert_json '[.facts.groups[] | select(.event == "test_failed") | .count, .new]' '[3,true]'
    assert_json '[.findings[] | select(.subject == "cx-node test_failed")] | length' 1

    maintain weekly
    last compact_database
    assert_json .changed false
    last review_error_logs
    assert_json '[.facts.groups[] | select(.event == "test_failed")] | length' 0
    # The same words again are no news; what was written just now is for a later review.
    jq -nc '{time: (now | todate), level: "error", program: "cx-node", event: "test_failed", code: "io", message: "message 7 of node-9"}' >>"$log/node.log"
    wait_until 20 next_review_has test_failed
    last review_error_logs
    assert_json '[.facts.groups[] | select(.event == "test_failed") | .count, .new]' '[1,false]'
    assert_equal "$(wc -l <"$reports/samples.ndjson")" 58
}

@test "monthly: what is due is renewed, an open key is found, the day of the full disk is told" {
    local serial
    serial=$(cx-node status | jq -r .certificate.serial)
    policy "  certificates: {before_expiry: 100d}"
    chmod 644 "$data/registry.db"
    run --separate-stderr maintenance monthly # one that fails does not keep the others from their work
    assert_failure 1
    assert_equal "$(jq -sc 'last | .detail.failed' <<<"$output")" '["security_audit"]'
    last certificate_rotation_check
    assert_json '[.ok, .changed, .facts.renewed]' '[true,true,["node-1"]]'
    [[ $(cx-node status | jq -r .certificate.serial) != "$serial" ]]
    last security_audit
    assert_json '[.findings[] | select(.severity == "critical") | .subject]' "[\"$data/registry.db\"]"
    assert_json '[.facts.checks[] | select(.check | . == "strangers are refused" or . == "older TLS is refused" or . == "audit log of the node") | .ok]' '[true,true,true]'
    last capacity_planning_review
    # By the samples of the test above.
    assert_json '.facts.forecast | [.samples > 50, .disk_full_on != null]' '[true,true]'

    serial=$(cx-node status | jq -r .certificate.serial)
    chmod 600 "$data/registry.db"
    policy
    maintain monthly --task security_audit
    maintain monthly --task certificate_rotation_check
    last certificate_rotation_check
    assert_json '[.changed, .facts.due]' '[false,[]]'
    [[ $(cx-node status | jq -r .certificate.serial) == "$serial" ]]
}

@test "quarterly: a backup becomes a node, within the goals or not; plan and review name what stands in the way" {
    local pid
    pid=$(cx-node status | jq .pid)
    maintain quarterly
    last disaster_recovery_drill
    assert_json '[.ok, .facts.drills[0].ok, .facts.drills[0].agents, .facts.drills[0].messages]' '[true,true,1,1]'
    last upgrade_planning
    assert_json '[.facts.versions["node-1"] != null, ([.facts.preconditions[] | select(.ok | not) | .name] | index("one node may be away") != null)]' '[true,true]'
    last architecture_review
    assert_json '[.facts.topology.may_fail, ([.facts.single_points[] | select(.what == "agent echo")] | length)]' '[0,1]'
    # A goal that can't be met fails the task, and no other.
    policy "  goals: {rpo: 1s, rto: 1h}"
    run --separate-stderr maintenance quarterly
    assert_failure 1
    assert_equal "$(jq -sc 'last | .detail.failed' <<<"$output")" '["disaster_recovery_drill"]'
    last disaster_recovery_drill
    assert_json '.facts.drills[0] | [.ok, .rpo_met, .rto_met]' '[true,false,true]'
    assert_equal "$(cx-node status | jq .pid)" "$pid"
    [[ -z $(compgen -G "$TMPDIR/cx-drill-*") ]]
}

@test "dr-drill: told to end or killed, it leaves no process; without an identity it says so" {
    local signal
    never_answering_node "$BATS_TEST_TMPDIR/bin"
    for signal in TERM KILL; do
        start_daemon "drill-$signal" env CX_BUILD="$BATS_TEST_TMPDIR/bin" dr-drill
        wait_until 20 drill_node_runs "$TMPDIR"
        kill -s "$signal" "$(pid_of "drill-$signal")"
        wait_until 10 no_drill_node "$TMPDIR"
        wait_until 10 is_gone "$(pid_of "drill-$signal")"
    done
    [[ $(find "$TMPDIR" -maxdepth 1 -name 'cx-drill-*' | wc -l) -le 1 ]] # SIGTERM took its scratch folder along
    mv "$dir/node-1/etc/backup/identity.txt" "$BATS_TEST_TMPDIR/"
    run --separate-stderr dr-drill
    assert_error not_found
    run --separate-stderr dr-drill --identity "$BATS_TEST_TMPDIR/identity.txt" --dry-run
    assert_success
    validate_schema maintenance-task
    # What a killed one left is swept by the daily work.
    mv "$BATS_TEST_TMPDIR/identity.txt" "$dir/node-1/etc/backup/"
    maintain daily --task cleanup_temp_files
    [[ -z $(compgen -G "$TMPDIR/cx-drill-*") ]]
}

@test "the policy decides what is done: a task that is taken out does not run, an unknown one is named" {
    echo 'maintenance: {daily: [cleanup_temp_files]}' >"$dir/node-1/etc/policies/maintenance.yaml"
    maintain daily
    assert_equal "$(jq -sc '[.[] | select(.phase == "daily" and .status == "ok") | .step]' <<<"$output")" '["cleanup_temp_files"]'
    maintain weekly
    assert_equal "$(jq -sc '[.[] | select(.phase == "weekly")] | length' <<<"$output")" 0
    run --separate-stderr maintenance daily --task rotate_logs
    assert_error usage
    run --separate-stderr maintenance yearly
    assert_error usage
    echo 'maintenance: {daily: [rotate_longs]}' >"$dir/node-1/etc/policies/maintenance.yaml"
    run --separate-stderr maintenance daily
    assert_failure 78
    [[ $stderr == *rotate_longs* && $stderr == *rotate_logs* ]]
}

@test "one at a time on a host; a timer leaves to the first node what is about the cluster" {
    local held
    exec {held}>>"$data/.maintenance.lock"
    flock "$held"
    run --separate-stderr maintenance daily --task cleanup_temp_files --wait 1s
    assert_error busy
    exec {held}>&-
    maintain quarterly --scheduled --task architecture_review
    assert_equal "$(jq -sc '[.[] | select(.step == "architecture_review") | .status] | last' <<<"$output")" '"ok"'
    run --separate-stderr maintenance sample
    assert_success
    validate_schema maintenance-sample
}

@test "every report and every record of the tests above is as its schema says" {
    output=$(cat "$reports"/*/*.json)
    [[ $(jq -r .task <<<"$output" | sort -u | wc -l) == 12 ]]
    validate_schema --lines maintenance-report
    output=$(<"$BATS_FILE_TMPDIR/records")
    validate_schema --lines procedure-record
}

@test "maintenance-mode: in, with what is allowed, and out again, each step read back" {
    run --separate-stderr maintenance-mode enter --duration 0s
    assert_error usage
    run --separate-stderr maintenance-mode enter --duration 1h --allow restart --reason 'new disk' --force
    assert_success
    validate_schema --lines procedure-record
    assert_equal "$(jq -sc '[.[] | select(.status == "ok") | .step]' <<<"$output")" \
        '["broadcast_maintenance_start","stop_accepting_messages","wait_for_message_drain","suspend_agents"]'
    run --separate-stderr maintenance-mode status
    assert_json '[.state, .allow, .reason, (.until | fromdate? // (sub("\\.[0-9]+"; "") | fromdate) - now > 3500)]' '["maintenance",["restart"],"new disk",true]'
    run --separate-stderr cx-queue send --to echo --content 1 --timeout 1s
    assert_failure 75
    cx-agents restart echo >"$BATS_TEST_TMPDIR/out"
    run --separate-stderr cx-agents suspend echo
    assert_error draining
    run --separate-stderr maintenance-mode exit
    assert_success
    assert_equal "$(jq -sc 'last | .status' <<<"$output")" '"done"'
    [[ $(cx-queue send --to echo --content 1 --wait 10s | jq -r .status) == 'done' ]]
}
