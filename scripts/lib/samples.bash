# samples.bash: figures of this node over time, one JSON object a line, in samples.ndjson of the reports' folder;
# sourced by scripts/maintenance and by the tasks that look back on them.
# shellcheck shell=bash
# shellcheck disable=SC2154

samples_max=10000 # lines: 100 days of one every 15 minutes, some 5 MB

# take_sample: one line of figures of this node below the others; prints it. What is too old goes. In a condition, too,
# where `set -e` is off, it fails when it can't, and leaves the others as they are.
take_sample() {
    local file=$reports/samples.ndjson line used used_data
    used_data=$({ du -sxB1 "$(cx-config get data_dir --raw)" | cut -f1; } 2>/dev/null) || used_data=null
    used=$(df -B1 --output=used,size "$(cx-config get data_dir --raw)" | tail -n 1) || return
    line=$(tool cx-node status --json | jq -c --arg disk "$used" --argjson data "${used_data:-null}" '
        ($disk | [scan("[0-9]+") | tonumber]) as $disk
        | {time, node_id, p50_ms: .latency_ms.p50, p99_ms: .latency_ms.p99,
           queued: (.messages.queued + .messages.in_flight), accepted_total: .messages.accepted_total,
           failed_total: .messages.failed_total, error_rate_percent, agents: .agents.total, max_agents: .agents.max,
           cpu_percent: .system.cpu_percent, memory_percent: .system.memory_percent, disk_used_bytes: $disk[0],
           disk_total_bytes: $disk[1], data_bytes: $data, rss_bytes: .process.rss_bytes}') || return
    printf '%s\n' "$line"
    ((${#dry[@]} == 0)) || return 0
    mkdir -p "$reports" || return
    (
        flock -w 30 7 || give_up busy "$file is in use"
        # Whole before it takes the place of the others.
        : >"$scratch/samples"
        [[ ! -e $file ]] || tail -n "$((samples_max - 1))" "$file" >"$scratch/samples" || give_up io "$file can't be read"
        printf '%s\n' "$line" >>"$scratch/samples" || return
        keep "$file" <"$scratch/samples"
    ) 7>>"$reports/.samples.lock"
}

# samples_since SECONDS: those of this node that are younger, as one JSON array, with `at` in seconds.
samples_since() {
    local file=$reports/samples.ndjson
    { [[ ! -e $file ]] || cat "$file"; } | jq -cnR --arg node "$(local_node)" --argjson since "$1" '
        [inputs | fromjson? | objects | select(.node_id == $node)
         | .at = (.time | sub("\\.[0-9]+"; "") | fromdate) | select(now - .at < $since)] | sort_by(.at)'
}
