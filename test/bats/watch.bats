#!/usr/bin/env bats
# cx-health watch against a stand-in for a node, and a receiver of ours.

load common
load fake
load receiver
load watch

setup_file() {
    make_certs
}

setup() {
    write_config
    new_receiver
}

@test "an alert is pending, firing and resolved, and is told of the last two" {
    write_policies '  warning: [{name: cpu, condition: cpu_usage > 70%, duration: 2s, action: page}]'
    start_receiver
    start_fake "$(all_say)"
    start_watch
    looked 1
    run --separate-stderr cx-health alerts
    assert_json '.alerts, .watched' $'[]\ntrue'

    answers "$(all_say '.system.cpu_percent = 90')"
    wait_until 10 alert_is cpu pending
    assert_equal "$(pages)" ''
    wait_until 10 alert_is cpu firing
    run --separate-stderr cx-health alerts --active
    assert_json '.alerts[0] | .severity, .subject, .value' $'warning\nnode-1\n90'
    validate_schema cx-health-alerts
    wait_until 10 paged 'firing cpu node-1'

    answers "$(all_say)"
    wait_until 10 alert_is cpu resolved
    wait_until 10 paged $'firing cpu node-1\nresolved cpu node-1'
    run --separate-stderr cx-health alerts --active
    assert_json .count 0
    run --separate-stderr cx-health alerts --history 1h
    assert_json '[.alerts[].state]' '["pending","firing","resolved"]'
    validate_schema cx-health-alerts
    validate_schema cx-health-notices "$(received '.[0].body')"
}

@test "a silence keeps quiet; what still fires at its end is told at once" {
    write_policies
    start_receiver
    start_fake "$(all_say '.system.disk_percent = 95')"
    run --separate-stderr cx-health silence disk --subject node-1 --for 1h --reason 'new disk is coming'
    assert_success
    assert_json '.changed, .subject, .reason' $'true\nnode-1\nnew disk is coming'
    validate_schema cx-health-silence
    id=$(jq -r .id <<<"$output")

    start_watch
    wait_until 10 alert_is disk silenced
    looked 3
    assert_equal "$(pages)" ''
    run --separate-stderr cx-health alerts
    assert_json '.silences[0].id == .alerts[0].silence_id' true
    validate_schema cx-health-alerts

    run --separate-stderr cx-health unsilence "$id"
    assert_success
    assert_json .changed true
    validate_schema cx-health-unsilence
    wait_until 10 paged 'firing disk node-1'
    run --separate-stderr cx-health unsilence "$id"
    assert_json .changed false
}

@test "a silence that ends by itself" {
    write_policies
    start_receiver
    start_fake "$(all_say '.system.disk_percent = 95')"
    cx-health silence '*' --for 4s
    start_watch
    wait_until 10 alert_is disk silenced
    assert_equal "$(pages)" ''
    wait_until 15 paged 'firing disk node-1'
}

@test "silence, unsilence: another's needs --force; --dry-run changes nothing; wrong names are refused" {
    run --separate-stderr cx-health silence disk --dry-run
    assert_success
    assert_json '.changed, .dry_run' $'false\ntrue'
    run --separate-stderr cx-health alerts
    assert_error not_found

    run --separate-stderr cx-health silence 'no name'
    assert_error invalid
    run --separate-stderr cx-health silence disk --for 0s
    assert_error usage
    run --separate-stderr cx-health unsilence NOBODY
    assert_error not_found

    id=$(cx-health silence disk | jq -r .id)
    sqlite3 "$BATS_TEST_TMPDIR/data/health.db" "UPDATE silence SET document = json_set(document, '$.owner', 'ann')"
    run --separate-stderr cx-health unsilence "$id"
    assert_error permission
    run --separate-stderr cx-health unsilence "$id" --force
    assert_success
}

