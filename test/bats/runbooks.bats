#!/usr/bin/env bats
# The runbooks, each on its incident made for real, in one cluster of three nodes: it ends it, and no acknowledged
# message is lost; or it says that it can't. With nothing wrong it changes nothing.
# shellcheck disable=SC2030,SC2031,SC2154 # each test is a subshell of its own

load common
load runbooks

setup_file() {
    shared_cluster_up
}

teardown_file() {
    shared_cluster_down
}

setup() {
    use_cluster
    wait_until 30 well
}

teardown() {
    touch "$BATS_TEST_TMPDIR/load/stop" 2>/dev/null || true
    end_daemons
}

@test "on a healthy cluster a runbook changes nothing and says that nothing is wrong" {
    everything >"$BATS_TEST_TMPDIR/before"
    runbook nothing_wrong 0 node-failure node-2 --yes
    runbook nothing_wrong 0 performance-degradation --latency 60s --yes
    runbook nothing_wrong 0 network-partition --yes
    runbook nothing_wrong 0 high-error-rate --yes
    runbook nothing_wrong 0 memory-exhaustion node-2 --yes
    runbook nothing_wrong 0 certificate-expiry node-2 --yes
    runbook nothing_wrong 0 disk-full node-2 --threshold 99 --yes
    runbook nothing_wrong 0 data-corruption node-2 --yes
    everything >"$BATS_TEST_TMPDIR/after"
    diff "$BATS_TEST_TMPDIR/before" "$BATS_TEST_TMPDIR/after"
    [[ ! -e $BATS_TEST_TMPDIR/incidents ]]
}

@test "what a runbook looks at is the daemon's, and what it starts holds no lock of its own" {
    local folder=$BATS_TEST_TMPDIR/own lock
    mkdir -p "$folder"
    printf '%s_dir: %s\n' data "$folder" log "$folder" run "$folder" >"$folder/config.yaml"
    exec {lock}>"$folder/node.lock"
    flock "$lock"
    # Somebody has the lock, who is no cx-node.
    run --separate-stderr env CX_CONFIG="$folder/config.yaml" bash "$CX_ROOT/scripts/lib/host-look"
    assert_json '.daemons["cx-node"].state' gone
    exec {lock}>&-
    # shellcheck disable=SC2016 # expanded there
    run bash -c 'source "$1/scripts/lib/remote.bash"
        exec 7>"$2/a" 8>"$2/b"
        deadlined 10 find /proc/self/fd -lname "$2/*"' bash "$CX_ROOT" "$folder"
    assert_success
    assert_output ""
}

@test "node-failure: daemons killed with -9 run again, under load, and nothing acknowledged is lost" {
    begin_load
    local-cluster kill node-3 >/dev/null
    # Nobody to ask, and nobody said yes: it finds out what is to be done, and does nothing.
    runbook not_confirmed 75 node-failure node-3
    cause_is process_crashed
    assert_equal "$(jq -c .changes <<<"$incident")" '[]'
    run local-cluster status
    assert_json '.nodes[2].node.state' stopped

    runbook planned 0 node-failure node-3 --dry-run
    runbook ended 0 node-failure node-3 --yes
    cause_is process_crashed
    assert_equal "$(jq -c '[.messages.lost, .messages.before.nodes["node-3"].source, .unresolved]' <<<"$incident")" '[0,"disk",[]]'
    assert_equal "$(jq -c '[.changes[].step]' <<<"$incident")" '["restart"]'
    well
    none_lost
}

@test "node-failure: a node that hangs (SIGSTOP) is restarted; one that left in order is not" {
    local-cluster pause node-2 node >/dev/null
    runbook ended 0 node-failure node-2 --yes
    cause_is process_hung
    well

    local-cluster stop node-2 >/dev/null
    runbook not_ended 1 node-failure node-2 --yes
    cause_is stopped
    assert_equal "$(jq -c .changes <<<"$incident")" '[]'
    local-cluster start node-2 >/dev/null
}

