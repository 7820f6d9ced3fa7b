#!/usr/bin/env bats
# cx-health against a stand-in for a node.

load common
load fake
load watch

setup_file() {
    make_certs
}

setup() {
    write_config
}

# node [CHANGES]: what a healthy node says of itself, with changes (jq).
node() {
    node_says "$@"
}

cluster() {
    jq -nc --arg addr "$ADDRESS:$PORT" '{digest: "d1", count: 3, members: ([range(1; 4) | {node_id: "node-\(.)", addr: "x:1",
        status: "alive", since: "2020-01-01T00:00:00Z", tags: {version: "0.1.0"}}] | .[0].tags.api = $addr),
        status: {node_id: "node-1", members: 3, alive: 3, failed: 0, expected: 3, partition: "majority", digest: "d1"}} | '"${1:-.}"
}

agents='{"agents": [{"id": "echo", "state": "running", "responsive": true}], "count": 1}'

start_healthy() {
    start_fake "{\"GET /api/v1/node\": {json: $(node "${1:-.}")}, \"GET /api/v1/agents\": {json: $agents},
        \"GET /api/v1/cluster\": {json: $(cluster "${2:-.}")}}"
}

status_of() {
    jq -r --arg name "$1" '.checks[] | select(.name == $name) | .status' <<<"$output"
}

# ---- a node

@test "node: a healthy node is ok, with values and thresholds" {
    start_healthy

    run --separate-stderr cx-health node

    assert_success
    assert_json '.status, (.checks | map(.name))' \
        $'ok\n["cpu_usage","memory_usage","disk_usage","agent_count","queue_depth"]'
    assert_json '.checks[0] | .scope, .node_id, .value, .unit, .threshold' \
        $'node\nnode-1\n12.5\npercent\n< 80%'
    validate_schema cx-health-node
}

@test "node: above the policy's threshold is critical, an alert's value is a warning" {
    start_healthy '.system = {cpu_percent: 81, memory_percent: 90, disk_percent: 82} | .agents.total = 100'

    run --separate-stderr cx-health node

    assert_failure 1
    assert_json '.checks | map(.status)' '["critical","critical","warning","critical","ok"]'
}

@test "node: thresholds come from the policy that is given" {
    start_healthy '.system.cpu_percent = 50'
    cat >"$BATS_TEST_TMPDIR/health.yaml" <<'END'
health_checks:
  node_health:
    checks:
      - check: cpu_usage < 40%
        critical: < 60%
END

    run --separate-stderr cx-health node --policy "$BATS_TEST_TMPDIR/health.yaml"

    assert_failure 1
    assert_equal "$(status_of cpu_usage)" warning
    assert_equal "$(status_of memory_usage)" ""
}

@test "node: a policy with a mistake is a config error with its line" {
    start_healthy
    printf 'health_checks:\n  node_health:\n    checks: [cpu_usage << 40%%]\n' >"$BATS_TEST_TMPDIR/bad.yaml"

    run --separate-stderr cx-health node --policy "$BATS_TEST_TMPDIR/bad.yaml"

    assert_error config
    [[ $stderr == *bad.yaml:3* ]]
}

@test "node: one that can't be reached is critical, its values are unknown" {
    start_healthy

    run --separate-stderr cx-health node - < <(
        jq -nc --arg addr "$ADDRESS:$PORT" '{node_id: "node-1", api_addr: $addr}, {node_id: "node-9", api_addr: "127.0.0.1:1"}'
    )

    assert_failure 1
    assert_json .status critical
    assert_json '.checks | map(select(.node_id == "node-9") | .status) | unique' '["critical","unknown"]'
    assert_json '.checks | map(select(.node_id == "node-1") | .status) | unique' '["ok"]'
    assert_json '.checks[] | select(.name == "node_reachable") | .node_id' node-9
    validate_schema cx-health-node
}

@test "node: what a node does not tell, or tells wrongly, is unknown" {
    start_fake '{"GET /api/v1/node": {json: {node_id: ["x"], system: {cpu_percent: "low", memory_percent: null}}}}'

    run --separate-stderr cx-health node

    assert_failure 1
    assert_json '.checks | map(.status) | unique' '["unknown"]'
    validate_schema cx-health-node
}

@test "--nagios: one line, performance data, and its own exit statuses" {
    start_healthy

    run --separate-stderr cx-health node --nagios
    assert_success
    [[ ${lines[0]} == "CX OK - 5 checks |"*"'node-1.cpu_usage'=12.5%"* ]]

    answers "{\"GET /api/v1/node\": {json: $(node '.system.disk_percent = 82')}}"
    run --separate-stderr cx-health node --nagios
    assert_failure 1
    answers "{\"GET /api/v1/node\": {json: $(node '.system.disk_percent = 99')}}"
    run --separate-stderr cx-health node --nagios
    assert_failure 2
    [[ ${lines[0]} == "CX CRITICAL - 1 of 5 checks: disk_usage"* ]]
    answers "{\"GET /api/v1/node\": {json: $(node 'del(.system)')}}"
    run --separate-stderr cx-health node --nagios
    assert_failure 3
    CX_CONFIG=/nowhere run --separate-stderr cx-health node --nagios
    assert_failure 3
    [[ ${lines[0]} == "CX UNKNOWN - "* ]]
    # What follows a bar is performance data.
    CX_CONFIG='/nowhere|load=1' run --separate-stderr cx-health node --nagios
    assert_failure 3
    [[ ${lines[0]} == "CX UNKNOWN - "*nowhere* && $output != *'|'* ]]
}

