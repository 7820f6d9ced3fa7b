# gossip: agents for tests, each with an address and a folder of its own. After `load common`.
# shellcheck shell=bash

# start_member NAME [OPTION…]: an agent of the local profile; its address is in the file
# NAME/address and, afterwards, in $member_address.
start_member() {
    local name=$1 folder=$BATS_TEST_TMPDIR/$1
    shift
    mkdir -p "$folder"
    [[ -s $folder/address ]] || free_loopback >"$folder/address"
    member_address=$(<"$folder/address")
    start_daemon "$name" cx-gossip agent --bind "$member_address:7946" --node-id "$name" \
        --run-dir "$folder" --profile local "$@"
    wait_until 10 test -S "$folder/gossip.sock"
}

# ask NAME COMMAND…: a command of cx-gossip to NAME's agent.
ask() {
    local name=$1
    shift
    cx-gossip "$@" --run-dir "$BATS_TEST_TMPDIR/$name"
}

# sees NAME COUNT STATUS: NAME's agent knows so many members of that status.
sees() {
    [[ $(ask "$1" members --status "$3" | jq .count) == "$2" ]]
}

# sees_as NAME OTHER STATUS
sees_as() {
    [[ $(ask "$1" members | jq -r --arg n "$2" '.members[] | select(.node_id == $n).status') == "$3" ]]
}

incarnation() {
    ask "$1" members | jq --arg n "$2" '.members[] | select(.node_id == $n).incarnation'
}

# accused NAME: how often NAME's agent has suspected or failed anybody but $2 since its start.
accusations_but() {
    jq -r --arg n "$2" 'select(.event == "member_suspect" or .event == "member_failed")
        | .notice.node_id // empty | select(. != $n)' "$BATS_TEST_TMPDIR/$1.log"
}
