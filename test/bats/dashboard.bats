#!/usr/bin/env bats
# The dashboard of cx-health watch, as a browser shows it: a real cluster, a headless Chromium.

load common

setup() {
    dir=$BATS_TEST_TMPDIR/cluster
    local-cluster up --nodes 3 --dir "$dir" --base "$CX_NETWORK" >"$BATS_TEST_TMPDIR/up"
    eval "$(local-cluster env node-1 --dir "$dir")"
    # A threshold that every node crosses, and checks often enough for a test.
    cat >"$BATS_TEST_TMPDIR/health.yaml" <<'END'
health_checks:
  cluster_health: {interval: 2s, checks: [cluster_membership, gossip_convergence, partition_detection]}
  node_health: {interval: 2s, timeout: 2s, checks: [cpu_usage < 100%, memory_usage < 100%, disk_usage < 100%]}
  agent_health: {interval: 2s, checks: [agent_responsiveness, error_rate < 1%]}
END
    cat >"$BATS_TEST_TMPDIR/alerts.yaml" <<'END'
alerts:
  critical: [{name: node_down, condition: node_unreachable > 60s, action: page_oncall}]
  warning: [{name: memory_in_use, condition: memory_usage > 0%, action: send_alert}]
END
    address=$CX_NETWORK.11:9180
    start_daemon watch cx-health watch --policy "$BATS_TEST_TMPDIR/health.yaml" \
        --alerts "$BATS_TEST_TMPDIR/alerts.yaml" --listen "$address"
    wait_until 10 curl -sf "http://$address/healthz"
}

teardown() {
    end_daemons
    local-cluster down --dir "$dir" --purge >"$BATS_TEST_TMPDIR/down"
}

# open_page: a browser, which answers one line to each line that `browse` gives it.
open_page() {
    need chromium chromedriver
    mkdir -p "$BATS_TEST_TMPDIR/browser"
    mkfifo "$BATS_TEST_TMPDIR/orders" "$BATS_TEST_TMPDIR/answers"
    start_daemon browser bash -c 'exec "$@" <"$0/orders" >"$0/answers"' "$BATS_TEST_TMPDIR" \
        /usr/bin/python3 "$CX_ROOT/test/browser.py" "http://$address/" "$BATS_TEST_TMPDIR/browser"
    exec {orders}>"$BATS_TEST_TMPDIR/orders" {answers}<"$BATS_TEST_TMPDIR/answers"
    read -t 60 -r -u "$answers" answer
    [[ $answer == '{"ready": true}' ]]
}

# browse FILTER ARG…: what jq makes of that is the order; sets $answer, fails when it has an error.
browse() {
    jq -nc "$@" >&"$orders"
    read -t 120 -r -u "$answers" answer || fail "the browser is gone: $(tail -n 5 "$BATS_TEST_TMPDIR/browser.log")" || return
    [[ $(jq -r .error <<<"$answer") == null ]] || fail "$answer"
}

# shows SECONDS SELECTOR COUNT: so many elements within that time.
shows() {
    browse --argjson seconds "$(($1 * $(patience)))" --arg css "$2" --argjson count "$3" '{do: "wait", is: $count,
        seconds: $seconds, script: ("return document.querySelectorAll(" + ($css | tojson) + ").length")}'
}

alert_is() {
    [[ $(cx-health alerts | jq -r '.alerts[] | select(.name == "memory_in_use" and .subject == "node-1").state') == "$1" ]]
}

@test "the page: three nodes green, one red within 5 s of kill -9 and green again, a silence by click, nothing from elsewhere" {
    cx-agents deploy "$CX_ROOT/share/agents/echo.json" --node node-2
    cx-queue send --to echo --content '"x"' --wait 10s --node node-1
    open_page
    shows 10 '#nodes > li[data-tone=ok]' 3
    shows 15 '#agents tr' 1
    shows 15 '#certificates tr' 3
    shows 15 '#backups tr' 3
    shows 15 '#latency path.p99[d^="M5"], #latency path.p99[d^="M6"], #latency path.p99[d^="M7"], #latency path.p99[d^="M8"], #latency path.p99[d^="M9"], #latency path.p99[d^="M1"]' 1

    # Fits a telephone.
    browse '{do: "window", width: 390, height: 844, touch: true, dark: true}'
    browse '{do: "wait", seconds: 5, is: true, script: "return document.documentElement.scrollWidth <= 390 && getComputedStyle(document.body).backgroundColor != \"rgb(244, 245, 247)\""}'
    browse '{do: "window", width: 1180, height: 1300}'

    # kill -9, seen as a person sees it.
    local-cluster kill node-3
    shows 5 '#nodes > li[data-node=node-3][data-tone=failed]' 1
    shows 1 '#nodes > li[data-tone=ok]' 2
    local-cluster start node-3
    shows 20 '#nodes > li[data-tone=ok]' 3

    # By keyboard and by click.
    shows 15 '#alerts > li[data-alert=memory_in_use][data-state=firing]' 3
    browse '{do: "click", css: "#alerts > li[data-subject=node-1] button"}'
    browse '{do: "type", css: "#reason", text: "<b>new</b> memory"}'
    browse '{do: "keys", keys: ["ENTER"]}'
    shows 10 '#alerts > li[data-subject=node-1][data-state=silenced]' 1
    shows 5 'dialog[open], #silences b' 0
    wait_until 5 alert_is silenced
    run --separate-stderr cx-health alerts
    assert_json '.silences[0] | .name, .subject, .reason, (.owner | startswith("dashboard@127."))' \
        $'memory_in_use\nnode-1\n<b>new</b> memory\ntrue'
    browse '{do: "click", css: "#silences > li button"}'
    browse '{do: "click", css: "#submit"}'
    shows 10 '#alerts > li[data-subject=node-1][data-state=firing]' 1
    wait_until 5 alert_is firing

    browse '{do: "seen"}'
    assert_equal "$(jq -c '[.console, .hosts]' <<<"$answer")" "[[],[\"$address\"]]"
}
