#!/usr/bin/env bats
# cx-config: the configuration and the policies as people write them, right and wrong.

load common

setup() {
    config=$BATS_TEST_TMPDIR/config.yaml
    export CX_CONFIG=$config
    : >"$config"
}

# operators_block KEY: the YAML block of the operators' procedures whose top-level key is KEY.
operators_block() {
    awk -v key="$1:" '/^```yaml$/ { inside = 1; block = ""; next }
        /^```$/ { if (inside && index(block, key "\n") == 1) printf "%s", block; inside = 0 }
        inside { block = block $0 "\n" }' "$CX_ROOT/test/reference/operational-procedures.md"
}

# root_of POLICY: its file's top-level key.
root_of() {
    case $1 in
        upgrade) echo upgrade_strategy ;;
        health) echo health_checks ;;
        *) echo "$1" ;;
    esac
}

# assert_finding PLACE: the error on stderr begins with the file and PLACE ("3:5: key: ").
assert_finding() {
    local message
    message=$(jq -r .error.message <<<"$stderr")
    [[ $message == "$config:$1"* ]] || fail "expected $1, got $message"
}

@test "policy: each block of the operators' procedures loads as it stands" {
    local name
    for name in upgrade backup health alerts maintenance; do
        operators_block "$(root_of "$name")" >"$BATS_TEST_TMPDIR/$name.yaml"
        [[ -s $BATS_TEST_TMPDIR/$name.yaml ]]
        run --separate-stderr cx-config policy "$name" --file "$BATS_TEST_TMPDIR/$name.yaml"
        assert_success
        validate_schema "cx-config-policy-$name"
        assert_json .source "$BATS_TEST_TMPDIR/$name.yaml"
    done
}

@test "policy: the installed files are the operators' blocks, word for word" {
    local name
    for name in upgrade backup health alerts maintenance; do
        diff <(sed '/^#/d' "$CX_ROOT/share/policies/$name.yaml") \
            <(operators_block "$(root_of "$name")")
    done
}

@test "policy: nothing that the operators wrote is lost or changed" {
    local name
    for name in upgrade backup health alerts maintenance; do
        # Every scalar of theirs, with its path, is in our document too.
        run --separate-stderr cx-config policy "$name"
        /usr/bin/python3 - "$CX_ROOT/share/policies/$name.yaml" "$output" <<'PYTHON'
import json, sys, yaml

def check(theirs, ours, where):
    if isinstance(theirs, dict):
        for key, value in theirs.items():
            check(value, ours[key], f"{where}.{key}")
    elif isinstance(theirs, list):
        assert len(theirs) == len(ours), where
        for index, value in enumerate(theirs):
            check(value, ours[index], f"{where}[{index}]")
    else:
        assert str(theirs) == str(ours), f"{where}: {theirs} became {ours}"

check(yaml.load(open(sys.argv[1]), yaml.BaseLoader), json.loads(sys.argv[2]), "")
PYTHON
    done
}

@test "policy: durations are also seconds, and the canary's is found in its step" {
    run --separate-stderr cx-config policy upgrade
    assert_success
    assert_json '[.canary_duration, .canary_duration_seconds]' '["24h",86400]'
    assert_json '[.batch_size, .batch_delay, .batch_delay_seconds]' '[1,"5m",300]'
    assert_json '.upgrade_strategy.phases[2].steps[2]' '{"batch_delay":"5m","batch_delay_seconds":300}'
    run --separate-stderr cx-config policy backup
    assert_json .backup.schedule.full_backup.retention_seconds 2592000
    assert_json .backup.schedule.full_backup.time 02:00
}

@test "policy: canary_duration goes before the step's name" {
    operators_block upgrade_strategy >"$BATS_TEST_TMPDIR/u.yaml"
    sed -i 's/^  type: rolling/&\n  canary_duration: 30m/' "$BATS_TEST_TMPDIR/u.yaml"
    run --separate-stderr cx-config policy upgrade --file "$BATS_TEST_TMPDIR/u.yaml"
    assert_success
    assert_json .canary_duration_seconds 1800
    assert_json '.upgrade_strategy.phases[1].steps[-1]' monitor_canary_24h
}

@test "policy: a destination is written as cx-backup takes it" {
    cat >"$BATS_TEST_TMPDIR/b.yaml" <<'YAML'
backup:
  schedule:
    full_backup: {frequency: weekly}
  destinations:
    - {type: local, path: /srv/backup}
    - {type: s3, bucket: caxton, prefix: /lab/, endpoint: "http://127.0.0.1:4568"}
YAML
    run --separate-stderr cx-config policy backup --file "$BATS_TEST_TMPDIR/b.yaml"
    assert_success
    validate_schema cx-config-policy-backup
    assert_json '.backup.destinations[0].dest' /srv/backup
    assert_json '.backup.destinations[1].dest' \
        's3://caxton/lab/?region=us-east-1&endpoint=http://127.0.0.1:4568&path_style=1'
    assert_json '.backup.schedule.full_backup | [.day, .time, .retention]' '["sunday","02:00","30d"]'
    assert_json '.backup.components | length' 5
}

@test "policy: actions may be defined, and an alert may have several" {
    cat >"$BATS_TEST_TMPDIR/a.yaml" <<'YAML'
alerts:
  critical:
    - name: node_down
      condition: node_unreachable > 60s
      for: 2m
      action: [page_oncall, chat]
  actions:
    page_oncall: {type: pagerduty, routing_key_file: /etc/caxton/pagerduty.key}
    chat: {type: exec, command: [/usr/bin/logger, -t, caxton], timeout: 2s, retries: 0}
YAML
    run --separate-stderr cx-config policy alerts --file "$BATS_TEST_TMPDIR/a.yaml"
    assert_success
    validate_schema cx-config-policy-alerts
    assert_json '.alerts.critical[0] | [.duration, .duration_seconds, .actions]' \
        '["2m",120,["page_oncall","chat"]]'
    assert_json '.alerts.actions.send_alert.type' log
    assert_json '.alerts.actions.chat | [.timeout_seconds, .retries]' '[2,0]'
}

@test "policy: one in policy_dir overrides the installed one, --file overrides both" {
    echo "policy_dir: $BATS_TEST_TMPDIR/own" >"$config"
    run --separate-stderr cx-config policy maintenance
    assert_json .source "$CX_ROOT/share/policies/maintenance.yaml"
    mkdir "$BATS_TEST_TMPDIR/own"
    echo 'maintenance: {daily: [rotate_logs]}' >"$BATS_TEST_TMPDIR/own/maintenance.yaml"
    run --separate-stderr cx-config policy maintenance
    assert_json .source "$BATS_TEST_TMPDIR/own/maintenance.yaml"
    assert_json '.maintenance | {daily, weekly, monthly, quarterly}' '{"daily":["rotate_logs"],"weekly":[],"monthly":[],"quarterly":[]}'
    run --separate-stderr cx-config policy maintenance --file - <<<'{"maintenance":{"weekly":["security_audit"]}}'
    assert_success
    assert_json .maintenance.weekly '["security_audit"]'
}

@test "policy: an installed tool finds its policies from any folder" {
    mkdir -p "$BATS_TEST_TMPDIR/usr/bin" "$BATS_TEST_TMPDIR/usr/share"
    cp "$CX_BUILD/cx-config" "$BATS_TEST_TMPDIR/usr/bin"
    cp -R "$CX_ROOT/share" "$BATS_TEST_TMPDIR/usr/share/cx"
    unset CX_CONFIG
    cd /
    run --separate-stderr "$BATS_TEST_TMPDIR/usr/bin/cx-config" policy health --config /dev/null
    assert_success
    assert_json .source "$BATS_TEST_TMPDIR/usr/share/cx/policies/health.yaml"
    CX_SHARE=$CX_ROOT/share run --separate-stderr "$BATS_TEST_TMPDIR/usr/bin/cx-config" policy health --config /dev/null
    assert_json .source "$CX_ROOT/share/policies/health.yaml"
}

@test "policy: a misspelt key, a wrong unit, a duplicate key are named with line and column" {
    operators_block health_checks | sed 's/cpu_usage < 80%/cpu_usage < 80s/' >"$config"
    run --separate-stderr cx-config policy health --file "$config"
    assert_error config
    assert_finding '12:9: health_checks.node_health.checks[0]: '

    operators_block backup | sed 's/retention: 30d/retenton: 30d/' >"$config"
    run --separate-stderr cx-config policy backup --file "$config"
    assert_error config
    assert_finding '6:7: backup.schedule.full_backup.retenton: '
    [[ $(jq -r .error.hint <<<"$stderr") == *retention* ]]

    operators_block backup | sed 's/retention: 7d/retention: 7x/' >"$config"
    run --separate-stderr cx-config policy backup --file "$config"
    assert_error config
    assert_finding '10:18: backup.schedule.incremental_backup.retention: '

    operators_block maintenance | sed 's/monthly/daily/' >"$config"
    run --separate-stderr cx-config policy maintenance --file "$config"
    assert_error config
    assert_finding '12:3: maintenance.daily: duplicate key'

    operators_block upgrade_strategy | sed 's/checkpoint_state/checkpoint_stat/' >"$config"
    run --separate-stderr cx-config policy upgrade --file "$config"
    assert_error config
    assert_finding '22:15: upgrade_strategy.phases[2].steps[0].foreach_node[1]: '
}

@test "policy: an unknown policy is a wrong use" {
    run --separate-stderr cx-config policy bakup
    assert_error usage
    [[ $(jq -r .error.hint <<<"$stderr") == *backup* ]]
}

@test "show: a missing default file means defaults, a missing named one is an error" {
    rm "$config"
    run --separate-stderr cx-config show
    assert_error not_found
    unset CX_CONFIG
    run --separate-stderr cx-config show --config /dev/null
    assert_success
    validate_schema cx-config-show
    assert_json '[.cluster, .data_dir, .bind_addr]' '["caxton","/var/lib/caxton","0.0.0.0:7946"]'
}

@test "show: what it prints is a configuration with the same meaning" {
    cat >"$config" <<'YAML'
cluster: prod
node_id: node-1
bind_addr: 0.0.0.0:7946
advertise_addr: 10.0.0.1
seeds: [10.0.0.1:7946, node-2.example.com]
drain_timeout: 90s
YAML
    run --separate-stderr cx-config show
    assert_success
    assert_json .api_advertise_addr 10.0.0.1:8080
    assert_json .seeds '["10.0.0.1:7946","node-2.example.com:7946"]'
    jq . <<<"$output" >"$config"
    [[ $(cx-config show | jq -S .) == "$(jq -S . <<<"$output")" ]]
}

@test "show --origin: each value says where it comes from" {
    printf 'cluster: prod\nadvertise_addr: 10.0.0.1\n' >"$config"
    run --separate-stderr cx-config show --origin
    assert_success
    validate_schema cx-config-show
    assert_json .cluster "{\"value\":\"prod\",\"origin\":\"$config:1:10\"}"
    assert_json .data_dir.origin default
    assert_json .api_advertise_addr '{"value":"10.0.0.1:8080","origin":"derived"}'
}

@test "get: every key has a value, the same as show prints" {
    local key shown
    printf 'cluster: prod\nseeds: [a, b]\n' >"$config"
    shown=$(cx-config show)
    while read -r key; do
        run --separate-stderr cx-config get "$key"
        assert_success
        validate_schema cx-config-get
        assert_json .key "$key"
        assert_json .value "$(jq -rc --arg key "$key" '.[$key]' <<<"$shown")"
    done < <(jq -r 'keys[]' <<<"$shown")
}

@test "get --raw: the bare value, a list one a line" {
    printf 'cluster: prod\nseeds: [a, b]\nencrypt: false\n' >"$config"
    [[ $(cx-config get cluster --raw) == prod ]]
    [[ $(cx-config get --raw seeds) == $'a:7946\nb:7946' ]]
    [[ $(cx-config get --raw encrypt) == false ]]
    [[ $(cx-config get --raw max_agents) == 10000 ]]
    run --separate-stderr cx-config get clutser
    assert_error usage
    [[ $(jq -r .error.hint <<<"$stderr") == *cluster* ]]
}

@test "keys: the table of keys and the configuration have the same keys" {
    echo 'cluster: prod' >"$config"
    run --separate-stderr cx-config keys
    assert_success
    validate_schema cx-config-keys
    assert_json '[.keys[].key]' "$(cx-config show | jq -c 'keys_unsorted')"
}

@test "check: names all that is wrong in the order of the file, and exits 1" {
    cat >"$config" <<'YAML'
clutser: prod
bind_addr: 10.0.0.300:7946
drain_timeout: 60x
bootstrap_expect: 0
bind_addr: 10.0.0.3:7946
YAML
    run --separate-stderr cx-config check
    assert_failure 1
    validate_schema cx-config-check
    assert_json .ok false
    assert_json '[.errors[] | [.line, .column, .key]]' '[[5,1,"bind_addr"]]'

    sed -i '$d' "$config"
    run --separate-stderr cx-config check "$config"
    assert_failure 1
    assert_json '[.errors[] | [.line, .column, .key]]' \
        '[[1,1,"clutser"],[2,12,"bind_addr"],[3,16,"drain_timeout"],[4,19,"bootstrap_expect"]]'
    assert_json '.errors[0].hint' 'did you mean "cluster"?'
}

@test "check: without files, the configuration and the policies beside it" {
    mkdir "$BATS_TEST_TMPDIR/policies"
    echo 'cluster: prod' >"$config"
    operators_block backup >"$BATS_TEST_TMPDIR/policies/backup.yaml"
    run --separate-stderr cx-config check
    assert_success
    validate_schema cx-config-check
    assert_json . "{\"ok\":true,\"errors\":[],\"files\":[\"$config\",\"$BATS_TEST_TMPDIR/policies/backup.yaml\"]}"
    echo 'bakup: {}' >"$BATS_TEST_TMPDIR/policies/backup.yaml"
    run --separate-stderr cx-config check
    assert_failure 1
    assert_json '.errors[0] | [.file, .line, .hint]' \
        "[\"$BATS_TEST_TMPDIR/policies/backup.yaml\",1,\"did you mean \\\"backup\\\"?\"]"
}

@test "check: takes configuration from stdin, and JSON" {
    run --separate-stderr cx-config check - <<<'{"cluster":"prod","seeds":["a:1"]}'
    assert_success
    run --separate-stderr cx-config check - <<<'{"cluster":"prod","cluster":"dev"}'
    assert_failure 1
    assert_json '.errors[0] | [.file, .line, .column]' '["-",1,19]'
}

@test "check: a file that is not there is an error, not an answer" {
    run --separate-stderr cx-config check "$BATS_TEST_TMPDIR/none.yaml"
    assert_error not_found
}

@test "a JSON configuration is read as it stands" {
    jq -n '{cluster: "prod", seeds: ["10.0.0.1:7946"], bootstrap_expect: 5, encrypt: false,
        data_dir: "/var/lib/\u00e9\ud83d\ude00"}' | jq --tab --ascii-output . >"$config"
    run --separate-stderr cx-config show
    assert_success
    assert_json '[.cluster, .bootstrap_expect, .encrypt, .data_dir]' '["prod",5,false,"/var/lib/é😀"]'
}

# refused PLACE: the file is refused by show (78) and by check (1), at PLACE.
refused() {
    run --separate-stderr cx-config show
    assert_error config
    assert_finding "$1"
    run --separate-stderr cx-config check "$config"
    assert_failure 1
    validate_schema cx-config-check
    assert_json '.errors[0] | "\(.line):\(.column)"' "${1%%: *}"
}

@test "anchors, aliases and tags are refused" {
    printf 'cluster: &name prod\nnode_id: *name\n' >"$config"
    refused '1:10: cluster: anchors'
    printf 'cluster: !!str prod\n' >"$config"
    refused '1:10: cluster: tags'
    printf 'cluster: !python/object:os.system prod\n' >"$config"
    refused '1:10: cluster: tags'
    printf 'cluster: ! prod\n' >"$config"
    refused '1:10: cluster: tags'
}

@test "a billion laughs are refused at once" {
    {
        echo 'a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]'
        for letter in {b..z}; do
            echo "$letter: &$letter [*a, *a, *a, *a, *a, *a, *a, *a, *a]"
        done
    } >"$config"
    refused '1:4: a: anchors'
}

@test "two documents, a large one and a deep one are refused" {
    printf 'cluster: prod\n---\ncluster: dev\n' >"$config"
    refused '2:1: more than one'
    { printf 'cluster: prod # ' && head -c 2000000 /dev/zero | tr '\0' x; } >"$config"
    refused '1:1: the file has more'
    { printf 'seeds: ' && head -c 50000 /dev/zero | tr '\0' '['; } >"$config"
    refused '1:39: seeds'
    { for ((i = 0; i < 200; i++)); do printf '%*sk:\n' "$i" ''; done; } >"$config"
    refused '33:33: k.k.k'
}

@test "bytes that are no text are refused" {
    printf 'cluster: prod\nnode_id: n\xff\n' >"$config"
    refused '2:11: '
    printf '\xff\xfec\0:\0' >"$config"
    refused '1:1: '
    printf 'cluster: "a\\0b"\n' >"$config"
    refused '1:10: cluster: '
    head -c 100000 /bin/ls >"$config"
    refused '1:1: '
}

@test "what is quoted in a message can't write to the terminal" {
    printf 'log_level: "\\e[31mred\\r"\n' >"$config"
    run --separate-stderr cx-config show
    assert_error config
    [[ $stderr != *$'\e'* && $stderr != *'\u001b'* ]]
}

@test "a folder or a file that nobody may read is an error, not a configuration" {
    rm "$config"
    mkdir "$config"
    run --separate-stderr cx-config show
    assert_failure
    [[ -z $output ]]
    run --separate-stderr cx-config show --config /proc/self/mem
    assert_failure
    [[ -z $output ]]
}

@test "the manual's examples print what they say, not null" {
    local line count=0
    while IFS= read -r line; do
        [[ $line =~ ^cx-config\ ([^|#]*[^ |#])\ *\|\ *jq\ ([^ ]+) ]] || continue
        # shellcheck disable=SC2086 # words of a command
        cx-config ${BASH_REMATCH[1]} --config /dev/null | jq -e "${BASH_REMATCH[2]}"
        count=$((count + 1))
    done <"$CX_ROOT/share/man/examples"
    ((count > 0))
}
