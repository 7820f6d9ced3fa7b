# real: a cx-node of the test's own, without a gossip agent: `load real` after common.
# shellcheck shell=bash

# make_real_certs: once a file: a CA, node-1's and an administrator's certificate in $CERTS, a
# viewer's in $CERTS/viewer.
make_real_certs() {
    export CERTS=$BATS_FILE_TMPDIR/certs
    cx-ca init --cluster test --ca-dir "$CERTS/ca"
    cx-ca issue --ca-dir "$CERTS/ca" --node-id node-1 --output "$CERTS"
    cx-ca issue --ca-dir "$CERTS/ca" --operator ann --role admin --output "$CERTS"
    cx-ca issue --ca-dir "$CERTS/ca" --operator val --role viewer --output "$CERTS/viewer"
}

# write_real_config [LINE…]: $CX_CONFIG for node-1.
write_real_config() {
    export CX_CONFIG=$BATS_TEST_TMPDIR/config.yaml
    [[ -n ${ADDRESS-} ]] || ADDRESS=$(free_loopback)
    mkdir -p "$BATS_TEST_TMPDIR"/{run,data,log}
    cat >"$CX_CONFIG" <<END
cluster: test
node_id: node-1
bind_addr: $ADDRESS:7946
api_addr: $ADDRESS:8080
data_dir: $BATS_TEST_TMPDIR/data
cert_dir: $CERTS
run_dir: $BATS_TEST_TMPDIR/run
log_dir: $BATS_TEST_TMPDIR/log
encrypt: false
END
    printf '%s\n' "$@" >>"$CX_CONFIG"
}

start_node() {
    start_daemon node cx-node run
    wait_until 15 cx-agents list
}

# write_agent NAME: a program that appends each message's id and content to $AGENT_LOG and answers;
# {"sleep": seconds} makes it wait, "fail" makes it fail.
write_agent() {
    export AGENT_LOG=$BATS_TEST_TMPDIR/$1.log
    : >"$AGENT_LOG"
    cat >"$BATS_TEST_TMPDIR/$1" <<END
#!/usr/bin/python3
import json, sys, time
log = open("$AGENT_LOG", "a", buffering=1)
for line in sys.stdin:
    message = json.loads(line)
    content = message["content"]
    if isinstance(content, dict) and "sleep" in content:
        time.sleep(content["sleep"])
    log.write(f'{message["message_id"]} {content}\n')
    print(json.dumps({"in_reply_to": message["message_id"], "content": content,
        "performative": "failure" if content == "fail" else "inform"}), flush=True)
END
    chmod +x "$BATS_TEST_TMPDIR/$1"
}

# deploy NAME [FIELDS]: that program as an agent.
deploy() {
    jq -nc --arg id "$1" --arg path "$BATS_TEST_TMPDIR/$1" '{id: $id, command: [$path]} + ('"${2:-{\}}"')' |
        cx-agents deploy -
}
