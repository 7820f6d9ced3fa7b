#!/usr/bin/env bats
# kill -9 at every durable step of create, prune and restore run: the repository is whole, the node's data is
# old or new, and a rerun finishes.

load common
load backup

# memory: a folder where fsync costs nothing; what is tested is the order of the steps, not the disk.
memory() {
    if [[ -w /dev/shm ]]; then
        echo /dev/shm
    else
        echo "$BATS_TEST_TMPDIR"
    fi
}

teardown() {
    [[ -z ${fast-} ]] || rm -rf "$fast"
    end_daemons
}

# small_node: a node with little in it, made once: every step of each run is a run of its own.
small_node() {
    fast=$(mktemp -d "$(memory)/cx-crash-XXXXXX")
    node=$fast/node keys=$fast/keys repo=$fast/repo
    identity=$keys/identity.txt trusted=$keys/sign.pub
    mkdir -p "$node/data/agents/echo" "$node/etc"
    printf 'cluster: prod\nnode_id: node-1\ndata_dir: %s\ncert_dir: %s\n' "$node/data" "$node/etc/certs" \
        >"$node/etc/config.yaml"
    export CX_CONFIG=$node/etc/config.yaml
    echo first >"$node/data/agents/echo/file"
    sqlite3 "$node/data/registry.db" 'CREATE TABLE agent (id TEXT); INSERT INTO agent VALUES ("echo")'
    cx-backup keygen --quiet --output "$keys" >"$BATS_TEST_TMPDIR/.keygen"
    # What is backed up: the data of the agents alone is enough to reach every kind of step.
    parts=(--component agent_state --component agent_registry)
}

run_create() {
    "${crash[@]}" cx-backup create --quiet --type full --repo "$repo" \
        --recipients-file "$keys/recipients.txt" --sign-key "$keys/sign.key" "${parts[@]}"
}

verifies() {
    cx-backup verify --quiet --all --repo "$repo" --identity "$identity" --trusted-key "$trusted"
}

@test "create: killed at any step, every backup that is there is whole, and a rerun makes one" {
    small_node
    CRASH_CALLS="fsync syncfs rename renameat link linkat unlink unlinkat mkdir"
    prepare() {
        rm -rf "$repo" "$node/data/.cx-backup" "$node/data/backup.json"
        echo first >"$node/data/agents/echo/file"
    }
    check() {
        if [[ $1 == 'done' ]] || compgen -G "$(here "$repo")/backups/*/manifest.json.minisig" >/dev/null; then
            [[ $(verifies | jq .ok) == true ]]
        fi
        # Nothing half-written is left by a run that ended well.
        [[ $1 != 'done' || -z $(find "$repo" -name '*.cxtmp-*') ]]
    }
    crash_at_every_step prepare run_create check
    ((crash_count > 15))
}

@test "create: killed at any step of a later backup, the earlier one stays whole" {
    small_node
    CRASH_CALLS="syncfs renameat unlink" # each file is fsynced just before its renameat
    crash=()
    run_create >"$BATS_TEST_TMPDIR/.first"
    cp -a "$repo" "$fast/repo.first"
    cp -a "$node/data" "$fast/data.first"
    prepare() {
        rm -rf "$repo" "$node/data"
        cp -a "$fast/repo.first" "$repo"
        cp -a "$fast/data.first" "$node/data"
        echo second >"$node/data/agents/echo/file"
    }
    check() {
        [[ $(verifies | jq '.ok and (.backups | length >= 1)') == true ]]
        [[ $1 != 'done' || $(verifies | jq '.backups | length >= 2') == true ]]
    }
    crash_at_every_step prepare run_create check
    ((crash_count > 8))
}

@test "prune: killed at any step, what is kept is whole, and a rerun finishes" {
    small_node
    CRASH_CALLS="fsync renameat linkat unlink unlinkat rmdir"
    crash=()
    run_create >"$BATS_TEST_TMPDIR/.first"
    touch -d '-40 days' "$(here "$repo")"/backups/*/*
    echo second >"$node/data/agents/echo/file"
    run_create >"$BATS_TEST_TMPDIR/.second"
    cp -a "$repo" "$fast/repo.first"
    prepare() {
        rm -rf "$repo"
        cp -a "$fast/repo.first" "$repo"
    }
    run_prune() {
        "${crash[@]}" cx-backup prune --quiet --repo "$repo" --grace 0s
    }
    check() {
        [[ $(verifies | jq .ok) == true ]]
        [[ $1 != 'done' ]] || {
            [[ $(verifies | jq '.backups | length') == 1 ]]
            # What only the old one needed is gone.
            cx-backup prune --repo "$repo" --grace 0s | jq -e '.changed == false and .segments_pending == 0'
        }
    }
    crash_at_every_step prepare run_prune check
    ((crash_count > 8))
}

@test "restore run: killed at any step, the data is old or new, never between; a rerun finishes" {
    small_node
    CRASH_CALLS="fsync syncfs rename renameat renameat2 link linkat unlink unlinkat mkdir mkdirat"
    crash=()
    run_create >"$BATS_TEST_TMPDIR/.first"
    echo new-file >"$node/data/agents/echo/later"
    echo second >"$node/data/agents/echo/file"
    sqlite3 "$node/data/registry.db" 'INSERT INTO agent VALUES ("later")'
    rm -rf "$node/data/.cx-backup" "$node/data/backup.json"
    cp -a "$node/data" "$fast/data.old"
    prepare() {
        rm -rf "$node"/data*
        cp -a "$fast/data.old" "$node/data"
    }
    run_restore() {
        "${crash[@]}" cx-restore run --quiet --repo "$repo" --identity "$identity" --trusted-key "$trusted"
    }
    state_of() {
        local file rows later=none
        file=$(<"$1/agents/echo/file")
        rows=$(sqlite3 "$1/registry.db" 'SELECT COUNT(*) FROM agent')
        [[ ! -e $1/agents/echo/later ]] || later=$(<"$1/agents/echo/later")
        echo "$file $rows $later"
    }
    check() {
        local state
        state=$(state_of "$node/data")
        [[ $state == "first 1 none" || ($1 == crashed && $state == "second 2 new-file") ]]
        [[ $1 == crashed ]] || {
            # The old data is still there, whole, and nothing unfinished is.
            local old found=no
            for old in "$node"/data.old-*; do
                [[ $(state_of "$old") != "second 2 new-file" ]] || found=yes
            done
            [[ $found == yes && -z $(compgen -G "$node/data.new-*") ]]
        }
    }
    crash_at_every_step prepare run_restore check
    ((crash_count > 12))
}
