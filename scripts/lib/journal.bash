# journal.bash: runs that survive their interruption; sourced by procedure.bash.
#
# A run is a folder, RUNS/PROCEDURE/RUN_ID: run.json (what was asked for), journal.ndjson (one record a
# line, each on the disk before the next step begins), output/NODE/ (what the nodes printed), and what
# the procedure adds (report.md). RUNS is $CX_RUNS, else runs/ below log_dir, else, also where no room is left, a folder of
# the user: root's runs are in a folder of root's alone, since --resume does what is written in them.
# The state of a run is read back from its journal, never stored.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables that cross the files of this library

run_id=""
run_dir=""
other_runs=""
journal=""
detail="" # what a step adds to its record: JSON or text
outcome=ok
phase="" step="" node="" # the step under way
scratch=$(mktemp -d "${TMPDIR:-/tmp}/cx-procedure-XXXXXX")
# Whose it is, whole from its first moment: the task cleanup_temp_files removes what the dead left.
write_pid "$scratch/pid.new"
mv "$scratch/pid.new" "$scratch/pid"
trap 'rm -rf "$scratch"' EXIT
declare -A step_status=() step_detail=()

# ---- records

time_text() {
    local now=$EPOCHREALTIME text
    now=${now/,/.}
    TZ=UTC printf -v text '%(%Y-%m-%dT%H:%M:%S)T' "${now%.*}"
    now=${now#*.}
    echo "$text.${now:0:3}Z"
}

# record PHASE STEP STATUS [DETAIL]: one line in the journal, durably, and then on stdout. Status:
# started, progress, ok, skipped, planned, failed, undone, or a word of the step's own.
record() {
    local line text=${4-}
    [[ -n ${writer_pid-} ]] || start_writer
    printf '%s\037' "$(time_text)" "$run_id" "$1" "$2" "$3" "$node" "${text//[$'\n\037']/ }" >&"${writer[1]}"
    echo >&"${writer[1]}"
    IFS= read -r line <&"${writer[0]}"
    if [[ -n $journal ]]; then
        printf '%s\n' "$line" >>"$journal"
        sync "$journal"
    fi
    step_status["$1/$2/$node"]=$3
    [[ -z $text ]] || step_detail["$1/$2/$node"]=$text
    show_record "$line"
}

# One jq makes all records of a run: starting it is what takes time. A line of fields goes in, a record comes out.
start_writer() {
    coproc writer {
        trap '' INT TERM HUP # Ctrl-C reaches it too, and the last records are still to come
        exec jq -Rc --unbuffered 'split("\u001f") as [$time, $run, $phase, $step, $status, $node, $detail]
            | {time: $time, run_id: $run, phase: $phase, step: $step, status: $status,
               detail: (if $detail == "" then null else ($detail | fromjson? // $detail) end)}
            + if $node == "" then {} else {node_id: $node} end' 7>&- 8>&- 9>&-
    }
    writer_pid=$!
}

show_record() {
    if [[ -t 1 ]]; then
        jq -r '(.detail | if type == "object" then .text // .summary // . else . end
                | if . == null then "" elif type == "string" then . else tojson end
                | if length > 100 then .[:99] + "…" else . end) as $detail
            | "\(.time[11:19])  \(.phase) \(.step)\(if .node_id then " " + .node_id else "" end): \(.status)"
              + if $detail == "" then "" else "  " + $detail end' <<<"$1" || true
    else
        printf '%s\n' "$1" 2>/dev/null || true # the reader may be gone; the journal has it
    fi
}

# records FOLDER: its journal. A line that a crash has torn is left out.
records() {
    [[ ! -e $1/journal.ndjson ]] || jq -cR 'fromjson? // empty' "$1/journal.ndjson"
}

# ---- folders

run_bytes=1048576
runs_kept_days=400 # as long as reports, where the policy says nothing else

# runs_folder: sets runs.
runs_folder() {
    runs=${CX_RUNS-}
    [[ -n $runs ]] || choose_runs "$(cx-config get log_dir --raw)" "$(cx-config get cluster --raw)"
}

# choose_runs LOG_DIR CLUSTER: sets runs, and other_runs, where runs may be too.
choose_runs() {
    local state=${XDG_STATE_HOME:-${HOME:-}/.local/state} owner
    ! is_others "$state" || state=~root/.local/state # with the caller's HOME: sudo -E
    other_runs=$state/cx/runs/$2
    runs=$1/runs
    if is_others "$runs"; then
        runs=$other_runs
    elif ! mkdir -p "$runs" 2>/dev/null || [[ ! -w $runs ]] || ! has_room "$runs"; then
        other_runs=$runs
        runs=$state/cx/runs/$2
    fi
}

# has_room FOLDER: for a journal; where that can't be told there is.
has_room() {
    local blocks size
    read -r blocks size < <(stat -f -c "$( ((EUID == 0)) && echo '%f %S' || echo '%a %S')" "$1" 2>/dev/null) || return 0
    ((blocks * size >= run_bytes))
}

# sweep_runs PROCEDURE: those that are older than anybody asks for, and those that never began.
sweep_runs() {
    local path
    while IFS= read -r -d '' path; do
        read_pid "$path/pid" >/dev/null || rm -rf --one-file-system -- "$path"
    done < <(find -P "$runs/$1" -mindepth 1 -maxdepth 1 -type d -uid "$EUID" \
        \( -mtime "+$runs_kept_days" -o -name '*.new' -mtime +1 \) -print0)
}

# new_run PROCEDURE PARAMETERS: makes the folder of a run. A dry run leaves none.
new_run() {
    local random
    random=$(od -An -N2 -tx1 /dev/urandom | tr -d ' \n')
    TZ=UTC printf -v run_id "%(%Y%m%dT%H%M%SZ)T-$1-$random" -1
    if ${option[dry_run]}; then
        run_dir=$scratch/run
        mkdir -p "$run_dir"
        echo "$2" >"$run_dir/run.json"
        return
    fi
    runs_folder
    (umask 077 && mkdir -p "$runs/$1" && mkdir "$runs/$1/$run_id.new")
    sweep_scratch
    sweep_runs "$1"
    jq -n --arg run "$run_id" --arg procedure "$1" --argjson parameters "$2" --arg by "$(who_am_i)" \
        --arg time "$(time_text)" \
        '{run_id: $run, procedure: $procedure, started_at: $time, by: $by} + $parameters' \
        >"$runs/$1/$run_id.new/run.json"
    : >"$runs/$1/$run_id.new/journal.ndjson"
    sync "$runs/$1/$run_id.new"/*
    mv "$runs/$1/$run_id.new" "$runs/$1/$run_id"
    sync "$runs/$1"
    run_dir=$runs/$1/$run_id
    journal=$run_dir/journal.ndjson
}

who_am_i() {
    echo "${SUDO_USER:-$(id -un)}@$(uname -n)"
}

# last_run PROCEDURE [ID]: sets run_dir to the latest run; empty when there is none.
last_run() {
    local path
    runs_folder
    run_dir=""
    for path in "$runs/$1"/*/run.json ${other_runs:+"$other_runs/$1"/*/run.json}; do
        [[ -e $path && $path != *.new/run.json ]] || continue
        path=${path%/run.json}
        [[ -n ${2-} && ${path##*/} != "$2" ]] && continue
        [[ ${path##*/} < ${run_dir##*/} ]] || run_dir=$path # names sort by time
    done
}

# parameter NAME: of the run, from run.json; empty when it has none.
parameter() {
    jq -r --arg name "$1" '.[$name] // ""' "$run_dir/run.json"
}

# run_state FOLDER: sets state to running, failed, done or rolled_back, and interrupted to true when it
# failed because its process is gone.
run_state() {
    local last
    last=$(records "$1" | jq -rs 'map(select(.phase == "run")) | last | .status // "started"')
    interrupted=false
    case $last in
        done | failed | rolled_back) state=$last ;;
        *)
            state=running
            if ! read_pid "$1/pid" >/dev/null; then
                state=failed
                interrupted=true
            fi
            ;;
    esac
}

# ---- beginning and end

# begin_run PROCEDURE PARAMETERS: a new run. resume_run: goes on with that in $run_dir.
begin_run() {
    new_run "$1" "$2"
    open_run started
}

resume_run() {
    run_id=${run_dir##*/}
    journal=$run_dir/journal.ndjson
    # What a crash left without its end must not swallow the next record.
    [[ ! -s $journal || -z $(tail -c 1 "$journal") ]] || echo >>"$journal"
    open_run resumed
}

open_run() {
    exec 8>>"$run_dir/lock"
    if ! flock -n 8; then
        say "waiting for what an interrupted run still has under way"
        flock -w 120 8 || give_up busy "somebody else works on run $run_id" "$run_dir"
    fi
    write_pid "$run_dir/pid"
    echo "${CX_LOCK_HELD-}" >"$run_dir/holder" # see lift_lease
    load_steps
    trap '' PIPE
    trap 'caught=yes; exit 130' INT
    trap 'caught=yes; exit 143' TERM
    trap 'caught=yes; exit 129' HUP
    trap 'on_exit $?' EXIT
    node="" record run "$(parameter_or_name)" "$1"
}

parameter_or_name() {
    local name=${run_id#*-}
    echo "${name%-*}"
}

load_steps() {
    local place status text
    while IFS=$'\t' read -r place status text; do
        if [[ $status == undone ]]; then
            forget_steps "${place%%/*}" "${place##*/}"
            continue
        fi
        step_status[$place]=$status
        [[ -z $text ]] || step_detail[$place]=$text
    done < <(records "$run_dir" | jq -r '
        ["\(.phase)/\(.step)/\(.node_id // "")", .status,
         (.detail | if . == null then "" elif type == "string" then . else tojson end)]
        | map(gsub("[\t\n]"; " ")) | join("\t")')
}

# forget_steps PHASE NODE
forget_steps() {
    local place
    for place in "${!step_status[@]}"; do
        [[ $place != "$1/"*"/$2" ]] || unset -v "step_status[$place]" "step_detail[$place]"
    done
}

# end_run STATE [DETAIL]: the last word of a run. After it, the EXIT trap has nothing to add.
end_run() {
    phase="" step="" node=""
    if ((${#dry[@]})) && [[ $1 != failed ]]; then
        record run "$(parameter_or_name)" planned "${2-}"
    else
        record run "$(parameter_or_name)" "$1" "${2-}"
    fi
    ended=yes
}

# The one EXIT trap. A step that was under way has failed; the script's own on_failure, when it has one,
# says what then. Interrupted by a signal, the run keeps everything as it is, for the next one; that a tool was
# ended by one is a failure like any other.
on_exit() {
    local status=$1 reason="" at=$step${node:+ on $node} code="" hint="" further=""
    trap - EXIT
    trap '' INT TERM HUP
    if [[ -n ${ended-} || $status == 0 ]]; then
        rm -rf "$scratch"
        exit "$status"
    fi
    [[ ! -s $scratch/reason ]] || reason=$(<"$scratch/reason")
    [[ -z ${caught-} ]] || reason="interrupted by a signal"
    if [[ -s $scratch/code ]]; then
        { read -r code && read -r hint; } <"$scratch/code"
    fi
    if [[ -n $step ]]; then
        record "$phase" "$step" failed "${reason:-exit status $status}"
    fi
    if [[ -z ${caught-} && $(type -t on_failure) == function ]] && ((${#dry[@]} == 0)); then
        on_failure "$reason"
    fi
    rm -rf "$scratch"
    end_run failed "${reason:-exit status $status}"
    further="run it again"
    [[ -z ${option[resume]+there} ]] || further="\`--resume\` goes on"
    [[ -z $journal ]] || say "run $run_id failed${at:+ at $at}; $further, journal: $run_dir"
    if [[ -n $code ]]; then
        tell_error "$code" "$reason" "$hint" # sets status
    elif [[ -z ${caught-} ]]; then
        status=1
    fi
    exit "$status"
}

# ---- steps

step_is_done() { # PHASE STEP [NODE]
    [[ ${step_status["$1/$2/${3-}"]-} == @(ok|skipped) ]]
}

# run_step PHASE STEP [NODE] [FUNCTION]: runs the function STEP, unless the journal says that it is done.
# Of a node under way nothing is trusted: a step that has a function STEP_holds is done again when that
# says no.
run_step() {
    local run=${4:-$2}
    phase=$1 step=$2 node=${3-} detail="" outcome=ok
    if step_is_done "$phase" "$step" "$node"; then
        [[ $(type -t "${run}_holds") == function ]] || return 0
        still_holds=true
        "${run}_holds"
        ! $still_holds || return 0
    fi
    : >"$scratch/reason"
    record "$phase" "$step" started
    "$run"
    record "$phase" "$step" "$outcome" "$detail"
    step=""
}

# undo_steps PHASE NODE: the steps of a node that was put back are to be done again. One record says so of all.
undo_steps() {
    node=$2 record "$1" all undone
    forget_steps "$1" "$2"
}

# wanted_phase PHASE: no --phase was given, or this one.
wanted_phase() {
    [[ -z ${option[phase]} || ${option[phase]} == "$1" ]]
}
