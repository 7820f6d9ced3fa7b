#!/usr/bin/env bats
# share/ansible: the example for three hosts, run for real against three "hosts" of this machine: a folder and an
# address each. Runs by name (scripts/test package ansible).

load ../bats/common

setup_file() {
    need ansible-playbook
    export PLACE=$BATS_FILE_TMPDIR/hosts NETWORK=$CX_NETWORK
    mkdir -p "$PLACE"
    # The example as it is, with other addresses, and daemons that are started without systemd.
    cp -R "$CX_ROOT/share/ansible" "$BATS_FILE_TMPDIR/ansible"
    sed -i "s/cx_address: 10\.0\.0\./cx_address: $NETWORK./" "$BATS_FILE_TMPDIR/ansible/inventory.yml"
    cat >"$PLACE/vars.yml" <<END_OF_VARS
ansible_connection: local
ansible_python_interpreter: /usr/bin/python3
cx_become: false
cx_root: "$PLACE/{{ inventory_hostname }}"
cx_services: none
cx_node_gossip_profile: local
cx_start_command: "setsid caxton server start --config {{ cx_config }} >>{{ cx_root }}/log 2>&1 </dev/null & echo \$! >{{ cx_root }}.pid"
cx_ca_start_command: "setsid cx-ca serve --config {{ cx_config }} --ca-dir {{ cx_ca_dir }} --listen {{ cx_address }}:{{ cx_ca_port }} >>{{ cx_root }}/ca-log 2>&1 </dev/null & echo \$! >{{ cx_root }}.ca.pid"
cx_maintenance_kind: cron
cx_maintenance_output: "{{ cx_root }}/etc"
cx_scripts_dir: "$CX_ROOT/scripts"
END_OF_VARS
}

# Each daemon is the leader of a session.
teardown_file() {
    local file
    for file in "$PLACE"/*.pid; do
        pkill -TERM -s "$(<"$file")" || true
    done
    for file in "$PLACE"/*.pid; do
        wait_until 20 is_gone "$(<"$file")"
    done
}

play() {
    cd "$BATS_FILE_TMPDIR/ansible" || return
    ANSIBLE_NOCOLOR=1 run ansible-playbook -i inventory.yml -e "@$PLACE/vars.yml" site.yml "$@"
}

# changed_of NODE: how much the recap says was changed there.
changed_of() {
    sed -n "s/^$1 .*changed=\([0-9]*\) .*/\1/p" <<<"$output"
}

@test "ansible: --check on hosts without anything plans and changes nothing" {
    play --check
    assert_success
    [[ $(changed_of node-1) -gt 0 ]]
    run find "$PLACE" -mindepth 1 ! -name vars.yml
    assert_output ""
}

@test "ansible: a run makes a cluster of three, with backup keys and timers" {
    local node
    play
    assert_success
    for node in node-1 node-2 node-3; do
        [[ $(changed_of "$node") -gt 0 ]]
        [[ -s $PLACE/$node/etc/caxton/backup/recipients.txt && -s $PLACE/$node/etc/cx-timers ]]
    done
    CX_CONFIG=$PLACE/node-3/etc/caxton/config.yaml wait_until 20 cx-join wait --expect 3 --timeout 5s
}

@test "ansible: run again, it changes nothing and says so" {
    local node
    play
    assert_success
    for node in node-1 node-2 node-3; do
        [[ $(changed_of "$node") == 0 ]] || fail "$node: changed=$(changed_of "$node"): $output"
    done
}
