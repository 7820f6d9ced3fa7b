#!/usr/bin/env bats
# cx-backup: keys, backups, what they hold, how long they stay.

load common
load backup

# by_hand: runs the page's own blocks, word for word, as one session.
by_hand() {
    sed -n '/^```sh$/,/^```$/{/^```/d;p}' "$CX_ROOT/share/restore-by-hand.md" >"$BATS_TEST_TMPDIR/by-hand"
    REPO=$(here "$repo") IDENTITY=$identity TRUSTED=$trusted TARGET=$1 TMPDIR=$BATS_TEST_TMPDIR \
        bash "$BATS_TEST_TMPDIR/by-hand"
}

# writer FILE SECONDS: a process that commits a message in each of its transactions and prints its number
# when it is committed.
writer() {
    /usr/bin/python3 - "$1" "$2" <<'END'
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
end = time.monotonic() + float(sys.argv[2])
number = 1000000
while time.monotonic() < end:
    number += 1
    db.execute("INSERT INTO message VALUES (?, ?)", (number, "x" * 500))
    print(number, flush=True)
    time.sleep(0.002)
END
}

@test "keygen: makes what age and minisign read, once; secrets are 0600" {
    run -0 cx-backup keygen --quiet --output "$BATS_TEST_TMPDIR/k"
    validate_schema cx-backup-keygen
    assert_json .changed true
    cd "$BATS_TEST_TMPDIR/k"
    [[ $(stat -c %a identity.txt sign.key naming.key | sort -u) == 600 ]]
    [[ $(age-keygen -y identity.txt) == "$(<recipients.txt)" ]]
    echo text >file
    minisign -S -W -s sign.key -m file >/dev/null
    minisign -V -q -p sign.pub -m file
    cp identity.txt before
    run -0 cx-backup keygen --quiet --output .
    assert_json .changed false
    cmp before identity.txt
    run -0 cx-backup keygen --quiet --dry-run --output "$BATS_TEST_TMPDIR/none"
    assert_json .changed true
    [[ ! -e $BATS_TEST_TMPDIR/none ]]
}

@test "create: a full backup, which comes back by hand with age, zstd, tar, jq and minisign" {
    make_node
    run -0 create --type full
    validate_schema cx-backup-create
    assert_json '[.changed, .type, .parent, .verified, .skipped]' '[true,"full",null,true,0]'
    assert_json '[.components[].name]' \
        '["agent_registry","agent_state","message_queues","configuration","certificates"]'
    assert_json '.files' 12
    run -0 by_hand "$BATS_TEST_TMPDIR/restored"
    assert_output --partial 'Signature and comment signature verified'
    diff <(content "$node/data") <(cd "$BATS_TEST_TMPDIR/restored" && mv certs config .. && content .)
    diff "$node/etc/config.yaml" "$BATS_TEST_TMPDIR/config/config.yaml"
    diff -r "$node/etc/certs" "$BATS_TEST_TMPDIR/certs"
    [[ $(stat -c %a "$BATS_TEST_TMPDIR/certs/node.key") == 600 ]]
}

@test "by hand: put in place, nothing of the data folder is left behind" {
    make_node
    echo '{"members":[]}' >"$node/data/gossip.state"
    sqlite3 "$node/data/leases.db" 'CREATE TABLE fence (value INTEGER); INSERT INTO fence VALUES (7)'
    wait_until 5 is_settled "$node"
    create >/dev/null
    by_hand "$BATS_TEST_TMPDIR/restored" >/dev/null
    content "$node/data" >"$BATS_TEST_TMPDIR/before"
    rm -r "$node/data/agents"
    # The page's last block: as root on a host it names the real folder and the real unit.
    sed -n '/^## 6/,$s/^    //p' "$CX_ROOT/share/restore-by-hand.md" |
        sed "s:/var/lib/caxton:$node/data:g" >"$BATS_TEST_TMPDIR/in-place"
    [[ $(grep -c . "$BATS_TEST_TMPDIR/in-place") -ge 6 ]]
    systemctl() { echo "$*" >>"$BATS_TEST_TMPDIR/units"; }
    export -f systemctl
    TARGET=$BATS_TEST_TMPDIR/restored bash -euo pipefail "$BATS_TEST_TMPDIR/in-place"
    diff "$BATS_TEST_TMPDIR/before" <(content "$node/data")
    [[ $(stat -c %a "$node/data") == 700 && -d $node/data.old ]]
    diff <(printf '%s cx-node\n' stop start) "$BATS_TEST_TMPDIR/units"
}