@test "the receiver is down for a while: the page arrives after, once, in order" {
    write_policies
    start_fake "$(all_say '.system.disk_percent = 95')"
    start_watch
    wait_until 10 grep -q not_sent "$BATS_TEST_TMPDIR/watch.log"
    answers "$(all_say)"
    wait_until 10 alert_is disk resolved
    run --separate-stderr cx-health alerts
    assert_json .outbox.page 2

    start_receiver
    wait_until 30 paged $'firing disk node-1\nresolved disk node-1'
    assert_equal "$(received length)" 1
    run --separate-stderr cx-health alerts
    assert_json .outbox '{}'
}

@test "what waited for over a day is given up, and nothing else of its group" {
    local db=$BATS_TEST_TMPDIR/data/health.db fresh
    write_policies '  critical: [{name: disk, condition: disk_usage > 80%, action: page}, {name: cpu, condition: cpu_usage > 70%, action: page}]'
    start_fake "$(all_say '.system |= (.disk_percent = 95 | .cpu_percent = 75)')"
    start_watch
    waits() { [[ $(cx-health alerts | jq .outbox.page) == 2 ]]; }
    wait_until 10 waits
    fresh=$(sqlite3 "$db" "SELECT json_extract(document, '$.name') FROM outbox ORDER BY id DESC LIMIT 1")
    sqlite3 "$db" "UPDATE outbox SET document = json_set(document, '$.at', '2020-01-01T00:00:00Z') WHERE id = (SELECT min(id) FROM outbox)"
    wait_until 20 grep -q '"event":"gave_up"' "$BATS_TEST_TMPDIR/watch.log"
    assert_equal "$(jq -c 'select(.event == "gave_up") | .notices | length' "$BATS_TEST_TMPDIR/watch.log")" 1

    start_receiver
    wait_until 30 paged "firing $fresh node-1"
}

@test "a receiver that refuses is given up after its retries, and the log has the notice" {
    write_policies
    sed -i 's/type: webhook,/type: webhook, retries: 1,/' "$ALERTS"
    start_receiver
    echo 400 >"$RECEIVED/status"
    start_fake "$(all_say '.system.disk_percent = 95')"
    start_watch
    wait_until 15 grep -q '"event":"gave_up"' "$BATS_TEST_TMPDIR/watch.log"
    assert_equal "$(jq -rc 'select(.event == "gave_up") | .notices[0].name' "$BATS_TEST_TMPDIR/watch.log")" disk
    assert_equal "$(jq -rc 'select(.event == "not_sent") | .notices' "$BATS_TEST_TMPDIR/watch.log")" 1
}

# ---- ends of all kinds

@test "a watcher killed at any moment loses and repeats nothing" {
    write_policies
    start_receiver
    start_fake "$(all_say)"
    start_watch
    looked 1
    for turn in 1 2 3; do
        answers "$(all_say '.system.disk_percent = 95')"
        stop_daemon watch KILL
        start_watch
        wait_until 15 alert_is disk firing
        stop_daemon watch KILL
        start_watch
        answers "$(all_say)"
        stop_daemon watch KILL
        start_watch
        wait_until 15 alert_is disk resolved
    done
    expected=$(for turn in 1 2 3; do printf 'firing disk node-1\nresolved disk node-1\n'; done)
    wait_until 15 paged "$expected"
}

@test "killed while the receiver is down: the page arrives after" {
    write_policies
    start_fake "$(all_say '.system.disk_percent = 95')"
    start_watch
    wait_until 10 grep -q not_sent "$BATS_TEST_TMPDIR/watch.log"
    stop_daemon watch KILL
    start_receiver
    start_watch
    wait_until 15 paged 'firing disk node-1'
    looked 3
    assert_equal "$(pages)" 'firing disk node-1'
}

@test "a duration goes on over a restart" {
    write_policies '  warning: [{name: cpu, condition: cpu_usage > 70%, duration: 1h, action: page}]'
    start_fake "$(all_say '.system.cpu_percent = 90')"
    start_watch
    wait_until 10 alert_is cpu pending
    since=$(cx-health alerts | jq -r '.alerts[0].since')
    stop_daemon watch
    assert_equal "$daemon_status" 0
    start_watch
    looked 2
    assert_equal "$(cx-health alerts | jq -r '.alerts[0] | .state + .since')" "pending$since"
}

