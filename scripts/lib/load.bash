# load.bash: a steady stream of messages to an agent, and what became of each of them, read from the ledgers;
# sourced by the demo and by tests.
#
# A load is a folder: AGENT.results (one JSON result a line, as cx-queue prints them), AGENT.errors, AGENT.sent
# (how many were written when the stream ended). Message N has the id AGENT-WORD-N.
# shellcheck shell=bash

# stream AGENT RATE WORD STOP COUNT: writes RATE messages a second, until the file STOP is there; then how many
# they were to the file COUNT. Who reads slowly for a while gets what was due meanwhile.
stream() {
    local start_us=${EPOCHREALTIME/[.,]/} sent=0 due text
    until [[ -e $4 ]]; do
        due=$(((${EPOCHREALTIME/[.,]/} - start_us) * $2 / 1000000))
        text=""
        while ((sent < due)); do
            sent=$((sent + 1))
            text+="{\"message_id\":\"$1-$3-$sent\",\"receiver\":\"$1\",\"content\":$sent}"$'\n'
        done
        [[ -z $text ]] || printf '%s' "$text" || return 1
        sleep 0.05
    done
    echo "$sent" >"$5"
}

# start_load FOLDER RATE WORD AGENT/NODE…: to each AGENT through NODE, RATE messages a second, until end_load.
# The senders wait for a node that is out of service.
start_load() {
    local folder=$1 rate=$2 word=$3 pair agent
    shift 3
    mkdir -p "$folder"
    rm -f "$folder"/*
    load_pids=()
    for pair; do
        agent=${pair%/*}
        stream "$agent" "$rate" "$word" "$folder/stop" "$folder/$agent.sent" |
            cx-queue send - --node "${pair#*/}" --timeout 1h --json \
                >"$folder/$agent.results" 2>"$folder/$agent.errors" &
        load_pids+=($!)
    done
}

# end_load FOLDER: no more messages; waits for the results of those that were sent.
end_load() {
    touch "$1/stop"
    wait "${load_pids[@]}" || true
}

# judge_load FOLDER AGENT LOG…: one JSON object: sent; accepted, failed (not accepted) and lost (accepted, and not in
# the agent's ledger) of them; twice: in the ledger more than once. A ledger is the log of the agent `counter`.
judge_load() {
    local folder=$1 agent=$2
    shift 2
    [[ -s $folder/$agent.sent ]] ||
        give_up internal "the sender to $agent ended early: $(paste -sd" " "$folder/$agent.errors")"
    jq -nc --arg agent "$agent" --argjson sent "$(<"$folder/$agent.sent")" \
        --slurpfile results "$folder/$agent.results" --slurpfile ledger <(cat "$@") '
        ([$ledger[].message_id] | group_by(.) | map({key: .[0], value: length}) | from_entries) as $times
        | [$results[] | select(.status == "accepted").message_id] as $accepted
        | {agent: $agent, sent: $sent, accepted: ($accepted | length), failed: ($sent - ($accepted | length)),
           lost: ([$accepted[] | select($times[.] == null)] | length),
           twice: ([$accepted[] | select($times[.] > 1)] | length)}'
}
