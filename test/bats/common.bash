# common: what every bats file loads: `load common`.
#
# A test has a scratch folder ($BATS_TEST_TMPDIR), addresses of its own in 127.0.0.0/8, daemons that
# end with it, and assertions on JSON. Nothing here sleeps for a time: wait_until waits for a
# condition.
# shellcheck shell=bash

bats_require_minimum_version 1.5.0
bats_load_library bats-support
bats_load_library bats-assert

CX_ROOT=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)
CX_BUILD=$(cd "$CX_ROOT" && realpath -m "${CX_BUILD:-build}")
PATH=$CX_BUILD:$CX_ROOT/scripts:$PATH
export CX_ROOT CX_BUILD PATH
unset CX_CONFIG CX_NODE
# A test that is not about watchers has none beside it.
export CX_CLUSTER_WATCH=no

# long_test: its first line, for a test that takes long and whose like is in others too: it runs with
# $CX_TEST_LONG (scripts/test long).
long_test() {
    [[ -n ${CX_TEST_LONG-} ]] || skip "long: scripts/test long"
}

# ---- time

# How many times longer a wait may take: a busy machine is slower, and only a test that fails waits.
# $CX_TEST_PATIENCE says it for builds that are slower themselves.
patience() {
    local load _
    read -r load _ </proc/loadavg
    echo $((${CX_TEST_PATIENCE:-1} * (1 + ${load%.*} / $(nproc))))
}

# wait_until SECONDS CMD...: polls CMD until it succeeds; at the deadline, fails with its last output. What
# takes longer is asked less often, every 0.3 s in the end: many tests wait at the same time, and asking
# is most of what they do.
wait_until() {
    local deadline output pause=5
    deadline=$((SECONDS + $1 * $(patience)))
    shift
    until output=$("$@" 2>&1); do
        ((SECONDS < deadline)) || fail "gave up on: $* ($output)" || return
        sleep "0.$(printf '%02d' "$pause")"
        pause=$((pause < 25 ? pause + 5 : 30))
    done
}

# ---- addresses

# Each process that loads this file holds a network of its own, 127.A.B.0/24, by a lock on a file
# named for it: runs side by side never meet. The lock ends with the process.
claim_network() {
    local folder=${TMPDIR:-/tmp}/cx-test-networks-$UID try number
    mkdir -p "$folder"
    for ((try = 0; try < 65000; try++)); do
        number=$((256 + (BASHPID + try * 7919) % 65000)) # 127.1.0 and up: 127.0 is for people
        exec {CX_NETWORK_FD}>"$folder/$number"
        if flock -n "$CX_NETWORK_FD"; then
            CX_NETWORK=127.$((number / 256)).$((number % 256))
            return
        fi
        exec {CX_NETWORK_FD}>&-
    done
    echo "no free network in 127.0.0.0/8" >&2
    return 1
}
claim_network

# next_number NAME: 1, 2, 3, … for this test, also from subshells.
next_number() {
    local file=${BATS_TEST_TMPDIR:-$BATS_FILE_TMPDIR}/.number-$1 number=0
    [[ ! -e $file ]] || number=$(<"$file")
    echo $((number + 1)) | tee "$file"
}

# free_loopback: another address of this test's own: 127.A.B.1, 127.A.B.2, …
free_loopback() {
    echo "$CX_NETWORK.$(next_number address)"
}

# free_port: another port that nothing listens on, TCP or UDP, on any address. Below the range from
# which the kernel takes the ports of clients.
free_port() {
    local port
    while port=$((20000 + ($(next_number port) + BASHPID) % 12000)); do
        [[ -n $(ss -Hlntu "sport = :$port") ]] || break
    done
    echo "$port"
}

# ---- daemons

# start_daemon NAME CMD...: in a session of its own, its output in $BATS_TEST_TMPDIR/NAME.log, its
# process id in $daemon_pid. It ends with the test at the latest.
start_daemon() {
    local name=$1 folder=$BATS_TEST_TMPDIR/.daemons
    shift
    mkdir -p "$folder"
    # A daemon that kept bats' descriptors or the network's lock would keep the run waiting.
    (
        exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- {CX_NETWORK_FD}>&-
        exec setsid "$@"
    ) </dev/null >>"$BATS_TEST_TMPDIR/$name.log" 2>&1 &
    daemon_pid=$!
    echo "$daemon_pid" >"$folder/$name"
}

# pid_of NAME: the process id of a daemon that start_daemon started.
pid_of() {
    cat "$BATS_TEST_TMPDIR/.daemons/$1"
}