@test "one watcher at a time; alerts and silence work while none runs" {
    write_policies
    start_fake "$(all_say '.system.disk_percent = 95')"
    start_watch
    wait_until 10 alert_is disk firing
    run --separate-stderr cx-health watch --policy "$HEALTH" --alerts "$ALERTS" --once
    assert_error busy
    stop_daemon watch KILL
    run --separate-stderr cx-health alerts
    assert_json '.watched, .alerts[0].state' $'false\nfiring'
    cx-health silence disk
    run --separate-stderr cx-health alerts
    assert_json '.alerts[0].state' silenced
}

@test "--once: looks, tells and ends; the exit status says whether an alert fires" {
    write_policies
    start_receiver
    start_fake "$(all_say '.system.disk_percent = 95')"
    run --separate-stderr cx-health watch --policy "$HEALTH" --policy "$ALERTS" --once
    assert_failure 1
    assert_json '.status, .alerts[0].name, .alerts[0].state' $'critical\ndisk\nfiring'
    validate_schema cx-health-watch
    assert_equal "$(pages)" 'firing disk node-1'

    answers "$(all_say)"
    cx-health watch --policy "$HEALTH" --policy "$ALERTS" --once >/dev/null || true
    run --separate-stderr cx-health watch --policy "$HEALTH" --policy "$ALERTS" --once
    assert_success
    assert_equal "$(pages)" $'firing disk node-1\nresolved disk node-1'
}

@test "the shipped policies run as they are, and a healthy node fires nothing" {
    start_fake "$(all_say)"
    run --separate-stderr cx-health watch --once
    assert_success
    assert_json '.status, .alerts' $'ok\n[]'
}

@test "a watcher that can't look says so, and not that all is well" {
    write_policies
    listen=$(free_loopback):$(free_port)
    sed -i "s|^cert_dir: .*|cert_dir: $BATS_TEST_TMPDIR/none|" "$CX_CONFIG"
    run --separate-stderr cx-health watch --once
    assert_error not_found

    start_watch --listen "$listen"
    wait_until 10 grep -q round_failed "$BATS_TEST_TMPDIR/watch.log"
    run curl -sf "http://$listen/api/v1/state"
    assert_json '.status, (.errors | length > 0)' $'unknown\ntrue'
    validate_schema watch-state
    run curl -sf "http://$listen/metrics"
    assert_line --regexp '^cx_watch_rounds_failed [1-9]'
}

# ---- a disk that is full

# small_disk: the watcher's folder is a file system of its own, of 2 MB.
small_disk() {
    ((EUID == 0)) || skip "only root may mount"
    mkdir -p "$BATS_TEST_TMPDIR/data"
    mount -t tmpfs -o size=2m none "$BATS_TEST_TMPDIR/data"
}

fill_disk() {
    dd if=/dev/zero of="$BATS_TEST_TMPDIR/data/full" bs=4k 2>/dev/null || true
}

# metric NAME VALUE-PATTERN
metric() {
    curl -sf "http://$listen/metrics" | grep -qE "^$1 $2\$"
}

teardown() {
    end_daemons
    ! mountpoint -q "$BATS_TEST_TMPDIR/data" || umount "$BATS_TEST_TMPDIR/data"
}

