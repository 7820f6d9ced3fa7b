# fake: a stand-in for a node, with a CA and certificates made by openssl: `load fake` after common.
# It answers as badly as a test wants; test/fake_node.py says how.
# shellcheck shell=bash

# make_ca DIR [CLUSTER]: ca.crt and ca.key.
make_ca() {
    mkdir -p "$1"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
        -keyout "$1/ca.key" -out "$1/ca.crt" -subj "/CN=${2:-test} CA" \
        -addext "subjectAltName=URI:spiffe://${2:-test}" \
        -addext basicConstraints=critical,CA:true,pathlen:0 \
        -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
    chmod 600 "$1/ca.key"
}

# make_cert CA_DIR DIR NAME URI OU [DAYS]: DIR/NAME.crt, DIR/NAME.key, DIR/ca.crt
make_cert() {
    mkdir -p "$2"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$2/$3.key" \
        -subj "/OU=$5/CN=$3" 2>/dev/null |
        openssl x509 -req -CA "$1/ca.crt" -CAkey "$1/ca.key" -days "${6:-30}" -out "$2/$3.crt" \
            -extfile <(printf '%s\n' "subjectAltName=URI:$4" basicConstraints=critical,CA:false \
                keyUsage=critical,digitalSignature extendedKeyUsage=serverAuth,clientAuth) 2>/dev/null
    chmod 600 "$2/$3.key"
    [[ $2 -ef $1 ]] || cp "$1/ca.crt" "$2/"
}

# make_certs: once a file: node-1's and an operator's certificate in $CERTS.
make_certs() {
    CERTS=$BATS_FILE_TMPDIR/certs
    export CERTS
    make_ca "$CERTS/ca"
    make_cert "$CERTS/ca" "$CERTS" node spiffe://test/node/node-1 node
    make_cert "$CERTS/ca" "$CERTS" operator spiffe://test/operator/ann admin
}

# write_config: $CX_CONFIG for node-1, its API at $ADDRESS:$PORT.
write_config() {
    ADDRESS=$(free_loopback) PORT=$(free_port)
    export CX_CONFIG=$BATS_TEST_TMPDIR/config.yaml
    mkdir -p "$BATS_TEST_TMPDIR/run"
    cat >"$CX_CONFIG" <<END
cluster: test
node_id: node-1
api_addr: $ADDRESS:$PORT
data_dir: $BATS_TEST_TMPDIR/data
cert_dir: $CERTS
run_dir: $BATS_TEST_TMPDIR/run
END
}

# answers JSON: what the stand-in answers from now on.
answers() {
    jq -n "$1" >"$FAKE/answers.new"
    mv "$FAKE/answers.new" "$FAKE/answers.json"
}

listens() {
    [[ -n $(ss -Hlnt "src = $1 and sport = :$2") ]]
}

# start_fake JSON: a stand-in for node-1 at $ADDRESS:$PORT, which answers that.
start_fake() {
    FAKE=$BATS_TEST_TMPDIR/fake
    mkdir -p "$FAKE"
    answers "$1"
    start_daemon fake /usr/bin/python3 "$CX_ROOT/test/fake_node.py" "$ADDRESS" "$PORT" "$CERTS" "$FAKE"
    wait_until 10 listens "$ADDRESS" "$PORT"
}

# requests KEY: how many of "METHOD /path" came.
requests() {
    [[ -e $FAKE/requests ]] || {
        echo 0
        return
    }
    jq -s --arg key "$1" 'map(select(.key == $key)) | length' "$FAKE/requests"
}