# odd AGENT NODE [LIMITS]: an agent that does what it is asked: {"hang":1} answers that attempt never, {"grow":N} keeps N MiB
# more, {"fail":true} fails until its state folder has the file well.
odd() {
    cat >"$BATS_TEST_TMPDIR/odd" <<'END'
#!/usr/bin/env python3
import json, os, sys, time
kept = []
for line in sys.stdin:
    message = json.loads(line)
    content = message.get("content") or {}
    if content.get("hang", 0) >= message.get("attempt", 1):
        time.sleep(3600)
    kept.append(b"x" * (content.get("grow", 0) << 20))
    failed = content.get("fail") and not os.path.exists("well")
    print(json.dumps({"in_reply_to": message["message_id"], "performative": "failure" if failed else "inform", "content": None}), flush=True)
END
    chmod +x "$BATS_TEST_TMPDIR/odd"
    jq -nc --arg id "$1" --arg path "$BATS_TEST_TMPDIR/odd" '{id: $id, command: [$path], max_attempts: 3, limits: {memory_bytes: 268435456}}' |
        cx-agents deploy - --node "$2" >/dev/null
}

slow_agents_are() {
    [[ $(cx-agents slow --threshold 1s --all | jq .count) == "$1" ]]
}

message_is() {
    [[ $(cx-queue messages show "$1" --node "$2" | jq -r .state) == "$3" ]]
}

@test "a runbook killed with -9 is resumed and ends it; a second operator meanwhile is told who works" {
    local pid run="$CLUSTER/node-1/log/runs/node-failure"
    # It blocks at its first try, and is killed there.
    local blocking="test -e $BATS_TEST_TMPDIR/tried && exec on-node node-3 -- bash -c '\$CX_RESTART'; touch $BATS_TEST_TMPDIR/tried; exec sleep 600"
    local-cluster kill node-3 node >/dev/null
    setsid node-failure node-3 --yes --restart-command "$blocking" --incident-dir "$BATS_TEST_TMPDIR/incidents" \
        </dev/null >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
    pid=$!
    wait_until 60 test -e "$BATS_TEST_TMPDIR/tried"
    run --separate-stderr node-failure node-3 --yes </dev/null
    assert_error busy
    [[ $stderr == *"held by"* ]]
    kill -KILL -- "-$pid"
    wait "$pid" || true
    runbook ended 0 node-failure --resume --yes --restart-command "$blocking"
    cause_is process_crashed
    assert_equal "$(find "$run" -name run.json -newer "$BATS_TEST_TMPDIR/tried" | wc -l)" 0
    well
}

@test "performance-degradation: an agent that hangs, and the queue behind it: restarted, drained, nothing lost" {
    local quick=(--latency 60s --slow-threshold 1s --queue-limit 4 --drain-timeout 30s)
    odd hangs node-2
    jq -nc 'range(9) | {message_id: "hang-\(.)", receiver: "hangs", content: {hang: (if . == 0 then 1 else 0 end)}}' |
        cx-queue send - --node node-2 >/dev/null
    wait_until 20 slow_agents_are 1
    runbook not_confirmed 75 performance-degradation "${quick[@]}"
    runbook ended 0 performance-degradation "${quick[@]}" --yes
    cause_is slow_agents
    assert_equal "$(jq -c '[.messages.lost, [.changes[].step]]' <<<"$incident")" '[0,["restart_slow","drain_queues"]]'
    wait_until 10 message_is hang-8 node-2 "done"

    # One that hangs at every attempt is not mended by a restart, and that is what it says.
    cx-queue send --to hangs --node node-2 --content '{"hang":99}' --id hang-always >/dev/null
    wait_until 20 slow_agents_are 1
    runbook not_ended 1 performance-degradation "${quick[@]}" --recover-timeout 2s --yes
    [[ $(jq -r '.unresolved[]' <<<"$incident") == *"hangs on node-2"* ]]
    cx-agents remove hangs --node node-2 --force >/dev/null
}

@test "high-error-rate: an agent that fails is suspended and what comes waits; mended, all that failed is done" {
    odd fails node-3
    jq -nc 'range(9) | {message_id: "fail-\(.)", receiver: "fails", content: {fail: true}}' | cx-queue send - --node node-3 >/dev/null
    wait_until 20 message_is fail-8 node-3 failed
    runbook not_ended 1 high-error-rate --threshold 0 --try-timeout 20s --recover-timeout 2s --yes
    cause_is agent_fails
    assert_equal "$(jq -c '.messages.lost' <<<"$incident")" 0
    [[ $(jq -r '.unresolved[]' <<<"$incident") == *"it is suspended"* ]]
    assert_equal "$(cx-agents show fails --node node-3 | jq -r .state)" suspended

    touch "$CLUSTER/node-3/data/agents/fails/well"
    cx-agents resume fails --node node-3 >/dev/null
    runbook ended 0 high-error-rate --threshold 0 --try-timeout 20s --yes
    wait_until 10 message_is fail-8 node-3 "done"
    assert_equal "$(cx-queue messages list --node node-3 --state failed | jq .count)" 0
    cx-agents remove fails --node node-3 --force >/dev/null
}

