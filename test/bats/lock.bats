#!/usr/bin/env bats
# cx-lock: leases of a cluster of three real nodes, which die, hang and come back. The cluster is the
# file's; each test has names of its own and leaves all nodes running.

load common

setup_file() {
    # The tests kill and start the nodes of one cluster.
    export BATS_NO_PARALLELIZE_WITHIN_FILE=true
    export dir=$BATS_FILE_TMPDIR/cluster
    local-cluster up --nodes 3 --dir "$dir" --base "$CX_NETWORK" >"$BATS_FILE_TMPDIR/up"
    local name
    for name in vic:viewer olga:operator adam:admin; do
        cx-ca issue --ca-dir "$dir/node-1/certs/ca" --operator "${name%:*}" --role "${name#*:}" \
            --output "$dir/${name%:*}" >/dev/null
    done
}

teardown_file() {
    local-cluster down --dir "$dir" --purge >"$BATS_FILE_TMPDIR/down"
}

setup() {
    local node
    eval "$(local-cluster env node-1 --dir "$dir")"
    for node in node-1 node-2 node-3; do
        local-cluster start "$node" --dir "$dir" >/dev/null
    done
    wait_until 20 alive 3
}

teardown() {
    local-cluster resume node-3 --dir "$dir" >/dev/null
    end_daemons
}

# ---- helpers

alive() {
    [[ $(cx-gossip members --status alive | jq .count) == "$1" ]]
}

# as FOLDER CMD…: with the certificate that is there.
as() {
    CX_CERT_DIR=$dir/$1 "${@:2}"
}

# kill_nodes NAME…: the node's process only; its gossip agent stays.
kill_nodes() {
    local node
    for node; do
        local-cluster kill "$node" node --dir "$dir" >/dev/null
    done
}

start_nodes() {
    local node
    for node; do
        local-cluster start "$node" node --dir "$dir" >/dev/null
    done
}

fence_of() {
    cx-lock list | jq --arg name "$1" '.leases[] | select(.name == $name).fence'
}

is_held() {
    cx-lock list | jq -e --arg name "$1" '.leases[] | select(.name == $name and .held)' >/dev/null
}

is_free() {
    ! is_held "$1"
}

