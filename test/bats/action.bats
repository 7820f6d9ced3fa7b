#!/usr/bin/env bats
# cx-health test-action: each way to tell somebody, against a receiver of ours.

load common
load fake
load receiver

setup() {
    CERTS=$BATS_TEST_TMPDIR/certs
    mkdir -p "$CERTS"
    write_config
    new_receiver
    ALERTS=$BATS_TEST_TMPDIR/alerts.yaml
}

# action TEXT: an alerts policy whose action `tell` is that (YAML, in one line).
action() {
    printf 'alerts:\n  actions:\n    tell: {%s}\n' "$1" >"$ALERTS"
}

@test "webhook: firing and resolved arrive, with key, token and idempotency key" {
    start_receiver
    action "type: webhook, url: 'http://$RECEIVER/hook', token_file: $(secret_file token s3cret)"

    run --separate-stderr cx-health test-action tell --alerts "$ALERTS"

    assert_success
    assert_json '.changed, .type, .receiver_status' $'true\nwebhook\n200'
    validate_schema cx-health-test-action
    assert_equal "$(pages)" $'firing test node-1\nresolved test node-1'
    assert_equal "$(received '.[0].headers.authorization')" '"Bearer s3cret"'
    assert_equal "$(received '.[0].headers["idempotency-key"] == .[0].body.alerts[0].id')" true
    assert_equal "$(received '[.[].body.alerts[0].key] | unique | length')" 1
    validate_schema cx-health-notices "$(received '.[0].body')"
}

@test "webhook: who answers more than anybody reads has the page all the same; a refusal stays one" {
    start_receiver
    action "type: webhook, url: 'http://$RECEIVER/'"
    echo 3000000 >"$RECEIVED/answer"

    run --separate-stderr cx-health test-action tell --alerts "$ALERTS"
    assert_success
    assert_json .receiver_status 200

    echo 500 >"$RECEIVED/status"
    run --separate-stderr cx-health test-action tell --alerts "$ALERTS"
    assert_error unavailable
    [[ $stderr == *"HTTP status 500"* ]]
}

@test "slack: text and channel; its URL is a secret and in no message" {
    start_receiver
    action "type: slack, url_file: $(secret_file slack "http://$RECEIVER/services/T0/B0/hidden"), channel: '#ops'"

    run --separate-stderr cx-health test-action tell --alerts "$ALERTS"
    assert_success
    assert_equal "$(received '.[0] | .path, .body.channel')" $'"/services/T0/B0/hidden"\n"#ops"'

    stop_daemon receiver
    run --separate-stderr cx-health test-action tell --alerts "$ALERTS"
    assert_error unavailable
    [[ $stderr != *hidden* ]]
}

@test "pagerduty: trigger and resolve with one dedup_key and the routing key" {
    start_receiver
    action "type: pagerduty, routing_key_file: $(secret_file key R0UTE), url: 'http://$RECEIVER/v2/enqueue'"

    run --separate-stderr cx-health test-action tell --alerts "$ALERTS"

    assert_success
    assert_equal "$(received '[.[].body | .event_action, .routing_key]')" \
        '["trigger","R0UTE","resolve","R0UTE"]'
    assert_equal "$(received '[.[].body.dedup_key] | unique | length')" 1
    assert_equal "$(received '.[0].body.payload | keys | contains(["summary","source","severity"])')" true
}

@test "alertmanager: its own path, labels and times" {
    start_receiver
    action "type: alertmanager, url: 'http://$RECEIVER/'"

    run --separate-stderr cx-health test-action tell --alerts "$ALERTS"

    assert_success
    assert_equal "$(received '[.[].path] | unique')" '["/api/v2/alerts"]'
    assert_equal "$(received '.[0].body[0].labels | .alertname, .subject')" $'"test"\n"node-1"'
    assert_equal "$(received '.[0].body[0].endsAt > .[1].body[0].endsAt')" true
}

