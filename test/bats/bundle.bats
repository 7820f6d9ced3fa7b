#!/usr/bin/env bats
# cx-bundle: what leaves the host is whole as far as it can be, says what is missing, and holds no secret.

load common
load fake
load node

setup_file() {
    make_pki
}

# start_nodes NUMBER…: nodes that see each other; the tools talk to node-1, whose logs are in $LOGS.
start_nodes() {
    nodes_up "$@"
    LOGS=$BATS_TEST_TMPDIR/node-1/log
    mkdir -p "$LOGS"
    CX_CONFIG=$BATS_TEST_TMPDIR/node-1/config.yaml
    export CX_CONFIG
    echo "log_dir: $LOGS" >>"$CX_CONFIG"
    BUNDLE=$BATS_TEST_TMPDIR/b.tar.gz
}

# unpack FILE: into $UNPACKED, without the folder that all is in.
unpack() {
    UNPACKED=$BATS_TEST_TMPDIR/unpacked
    rm -rf "$UNPACKED"
    mkdir "$UNPACKED"
    tar -xf "$1" -C "$UNPACKED" --strip-components 1
}

random() { # COUNT SET
    LC_ALL=C tr -dc "$2" </dev/urandom | head -c "$1" || true
}

# plant KIND: a secret of the kind in $planted, the part of it that must not be anywhere in $needle.
plant() {
    needle=$(random 24 a-zA-Z0-9)
    case $1 in
        private_key)
            planted=$(openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256)
            needle=$(sed -n 2p <<<"$planted")
            ;;
        join_token) planted=cxj1.$needle ;;
        age_identity)
            needle=$(random 40 A-Z0-9)
            planted=AGE-SECRET-KEY-1$needle
            ;;
        minisign_key)
            needle=$(random 200 a-zA-Z0-9)
            planted=RWRTY0Iy$needle
            ;;
        aws_key)
            needle=$(random 16 A-Z0-9)
            planted=AKIA$needle
            ;;
        gossip_key)
            planted=$(head -c 32 /dev/urandom | base64)
            needle=${planted:0:40}
            ;;
        bearer) planted="Authorization: Bearer $needle" ;;
        url) planted="https://ops:$needle@repo.example/x" ;;
        json) planted="{\"smtp_password\":\"$needle\"}" ;;
        option) planted="--api-key $needle" ;;
    esac
}

@test "collect: all of a healthy cluster; inspect finds it whole and clean" {
    start_nodes 1 2
    on 2 deploy echo
    on 1 send_message '{"receiver":"echo","message_id":"m-7","content":"private words"}' 10s
    jq -nc --arg time "$(date -u +%FT%TZ)" '{time: $time, event: "young"}' >"$LOGS/node.log"

    run --separate-stderr cx-bundle collect --include-logs --include-metrics --include-config \
        --include-traces --duration 1h --all --output "$BUNDLE"
    assert_success
    validate_schema cx-bundle-collect
    assert_json '[.changed, .partial, .redacted]' '[true,false,true]'
    assert_json '[.collectors[] | select(.ok) | .name]' \
        '["state","metrics","traces","logs","config","system"]'
    assert_json '[.nodes[] | select(.answered) | .node_id]' '["node-1","node-2"]'
    assert_equal "$(jq -r .sha256 <<<"$output")" "$(sha256sum "$BUNDLE" | cut -d' ' -f1)"
    assert_equal "$(stat -c %a "$BUNDLE")" 600

    unpack "$BUNDLE"
    assert_equal "$(jq -r '.agents[].id' "$UNPACKED/nodes/node-2/state.json")" echo
    grep -q cx_ "$UNPACKED/nodes/node-1/metrics.txt"
    assert_equal "$(jq -r '.messages[] | select(.message_id == "m-7") | .content_bytes' \
        "$UNPACKED/nodes/node-2/traces.json")" 15
    ! grep -rq 'private words' "$UNPACKED" || fail "a message's content is in it"
    grep -q young "$UNPACKED/host/logs/node.log"
    assert_equal "$(jq -r .node_id.value "$UNPACKED/host/config/effective.json")" node-1
    [[ $(jq -r '.[].type' "$UNPACKED/host/config/certificates.json" | sort -u) == certificate ]]

    run --separate-stderr cx-bundle inspect "$BUNDLE"
    assert_success
    validate_schema cx-bundle-inspect
    assert_json '[.ok, .clean, .intact, .secrets]' '[true,true,true,0]'
    assert_equal "$(jq .count <<<"$output")" "$(find "$UNPACKED" -type f | wc -l)"
}

