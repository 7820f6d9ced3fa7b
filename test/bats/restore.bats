#!/usr/bin/env bats
# cx-restore: into a folder, in place, in part; drills; what must not be restored.

load common
load backup
load fake
load node

@test "run --target: everything, with modes, times and links, in a new folder" {
    make_node
    create >/dev/null
    run -0 cx-restore plan --repo "$repo"
    validate_schema cx-restore-plan
    assert_json '[.places[0].path, .places[0].replaces, .node_runs]' "[\"$node/data\",true,false]"
    run -0 restore --latest --target "$BATS_TEST_TMPDIR/out"
    validate_schema cx-restore-run
    assert_json '[.changed, .verified, .previous, (.restored | length)]' '[true,true,null,5]'
    diff -r "$node/etc/certs" "$BATS_TEST_TMPDIR/out/certs"
    [[ $(stat -c %a "$BATS_TEST_TMPDIR/out/certs/node.key") == 600 ]]
    rm -r "$BATS_TEST_TMPDIR/out"/{certs,config}
    diff <(content "$node/data") <(content "$BATS_TEST_TMPDIR/out")
}

@test "run: in place; the old data stays until --discard-old" {
    make_node
    create >/dev/null
    content "$node/data" >"$BATS_TEST_TMPDIR/before"
    rm -r "$node/data/agents"
    echo damaged >"$node/data/queues.db"
    run -0 restore --dry-run
    assert_json .changed false
    [[ $(<"$node/data/queues.db") == damaged ]]
    run -0 restore
    validate_schema cx-restore-run
    local previous
    previous=$(jq -r .previous <<<"$output")
    [[ $previous == "$node/data.old-"* && $(<"$previous/queues.db") == damaged ]]
    assert_equal "$(find "$node" -maxdepth 1 -name '.*' ! -path "$node")" '' # no lock is left
    diff "$BATS_TEST_TMPDIR/before" <(content "$node/data")
    run -0 cx-restore verify
    validate_schema cx-restore-verify
    assert_json '[.ok, .databases, (.old | length)]' '[true,2,1]'
    run -0 cx-restore verify --repo "$repo" --identity "$identity" --trusted-key "$trusted" --discard-old
    validate_schema cx-restore-verify
    assert_json '[.ok, .changed, .files > 5, .discarded]' '[true,true,true,1]'
    [[ ! -e $previous ]]
    echo other >"$node/data/agents/echo/notes/seven"
    run -1 cx-restore verify --repo "$repo" --identity "$identity" --trusted-key "$trusted"
    assert_json '[.problems[].path]' '["agents/echo/notes/seven"]'
}

@test "run: the disk fails after the exchange: the new data is in place, and the old is still there" {
    make_node
    create >/dev/null
    content "$node/data" >"$BATS_TEST_TMPDIR/before"
    echo unsaved >"$node/data/agents/echo/unsaved"
    failing_restore() {
        strace -qq -o /dev/null -e trace=rename -e inject=rename:error=EIO:when=1 \
            cx-restore run --repo "$repo" --identity "$identity" --trusted-key "$trusted"
    }
    run ! failing_restore
    diff "$BATS_TEST_TMPDIR/before" <(content "$node/data")
    [[ $(cat "$node/data".*/agents/echo/unsaved) == unsaved ]]
    # The next one gives the old data its name.
    run -0 restore
    [[ $(cat "$node/data.old-"*/agents/echo/unsaved) == unsaved ]]
}

@test "run --component, --path: only that; the rest stays as it is" {
    make_node
    create >/dev/null
    sqlite3 "$node/data/queues.db" 'DELETE FROM message'
    echo changed >"$node/data/agents/echo/notes/seven"
    run -0 restore --component message_queues
    [[ $(sqlite3 "$node/data/queues.db" 'SELECT COUNT(*) FROM message') == 3000 ]]
    [[ $(<"$node/data/agents/echo/notes/seven") == changed ]]
    [[ $(sqlite3 "$node/data/registry.db" 'SELECT id FROM agent') == echo ]]
    echo kept >"$node/data/agents/echo/new"
    run -0 restore --path 'agents/echo/notes'
    [[ $(<"$node/data/agents/echo/notes/seven") == "$(seq 7)" && $(<"$node/data/agents/echo/new") == kept ]]
    run --separate-stderr restore --path 'nothing/*'
    assert_error not_found
    run --separate-stderr restore --component nothing
    assert_error not_found
    # Configuration and certificates only where they are asked for.
    echo renewed >"$node/etc/certs/node.crt"
    restore >/dev/null
    [[ $(<"$node/etc/certs/node.crt") == renewed ]]
    run -0 restore --component certificates --component configuration
    [[ $(<"$node/etc/certs/node.crt") == certificate ]]
    [[ $(cat "$node/etc/certs.old-"*/node.crt) == renewed ]]
}