has_grown() {
    cx-agents show "$1" --node "$2" | jq -e '.rss_bytes > 220000000'
}

@test "memory-exhaustion: an agent near its limit is restarted; memory that others use is told, not touched" {
    odd hog node-2
    cx-queue send --to hog --node node-2 --content '{"grow":225}' --wait 20s >/dev/null
    wait_until 30 has_grown hog node-2
    runbook ended 0 memory-exhaustion node-2 --agent-threshold 80 --yes
    cause_is agent
    assert_equal "$(jq -c '[.messages.lost, [.changes[].step]]' <<<"$incident")" '[0,["restart_agents"]]'
    cx-agents remove hog --node node-2 --force >/dev/null

    printf 'health_checks:\n  node_health:\n    interval: 10s\n    checks:\n      - memory_usage < 1%%\n' >"$BATS_TEST_TMPDIR/health.yaml"
    runbook not_ended 1 memory-exhaustion node-2 --policy "$BATS_TEST_TMPDIR/health.yaml" --recover-timeout 1s --yes
    cause_is other_process
    assert_equal "$(jq -c .changes <<<"$incident")" '[]'
}

@test "network-partition: one that heals is waited for; one that stays is told with who does not reach whom" {
    need nft
    begin_load
    local-cluster partition node-3 >/dev/null
    wait_until 20 is_failed node-3
    runbook not_ended 1 network-partition --heal-timeout 1s --recover-timeout 1s --yes
    cause_is partition
    [[ $(jq -r '.unresolved[]' <<<"$incident") == *"node-1 -> node-3"* ]]

    heal_while_waiting 3>&- &
    runbook ended 0 network-partition --heal-timeout 60s --yes
    assert_equal "$(jq -c .messages.lost <<<"$incident")" 0
    none_lost
}

# heal_while_waiting: when the second run of the runbook waits for it.
heal_while_waiting() {
    wait_until 120 waits_twice
    local-cluster heal >/dev/null
}

