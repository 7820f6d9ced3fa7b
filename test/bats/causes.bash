# causes: a cluster whose watchers page a receiver, and real causes for the alerts of the operators' document:
# `load causes` after common, fake and receiver.
#
# Each cause is a pair of functions, cause_NAME and end_NAME; subject_of NAME is whom the alert is about.
# shellcheck shell=bash disable=SC2154

# watched_cluster DIR POLICIES: three nodes, a watcher on each; POLICIES has health.yaml and alerts.yaml.
watched_cluster() {
    local number
    export CX_CLUSTER_DIR=$1 CX_CLUSTER_WATCH=yes
    local-cluster up --base "$CX_NETWORK" --nodes 3 3>&- 4>&- {CX_NETWORK_FD}>&-
    small_disk "$1/node-3/data"
    for number in 1 2 3; do
        mkdir -p "$1/node-$number/etc/policies"
        cp "$2"/{health,alerts}.yaml "$1/node-$number/etc/policies/"
    done
    new_policies
    write_failing_agent "$1/failing"
    jq -n --arg path "$1/failing" '{id: "failing", command: [$path], placement: "pinned", max_attempts: 1}' \
        >"$1/failing.json"
    on 1 cx-agents deploy "$1/failing.json"
}

# policy_with_receiver FILE [EDIT]: the operators' alerts, edited (sed -E), told to $RECEIVER.
policy_with_receiver() {
    local name
    {
        sed -E '/^#/d' "$CX_ROOT/share/policies/alerts.yaml" | sed -E "${2-}"
        echo "  actions:"
        for name in page_oncall send_alert; do
            echo "    $name: {type: webhook, url: \"http://$RECEIVER/\"}"
        done
    } >"$1"
}

# small_disk FOLDER: of node-3, on a file system of its own.
small_disk() {
    local-cluster stop node-3
    cp -a "$1" "$1.kept"
    mount -t tmpfs -o size=64m,mode=0700 tmpfs "$1"
    cp -a "$1.kept/." "$1/"
    local-cluster start node-3 3>&- 4>&- {CX_NETWORK_FD}>&-
}

# new_policies: the watchers read them.
new_policies() {
    local number
    for number in 1 2 3; do
        kill -HUP "$(watcher_of "$number")"
    done
}

watcher_of() {
    cut -d' ' -f1 "$CX_CLUSTER_DIR/node-$1/run/watch.pid"
}

on() {
    local-cluster exec "node-$1" -- "${@:2}"
}

# It fails what says "fail", and does the rest.
write_failing_agent() {
    cat >"$1" <<'END'
#!/usr/bin/python3
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    word = "failure" if message["content"] == "fail" else "inform"
    print(json.dumps({"in_reply_to": message["message_id"], "performative": word, "content": 1}), flush=True)
END
    chmod +x "$1"
}

# state_at NUMBER NAME SUBJECT: what node-NUMBER's watcher says.
state_at() {
    on "$1" cx-health alerts | jq -r --arg name "$2" --arg subject "$3" \
        'first(.alerts[] | select(.name == $name and .subject == $subject)).state'
}

state_is() {
    [[ $(state_at "$1" "$2" "$3") == "$4" ]]
}

# told STATUS NAME SUBJECT: how many pages said so.
told() {
    received "[.[].body.alerts[] | select(.status == \"$1\" and .name == \"$2\" and .subject == \"$3\")] | length"
}

was_told() {
    (($(told "$@") > 0))
}

# told_once LINES: "STATUS NAME SUBJECT" each: that was told, each once, and nothing else, but for a node that a split
# made unreachable.
told_once() {
    received '.[].body.alerts[] | "\(.status) \(.name) \(.subject) by \(.watcher)"' | sort >"$BATS_TEST_TMPDIR/told"
    received '.[].body.alerts[] | "\(.status) \(.name) \(.subject)"' | jq -r . | sed '/node_down node-[13]/d' | sort |
        diff - <(sort <<<"$1") || fail "$(<"$BATS_TEST_TMPDIR/told")"
}

subject_of() {
    case $1 in
        cluster_split_brain) echo local ;;
        high_error_rate) echo node-1 ;;
        disk_space_low | high_cpu_usage) echo node-3 ;;
        *) echo node-2 ;;
    esac
}

cause_node_down() {
    local-cluster kill node-2 node
}

end_node_down() {
    local-cluster start node-2
}

cause_cluster_split_brain() {
    local-cluster partition node-3
}

end_cluster_split_brain() {
    local-cluster heal
}

cause_high_error_rate() {
    jq -nc 'range(3) | {receiver: "failing", content: "fail"}' | on 1 cx-queue send - --json
}

# The rate is over five minutes: enough that is well makes the failures few.
end_high_error_rate() {
    jq -nc 'range(200) | {receiver: "failing", content: "well"}' | on 1 cx-queue send - --json
}

# Nine tenths are in use.
cause_disk_space_low() {
    local data=$CX_CLUSTER_DIR/node-3/data size used
    read -r size used < <(df -B1 --output=size,used "$data" | tail -n 1)
    head -c "$((size * 9 / 10 - used))" /dev/zero >"$data/ballast"
}

end_disk_space_low() {
    rm "$CX_CLUSTER_DIR/node-3/data/ballast"
}

watched_cluster_down() {
    ! mountpoint -q "$CX_CLUSTER_DIR/node-3/data" || umount -l "$CX_CLUSTER_DIR/node-3/data"
    local-cluster heal
    local-cluster down --timeout 10
}

cause_certificate_expiring() {
    issue_for_node_2 29d
}

end_certificate_expiring() {
    issue_for_node_2 90d
}

issue_for_node_2() {
    on 1 cx-ca issue --node-id node-2 --san "IP:$CX_NETWORK.12" --validity "$1" --force \
        --output "$CX_CLUSTER_DIR/node-2/certs" --quiet
}
