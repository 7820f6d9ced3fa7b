# rolling.bash: one node after another, the cluster well after each; sourced by rolling-upgrade and
# rolling-restart. The run's parameters hold `order` and `known`; $node is the node under way.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154

order=() # the nodes, as JSON in $order_json
order_json='[]'
known='[]' # see find_problems

# load_order: from the run's parameters.
load_order() {
    local lines
    lines=$(jq -r '(.order // [], .known // [] | tojson), (.order // [])[]' "$run_dir/run.json")
    mapfile -t order <<<"$lines"
    order_json=${order[0]} known=${order[1]}
    order=("${order[@]:2}")
}

# upgrade_order: the nodes, that of this host last: through it everything else is seen.
upgrade_order() {
    local nodes here_node
    nodes=$(cluster_nodes)
    here_node=$(local_node)
    jq -Rnc --arg here "$here_node" '[inputs | select(. != "")] | map(select(. != $here)) + map(select(. == $here))' \
        <<<"$nodes"
}

# only_nodes NODES WANTED: of a JSON array those that a list A,B names; all of them when it is empty.
only_nodes() {
    local missing
    missing=$(jq -r --arg wanted "$2" '($wanted | split(",")) - . | join(", ")' <<<"$1")
    [[ -z $missing ]] || give_up invalid "no node has the name $missing" "$(jq -r 'join(", ")' <<<"$1")"
    jq -c --arg wanted "$2" 'if $wanted == "" then . else
        map(select(. as $name | any($wanted | split(",")[]; . == $name))) end' <<<"$1"
}

# known_troubles: what is critical on hosts before anything is done: disk and memory.
known_troubles() {
    look_at_health
    jq -c '[.checks[] | select(.status == "critical"
            and (.name | . == "disk_usage" or . == "memory_usage" or . == "agent_count"))
        | "\(.name)/\(.node_id // "")"]' "$scratch/health"
}

# ---- options that a run keeps: those named in $kept

# kept_options: as JSON, for run.json.
kept_options() {
    local name pairs=()
    for name in "${kept[@]}"; do
        pairs+=("$name" "${option[$name]}")
    done
    jq -nc '[$ARGS.positional | _nwise(2) | {key: .[0], value: .[1]}] | from_entries' --args "${pairs[@]}"
}

# load_options: from run.json; what was given now wins.
load_options() {
    local name values=()
    mapfile -d '' -t values < <(jq -j '. as $run | $ARGS.positional[] | ($run[.] // "" | tostring) + "\u0000"' \
        --args "${kept[@]}" <"$run_dir/run.json")
    ((${#values[@]} == ${#kept[@]})) || give_up invalid "$run_dir/run.json: can't be read" "start a new run"
    for name in "${kept[@]}"; do
        [[ -n ${given[$name]-} ]] || option["$name"]=${values[0]}
        values=("${values[@]:1}")
    done
}

# check_options: what was given is well formed, before a run exists that could fail of it.
check_options() {
    local name
    for name in "${kept[@]}"; do
        [[ -n ${option[$name]} ]] || continue
        case $name in
            *_duration | *_delay | *_deadline | *_timeout) duration_ms "${option[$name]}" >/dev/null ;;
            batch_size)
                [[ ${option[$name]} =~ ^[1-9][0-9]{0,3}$ ]] || give_up usage "--batch-size: 1 to 9999"
                ;;
        esac
    done
}

load_timeouts() {
    start_timeout=$(seconds_of "${option[start_timeout]}")
    health_timeout=$(seconds_of "${option[health_timeout]}")
    command_timeout=$(seconds_of "${option[command_timeout]}")
}

# ---- steps on $node

drain_traffic() {
    drain "$node"
}

checkpoint_state() {
    checkpoint "$node"
}

# The node answers and everything but its being out of service is well.
health_check() {
    await_health "$order_json" "$node" "$known"
}

# It works again, and the whole cluster is well: the gate before the next one.
restore_traffic() {
    restore "$node"
    await_health "$order_json" "" "$known"
}

# ---- steps on the cluster

verify_cluster_health() {
    await_health "$order_json" "" "$known"
    detail=$(jq -nc --argjson nodes "$order_json" --argjson known "$known" --argjson busy "$busy" \
        '{nodes: $nodes, known: $known, busy: $busy}')
}

# pause_for MS: the batch delay; what is left of it after an interruption.
pause_for() {
    local until_ms
    until_ms=$(($(now_ms) + $1))
    while (($(now_ms) < until_ms)); do
        nap $((until_ms - $(now_ms) > 1000 ? 1 : 0)).2
    done
}
