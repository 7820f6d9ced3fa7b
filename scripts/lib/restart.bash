# restart.bash: restarting a node's daemons; sourced by runbooks.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154

# shellcheck disable=SC2016 # expanded where it runs
restart_default='on-node "$CX_NODE" -- bash -c "\${CX_RESTART:-systemctl restart $CX_UNITS}"'

# restart_daemons NODE UNIT…: by the operator's --restart-command, or the default above.
restart_daemons() {
    local node_id=$1
    shift
    run_command "$node_id" restart "${option[restart_command]}" CX_UNITS="$*"
    detail=$(jq -nc '{restarted: $ARGS.positional}' --args "$@")
}
