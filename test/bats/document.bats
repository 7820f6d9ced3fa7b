#!/usr/bin/env bats
# Every command line and every YAML block of the operators' procedures, as they stand in
# test/reference/operational-procedures.md, on a cluster of three. "Initial Cluster Formation" and "Adding
# Nodes" need hosts that are empty: bootstrap.bats runs them word for word; here they are only counted.
#
# What is moved: placeholders (<node>, <node-ip>), the paths /tmp, /var/log and /proc/sys, and hosts: `ssh` runs what
# $CX_REMOTE says, and the service `caxton` is that node's two processes.

load common

setup_file() {
    # They share the cluster, and one stops a node.
    export BATS_NO_PARALLELIZE_WITHIN_FILE=true
    export DOCUMENT=$CX_ROOT/test/reference/operational-procedures.md
    # The name is in the processes' command lines, as /etc/caxton is on a host: the document greps for it.
    export CX_CLUSTER_DIR=$BATS_FILE_TMPDIR/caxton NETWORK=$CX_NETWORK
    local-cluster up --base "$CX_NETWORK" --nodes 3 3>&- 4>&- {CX_NETWORK_FD}>&-
    local-cluster exec node-1 -- cx-agents deploy "$CX_ROOT/share/agents/echo.json"
    local-cluster exec node-1 -- cx-queue send --to echo --content '"hello"' --wait 10s
    stand_ins
}

teardown_file() {
    local-cluster down --timeout 10
}

setup() {
    local line
    while read -r line; do
        eval "${line?}"
    done < <(local-cluster env node-1)
    PATH=$BATS_FILE_TMPDIR/bin:$PATH
    export CX_REMOTE="local-cluster exec"
}

