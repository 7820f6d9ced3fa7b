# backup: what the tests of cx-backup and cx-restore share: a node's folders with something in them, keys,
# a repository.
# shellcheck shell=bash

# make_node [FOLDER]: sets $node (its folder), $keys, $repo and $CX_CONFIG; the node has two databases in WAL mode, an
# agent with a large, a middling and some small files, configuration and certificates.
make_node() {
    node=${1:-$BATS_TEST_TMPDIR/node}
    keys=$BATS_TEST_TMPDIR/keys
    repo=$BATS_TEST_TMPDIR/repo
    mkdir -p "$node/data/agents/echo/notes" "$node/etc/certs" "$node/etc/policies"
    cat >"$node/etc/config.yaml" <<END
cluster: prod
node_id: node-1
data_dir: $node/data
cert_dir: $node/etc/certs
run_dir: $node/run
log_dir: $node/log
END
    export CX_CONFIG=$node/etc/config.yaml
    cp "$CX_ROOT/share/policies/backup.yaml" "$node/etc/policies/"
    openssl rand 3000000 >"$node/data/agents/echo/large"
    seq 40000 >"$node/data/agents/echo/middling"
    seq 7 >"$node/data/agents/echo/notes/seven"
    echo 'a name' >"$node/data/agents/echo/notes/ü \"quoted\" \\ name"
    : >"$node/data/agents/echo/notes/empty"
    ln -s ../large "$node/data/agents/echo/notes/link"
    echo '{"event":"started"}' >"$node/data/audit.log"
    echo certificate >"$node/etc/certs/node.crt"
    (umask 077 && echo key >"$node/etc/certs/node.key")
    sqlite3 "$node/data/registry.db" 'PRAGMA journal_mode=WAL; CREATE TABLE agent (id TEXT);
        INSERT INTO agent VALUES ("echo")' >"$BATS_TEST_TMPDIR/.sqlite"
    sqlite3 "$node/data/queues.db" 'PRAGMA journal_mode=WAL; CREATE TABLE message (id INTEGER, body TEXT);
        INSERT INTO message SELECT value, hex(randomblob(400)) FROM generate_series(1, 3000)' \
        >"$BATS_TEST_TMPDIR/.sqlite"
    [[ -e $keys ]] || cx-backup keygen --quiet --output "$keys" >"$BATS_TEST_TMPDIR/.keygen"
    identity=$keys/identity.txt
    trusted=$keys/sign.pub
    # What changed a moment ago is read again by the next backup, since it may change once more within
    # the same tick of the file system's clock.
    wait_until 5 is_settled "$node"
}

# is_settled FOLDER: nothing below it changed within the last quarter of a second.
is_settled() {
    [[ -z $(find "$1" -newerct "@$(jq -n 'now - 0.25')" -print -quit) ]]
}

# create [OPTION…]: a backup to $repo.
create() {
    cx-backup create --quiet --repo "$repo" --recipients-file "$keys/recipients.txt" \
        --sign-key "$keys/sign.key" "$@"
}

# restore [OPTION…]: from $repo.
restore() {
    cx-restore run --quiet --repo "$repo" --identity "$identity" --trusted-key "$trusted" "$@"
}

# content FOLDER: every file, folder and link of a data folder, with mode, time and digest; databases as SQL,
# since a snapshot's header may differ. Without what backups leave out.
content() {
    (
        cd "$1" && shopt -s globstar dotglob nullglob
        for file in **; do
            case $file in
                .cx-backup* | .cx-restore.json | backup.json | node.lock | *-wal | *-shm) ;;
                *.db) printf '%s %s\n' "$file" "$(sqlite3 "$file" .dump | sha256sum)" ;;
                *)
                    stat -c '%n %F %a %Y' "$file"
                    if [[ -L $file ]]; then
                        readlink "$file"
                    elif [[ -f $file ]]; then
                        sha256sum <"$file"
                    fi
                    ;;
            esac
        done
    )
}

# here FOLDER: where the only node's repository is.
here() {
    echo "$1/prod/node-1"
}

# backup_ids REPO: the oldest first.
backup_ids() {
    find "$(here "$1")/backups" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort
}

# never_answering_node FOLDER: the tools, of which cx-restore finds a cx-node beside itself that never answers: a drill
# stays in its middle until somebody ends it.
never_answering_node() {
    local tool
    mkdir -p "$1"
    for tool in "$CX_BUILD"/cx-*; do
        [[ ! -x $tool || -d $tool ]] || ln -s "$tool" "$1/"
    done
    rm "$1/cx-restore" "$1/cx-node"
    cp "$CX_BUILD/cx-restore" "$1/"
    printf '%s\n' '#!/bin/bash' 'exec {never}<> <(:)' 'read -rt 300 -u "$never"' >"$1/cx-node"
    chmod +x "$1/cx-node"
}

# drill_node_runs FOLDER, no_drill_node FOLDER: of a drill whose scratch folder is made there, by the configuration in
# its command line.
drill_node_runs() {
    grep -qzs "$1/cx-drill-.*/drill.yaml" /proc/[0-9]*/cmdline
}

no_drill_node() {
    ! drill_node_runs "$1"
}