@test "fifty secrets of ten kinds, in logs, configuration, agents and messages, are not in the bundle" {
    local kind number needles=$BATS_TEST_TMPDIR/needles
    start_nodes 1
    mkdir -p "$BATS_TEST_TMPDIR/node-1/policies"
    for kind in private_key join_token age_identity minisign_key aws_key gossip_key bearer url json option; do
        for number in 1 2 3 4 5; do
            plant $kind
            echo "$needle" >>"$needles"
            case $number in # every kind in every place
                1) jq -nc --arg text "$planted" '{event: "x", message: $text}' >>"$LOGS/node.log" ;;
                2) printf 'plain line: %s\n' "$planted" >>"$LOGS/other.log" ;;
                3) awk '{print "# " $0}' <<<"$planted" >>"$CX_CONFIG" ;;
                4) awk '{print "# " $0}' <<<"$planted" >>"$BATS_TEST_TMPDIR/node-1/policies/alerts.yaml" ;;
                5)
                    deploy "a-$kind" "$(jq -nc --arg text "$planted" \
                        '{command: (["echo"] + (if $text | startswith("--api") then $text | split(" ") else [$text] end))}')"
                    send_message "$(jq -nc --arg to "a-$kind" --arg text "$planted" \
                        '{receiver: $to, content: {fail: true, text: $text}, conversation_id: "c"}')" 10s
                    ;;
            esac
        done
    done
    assert_equal "$(wc -l <"$needles")" 50
    # They are where the collectors look, each of them.
    cx-debug dump >"$BATS_TEST_TMPDIR/dump"
    [[ $(grep -oFf "$needles" -r "$LOGS" "$CX_CONFIG" "$BATS_TEST_TMPDIR/node-1/policies" \
        "$BATS_TEST_TMPDIR/dump" -h | sort -u | wc -l) == 50 ]]

    run --separate-stderr env DEPLOY_TOKEN="$(random 24 a-z)" cx-bundle collect --output "$BUNDLE"
    assert_success
    validate_schema cx-bundle-collect
    assert_json '.redactions >= 50' true
    unpack "$BUNDLE"
    [[ -s $UNPACKED/host/logs/other.log && -s $UNPACKED/host/config/policies/alerts.yaml ]]
    ! grep -rFf "$needles" "$UNPACKED" || fail "secrets are in it"
    ! grep -rF "$(sed -n 2p "$PKI/node-1/node.key")" "$UNPACKED" || fail "the node's key is in it"
    jq -e . "$UNPACKED/nodes/node-1/state.json" >/dev/null # it is still JSON
    cx-bundle inspect "$BUNDLE" >/dev/null
}

@test "a node that hangs costs one time-out and is named; one that is not alive is not asked" {
    start_nodes 1 2 3
    kill -STOP "$(pid_of node-2)"
    gossip_status node-3 failed
    local before=$SECONDS
    run --separate-stderr timeout 60 cx-bundle collect --all --collector-timeout 2s --output "$BUNDLE"
    kill -CONT "$(pid_of node-2)"
    assert_equal "$status" 1
    # Four collectors ask the nodes or wait for them: with a time-out each it would be 8 s and more.
    ((SECONDS - before <= 6 * $(patience)))
    validate_schema cx-bundle-collect
    assert_json .partial true
    assert_json '[.collectors[] | select(.name == "state") | .ok, .errors[0].node_id, .errors[0].error.code]' \
        '[false,"node-2","timeout"]'
    assert_json '[.collectors[] | select(.ok) | .name]' '["logs","config","system"]'
    assert_json '[.nodes[] | select(.answered | not) | .node_id]' '["node-2"]'
    assert_json '[.absent[].node_id]' '["node-3"]'
    run --separate-stderr cx-bundle inspect "$BUNDLE"
    assert_success
    assert_json '[.partial, .absent[0].status]' '[true,"failed"]'
    unpack "$BUNDLE"
    [[ -s $UNPACKED/nodes/node-1/state.json && ! -e $UNPACKED/nodes/node-2 ]]
}