@test "a full disk: pages still go out, each once, the trouble is seen, and nothing is repeated by a reload, or when there is room again" {
    small_disk
    write_policies
    listen=$(free_loopback):$(free_port)
    # One notice waits in the outbox while the disk fills.
    start_fake "$(all_say '.system.disk_percent = 95')"
    start_watch --listen "$listen"
    wait_until 10 grep -q not_sent "$BATS_TEST_TMPDIR/watch.log"
    metric cx_watch_save_failures 0
    fill_disk
    wait_until 20 metric cx_watch_save_failures '[1-9][0-9]*'
    curl -s "http://$listen/api/v1/state" | jq -e '.errors[] | select(contains("health.db"))'
    start_receiver
    wait_until 40 paged 'firing disk node-1'
    # It stands in the outbox still, and the couriers of the new policies find it there.
    kill -HUP "$(pid_of watch)"
    wait_until 10 grep -q '"reloaded"' "$BATS_TEST_TMPDIR/watch.log"
    # These never were on a disk.
    answers "$(all_say)"
    wait_until 20 paged $'firing disk node-1\nresolved disk node-1'
    answers "$(all_say '.system.disk_percent = 95')"
    wait_until 20 paged $'firing disk node-1\nresolved disk node-1\nfiring disk node-1'
    looked 7 # longer than until the outbox is tried again
    assert_equal "$(pages)" $'firing disk node-1\nresolved disk node-1\nfiring disk node-1'

    rm "$BATS_TEST_TMPDIR/data/full"
    wait_until 20 metric cx_watch_save_failures 0
    wait_until 20 alert_is disk firing
    is_empty() { [[ $(cx-health alerts | jq -c .outbox) == '{}' ]]; }
    wait_until 20 is_empty
    stop_daemon watch
    start_watch --listen "$listen"
    looked 3
    assert_equal "$(pages)" $'firing disk node-1\nresolved disk node-1\nfiring disk node-1'
    run --separate-stderr cx-health alerts --history 1h
    assert_json '[.alerts[].state]' '["firing","resolved","firing"]'
}

@test "a full disk while the receiver is away: the page waits in memory, and arrives" {
    small_disk
    write_policies
    listen=$(free_loopback):$(free_port)
    start_fake "$(all_say)"
    start_watch --listen "$listen"
    looked 1
    fill_disk
    wait_until 20 metric cx_watch_save_failures '[1-9][0-9]*'
    answers "$(all_say '.system.disk_percent = 95')"
    wait_until 20 grep -q not_sent "$BATS_TEST_TMPDIR/watch.log"
    start_receiver
    wait_until 30 paged 'firing disk node-1'
    looked 3
    assert_equal "$(pages)" 'firing disk node-1'
    stop_daemon watch
    run --separate-stderr cx-health watch --policy "$HEALTH" --alerts "$ALERTS" --once
    assert_error io
}

# ---- a folder that is replaced

@test "a folder that is replaced under the watcher, as a restore does: nothing is lost, and nothing told again" {
    write_policies
    start_fake "$(all_say '.system.disk_percent = 95')"
    start_watch
    wait_until 10 grep -q not_sent "$BATS_TEST_TMPDIR/watch.log"
    # The copy waits to tell what is told soon.
    mkdir "$BATS_TEST_TMPDIR/copy"
    sqlite3 "$BATS_TEST_TMPDIR/data/health.db" ".backup $BATS_TEST_TMPDIR/copy/health.db"
    start_receiver
    wait_until 30 paged 'firing disk node-1'
    stop_daemon receiver
    cx-health silence other --for 1h
    answers "$(all_say)"
    is_waiting() { [[ $(cx-health alerts | jq -c .outbox) == '{"page":1}' ]]; }
    wait_until 15 is_waiting

    mv "$BATS_TEST_TMPDIR/data" "$BATS_TEST_TMPDIR/old"
    looked 3 # it does not make the folder itself
    [[ ! -e $BATS_TEST_TMPDIR/data ]]
    mv "$BATS_TEST_TMPDIR/copy" "$BATS_TEST_TMPDIR/data"
    wait_until 15 grep -q folder_replaced "$BATS_TEST_TMPDIR/watch.log"
    wait_until 15 is_waiting
    run --separate-stderr cx-health alerts --history 1h
    assert_json '.watched, .silences[0].name, [.alerts[].state]' $'true\nother\n["firing","resolved"]'
    start_receiver
    wait_until 40 paged $'firing disk node-1\nresolved disk node-1'
    answers "$(all_say '.system.disk_percent = 95')"
    wait_until 15 paged $'firing disk node-1\nresolved disk node-1\nfiring disk node-1'
}

