# common.sh: what the benchmarks share; to be sourced.
# shellcheck shell=bash
# shellcheck source=../../scripts/common.sh disable=SC2154 # here: set by who sources this
source "$here/../../scripts/common.sh"
find_tools "$(realpath "$here/../..")"

# make_scratch: sets scratch and network (127.A.B); both go with the script, and all processes with them.
make_scratch() {
    scratch=$(mktemp -d)
    network=127.$((100 + BASHPID / 256 % 100)).$((BASHPID % 256))
    pids=()
    trap clean_up EXIT
    trap 'exit 130' INT TERM
}

clean_up() {
    ((${#pids[@]} == 0)) || kill "${pids[@]}" 2>/dev/null || true
    wait
    [[ ! -e $scratch/cluster ]] || local-cluster down --dir "$scratch/cluster" >/dev/null || true
    rm -rf "$scratch"
}

serf_sees() {
    [[ $(serf members -format=json "-rpc-addr=$network.101:7373" | jq '.members | length') == "$1" ]]
}

# start_serf COUNT: that many serf agents on $network.101 and up, joined.
start_serf() {
    local number join=()
    for ((number = 1; number <= $1; number++)); do
        serf agent "-node=serf-$number" "-bind=$network.$((100 + number)):7946" \
            "-rpc-addr=$network.$((100 + number)):7373" -profile=local "${join[@]}" \
            </dev/null >"$scratch/serf-$number.log" 2>&1 &
        pids+=($!)
        join=("-retry-join=$network.101:7946" -retry-interval=1s)
    done
    poll 20 serf_sees "$1" || give_up timeout "serf agents did not find each other" "$scratch"
}