@test "the own node hangs: its members are asked for once, and --timeout holds" {
    local before
    start_nodes 1
    kill -STOP "$(pid_of node-1)"
    before=$SECONDS
    run --separate-stderr timeout 60 cx-bundle collect --all --timeout 4s --output "$BUNDLE"
    kill -CONT "$(pid_of node-1)"
    assert_equal "$status" 1
    ((SECONDS - before <= 8 * $(patience)))
    assert_json '[.collectors[] | select(.ok) | .name | select(. != "logs")]' '["config","system"]'
}

@test "without a node, a certificate or a readable configuration there is a bundle all the same" {
    start_nodes 1
    echo 'a log' >"$LOGS/node.log"
    stop_daemon node-1 KILL
    run --separate-stderr cx-bundle collect --output "$BUNDLE"
    assert_equal "$status" 1
    assert_json '[.collectors[] | select(.ok | not) | .name]' '["state","metrics","traces"]'
    unpack "$BUNDLE"
    grep -q 'a log' "$UNPACKED/host/logs/node.log"

    echo "cert_dir: $BATS_TEST_TMPDIR/nowhere" >"$BATS_TEST_TMPDIR/no-certs.yaml"
    CX_CONFIG=$BATS_TEST_TMPDIR/no-certs.yaml run --separate-stderr cx-bundle collect --output "$BUNDLE"
    assert_equal "$status" 1
    assert_json '[.collectors[] | select(.name == "state") | .errors[0].error.code]' '["not_found"]'

    echo 'cert_dri: x' >"$BATS_TEST_TMPDIR/bad.yaml"
    CX_CONFIG=$BATS_TEST_TMPDIR/bad.yaml run --separate-stderr cx-bundle collect --include-config \
        --output "$BUNDLE"
    assert_equal "$status" 1
    assert_json '[.collectors[] | select(.name == "config") | .errors[0].error.code]' '["config"]'
    unpack "$BUNDLE"
    grep -q cert_dri "$UNPACKED/host/config/config.yaml"
    [[ ! -e $UNPACKED/host/logs ]]
}

@test "logs: as old as --duration and their first lines; links are not followed" {
    start_nodes 1
    {
        echo '{"time":"2020-01-01T00:00:00Z","event":"boot"}'
        for _ in {1..2000}; do
            echo '{"time":"2020-01-02T00:00:00Z","event":"oldnews"}'
        done
        jq -nc --arg time "$(date -u +%FT%TZ)" '{time: $time, event: "fresh"}'
    } >"$LOGS/node.log"
    echo ancient >"$LOGS/ancient.log"
    touch -d '2 days ago' "$LOGS/ancient.log"
    echo of-another-folder >"$BATS_TEST_TMPDIR/foreign"
    ln -s "$BATS_TEST_TMPDIR/foreign" "$LOGS/link.log"
    ln -s "$BATS_TEST_TMPDIR" "$LOGS/linked-folder"
    mkdir "$(dirname "$CX_CONFIG")/policies"
    ln -s "$BATS_TEST_TMPDIR/foreign" "$(dirname "$CX_CONFIG")/policies/alerts.yaml"
    run --separate-stderr cx-bundle collect --include-logs --include-config --duration 1h --output "$BUNDLE"
    assert_success
    assert_json '[.skipped[].path]' \
        '["host/logs/ancient.log","host/logs/link.log","host/logs/linked-folder","host/config/policies/alerts.yaml"]'
    unpack "$BUNDLE"
    grep -q boot "$UNPACKED/host/logs/node.log"
    grep -q fresh "$UNPACKED/host/logs/node.log"
    (($(wc -c <"$UNPACKED/host/logs/node.log") < 20000))
    ! grep -rq of-another-folder "$UNPACKED" || fail "a link was followed"
    assert_equal "$(jq '.files[] | select(.path == "host/logs/node.log") | .cut_bytes > 80000' \
        "$UNPACKED/manifest.json")" true
}

