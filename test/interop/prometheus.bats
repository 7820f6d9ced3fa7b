#!/usr/bin/env bats
# Debian's prometheus and its alertmanager take ours: metrics, rules, alerts; Grafana's dashboard asks for what there is.

load ../bats/common

# scrape_config: a prometheus.yml for $dir, as share/prometheus/prometheus.yml has it, but fast.
scrape_config() {
    cat <<END
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs:
  - job_name: local
    static_configs: [targets: ["$CX_NETWORK.11:9180"]]
  - job_name: local-nodes
    scheme: https
    tls_config: {ca_file: "$dir/operator/ca.crt", cert_file: "$dir/operator/operator.crt", key_file: "$dir/operator/operator.key"}
    static_configs: [targets: ["$CX_NETWORK.11:8080", "$CX_NETWORK.12:8080", "$CX_NETWORK.13:8080"]]
END
}

start_peers() {
    mkdir -p "$work/prometheus" "$work/alertmanager"
    scrape_config >"$work/prometheus/prometheus.yml"
    prometheus-rules --file "$work/alerts.yaml" >"$work/prometheus/rules.yml"
    promtool check config "$work/prometheus/prometheus.yml"
    start_daemon prometheus prometheus --config.file="$work/prometheus/prometheus.yml" \
        --storage.tsdb.path="$work/prometheus/data" --web.listen-address="$prometheus"
    echo 'route: {receiver: nobody}
receivers: [name: nobody]' >"$work/alertmanager/alertmanager.yml"
    start_daemon alertmanager prometheus-alertmanager --config.file="$work/alertmanager/alertmanager.yml" \
        --storage.path="$work/alertmanager/data" --web.listen-address="$alertmanager" --cluster.listen-address=
    wait_until 20 curl -sf "http://$prometheus/-/ready"
    wait_until 20 curl -sf "http://$alertmanager/-/ready"
}

# query EXPRESSION: the values that Prometheus finds, as {"labels","value"} lines.
query() {
    curl -sf "http://$prometheus/api/v1/query" --data-urlencode "query=$1" |
        jq -c '.data.result[] | {labels: .metric, value: .value[1]}'
}

# fires NAME SUBJECT: in Prometheus, by our rule.
fires() {
    [[ -n $(query "ALERTS{alertname=\"$1\",node_id=\"$2\",alertstate=\"firing\"}") ]]
}

is_quiet() {
    ! fires "$@"
}

# told NAME SUBJECT: Alertmanager has it active, from us.
told() {
    curl -sf "http://$alertmanager/api/v2/alerts?active=true" |
        jq -e --arg name "$1" --arg subject "$2" '.[] | select(.labels.alertname == $name and .labels.subject == $subject)'
}

is_over() {
    ! told "$@"
}

# exported: the names that the watcher and a node export now.
exported() {
    {
        curl -sf "http://$CX_NETWORK.11:9180/metrics"
        curl -sf --cacert "$dir/operator/ca.crt" --cert "$dir/operator/operator.crt" --key "$dir/operator/operator.key" \
            "https://$CX_NETWORK.11:8080/metrics"
    } | awk '/^# TYPE/ {print $3; if ($4 == "histogram") print $3 "_bucket"}' | sort -u
}

expressions() {
    jq -r '.panels[].targets[].expr' "$CX_ROOT/share/grafana/cx-cluster.json"
}

teardown() {
    end_daemons
    [[ -z ${dir-} ]] || local-cluster down --dir "$dir" --purge >"$BATS_TEST_TMPDIR/down"
}

@test "the rules: what is shipped is made of the policy, has its alerts, and promtool finds them good" {
    need promtool amtool
    cd "$CX_ROOT"
    run prometheus-rules --file share/policies/alerts.yaml
    assert_success
    assert_equal "$output" "$(<share/prometheus/cx.rules.yml)"
    promtool check rules share/prometheus/cx.rules.yml
    promtool test rules test/interop/prometheus-rules.yml
    promtool check config --syntax-only share/prometheus/prometheus.yml
    amtool check-config share/prometheus/alertmanager.yml

    # By another reader than the one that made them: name, severity, duration, and the threshold at its end.
    rules=$(/usr/bin/python3 -c 'import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)' share/prometheus/cx.rules.yml |
        jq -c '.groups[] | select(.name == "cx-policy").rules[] | [.alert, .labels.severity, .for // "0s",
            (.expr | capture("(?<operator>[<>=]=?) (?<value>[0-9.]+)\\)") | .operator + .value)]')
    assert_equal "$rules" '["cluster_split_brain","critical","0s","==2"]
["node_down","critical","1m","==2"]
["high_error_rate","critical","0s",">5"]
["high_cpu_usage","warning","5m",">70"]
["disk_space_low","warning","0s",">80"]
["certificate_expiring","warning","0s","<2592000"]'
    policy=$(cx-config policy alerts --file share/policies/alerts.yaml |
        jq -c '.alerts | (.critical[] | [.name, "critical"]), (.warning[] | [.name, "warning"])')
    assert_equal "$(jq -c '.[0:2]' <<<"$rules")" "$policy"
}

