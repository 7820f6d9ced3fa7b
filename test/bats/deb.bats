#!/usr/bin/env bats
# What is installed: the Debian package, unpacked and looked at, and what is made from `--describe`. That it
# installs in a fresh Debian is a stage of its own: scripts/test package.

load common

setup_file() {
    need lintian dh mandoc systemd-analyze yamllint ansible-lint ansible-playbook
    make -s -C "$CX_ROOT" deb >"$BATS_FILE_TMPDIR/deb.log" 2>&1 || {
        cat "$BATS_FILE_TMPDIR/deb.log"
        return 1
    }
    export PACKAGE
    PACKAGE=$(echo "$CX_ROOT"/build/cx_*.deb)
    export TREE=$BATS_FILE_TMPDIR/root
    dpkg-deb -x "$PACKAGE" "$TREE"
}

# installed CMD…: with nothing of the sources in the environment.
installed() {
    env -i HOME="$BATS_TEST_TMPDIR" PATH=/usr/bin:/bin "$@"
}

@test "deb: lintian finds nothing wrong" {
    run lintian --allow-root --fail-on error,warning --tag-display-limit 0 "$PACKAGE"
    assert_success
    refute_output --regexp '^[EW]:'
}

@test "deb: systemd finds nothing wrong with the units, and little that they could break" {
    local unit exposure
    export MANPATH=$TREE/usr/share/man SYSTEMD_UNIT_PATH=$TREE/lib/systemd/system:
    run systemd-analyze verify "$TREE"/lib/systemd/system/*.service
    assert_success
    assert_output ""
    for unit in "$TREE"/lib/systemd/system/cx-*.service; do
        exposure=$(systemd-analyze security --offline=yes --no-pager "$unit" | sed -n 's/.*Overall.*: \([0-9.]*\) .*/\1/p')
        [[ ${exposure/./} -lt 20 ]] || fail "$unit: exposure $exposure"
    done
}

