# runbook.bash: what the runbooks share; sourced by them after procedure.bash.
#
# A runbook is a script that defines
#
#   detect          looks, changes nothing; sets found (JSON) and wrong, a list of what is not as it should be
#   diagnose_NAME   one look each, in the order of the list diagnoses; what it leaves in detail is evidence
#   conclude        reads what they found; sets cause and explains it, calls add_action, leaves and advise
#   mitigate_NAME   an action: looks before it acts, reads back what it did, and may run twice
#   recover_NAME    in the order of the list recoveries: what must be true before the incident counts as ended
#
# and calls run_runbook. detect and the diagnoses run before anybody is asked; nothing is changed before a person
# at the terminal, or --yes, has agreed to all the actions, which are named.
#
# Exit status: 0 nothing is wrong, or the incident is ended (or this was a dry run); 1 it is not ended: what remains
# is told; 75 nobody agreed, or another procedure is under way. What the last record says: outcome.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables that cross the files of this library

option+=([incident_dir]="" [resume]=false [bundle]=false [recover_timeout]=2m)
runbook_phases="detect diagnose mitigate recover post_incident"
wrong_max=100

target=""     # the node it is about, when it is about one
found='{}'    # what detect saw
wrong=()      # what is not as it should be
diagnoses=()  # names
recoveries=() # names
cause=""      # one word; empty: not known
explained=""  # the same for people
actions=()    # names, in order
declare -A action_text=()
unresolved=()   # what keeps the incident from being ended
follow_up=()    # what is left for people once it is ended
outcome_word="" # of the whole run

# ---- what a runbook says in conclude and later

# add_action NAME TEXT: mitigate_NAME is to run; TEXT is what the operator is asked about.
add_action() {
    actions+=("$1")
    action_text["$1"]=$2
}

# leaves TEXT: the incident is not ended as long as this is so.
leaves() {
    unresolved+=("$1")
}

# advise TEXT: for people, afterwards.
advise() {
    follow_up+=("$1")
}

