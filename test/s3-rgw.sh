#!/usr/bin/env bash
# s3-rgw start DIR PORT | stop DIR: an S3 server for tests: Ceph's radosgw over one monitor and one OSD
# that keeps its data in memory. Returns when it answers. DIR is emptied first.
#
# It uses PORT (S3), PORT+1 and PORT+2 (monitor) and PORT+10 to PORT+40 (OSD) of 127.0.0.1. $S3_KEY and
# $S3_SECRET are the key pair (default testkey, testsecret).
set -euo pipefail
shopt -s inherit_errexit

action=$1
dir=$2
conf=$dir/ceph.conf
id=$(printf '%s' "$dir" | md5sum | sed -E 's/^(.{8})(.{4})(.{4})(.{4})(.{12}).*/\1-\2-\3-\4-\5/')

# By recorded process id only; the data is disposable.
stop() {
    local name pid
    for name in client.rgw osd.0 mon.a; do
        [[ -f $dir/$name.pid ]] || continue
        pid=$(<"$dir/$name.pid")
        if grep -qsF "$conf" "/proc/$pid/cmdline"; then
            kill -KILL "$pid" || true
        fi
        rm -f "$dir/$name.pid"
    done
}

# ms mon client mode: radosgw asks for a secure connection by default, which hangs without
# authentication. The paxos intervals: start in 2 s instead of 11.
write_conf() {
    local port=$1
    cat >"$conf" <<CONF
[global]
fsid = $id
mon host = [v2:127.0.0.1:$((port + 1)),v1:127.0.0.1:$((port + 2))]
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms bind port min = $((port + 10))
ms bind port max = $((port + 40))
run dir = $dir
crash dir = $dir
pid file = $dir/\$name.pid
admin socket = $dir/\$name.asok
log file = $dir/\$name.log
mon data = $dir/mon
mon allow pool size one = true
mon data avail warn = 1
mon data avail crit = 1
paxos propose interval = 0.05
paxos min wait = 0.01
osd data = $dir/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd crush chooseleaf type = 0
osd crush update on start = false
osd class update on start = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
rgw data = $dir/rgw
rgw frontends = beast endpoint=127.0.0.1:$port
rgw dns name = s3.localhost
rgw thread pool size = 32
CONF
}

# The monitor's addresses come by a map: without it, it takes ports of its own choice.
start() {
    local port=$1
    rm -rf "$dir"
    mkdir -p "$dir/mon" "$dir/osd" "$dir/rgw"
    write_conf "$port"
    {
        monmaptool --create --fsid "$id" \
            --addv a "[v2:127.0.0.1:$((port + 1)),v1:127.0.0.1:$((port + 2))]" "$dir/monmap"
        ceph-mon -c "$conf" --mkfs -i a --monmap "$dir/monmap"
        ceph-mon -c "$conf" -i a
        ceph -c "$conf" osd new "$id"
        ceph -c "$conf" osd crush add osd.0 1.0 root=default host=h
        ceph-osd -c "$conf" -i 0 --mkfs --osd-uuid "$id"
        ceph-osd -c "$conf" -i 0
        radosgw-admin -c "$conf" user create --uid=test --display-name=test \
            --access-key="${S3_KEY:-testkey}" --secret="${S3_SECRET:-testsecret}"
        radosgw -c "$conf" -n client.rgw
    } >"$dir/setup.log" 2>&1 </dev/null
    for _ in $(seq 300); do
        ! curl -s -o "$dir/answer" "http://127.0.0.1:$port/" || return 0
        sleep 0.1
    done
    echo "radosgw does not answer on port $port; see $dir/setup.log" >&2
    return 1
}

case $action in
    start)
        trap 'stop' ERR
        start "$3"
        ;;
    stop) stop ;;
    *) sed -n '2,/^set/{/^#/s/^# \?//p}' "${BASH_SOURCE[0]}" ;;
esac
