#!/usr/bin/env bats
# release: versions side by side, one link, switched by rename.
# shellcheck disable=SC2030,SC2031 # each test is a subshell of its own

load common

setup() {
    export CX_RELEASES=$BATS_TEST_TMPDIR/opt CX_CONFIG=$BATS_TEST_TMPDIR/config.yaml
    export CX_RESTART="echo restart >>$BATS_TEST_TMPDIR/restarts"
}

# make_tree VERSION [READABLE]: what `make install DESTDIR=` would make, with programs that only say their version
# and whether they can read the data.
make_tree() {
    local tree=$BATS_TEST_TMPDIR/tree-$1
    mkdir -p "$tree/usr/local/bin" "$tree/usr/local/share/cx/policies"
    cat >"$tree/usr/local/bin/cx-node" <<TOOL
#!/bin/bash
case \$1 in
    --version) echo "cx-node $1" ;;
    schema)
        echo '{"ok":${2:-true},"databases":[{"name":"queues.db","schema":3,"known":2,"readable":${2:-true}}]}'
        ${2:-true} ;;
esac
TOOL
    printf '#!/bin/bash\necho "cx-ca %s"\n' "$1" >"$tree/usr/local/bin/cx-ca"
    echo "type: rolling" >"$tree/usr/local/share/cx/policies/upgrade.yaml"
    chmod +x "$tree/usr/local/bin"/*
    echo "$tree"
}

install_version() {
    release install "$(make_tree "$@")" >/dev/null
}

current() {
    readlink "$CX_RELEASES/current"
}

@test "release: a host without any version lists none" {
    run -0 --separate-stderr release list
    assert_json '[.current, .versions, .count]' '[null,[],0]'
    validate_schema release-list
}

@test "release: a version is installed once, from what make install made" {
    local tree
    tree=$(make_tree 0.1.0)
    run --separate-stderr release install "$tree"
    assert_success
    assert_json '[.changed, .version]' '[true,"0.1.0"]'
    [[ -x $CX_RELEASES/0.1.0/bin/cx-node ]]
    (cd "$CX_RELEASES/0.1.0" && sha256sum --check --quiet SHA256SUMS)
    validate_schema release-install
    run --separate-stderr release install "$tree"
    assert_success
    assert_json .changed false
}

@test "release: another build of the same version is refused" {
    install_version 0.1.0
    echo more >>"$BATS_TEST_TMPDIR/tree-0.1.0/usr/local/share/cx/policies/upgrade.yaml"
    run --separate-stderr release install "$BATS_TEST_TMPDIR/tree-0.1.0"
    assert_error exists
}

@test "release: a package is installed; one that was changed on the way is refused" {
    local tree
    tree=$(make_tree 0.1.0)/usr/local
    (cd "$tree" && find . -type f ! -name SHA256SUMS -printf '%P\0' | xargs -0 sha256sum >"$BATS_TEST_TMPDIR/sums" && mv "$BATS_TEST_TMPDIR/sums" SHA256SUMS)
    tar -C "$tree" --transform 's#^\.#0.1.0#' --zstd -cf "$BATS_TEST_TMPDIR/good.tar.zst" .
    echo bad >>"$tree/share/cx/policies/upgrade.yaml"
    tar -C "$tree" --transform 's#^\.#0.1.0#' --zstd -cf "$BATS_TEST_TMPDIR/bad.tar.zst" .
    run --separate-stderr release install "$BATS_TEST_TMPDIR/bad.tar.zst"
    assert_error invalid
    echo nothing >"$BATS_TEST_TMPDIR/none.tar.zst"
    run --separate-stderr release install "$BATS_TEST_TMPDIR/none.tar.zst"
    assert_error invalid
    [[ ! -e $CX_RELEASES/0.1.0 ]]
    run --separate-stderr release install "$BATS_TEST_TMPDIR/good.tar.zst"
    assert_success
    assert_json .version 0.1.0
}

@test "release: activate switches, rollback switches back, list tells which" {
    install_version 0.1.0
    install_version 0.1.1
    run --separate-stderr release activate 0.1.0
    assert_success
    assert_json '[.changed, .previous, .restarted]' '[true,null,false]'
    validate_schema release-activate
    run --separate-stderr release activate 0.1.1 --restart
    assert_json '[.changed, .previous, .restarted]' '[true,"0.1.0",true]'
    assert_equal "$(current)" 0.1.1
    assert_equal "$(wc -l <"$BATS_TEST_TMPDIR/restarts")" 1
    run --separate-stderr release list
    assert_json '[.current, .previous, .count, (.versions | map(select(.current)) | length)]' '["0.1.1","0.1.0",2,1]'
    validate_schema release-list
    run --separate-stderr release rollback
    assert_success
    assert_equal "$(current)" 0.1.0
    run --separate-stderr release rollback
    assert_equal "$(current)" 0.1.1
}

@test "release: activate again changes nothing, and restarts when it is asked to" {
    install_version 0.1.0
    release activate 0.1.0 >/dev/null
    run --separate-stderr release activate 0.1.0 --restart
    assert_json '[.changed, .restarted]' '[false,true]'
}

@test "release: a version that can't read this host's data, does not run or has changed is not activated" {
    install_version 0.1.0
    release activate 0.1.0 >/dev/null
    : >"$CX_CONFIG"
    install_version 0.1.1 false
    run --separate-stderr release activate 0.1.1
    assert_error invalid
    [[ $stderr == *"queues.db has schema 3"* ]]

    install_version 0.1.2
    printf '#!/bin/bash\nexit 127\n' >"$CX_RELEASES/0.1.2/bin/cx-ca"
    run --separate-stderr release activate 0.1.2
    assert_error invalid
    (cd "$CX_RELEASES/0.1.2" && find . -type f ! -name SHA256SUMS -printf '%P\0' | xargs -0 sha256sum >"$BATS_TEST_TMPDIR/sums" && mv "$BATS_TEST_TMPDIR/sums" SHA256SUMS)
    run --separate-stderr release activate 0.1.2
    assert_error invalid
    [[ $stderr == *"does not run"* ]]
    assert_equal "$(current)" 0.1.0
}

@test "release: verify names what is wrong with a version" {
    install_version 0.1.0
    run --separate-stderr release verify 0.1.0
    assert_success
    assert_json .ok true
    validate_schema release-verify
    echo more >>"$CX_RELEASES/0.1.0/share/cx/policies/upgrade.yaml"
    run --separate-stderr release verify 0.1.0
    assert_failure 1
    assert_json .ok false
    [[ $output == *"policies/upgrade.yaml"* ]]
    validate_schema release-verify
}

@test "release: remove takes what is not in use, and only that" {
    install_version 0.1.0
    install_version 0.1.1
    release activate 0.1.1 >/dev/null
    run --separate-stderr release remove 0.1.1
    assert_error invalid
    run --separate-stderr release remove 0.1.0
    assert_success
    assert_json .changed true
    [[ ! -e $CX_RELEASES/0.1.0 ]]
    run --separate-stderr release remove 0.1.0
    assert_json .changed false
}

@test "release: --dry-run changes nothing" {
    run --separate-stderr release install "$(make_tree 0.1.0)" --dry-run
    assert_json .changed true
    [[ ! -e $CX_RELEASES/0.1.0 ]]
    install_version 0.1.0
    run --separate-stderr release activate 0.1.0 --restart --dry-run
    assert_json '[.changed, .restarted]' '[true,false]'
    [[ ! -e $CX_RELEASES/current ]]
}

@test "release: names that are no versions are usage errors, absent ones are not found" {
    local word
    for word in ../0.1.0 .. "" current 0.1; do
        run --separate-stderr release activate "$word"
        assert_error usage
    done
    run --separate-stderr release activate 0.1.0
    assert_error not_found
    run --separate-stderr release rollback
    assert_error not_found
    run --separate-stderr release install /nonexistent
    assert_error not_found
}

prepare_two() {
    rm -rf "$CX_RELEASES"
    install_version 0.1.0
    install_version 0.1.1
    release activate 0.1.0 >/dev/null
}

switch() {
    "${crash[@]}" "$CX_ROOT/scripts/release" activate 0.1.1
}

link_is() {
    if [[ $1 == 'done' ]]; then
        [[ $(current) == 0.1.1 && $(readlink "$CX_RELEASES/previous") == 0.1.0 ]]
    else
        [[ $(current) == 0.1.0 || $(current) == 0.1.1 ]]
    fi
}

@test "release: killed at any step of activate, the link names the old or the new one, and a rerun finishes" {
    CRASH_CALLS="renameat2" crash_at_every_step prepare_two switch link_is
}