waits_twice() {
    [[ $(cat "$CLUSTER"/node-1/log/runs/network-partition/*/journal.ndjson | grep -c '"step":"wait_for_healing","status":"started"') == 2 ]]
}

is_failed() {
    [[ $(cx-gossip members | jq -r --arg node "$1" '.members[] | select(.node_id == $node).status') == failed ]]
}

served_until() {
    cx-node status --node "$1" | jq -r .certificate.not_after
}

@test "certificate-expiry: one with two days left, and one that has ended, are renewed over the network" {
    local before validity
    for validity in 2d 1s; do
        cx-ca issue --ca-dir "$CLUSTER/node-1/certs/ca" --node-id node-3 --san "IP:$(jq -r .base "$CLUSTER/cluster.json").13" \
            --validity "$validity" --output "$CLUSTER/node-3/certs" --force >/dev/null
        before=$(sha256sum "$CLUSTER/node-3/certs/node.key")
        runbook ended 0 certificate-expiry node-3 --yes
        [[ $(jq -r .cause <<<"$incident") == @(expires|expired) ]]
        assert_equal "$(jq -c '[.messages.lost, [.changes[].step]]' <<<"$incident")" '[0,["renew"]]'
        assert_equal "$(sha256sum "$CLUSTER/node-3/certs/node.key")" "$before"
        [[ $(served_until node-3) > $(date -u -d '+80 days' +%FT%T) ]]
    done
}

@test "disk-full: rotated logs give way on a small disk; a stranger's file is named and stays" {
    local place=$CLUSTER/node-3
    ((EUID == 0)) || skip "only root may mount"
    local-cluster stop node-3 >/dev/null
    mv "$place" "$place.disk"
    mkdir "$place"
    mount -t tmpfs -o size=48m tmpfs "$place"
    cp -a "$place.disk/." "$place/"
    local-cluster start node-3 >/dev/null
    wait_until 30 well
    fallocate -l 42M "$place/log/node.log.1"
    touch -d '3 days ago' "$place/log/node.log.1"

    runbook ended 0 disk-full node-3 --yes
    cause_is logs
    [[ ! -e $place/log/node.log.1 ]]
    assert_equal "$(jq -c .messages.lost <<<"$incident")" 0

    fallocate -l 42M "$place/data/stranger"
    runbook not_ended 1 disk-full node-3 --yes
    [[ $(jq -r '.unresolved[]' <<<"$incident") == *data/stranger* ]]
    [[ -e $place/data/stranger ]]
    rm "$place/data/stranger"
    local-cluster stop node-3 >/dev/null
    cp -a "$place/." "$place.disk/"
    umount "$place"
    rmdir "$place"
    mv "$place.disk" "$place"
    local-cluster start node-3 >/dev/null
}

make_backup() {
    keys=$BATS_TEST_TMPDIR/keys repo=$BATS_TEST_TMPDIR/repo
    mkdir -p "$repo"
    cx-backup keygen --quiet --output "$keys" >/dev/null
    local-cluster exec "$1" -- cx-backup create --quiet --repo "$repo" --recipients-file "$keys/recipients.txt" --sign-key "$keys/sign.key" >/dev/null
}

# flip FILE: bits within its pages, of a node that is stopped.
flip() {
    dd if=/dev/urandom of="$1" bs=1 seek=4100 count=3000 conv=notrunc 2>/dev/null
}

@test "data-corruption: a registry comes back from the backup, nothing is lost; without one, or of the queues, it says the truth" {
    local how=(--stop-command "local-cluster stop node-3 node" --start-command "local-cluster start node-3 node" --yes)
    make_backup node-3
    cx-queue send --to counter-3 --id after-the-backup --wait 10s >/dev/null
    local-cluster stop node-3 node >/dev/null
    flip "$CLUSTER/node-3/data/registry.db"
    runbook not_ended 1 data-corruption node-3 "${how[@]}" --repo "$BATS_TEST_TMPDIR/none"
    [[ $(jq -r '.unresolved[]' <<<"$incident") == *"no backup"* ]]
    how+=(--repo "$repo" --trusted-key "$keys/sign.pub")
    runbook not_ended 1 data-corruption node-3 "${how[@]}"
    [[ $(jq -r '.unresolved[]' <<<"$incident") == *--identity* ]]
    how+=(--identity "$keys/identity.txt")
    flip "$CLUSTER/node-3/data/leases.db"
    runbook ended 0 data-corruption node-3 "${how[@]}"
    assert_equal "$(jq -c '[.messages.lost, [.changes[].step]]' <<<"$incident")" '[0,["set_leases_aside","restore"]]'
    well
    message_is after-the-backup node-3 "done"

    local-cluster stop node-3 node >/dev/null
    flip "$CLUSTER/node-3/data/queues.db"
    runbook not_ended 1 data-corruption node-3 "${how[@]}"
    [[ $(jq -r '.unresolved[]' <<<"$incident") == *"may be lost"* ]]
    assert_equal "$(jq -c .messages.lost <<<"$incident")" null
    well
    run ! grep -rqF "$(tail -n 1 "$keys/identity.txt")" "$CLUSTER"
}

@test "backup-failure: a damaged segment and a dead writer's lock are mended; a destination that is away is told" {
    make_backup node-1
    local how=(--repo "$repo" --recipients-file "$keys/recipients.txt" --sign-key "$keys/sign.key" --trusted-key "$keys/sign.pub" --yes) segment
    runbook nothing_wrong 0 backup-failure "${how[@]}"
    segment=$(find "$repo" -name '*.zst.age' -path '*/segments/*' -print -quit)
    dd if=/dev/urandom of="$segment" bs=1 seek=40 count=20 conv=notrunc 2>/dev/null
    # The lock of a writer that is long gone.
    jq -nc --arg boot "$(cat /proc/sys/kernel/random/boot_id)" --arg host "$(uname -n)" '{owner: "cx-backup create", host: $host, boot_id: $boot, pid: 1999999,
        started: 1, reason: "test", acquired_at: "2026-01-01T00:00:00Z", lease_seconds: 600, token: "t"}' >"$repo/local/node-1/lock.json"
    touch -d '1 hour ago' "$repo/local/node-1/lock.json"
    runbook ended 0 backup-failure "${how[@]}"
    cause_is damaged
    assert_equal "$(jq -c '[.changes[].step]' <<<"$incident")" '["set_aside","back_up"]'
    [[ -e $segment.damaged ]]

    mv "$repo" "$repo.away"
    runbook not_ended 1 backup-failure "${how[@]}"
    cause_is destination_missing
    [[ ! -e $repo ]]
}