# is_wrong TEXT: of very many the first ones are told.
is_wrong() {
    if ((${#wrong[@]} < wrong_max)); then
        wrong+=("$1")
    else
        wrong[wrong_max - 1]="and more of the kind"
    fi
}

json_list() {
    jq -nc '$ARGS.positional' --args -- "$@"
}

# ---- looking at nodes

# look_at_node NODE: sets document to what its API says; null when it does not answer, and reason to why.
look_at_node() {
    local status=0
    reason=""
    document=$(cx-node status --node "$1" --timeout 5s --json 2>"$scratch/look") || status=$?
    if ((status != 0)) || [[ -z $document ]]; then
        document=null
        note_reason "$scratch/look" "$status" cx-node
        reason=$(<"$scratch/reason")
        : >"$scratch/reason"
    fi
}

# look_at_host NODE: sets host to what its host says (lib/host-look); null when it can't be reached, and reason to why.
look_at_host() {
    local status=0
    reason=""
    remote_stdin=$lib/host-look
    host=$(CX_REMOTE_TIMEOUT=${host_timeout:-25} on_node "$1" bash -s 2>"$scratch/look") || status=$?
    remote_stdin=""
    if ((status != 0)) || ! jq -e . >/dev/null 2>&1 <<<"$host"; then
        host=null
        reason=$(<"$scratch/reason")
        : >"$scratch/reason"
    fi
}

# on_each DEADLINE NODES COMMAND…: on the hosts of NODES (a list in one word) at the same time; what each printed is in
# $scratch/each/NODE, empty for one that did not answer in time. It never fails.
on_each() {
    local seconds=$1 name pids=()
    local -a names
    read -ra names <<<"${2//$'\n'/ }"
    shift 2
    rm -rf "$scratch/each"
    mkdir -p "$scratch/each"
    for name in "${names[@]}"; do
        (
            trap - EXIT
            CX_REMOTE_TIMEOUT=$seconds on_node "$name" "$@" >"$scratch/each/$name" 2>"$scratch/each/$name.err" || true
        ) &
        pids+=($!)
    done
    ((${#pids[@]} == 0)) || wait "${pids[@]}" || true
    : >"$scratch/reason"
}

# member_of NODE: sets member to how the cluster sees it: alive, suspect, failed, left, leaving; absent when nobody
# knows it, and empty when the agent here does not answer.
member_of() {
    member=$({ cx-gossip members --timeout 5s --json | jq -r --arg node "$1" \
        '[.members[] | select(.node_id == $node).status][0] // "absent"'; } 2>/dev/null) || member=""
}

# await_quietly SECONDS CMD…: until CMD sets answer to true; false in answer at the deadline, which is no failure.
await_quietly() {
    local deadline=$((SECONDS + $1)) told=$SECONDS
    shift
    answer=false
    while :; do
        "$@"
        if $answer || ((SECONDS >= deadline)); then
            return 0
        fi
        if ((SECONDS - told >= 10)); then
            told=$SECONDS
            say "waiting${blocker:+: $blocker}"
        fi
        nap 0.3
    done
}

# ---- messages: what was acknowledged must still be there

# count_messages: sets counts: {"nodes":{NODE:{source,accepted_total,lost,queued,in_flight,done,failed}},"unknown":[…]}.
# From the API of a node; from the databases of one that is dead (cx-node check, on its host).
count_messages() {
    local name row list
    list=$({ cx-gossip members --timeout 5s --json | jq -r '.members[] | select(.tags.role == "node" or .tags.version != null)
        | select(.status != "left") | .node_id'; } 2>/dev/null) || list=""
    counts=$({ cx-queue messages stats --all --timeout 10s --json 2>/dev/null || true; } | jq -c '
        {nodes: ([.nodes[]? | {key: .node_id, value: ({source: "api"} + {accepted_total, lost, queued, in_flight, done, failed})}]
            | from_entries), unknown: []}')
    [[ -n $counts ]] || counts='{"nodes":{},"unknown":[]}'
    for name in $list; do
        jq -e --arg node "$name" '.nodes[$node]' <<<"$counts" >/dev/null && continue
        row=$({ CX_REMOTE_TIMEOUT=15 on_node "$name" cx-node check --json || true; } 2>/dev/null |
            jq -c '.messages | if . then {source: "disk", accepted_total, lost, queued, in_flight, done, failed} else empty end' 2>/dev/null) || row=""
        : >"$scratch/reason"
        if [[ -n $row ]]; then
            counts=$(jq -c --arg node "$name" --argjson row "$row" '.nodes[$node] = $row' <<<"$counts")
        else
            counts=$(jq -c --arg node "$name" '.unknown += [$node]' <<<"$counts")
        fi
    done
}

# judge_messages BEFORE AFTER: sets verdict: {"lost":N|null,"text":…}. Lost: what a node had accepted and neither
# keeps nor has purged, and what it had accepted before and does not know of any more. null where that can't be told.
judge_messages() {
    verdict=$(jq -nc --argjson before "$1" --argjson after "$2" '
        ($before.nodes | keys) as $seen
        | ([$after.nodes | to_entries[] | {key, lost: ([.value.lost, 0] | max),
              gone: ([(($before.nodes[.key].accepted_total // 0) - .value.accepted_total), 0] | max)}]) as $rows
        | ($seen - ($after.nodes | keys) + $after.unknown | unique) as $dark
        | ([$before.unknown[] | select(. as $n | $after.nodes | has($n))]) as $new
        | ([$rows[] | .lost + .gone] | add // 0) as $lost
        | {lost: (if $dark != [] and $lost == 0 then null else $lost end),
           nodes: [$rows[] | select(.lost + .gone > 0) | {node_id: .key, lost: (.lost + .gone)}],
           unknown: $dark, before_unknown: $new,
           text: ((if $lost > 0 then "\($lost) acknowledged messages are lost: \([$rows[] | select(.lost + .gone > 0) | "\(.key) \(.lost + .gone)"] | join(", "))"
                   elif $dark != [] then "not known: \($dark | join(", ")) can not be read"
                   else "no acknowledged message is lost" end)
                  + (if $dark != [] and $lost > 0 then "; \($dark | join(", ")) can not be read" else "" end)
                  + (if $new != [] then "; what \($new | join(", ")) had accepted before could not be read then" else "" end))}')
}

recover_messages() {
    count_messages
    messages_after=$counts
    judge_messages "$messages_before" "$messages_after"
    [[ $(type -t amend_verdict) != function ]] || amend_verdict # the runbook knows more
    detail=$(jq -nc --argjson verdict "$verdict" --argjson after "$messages_after" '$verdict + {after: $after}')
    if [[ $(jq -r .lost <<<"$verdict") != 0 ]]; then
        leaves "$(jq -r .text <<<"$verdict")"
    fi
}

# ---- the lock

# take_lock: one procedure at a time in the cluster. A cluster that can't grant a lease (no majority answers) is just
# what a runbook is for: then this host alone is locked, and the runbook says so.
take_lock() {
    local status=0 code wait=0s
    [[ -z ${1-} ]] || wait=40s # the lease of an interrupted run ends by itself
    if [[ ${CX_LOCK_HELD-} != "cluster "* ]]; then
        [[ -z ${1-} ]] || lift_lease cluster "$1"
        cx-lock run cluster --ttl 10s --wait "$wait" --reason "runbook" -- true 2>"$scratch/lock" || status=$?
        if ((status != 0)); then
            code=$(tail -n 1 "$scratch/lock" | jq -r '.error.code // ""' 2>/dev/null) || code=""
            if [[ $code == busy ]]; then
                give_up busy "$(jq -r .error.message <"$scratch/lock")" "one procedure at a time in a cluster"
            fi
            runs_folder
            mkdir -p "$runs"
            exec 7>>"$runs/.lock"
            flock -n 7 || give_up busy "another runbook works on this host" "$runs/.lock"
            say "the cluster can't be locked (${code:-status $status}): only this host is"
            return
        fi
    fi
    hold_lock cluster 5s
}

# ---- the phases

may_change() {
    [[ ${#dry[@]} == 0 && ${option[phase]} == @(|mitigate) ]]
}

# agree: sets agreed. A person at a terminal is asked; --yes answers; of a program that does not say it nothing is
# assumed: unlike an upgrade, what a runbook will do is decided by what it finds.
agree() {
    local reply name
    agreed=true
    ! ${option[yes]} || return 0
    agreed=false
    [[ -t 0 && -t 2 ]] || return 0
    {
        echo "${0##*/}: ${explained:-$cause}. To be done:"
        for name in "${actions[@]}"; do
            echo "  - ${action_text[$name]}"
        done
    } >&2
    read -rp "Go on? [y/N] " reply || reply=""
    [[ $reply != [yY]* ]] || agreed=true
}

show_found() {
    detail=$(wrong_and_found)
}

# wrong_and_found: both, as JSON; of a cluster with many agents that is more than an argument may hold.
wrong_and_found() {
    jq -c --slurpfile wrong <(printf '%s\n' "${wrong[@]}" | jq -Rnc '[inputs | select(. != "")]') '{wrong: $wrong[0], found: .}' <<<"$found"
}

show_cause() {
    detail=$(jq -nc --arg cause "$cause" --arg text "$explained" --argjson actions "$(action_list)" \
        --argjson unresolved "$(json_list "${unresolved[@]}")" \
        '{cause: (if $cause == "" then null else $cause end), text: $text, actions: $actions, unresolved: $unresolved}')
}

action_list() {
    local name texts=()
    for name in "${actions[@]}"; do
        texts+=("${action_text[$name]}")
    done
    json_list "${texts[@]}"
}

show_messages() {
    count_messages
    detail=$counts
    [[ -n $messages_before ]] || messages_before=$counts # of a resumed run: what was counted first
}

collect_bundle() {
    local result status=0
    result=$(answer cx-bundle collect --all --output "$run_dir/debug-$run_id.tar.gz" --json) || status=$?
    if ((status == 0)); then
        detail=$(jq -c '{output, bytes, sha256}' <<<"$result")
    else
        outcome=skipped detail=$(<"$scratch/reason") # the incident goes first
        : >"$scratch/reason"
    fi
}

phase_detect() {
    run_step detect symptoms "$target" show_found
    run_step detect messages "" show_messages
    if [[ ${#wrong[@]} == 0 ]] && ! ${resumed:-false}; then
        finish nothing_wrong "nothing is wrong${target:+ with $target}: nothing was changed"
    fi
    [[ ${option[phase]} != detect ]] || finish found "$(join_list "${wrong[@]}")"
}

phase_diagnose() {
    local name
    for name in "${diagnoses[@]}"; do
        run_step diagnose "$name" "$target" "diagnose_$name"
    done
    conclude
    run_step diagnose cause "$target" show_cause
    [[ ${option[phase]} != diagnose ]] || finish found "${explained:-$cause}"
}

phase_mitigate() {
    local name
    if ((${#dry[@]})); then
        for name in "${actions[@]}"; do
            node=$target record mitigate "$name" planned "${action_text[$name]}"
        done
        finish planned "${explained:-$cause}"
    fi
    if ((${#actions[@]} == 0)); then
        recover_seconds=0 # nothing was done that could be waited for
        return
    fi
    agree
    if ! $agreed; then
        for name in "${actions[@]}"; do
            node=$target record mitigate "$name" planned "${action_text[$name]}"
        done
        finish not_confirmed "nobody agreed to: $(join_list "$(action_list | jq -r 'join("; ")')")"
    fi
    ! ${option[bundle]} || run_step diagnose bundle "" collect_bundle
    for name in "${actions[@]}"; do
        mitigated=true
        run_step mitigate "$name" "$target" "mitigate_$name"
    done
    [[ ${option[phase]} != mitigate ]] || finish mitigated "the actions are done; --phase recover verifies"
}

phase_recover() {
    local name
    for name in "${recoveries[@]}"; do
        run_step recover "$name" "$target" "recover_$name"
    done
    run_step recover messages "" recover_messages
    if ((${#unresolved[@]})); then
        finish not_ended "$(join_list "${unresolved[@]}")"
    fi
    finish ended "${explained:-nothing is wrong any more}: ended; $(jq -r .text <<<"$verdict")"
}

join_list() {
    jq -rn '$ARGS.positional | join("; ")' --args -- "$@"
}

# recover_symptoms: what was wrong is so no longer: detect finds nothing, within --recover-timeout. A runbook whose detect
# looks at the last minutes has its own.
recover_symptoms() {
    await_quietly "$recover_seconds" detect_again
    detail=$(wrong_and_found)
    $answer || {
        outcome=failed
        leaves "$(join_list "${wrong[@]}")"
    }
}

detect_again() {
    wrong=()
    detect
    answer=false
    [[ ${#wrong[@]} != 0 ]] || answer=true
    blocker=$(join_list "${wrong[@]}")
}

# ---- the end

# finish OUTCOME TEXT: the last record, the incident record, the exit status.
finish() {
    local status=0 state='done' place=""
    outcome_word=$1
    step=""
    case $1 in
        found | not_ended) status=1 ;;
        not_confirmed) status=75 ;;
    esac
    [[ $1 != not_ended ]] || state=failed
    case $1 in
        nothing_wrong | planned | found) ;;
        *)
            write_incident "$1" "$2"
            place=$incident
            ;;
    esac
    end_run "$state" "$(jq -nc --arg outcome "$1" --arg text "$2" --arg place "$place" \
        '{outcome: $outcome, text: $text, incident: (if $place == "" then null else $place end)}')"
    say "$2${place:+; $place}"
    if [[ $1 == not_confirmed ]]; then
        local code_status=$status
        tell_error busy "$2" "--yes agrees beforehand"
        status=$code_status
    fi
    exit "$status"
}

# on_failure REASON: a step has failed (journal.bash): the incident is not ended, and the record says so.
on_failure() {
    [[ -n ${messages_before-} ]] || return 0
    unresolved+=("${phase} ${step:-}: ${1:-failed}")
    if write_incident not_ended "$(join_list "${unresolved[@]}")"; then
        say "not ended; $incident"
    else
        say "not ended; no incident record could be written"
    fi
}

# write_incident OUTCOME TEXT: sets incident, the path of its page; beside it the same as JSON. In a condition, too, it
# fails when it can't.
write_incident() {
    local folder=${option[incident_dir]}
    incident=""
    ((${#dry[@]} == 0)) || return 0
    [[ -n $folder ]] || folder=$(cx-config get data_dir --raw)/incidents || return
    records "$run_dir" | jq -s --slurpfile run "$run_dir/run.json" --arg outcome "$1" --arg text "$2" \
        --arg runbook "${0##*/}" --arg cause "$cause" --arg explained "$explained" --arg cluster "$(cx-config get cluster --raw)" \
        --arg now "$(time_text)" --arg node "$target" --arg run_dir "$run_dir" \
        --argjson before "${messages_before:-null}" --argjson after "${messages_after:-null}" \
        --argjson verdict "${verdict:-null}" --argjson wrong "$(json_list "${first_wrong[@]}")" \
        --argjson texts "$(action_texts)" --argjson unresolved "$(json_list "${unresolved[@]}")" \
        --argjson follow_up "$(json_list "${follow_up[@]}")" '
        [.[] | select(.status != "started" and .status != "resumed" and .phase != "run")] as $steps
        | {incident_id: $run[0].run_id, runbook: $runbook, cluster: $cluster, node_id: (if $node == "" then null else $node end),
           outcome: $outcome, text: $text, started_at: $run[0].started_at, written_at: $now, by: $run[0].by,
           symptoms: $wrong, cause: (if $cause == "" then null else $cause end), explanation: $explained,
           changes: [$steps[] | select(.phase == "mitigate" and (.status == "ok" or .status == "failed"))
               | {time, step, node_id, status, text: ($texts[.step] // .step), detail}],
           messages: {lost: ($verdict.lost // (if $verdict == null then null else $verdict.lost end)),
               text: ($verdict.text // "not compared"), before: $before, after: $after},
           unresolved: $unresolved, follow_up: $follow_up,
           timeline: [$steps[] | {time, phase, step, node_id, status}],
           evidence: [$steps[] | select(.phase == "detect" or .phase == "diagnose" or .phase == "recover")
               | {phase, step, node_id, detail}],
           run: $run_dir}' >"$scratch/incident" || return
    incident_page "$scratch/incident" >"$scratch/page" || return
    # Where that can't be, as on a full disk, beside the journal.
    keep_incident "$folder" 2>/dev/null || keep_incident "$run_dir"
}

keep_incident() {
    keep "$1/$run_id.json" <"$scratch/incident" && keep "$1/$run_id.md" <"$scratch/page" || return
    incident=$1/$run_id.md
}

action_texts() {
    local name pairs=()
    for name in "${!action_text[@]}"; do
        pairs+=("$name" "${action_text[$name]}")
    done
    jq -nc '[$ARGS.positional | _nwise(2) | select(. != []) | {key: .[0], value: .[1]}] | from_entries' --args -- "${pairs[@]}"
}

# incident_page FILE: the record for people.
incident_page() {
    jq -r '
        def list($empty): if length == 0 then "- \($empty)" else map("- \(.)") | join("\n") end;
        def short: if . == null then "" elif type == "string" then . else tojson end | .[:400];
        "# \(.runbook)\(if .node_id then " \(.node_id)" else "" end): \(.outcome | gsub("_"; " "))",
        "", .text, "",
        "| | |", "|---|---|", "| incident | \(.incident_id) |", "| cluster | \(.cluster) |",
        "| from, to | \(.started_at), \(.written_at) |", "| by | \(.by) |",
        "| cause | \(.cause // "not known") |", "| messages | \(.messages.text) |",
        "", "## Symptoms", "", (.symptoms | list("none")), "", "## Cause", "", (.explanation | if . == "" then "not known" else . end),
        "", "## What was changed", "", ([.changes[] | "\(.time) \(.text)\(if .status == "failed" then ": failed" else "" end)"] | list("nothing")),
        "", "## What remains", "", (.unresolved | list("nothing")), "", "## For people, afterwards", "", (.follow_up | list("nothing")),
        "", "## Timeline", "", "| time | phase | step | |", "|---|---|---|---|",
        (.timeline[] | "| \(.time) | \(.phase) | \(.step)\(if .node_id then " \(.node_id)" else "" end) | \(.status) |"),
        "", "## Evidence", "",
        (.evidence[] | "- \(.phase) \(.step): `\(.detail | short | gsub("[`\n]"; " "))`"),
        "", "All of it: the file of the same name with .json; what the hosts said: \(.run)"' "$1"
}

# ---- the whole

# check_arguments [needs_node]: sets target.
check_arguments() {
    recover_seconds=$(seconds_of "${option[recover_timeout]}")
    if [[ -n ${option[phase]} && " $runbook_phases " != *" ${option[phase]} "* ]]; then
        give_up usage "no such phase: ${option[phase]}" "one of ${runbook_phases// /, }"
    fi
    if ${option[resume]}; then
        return
    fi
    if [[ ${1-} == needs_node ]]; then
        target=${arguments[0]-}
        [[ $target =~ ^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$ ]] || give_up usage "which node?" "${0##*/} NODE; cx-gossip members names them"
        ((${#arguments[@]} == 1)) || give_up usage "unexpected argument ${arguments[1]}" "${0##*/} --help"
    elif ((${#arguments[@]})); then
        give_up usage "unexpected argument ${arguments[0]}" "${0##*/} --help"
    fi
}

# rewrite_last: the record of the last run once more, for who lost it.
rewrite_last() {
    last_run "${0##*/}"
    [[ -n $run_dir ]] || give_up not_found "there is no run to report" "$runs"
    local file
    file=$(records "$run_dir" | jq -rs 'map(select(.phase == "run")) | last | .detail.incident? // ""')
    [[ -n $file && -e $file ]] || give_up not_found "the last run has written no incident record" "$run_dir"
    cat "${file%.md}.json"
}

# run_runbook [needs_node]
# shellcheck disable=SC2120 # not the script's arguments
run_runbook() {
    check_arguments "$@"
    mitigated=false resumed=false messages_before="" messages_after=null verdict=null first_wrong=()
    if [[ ${option[phase]} == post_incident ]]; then
        rewrite_last
        return
    fi
    if ${option[resume]}; then
        resume_runbook
    else
        detect
        # Looking needs no lock. With something to do, the cluster is locked first, and looked at once more.
        if ((${#wrong[@]})) && may_change && { ${option[yes]} || [[ -t 0 && -t 2 ]]; }; then
            take_lock
        fi
        begin_run "${0##*/}" "$(jq -nc --arg node "$target" --arg phase "${option[phase]}" '{node_id: $node, phase: $phase}')"
    fi
    first_wrong=("${wrong[@]}")
    if [[ ${option[phase]} == recover ]]; then
        run_step detect messages "" show_messages
        phase_recover
    fi
    phase_detect
    if ((${#wrong[@]})); then # else: an interrupted run had ended it
        phase_diagnose
        phase_mitigate
    fi
    phase_recover
}

# resume_runbook: of an interrupted run nothing is trusted but what it counted before it changed anything.
resume_runbook() {
    last_run "${0##*/}" "${arguments[0]-}"
    [[ -n $run_dir ]] || give_up not_found "there is no run to resume" "$runs"
    run_state "$run_dir"
    if [[ $state == 'done' ]]; then
        say "run ${run_dir##*/} is done: nothing to resume"
        records "$run_dir" | tail -n 1
        exit 0
    fi
    target=$(parameter node_id)
    take_lock "$run_dir"
    resume_run
    step_status=()
    resumed=true
    messages_before=$(records "$run_dir" | jq -cs '[.[] | select(.phase == "detect" and .step == "messages" and .status == "ok").detail][0] // empty')
    detect
}