# ---- what follows from what

@test "a node that is down is told, and nothing that follows from it" {
    write_policies '  critical: [{name: down, condition: node_unreachable > 4s, action: page}]
  warning: [{name: members, condition: cluster_membership, action: page},
    {name: disk, condition: disk_usage > 80%, duration: 3s, action: page}]'
    start_receiver
    two='.members += [{node_id: "node-2", addr: "x:1", status: "alive", since: "2020-01-01T00:00:00Z", tags: {version: "0.1.0", api: "127.0.0.1:1"}}]'
    gone='.members[1] += {status: "failed", since: (now | todate)}'
    start_fake "$(all_say . "$two | $gone")"
    start_watch
    wait_until 15 alert_is down firing node-2
    assert_equal "$(cx-health alerts --history 1h | jq -c '[.alerts[] | select(.name == "down").state]')" '["pending","firing"]'
    assert_equal "$(alert_state members test)" firing
    wait_until 10 paged 'firing down node-2'
    assert_equal "$(cx-health alerts | jq -r '.alerts[] | select(.name == "members") | .inhibited_by')" down

    answers "$(all_say . .)"
    wait_until 15 alert_is members resolved test
    looked 2
    assert_equal "$(pages)" $'firing down node-2\nresolved down node-2'
}

@test "a node whose API does not answer is down, though its agent is alive, and comes back" {
    write_policies '  critical: [{name: down, condition: node_unreachable > 1s, action: page}]'
    start_receiver
    start_fake "$(all_say)"
    start_watch
    looked 1
    stop_daemon fake KILL
    wait_until 15 paged 'firing down node-1'
    start_fake "$(all_say)"
    wait_until 15 paged $'firing down node-1\nresolved down node-1'
}

# ---- what is not well on purpose

@test "a node in maintenance is quiet, failed or not, over restarts; what still fires afterwards is told then" {
    write_policies '  critical: [{name: down, condition: node_unreachable > 1s, action: page}, {name: disk, condition: disk_usage > 80%, action: page}]'
    start_receiver
    start_fake "$(all_say '.system.disk_percent = 95' '.members[0].tags.state = "maintenance"')"
    listen=$(free_loopback):$(free_port)
    start_watch --listen "$listen"
    wait_until 10 alert_is disk silenced
    assert_equal "$(cx-health alerts | jq -r '.alerts[0].silence_id')" maintenance
    [[ $(curl -s "http://$listen/metrics") == *'cx_member_quiet{node_id="node-1"} 1'* ]]
    stop_daemon fake
    wait_until 15 alert_is down silenced
    stop_daemon watch KILL
    start_watch --listen "$listen"
    wait_until 10 grep -q '"round_failed"\|"alert"\|"ready"' "$BATS_TEST_TMPDIR/watch.log"
    start_fake "$(all_say '.system.disk_percent = 95' '.members[0].tags.state = "maintenance"')"
    wait_until 15 alert_is down resolved
    looked 2
    assert_equal "$(pages)" ''

    answers "$(all_say '.system.disk_percent = 95' '.members[0].tags.state = "active"')"
    wait_until 15 paged 'firing disk node-1'
}

# ---- policies

@test "SIGHUP brings new policies; a bad one is logged and the old one stays" {
    write_policies
    start_receiver
    start_fake "$(all_say '.system.cpu_percent = 60')"
    start_watch
    looked 1
    cp "$ALERTS" "$BATS_TEST_TMPDIR/good.yaml"
    echo 'alerts: {critical: [{name: x}]}' >"$ALERTS"
    kill -HUP "$(pid_of watch)"
    wait_until 10 grep -q reload_failed "$BATS_TEST_TMPDIR/watch.log"
    looked 2
    sed 's/disk_usage > 80%/cpu_usage > 50%/' "$BATS_TEST_TMPDIR/good.yaml" >"$ALERTS"
    kill -HUP "$(pid_of watch)"
    wait_until 10 paged 'firing disk node-1'
}