# api METHOD PATH [BODY]: node-1's, raw; the status is in $http, the answer in $output.
api() {
    local address body=()
    address=$(cx-config get api_addr --raw)
    [[ -z ${3-} ]] || body=(--data-binary "$3" --header 'Content-Type: application/json')
    output=$(curl --silent --show-error --max-time 20 --insecure --request "$1" --path-as-is \
        --cert "$CX_CERT_DIR/operator.crt" --key "$CX_CERT_DIR/operator.key" \
        --write-out '\n%{http_code}' "${body[@]}" "https://$address$2")
    http=${output##*$'\n'}
    output=${output%$'\n'*}
}

# write_script NAME: from stdin, into $scratch/NAME.
write_script() {
    scratch=$BATS_TEST_TMPDIR
    cat >"$scratch/$1"
    chmod +x "$scratch/$1"
}

# ---- acquire, release, list

@test "acquire, list, release: a process owns the lease, and each holder has a higher fence" {
    run --separate-stderr cx-lock acquire first --ttl 60s --reason 'new disk'
    assert_success
    validate_schema cx-lock-acquire
    assert_json .changed true
    assert_json .fence 1
    assert_json '.granted_by | sort' '["node-1","node-2","node-3"]'
    # The same owner may acquire again, and gets a new number.
    run --separate-stderr cx-lock acquire first --ttl 60s --reason 'new disk'
    assert_success
    assert_json .fence 2

    run --separate-stderr cx-lock list
    assert_success
    validate_schema cx-lock-list
    assert_json '[.leases[] | select(.name == "first") | .fence, .held, .alive, .reason, .host]' \
        "[2,true,true,\"new disk\",\"$(hostname)\"]"

    run --separate-stderr cx-lock release first
    assert_success
    validate_schema cx-lock-release
    assert_json .changed true
    is_free first
    run --separate-stderr cx-lock release first
    assert_success
    assert_json .changed false

    run --separate-stderr cx-lock acquire first --owner someone-else
    assert_json .fence 3
    cx-lock release first --owner someone-else
}

@test "acquire: a subshell and a pipeline belong to their script" {
    write_script script <<'SCRIPT'
#!/usr/bin/env bash
set -euo pipefail
fence=$(cx-lock acquire piped | jq .fence)
((fence > 0))
(true; cx-lock release piped) | jq -e .changed
SCRIPT
    run "$scratch/script"
    assert_success
    assert_output true
}

@test "acquire: held by another is 75 with who, where and why; only the owner releases" {
    cx-lock acquire busy --owner night-shift --ttl 60s --reason 'swapping disks'
    run --separate-stderr cx-lock acquire busy --owner me
    assert_error busy
    [[ $stderr == *night-shift*$(hostname)*'swapping disks'* ]]
    run --separate-stderr cx-lock run busy -- true
    assert_error busy
    [[ $stderr == *night-shift*'swapping disks'* ]]
    run --separate-stderr cx-lock release busy --owner me
    assert_error busy
    # The owner's own text under another certificate is another owner.
    run --separate-stderr as olga cx-lock acquire busy --owner night-shift
    assert_error busy
    run --separate-stderr as olga cx-lock release busy --owner night-shift
    [[ $(fence_of busy) == 1 ]]
    cx-lock release busy --owner night-shift
    is_free busy
}

@test "dry runs say what would be and change nothing" {
    run --separate-stderr cx-lock acquire dry --dry-run
    assert_success
    validate_schema cx-lock-acquire
    assert_json .dry_run true
    run --separate-stderr cx-lock run dry --dry-run -- touch "$BATS_TEST_TMPDIR/ran"
    assert_success
    [[ ! -e $BATS_TEST_TMPDIR/ran ]]
    is_free dry
    cx-lock acquire dry --owner other
    run --separate-stderr cx-lock acquire dry --dry-run
    assert_error busy
    run --separate-stderr cx-lock release dry --owner other --dry-run
    assert_json .changed true
    run --separate-stderr cx-lock clear dry --force --dry-run
    assert_json .changed true
    is_held dry
    cx-lock release dry --owner other
}

@test "a wrong name, ttl, owner or option is refused before anything is asked" {
    local arguments
    while read -r arguments; do
        # shellcheck disable=SC2086 # words
        run --separate-stderr cx-lock $arguments
        [[ $status == 64 || $status == 65 ]] || fail "$arguments: $status $stderr"
    done <<'LINES'
acquire a/b
acquire ..
acquire x --ttl 10ms
acquire x --ttl 25h
acquire x --owner a/b
acquire x --pid 99999999999
acquire
run x
clear
clear --force
LINES
    run --separate-stderr cx-lock acquire x --pid 4194304
    assert_error not_found
    is_free x
}

# ---- run

@test "run: the command's status and output are ours; the lease is held meanwhile and given back" {
    run --separate-stderr cx-lock run job -- bash -c 'cx-lock list; exit 7'
    [[ $status == 7 ]]
    assert_json '.leases[] | select(.name == "job") | [.held, .alive]' '[true,true]'
    is_free job
    # shellcheck disable=SC2016 # for the command
    run --separate-stderr cx-lock run job -- bash -c 'echo "$CX_LOCK_NAME $CX_LOCK_FENCE"'
    assert_success
    assert_output 'job 2'
    # shellcheck disable=SC2016 # for the command
    run --separate-stderr cx-lock run job -- bash -c 'kill -USR1 $$'
    [[ $status == $((128 + 10)) ]]
    run --separate-stderr cx-lock run job -- /no/such/program
    assert_error not_found
    is_free job
}

@test "run: a signal is passed on, and the lease is given back" {
    write_script command <<'SCRIPT'
#!/usr/bin/env bash
trap 'echo terminated >"$1.term"; exit 3' TERM
touch "$1.ready"
while true; do read -rt 1 <> <(:) || true; done
SCRIPT
    start_daemon holder cx-lock run signals -- "$scratch/command" "$scratch/f"
    wait_until 10 test -e "$scratch/f.ready"
    stop_daemon holder TERM
    [[ $daemon_status == 3 ]]
    [[ -e $scratch/f.term ]]
    is_free signals
}

@test "run: eight contenders at once have their turn one after the other, fences in order" {
    write_script turn <<'SCRIPT'
#!/usr/bin/env bash
set -euo pipefail
mkdir "$1/critical" # fails when somebody else is inside
echo "$CX_LOCK_FENCE" >>"$1/fences"
rmdir "$1/critical"
SCRIPT
    local i pids=()
    for i in {1..8}; do
        cx-lock run turns --wait 90s -- "$scratch/turn" "$scratch" 2>"$scratch/err-$i" 3>&- &
        pids+=($!)
    done
    for i in "${pids[@]}"; do
        wait "$i" || fail "a contender failed: $(cat "$scratch"/err-*)"
    done
    [[ $(wc -l <"$scratch/fences") == 8 ]]
    sort -nuc "$scratch/fences"
}

@test "run: a long command keeps its lease over many of its lives" {
    run --separate-stderr cx-lock run long --ttl 3s -- bash -c '
        for ((i = 0; i < 10; i++)); do
            sleep 0.5
            ! cx-lock acquire long --owner thief 2>/dev/null || exit 1
        done'
    assert_success
}

@test "run: a holder killed with -9 takes its command along, its lease ends by itself, fences grow" {
    write_script command <<'SCRIPT'
#!/usr/bin/env bash
echo $$ >"$1.pid"
exec sleep 300
SCRIPT
    start_daemon holder cx-lock run killed --ttl 5s -- "$scratch/command" "$scratch/f"
    wait_until 10 test -s "$scratch/f.pid"
    [[ $(fence_of killed) == 1 ]]
    stop_daemon holder KILL
    run --separate-stderr cx-lock acquire killed --owner next
    assert_error busy
    wait_until 5 is_gone "$(<"$scratch/f.pid")"

    run --separate-stderr cx-lock acquire killed --owner next --wait 30s
    assert_success
    assert_json .fence 2
    cx-lock release killed --owner next
}

@test "acquire --wait: tells whom it waits for, gives up at the deadline, ends at a signal" {
    cx-lock acquire awaited --owner slow --ttl 60s --reason 'takes long'
    run --separate-stderr cx-lock acquire awaited --owner next --wait 1s
    [[ $status == 75 && $output == "" ]]
    [[ ${stderr_lines[0]} == *waiting*slow*'takes long'* ]]
    jq -e '.error.code == "busy"' <<<"${stderr_lines[-1]}"

    start_daemon waiter cx-lock acquire awaited --owner next --wait 60s
    wait_until 10 grep -q waiting "$BATS_TEST_TMPDIR/waiter.log"
    stop_daemon waiter TERM
    [[ $daemon_status == 143 ]]
    cx-lock release awaited --owner slow
    is_free awaited
}

@test "run: a lost lease ends the command by SIGTERM, by force when it does not listen, with 75" {
    write_script listens <<'SCRIPT'
#!/usr/bin/env bash
trap 'echo terminated >"$1.term"; exit 0' TERM
touch "$1.ready"
while true; do read -rt 1 <> <(:) || true; done
SCRIPT
    write_script deaf <<'SCRIPT'
#!/usr/bin/env bash
trap '' TERM
(while true; do read -rt 1 <> <(:) || true; done) &
echo "$$ $!" >"$1.pids"
touch "$1.ready"
while true; do read -rt 1 <> <(:) || true; done
SCRIPT
    local which pid
    for which in listens deaf; do
        start_daemon "$which" cx-lock run "lost-$which" --ttl 6s -- "$scratch/$which" \
            "$scratch/$which"
        wait_until 10 test -e "$scratch/$which.ready"
    done
    kill_nodes node-2 node-3
    for which in listens deaf; do
        wait_until 20 is_gone "$(pid_of "$which")"
        stop_daemon "$which"
        [[ $daemon_status == 75 ]] || fail "$which: $daemon_status"
        grep -q '"no_majority"' "$scratch/$which.log"
    done
    [[ -e $scratch/listens.term ]]
    for pid in $(<"$scratch/deaf.pids"); do
        is_gone "$pid" || fail "$pid outlived the lease"
    done
}

@test "clear --force: an administrator's, and the holder loses the lease at its next renewal" {
    start_daemon holder cx-lock run forced --ttl 6s -- sleep 300
    wait_until 10 is_held forced
    run --separate-stderr cx-lock clear forced
    assert_error busy
    [[ $stderr == *'its holder is alive'* ]]
    run --separate-stderr as olga cx-lock clear forced --force
    assert_error permission
    run --separate-stderr as adam cx-lock clear forced --force
    assert_success
    validate_schema cx-lock-clear
    assert_json .changed true
    wait_until 15 is_gone "$(pid_of holder)"
    stop_daemon holder
    [[ $daemon_status == 75 ]]
}

# ---- nodes that are away

@test "one node of three down: leases work; two down: 75 and who is missing" {
    kill_nodes node-3
    run --separate-stderr cx-lock run partly -- true
    assert_success
    run --separate-stderr cx-lock acquire partly --ttl 60s
    assert_success
    assert_json '.granted_by | sort' '["node-1","node-2"]'
    run --separate-stderr cx-lock list
    [[ $status == 1 ]]
    validate_schema cx-lock-list
    assert_json '[.errors[].node_id]' '["node-3"]'
    assert_json '[.leases[] | select(.name == "partly") | .held]' '[true]'

    kill_nodes node-2
    run --separate-stderr cx-lock acquire rarely
    assert_error no_majority
    [[ $stderr == *node-2*node-3* ]]
    run --separate-stderr cx-lock release partly
    assert_error no_majority
    start_nodes node-2 node-3
    run --separate-stderr cx-lock acquire rarely
    assert_success
    cx-lock release rarely
}

@test "a node that hangs costs no time while a majority answers" {
    local-cluster pause node-3 node --dir "$dir"
    local before=$EPOCHREALTIME spent
    cx-lock run hung -- true
    spent=$(((${EPOCHREALTIME/./} - ${before/./}) / 1000))
    ((spent < 2500)) || fail "$spent ms"
}

@test "nodes killed with -9 and started again keep what they granted, and the fence" {
    cx-lock acquire kept --ttl 120s --owner keeper
    cx-lock acquire gone --owner keeper
    cx-lock release gone --owner keeper
    local i
    for i in 1 2; do
        kill_nodes node-1 node-2 node-3
        start_nodes node-1 node-2 node-3
        run --separate-stderr cx-lock acquire kept --owner thief
        assert_error busy
    done
    run --separate-stderr cx-lock list
    assert_json '[.leases[] | select(.name == "kept") | .held, (.granted_by | length)]' '[true,3]'
    run --separate-stderr cx-lock acquire gone --owner other
    assert_json .fence 2
    cx-lock release gone --owner other
    cx-lock release kept --owner keeper
    run --separate-stderr cx-lock acquire kept --owner thief
    assert_json .fence 2
    cx-lock release kept --owner thief
}

answers() {
    cx-lock list --config "$BATS_TEST_TMPDIR/config.yaml" --node "$1"
}

is_traced() {
    ! grep -q '^TracerPid:[[:space:]]*0$' "/proc/$1/status"
}

# alone_acquire NAME OWNER: of the one node that is a cluster by itself.
alone_acquire() {
    cx-lock acquire "$1" --owner "$2" --ttl 60s --config "$BATS_TEST_TMPDIR/config.yaml" \
        --node "$address"
}

@test "a grant is on disk before it is told: a node killed at any step forgets none" {
    need strace
    local number address told killed=0 calls='fsync,fdatasync,pwrite64,write,sendto'
    address=$(free_loopback):8080
    cat >"$BATS_TEST_TMPDIR/config.yaml" <<CONFIG
cluster: $(cx-config get cluster --raw)
node_id: node-1
bind_addr: ${address%:*}:7946
api_addr: $address
data_dir: $BATS_TEST_TMPDIR/data
run_dir: $BATS_TEST_TMPDIR/run
cert_dir: $dir/node-1/certs
bootstrap_expect: 1
CONFIG
    for ((number = 1; number < 60; number++)); do
        start_daemon node cx-node run --config "$BATS_TEST_TMPDIR/config.yaml"
        wait_until 20 answers "$address"
        start_daemon killer strace -f -qq -p "$(pid_of node)" -o /dev/null -e trace="$calls" \
            -e inject="$calls:signal=SIGKILL:when=$number"
        wait_until 10 is_traced "$(pid_of node)"
        told=false
        ! alone_acquire "step-$number" teller &>"$BATS_TEST_TMPDIR/out" || told=true
        ! is_running "$(pid_of node)" || $told || fail "$(<"$BATS_TEST_TMPDIR/out")"
        if is_running "$(pid_of node)"; then
            stop_daemon node KILL
            break
        fi
        stop_daemon node
        killed=$((killed + 1))
        start_daemon node cx-node run --config "$BATS_TEST_TMPDIR/config.yaml"
        wait_until 20 answers "$address"
        if $told; then
            run --separate-stderr alone_acquire "step-$number" thief
            assert_error busy
        fi
        stop_daemon node KILL
    done
    ((killed > 3 && number < 60)) || fail "killed $killed times"
}

# ---- who may

@test "viewers look; operators and nodes take leases" {
    run --separate-stderr as vic cx-lock list
    assert_success
    run --separate-stderr as vic cx-lock acquire roles
    assert_error permission
    run --separate-stderr as olga cx-lock acquire roles --owner o
    assert_success
    run --separate-stderr as olga cx-lock release roles --owner o
    assert_success
    # A node's certificate: one node's own, the others' peer.
    run --separate-stderr as node-2/certs cx-lock run roles -- true
    assert_success
    run --separate-stderr as node-2/certs cx-lock acquire roles --owner n
    assert_success
    as node-2/certs cx-lock release roles --owner n
}

@test "the audit log has each holder and each end, not the renewals" {
    cx-lock run audited --ttl 3s --reason 'for the record' -- sleep 3
    [[ $(jq -c 'select(.target == "audited") | [.action, .result]' "$dir/node-1/data/audit.log" |
        paste -sd' ') == '["lease","ok"] ["lease_release","ok"]' ]]
    grep -q 'for the record' "$dir/node-1/data/audit.log"
}

@test "the API refuses what is no request for a lease" {
    local body
    while IFS= read -r body; do
        api POST /api/v1/leases/hostile "$body"
        [[ $http == 4* ]] || fail "$body: $http $output"
        jq -e .error.code <<<"$output" >/dev/null
    done <<'LINES'
[]
{
"x"
{"owner":"x"}
{"owner":"","ttl":"10s"}
{"owner":"a b","ttl":"10s"}
{"owner":"a/b","ttl":"10s"}
{"owner":7,"ttl":"10s"}
{"owner":"x","ttl":10}
{"owner":"x","ttl":"0s"}
{"owner":"x","ttl":"9999d"}
{"owner":"x","ttl":"10s","fence":-1}
{"owner":"x","ttl":"10s","fence":9007199254740993}
{"owner":"x","ttl":"10s","reason":"\u0007"}
{"owner":"x","ttl":"10s","pid":-4}
{"owner":"x","ttl":"10s","started_at":"yesterday"}
{"owner":"x","ttl":"10s","more":1}
{"owner":"x","owner":"y","ttl":"10s"}
LINES
    body=$(printf '%0300d' 0)
    api POST /api/v1/leases/hostile "{\"owner\":\"$body\",\"ttl\":\"10s\"}"
    [[ $http == 4* ]]
    body=$(printf '%09000d' 0)
    api POST /api/v1/leases/hostile "{\"owner\":\"x\",\"ttl\":\"10s\",\"reason\":\"$body\"}"
    [[ $http == 4* ]]
    api POST '/api/v1/leases/hostile?dry_run=1' '{"owner":"x","ttl":"10s"}'
    [[ $http == 4* ]]
    api POST /api/v1/leases/%2e%2e '{"owner":"x","ttl":"10s"}'
    [[ $http == 4* ]]
    api DELETE /api/v1/leases/hostile '{}'
    [[ $http == 4* ]]
    api GET /api/v1/leases
    validate_schema node-leases
    [[ $(jq '[.leases[] | select(.name == "hostile")] | length' <<<"$output") == 0 ]]
}

@test "the raw grant is what the contract says" {
    api POST /api/v1/leases/raw '{"owner":"curl","ttl":"30s","host":"h","reason":"r"}'
    [[ $http == 200 ]]
    validate_schema node-lease
    assert_json '[.granted, .outcome, .fence, .holder.reason]' '[true,"granted",0,"r"]'
    api POST /api/v1/leases/raw '{"owner":"curl","ttl":"30s","fence":5}'
    assert_json '[.granted, .fence, .last_fence]' '[true,5,5]'
    api POST /api/v1/leases/raw '{"owner":"other","ttl":"30s"}'
    validate_schema node-lease
    assert_json '[.granted, .outcome, .fence]' '[false,"held",5]'
    api DELETE /api/v1/leases/raw '{"owner":"other"}'
    validate_schema node-lease
    assert_json '[.changed, .holder.fence]' '[false,5]'
    api DELETE /api/v1/leases/raw '{"owner":"curl"}'
    assert_json '[.changed, .holder]' '[true,null]'
    api POST /api/v1/leases/raw '{"owner":"curl","ttl":"30s","fence":5}'
    assert_json '[.granted, .outcome]' '[false,"stale_fence"]'
}

# ---- marks

@test "list --all-marks: drained nodes and lock files with their holders; clear --dead lifts the dead" {
    cx-drain enter node-3 --mode maintenance --duration 1h --reason 'new memory' >/dev/null
    local mark
    mark=$(jq -nc --arg host "$(hostname)" --arg boot "$(</proc/sys/kernel/random/boot_id)" \
        '{owner: "backup", host: $host, boot_id: $boot, pid: 4194303, started_ticks: 5,
          started_at: "2026-01-01T00:00:00Z", reason: "killed"}')
    echo "$mark" >"$dir/node-1/data/dead.lock"
    jq -c '.host = "elsewhere"' <<<"$mark" >"$dir/node-1/data/elsewhere.lock"
    cx-health silence node_down --subject node-2 --for 1h --reason 'new disk' >/dev/null
    start_daemon dying cx-lock run dead-lease --ttl 10m -- sleep 300
    wait_until 10 is_held dead-lease
    stop_daemon dying KILL

    run --separate-stderr cx-lock list --all-marks
    assert_success
    validate_schema cx-lock-list
    assert_json '.leases[] | select(.name == "dead-lease").alive' false
    assert_json '.marks[] | select(.kind == "node_state") | [.node_id, .state, .reason]' \
        '["node-3","maintenance","new memory"]'
    assert_json '.marks[] | select(.kind == "silence") | [.name, .node_id, .reason, .alive]' \
        '["node_down","node-2","new disk",null]'
    assert_json '[.marks[] | select(.name == "dead.lock") | .alive, .owner]' '[false,"backup"]'
    assert_json '[.marks[] | select(.name == "elsewhere.lock").alive]' '[null]'
    assert_json '[.marks[] | select(.name == "node.lock") | .alive, .pid > 0]' '[true,true]'

    run --separate-stderr cx-lock clear node.lock --force
    assert_error busy
    run --separate-stderr cx-lock clear elsewhere.lock
    assert_error busy
    run --separate-stderr cx-lock clear --dead
    assert_success
    validate_schema cx-lock-clear
    # What other tests have left may be there too.
    assert_json '[.cleared[].name | select(startswith("dead"))] | sort' '["dead-lease","dead.lock"]'
    [[ ! -e $dir/node-1/data/dead.lock && -e $dir/node-1/data/elsewhere.lock ]]
    is_free dead-lease
    run --separate-stderr cx-lock clear --dead
    assert_json .changed false
    run --separate-stderr cx-lock clear elsewhere.lock --force
    assert_json .changed true
    cx-drain exit node-3 >/dev/null
}
