# common.sh: what the scripts share; to be sourced.
# shellcheck shell=bash

# ---- errors, as the tools tell them (lib/base/err.h)

# exit_status_of CODE: sets status.
exit_status_of() {
    case $1 in
        usage) status=64 ;;
        invalid | cert_expired | cert_invalid) status=65 ;;
        not_found) status=66 ;;
        unavailable) status=69 ;;
        internal) status=70 ;;
        exists | cant_create) status=73 ;;
        io) status=74 ;;
        busy | timeout) status=75 ;;
        permission) status=77 ;;
        *) status=70 ;;
    esac
}

# tell_error CODE MESSAGE [HINT]: on stderr, for people on a terminal and else as JSON. Sets status to
# what the code implies.
tell_error() {
    exit_status_of "$1"
    if [[ -t 2 ]]; then
        echo "${0##*/}: $2${3:+ ($3)}" >&2
    else
        jq -nc --arg code "$1" --arg message "$2" --arg hint "${3-}" --argjson exit "$status" \
            '{error: {code: $code, message: $message, hint: $hint, exit: $exit}}' >&2
    fi
}

# give_up CODE MESSAGE [HINT]: tells why and ends the script with the exit status that the code implies.
give_up() {
    local status
    tell_error "$@"
    exit "$status"
}

# usage_of FILE: the comment at its top.
usage_of() {
    sed -n '2,/^[^#]/{/^# shellcheck /d;/^#/s/^# \?//p}' "$1"
}

# ---- waiting

# poll SECONDS CMD...: until CMD succeeds; false at the deadline.
poll() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

# ---- processes. A process id alone proves nothing: the start time and the boot say whose it is.

boot_id() {
    cat /proc/sys/kernel/random/boot_id
}

# start_time PID: in clock ticks since boot; fails when there is no such process, or only its remains.
start_time() {
    local stat fields
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    read -ra fields <<<"${stat##*) }"
    [[ ${fields[0]} != [ZX] ]] || return 1
    echo "${fields[19]}"
}

# write_pid FILE: this very process as `PID START BOOT`.
write_pid() {
    local pid=$BASHPID # in $(...) it would be another
    echo "$pid $(start_time "$pid") $(boot_id)" >"$1"
}

# read_pid FILE: prints the process id when the process that wrote the file still runs.
read_pid() {
    local pid start boot
    [[ -r $1 ]] && read -r pid start boot <"$1" || return 1
    [[ $boot == "$(boot_id)" && $(start_time "$pid") == "$start" ]] || return 1
    echo "$pid"
}

# close_inherited: closes all descriptors but the first three: a daemon must hold no lock and keep no
# pipe open.
close_inherited() {
    local path fd
    for path in "/proc/$BASHPID/fd/"*; do
        fd=${path##*/}
        ((fd < 3 || fd == 255)) || exec {fd}>&- # 255: bash's own, which closes itself
    done
}

# ---- tools

# find_tools FOLDER: the tools just built there come first in PATH ($CX_BUILD: another build), so
# that the scripts of a checkout and those of an installed cx both find their own.
find_tools() {
    local build=${CX_BUILD:-$1/build}
    [[ ! -x $1/../../bin/cx-node ]] || PATH=$(realpath "$1/../../bin"):$PATH # installed: PREFIX/share/cx
    [[ ! -d $build ]] || PATH=$(realpath "$build"):$PATH
    PATH=$1/scripts:$PATH
    export PATH
}
