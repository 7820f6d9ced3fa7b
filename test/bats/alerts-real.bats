#!/usr/bin/env bats
# Each alert of the operators' document by a real cause, in a real cluster with three watchers: told once when it
# begins and once when it is over. Their policy with shorter times.

load common
load fake
load receiver
load causes

setup_file() {
    export BATS_NO_PARALLELIZE_WITHIN_FILE=true
    BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR new_receiver
    export RECEIVER RECEIVED
    mkdir "$BATS_FILE_TMPDIR/policies"
    sed -E 's/interval: .*/interval: 1s/' "$CX_ROOT/share/policies/health.yaml" >"$BATS_FILE_TMPDIR/policies/health.yaml"
    policy_with_receiver "$BATS_FILE_TMPDIR/policies/alerts.yaml" \
        's/> 60s/> 12s/; s/duration: 5m/duration: 2s/; s/cpu_usage > 70%/cpu_usage > 100%/'
    watched_cluster "$BATS_FILE_TMPDIR/cluster" "$BATS_FILE_TMPDIR/policies"
}

teardown_file() {
    watched_cluster_down
}

setup() {
    export CX_CLUSTER_DIR=$BATS_FILE_TMPDIR/cluster
    start_receiver
}

# becomes STATE NAME [SUBJECT]: firing or resolved, at all watchers, and told.
becomes() {
    local number subject=${3-$(subject_of "$2")}
    for number in 1 2 3; do
        wait_until 30 state_is "$number" "$2" "$subject" "$1"
    done
    wait_until 15 was_told "$1" "$2" "$subject"
}

fires() {
    becomes firing "$@"
}

ends() {
    becomes resolved "$@"
}

@test "errors of an agent, a full disk and a certificate of 29 days, at the same time" {
    local name
    for name in high_error_rate disk_space_low certificate_expiring; do
        "cause_$name" >/dev/null
    done
    for name in high_error_rate disk_space_low certificate_expiring; do
        fires "$name"
    done
    for name in high_error_rate disk_space_low certificate_expiring; do
        "end_$name" >/dev/null
    done
    for name in high_error_rate disk_space_low certificate_expiring; do
        ends "$name"
    done
}

# How busy the machine is otherwise is not ours to say: the threshold is moved below what it is, and then the
# rule is taken away.
@test "a busy CPU, on every node" {
    local number
    each_policy 's/cpu_usage > 100%/cpu_usage > 0%/'
    for number in 1 2 3; do
        fires high_cpu_usage "node-$number"
    done
    each_policy '/name: high_cpu_usage/,/^$/d'
    for number in 1 2 3; do
        wait_until 30 is_over "$number" high_cpu_usage
    done
}

# each_policy EDIT: of the alerts, on every node.
each_policy() {
    sed -i -E "$1" "$CX_CLUSTER_DIR"/node-*/etc/policies/alerts.yaml
    new_policies
}

is_over() {
    [[ $(on "$1" cx-health alerts --active | jq --arg name "$2" '[.alerts[] | select(.name == $name)] | length') == 0 ]]
}

@test "a node that is killed, and comes back" {
    cause_node_down
    fires node_down
    end_node_down
    ends node_down
}

# The minority knows it for a split. To the majority node-3 may be a node that is down, and to node-3, for a while
# after the end, another one: that may be told, and is left out below.
@test "a split, and its end" {
    ((EUID == 0)) || skip "a split needs root"
    cause_cluster_split_brain
    wait_until 30 was_told firing cluster_split_brain "$(subject_of cluster_split_brain)"
    end_cluster_split_brain
    wait_until 60 state_is 3 cluster_split_brain "$(subject_of cluster_split_brain)" resolved
    wait_until 15 was_told resolved cluster_split_brain "$(subject_of cluster_split_brain)"
    wait_until 60 none_fires
}

none_fires() {
    local number
    for number in 1 2 3; do
        on "$number" cx-health alerts --active | jq -e '.count == 0'
    done
}

@test "nothing was told twice, and nothing else at all" {
    told_once "$(
        printf 'firing high_cpu_usage %s\n' node-1 node-2 node-3
        for status in firing resolved; do
            for name in certificate_expiring cluster_split_brain disk_space_low high_error_rate node_down; do
                [[ $name == cluster_split_brain && $EUID != 0 ]] || echo "$status $name $(subject_of "$name")"
            done
        done
    )"
}
