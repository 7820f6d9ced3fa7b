#!/usr/bin/env bats
# The Debian package in a fresh Debian: debootstrap and chroot, with what it depends on and nothing more. Runs only by
# name (scripts/test package), as root, and needs a Debian mirror ($CX_DEBIAN_MIRROR).

load ../bats/common

setup_file() {
    need debootstrap dpkg-deb unshare
    ((EUID == 0)) || fail "a chroot needs root"
    make -s -C "$CX_ROOT" deb >"$BATS_FILE_TMPDIR/deb.log" 2>&1 || fail "$(<"$BATS_FILE_TMPDIR/deb.log")"
    export ROOT=$BATS_FILE_TMPDIR/root ADDRESS
    ADDRESS=$(free_loopback)
    debootstrap --variant=minbase bookworm "$ROOT" "${CX_DEBIAN_MIRROR:-http://deb.debian.org/debian}" \
        >"$BATS_FILE_TMPDIR/debootstrap.log" 2>&1 || fail "$(tail -n 20 "$BATS_FILE_TMPDIR/debootstrap.log")"
    cp "$CX_ROOT"/build/cx_*.deb "$ROOT/new.deb"
    older_package "$ROOT/new.deb" "$ROOT/old.deb"
}

# older_package FROM TO: the same programs as an earlier version, whose defaults were others.
older_package() {
    local tree=$BATS_FILE_TMPDIR/older
    dpkg-deb -R "$1" "$tree"
    sed -i 's/^Version: .*/Version: 0.0.1/' "$tree/DEBIAN/control"
    echo '# an earlier default' >>"$tree/etc/default/cx"
    dpkg-deb --root-owner-group -b "$tree" "$2" >/dev/null
}

# in_root CMD…: there, with its own view of the processes' folder.
in_root() {
    # shellcheck disable=SC2016 # expanded there
    unshare --mount --propagation private bash -c '
        mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" &&
            exec env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive chroot "$@"' bash "$ROOT" "$@"
}

apt_install() {
    in_root apt-get install -qq -y --no-install-recommends "$@"
}

@test "package: installs with what it depends on, and makes the user and the folders" {
    in_root apt-get update -qq
    run apt_install /old.deb
    assert_success
    run in_root dpkg-query -W -f '${db:Status-Status} ${Version}' cx
    assert_output "installed 0.0.1"
    run in_root stat -c '%U:%G %a' /etc/caxton /etc/caxton/certs /var/lib/caxton /var/log/caxton /run/caxton
    assert_output "$(printf '%s\n' "root:caxton 750" "caxton:caxton 750" "caxton:caxton 750" "caxton:caxton 750" "caxton:caxton 750")"
}

