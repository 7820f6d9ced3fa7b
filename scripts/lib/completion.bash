# completion.bash: the part of the completion that is written by hand; scripts/manual puts the tables before it.
# shellcheck shell=bash
# shellcheck disable=SC2154 # the tables

# _cx_nodes: the members that the agent of this host knows; nothing when there is none.
_cx_nodes() {
    cx-gossip members --json --timeout 1s 2>/dev/null | jq -r '.members[].node_id' 2>/dev/null
}

# _cx_reply KIND WORD: what may stand there, in COMPREPLY.
_cx_reply() {
    case $1 in
        =*) mapfile -t COMPREPLY < <(compgen -W "${1#=}" -- "$2") ;;
        node) mapfile -t COMPREPLY < <(compgen -W "$(_cx_nodes)" -- "$2") ;;
        dir) mapfile -t COMPREPLY < <(compgen -d -- "$2") ;;
        file) mapfile -t COMPREPLY < <(compgen -f -- "$2") ;;
        *) COMPREPLY=() ;;
    esac
    [[ $1 != @(dir|file) ]] || compopt -o filenames 2>/dev/null
}

# `--name=value` arrives as three words where `=` breaks words.
_cx() {
    local key=${1##*/} current=${2-} word option="" i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ -n $option && $word == "=" ]]; then
            continue
        elif [[ -n $option ]]; then
            option=""
        elif [[ $word == --* ]]; then
            [[ -z ${_cx_values["$key $word"]+there} ]] || option=$word
        elif [[ " ${_cx_next[$key]-} " == *" $word "* ]]; then
            key+=" $word"
            key=${_cx_runs[$key]-$key}
        fi
    done
    [[ $current != "=" ]] || current=""
    if [[ -n $option ]]; then
        _cx_reply "${_cx_values["$key $option"]}" "$current"
    elif [[ $current == -* ]]; then
        _cx_reply "=${_cx_options[$key]---help}" "$current"
    elif [[ -n ${_cx_next[$key]-} ]]; then
        _cx_reply "=${_cx_next[$key]}" "$current"
    else
        _cx_reply "${_cx_arguments[$key]-}" "$current"
    fi
}