@test "run: damage, another's key or a missing identity change nothing" {
    make_node
    create >/dev/null
    content "$node/data" >"$BATS_TEST_TMPDIR/before"
    run --separate-stderr cx-restore run --repo "$repo" --trusted-key "$trusted"
    assert_error usage
    run --separate-stderr cx-restore run --repo "$repo" --identity "$identity"
    assert_error usage
    (umask 077 && age-keygen -o "$BATS_TEST_TMPDIR/other" 2>/dev/null)
    run --separate-stderr cx-restore run --repo "$repo" --identity "$BATS_TEST_TMPDIR/other" --trusted-key "$trusted"
    assert_error permission
    local victim
    victim=$(find "$repo" -name '*.zst.age' -size +200k | head -n 1)
    printf X | dd of="$victim" bs=1 seek=300 conv=notrunc status=none
    run --separate-stderr restore
    assert_error corrupt
    [[ $stderr == *"${victim##*/}"* ]]
    diff "$BATS_TEST_TMPDIR/before" <(content "$node/data")
    [[ -z $(compgen -G "$node/data.*") ]]
}

@test "run: a node that runs is not touched; by commands it is stopped and started" {
    make_node
    create >/dev/null
    exec {lock}>"$node/data/node.lock"
    flock -n "$lock"
    run --separate-stderr restore
    assert_error busy
    run --separate-stderr restore --no-services
    assert_error busy
    run --separate-stderr restore --timeout 1s --stop-command true
    assert_error timeout
    exec {lock}>&-
    run -0 restore --stop-command "touch '$BATS_TEST_TMPDIR/stopped'"
    [[ -e $BATS_TEST_TMPDIR/stopped ]]
}

@test "run --target: not under a node that runs, not over the repository, only where there is a name" {
    make_node
    create >/dev/null
    exec {lock}>"$node/data/node.lock"
    flock -n "$lock"
    run --separate-stderr restore --target "$node/data"
    assert_error busy
    exec {lock}>&-
    ln -s "$repo" "$BATS_TEST_TMPDIR/link"
    cd "$BATS_TEST_TMPDIR"
    for target in "$repo" "$repo/" link repo/prod .; do
        run --separate-stderr restore --target "$target"
        [[ $status == "$(exit_status_of invalid)" || $status == "$(exit_status_of usage)" ]]
    done
    cd "$node/data"
    for target in '' . .. ./ agents/..; do
        run --separate-stderr restore --target "$target"
        assert_error usage
    done
    compgen -G "$BATS_TEST_TMPDIR/*.old-*" && return 1
    run -0 cx-backup verify --all --repo "$repo" --identity "$identity" --trusted-key "$trusted"
    [[ -e $node/data/queues.db ]]
}

@test "drill: a real node's backup becomes a node again; what it had acknowledged is there" {
    make_pki
    write_node 1
    export CX_CONFIG=$BATS_TEST_TMPDIR/node-1/config.yaml
    keys=$BATS_TEST_TMPDIR/keys repo=$BATS_TEST_TMPDIR/repo
    cx-backup keygen --quiet --output "$keys" >"$BATS_TEST_TMPDIR/.keygen"
    identity=$keys/identity.txt trusted=$keys/sign.pub
    start_node 1
    deploy counter >"$BATS_TEST_TMPDIR/.deploy"
    local number
    for number in {1..20}; do
        send_message '{"receiver":"counter","content":{"n":'"$number"'},"message_id":"m'"$number"'"}' \
            >"$BATS_TEST_TMPDIR/.sent"
    done
    create >/dev/null
    run -0 cx-restore drill --quiet --repo "$repo" --identity "$identity" --trusted-key "$trusted" \
        --scratch "$BATS_TEST_TMPDIR" --progress none
    validate_schema cx-restore-drill
    assert_json '[.ok, [.steps[].name], .agents, .messages]' '[true,["restore","start","answer","messages"],1,20]'
    assert_json '.rpo_seconds > 0 and .rto_seconds > 0' true
    [[ -z $(compgen -G "$BATS_TEST_TMPDIR/cx-drill-*") ]]
    # Killed while its node runs, it takes that along.
    never_answering_node "$BATS_TEST_TMPDIR/bin"
    start_daemon drill "$BATS_TEST_TMPDIR/bin/cx-restore" drill --quiet --repo "$repo" --identity "$identity" --trusted-key "$trusted" \
        --scratch "$BATS_TEST_TMPDIR" --progress none
    wait_until 20 drill_node_runs "$BATS_TEST_TMPDIR"
    kill -KILL "$(pid_of drill)"
    wait_until 10 no_drill_node "$BATS_TEST_TMPDIR"
    rm -r "$BATS_TEST_TMPDIR"/cx-drill-*
    # In place, with the node stopped and started by commands.
    stop_daemon node-1
    rm -r "$BATS_TEST_TMPDIR/node-1/data/queues.db"* "$BATS_TEST_TMPDIR/node-1/data/agents"
    run -0 restore
    start_node 1
    [[ $(figure /api/v1/messages/stats .lost) == 0 ]]
    run -0 figure /api/v1/messages/m20 .message_id
    assert_output m20
}
