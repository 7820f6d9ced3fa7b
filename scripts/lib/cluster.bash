# cluster.bash: what the procedures read from the cluster and do to its nodes; sourced by procedure.bash.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154

command_timeout=600 # seconds, of a command that the operator gave
health_timeout=120  # seconds, until the cluster is well again after a change

# ---- reading

# cluster_nodes [STATUS]: the members that run a node, one a line, by name.
cluster_nodes() {
    tool cx-gossip members | jq -r --arg status "${1-}" '
        [.members[] | select(.tags.role == "node" or .tags.version != null)
         | select(if $status == "" then .status != "left" else .status == $status end)
         | .node_id] | sort | .[]'
}

# node_versions: every one of them with the version that it announces, as a JSON object.
node_versions() {
    tool cx-gossip members | jq -c '
        [.members[] | select(.tags.role == "node" or .tags.version != null) | select(.status != "left")
         | {key: .node_id, value: (.tags.version // "")}] | sort_by(.key) | from_entries'
}

local_node() {
    cx-config get node_id --raw
}

node_document() {
    cx-node status --node "$1" --json
}

# node_state NODE: active, draining, drained, maintenance, or nothing when it does not answer.
node_state() {
    { node_document "$1" | jq -r '.state // ""'; } 2>/dev/null || true
}

# runs_version NODE VERSION: the node's API and the cluster both say so.
runs_version() {
    local api tag
    api=$({ node_document "$1" | jq -r '.version // ""'; } 2>/dev/null) || api=""
    tag=$({ cx-gossip members | jq -r --arg node "$1" '.members[] | select(.node_id == $node)
        | if .status == "alive" then .tags.version // "" else .status end'; } 2>/dev/null) || tag=""
    blocker="its API says ${api:-nothing}, the cluster ${tag:-nothing}"
    [[ $api == "$2" && $tag == "$2" ]]
}

# restarted_since NODE TIME: its process is another one than before.
restarted_since() {
    local started
    started=$({ node_document "$1" | jq -r '.started_at // ""'; } 2>/dev/null) || started=""
    blocker="its API says ${started:-nothing} as its start"
    [[ -n $started && $started != "$2" ]]
}

# ---- health

# What a busy host says of itself: told, but no reason to stop, unless it persists while a canary is
# watched.
load_checks='["cpu_usage", "message_processing_time", "queue_depth"]'

# find_problems NODES EXCEPT [KNOWN]: sets problems, a JSON array of what is wrong with the whole cluster, and
# busy, what is critical for load only. NODES: a JSON array of those that must be there and active, EXCEPT: one
# that may be out of service. KNOWN: check/node pairs that were critical before (a full disk is not the new
# version's fault). Differing versions are no problem here, and certificates and backups have their own alerts.
find_problems() {
    local nodes status=0 found
    look_at_health
    cx-node status --all --json >"$scratch/nodes" 2>/dev/null || status=$?
    [[ -s $scratch/nodes ]] || echo '{}' >"$scratch/nodes"
    found=$(jq -c --slurpfile nodes "$scratch/nodes" --argjson wanted "$1" --arg except "$2" \
        --argjson known "${3:-[]}" --argjson load "$load_checks" '
        def is_in($list): . as $item | any($list[]; . == $item);
        def bad($name; $what): {check: "node", node_id: $name, status: "critical", message: $what};
        ([$nodes[0].nodes[]? | {key: (.node_id // ""), value: .}] | from_entries) as $seen
        | [.checks[] | select(.name | is_in(["version_consistency", "cert_expiry", "backup_age"]) | not)
           | select(.status == "critical" or .status == "unknown"
                    or (.status == "warning" and (.scope // "cluster") == "cluster"))
           | select("\(.name)/\(.node_id // "")" | is_in($known) | not)] as $bad
        | {problems: ([$bad[] | select(.name | is_in($load) | not) | {check: .name, node_id, status, message}]
               + [$wanted[] | select(. != $except) | . as $name | $seen[$name]
                  | if . == null or .error then bad($name; .error.message? // "does not answer")
                    elif .state != "active" then bad($name; "is \(.state)") else empty end]),
           busy: [$bad[] | select(.name | is_in($load)) | "\(.name)/\(.node_id // "")"]}' "$scratch/health") ||
        found='{"problems":[{"check":"health","status":"unknown","message":"unreadable"}],"busy":[]}'
    problems=${found#'{"problems":'}
    problems=${problems%,\"busy\":*}
    busy=${found##*,\"busy\":}
    busy=${busy%\}}
}

# look_at_health: writes a document of cx-health to $scratch/health, also when none could be had.
look_at_health() {
    local status=0
    cx-health all --all --json >"$scratch/health" 2>/dev/null || status=$?
    if ((status > 1)) || [[ ! -s $scratch/health ]]; then
        jq -nc --arg message "cx-health all: exit status $status" \
            '{checks: [{name: "health", status: "unknown", message: $message}]}' >"$scratch/health"
    fi
}

# problems_text: each once; of a node that can't be reached that alone.
problems_text() {
    jq -r '[.[] | select(.check == "node_reachable").node_id] as $gone
        | map(select(.check == "node_reachable" or (.node_id as $id | any($gone[]; . == $id) | not))
              | "\(if .node_id then .node_id + ": " else "" end)\(.message // .check)")
        | reduce .[] as $text ([]; if any(.[]; . == $text) then . else . + [$text] end) | join("; ")' \
        <<<"$problems"
}

is_healthy() {
    find_problems "$@"
    blocker=$(problems_text)
    [[ $problems == "[]" ]]
}

# await_health NODES [EXCEPT [KNOWN]]
await_health() {
    await "$health_timeout" "the cluster to be healthy" is_healthy "$1" "${2-}" "${3:-[]}"
}

# ---- changing a node

# drain NODE: refuses new work, hands over, waits. It is so already: fine.
drain() {
    local result
    result=$(answer cx-drain enter "$1" --deadline "${option[drain_deadline]:-60s}" --reason "$run_id" --json \
        "${dry[@]}")
    detail=$(jq -c . <<<"$result")
    ((${#dry[@]} == 0)) || return 0
    [[ $(jq -r '.remaining // 0' <<<"$result") == 0 ]] ||
        fail_step "$1 still has $(jq -r .remaining <<<"$result") messages after ${option[drain_deadline]:-60s}"
    [[ $(node_state "$1") == drained ]] || fail_step "$1 is not drained, though cx-drain says so"
}

# restore NODE: back to work; read back from its API.
restore() {
    local result
    result=$(answer cx-drain exit "$1" --json "${dry[@]}") # exit 1: not healthy, which the gate judges
    ((${#dry[@]} == 0)) || {
        detail=$result
        return 0
    }
    await 60 "$1 to be active" is_in_state "$1" active
    detail=$(jq -c 'del(.health)' <<<"$result")
}

is_in_state() {
    local now
    now=$(node_state "$1")
    blocker="it is ${now:-silent}"
    [[ $now == "$2" ]]
}

checkpoint() {
    detail=$(tool cx-node checkpoint --node "$1" --json "${dry[@]}" | jq -c .)
}

# run_command NODE NAME COMMAND [VARIABLE=VALUE…]: the operator's own command, by bash, here, with the node
# in its environment; what it prints is kept with the run.
run_command() {
    local target=$1 name=$2 command=$3 kept status=0
    shift 3
    keep_output "$target" "$name"
    deadlined "$command_timeout" env CX_NODE="$target" CX_RUN_ID="$run_id" CX_RUN_DIR="$run_dir" "$@" \
        bash -c "$command" </dev/null >"$kept.out" 2>"$kept.err" || status=$?
    ((status == 0)) && return
    if ((status == 124 || status == 137)); then
        fail_step "$target: the command for $name did not end within $command_timeout s"
    fi
    fail_step "$target: the command for $name: exit status $status: $(tail -n 1 "$kept.err")"
}

# smoke NODE: an agent of its own on the node, one message to it through the node and its reply; then it is
# gone again.
smoke() {
    local agent=cx-smoke-${run_id##*-}-$1 spec reply
    spec=$(jq -nc --arg id "$agent" '{id: $id, command: ["echo"], placement: "pinned"}')
    tool cx-agents deploy --node "$1" --json - >/dev/null <<<"$spec"
    reply=$(answer cx-queue send --node "$1" --to "$agent" --content '{"smoke":true}' --wait 10s --json)
    tool cx-agents remove --node "$1" --json --force "$agent" >/dev/null
    [[ $(jq -r .status <<<"$reply") == 'done' ]] ||
        fail_step "$1: the smoke message is $(jq -r .status <<<"$reply"), not done"
}