@test "smtp: a mail to each recipient" {
    start_receiver smtp
    action "type: smtp, server: '$RECEIVER', from: cx@example.org, to: [ann@example.org, bob@example.org], tls: none"

    run --separate-stderr cx-health test-action tell --alerts "$ALERTS"

    assert_success
    assert_equal "$(received 'length, .[0].from, .[0].to[1]')" $'2\n"<cx@example.org>"\n"<bob@example.org>"'
    [[ $(received '.[1].mail') == *'Subject: [test] 1 resolved: test node-1'* ]]
}

@test "smtp: a recipient that is gone costs the others no mail, and is told" {
    start_receiver smtp
    action "type: smtp, server: '$RECEIVER', from: cx@example.org, to: [gone@example.org, bob@example.org], tls: none"
    run --separate-stderr cx-health test-action tell --alerts "$ALERTS"
    assert_failure 1
    validate_schema cx-health-test-action
    assert_json .refused '550 no such mailbox'
    assert_equal "$(received '.[0].to')" '["<bob@example.org>"]'

    action "type: smtp, server: '$RECEIVER', from: cx@example.org, to: [gone@example.org], tls: none"
    run --separate-stderr cx-health test-action tell --alerts "$ALERTS"
    assert_error unavailable
}

@test "smtp: without the STARTTLS that is asked for nothing is sent" {
    start_receiver smtp
    action "type: smtp, server: '$RECEIVER', from: cx@example.org, to: [ann@example.org]"

    run --separate-stderr cx-health test-action tell --alerts "$ALERTS"

    assert_error unavailable
    assert_equal "$(received length)" 0
}

@test "exec: the document on stdin, the first notice in the environment" {
    cat >"$BATS_TEST_TMPDIR/tell" <<END
#!/bin/sh
{ echo "\$1 \$CX_ALERT_STATUS \$CX_ALERT_NAME \$CX_ALERT_SUBJECT"; cat; echo; } >>$RECEIVED/ran
END
    chmod +x "$BATS_TEST_TMPDIR/tell"
    action "type: exec, command: [$BATS_TEST_TMPDIR/tell, now]"

    run --separate-stderr cx-health test-action tell --alerts "$ALERTS"

    assert_success
    assert_equal "$(sed -n 1p "$RECEIVED/ran")" 'now firing test node-1'
    validate_schema cx-health-notices "$(sed -n 2p "$RECEIVED/ran")"
    assert_equal "$(sed -n 3p "$RECEIVED/ran")" 'now resolved test node-1'
}

@test "a refusal, a program that fails and a secret that others can read are errors" {
    start_receiver
    echo 400 >"$RECEIVED/status"
    action "type: webhook, url: 'http://$RECEIVER/'"
    run --separate-stderr cx-health test-action tell --alerts "$ALERTS"
    assert_error invalid
    [[ $stderr == *400* ]]

    action "type: exec, command: /bin/false"
    run --separate-stderr cx-health test-action tell --alerts "$ALERTS"
    assert_error invalid

    echo open >"$BATS_TEST_TMPDIR/open"
    chmod 644 "$BATS_TEST_TMPDIR/open"
    action "type: webhook, url: 'http://$RECEIVER/', token_file: $BATS_TEST_TMPDIR/open"
    run --separate-stderr cx-health test-action tell --alerts "$ALERTS"
    assert_error permission
}

@test "a program that hangs is ended at the action's time-out" {
    action "type: exec, command: [/bin/sleep, '60'], timeout: 200ms"

    run --separate-stderr cx-health test-action tell --alerts "$ALERTS"

    assert_error timeout
}

@test "page_oncall without a definition writes to the log; --dry-run tells nobody; a wrong name is an error" {
    run --separate-stderr cx-health test-action page_oncall
    assert_success
    assert_json .type log
    [[ $stderr == *'FIRING'* ]]

    run --separate-stderr cx-health test-action page_oncall --dry-run
    assert_success
    assert_json '.changed, .dry_run' $'false\ntrue'
    assert_equal "$stderr" ''
    validate_schema cx-health-test-action

    run --separate-stderr cx-health test-action nobody
    assert_error not_found
    [[ $stderr == *page_oncall* ]]
}