@test "--prometheus: each check as a sample" {
    start_healthy

    run --separate-stderr cx-health node --prometheus

    assert_success
    assert_line 'cx_check_status{scope="node",node_id="node-1",name="cpu_usage"} 0'
    assert_line 'cx_check_value{scope="node",node_id="node-1",name="cpu_usage",unit="percent"} 12.5'
}

# ---- the cluster

@test "cluster: whole, of one mind and of one version" {
    start_healthy

    run --separate-stderr cx-health cluster

    assert_success
    assert_json '.checks | map(.name + "=" + .status)' \
        '["cluster_membership=ok","gossip_convergence=ok","partition_detection=ok","version_consistency=ok"]'
    validate_schema cx-health-cluster
}

@test "cluster: a member that failed a minute ago is critical, one that just failed a warning" {
    start_healthy . '.members[2].status = "failed" | .status.alive = 2'
    run --separate-stderr cx-health cluster
    assert_failure 1
    assert_equal "$(status_of cluster_membership)" critical
    [[ $(jq -r '.checks[0].message' <<<"$output") == *node-3* ]]

    answers "{\"GET /api/v1/cluster\": {json: $(cluster '.members[2] += {status: "failed", since: (now - 5 | todate)}')}}"
    run --separate-stderr cx-health cluster
    assert_equal "$(status_of cluster_membership)" warning
}

@test "cluster: the minority of a partition is critical" {
    start_healthy . '.members[1,2].status = "failed" | .status.partition = "minority"'

    run --separate-stderr cx-health cluster

    assert_failure 1
    assert_equal "$(status_of partition_detection)" critical
}

@test "cluster: different versions are a warning that names them" {
    start_healthy . '.members[1].tags.version = "0.2.0"'

    run --separate-stderr cx-health cluster

    assert_failure 1
    assert_equal "$(status_of version_consistency)" warning
    [[ $(jq -r '.checks[3].message' <<<"$output") == *0.2.0* ]]
}

@test "cluster: views that differ may settle" {
    start_fake "{\"GET /api/v1/cluster\": [
        {json: $(cluster)}, {json: $(cluster '.digest = "d2"')}, {json: $(cluster)}]}"
    run --separate-stderr cx-health cluster
    assert_success

    answers "{\"GET /api/v1/cluster\": [{json: $(cluster)}, {json: $(cluster '.digest = "d2"')}]}"
    stop_daemon fake
    start_fake "$(<"$FAKE/answers.json")"
    run --separate-stderr cx-health cluster --settle 0s
    assert_failure 1
    assert_equal "$(status_of gossip_convergence)" warning
}

@test "cluster: a member that is alive and can't be asked leaves convergence unknown" {
    start_healthy . '.members[1].tags.api = "127.0.0.1:1"'

    run --separate-stderr cx-health cluster

    assert_failure 1
    assert_equal "$(status_of gossip_convergence)" unknown
}

@test "cluster: without any membership it is critical" {
    run --separate-stderr cx-health cluster

    assert_failure 1
    assert_json '.checks | map(.status)' '["critical","unknown","unknown","unknown"]'
    validate_schema cx-health-cluster
}

# ---- agents, certificates, all

@test "agents: failures, slowness and errors" {
    start_healthy '.latency_ms.p99 = 15000 | .error_rate_percent = 2'
    run --separate-stderr cx-health agents
    assert_failure 1
    assert_json '.checks | map(.name + "=" + .status)' \
        '["agent_responsiveness=ok","message_processing_time=warning","error_rate=warning"]'
    validate_schema cx-health-agents

    answers "{\"GET /api/v1/node\": {json: $(node '.error_rate_percent = 6')}, \"GET /api/v1/agents\": {json: {agents: [
        {id: \"a\", state: \"failed\"}, {id: \"b\", state: \"running\", responsive: false}, {id: \"c\", state: \"running\"}]}}}"
    run --separate-stderr cx-health agents
    assert_equal "$(status_of agent_responsiveness)" warning
    assert_equal "$(status_of error_rate)" critical
}

@test "agents: no traffic is no fault" {
    start_healthy '.latency_ms = {p50: null, p99: null, count: 0}'

    run --separate-stderr cx-health agents

    assert_success
}

@test "certs: thirty days are a warning, seven are critical" {
    start_healthy
    run --separate-stderr cx-health certs
    assert_success
    validate_schema cx-health-certs
    answers "{\"GET /api/v1/node\": {json: $(node '.certificate.not_after = (now + 20 * 86400 | todate)')}}"
    run --separate-stderr cx-health certs
    assert_equal "$(status_of cert_expiry)" warning
    answers "{\"GET /api/v1/node\": {json: $(node '.certificate.not_after = (now - 5 | todate)')}}"
    run --separate-stderr cx-health certs
    assert_equal "$(status_of cert_expiry)" critical
}

@test "all: every check; a missing backup is a warning" {
    start_healthy '.backup.last_success_at = null'

    run --separate-stderr cx-health all

    assert_failure 1
    assert_json '.checks | map(.name) | unique | length' 14
    assert_json '[.checks[] | select(.status != "ok") | .name]' '["backup_age"]'
    validate_schema cx-health-all
}

@test "--all asks failed members too" {
    start_healthy . '.members[1] += {status: "failed", tags: {api: "127.0.0.1:1"}}'

    run --separate-stderr cx-health node --all

    assert_failure 1
    assert_json '[.checks[] | select(.name == "node_reachable") | .node_id]' '["node-2"]'
}
