#!/usr/bin/env bats
# A real node is backed up while 200 messages a second flow, loses everything, and is restored.

load common
load real
load backup
# shellcheck source=../../scripts/lib/load.bash
source "$CX_ROOT/scripts/lib/load.bash"

teardown() {
    touch "$BATS_TEST_TMPDIR/load/stop" 2>/dev/null || true
    end_daemons
}

has_results() {
    (($(wc -l <"$BATS_TEST_TMPDIR/load/counter.results") >= $1))
}

# acknowledged: the ids of the messages that were acknowledged up to now.
acknowledged() {
    jq -rR 'fromjson? | select(.status == "accepted").message_id' "$BATS_TEST_TMPDIR/load/counter.results" | sort
}

# in_ledger: the ids that the agent has done, each once.
in_ledger() {
    jq -r .message_id "$BATS_TEST_TMPDIR/data/agents/counter/log.ndjson" | sort
}

queue_is_empty() {
    [[ $(cx-queue stats | jq '.total | .queued + .in_flight') == 0 ]]
}

@test "a backup under load restores every message that was acknowledged before it began; none is done twice" {
    make_real_certs
    write_real_config
    keys=$BATS_TEST_TMPDIR/keys repo=$BATS_TEST_TMPDIR/repo
    identity=$keys/identity.txt trusted=$keys/sign.pub
    cx-backup keygen --quiet --output "$keys" >"$BATS_TEST_TMPDIR/.keygen"
    start_node
    cx-agents deploy "$CX_ROOT/share/agents/counter.json" >"$BATS_TEST_TMPDIR/.deploy"
    start_load "$BATS_TEST_TMPDIR/load" 200 load "counter/$ADDRESS:8080"
    local kind
    for kind in full incremental; do
        wait_until 60 has_results $(($(wc -l <"$BATS_TEST_TMPDIR/load/counter.results") + 300))
        acknowledged >"$BATS_TEST_TMPDIR/before"
        run -0 --separate-stderr create --type "$kind"
        assert_json .verified true
    done
    # It went on meanwhile, and goes on.
    wait_until 60 has_results $(($(wc -l <"$BATS_TEST_TMPDIR/before") + 100))
    end_load "$BATS_TEST_TMPDIR/load"
    (($(wc -l <"$BATS_TEST_TMPDIR/before") >= 600))

    stop_daemon node KILL
    rm -r "$BATS_TEST_TMPDIR/data"
    run -0 --separate-stderr restore
    start_node

    # The queue knows all of them: whoever sends one again is told that it is there.
    jq -Rc '{message_id: ., receiver: "counter", content: 0}' "$BATS_TEST_TMPDIR/before" |
        cx-queue send - >"$BATS_TEST_TMPDIR/again"
    assert_equal "$(jq -r 'select(.duplicate != true).message_id' "$BATS_TEST_TMPDIR/again" | head -n 3)" ""
    wait_until 60 queue_is_empty
    in_ledger >"$BATS_TEST_TMPDIR/after"
    assert_equal "$(comm -23 "$BATS_TEST_TMPDIR/before" "$BATS_TEST_TMPDIR/after" | head -n 3)" ""
    assert_equal "$(uniq -d "$BATS_TEST_TMPDIR/after")" ""
    assert_equal "$(cx-queue messages stats | jq -c '[.failed, .lost]')" "[0,0]"
}