@test "create: with keys of age and minisign themselves" {
    make_node
    rm -r "$keys" && mkdir "$keys"
    age-keygen -o "$identity" 2>/dev/null
    age-keygen -y "$identity" >"$keys/recipients.txt"
    minisign -G -W -s "$keys/sign.key" -p "$trusted" >/dev/null
    run -0 create
    restore --target "$BATS_TEST_TMPDIR/out" >/dev/null
    cmp "$node/data/agents/echo/large" "$BATS_TEST_TMPDIR/out/agents/echo/large"
}

@test "create: no path of the node, and no identity, is in the clear or needed" {
    make_node
    mv "$identity" "$BATS_TEST_TMPDIR/elsewhere"
    run -0 create
    run ! grep -rqaE 'agents|echo|node\.key|queues\.db' "$repo"
    [[ $(find "$repo" -type f -perm /077) == "" ]]
}

@test "create: an incremental backup reads what changed only, and restores alone" {
    make_node
    create --type full >/dev/null
    echo 8 >>"$node/data/agents/echo/notes/seven"
    echo new >"$node/data/agents/echo/new"
    rm "$node/data/agents/echo/middling"
    run -0 create --type incremental
    assert_json '[.type, (.parent | test("-full-"))]' '["incremental",true]'
    # Neither the large file nor the databases.
    assert_json '.read_bytes < 1000' true
    rm -rf "$(here "$repo")"/backups/*-full-*
    restore --latest --target "$BATS_TEST_TMPDIR/out" >/dev/null
    rm -r "$BATS_TEST_TMPDIR/out/"{config,certs}
    diff <(content "$node/data") <(content "$BATS_TEST_TMPDIR/out")
}

@test "create: an unchanged node stores no segment again, full or incremental" {
    make_node
    create --type full >/dev/null
    run -0 create --type full
    assert_json '[.new_segments, .read_bytes > 3000000]' '[0,true]'
    run -0 create --type incremental
    assert_json '[.new_segments, .read_bytes]' '[0,0]'
}

@test "create: a full backup stores damage anew that it finds in what is stored; an incremental one does not look" {
    local objects first second
    make_node
    run -0 create --type full
    assert_json '[.checked_bytes, .damaged_segments]' '[0,0]'
    first=$(jq -r .id <<<"$output")
    mapfile -t objects < <(find "$repo" -path '*/segments/*' -name '*.age')
    dd if=/dev/zero of="${objects[0]}" bs=1 seek=300 count=20 conv=notrunc 2>/dev/null
    run -0 create --type incremental
    assert_json '[.new_segments, .checked_bytes, .damaged_segments]' '[0,0,0]'

    run -0 create --type full
    validate_schema cx-backup-create
    assert_json '[.new_segments, .damaged_segments, .destinations[0].damaged_segments, .verified]' '[1,1,1,true]'
    # Each object is read once, and no byte besides.
    assert_json .checked_bytes "$(cat "${objects[@]}" | wc -c)"
    second=$(jq -r .id <<<"$output")
    run -0 cx-backup verify --repo "$repo" --identity "$identity" --trusted-key "$trusted" "$second"
    run -1 cx-backup verify --repo "$repo" --identity "$identity" --trusted-key "$trusted" "$first"
    run -0 create --type full
    assert_json '[.new_segments, .damaged_segments]' '[0,0]'
}

@test "a repository of a format that is not known is refused by every command" {
    local id args
    make_node
    id=$(create --type full | jq -r .id)
    for args in "create --recipients-file $keys/recipients.txt --sign-key $keys/sign.key" list \
        "show $id" "ls $id --identity $identity" "verify $id" "prune --dry-run" "copy --to $BATS_TEST_TMPDIR/other"; do
        sed -i 's/"format": *1/"format":99/' "$(here "$repo")/repo.json"
        # shellcheck disable=SC2086 # words
        run --separate-stderr cx-backup ${args%% *} --repo "$repo" ${args#"${args%% *}"}
        assert_error config
    done
    run -1 cx-backup status --repo "$repo" # of many destinations, each for itself
    assert_json '.destinations[0].error.code' config
    run --separate-stderr cx-restore run --latest --repo "$repo" --identity "$identity" --trusted-key "$trusted" --target "$BATS_TEST_TMPDIR/out"
    assert_error config
    # Damage to it alone keeps nobody from what is stored.
    echo '{' >"$(here "$repo")/repo.json"
    run -0 cx-backup list --repo "$repo"
    restore --latest --target "$BATS_TEST_TMPDIR/out" >/dev/null
}

@test "create: the parent is one that this repository has" {
    make_node
    create --type full >/dev/null
    repo=$BATS_TEST_TMPDIR/second
    run -0 create --type incremental
    assert_json '[.type, .parent]' '["incremental",null]'
    run -0 create --type incremental
    assert_json '.parent != null' true
}

@test "create: auto is full first, incremental then, full again after a day" {
    make_node
    run -0 create
    assert_json .type full
    run -0 create
    assert_json .type incremental
    find "$repo" -name '*.minisig' -exec touch -d '-25 hours' {} +
    run -0 create --type auto
    assert_json .type full
}

@test "create: without what is remembered it says so, reads everything and stores nothing twice" {
    make_node
    create --type full >/dev/null
    rm -r "$node/data/.cx-backup"
    run -0 --separate-stderr cx-backup create --type incremental --repo "$repo" \
        --recipients-file "$keys/recipients.txt" --sign-key "$keys/sign.key"
    assert_json '[.new_segments, .parent, .read_bytes > 3000000]' '[0,null,true]'
    [[ $stderr == *"every file is read"* ]]
    for damage in 'x' '{"format":1}' ''; do
        create >/dev/null
        printf '%s' "$damage" >"$node/data/.cx-backup/index.ndjson"
        run -0 create --type incremental
        assert_json '[.new_segments, .read_bytes > 3000000]' '[0,true]'
    done
}

@test "create: a database is one consistent snapshot with every message that was committed before" {
    make_node
    writer "$node/data/queues.db" 3 >"$BATS_TEST_TMPDIR/committed" 3>&- &
    local pid=$!
    has_lines() { (($(wc -l <"$BATS_TEST_TMPDIR/committed") > 100)); }
    wait_until 10 has_lines
    local before
    before=$(tail -n 1 "$BATS_TEST_TMPDIR/committed")
    create --type full >/dev/null
    before2=$(tail -n 1 "$BATS_TEST_TMPDIR/committed")
    create --type incremental >/dev/null
    wait "$pid"
    restore --latest --target "$BATS_TEST_TMPDIR/out" >/dev/null
    run -0 sqlite3 "$BATS_TEST_TMPDIR/out/queues.db" 'PRAGMA integrity_check' \
        "SELECT COUNT(*) = $before2 - 1000000 FROM message WHERE id BETWEEN 1000001 AND $before2"
    assert_output $'ok\n1'
    restore "$(backup_ids "$repo" | grep -- -full-)" --target "$BATS_TEST_TMPDIR/out2" >/dev/null
    run -0 sqlite3 "$BATS_TEST_TMPDIR/out2/queues.db" 'PRAGMA integrity_check' \
        "SELECT COUNT(*) = $before - 1000000 FROM message WHERE id BETWEEN 1000001 AND $before"
    assert_output $'ok\n1'
    # Nothing is left beside the databases, and the node's own files are as they were.
    run -0 sqlite3 "$node/data/queues.db" 'PRAGMA integrity_check'
    assert_output ok
}

@test "create: only what is asked for; a component that lost everything is not passed over" {
    make_node
    run -0 create --component message_queues --component certificates
    assert_json '[.components[].name]' '["message_queues","certificates"]'
    run --separate-stderr create --component nothing
    assert_error usage
    create >/dev/null
    rm "$node/data/registry.db"
    run --separate-stderr create
    assert_error corrupt
    run -0 create --allow-missing
    rm -r "$node/data"
    run --separate-stderr create
    assert_error not_found
    [[ ! -e $node/data ]]
}

@test "create: several destinations in one run; one that fails hides neither itself nor the others" {
    make_node
    touch "$BATS_TEST_TMPDIR/file"
    run -0 create --repo "$BATS_TEST_TMPDIR/second"
    assert_json '[.destinations[].verified]' '[true,true]'
    run -1 create --repo "$BATS_TEST_TMPDIR/file/third"
    validate_schema cx-backup-create
    assert_json '[.verified, (.destinations | map(.verified))]' '[false,[true,false]]'
    repo=$BATS_TEST_TMPDIR/second
    restore --target "$BATS_TEST_TMPDIR/out" >/dev/null
    cmp "$node/data/agents/echo/large" "$BATS_TEST_TMPDIR/out/agents/echo/large"
}

@test "create: one writer at a time, by a lock that names its holder; a dead holder's is taken over" {
    make_node
    create >/dev/null
    jq -n --arg host "$(hostname)" --arg boot "$(</proc/sys/kernel/random/boot_id)" \
        --arg namespace "$(readlink /proc/self/ns/pid)" --argjson pid $$ \
        --argjson started "$(awk '{print $22}' /proc/$$/stat)" \
        '{owner: "cx-backup prune", host: $host, boot_id: $boot, pid: $pid, pid_namespace: $namespace,
          started: $started, reason: "nightly", acquired_at: "2025-01-01T00:00:00Z", lease_seconds: 600,
          token: "x"}' >"$(here "$repo")/lock.json"
    run --separate-stderr create
    assert_error busy
    [[ $stderr == *"cx-backup prune"* && $stderr == *"nightly"* && $stderr == *$$* ]]
    run -0 --separate-stderr cx-backup status --repo "$repo"
    assert_json '.destinations[0].lock | [.owner, .alive]' '["cx-backup prune",true]'
    # Its lease is over; its process is another; its host was started again since.
    touch -d '-11 minutes' "$(here "$repo")/lock.json"
    create >/dev/null
    for change in '.started = 1' '.boot_id = "another"'; do
        jq -n --arg host "$(hostname)" --arg boot "$(</proc/sys/kernel/random/boot_id)" \
            --arg namespace "$(readlink /proc/self/ns/pid)" --argjson pid $$ \
            '{owner: "o", host: $host, boot_id: $boot, pid: $pid, pid_namespace: $namespace, started: 2,
              lease_seconds: 600, token: "x"}' | jq "$change" >"$(here "$repo")/lock.json"
        create >/dev/null
    done
    [[ ! -e $(here "$repo")/lock.json ]]
    # One that nobody can read counts as held until its lease is over.
    echo x >"$(here "$repo")/lock.json"
    run --separate-stderr create
    assert_error busy
}

@test "create --dry-run: says what would be stored and changes nothing" {
    make_node
    run -0 create --dry-run
    assert_json '[.changed, .new_segments > 10, .verified]' '[false,true,false]'
    [[ ! -e $repo ]]
    create >/dev/null
    local before
    before=$(find "$repo" -type f -exec sha256sum {} + | sort)
    run -0 create --dry-run
    assert_json .new_segments 0
    [[ $before == "$(find "$repo" -type f -exec sha256sum {} + | sort)" ]]
}

@test "create: an object that no backup of ours knows is neither trusted nor replaced" {
    make_node
    create >/dev/null
    local victim
    victim=$(find "$repo" -name '*.zst.age' -size +200k | head -n 1)
    # As a run leaves it that died on a host that is gone: there, but named by nobody.
    rm -r "$(here "$repo")/backups" "$node/data/.cx-backup"
    echo garbage >"$victim"
    run -0 create
    [[ $(<"$victim") == garbage ]]
    run -0 cx-backup verify --repo "$repo" --identity "$identity"
    assert_json '[.ok, .backups[0].content]' '[true,true]'
}

@test "list, show: what is there, by type, time and size" {
    make_node
    create --type full >/dev/null
    create --type incremental >/dev/null
    mkdir "$(here "$repo")/backups/20200101T000000Z-node-1-full-0000"
    touch "$(here "$repo")/backups/20200101T000000Z-node-1-full-0000/manifest.json"
    run -0 cx-backup list --repo "$repo"
    validate_schema cx-backup-list
    assert_json '[.count, [.backups[] | select(.state == "complete").type]]' '[3,["full","incremental"]]'
    assert_json '[.backups[] | select(.state == "incomplete").id]' '["20200101T000000Z-node-1-full-0000"]'
    local id
    id=$(jq -r '.backups[] | select(.type == "full").id' <<<"$output")
    run -0 cx-backup show "$id" --repo "$repo"
    validate_schema cx-backup-show
    assert_json '[.id == "'"$id"'", .node_id, .format]' '[true,"node-1",1]'
    run --separate-stderr cx-backup show 2020-nothing --repo "$repo"
    assert_error not_found
    run --separate-stderr cx-backup show ../../etc --repo "$repo"
    assert_error invalid
}

@test "ls, dump, diff: what is in a backup, one file of it, what changed between two" {
    make_node
    create --type full >/dev/null
    local first
    first=$(backup_ids "$repo")
    echo 8 >>"$node/data/agents/echo/notes/seven"
    rm "$node/data/agents/echo/middling"
    echo x >"$node/data/agents/echo/new"
    create >/dev/null
    run -0 cx-backup ls "$first" --repo "$repo" --identity "$identity" --path 'agents/echo/notes/*'
    validate_schema --lines cx-backup-ls
    [[ $(jq -rs 'map(.path) | join(" ")' <<<"$output") == *'ü "quoted" \ name'* ]]
    run -0 cx-backup dump "$first" agents/echo/notes/seven --repo "$repo" --identity "$identity"
    assert_output "$(seq 7)"
    cx-backup dump "$first" agents/echo/large --repo "$repo" --identity "$identity" |
        cmp - "$node/data/agents/echo/large"
    run --separate-stderr cx-backup dump "$first" agents/nothing --repo "$repo" --identity "$identity"
    assert_error not_found
    run -0 cx-backup diff "$first" --latest --repo "$repo" --identity "$identity"
    validate_schema cx-backup-diff
    assert_json '[.added[].path, .removed[].path]' '["agents/echo/new","agents/echo/middling"]'
    assert_json '[.changed[].path] | index("agents/echo/notes/seven") != null' true
}

@test "copy: a backup as it stands, to a second repository, without an identity" {
    make_node
    create --type full >/dev/null
    create --type incremental >/dev/null
    run -0 cx-backup copy --all --repo "$repo" --to "$BATS_TEST_TMPDIR/second"
    validate_schema cx-backup-copy
    assert_json '[.changed, (.copied | length), .stored_bytes > 1000000]' '[true,2,true]'
    run -0 cx-backup copy --all --repo "$repo" --to "$BATS_TEST_TMPDIR/second"
    assert_json '[.changed, (.copied | length)]' '[false,0]'
    run -0 cx-backup verify --all --repo "$BATS_TEST_TMPDIR/second" --identity "$identity" --trusted-key "$trusted"
    assert_json '[.ok, .trusted, (.backups | length)]' '[true,true,2]'
}

@test "verify: every object that was changed, cut or taken away is named" {
    make_node
    create >/dev/null
    run -0 cx-backup verify --repo "$repo"
    validate_schema cx-backup-verify
    assert_json '[.ok, .trusted, .backups[0].content]' '[true,false,false]'
    run -0 cx-backup verify --latest --repo "$repo" --identity "$identity" --trusted-key "$trusted"
    assert_json '[.ok, .trusted, .backups[0].content, .backups[0].files]' '[true,true,true,12]'
    # The segment that is used most often too: it serves many files, and is one object.
    local file name often
    often=$(jq -r '[.components[].segments[].id] | group_by(.) | max_by(length) | "\(length) \(.[0])"' \
        "$(here "$repo")"/backups/*/manifest.json)
    ((${often% *} > 1)) # or this test shows less than it says
    for file in $(find "$(here "$repo")" -name '*.zst.age' | sort | sed -n '1p;$p') \
        "$(here "$repo")"/segments/*/"${often#* }".zst.age "$(here "$repo")"/backups/*/manifest.json; do
        name=${file#"$repo/"}
        cp "$file" "$BATS_TEST_TMPDIR/saved"
        # One bit.
        /usr/bin/python3 -c '
import sys
data = bytearray(open(sys.argv[1], "rb").read())
data[len(data) // 2] ^= 4
open(sys.argv[1], "wb").write(data)' "$file"
        for with in "" "--identity=$identity"; do
            run -1 cx-backup verify --repo "$repo" ${with:+"$with"}
            assert_json .ok false
            assert_json "[.backups[0].problems[] | select(.object == \"$name\")] | length" 1
        done
        truncate -s 10 "$file"
        run -1 cx-backup verify --repo "$repo"
        assert_json "[.backups[0].problems[] | select(.object == \"$name\")] | length" 1
        [[ $file == */manifest.json ]] || rm "$file"
        run -1 cx-backup verify --repo "$repo"
        cp "$BATS_TEST_TMPDIR/saved" "$file"
    done
    run -0 cx-backup verify --repo "$repo"
}

@test "verify: a backup that another key signed is not ours" {
    make_node
    create >/dev/null
    cx-backup keygen --quiet --output "$BATS_TEST_TMPDIR/other" >/dev/null
    run -1 cx-backup verify --repo "$repo" --trusted-key "$BATS_TEST_TMPDIR/other/sign.pub"
    assert_json '.backups[0].problems[0].object | endswith("manifest.json")' true
    run --separate-stderr cx-restore run --repo "$repo" --identity "$identity" \
        --trusted-key "$BATS_TEST_TMPDIR/other/sign.pub" --target "$BATS_TEST_TMPDIR/out"
    assert_error permission
    [[ ! -e $BATS_TEST_TMPDIR/out ]]
}

@test "prune: 30 days of full, 7 of incremental backups, by arrival; never the last good full one" {
    make_node
    local ids=() id
    for age in 50 40 20; do
        create --type full >/dev/null
        create --type incremental >/dev/null
        for id in $(backup_ids "$repo"); do
            [[ " ${ids[*]} " != *" $id "* ]] || continue
            ids+=("$id")
            touch -d "-$age days" "$(here "$repo")/backups/$id/"*
        done
    done
    run -0 cx-backup prune --dry-run --repo "$repo"
    validate_schema cx-backup-prune
    assert_json '[.changed, (.removed | length), (.kept | length)]' '[false,5,1]'
    run -0 cx-backup prune --repo "$repo"
    assert_json '[.changed, [.kept[] | [.type, .reason]]]' '[true,[["full","young"]]]'
    # The last good full one is kept, however old: the newer one is damaged.
    find "$repo" -name '*.minisig' -exec touch -d '-100 days' {} +
    echo more >>"$node/data/agents/echo/large"
    local newest # by name it may be before one of the same second
    newest=$(create --type full | jq -r .id)
    touch -d '-90 days' "$(here "$repo")/backups/$newest/"*
    jq -r '.components[].segments[].id' "$(here "$repo")/backups/$newest/manifest.json" | sort >"$BATS_TEST_TMPDIR/new"
    jq -r '.components[].segments[].id' "$(here "$repo")"/backups/*/manifest.json | sort | uniq -u |
        comm -12 - "$BATS_TEST_TMPDIR/new" | head -n 1 >"$BATS_TEST_TMPDIR/lost"
    rm "$(here "$repo")/segments/"*/"$(<"$BATS_TEST_TMPDIR/lost")".zst.age
    run -0 cx-backup prune --repo "$repo"
    assert_json '[.kept[] | [.reason]]' '[["last_full"]]'
    assert_json "[.removed[].id] == [\"$newest\"]" true
    run -0 cx-backup verify --all --repo "$repo" --identity "$identity"
}

@test "prune: a segment goes when nobody has named it for the grace period" {
    make_node
    create --type full >/dev/null
    echo more >>"$node/data/agents/echo/large"
    create --type full >/dev/null
    local old
    old=$(backup_ids "$repo" | head -n 1)
    touch -d '-40 days' "$(here "$repo")/backups/$old/"*
    run -0 cx-backup prune --repo "$repo"
    assert_json '[(.removed | length), .segments_removed, .segments_pending > 0]' '[1,0,true]'
    run -0 cx-backup prune --repo "$repo"
    assert_json '[.changed, .segments_removed, .segments_pending > 0]' '[false,0,true]'
    # One that a new backup names again stays.
    truncate -s 3000000 "$node/data/agents/echo/large"
    create --type full >/dev/null
    jq '.unnamed_since_ms |= map_values(. - 25 * 3600 * 1000)' "$(here "$repo")/prune.json" >"$BATS_TEST_TMPDIR/p"
    cp "$BATS_TEST_TMPDIR/p" "$(here "$repo")/prune.json"
    run -0 cx-backup prune --repo "$repo"
    assert_json '[.changed, .segments_removed > 0, .segments_pending]' '[true,true,0]'
    run -0 cx-backup verify --all --repo "$repo" --identity "$identity"
    assert_json .ok true
}

@test "prune: a kept manifest that can't be read stops everything" {
    make_node
    create --type full >/dev/null
    create --type full >/dev/null
    local first
    first=$(backup_ids "$repo" | head -n 1)
    echo x >"$(here "$repo")/backups/$first/manifest.json"
    run --separate-stderr cx-backup prune --repo "$repo" --grace 0s
    assert_error malformed
    run -0 cx-backup prune --repo "$repo" --grace 0s --discard "$first"
    assert_json '[.removed[].reason]' '["discarded"]'
    run -0 cx-backup verify --all --repo "$repo" --identity "$identity"
}

@test "run: what the policy's schedule asks for, to every destination, verified and pruned" {
    make_node
    mkdir "$node/etc/backup"
    cp "$keys"/{recipients.txt,sign.key,sign.pub,naming.key} "$node/etc/backup/"
    sed -e "s,/backup/caxton,$repo," -e "/type: s3/,/region/d" "$CX_ROOT/share/policies/backup.yaml" \
        >"$BATS_TEST_TMPDIR/policy.yaml"
    run -0 cx-backup run --policy "$BATS_TEST_TMPDIR/policy.yaml"
    validate_schema cx-backup-run
    assert_json '[.changed, .type, .ok]' '[true,"full",true]'
    run -0 cx-backup run --policy "$BATS_TEST_TMPDIR/policy.yaml"
    assert_json '[.changed, .type, .ok]' '[false,null,true]'
    find "$repo" -name '*.minisig' -exec touch -d '-61 minutes' {} +
    run -0 cx-backup run --policy "$BATS_TEST_TMPDIR/policy.yaml"
    assert_json '[.changed, .type == "incremental" or .type == "full"]' '[true,true]'
    find "$repo" -name '*.minisig' -exec touch -d '-25 hours' {} +
    run -0 cx-backup run --policy "$BATS_TEST_TMPDIR/policy.yaml"
    assert_json '.type' full
    find "$repo" -name '*.minisig' -exec touch -d '-31 days' {} +
    run -0 cx-backup run --policy "$BATS_TEST_TMPDIR/policy.yaml"
    assert_json '[.ok, .destinations[0].pruned > 0]' '[true,true]'
    touch "$BATS_TEST_TMPDIR/file"
    sed -i "s,$repo,$BATS_TEST_TMPDIR/file/x," "$BATS_TEST_TMPDIR/policy.yaml"
    run -1 cx-backup run --policy "$BATS_TEST_TMPDIR/policy.yaml"
    validate_schema cx-backup-run
    assert_json .ok false
}

@test "status: when the last backup was made, how good it is, who writes now" {
    make_node
    run -1 cx-backup status --repo "$repo"
    validate_schema cx-backup-status
    assert_json '[.ok, .destinations[0].last_full]' '[false,null]'
    create >/dev/null
    run -0 cx-backup status --repo "$repo"
    validate_schema cx-backup-status
    assert_json '[.ok, .destinations[0].backups, .destinations[0].last_full.age_seconds < 100]' '[true,1,true]'
    assert_json '.destinations[0].lock' null
    [[ $(jq -r .last_success_at "$node/data/backup.json") == 20* ]]
}

@test "kit: what recovery needs, sealed with a passphrase, readable with age and tar, test-opened" {
    make_node
    mkdir "$node/etc/certs/ca"
    echo ca >"$node/etc/certs/ca/ca.key"
    echo ring >"$node/etc/certs/gossip.keys"
    (umask 077 && echo 'a long passphrase' >"$BATS_TEST_TMPDIR/passphrase")
    run -0 cx-backup kit --quiet --output "$BATS_TEST_TMPDIR/kit.age" --passphrase-file "$BATS_TEST_TMPDIR/passphrase" \
        --identity "$identity" --trusted-key "$trusted"
    validate_schema cx-backup-kit
    assert_json '[.changed, .verified, .missing]' '[true,true,[]]'
    [[ $(stat -c %a "$BATS_TEST_TMPDIR/kit.age") == 600 ]]
    run -0 cx-backup kit check "$BATS_TEST_TMPDIR/kit.age" --passphrase-file "$BATS_TEST_TMPDIR/passphrase"
    validate_schema cx-backup-kit-check
    assert_json '[.ok, (.files | map(.path) | index("identity.txt") != null)]' '[true,true]'
    # age asks on the terminal.
    mkdir "$BATS_TEST_TMPDIR/open"
    script -qec "age -d -o '$BATS_TEST_TMPDIR/kit.tar' '$BATS_TEST_TMPDIR/kit.age'" /dev/null \
        <"$BATS_TEST_TMPDIR/passphrase" >/dev/null
    tar -x -f "$BATS_TEST_TMPDIR/kit.tar" -C "$BATS_TEST_TMPDIR/open"
    cmp "$identity" "$BATS_TEST_TMPDIR/open/identity.txt"
    cmp "$node/etc/certs/ca/ca.key" "$BATS_TEST_TMPDIR/open/ca/ca.key"
    cmp "$CX_ROOT/share/restore-by-hand.md" "$BATS_TEST_TMPDIR/open/restore-by-hand.md"
    cmp "$CX_CONFIG" "$BATS_TEST_TMPDIR/open/config.yaml"
    echo wrong >"$BATS_TEST_TMPDIR/passphrase"
    run --separate-stderr cx-backup kit check "$BATS_TEST_TMPDIR/kit.age" \
        --passphrase-file "$BATS_TEST_TMPDIR/passphrase"
    assert_error permission
}