stand_ins() {
    mkdir "$BATS_FILE_TMPDIR/bin"
    cat >"$BATS_FILE_TMPDIR/bin/ssh" <<'END'
#!/bin/bash
read -ra remote <<<"$CX_REMOTE"
exec "${remote[@]}" "$1" -- bash -c "${*:2}"
END
    cat >"$BATS_FILE_TMPDIR/bin/systemctl" <<'END'
#!/bin/bash
[[ $2 == caxton && $# == 2 ]] || exit 64
exec local-cluster "$1" "$(cx-config get node_id --raw)" >&2
END
    chmod +x "$BATS_FILE_TMPDIR/bin/"*
}

# code_lines: the lines of all shell blocks, also of those within the runbooks; a line that goes on is one.
code_lines() {
    awk '/^ *```/ {inside = /^ *```bash$/; next} inside' "$DOCUMENT" |
        sed -e ':join;/\\$/{N;s/\\\n *//;b join}' -e 's/^ *//' -e '/^#/d;/^$/d' -e 's/  *# .*//'
}

# inline_lines: what stands in backquotes in the text and in the runbooks.
inline_lines() {
    awk '/^ *```(rust|yaml|bash)$/ {skip = 1; next} /^ *```/ {skip = 0; next} !skip' "$DOCUMENT" |
        grep -o '`[^`]*`' | tr -d '`'
}

# block HEADING: its first shell block, as code_lines makes them.
block() {
    awk -v heading="#### $1" '$0 == heading {there = 1} there && /^```$/ {exit} there' "$DOCUMENT" >"$BATS_TEST_TMPDIR/block"
    DOCUMENT=$BATS_TEST_TMPDIR/block code_lines
}

# yaml_block ROOT
yaml_block() {
    awk -v root="$1:" '/^```yaml$/ {getline; inside = ($0 == root)} /^```$/ {inside = 0} inside' "$DOCUMENT"
}

# here LINE: the line with what is moved.
here() {
    local line=$1
    line=${line//<node-ip>/$NETWORK.12}
    line=${line//<node>/node-2}
    line=${line//'/tmp/'/$BATS_TEST_TMPDIR/}
    line=${line//'/var/log/caxton/caxton.log'/$CX_CLUSTER_DIR/node-2/log/node.log}
    line=${line//'/proc/sys/vm/'/$BATS_TEST_TMPDIR/}
    echo "$line"
}

# on_terminal LINE: as an operator has it, for what never ends by itself; what it shows is in screen.log.
on_terminal() {
    rm -f "$BATS_TEST_TMPDIR/screen.log"
    start_daemon screen env TERM=vt100 script -qec "$1" /dev/null
}

started_at() {
    local-cluster exec node-2 -- cx-node status | jq -r .started_at
}

node_2_is() {
    [[ $(cx-gossip members | jq -r '.members[] | select(.node_id == "node-2").status') == "$1" ]]
}

node_2_answers() {
    local-cluster exec node-2 -- cx-node status
}

@test "every command line of the document is one that is run" {
    local count
    count=$(grep -oE '\bcaxton (security|init|server|cluster|agents|queue|messages|debug)\b' "$DOCUMENT" | wc -l)
    { code_lines && inline_lines; } >"$BATS_TEST_TMPDIR/all"
    assert_equal "$(grep -c '^caxton ' "$BATS_TEST_TMPDIR/all")" "$count"
    ((count == 19))
    # Nothing but commands and names of files in the blocks: each line is run below, or in bootstrap.bats.
    {
        block "Initial Cluster Formation"
        block "Adding Nodes to Cluster"
        block "Debug Data Collection"
        runbook_lines
    } | sort >"$BATS_TEST_TMPDIR/run"
    diff "$BATS_TEST_TMPDIR/run" <(sort "$BATS_TEST_TMPDIR/all")
}

# runbook_lines: in the order of the document: the code and the backquotes of its runbooks.
runbook_lines() {
    awk '/^```markdown$/ {inside = 1; next} /^```$/ {inside = 0} inside' "$DOCUMENT" |
        sed -e 's/^ *//' -e '/^```/d' | awk '/^(ssh|caxton) / {print; next} {
            while (match($0, /`[^`]+`/)) {
                print substr($0, RSTART + 1, RLENGTH - 2); $0 = substr($0, RSTART + RLENGTH) } }'
}

@test "each line of the two runbooks runs, in their order, and does what the runbook says" {
    local line before
    while read -r line <&9; do
        line=$(here "$line")
        echo "# $line"
        before=$(started_at || true)
        case $line in
            ping*)
                on_terminal "$line"
                wait_until 10 grep -q 'bytes from' "$BATS_TEST_TMPDIR/screen.log"
                end_daemons
                ;;
            *'tail -f'*)
                on_terminal "$line"
                wait_until 10 grep -q '"event":' "$BATS_TEST_TMPDIR/screen.log"
                end_daemons
                ;;
            *"'top'")
                on_terminal "$line"
                wait_until 10 grep -q 'load average' "$BATS_TEST_TMPDIR/screen.log"
                end_daemons
                ;;
            *"ps aux"*)
                run -0 bash -c "$line"
                assert_output --partial cx-node
                ;;
            *"systemctl stop"*)
                run -0 bash -c "$line"
                wait_until 15 node_2_is left
                ;;
            *"systemctl start"* | *"systemctl restart"*)
                run -0 bash -c "$line"
                wait_until 15 node_2_is alive
                wait_until 15 node_2_answers
                [[ $(started_at) != "$before" ]]
                ;;
            *drop_caches*)
                run -0 bash -c "$line"
                assert_equal "$(<"$BATS_TEST_TMPDIR/drop_caches")" 3
                ;;
            caxton*)
                run -0 --separate-stderr bash -c "$line"
                assert_json 'type' object
                in_document "$line"
                ;;
            *) fail "nothing runs: $line" ;;
        esac
    done 9< <(runbook_lines)
}

# in_document LINE: what that line answered is true of a cluster of three that is well.
in_document() {
    case $1 in
        "caxton cluster members") assert_json '[.members[].status]' '["alive","alive","alive"]' ;;
        "caxton cluster rejoin") assert_json '[.changed, .joined >= 2]' '[true,true]' ;;
        "caxton cluster ping") assert_json '[(.pings | map(.ok)), .lost]' '[[true,true],0]' ;;
        "caxton agents list" | "caxton agents count") assert_json .count 1 ;;
        "caxton agents slow --threshold 10s") assert_json .count 0 ;;
        "caxton messages stats") assert_json '[.done, .failed, .lost]' '[1,0,0]' ;;
        "caxton queue stats") assert_json '.total.queued' 0 ;;
        "caxton queue drain --timeout 60s") assert_json '[.drained, .remaining]' '[true,0]' ;;
        "caxton agents suspend --inactive-for 1h" | "caxton agents restart --slow-threshold 10s")
            assert_json .changed false
            ;;
        *) fail "nothing is known about the answer of: $1" ;;
    esac
}

@test "the debug bundle is collected as the document says, and holds what it asks for" {
    run -0 --separate-stderr bash -c "$(here "$(block "Debug Data Collection")")"
    validate_schema cx-bundle-collect
    assert_json .changed true
    assert_json '[.collectors[] | select(.ok) | .name] | (index("logs"), index("metrics"), index("config"), index("traces")) | type' \
        $'number\nnumber\nnumber\nnumber'
    run -0 --separate-stderr cx-bundle inspect "$BATS_TEST_TMPDIR/caxton-debug.tar.gz"
    run -0 tar -tzf "$BATS_TEST_TMPDIR/caxton-debug.tar.gz"
}

# ---- the YAML blocks

next_version() {
    local version
    version=$(cx-node --version)
    version=${version##* }
    echo "${version%.*}.$((${version##*.} + 1))"
}

@test "the upgrade strategy drives rolling-upgrade: its steps, in its order" {
    local policy=$BATS_TEST_TMPDIR/upgrade.yaml
    yaml_block upgrade_strategy >"$policy"
    run -0 --separate-stderr rolling-upgrade --to "$(next_version)" --policy "$policy" --backup-command none \
        --upgrade-command true --dry-run --yes
    # What it plans besides the policy's steps is the delay between two nodes.
    assert_equal "$(jq -rs '[.[] | select(.phase != "run" and .status == "started") | .step] | unique - ["batch_delay"] | .[]' <<<"$output")" \
        "$(sed -nE 's/^ *- ([a-z0-9_]+)$/\1/p' "$policy" | sort -u)"
}

@test "the health checks drive cx-health: each check, with its threshold" {
    local policy=$BATS_TEST_TMPDIR/health.yaml
    yaml_block health_checks >"$policy"
    run --separate-stderr cx-health all --policy "$policy"
    ((status <= 1))
    validate_schema cx-health
    local line
    while read -r line; do
        assert_json "[.checks[] | select(.name == \"${line%% *}\")] | length >= 1" true
        [[ $line != *' < '[0-9]* ]] ||
            assert_json "[.checks[] | select(.name == \"${line%% *}\").threshold] | unique" "[\"${line#* }\"]"
    done < <(sed -n 's/^ *- //p' "$policy")
}

@test "the alert configuration drives cx-health watch: every alert is watched" {
    local policy=$BATS_TEST_TMPDIR/alerts.yaml
    yaml_block alerts >"$policy"
    yaml_block health_checks >"$BATS_TEST_TMPDIR/health.yaml"
    run --separate-stderr cx-health watch --once --policy "$BATS_TEST_TMPDIR/health.yaml" --alerts "$policy"
    ((status <= 1))
    validate_schema cx-health-watch
    run -0 --separate-stderr cx-config policy alerts --file "$policy"
    assert_json '[.alerts | .critical, .warning | .[].name] | join(" ")' "$(sed -n 's/.*- name: //p' "$policy" | paste -sd' ')"
}
