# task.bash: what the tasks of scripts/maintenance are made of; sourced by each file of scripts/tasks.
#
#   NAME [--dry-run] [--policy FILE] [--reports DIR] [--config FILE]
#
# A task prints one JSON document: {"ok","changed","summary","findings":[{"severity","subject","message"}],
# "facts":{…}}; share/schemas/maintenance-report.json says what stands in its facts. Exit status 0: ok, 1: it found
# something critical, else it could not be done. scripts/maintenance makes a report of the document, under the
# lock of the host; a task alone changes what it is about and nothing else, so that it can be run by hand.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables that cross the files of this library

# shellcheck source=procedure.bash
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/procedure.bash"

option+=([policy]="" [reports]="")
changed=false
declare -A config_of=()

# finding SEVERITY SUBJECT MESSAGE: info, warning (somebody should look), critical (the task is not ok).
finding() {
    note findings "$@"
}

# note FILE FIELD…: one line of fields for the document; one jq makes it all at the end, since starting one is what
# takes time.
note() {
    local field line=""
    for field in "${@:2}"; do
        line+=${line:+$'\037'}${field//[$'\n\037']/ }
    done
    printf '%s\n' "$line" >>"$scratch/$1"
}

# findings: JSON lines on stdin, {"severity","subject","message"} each.
findings() {
    cat >>"$scratch/found"
}

# fact NAME JSON
fact() {
    note facts "$1" "$2"
}

# facts: all that were told, as one JSON object; of one that was told twice the last word.
facts() {
    jq -Rnc '[inputs | split("\u001f") | {key: .[0], value: (.[1] | fromjson)}] | from_entries' "$scratch/facts"
}

# policy_value FILTER: of the maintenance policy.
policy_value() {
    jq -r ".maintenance$1" <<<"$policy"
}

config_value() {
    echo "${config_of[$1]-}"
}

# load_config: sets config, the configuration as JSON, and config_of, its texts and numbers by name.
load_config() {
    local key value
    config=$(tool cx-config show --json)
    while IFS=$'\t' read -r key value; do
        config_of[$key]=$value
    done < <(jq -r 'to_entries[] | select(.value | type == "string" or type == "number") | "\(.key)\t\(.value)"' <<<"$config")
}

read_policy() {
    local file=()
    [[ -z ${option[policy]} ]] || file=(--file "${option[policy]}")
    tool cx-config policy maintenance "${file[@]}" --json
}

# become_owner DATA_DIR: what root calls is done by the owner of the node's data, as whom the timers call it: root's own
# files would be in their way, and root must not follow what others put into their folders. The script starts again.
become_owner() {
    local owner group home as name
    ((EUID == 0)) && read -r owner group < <(stat -L -c '%u %g' "$1" 2>/dev/null) && ((owner != 0)) || return 0
    as=(setpriv --reuid="$owner" --regid="$group" --clear-groups)
    IFS=: read -r name _ _ group _ home _ < <(getent passwd "$owner") || name=""
    [[ -z $name ]] || as=(setpriv --reuid="$owner" --regid="$group" --init-groups)
    rm -rf "$scratch"
    # shellcheck disable=SC2016 # the other's own
    [[ -z ${TMPDIR-} ]] || "${as[@]}" bash -c '[[ -w $1 && -x $1 ]]' - "$TMPDIR" || unset TMPDIR
    "${as[@]}" bash -c '[[ -r . && -x . ]]' 2>/dev/null || cd /
    unset "${!XDG_@}"
    HOME=${home:-/} USER=${name:-$owner} LOGNAME=${name:-$owner} exec "${as[@]}" "$script" "${words[@]}"
}

# reports_folder: sets reports: reports/ below log_dir, else a folder of the user.
reports_folder() {
    local log_dir
    reports=${option[reports]:-${CX_REPORTS-}}
    [[ -z $reports ]] || return 0
    log_dir=$(cx-config get log_dir --raw)
    reports=$log_dir/reports
    ((${#dry[@]})) || mkdir -p "$reports" 2>/dev/null || true
    if [[ ! -w $reports && (! -w $log_dir || -e $reports) ]]; then
        reports=${XDG_STATE_HOME:-$HOME/.local/state}/cx/reports/$(cx-config get cluster --raw)
    fi
}

# last_report TASK: prints the latest report of a task that could be done, whatever it found; `null` when there is none.
last_report() {
    local paths=("$reports/$1"/*.json) i # names sort by time
    for ((i = ${#paths[@]} - 1; i >= 0; i--)); do
        if jq -ce 'select(.error | not)' "${paths[i]}"; then return 0; fi
    done
    echo null
}

# megabytes BYTES: for people.
megabytes() {
    jq -nr --argjson bytes "$1" '($bytes / 1048576 * 10 | round) / 10 | "\(.) MiB"'
}

# open_by PATH: the processes that have this file open, one id a line. Root sees all, others their own.
open_by() {
    local text=$1 character
    for character in \\ '*' '?' '['; do
        text=${text//"$character"/\\"$character"}
    done
    find /proc/[0-9]*/fd -maxdepth 1 -lname "$text" 2>/dev/null | cut -d/ -f3 | sort -nu || true
}

# show_document DOCUMENT: what matters of it for people on a terminal, else all of it as JSON.
show_document() {
    if [[ -t 1 ]]; then
        jq -r '.summary, (.findings[] | "\(.severity)  \(.subject): \(.message)")' <<<"$1"
    else
        printf '%s\n' "$1"
    fi
}

# task_main FUNCTION WORD…: the whole task.
task_main() {
    local run=$1 summary="" document
    shift
    parse_options "$@"
    ((${#arguments[@]} == 0)) || give_up usage "unexpected argument ${arguments[0]}" "${0##*/} --help"
    policy=$(read_policy)
    load_config
    if ! ${stays_root:-false}; then
        become_owner "$(config_value data_dir)"
        reports_folder
    fi
    touch "$scratch"/{findings,found,facts}
    trap 'task_exit $?' EXIT
    "$run"
    document=$(jq -nc --rawfile findings "$scratch/findings" --slurpfile found "$scratch/found" --argjson changed "$changed" \
        --rawfile facts "$scratch/facts" --arg summary "$summary" --argjson dry "$((${#dry[@]}))" '
        def fields: split("\n")[] | select(. != "") | split("\u001f");
        ([$findings | fields | {severity: .[0], subject: .[1], message: .[2]}] + $found
            | sort_by({critical: 0, warning: 1, info: 2}[.severity])) as $all
        | {ok: ($all | any(.severity == "critical") | not), changed: $changed, summary: $summary, findings: $all,
           facts: ([$facts | fields | {key: .[0], value: (.[1] | fromjson)}] | from_entries)}
          + if $dry > 0 then {dry_run: true} else {} end')
    rm -rf "$scratch"
    show_document "$document"
    [[ $document == '{"ok":true'* ]] || exit 1
}

# A step that failed with a reason is an error, and no answer; a tool that failed has told its own.
task_exit() {
    local reason="" code=unavailable hint=""
    trap - EXIT
    [[ ! -s $scratch/reason ]] || reason=$(<"$scratch/reason")
    if [[ -s $scratch/code ]]; then
        { read -r code && read -r hint; } <"$scratch/code"
    fi
    rm -rf "$scratch"
    (($1 != 1)) || [[ -z $reason ]] || give_up "$code" "$reason" "$hint"
    exit "$1"
}