@test "logs: of a folder with thousands of old ones the young ones are there, whatever they are called" {
    start_nodes 1
    local plain hook folder
    plain=AKIA$(random 16 A-Z0-9)
    # A receiver's answer may name the secret that it was asked with.
    hook=$(random 24 a-z) folder=$(dirname "$CX_CONFIG")
    mkdir "$folder/policies"
    echo "$hook" >"$folder/hook"
    echo "alerts: {actions: {page: {type: webhook, url: 'http://127.0.0.1/', token_file: '$folder/hook'}}}" >"$folder/policies/alerts.yaml"
    echo "HTTP status 404: there is no $hook here" >"$LOGS/watch.log"
    touch -d '2 days ago' "$LOGS"/old-{1..1500}.log
    for name in {a..z} "$plain"; do
        echo young >"$LOGS/$name.log"
    done
    run --separate-stderr cx-bundle collect --include-logs --duration 1h --output "$BUNDLE"
    assert_success
    assert_json '[.skipped[] | select(.reason == "older than --duration")] | length' 1500
    unpack "$BUNDLE"
    assert_equal "$(grep -l young "$UNPACKED"/host/logs/*.log | wc -l)" 27
    ! grep -rq "$plain" "$UNPACKED" <(tar -tf "$BUNDLE") || fail "a file's name holds a secret"
    ! grep -rq "$hook" "$UNPACKED" || fail "a receiver's secret is in a log"
    run --separate-stderr cx-bundle inspect "$BUNDLE"
    assert_success
    # Somebody else's bundle may have such a name.
    mv "$UNPACKED/host/logs/a.log" "$UNPACKED/host/logs/$plain.log"
    tar -czf "$BATS_TEST_TMPDIR/named.tar.gz" -C "$BATS_TEST_TMPDIR" unpacked
    run --separate-stderr cx-bundle inspect "$BATS_TEST_TMPDIR/named.tar.gz"
    assert_json .secret_kinds '{"aws_key":1}'
}

@test "collect: zstd, obfuscated, encrypted, bounded; a plan; errors leave no file" {
    start_nodes 1
    local address
    address=$(<"$BATS_TEST_TMPDIR/node-1/address")
    run --separate-stderr cx-bundle collect --obfuscate --output "$BATS_TEST_TMPDIR/o.tar.zst"
    assert_success
    unpack "$BATS_TEST_TMPDIR/o.tar.zst"
    ! grep -rF "${address%:*}" "$UNPACKED" || fail "an address is in it"
    ! grep -rw "$(hostname)" "$UNPACKED" || fail "the host's name is in it"
    assert_equal "$(jq -r --arg address "${address%:*}" '.[$address]' "$BATS_TEST_TMPDIR/o.tar.zst.map.json")" \
        "$(jq -r '.node.api_addr | split(":")[0]' "$UNPACKED"/nodes/*/state.json)"

    need age
    age-keygen -o "$BATS_TEST_TMPDIR/id" 2>/dev/null
    chmod 600 "$BATS_TEST_TMPDIR/id"
    cd "$BATS_TEST_TMPDIR"
    run --separate-stderr cx-bundle collect --encrypt-to "$(age-keygen -y id)"
    assert_success
    local sealed
    sealed=$(jq -r .output <<<"$output")
    [[ $sealed == caxton-debug-node-1-*.tar.gz.age ]]
    age -d -i id "$sealed" | tar -tz | grep -q manifest.json
    run --separate-stderr cx-bundle inspect "$sealed"
    assert_error usage
    run --separate-stderr cx-bundle inspect --identity id "$sealed"
    assert_success

    run --separate-stderr cx-bundle collect --max-size 8K --output small.tar.gz
    assert_json '[.skipped[] | select(.path | endswith("node-1/metrics.txt")) | .path] | length' 1
    assert_json .partial true
    assert_equal "$status" 1

    run --separate-stderr cx-bundle collect --dry-run --output plan.tar.gz
    assert_success
    validate_schema cx-bundle-collect
    [[ ! -e plan.tar.gz ]]
    run --separate-stderr cx-bundle collect --output plan.zip
    assert_error invalid
    run --separate-stderr cx-bundle collect --output nowhere/b.tar.gz
    assert_error cant_create
    run --separate-stderr cx-bundle collect --encrypt-to age1nonsense --output plan.tar.gz
    assert_error invalid
    assert_equal "$(find . -name '*plan*' | wc -l)" 0
}