@test "a policy with a mistake is a config error with its place" {
    write_policies '  critical: [{name: x, condition: disk_usage >> 1%, action: page}]'
    run --separate-stderr cx-health watch --policy "$HEALTH" --alerts "$ALERTS"
    assert_error config
    [[ $stderr == *alerts.yaml:4* ]]
}

# ---- for others to read

@test "--listen: metrics and the whole state, for reading only" {
    write_policies
    listen=$(free_loopback):$(free_port)
    start_fake "$(all_say '.system.disk_percent = 95')"
    start_watch --listen "$listen"
    wait_until 10 alert_is disk firing
    run curl -sf "http://$listen/metrics"
    assert_success
    assert_line 'cx_alert_firing{name="disk",subject="node-1",severity="critical",silenced="false"} 1'
    assert_line 'cx_alerts{state="firing"} 1'
    assert_line --partial 'cx_check_value{scope="node",node_id="node-1",name="disk_usage"'
    run curl -sf "http://$listen/api/v1/state"
    assert_json '.watcher, .members[0].node_id, .alerts[0].name' $'node-1\nnode-1\ndisk'
    validate_schema watch-state
    assert_equal "$(curl -s -o "$BATS_TEST_TMPDIR/answer" -w '%{http_code}' "http://$listen/nothing")" 404
    assert_equal "$(curl -s -o "$BATS_TEST_TMPDIR/answer" -w '%{http_code}' -X POST "http://$listen/metrics")" 403
}

# ---- the dashboard; test/bats/dashboard.bats has a browser

# status_of OPTION… PATH: of a request to $listen.
status_of() {
    curl -s -o "$BATS_TEST_TMPDIR/answer" -w '%{http_code}' "${@:1:$#-1}" "http://$listen${!#}"
}

@test "the dashboard's page, its files and its data are served, to names of ours only" {
    write_policies
    listen=$(free_loopback):$(free_port)
    start_fake "$(all_say '.system.disk_percent = 95')"
    start_watch --listen "$listen" --allow-host ops.example.com
    wait_until 10 alert_is disk firing
    for path in / /dashboard.js /dashboard.css /icon.svg; do
        assert_equal "$(status_of "$path")" 200
    done
    run curl -si "http://$listen/"
    assert_line --partial "Content-Security-Policy: default-src 'none'; script-src 'self'"
    refute_output --regexp '(src|href)="(https?:)?//'
    assert_equal "$(status_of /../config.yaml)" 404
    run curl -s "http://$listen/api/v1/history"
    assert_json '[.history[] | .name + " " + .state] | last' 'disk firing'
    validate_schema watch-history
    run curl -s "http://$listen/api/v1/samples"
    assert_json '.samples["node-1"][0][1:]' '[1,20,0]'
    validate_schema watch-samples

    for path in / /api/v1/state /api/v1/events; do
        assert_equal "$(status_of -H 'Host: evil.example.com' "$path")" 403
    done
    assert_equal "$(status_of -H 'Host: evil.example.com' /metrics)" 200
    assert_equal "$(status_of -H 'Host: ops.example.com:1' /api/v1/state)" 200
}

@test "events: the whole state at once and at each change, again after a reconnect; clients are bounded" {
    write_policies
    listen=$(free_loopback):$(free_port)
    start_fake "$(all_say)"
    start_watch --listen "$listen"
    wait_until 10 curl -sf "http://$listen/healthz"
    start_daemon events curl -sN -H 'Last-Event-ID: 999' "http://$listen/api/v1/events"
    fires() { sed -n 's/^data: //p' "$BATS_TEST_TMPDIR/events.log" | jq -es 'any(.alerts[] | .name == "disk" and .state == "firing")'; }
    wait_until 10 grep -q '^event: state' "$BATS_TEST_TMPDIR/events.log"
    answers "$(all_say '.system.disk_percent = 95')"
    wait_until 10 fires
    validate_schema watch-state "$(sed -n 's/^data: //p' "$BATS_TEST_TMPDIR/events.log" | head -n 1)"

    # A HEAD takes no place; what is beyond the last place is told so.
    assert_equal "$(status_of --head /api/v1/events)" 200
    start_daemon crowd /usr/bin/python3 -c '
import signal, socket, sys
host, port = sys.argv[1].rsplit(":", 1)
crowd = [socket.create_connection((host, int(port))) for _ in range(31)]
for each in crowd:
    each.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    each.recv(4096)
print("sitting", flush=True)
signal.pause()' "$listen"
    wait_until 10 grep -q sitting "$BATS_TEST_TMPDIR/crowd.log"
    assert_equal "$(status_of /api/v1/events)" 503
    stop_daemon crowd KILL
    has_room() { [[ $(status_of --max-time 1 /api/v1/events) == 200 ]]; }
    wait_until 10 has_room
}

