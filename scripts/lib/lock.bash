# lock.bash: one procedure at a time in the whole cluster; sourced by procedure.bash.
# shellcheck shell=bash
# shellcheck disable=SC2154

# hold_lock NAME [WAIT [FOLDER]]: runs the script again under a lease of the cluster, which ends with it: who
# loses the lease is told by SIGTERM. A script that is called by the holder has it already. A dry run
# needs none. FOLDER is that of an interrupted run: its lease is lifted when nothing of it is left.
hold_lock() {
    local name=$1 wait=${2:-0s} pid start
    ((${#dry[@]} == 0)) || return 0
    if [[ ${CX_LOCK_HELD-} == "$name "* ]]; then
        read -r _ pid start <<<"$CX_LOCK_HELD"
        [[ $(start_time "$pid" || true) != "$start" ]] || return 0
    fi
    type -P cx-lock >/dev/null || give_up unavailable "cx-lock is missing: the cluster can't be locked"
    [[ -z ${3-} ]] || lift_lease "$name" "$3"
    rm -rf "$scratch"
    # exec keeps the process id: that of cx-lock is ours.
    CX_LOCK_HELD="$name $$ $(start_time $$)" exec cx-lock run "$name" --ttl 30s --wait "$wait" \
        --reason "$(cut -c1-200 <<<"${0##*/} ${words[*]}") by $(who_am_i)" -- "$script" "${words[@]}"
}

# lift_lease NAME FOLDER: the lease of an interrupted run, when its holder is dead and nothing that it started is
# under way: nobody has to wait until the lease ends by itself.
lift_lease() {
    local owner pid start
    [[ -s $2/holder ]] && flock -n "$2/lock" true || return 0
    read -r _ pid start <"$2/holder"
    # A node that is down is an error of the list, and no reason not to read it.
    owner=$({ cx-lock list --json 2>/dev/null || true; } |
        jq -r --arg name "$1" '.leases[] | select(.name == $name).owner') || owner=""
    [[ $owner != *":$pid:$start" ]] || cx-lock clear "$1" >/dev/null 2>&1 || true
}