# doctor TEXT PATH: inspects the bundle with that file at its end.
doctor() {
    /usr/bin/python3 - "$BUNDLE" "$BATS_TEST_TMPDIR/doctored.tar" "$@" <<'END'
import gzip, io, shutil, sys, tarfile
shutil.copyfileobj(gzip.open(sys.argv[1]), open(sys.argv[2], "wb"))
with tarfile.open(sys.argv[2], "a") as archive:
    member = tarfile.TarInfo(archive.getnames()[0].split("/")[0] + "/" + sys.argv[4])
    member.size = len(sys.argv[3])
    archive.addfile(member, io.BytesIO(sys.argv[3].encode()))
END
    run --separate-stderr cx-bundle inspect "$BATS_TEST_TMPDIR/doctored.tar"
}

@test "inspect: a secret that somebody put in, a file that was changed, what is no bundle" {
    start_nodes 1
    cx-bundle collect --output "$BUNDLE" >/dev/null
    unpack "$BUNDLE"
    echo 'password: hunter2hunter2' >"$UNPACKED/host/config/added.yaml"
    echo ' ' >>"$UNPACKED/nodes/node-1/queues.json"
    tar -czf "$BATS_TEST_TMPDIR/doctored.tar.gz" -C "$BATS_TEST_TMPDIR" unpacked
    run --separate-stderr cx-bundle inspect "$BATS_TEST_TMPDIR/doctored.tar.gz"
    assert_equal "$status" 1
    validate_schema cx-bundle-inspect
    assert_json '[.ok, .clean, .intact, .found[0].path, .damaged[0]]' \
        '[false,false,false,"host/config/added.yaml","nodes/node-1/queues.json"]'
    assert_json .secret_kinds '{"named":1}'

    # Put in, twice in it, outside of it: not what was made.
    doctor plain host/config/config.yaml
    assert_json '[.intact, .clean, .damaged[0]]' '[false,true,"host/config/config.yaml"]'
    doctor plain more/added.txt
    assert_json '[.intact, .damaged]' '[false,["more/added.txt"]]'
    doctor plain ../../etc/added.txt
    assert_error malformed

    head -c 3000 "$BUNDLE" >"$BATS_TEST_TMPDIR/cut.tar.gz"
    run --separate-stderr cx-bundle inspect "$BATS_TEST_TMPDIR/cut.tar.gz"
    assert_error malformed
    run --separate-stderr cx-bundle inspect "$CX_CONFIG"
    assert_error malformed
    run --separate-stderr cx-bundle inspect "$BATS_TEST_TMPDIR/nothing"
    assert_error not_found

    run --separate-stderr cx-bundle collect --no-redaction --output "$BUNDLE"
    assert_json '.redacted' false
    tar -tzf "$BUNDLE" | grep -q UNREDACTED/
}

@test "inspect: a stop ends it, also in an archive of little size that unpacks to very much" {
    cd "$BATS_TEST_TMPDIR"
    truncate -s 60M zeros
    tar --hard-dereference --zstd -cf bomb.tar.zst zeros zeros zeros zeros zeros zeros zeros zeros
    (
        # shellcheck disable=SC2016 # of the inner shell
        sh -c 'echo $$ >pid; exec cx-bundle inspect bomb.tar.zst' >out 2>&1 || echo $? >ended
    ) 3>&- &
    reads() { [[ -s pid ]] && grep -q bomb.tar.zst "/proc/$(<pid)/maps"; }
    wait_until 10 reads
    kill -TERM "$(<pid)"
    wait_until 5 test -s ended
    assert_equal "$(<ended)" 143
    assert_equal "$(jq -r .error.code out)" interrupted
}