@test "deb: every program says its version, every script its usage, from where it was unpacked" {
    local program script count=0
    for program in "$TREE"/usr/bin/cx-*; do
        run installed "$program" --version
        assert_success
        assert_output --regexp "^${program##*/} [0-9]+\.[0-9]+\.[0-9]+$"
        count=$((count + 1))
    done
    [[ $count == $(find "$CX_ROOT/tools" -name main.c | wc -l) ]]
    for script in "$TREE"/usr/share/cx/{scripts,runbooks}/*; do
        [[ -f $script && -x $script ]] || continue
        run installed "$script" --help
        assert_success
        refute_output ""
    done
}

@test "deb: programs and scripts find their files where they are, and not in the sources" {
    run installed "$TREE/usr/bin/cx-config" policy backup --config /dev/null
    assert_json .source "$TREE/usr/share/cx/policies/backup.yaml"
    run installed "$TREE/usr/bin/caxton" release list
    assert_json .count 0
    run installed "$TREE/usr/bin/caxton" agents list --help
    assert_success
    assert_output --partial "cx-agents list"
    run grep -rlF "$CX_ROOT" "$TREE" --include='*' --exclude='cx-*'
    assert_output ""
}

@test "deb: what holds keys and data is the service's alone, and nothing starts by itself" {
    local control=$BATS_TEST_TMPDIR/control
    dpkg-deb -e "$PACKAGE" "$control"
    run grep -E '^d .* 07[057]0 ' "$TREE/usr/lib/tmpfiles.d/cx.conf"
    assert_output --partial "/etc/caxton/certs        0750 caxton caxton"
    assert_output --partial "/var/lib/caxton          0750 caxton caxton"
    assert_output --partial "/etc/caxton/backup       0700 caxton caxton"
    run cat "$control/conffiles"
    assert_output "$(printf '%s\n' /etc/default/cx /etc/logrotate.d/cx)"
    run grep -E 'deb-systemd-invoke +.*start|systemctl +(re)?start' "$control/postinst"
    assert_output --regexp '^ *echo [^;&]*$'
}

@test "manual: every page is clean for man and for mandoc" {
    local page
    for page in "$CX_ROOT"/build/man/*.[17]; do
        run mandoc -Tlint -W warning "$page"
        assert_output ""
        LC_ALL=C.UTF-8 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>"$BATS_TEST_TMPDIR/warnings" >/dev/null
        run cat "$BATS_TEST_TMPDIR/warnings"
        assert_output ""
    done
}

@test "manual: the examples name programs, commands and options that there are" {
    local line words program describe key word
    while IFS= read -r line; do
        while [[ $line =~ (^|'| ')(cx-[a-z]+)' '([^|#]*)(.*) ]]; do
            program=${BASH_REMATCH[2]}
            read -ra words <<<"${BASH_REMATCH[3]}"
            line=${BASH_REMATCH[4]}
            describe=$("$program" --describe)
            key=$(jq -r --arg words "${words[*]}" '[.commands[].name] as $names | ($words | split(" ")) as $words
                | [$names[] | select(. == $words[0] or . == ($words[:2] | join(" ")))] | max_by(length) // ""' <<<"$describe")
            [[ -n $key ]] || fail "$program ${words[*]}: no such command"
            for word in "${words[@]}"; do
                [[ $word != -- ]] || break
                [[ $word == --[a-z]* ]] || continue
                jq -e --arg key "$key" --arg option "${word#--}" 'any(.common_options[], (.commands[] | select(.name == $key).options[]);
                    .name == $option)' <<<"$describe" >/dev/null || fail "$program $key: no option $word"
            done
        done
    done <"$CX_ROOT/share/man/examples"
}

@test "ansible: the roles and the example are well formed" {
    cd "$CX_ROOT/share/ansible"
    run yamllint -s -d '{extends: default, rules: {line-length: {max: 160}}}' .
    assert_success
    assert_output ""
    run ansible-lint --offline -q
    assert_success
    run ansible-playbook -i inventory.yml --syntax-check site.yml
    assert_success
}

# completed WORD…: what the shell offers for the last of them, in $output.
completed() {
    run env PATH="$CX_BUILD:$PATH" bash --norc -c '
        source "$1"
        shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        read -ra entry < <(complete -p "${1##*/}")
        "${entry[-2]}" "$1" "${@: -1}" "${@: -2:1}"
        echo "${COMPREPLY[*]}"' bash "$TREE/usr/share/bash-completion/completions/caxton" "$@"
    assert_success
}

@test "completion: commands, options and values of the programs" {
    completed cx-gossip mem
    assert_output members
    completed cx-gossip members --st
    assert_output --status
    completed cx-gossip members --status fa
    assert_output failed
    completed cx-backup create --type = inc
    assert_output incremental
    completed cx-queue messages re
    assert_output retry
    completed cx-config policy up
    assert_output upgrade
    completed cx-drain enter --dry
    assert_output --dry-run
    [[ -L $TREE/usr/share/bash-completion/completions/cx-gossip ]]
}

@test "completion: the operators' words, with the options of what they run" {
    completed caxton clus
    assert_output cluster
    completed caxton cluster upgrade ""
    assert_output "rollback start status"
    completed caxton cluster members --sta
    assert_output --status
    completed caxton cluster upgrade start --canary-
    assert_output --canary-duration
    completed caxton server start --boot
    assert_output --bootstrap
    completed caxton release act
    assert_output activate
}

@test "completion: the scripts by their own names" {
    completed scripts/rolling-upgrade --resu
    assert_output --resume
    completed scripts/local-cluster par
    assert_output partition
}

@test "install: at any prefix, and uninstall leaves nothing" {
    local root=$BATS_TEST_TMPDIR/root
    make -s -C "$CX_ROOT" install DESTDIR="$root" PREFIX=/opt/cx
    run installed "$root/opt/cx/bin/cx-config" policy health --config /dev/null
    assert_json .source "$root/opt/cx/share/cx/policies/health.yaml"
    grep -q 'PATH=/opt/caxton/current/bin:/opt/cx/bin:' "$root/opt/cx/lib/systemd/system/cx-node.service"
    make -s -C "$CX_ROOT" uninstall DESTDIR="$root" PREFIX=/opt/cx
    run find "$root" -type f -o -type l
    assert_output ""
}
