# receiver: who is told, for tests of alerts: `load receiver` after common and fake.
# shellcheck shell=bash

# new_receiver: a place for one, at $RECEIVER (host:port); nothing listens there yet.
new_receiver() {
    RECEIVER=$(free_loopback):$(free_port)
    RECEIVED=$BATS_TEST_TMPDIR/receiver
    mkdir -p "$RECEIVED"
}

# start_receiver [http|smtp]
start_receiver() {
    start_daemon receiver /usr/bin/python3 "$CX_ROOT/test/receiver.py" "${1:-http}" \
        "${RECEIVER%:*}" "${RECEIVER##*:}" "$RECEIVED"
    wait_until 10 listens "${RECEIVER%:*}" "${RECEIVER##*:}"
}

# received [FILTER]: what came, as one JSON list, through jq.
received() {
    if [[ -e $RECEIVED/received ]]; then
        jq -sc "${1:-.}" "$RECEIVED/received"
    else
        jq -nc "[] | ${1:-.}"
    fi
}

# pages: the notices that came by webhook, in order, as "status name subject" lines.
pages() {
    received '[.[].body.alerts[] | "\(.status) \(.name) \(.subject)"]' | jq -r '.[]'
}

# secret_file NAME TEXT: prints the path of a file that only we can read.
secret_file() {
    (umask 077 && echo "$2" >"$BATS_TEST_TMPDIR/$1")
    echo "$BATS_TEST_TMPDIR/$1"
}