@test "silences from the page: only from itself, by the token where one is needed, and bounded" {
    write_policies
    listen=$(free_loopback):$(free_port)
    ask=(-H 'X-CX-Dashboard: 1' --json '{"name": "disk", "subject": "node-1", "for_seconds": 60}')
    start_fake "$(all_say '.system.disk_percent = 95')"
    start_watch --listen "$listen"
    wait_until 10 alert_is disk firing
    assert_equal "$(status_of --json '{"name": "disk", "for_seconds": 60}' /api/v1/silence)" 403
    assert_equal "$(status_of "${ask[@]}" -H 'Origin: http://evil.example.com' /api/v1/silence)" 403
    assert_equal "$(status_of "${ask[@]}" -H 'Host: evil.example.com' /api/v1/silence)" 403
    assert_equal "$(status_of /api/v1/silence)" 403
    for wrong in '{"name": "disk"}' '{"name": "no name", "for_seconds": 60}' '{"name": "disk", "for_seconds": 0}' \
        '{"name": "disk", "for_seconds": 60, "id": "x"}' '[]' '{'; do
        assert_equal "$(status_of -H 'X-CX-Dashboard: 1' --json "$wrong" /api/v1/silence)" 400
    done
    run cx-health alerts
    assert_json .silences '[]'

    run curl -s "${ask[@]}" -H "Origin: http://$listen" "http://$listen/api/v1/silence"
    assert_json '.changed, .owner' $'true\ndashboard@127.0.0.1'
    validate_schema cx-health-silence
    wait_until 10 alert_is disk silenced
    # Its own it ends; a person's only when it is told to.
    run curl -s -H 'X-CX-Dashboard: 1' --json "$(jq -c '{id}' <<<"$output")" "http://$listen/api/v1/unsilence"
    assert_json .changed true
    wait_until 10 alert_is disk firing
    id=$(cx-health silence disk | jq -r .id)
    assert_equal "$(status_of -H 'X-CX-Dashboard: 1' --json "{\"id\": \"$id\"}" /api/v1/unsilence)" 403
    assert_equal "$(status_of -H 'X-CX-Dashboard: 1' --json "{\"id\": \"$id\", \"force\": true}" /api/v1/unsilence)" 200
    stop_daemon watch

    start_watch --listen "$listen" --token-file "$(secret_file token 0123456789abcdef0123)"
    wait_until 10 curl -sf "http://$listen/healthz"
    assert_equal "$(status_of "${ask[@]}" /api/v1/silence)" 401
    assert_equal "$(status_of "${ask[@]}" -H 'Authorization: Bearer 0123456789abcdef0124' /api/v1/silence)" 401
    assert_equal "$(status_of "${ask[@]}" -H 'Authorization: Bearer 0123456789abcdef0123' /api/v1/silence)" 200
    assert_equal "$(curl -s "http://$listen/api/v1/state" | jq -r .silencing)" token
    stop_daemon watch

    start_watch --listen "0.0.0.0:${listen##*:}"
    wait_until 10 curl -sf "http://$listen/healthz"
    assert_equal "$(status_of "${ask[@]}" /api/v1/silence)" 403
    assert_equal "$(curl -s "http://$listen/api/v1/state" | jq -r .silencing)" off
}