@test "rules: conditions without a number, durations and texts of the operator's own are good rules, too" {
    cat >"$BATS_TEST_TMPDIR/alerts.yaml" <<'END'
alerts:
  critical:
    - {name: down, condition: node_unreachable > 90s, duration: 30s, action: [page, mail], description: "a \"quoted\" text: {x}", runbook: runbooks/node-failure}
    - {name: full, condition: agent_count >= max_agents, action: page}
  warning:
    - {name: members, condition: cluster_membership, duration: 2h, action: mail}
    - {name: old_backup, condition: backup_age > 26h, action: mail}
  actions: {page: {type: log}, mail: {type: log}}
END
    run prometheus-rules --file "$BATS_TEST_TMPDIR/alerts.yaml"
    assert_success
    echo "$output" >"$BATS_TEST_TMPDIR/rules.yml"
    promtool check rules "$BATS_TEST_TMPDIR/rules.yml"
    assert_line --partial 'for: 2m'
    assert_line --partial 'for: 2h'
    assert_line --partial 'cx_check_value{name=\"backup_age\"} > 93600'
    run prometheus-rules --file "$BATS_TEST_TMPDIR/none.yaml"
    assert_failure
}

@test "a real prometheus scrapes us and fires node_down by our rule; a real alertmanager is told by the watcher, also of the end" {
    need prometheus prometheus-alertmanager
    dir=$BATS_TEST_TMPDIR/cluster work=$BATS_TEST_TMPDIR
    prometheus=127.0.0.1:$(free_port) alertmanager=127.0.0.1:$(free_port)
    local-cluster up --nodes 3 --dir "$dir" --base "$CX_NETWORK" >"$work/up"
    eval "$(local-cluster env node-1 --dir "$dir")"
    cat >"$work/health.yaml" <<'END'
health_checks:
  cluster_health: {interval: 1s, checks: [cluster_membership, gossip_convergence, partition_detection]}
  node_health: {interval: 1s, timeout: 2s, checks: [cpu_usage < 100%, memory_usage < 100%, disk_usage < 100%]}
  agent_health: {interval: 1s, checks: [agent_responsiveness, error_rate < 1%]}
END
    cat >"$work/alerts.yaml" <<END
alerts:
  critical: [{name: node_down, condition: node_unreachable > 2s, action: page_oncall}]
  warning: [{name: disk_space_low, condition: disk_usage > 99%, action: page_oncall}]
  actions: {page_oncall: {type: alertmanager, url: "http://$alertmanager"}}
END
    start_daemon watch cx-health watch --policy "$work/health.yaml" --alerts "$work/alerts.yaml" --listen "$CX_NETWORK.11:9180"
    start_peers

    # All three nodes and the watcher are scraped, and nothing of it is refused.
    scraped() { [[ $(query 'count(up == 1)' | jq -r .value) == 4 ]]; }
    wait_until 30 scraped
    run curl -sf "http://$CX_NETWORK.11:9180/metrics"
    promtool check metrics <<<"$output"

    # What the rules and the dashboard ask for is there, and Prometheus understands it.
    asked=$({ expressions && cat "$CX_ROOT/share/prometheus/cx.rules.yml"; } | grep -oE '\bcx_(check|watch_|alert|action|member|node_)[a-z_]*' |
        grep -vxE 'cx_(watcher_(blind|cannot_save)|action_fails)' | sort -u)
    assert_equal "$(comm -23 <(echo "$asked") <(exported))" ''
    while read -r expression; do
        expression=${expression//\$cluster/local}
        curl -sf "http://$prometheus/api/v1/query" --data-urlencode "query=$expression" >"$work/answer" ||
            fail "prometheus does not take: $expression"
    done < <(expressions)
    [[ -n $(query 'max by (node_id) (cx_check_value{job="local",name="cpu_usage"})') ]]

    local-cluster kill node-3
    wait_until 30 fires node_down node-3
    wait_until 30 told node_down node-3
    is_quiet node_down node-2
    local-cluster start node-3
    wait_until 30 is_quiet node_down node-3
    wait_until 30 is_over node_down node-3
    # It was resolved, and did not only run out.
    [[ $(jq -r 'select(.event == "sent") | .action' "$work/watch.log" | sort | uniq -c | xargs) == '2 page_oncall' ]]
}
