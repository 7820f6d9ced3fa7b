# watch: a stand-in for a healthy node, and a watcher against it: `load watch` after common and fake (and
# receiver).
# shellcheck shell=bash

# node_says [CHANGES]: what the node says of itself, with changes (jq).
node_says() {
    jq -nc '{node_id: "node-1", cluster: "test", version: "0.1.0", state: "active", uptime_seconds: 10,
        agents: {total: 3, running: 3, suspended: 0, failed: 0, starting: 0, stopped: 0, max: 100},
        messages: {queued: 0, in_flight: 0}, system: {cpu_percent: 12.5, memory_percent: 40, disk_percent: 50},
        latency_ms: {p50: 1, p99: 20, count: 9}, error_rate_percent: 0,
        certificate: {not_after: (now + 80 * 86400 | todate), serial: "01"},
        backup: {last_success_at: (now - 3600 | todate)}} | '"${1:-.}"
}

# cluster_says [CHANGES]: the membership: node-1, alone.
cluster_says() {
    jq -nc --arg addr "$ADDRESS:$PORT" '{digest: "d1", count: 1, members: [{node_id: "node-1", addr: "x:1",
        status: "alive", since: "2020-01-01T00:00:00Z", tags: {version: "0.1.0", api: $addr}}],
        status: {node_id: "node-1", members: 1, alive: 1, failed: 0, expected: 1, partition: "majority", digest: "d1"}} | '"${1:-.}"
}

# all_say [NODE_CHANGES [CLUSTER_CHANGES]]: a document for `answers` and start_fake.
all_say() {
    echo "{\"GET /api/v1/node\": {json: $(node_says "${1:-.}")},
        \"GET /api/v1/agents\": {json: {agents: [{id: \"echo\", state: \"running\", responsive: true}], count: 1}},
        \"GET /api/v1/cluster\": {json: $(cluster_says "${2:-.}")}}"
}

# write_policies [ALERTS_YAML]: every check each second; the alerts, and `page`, a webhook to $RECEIVER.
write_policies() {
    local full_disk='  critical: [{name: disk, condition: disk_usage > 80%, action: page}]'
    HEALTH=$BATS_TEST_TMPDIR/health.yaml ALERTS=$BATS_TEST_TMPDIR/alerts.yaml
    cat >"$HEALTH" <<'END'
health_checks:
  cluster_health: {interval: 1s, checks: [cluster_membership, gossip_convergence, partition_detection]}
  node_health: {interval: 1s, timeout: 2s, checks: [cpu_usage < 80%, disk_usage < 85%]}
  agent_health: {interval: 1s, checks: [error_rate < 1%]}
END
    {
        printf 'alerts:\n  actions:\n    page: {type: webhook, url: "http://%s/"}\n' "$RECEIVER"
        echo "${1:-$full_disk}"
    } >"$ALERTS"
}

# start_watch [OPTION…]
start_watch() {
    start_daemon watch cx-health watch --policy "$HEALTH" --alerts "$ALERTS" "$@"
}

# alert_state NAME [SUBJECT]
alert_state() {
    cx-health alerts | jq -r --arg name "$1" --arg subject "${2:-node-1}" \
        '.alerts[] | select(.name == $name and .subject == $subject) | .state'
}

alert_is() {
    [[ $(alert_state "$1" "${3:-}") == "$2" ]]
}

paged() {
    [[ $(pages) == "$1" ]]
}

# looked COUNT: so many more rounds of the node's checks than now have been asked, and their outcome
# is saved.
looked() {
    local wanted=$(($(requests "GET /api/v1/node") + $1))
    wait_until 20 asked "$wanted"
}

asked() {
    (($(requests "GET /api/v1/node") >= $1))
}
