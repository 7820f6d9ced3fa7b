# runbooks: one cluster of three nodes for all tests of a file; each makes its incident, and leaves the cluster well.
# shellcheck shell=bash
load load
PATH=$CX_ROOT/runbooks:$PATH

# shared_cluster_up: in setup_file. An agent that keeps a ledger on every node.
shared_cluster_up() {
    export BATS_NO_PARALLELIZE_WITHIN_FILE=true
    export CLUSTER=$BATS_FILE_TMPDIR/cluster
    local number
    local-cluster up --nodes 3 --dir "$CLUSTER" --base "$CX_NETWORK" >"$BATS_FILE_TMPDIR/up"
    use_cluster
    for number in 1 2 3; do
        jq --arg id "counter-$number" '.id = $id' "$CX_ROOT/share/agents/counter.json" |
            cx-agents deploy - --node "node-$number" >>"$BATS_FILE_TMPDIR/up"
    done
    wait_until 20 cx-queue send --to counter-2 --wait 5s --id first-2
    wait_until 20 cx-queue send --to counter-3 --wait 5s --id first-3
}

shared_cluster_down() {
    local-cluster heal --dir "$CLUSTER" >/dev/null 2>&1 || true
    local-cluster down --dir "$CLUSTER" --purge >"$BATS_FILE_TMPDIR/down" || true
}

# use_cluster [NODE]: the tools speak for it.
use_cluster() {
    eval "$(local-cluster env "${1:-node-1}" --dir "$CLUSTER")"
    PATH=$CX_ROOT/runbooks:$PATH
}

# well: all three are alive, active and agree.
well() {
    local status=0
    [[ $(cx-node status --all --json | jq -c '[.nodes[].state]') == '["active","active","active"]' ]] || return 1
    [[ $(cx-gossip members --status alive | jq .count) == 3 ]] || return 1
    cx-agents list --all --json | jq -e '[.agents[].state] | all(. == "running" or . == "suspended")'
}

# everything: what a runbook could have changed, without what changes by itself.
everything() {
    cx-node status --all --json | jq -c '[.nodes[] | {node_id, state, started_at, registry_revision, certificate,
        messages: (.messages | del(.in_flight)), agents}]'
    cx-agents list --all --json | jq -c '[.agents[] | {id, node_id, state, pid, started_at, processed, failed}]'
    cx-gossip members --json | jq -c '[.members[] | {node_id, status, incarnation, tags}]'
    cx-lock list --json | jq -c .leases
    cat "$CLUSTER"/node-*/data/audit.log
    sha256sum "$CLUSTER"/node-*/certs/node.crt "$CLUSTER"/node-*/etc/config.yaml
}

# begin_load: 20 messages a second to each agent through another node than its own.
begin_load() {
    start_load "$BATS_TEST_TMPDIR/load" 20 "$BATS_TEST_NUMBER" counter-1/node-2 counter-2/node-1 "counter-3/${1:-node-1}"
    wait_until 20 has_lines "$BATS_TEST_TMPDIR/load/counter-3.results" 10
}

# none_lost: no acknowledged message is lost, and none done twice; those that came to a node that was down may have failed.
none_lost() {
    loads_are_whole "$CLUSTER" '.lost == 0 and .twice == 0 and .accepted > 20'
}

# runbook OUTCOME STATUS NAME ARGUMENT…: runs it and checks its records, its exit status, its outcome and, when it
# wrote one, its incident record: $incident is that document.
runbook() {
    local outcome=$1 expected=$2 page
    shift 2
    run --separate-stderr "$@" --incident-dir "$BATS_TEST_TMPDIR/incidents" </dev/null
    [[ $status == "$expected" ]] || fail "exit status $status, not $expected: $stderr; $output"
    validate_schema --lines procedure-record
    records=$output
    output=$(tail -n 1 <<<"$records")
    assert_json .detail.outcome "$outcome"
    page=$(jq -r '.detail.incident // ""' <<<"$output")
    incident=null
    [[ -z $page ]] || {
        incident=$(<"${page%.md}.json")
        validate_schema incident "$incident"
        grep -q '^# ' "$page"
        grep -q '## What was changed' "$page"
    }
    output=$incident
}

# cause_is WORD
cause_is() {
    [[ $(jq -r .cause <<<"$incident") == "$1" ]] || fail "the cause is $(jq -c '[.cause, .explanation]' <<<"$incident")"
}
