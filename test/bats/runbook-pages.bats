#!/usr/bin/env bats
# The pages beside the runbooks: what they tell a person to type exists.

load common

@test "every command that a page tells a person to type exists" {
    run --separate-stderr /usr/bin/python3 "$CX_ROOT/test/page_commands.py" "$CX_ROOT"/runbooks/*.md
    assert_success
    ((output > 100))
    printf '`cx-agents slow --thresold 10s`, `caxton cluster dance`, `cx-gossip remove`, `cx-nothing here`, `on-node NODE -- df`, `runbooks/disk-full NODE`\n' >"$BATS_TEST_TMPDIR/wrong.md"
    run --separate-stderr /usr/bin/python3 "$CX_ROOT/test/page_commands.py" "$BATS_TEST_TMPDIR/wrong.md"
    assert_failure 1
    assert_equal "${#stderr_lines[@]}" 6
}

@test "every runbook has a page with its parts, options that are the same, and a word of caxton" {
    local page name part count=0
    for page in "$CX_ROOT"/runbooks/*.md; do
        name=$(basename "$page" .md)
        count=$((count + 1))
        grep -q "^runbook $name " <(caxton --table)
        for part in Detection Diagnosis Mitigation Recovery "When to call somebody" Afterwards; do
            grep -qx "## $part" "$page" || fail "$page: no $part"
        done
        run "$CX_ROOT/runbooks/$name" --help
        for part in --dry-run --yes --phase --resume --incident-dir --bundle --recover-timeout; do
            [[ $output == *"$part"* ]] || fail "$name --help: no $part"
        done
        run --separate-stderr "$CX_ROOT/runbooks/$name" --phase dance node-1
        assert_error usage
    done
    assert_equal "$count" 9
}
