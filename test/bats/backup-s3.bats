#!/usr/bin/env bats
# cx-backup and cx-restore with S3-compatible storage: Ceph's radosgw, which checks signatures and payloads.

load common
load backup

setup_file() {
    need radosgw ceph-mon ceph-osd radosgw-admin
    S3_DIR=$BATS_FILE_TMPDIR/s3
    S3_PORT=$(free_port)
    export S3_DIR S3_PORT AWS_ACCESS_KEY_ID=testkey AWS_SECRET_ACCESS_KEY='test/sec+ret'
    unset AWS_SESSION_TOKEN AWS_REGION AWS_DEFAULT_REGION AWS_PROFILE
    S3_KEY=$AWS_ACCESS_KEY_ID S3_SECRET=$AWS_SECRET_ACCESS_KEY \
        "$CX_ROOT/test/s3-rgw.sh" start "$S3_DIR" "$S3_PORT" 3>&- 4>&-
}

teardown_file() {
    "$CX_ROOT/test/s3-rgw.sh" stop "$S3_DIR"
}

# at BUCKET [PREFIX]: the destination.
at() {
    echo "s3://$1${2:+/$2}?endpoint=http://127.0.0.1:$S3_PORT&region=us-east-1&path_style=1"
}

@test "s3: back up, verify, restore, prune, as with a folder; the bucket is made" {
    make_node
    repo=$(at backups-1 some/prefix)
    run -0 create --type full
    validate_schema cx-backup-create
    assert_json '[.verified, .destinations[0].verified]' '[true,true]'
    echo more >>"$node/data/agents/echo/notes/seven"
    run -0 create --type incremental
    # Neither the large file nor the databases; what shares a group with the small one is chance.
    assert_json '.read_bytes < 400000' true
    run -0 cx-backup list --repo "$repo"
    assert_json '[.backups[].type]' '["full","incremental"]'
    run -0 cx-backup verify --all --repo "$repo" --identity "$identity" --trusted-key "$trusted"
    assert_json '[.ok, (.backups | length)]' '[true,2]'
    restore --target "$BATS_TEST_TMPDIR/out" >/dev/null
    rm -r "$BATS_TEST_TMPDIR/out/"{certs,config}
    diff <(content "$node/data") <(content "$BATS_TEST_TMPDIR/out")
    run -0 cx-backup prune --repo "$repo" --keep-incremental 0s --grace 0s
    assert_json '[(.removed | length), (.kept | length), .segments_removed > 0]' '[1,1,true]'
    run -0 cx-backup verify --all --repo "$repo" --identity "$identity"
    # Cluster and node are found where nobody names them; nothing is left of a lock.
    (
        unset CX_CONFIG
        cx-backup list --repo "$repo" >"$BATS_TEST_TMPDIR/list"
    )
    [[ $(jq -r .node_id "$BATS_TEST_TMPDIR/list") == node-1 ]]
    run -0 cx-backup status --repo "$repo"
    assert_json '.destinations[0].lock' null
}

@test "s3: folder and bucket in one run; a copy between them" {
    make_node
    run -0 create --repo "$(at backups-2)"
    assert_json '[.verified, (.destinations | length)]' '[true,2]'
    run -0 cx-backup copy --all --repo "$repo" --to "$(at backups-3)"
    assert_json .changed true
    run -0 cx-backup verify --repo "$(at backups-3)" --identity "$identity"
    assert_json .ok true
}

@test "s3: a wrong key, no key, a missing server: refused by name" {
    make_node
    repo=$(at backups-4)
    run --separate-stderr env AWS_SECRET_ACCESS_KEY=wrong cx-backup list --repo "$repo"
    assert_error permission
    run --separate-stderr env -u AWS_ACCESS_KEY_ID HOME="$BATS_TEST_TMPDIR" cx-backup list --repo "$repo"
    assert_error unauthenticated
    run --separate-stderr cx-backup list --repo "s3://b?endpoint=http://127.0.0.1:1"
    assert_error usage
    run --separate-stderr cx-backup list --repo "s3://bucket?endpoint=ftp://host"
    assert_error usage
    run --separate-stderr cx-backup list --repo "s3://bucket?colour=red"
    assert_error usage
    run --separate-stderr cx-backup list --repo "ftp://host/folder"
    assert_error usage
}

@test "s3: keys from the usual file" {
    make_node
    repo=$(at backups-5)
    mkdir "$BATS_TEST_TMPDIR/.aws"
    printf '[default]\naws_access_key_id = x\n\n[other]\n# a comment\naws_access_key_id=%s\naws_secret_access_key = %s\n' \
        "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" >"$BATS_TEST_TMPDIR/.aws/credentials"
    unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
    HOME=$BATS_TEST_TMPDIR AWS_PROFILE=other run -0 create
    assert_json .verified true
}

@test "s3: one writer at a time, by a lock that names its holder" {
    make_node
    repo=$(at backups-6)
    create >/dev/null
    jq -n '{owner: "cx-backup create", host: "elsewhere", lease_seconds: 600, pid: 7, token: "x",
        reason: "nightly"}' >"$BATS_TEST_TMPDIR/lock"
    curl -sS -f --aws-sigv4 aws:amz:us-east-1:s3 --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \
        -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' -T "$BATS_TEST_TMPDIR/lock" \
        "http://127.0.0.1:$S3_PORT/backups-6/prod/node-1/lock.json"
    run --separate-stderr create
    assert_error busy
    [[ $stderr == *elsewhere* && $stderr == *nightly* ]]
}

# Nothing in the document names the server: the environment does, as for every other S3 client.
@test "the operators' backup policy as it stands: to both destinations, each component, and not twice within the hour" {
    make_node
    export AWS_ENDPOINT_URL=http://127.0.0.1:$S3_PORT
    awk '/^```yaml$/ {getline; inside = ($0 == "backup:")} /^```$/ {inside = 0} inside' \
        "$CX_ROOT/test/reference/operational-procedures.md" |
        sed "s#/backup/caxton#$BATS_TEST_TMPDIR/local#" >"$BATS_TEST_TMPDIR/backup.yaml"
    local run=(cx-backup run --policy "$BATS_TEST_TMPDIR/backup.yaml" --recipients-file "$keys/recipients.txt"
        --sign-key "$keys/sign.key")
    run -0 --separate-stderr "${run[@]}"
    validate_schema cx-backup-run
    assert_json '[.type, (.destinations | map(.verified, .checked))]' '["full",[true,true,true,true]]'
    # Within the hour nothing is due.
    run -0 --separate-stderr "${run[@]}"
    assert_json .changed false
    for repo in "$BATS_TEST_TMPDIR/local" "s3://caxton-backups"; do
        run -0 cx-backup verify --all --repo "$repo" --identity "$identity" --trusted-key "$trusted"
        assert_json '[.ok, (.backups | length)]' '[true,1]'
        # Each component of the document is in it.
        run -0 cx-backup show "$(jq -r ".backups[0].id" <<<"$output")" --repo "$repo"
        assert_json '[.components[].name] | sort | join(" ")' \
            "agent_registry agent_state certificates configuration message_queues"
    done
}
