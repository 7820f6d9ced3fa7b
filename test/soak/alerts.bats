#!/usr/bin/env bats
# The operators' alerts with their own times, and the health checks with their own intervals: a busy cluster that is
# well tells nobody anything; each cause is told once by three watchers, within its interval and its duration, and
# once when it is over. Half an hour, on a machine that does nothing else (`scripts/test soak`).

load ../bats/common
load ../bats/fake
load ../bats/receiver
load ../bats/causes
load ../bats/load

# How long one look, the telling and gossip's finding out may take, on top of the policy's times.
GRACE=12

setup_file() {
    export BATS_NO_PARALLELIZE_WITHIN_FILE=true
    local number
    BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR new_receiver
    export RECEIVER RECEIVED
    mkdir "$BATS_FILE_TMPDIR/policies"
    cp "$CX_ROOT/share/policies/health.yaml" "$BATS_FILE_TMPDIR/policies/"
    policy_with_receiver "$BATS_FILE_TMPDIR/policies/alerts.yaml"
    watched_cluster "$BATS_FILE_TMPDIR/cluster" "$BATS_FILE_TMPDIR/policies"
    for number in 1 2 3; do
        jq --arg id "counter-$number" '.id = $id' "$CX_ROOT/share/agents/counter.json" |
            on "$number" cx-agents deploy - --node "node-$number"
    done
}

teardown_file() {
    watched_cluster_down
}

setup() {
    export CX_CLUSTER_DIR=$BATS_FILE_TMPDIR/cluster
    start_receiver
    # shellcheck disable=SC2034 # which node the tools speak for
    eval "$(local-cluster env node-1)"
}

teardown() {
    touch "$BATS_TEST_TMPDIR/load/stop" 2>/dev/null || true
    end_daemons
}

# told_at STATUS NAME SUBJECT: when, in seconds since 1970; nothing when it was not.
told_at() {
    received "[.[] | .at as \$at | .body.alerts[] | select(.status == \"$1\" and .name == \"$2\" and .subject == \"$3\")
        | \$at] | first // empty | floor"
}

# fires_within FROM EARLIEST LATEST NAME [SUBJECT]: it is told, so many seconds after FROM, and all watchers say so.
fires_within() {
    local from=$1 earliest=$2 latest=$3 name=$4 subject=${5-$(subject_of "$4")} number after
    wait_until $((latest + 60)) was_told firing "$name" "$subject"
    after=$(($(told_at firing "$name" "$subject") - from))
    echo "# $name $subject: told after $after s ($earliest to $latest)" >&3
    ((after >= earliest && after <= latest + GRACE)) ||
        fail "$name $subject: told after $after s, not $earliest to $latest + $GRACE"
    for number in 1 2 3; do
        wait_until 70 state_is "$number" "$name" "$subject" firing
    done
}

# ends_within FROM LATEST NAME [SUBJECT]: the same for its end.
ends_within() {
    local from=$1 latest=$2 name=$3 subject=${4-$(subject_of "$3")} number after
    wait_until $((latest + 60)) was_told resolved "$name" "$subject"
    after=$(($(told_at resolved "$name" "$subject") - from))
    echo "# $name $subject: its end was told after $after s (at most $latest)" >&3
    ((after <= latest + GRACE)) || fail "$name $subject: its end was told after $after s, not $latest + $GRACE"
    for number in 1 2 3; do
        wait_until 70 state_is "$number" "$name" "$subject" resolved
    done
}

# The time that is let pass here is what is tested.
@test "ten minutes of a busy cluster that is well: nothing fires" {
    local number end pairs=(counter-1/node-2 counter-2/node-3 counter-3/node-1)
    start_load "$BATS_TEST_TMPDIR/load" 30 quiet "${pairs[@]}"
    for ((end = EPOCHSECONDS + 600; EPOCHSECONDS < end; )); do
        sleep 10
        [[ $(received length) == 0 ]] || fail "told: $(received)"
        for number in 1 2 3; do
            on "$number" cx-health alerts --active | jq -e '[.alerts[] | select(.state == "firing")] == []' ||
                fail "node-$number: $(on "$number" cx-health alerts)"
        done
    done
    loads_are_whole "$CX_CLUSTER_DIR" '.failed == 0 and .lost == 0 and .twice == 0 and .accepted > 15000'
    for number in 1 2 3; do
        on "$number" cx-health alerts --json | jq -e '[.alerts[] | select(.state != "pending")] == []'
    done
}

@test "a full disk, errors of an agent, and a certificate of 29 days" {
    local from=$EPOCHSECONDS name
    for name in disk_space_low high_error_rate certificate_expiring; do
        "cause_$name" >/dev/null
    done
    fires_within "$from" 0 10 disk_space_low
    fires_within "$from" 0 60 high_error_rate
    fires_within "$from" 0 60 certificate_expiring
    from=$EPOCHSECONDS
    for name in disk_space_low high_error_rate certificate_expiring; do
        "end_$name" >/dev/null
    done
    ends_within "$from" 30 disk_space_low
    ends_within "$from" 360 high_error_rate
    ends_within "$from" 60 certificate_expiring
}

@test "a CPU that is busy for five minutes, on every node of this machine" {
    local from=$EPOCHSECONDS number
    for ((number = 0; number < $(nproc); number++)); do
        start_daemon "hog-$number" bash -c 'while :; do :; done'
    done
    for number in 1 2 3; do
        fires_within "$from" 300 310 high_cpu_usage "node-$number"
    done
    for ((number = 0; number < $(nproc); number++)); do
        stop_daemon "hog-$number" KILL
    done
    from=$EPOCHSECONDS
    for number in 1 2 3; do
        ends_within "$from" 60 high_cpu_usage "node-$number"
    done
}

@test "a node that is killed, and comes back" {
    local from=$EPOCHSECONDS
    cause_node_down
    fires_within "$from" 60 90 node_down
    from=$EPOCHSECONDS
    end_node_down
    ends_within "$from" 60 node_down
}

# To the majority node-3 may be a node that is down, and to node-3, for a while after the end, another one: that
# may be told too (see alerts-real.bats).
@test "a split, and its end" {
    ((EUID == 0)) || skip "a split needs root"
    local from=$EPOCHSECONDS number
    cause_cluster_split_brain
    wait_until 60 was_told firing cluster_split_brain local
    echo "# told after $(($(told_at firing cluster_split_brain local) - from)) s" >&3
    (($(told_at firing cluster_split_brain local) - from <= 30 + GRACE))
    end_cluster_split_brain
    wait_until 90 was_told resolved cluster_split_brain local
    for number in 1 2 3; do
        wait_until 90 nothing_active "$number"
    done
}

nothing_active() {
    on "$1" cx-health alerts --active | jq -e '.count == 0'
}

@test "nothing was told twice, and nothing else at all" {
    told_once "$(
        for status in firing resolved; do
            printf "$status high_cpu_usage %s\n" node-1 node-2 node-3
            for name in certificate_expiring cluster_split_brain disk_space_low high_error_rate node_down; do
                [[ $name == cluster_split_brain && $EUID != 0 ]] || echo "$status $name $(subject_of "$name")"
            done
        done
    )"
}
