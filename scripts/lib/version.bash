# version.bash: versions, compared as semver.org orders them; sourced by procedures that need it.
# shellcheck shell=bash

# split_version TEXT: sets version_parts: major, minor, patch, and what follows a hyphen. False when TEXT is
# no version.
split_version() {
    version_parts=()
    [[ $1 =~ ^(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})(-([0-9A-Za-z.-]{1,64}))?(\+[0-9A-Za-z.-]{1,64})?$ ]] ||
        return 1
    version_parts=("${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" "${BASH_REMATCH[3]}" "${BASH_REMATCH[5]}")
}

# version_compare A B: prints -1, 0 or 1; both must be versions.
version_compare() {
    local a b i
    split_version "$1" || return 1
    a=("${version_parts[@]}")
    split_version "$2" || return 1
    b=("${version_parts[@]}")
    for i in 0 1 2; do
        ((a[i] == b[i])) || {
            echo $((a[i] < b[i] ? -1 : 1))
            return
        }
    done
    compare_prerelease "${a[3]}" "${b[3]}"
}

# A version without is later than one with; identifiers one by one, numbers before words.
compare_prerelease() {
    local a b i x y
    [[ $1 != "$2" ]] || {
        echo 0
        return
    }
    [[ -n $1 ]] || {
        echo 1
        return
    }
    [[ -n $2 ]] || {
        echo -1
        return
    }
    IFS=. read -ra a <<<"$1"
    IFS=. read -ra b <<<"$2"
    for ((i = 0; i < ${#a[@]} || i < ${#b[@]}; i++)); do
        x=${a[i]-} y=${b[i]-}
        if [[ $x == "$y" ]]; then
            continue
        elif [[ -z $x ]]; then
            echo -1
        elif [[ -z $y ]]; then
            echo 1
        elif [[ $x =~ ^[0-9]{1,17}$ && $y =~ ^[0-9]{1,17}$ ]]; then
            echo $((10#$x < 10#$y ? -1 : 1))
        elif [[ $x =~ ^[0-9]+$ ]]; then
            echo -1
        elif [[ $y =~ ^[0-9]+$ ]]; then
            echo 1
        else
            LC_ALL=C
            if [[ $x < $y ]]; then echo -1; else echo 1; fi
        fi
        return
    done
    echo 0
}

# upgrade_problem FROM TO: why this step can't be taken in a running cluster; nothing when it can. The same
# major version, at most one minor forward: what neighbours in that range say to each other is tested.
# Patches may jump. Back only by a rollback.
upgrade_problem() {
    local from
    split_version "$2" || {
        echo "$2 is not a version"
        return
    }
    split_version "$1" || {
        echo "${1:-nothing} is not a version"
        return
    }
    from=("${version_parts[@]}")
    split_version "$2"
    if ((version_parts[0] != from[0])); then
        echo "from $1 to $2: another major version"
    elif [[ $(version_compare "$1" "$2") == 1 ]]; then
        echo "from $1 to $2: a downgrade; only a rollback goes back"
    elif ((version_parts[1] > from[1] + 1)); then
        echo "from $1 to $2: $((version_parts[1] - from[1])) minor versions at once; one at a time"
    fi
}
