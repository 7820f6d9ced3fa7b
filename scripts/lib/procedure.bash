# procedure.bash: what every procedure, runbook and maintenance script is made of; to be sourced.
#
#   option+=([to]="" [batch_size]=1)     the script's own options beside --dry-run, --yes, --phase, …
#   parse_options "$@"                   fills option[NAME], given[NAME], arguments and dry
#   hold_lock cluster                    the whole script under a lease of the cluster (lock.bash)
#   begin_run NAME PARAMETERS            a run: folder, journal, the one EXIT trap (journal.bash)
#   run_step PHASE STEP [NODE]           the function STEP, once, with its records
#
# A step is a function of its own name. It ends the script when it fails (`set -e`, or fail_step with
# the reason); what it leaves in $detail goes into its record. It looks before it acts and reads back
# what it did, because after an interruption it runs again.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables that cross the files of this library

lib=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=../common.sh
source "$lib/../common.sh"
# shellcheck source=files.bash
source "$lib/files.bash"
# shellcheck source=journal.bash
source "$lib/journal.bash"
# shellcheck source=remote.bash
source "$lib/remote.bash"
# shellcheck source=lock.bash
source "$lib/lock.bash"
# shellcheck source=cluster.bash
source "$lib/cluster.bash"
find_tools "$(dirname "$(dirname "$lib")")"

script=$(readlink -f "$0")
words=("$@") # as the script got them, for running itself again under a lock

# ---- options

declare -A option=([dry_run]=false [yes]=false [phase]="" [config]="" [help]=false)
declare -A given=()
arguments=()
dry=() # what every changing call gets: (--dry-run) or nothing

# parse_options WORD…: `--name VALUE`, `--name=VALUE`, or `--name` alone where the default is true or
# false.
parse_options() {
    local name key
    while (($#)); do
        case $1 in
            --)
                arguments+=("${@:2}")
                break
                ;;
            --*=*)
                name=${1#--}
                set -- "--${name%%=*}" "${name#*=}" "${@:2}"
                take_option "$1" is_value
                option[$key]=$2
                shift
                ;;
            --*)
                take_option "$1"
                if is_flag "$key"; then
                    option[$key]=true
                else
                    (($# > 1)) || give_up usage "$1 needs a value" "${0##*/} --help"
                    option[$key]=$2
                    shift
                fi
                ;;
            *) arguments+=("$1") ;;
        esac
        shift
    done
    if ${option[help]}; then
        usage_of "$script"
        exit 0
    fi
    ! ${option[dry_run]} || dry=(--dry-run)
    [[ -z ${option[config]} ]] || export CX_CONFIG=${option[config]}
}

is_flag() {
    [[ ${flags-} == *" $1 "* ]]
}

# take_option --NAME [is_value]: sets key, the name with underscores.
take_option() {
    local name
    if [[ -z ${flags-} ]]; then # the flags by their defaults, before any value is stored
        flags=" "
        for name in "${!option[@]}"; do
            [[ ${option[$name]} != @(true|false) ]] || flags+="$name "
        done
    fi
    key=${1#--}
    key=${key//-/_}
    [[ -n ${option[$key]+there} ]] || give_up usage "unknown option $1" "${0##*/} --help"
    [[ -z ${2-} ]] || ! is_flag "$key" || give_up usage "$1 takes no value" "${0##*/} --help"
    given[$key]=true
}

# duration_ms TEXT: 250ms 30s 5m 1h 30d, and numbers of seconds.
duration_ms() {
    local factor
    [[ $1 =~ ^([0-9]{1,9})(ms|s|m|h|d|)$ ]] ||
        give_up usage "not a duration: $1" "250ms, 30s, 5m, 1h, 30d"
    case ${BASH_REMATCH[2]} in
        ms) factor=1 ;;
        s | "") factor=1000 ;;
        m) factor=60000 ;;
        h) factor=3600000 ;;
        d) factor=86400000 ;;
    esac
    echo $((10#${BASH_REMATCH[1]} * factor))
}

# seconds_of DURATION: whole seconds, one at least.
seconds_of() {
    local ms
    ms=$(duration_ms "$1")
    echo $((ms < 1000 ? 1 : (ms + 999) / 1000))
}

# ---- people

say() {
    echo "${0##*/}: $*" >&2
}

# confirm QUESTION: a person at a terminal is asked; --yes answers, and a program is not asked.
confirm() {
    local reply
    ! ${option[yes]} && ! ${option[dry_run]} && [[ -t 0 && -t 2 ]] || return 0
    read -rp "$1 [y/N] " reply || echo >&2 # the end of input is no yes
    [[ $reply == [yY]* ]] || give_up busy "not confirmed: nothing was done"
}

# ---- tools

# tool CMD…: a tool's answer on stdout. What it says on stderr is passed on, and when it fails, it is
# the reason of the step.
tool() {
    local status=0 errors=$scratch/stderr
    "$@" 2>"$errors" || status=$?
    [[ ! -s $errors ]] || cat "$errors" >&2
    ((status == 0)) || note_reason "$errors" "$status" "$1"
    return "$status"
}

# answer CMD…: as tool, but exit status 1 is an answer too: the document says "no".
answer() {
    local status=0
    tool "$@" || status=$?
    ((status <= 1)) || return "$status"
    : >"$scratch/reason"
}

# note_reason FILE STATUS NAME: the last line of a tool's stderr, as text.
note_reason() {
    local line
    line=$(tail -n 1 "$1")
    line=$(jq -r '.error | .message + if .hint // "" == "" then "" else " (\(.hint))" end' \
        <<<"$line" 2>/dev/null) || line=$(tail -n 1 "$1")
    echo "${line:-$3: exit status $2}" >"$scratch/reason"
}

# fail_step MESSAGE: ends the step, and with it the script; also from within $(…).
fail_step() {
    echo "$*" >"$scratch/reason"
    say "$*"
    exit 1
}

# give_up_step CODE MESSAGE [HINT]: the same for a failure that has a code: the script ends with its exit
# status and tells it as an error.
give_up_step() {
    echo "$2" >"$scratch/reason"
    printf '%s\n%s\n' "$1" "${3-}" >"$scratch/code"
    exit 1
}

# ---- waiting

now_ms() {
    echo $((${EPOCHREALTIME/[.,]/} / 1000))
}

# nap SECONDS: holds nothing open meanwhile, so that nobody waits for it after our end.
nap() {
    sleep "$1" 7>&- 8>&- || true
}

# await SECONDS WHAT CMD…: until CMD succeeds. CMD says in $blocker what is missing: that is told when it changes,
# looked at every ten seconds, and at the deadline it is the reason of the failure: an error of the code $await_code
# where the script sets one.
await() {
    local deadline=$((SECONDS + $1)) seconds=$1 what=$2 told=$SECONDS said="" message
    shift 2
    blocker=""
    until "$@"; do
        if ((SECONDS >= deadline)); then
            message="waited $seconds s for $what${blocker:+: $blocker}"
            [[ -z ${await_code-} ]] || give_up_step "$await_code" "$message"
            fail_step "$message"
        fi
        if ((SECONDS - told >= 10)); then
            told=$SECONDS
            message="waiting for $what, up to $((deadline - SECONDS)) s more"
            [[ $blocker == "$said" ]] || message+=": $blocker"
            said=$blocker
            say "$message"
        fi
        nap 0.3
    done
}
