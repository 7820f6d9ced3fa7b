# load: a steady stream of messages to the agents of a cluster, and what became of each: `load load` after common.
# shellcheck shell=bash
# shellcheck source=../../scripts/lib/load.bash
source "$CX_ROOT/scripts/lib/load.bash"

has_lines() {
    (($(wc -l <"$1") >= $2))
}

queues_are_empty() {
    [[ $(cx-queue stats --all | jq '.total | .queued + .in_flight') == 0 ]]
}

# loads_are_whole CLUSTER BOUNDS: ends the load in $BATS_TEST_TMPDIR/load, and holds what became of the messages to
# counter-1, -2 and -3, by the ledgers of these agents on node-1, -2 and -3 of the cluster in that folder, against
# BOUNDS, a filter over what judge_load says of each.
loads_are_whole() {
    local number verdict
    end_load "$BATS_TEST_TMPDIR/load"
    wait_until 60 queues_are_empty
    for number in 1 2 3; do
        verdict=$(judge_load "$BATS_TEST_TMPDIR/load" "counter-$number" \
            "$1/node-$number/data/agents/counter-$number/log.ndjson")
        echo "# $verdict" >&3
        jq -e "$2" <<<"$verdict" >/dev/null || {
            cat "$BATS_TEST_TMPDIR/load/counter-$number.errors"
            jq -c 'select(.status != "accepted")' "$BATS_TEST_TMPDIR/load/counter-$number.results" | head -n 3
            fail "$verdict"
        }
    done
}
