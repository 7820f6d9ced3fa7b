# remote.bash: commands on other hosts; sourced by procedure.bash.
# shellcheck shell=bash
# shellcheck disable=SC2154

declare -A host_of=() # NODE: host, for hosts that are not members yet
remote_count=0
remote_stdin=""

# address_of NODE: the host where it runs, by its membership.
address_of() {
    local address
    if [[ -n ${host_of[$1]-} ]]; then
        echo "${host_of[$1]}"
        return
    fi
    address=$(tool cx-gossip members | jq -r --arg node "$1" \
        '.members[] | select(.node_id == $node) | .addr') || return
    [[ -n $address ]] || fail_step "no member has the name $1"
    address=${address%:*}
    address=${address#[}
    echo "${address%]}"
}

# on_node NODE COMMAND…: runs it there, by ssh ($CX_SSH: with other options), or by what $CX_REMOTE says:
# `$CX_REMOTE NODE -- COMMAND…`; on this host itself also when its gossip agent can't tell addresses. Its stdout is passed on; it and stderr are kept in the run's folder.
# It ends after $CX_REMOTE_TIMEOUT seconds (60) at the latest. Its stdin is the file $remote_stdin when that
# is set, and empty otherwise. Exit status: the command's; 69 when the host can't be reached, 75 at the
# deadline.
on_node() {
    local target=$1 where=() address kept status=0
    shift
    if [[ -n ${CX_REMOTE-} ]]; then
        read -ra where <<<"$CX_REMOTE"
        where+=("$target" -- "$@")
    elif address=$(address_of "$target"); then
        read -ra where <<<"${CX_SSH:-ssh -o BatchMode=yes -o ConnectTimeout=10}"
        where+=("$address" "$(printf '%q ' "$@")")
    elif [[ $target == "$(local_node)" ]]; then
        where=("$@") # its agent is silent, and nobody has to be asked the way to this host
    else
        return 69
    fi
    keep_output "$target" "${1##*/}"
    if [[ $remote_stdin == /dev/stdin ]]; then # as it is: one that is a socket can't be opened again
        run_where || status=$?
    else
        run_where <"${remote_stdin:-/dev/null}" || status=$?
    fi
    cat "$kept.out"
    ((status == 0)) || explain_remote "$target" "$kept.err" "${1##*/}"
    return "$status"
}

run_where() {
    deadlined "${CX_REMOTE_TIMEOUT:-60}" "${where[@]}" >"$kept.out" 2>"$kept.err"
}

# keep_output NODE NAME: sets kept, the path without its ending.
keep_output() {
    local folder=${run_dir:-$scratch}/output/$1
    mkdir -p "$folder"
    while [[ -e $folder/$(printf '%03d' "$remote_count")-$2.out ]]; do # also of an earlier try
        remote_count=$((remote_count + 1))
    done
    kept=$folder/$(printf '%03d' "$remote_count")-$2
}

# explain_remote NODE FILE NAME: sets status from that of ssh and timeout, and the reason.
explain_remote() {
    note_reason "$2" "$status" "$3"
    case $status in
        124 | 137)
            status=75
            echo "$1: $3 did not end within ${CX_REMOTE_TIMEOUT:-60} s" >"$scratch/reason"
            ;;
        255)
            status=69
            echo "$1: can't be reached: $(tail -n 1 "$2")" >"$scratch/reason"
            ;;
        *) echo "$1: $(<"$scratch/reason")" >"$scratch/reason.new" &&
            mv "$scratch/reason.new" "$scratch/reason" ;;
    esac
    say "$(<"$scratch/reason")"
}

# deadlined SECONDS CMD…: ends it at the deadline, and with us, even if we are killed. It does not hold
# the locks of the run: what it starts may live on.
deadlined() {
    deadline_words "$1"
    shift
    "${watched[@]}" "$@" 7>&- 8>&-
}

# deadline_words SECONDS: sets watched, the words before a command. `"${watched[@]}" CMD… &` has the process id of
# what passes signals on to the command; a function in the background would be a shell in between.
deadline_words() {
    watched=(setpriv --pdeathsig KILL timeout -k 5 "$1" setpriv --pdeathsig KILL env "--default-signal=INT,QUIT,PIPE")
}