# is_running PID: it is there, and not a zombie.
is_running() {
    local stat
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    [[ ${stat##*) } != Z* ]]
}

is_gone() {
    ! is_running "$1"
}

# stop_daemon NAME [SIGNAL [SECONDS]]: asks it to end and waits for that; fails when it does not end
# in time. Its exit status is then in $daemon_status.
stop_daemon() {
    local name=$1 signal=${2:-TERM} seconds=${3:-10} pid
    pid=$(pid_of "$name")
    kill -s "$signal" "$pid" 2>/dev/null || true
    wait_until "$seconds" is_gone "$pid" || fail "$name: still there after $signal" || return
    daemon_status=0
    wait "$pid" 2>/dev/null || daemon_status=$?
    # end_daemons still looks for what it left behind in its session.
    mv "$BATS_TEST_TMPDIR/.daemons/$name" "$BATS_TEST_TMPDIR/.daemons/.ended-$pid"
}

# start_squatter NAME ADDRESS PORT: a stranger that listens there (TCP) and says nothing.
start_squatter() {
    start_daemon "$1" /usr/bin/python3 -c '
import signal, socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("listening", flush=True)
signal.pause()' "$2" "$3"
    wait_until 10 grep -q listening "$BATS_TEST_TMPDIR/$1.log"
}

# end_daemons: kills what is left, with all processes of its session. For teardown.
end_daemons() {
    local file pid
    for file in "$BATS_TEST_TMPDIR"/.daemons/{,.ended-}*; do
        [[ -f $file ]] || continue
        pid=$(<"$file")
        # shellcheck disable=SC2046 # a list of process ids
        kill -KILL $(ps -o pid= -s "$pid") 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
        rm -f "$file"
    done
}

# A file with a teardown of its own calls end_daemons there.
teardown() {
    end_daemons
}

# ---- assertions

# assert_json FILTER EXPECTED: what jq makes of $output, compact; text without its quotes.
assert_json() {
    local actual
    actual=$(jq -rc "$1" <<<"$output" 2>&1) || true
    [[ $actual == "$2" ]] && return
    {
        echo "filter   : $1"
        echo "expected : $2"
        echo "actual   : $actual"
        echo "output   : $output"
        [[ -z ${stderr:-} ]] || echo "stderr   : $stderr"
    } | batslib_decorate "JSON differs" | fail
}

# The exit status that each error code implies (lib/base/err.h).
exit_status_of() {
    case $1 in
        usage) echo 64 ;;
        invalid | malformed | cert_expired | cert_invalid | too_large | corrupt) echo 65 ;;
        not_found) echo 66 ;;
        unavailable) echo 69 ;;
        internal) echo 70 ;;
        exists | cant_create) echo 73 ;;
        io) echo 74 ;;
        busy | timeout | draining | no_majority | interrupted) echo 75 ;;
        protocol) echo 76 ;;
        permission | unauthenticated | token_invalid | token_expired | token_used | revoked) echo 77 ;;
        config) echo 78 ;;
        *) fail "no such error code: $1" ;;
    esac
}

# assert_error CODE: after `run --separate-stderr`: the exit status of CODE, nothing on stdout, and on
# stderr, as its last line, the error as JSON.
assert_error() {
    local line=${stderr##*$'\n'} expected
    expected=$(exit_status_of "$1")
    if [[ $status != "$expected" ]] || [[ -n $output ]] ||
        ! jq -e --arg code "$1" --argjson exit "$expected" \
            '.error | .code == $code and .exit == $exit and .message != ""' <<<"$line" >/dev/null; then
        printf 'status : %s\nstdout : %s\nstderr : %s\n' "$status" "$output" "$stderr" |
            batslib_decorate "not the error $1 (exit $expected)" | fail
    fi
}

# validate_schema NAME [JSON]: JSON (else $output) is a document as share/schemas/NAME.json says.
# validate_schema --lines NAME [JSON]: each line is one.
validate_schema() {
    local lines=()
    if [[ $1 == --lines ]]; then
        lines=(--lines)
        shift
    fi
    /usr/bin/python3 "$CX_ROOT/test/validate.py" "${lines[@]}" "$1" <<<"${2-$output}" || fail "schema $1"
}

# need CMD...: a test that can't run here fails and says why. scripts/setup installs all of them.
need() {
    local command
    for command; do
        type -P "$command" >/dev/null || fail "$command is missing; scripts/setup installs it" || return
    done
}

# ---- crashes

# What makes a step durable. Each is a place to die just before.
CRASH_CALLS=${CRASH_CALLS:-fsync fdatasync rename renameat renameat2 link linkat unlink unlinkat mkdir}

# check_state CHECK WORD WHAT: in a process of its own, where any failing line of CHECK is a failure,
# as in a test.
check_state() {
    local pid
    (
        set -e
        "$1" "$2"
    ) &
    pid=$!
    wait "$pid" || fail "$3: wrong state ($1 $2)"
}

# crash_at_every_step PREPARE RUN CHECK: for every durable system call of RUN: PREPARE makes a fresh
# state, RUN is killed just before the call, `CHECK crashed` looks at what is left (before or after,
# never between), RUN runs again and must succeed, `CHECK done` looks at the result. All three are
# functions (CHECK sets no variables: it runs in a subshell); in RUN the program that is to die is written as `"${crash[@]}" PROGRAM ARG…`, which also
# works for a daemon that RUN starts and uses: then RUN returns when the daemon has died or has done
# its work. How many crashes there were is in $crash_count.
crash_at_every_step() {
    local prepare=$1 run=$2 check=$3 call number trace=$BATS_TEST_TMPDIR/.crash
    need strace
    crash_count=0
    for call in $CRASH_CALLS; do
        for ((number = 1; ; number++)); do
            ((number < 1000)) || fail "$run: no end of $call" || return
            "$prepare"
            rm -f "$trace"
            # Not --seccomp-bpf: with it strace 6.1 injects no signal. No leak detection: it works with
            # ptrace itself.
            crash=(strace -f -qq -o "$trace" -e trace="?$call"
                -e inject="?$call:signal=SIGKILL:when=$number"
                -E "ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0")
            "$run" >"$BATS_TEST_TMPDIR/.crash-output" 2>&1 || true
            crash=()
            grep -q 'killed by SIGKILL' "$trace" || break
            crash_count=$((crash_count + 1))
            check_state "$check" crashed "$run: killed before $call number $number" || return
            "$run" >"$BATS_TEST_TMPDIR/.crash-output" 2>&1 ||
                fail "$run: rerun after $call number $number: $(<"$BATS_TEST_TMPDIR/.crash-output")" ||
                return
            check_state "$check" 'done' "$run: rerun after $call number $number" || return
        done
    done
    ((crash_count > 0)) || fail "$run: no durable step seen: $(<"$BATS_TEST_TMPDIR/.crash-output")"
}