@test "package: nothing is missing: every program and every script runs" {
    local path
    for path in "$ROOT"/usr/bin/cx-*; do
        run in_root "${path#"$ROOT"}" --version
        assert_success
    done
    for path in "$ROOT"/usr/share/cx/{scripts,runbooks}/*; do
        [[ -f $path && -x $path ]] || continue
        run in_root "${path#"$ROOT"}" --help
        assert_success
    done
    run in_root bash -c 'ldd /usr/bin/cx-* | grep "not found"'
    assert_output ""
}

# serve: as the unit does it.
serve() {
    start_daemon caxton "$BASH" -c "$(declare -f in_root); ROOT=$ROOT in_root setpriv --reuid caxton --regid caxton --init-groups \
        caxton server start --bootstrap"
    wait_until 30 in_root cx-node status --json
}

# The daemons end when the front is asked to; it is the child of unshare.
end_service() {
    local pid
    pid=$(pgrep -s "$(pid_of caxton)" -f 'server start' | head -n 1)
    kill -TERM "$pid"
    wait_until 30 is_gone "$pid"
}

@test "package: the operators' bootstrap by root gives a node that runs as the user caxton" {
    in_root caxton security init-ca --ca-cert /etc/caxton/ca.crt --ca-key /etc/caxton/ca.key --validity 3650d >&2
    in_root caxton init --node-id node-1 --bind-addr "$ADDRESS:7946" --api-addr "$ADDRESS:8080" \
        --data-dir /var/lib/caxton --cert-dir /etc/caxton/certs --bootstrap-expect 1 >&2
    in_root caxton security gen-cert --node-id node-1 --ca-cert /etc/caxton/ca.crt --ca-key /etc/caxton/ca.key \
        --output /etc/caxton/certs/ >&2
    run in_root stat -c '%U %a' /etc/caxton/certs/node.key /etc/caxton/certs/gossip.keys /etc/caxton/ca.key
    assert_output "$(printf '%s\n' "caxton 600" "caxton 600" "root 600")"

    serve
    run in_root cx-agents deploy --json - <<<'{"id":"kept","command":["cat"],"placement":"pinned"}'
    assert_success
    end_service
    run find "$ROOT/var/lib/caxton" ! -user "$(in_root id -u caxton)"
    assert_output ""
}

@test "package: what root's commands made in /etc/caxton is the service's to read, and nobody else's to change" {
    in_root cx-backup keygen --quiet --output /etc/caxton/backup >&2
    run in_root find /etc/caxton/certs /etc/caxton/backup ! -user caxton
    assert_output ""
    # The CA's own are root's, where the operators' commands have them.
    run in_root stat -c '%n %U:%G %a' /etc/caxton /etc/caxton/{backup,ca.key,ca.db,certs,config.yaml,policies}
    assert_output "$(printf '/etc/caxton%s\n' " root:caxton 750" "/backup caxton:caxton 700" "/ca.key root:root 600" "/ca.db root:root 600" \
        "/certs caxton:caxton 750" "/config.yaml root:root 644" "/policies root:caxton 750")"
    run in_root find /etc/caxton -perm /022
    assert_output ""
    run in_root setpriv --reuid caxton --regid caxton --init-groups bash -c 'cat /etc/caxton/config.yaml /etc/caxton/certs/*.* \
        /etc/caxton/backup/* >/dev/null && ! : >>/etc/caxton/config.yaml'
    assert_success
}

@test "package: an upgrade keeps the configuration, the operator's changes and the data" {
    local before
    before=$(in_root sha256sum /etc/caxton/config.yaml /etc/caxton/certs/node.key /etc/caxton/certs/gossip.keys)
    echo '# mine' >>"$ROOT/etc/default/cx"
    run apt_install -o Dpkg::Options::=--force-confold /new.deb
    assert_success
    run in_root sha256sum /etc/caxton/config.yaml /etc/caxton/certs/node.key /etc/caxton/certs/gossip.keys
    assert_output "$before"
    run tail -n 1 "$ROOT/etc/default/cx"
    assert_output "# mine"
    serve
    run in_root cx-agents show kept --json
    assert_json .id kept
    end_service
}

@test "package: removed, it keeps configuration and data, and no timer of its own; purged, the data and keys, and says so" {
    mkdir -p "$ROOT/etc/cron.d"
    in_root caxton maintenance schedule --systemd --output /etc/systemd/system >&2
    in_root caxton maintenance schedule --cron --output /etc/cron.d >&2
    echo '[Timer]' >"$ROOT/etc/systemd/system/cx-mine.timer"
    [[ -e $ROOT/etc/systemd/system/cx-backup.timer && -e $ROOT/etc/cron.d/cx-timers ]]
    run in_root apt-get remove -qq -y cx
    assert_success
    run find "$ROOT/etc/systemd/system" "$ROOT/etc/cron.d" -name 'cx-*'
    assert_output "$ROOT/etc/systemd/system/cx-mine.timer"
    rm "$ROOT/etc/systemd/system/cx-mine.timer"
    [[ -e $ROOT/etc/caxton/config.yaml && -e $ROOT/etc/default/cx && ! -e $ROOT/usr/bin/cx-node ]]
    run in_root apt-get purge -qq -y cx
    assert_success
    assert_output --partial "cx: kept: /var/lib/caxton"
    assert_output --partial "cx: kept: /etc/caxton"
    [[ ! -e $ROOT/etc/caxton/config.yaml && ! -e $ROOT/etc/default/cx && ! -e $ROOT/var/log/caxton ]]
    [[ -e $ROOT/etc/caxton/certs/node.key && -e $ROOT/etc/caxton/ca.key && -n $(ls "$ROOT/var/lib/caxton") ]]
    run find "$ROOT/lib/systemd/system" "$ROOT/etc/systemd" -name 'c[ax]*ton.service' -o -name 'cx-*'
    assert_output ""
}
