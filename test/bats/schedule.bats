#!/usr/bin/env bats
# schedule: the timers of a host come from its policies, once, and go with them.

load common

setup() {
    export CX_CONFIG=$BATS_TEST_TMPDIR/etc/config.yaml units=$BATS_TEST_TMPDIR/units
    mkdir -p "$BATS_TEST_TMPDIR"/etc/{policies,certs/ca} "$BATS_TEST_TMPDIR/data" "$units"
    touch "$BATS_TEST_TMPDIR/etc/certs/ca/ca.key"
    cat >"$CX_CONFIG" <<END
node_id: node-1
data_dir: $BATS_TEST_TMPDIR/data
cert_dir: $BATS_TEST_TMPDIR/etc/certs
log_dir: $BATS_TEST_TMPDIR/log
run_dir: $BATS_TEST_TMPDIR/run
END
}

@test "systemd: units that systemd takes, from the policies; again nothing changes; a policy's change does" {
    need systemd-analyze
    run --separate-stderr schedule --systemd --output "$units" --dry-run
    assert_success
    [[ -z $(ls "$units") ]]
    run --separate-stderr schedule --systemd --output "$units"
    assert_success
    validate_schema schedule
    assert_json '[.changed, .enabled, (.timers | map(.name) | join(" "))]' '[true,false,"cx-backup cx-maintenance-daily cx-maintenance-weekly cx-maintenance-monthly cx-maintenance-quarterly cx-maintenance-sample cx-renew"]'
    assert_json '[.timers[] | select(.name == "cx-backup") | .when[]]' '["*-*-* 02:00","hourly"]'
    run systemd-analyze verify --man=no "$units"/*.timer "$units"/*.service
    assert_success
    assert_output ""
    grep -q '^RandomizedDelaySec=' "$units/cx-backup.timer"
    grep -q '^Persistent=true' "$units/cx-maintenance-weekly.timer"

    run --separate-stderr schedule --systemd --output "$units"
    assert_json '[.changed, ([.files[].action] | unique)]' '[false,["unchanged"]]'

    # Another time for one, nothing to do for another, and no renewal.
    printf '%s\n' 'maintenance:' '  daily: [rotate_logs]' '  monthly: [security_audit]' '  quarterly: [upgrade_planning]' \
        '  schedule: {time: "05:30", day: 7}' '  certificates: {renew: false}' >"$BATS_TEST_TMPDIR/etc/policies/maintenance.yaml"
    run --separate-stderr schedule --systemd --output "$units"
    assert_json '[.files[] | select(.action == "removed") | .path | split("/") | last] | sort | join(" ")' \
        'cx-maintenance-weekly.service cx-maintenance-weekly.timer cx-renew.service cx-renew.timer'
    assert_json '[.files[] | select(.action == "updated")] | length' 3
    assert_json '[.timers[] | select(.name == "cx-maintenance-quarterly") | .when[]]' '["*-01,04,07,10-07 05:30"]'
    grep -qx 'OnCalendar=\*-\*-\* 05:30' "$units/cx-maintenance-daily.timer"
}

@test "--remove takes away what schedule made, and nobody else's file" {
    schedule --systemd --output "$units" >"$BATS_TEST_TMPDIR/out"
    echo '[Unit]' >"$units/cx-node.service"
    run --separate-stderr schedule --systemd --output "$units" --remove
    assert_json '[.changed, ([.files[].action] | unique)]' '[true,["removed"]]'
    assert_equal "$(ls "$units")" cx-node.service
    run --separate-stderr schedule --systemd --output "$units" --remove
    assert_json '[.changed, .files]' '[false,[]]'
    # A file that somebody else made under one of its names is not touched.
    echo '[Timer]' >"$units/cx-backup.timer"
    run --separate-stderr schedule --systemd --output "$units"
    assert_error exists
    assert_equal "$(<"$units/cx-backup.timer")" '[Timer]'
}

@test "cron: one line a job, without locks around it; again nothing changes" {
    run --separate-stderr schedule --cron --output "$units" --user nobody
    assert_success
    validate_schema schedule
    grep -qE '^[0-9]+ 4 \* \* Sun nobody /.*/maintenance weekly --scheduled ' "$units/cx-timers"
    grep -qE '^[0-9]+ 4 1 1,4,7,10 \* nobody /.*/maintenance quarterly ' "$units/cx-timers"
    grep -qE '^[0-9]+ \* \* \* \* nobody /.*/cx-backup run ' "$units/cx-timers"
    run ! grep -q flock "$units/cx-timers"
    run --separate-stderr schedule --cron --output "$units" --user nobody
    assert_json .changed false
    run --separate-stderr schedule --cron --systemd --output "$units"
    assert_error usage
}

@test "on a terminal: lines for people" {
    run script -qec "schedule --cron --output '$units' --dry-run" /dev/null
    assert_success
    assert_line --regexp '^cx-maintenance-daily +\*-\*-\* 04:00 +/'
    refute_output --partial '{'
}

@test "what can't be written into a unit is refused, and nothing is written" {
    rm "$BATS_TEST_TMPDIR/etc/certs/ca/ca.key" # the CA is elsewhere
    run --separate-stderr schedule --systemd --output "$units" --ca-url 'https://ca:8443/a b'
    assert_error invalid
    [[ -z $(ls "$units") ]]
}

@test "killed before systemd was told, it tells systemd when it is run again" {
    ((EUID == 0)) || skip "only root may mount"
    mkdir "$BATS_TEST_TMPDIR/bin"
    # Says yes to all; the first to reload kills who asked.
    cat >"$BATS_TEST_TMPDIR/bin/systemctl" <<END
#!/bin/bash
[[ \$1 != daemon-reload || -e $BATS_TEST_TMPDIR/killed ]] || { touch $BATS_TEST_TMPDIR/killed && kill -KILL \$PPID; }
echo "\$*" >>$BATS_TEST_TMPDIR/asked
END
    chmod +x "$BATS_TEST_TMPDIR/bin/systemctl"
    # shellcheck disable=SC2016 # expanded there
    local there=(unshare --mount --propagation private bash -c 'mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system &&
        mount --bind "$1" /etc/systemd/system && PATH=$2:$PATH exec schedule' bash "$units" "$BATS_TEST_TMPDIR/bin")
    run --separate-stderr "${there[@]}"
    assert_failure 137
    rm -f "$BATS_TEST_TMPDIR/asked"
    run --separate-stderr "${there[@]}"
    assert_success
    assert_json '[.enabled, .changed]' '[true,false]'
    grep -qx daemon-reload "$BATS_TEST_TMPDIR/asked"
}
