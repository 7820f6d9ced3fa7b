# files.bash: files that appear whole, also where root writes into a folder of somebody else; sourced by procedure.bash.
#
# Below a folder that is not root's alone its owner can put a link in the place of anything, at any time. So root keeps
# what it will trust later (runs) elsewhere, and writes there only as that owner.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables that cross the files of this library

# whose_place PATH: sets owner to UID:GID of the first folder on the way to PATH, PATH included, that is not root's
# alone; empty when there is none. Root's own links are followed, and so is what is not there yet.
whose_place() {
    local rest=$1 path=/ name uid gid mode links=0
    owner=""
    [[ $rest == /* ]] || rest=$PWD/$rest
    while [[ -n $rest ]]; do
        name=${rest%%/*} rest=${rest#"${rest%%/*}"} rest=${rest#/}
        [[ $name != @(|.) ]] || continue
        if [[ $name == .. ]]; then
            path=$(dirname "$path") # of folders that were looked at: no link is among them
            continue
        fi
        path=${path%/}/$name
        read -r uid gid mode < <(stat -c '%u %g %f' "$path" 2>/dev/null) || return 0
        mode=$((16#$mode))
        # Not a link's mode, which says nothing; not in a folder like /tmp, where only its owner takes a thing away.
        if ((uid != 0)) || { [[ ! -L $path ]] && (((mode & 8#22) != 0 && (mode & 8#1000) == 0)); }; then
            owner=$uid:$gid
            return
        fi
        if [[ -L $path ]]; then
            ((++links <= 40)) || return 0
            name=$(readlink "$path")
            rest=$name/$rest
            if [[ $name == /* ]]; then path=/; else path=$(dirname "$path"); fi
        fi
    done
}

# is_others PATH: we are root, and the place is not root's alone.
is_others() {
    ((EUID == 0)) || return 1
    whose_place "$1"
    [[ -n $owner ]]
}

# owner_words PATH: sets as, the words before a command that is to work at PATH with no more rights than whose place it
# is; none for anybody but root.
owner_words() {
    as=()
    ! is_others "$1" || [[ $owner == 0:* ]] ||
        as=(setpriv "--reuid=${owner%:*}" "--regid=${owner#*:}" --clear-groups)
}

# keep FILE: stdin becomes the file, durably, in one step, as whose place it is. A dry run keeps nothing. In a condition,
# too, it fails when it can't.
keep() {
    local as owner
    if ((${#dry[@]})); then
        cat >/dev/null
        return
    fi
    owner_words "$1"
    # shellcheck disable=SC2016 # expanded there
    "${as[@]}" bash -c 'set -euo pipefail
        umask 027
        mkdir -p "${1%/*}"
        temp=$(mktemp "${1%/*}/.${1##*/}.cxtmp-$$-XXXXXXXXXX")
        cat >"$temp"
        chmod 0640 "$temp"
        sync "$temp"
        mv -T "$temp" "$1"
        sync "${1%/*}"' keep "$1"
}

# ---- what the dead have left

# is_plain PATH: a file, or nothing: no link that leads elsewhere, and no pipe that would be waited for.
is_plain() {
    [[ ! -L $1 && (-f $1 || ! -e $1) ]]
}

# is_dead_scratch PATH: a scratch folder of a procedure, which names its process, or of a drill, which is locked while it
# lives: whose that was is gone.
is_dead_scratch() {
    [[ ! -L $1 && -O $1 ]] && is_plain "$1/pid" && is_plain "$1/drill.lock" || return 1
    ! read_pid "$1/pid" >/dev/null || return 1
    [[ ! -e $1/drill.lock ]] || flock -n "$1/drill.lock" true || return 1
    [[ -e $1/pid || -e $1/drill.lock || -z $(find "$1" -newermt '-7 days' -print -quit) ]]
}

# sweep_scratch: what killed procedures and drills of this user have left; root's, too, which the maintenance of the
# service's user may not remove.
sweep_scratch() {
    local folder path
    for folder in "${TMPDIR:-/tmp}" /var/tmp; do
        for path in "$folder"/cx-procedure-?????? "$folder"/cx-drill-??????; do
            if [[ ! -d $path || $path == "$scratch" ]] || ! is_dead_scratch "$path"; then continue; fi
            rm -rf --one-file-system -- "$path"
        done
    done
}
