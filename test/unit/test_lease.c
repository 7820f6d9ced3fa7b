#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lease/claim.h"
#include "lease/grant.h"

enum { TTL_MS = 30000 };

/* ---- granters */

static cx_lease_answer claim(cx_granter *granter, const char *owner, int64_t fence, int64_t now_ms)
{
    return cx_granter_input(granter,
                            &(cx_lease_event){.kind = CX_LEASE_CLAIM,
                                              .name = "upgrade",
                                              .owner = owner,
                                              .about = "{}",
                                              .ttl_ms = TTL_MS,
                                              .fence = fence},
                            now_ms);
}

static cx_lease_answer release(cx_granter *granter, const char *owner, int64_t fence,
                               int64_t now_ms)
{
    return cx_granter_input(
        granter,
        &(cx_lease_event){
            .kind = CX_LEASE_RELEASE, .name = "upgrade", .owner = owner, .fence = fence},
        now_ms);
}

static cx_lease_answer clear(cx_granter *granter, const char *owner, int64_t now_ms)
{
    return cx_granter_input(
        granter, &(cx_lease_event){.kind = CX_LEASE_CLEAR, .name = "upgrade", .owner = owner},
        now_ms);
}

static void one_owner_has_a_name_until_its_time_is_over(void **state)
{
    CX_AUTO(cx_granter_close) cx_granter *granter = cx_granter_open();
    cx_lease_answer answer;

    (void)state;
    answer = claim(granter, "ann", 1, 1000);
    assert_int_equal(answer.outcome, CX_LEASE_GRANTED);
    assert_true(answer.save);
    assert_true(answer.confirmed);
    assert_int_equal(answer.expires_in_ms, TTL_MS);
    answer = claim(granter, "bob", 0, 1000 + TTL_MS - 1);
    assert_int_equal(answer.outcome, CX_LEASE_HELD);
    assert_false(answer.save);
    assert_string_equal(answer.lease->owner, "ann");
    assert_int_equal(answer.expires_in_ms, 1);
    answer = claim(granter, "bob", 0, 1000 + TTL_MS);
    assert_int_equal(answer.outcome, CX_LEASE_GRANTED);
    assert_int_equal(answer.lease->fence, 0);
    assert_int_equal(answer.last_fence, 1);
}

static void who_only_asks_blocks_others_for_a_short_time(void **state)
{
    CX_AUTO(cx_granter_close) cx_granter *granter = cx_granter_open();

    (void)state;
    claim(granter, "ann", 0, 0);
    assert_int_equal(claim(granter, "bob", 0, CX_LEASE_ASKING_MS - 1).outcome, CX_LEASE_HELD);
    assert_int_equal(claim(granter, "bob", 0, CX_LEASE_ASKING_MS).outcome, CX_LEASE_GRANTED);
}

static void a_renewal_counts_from_when_it_came_and_never_shortens(void **state)
{
    CX_AUTO(cx_granter_close) cx_granter *granter = cx_granter_open();
    cx_lease_event brief = {.kind = CX_LEASE_CLAIM,
                            .name = "upgrade",
                            .owner = "ann",
                            .about = "{}",
                            .ttl_ms = 1000,
                            .fence = 1};

    (void)state;
    claim(granter, "ann", 1, 0);
    assert_int_equal(claim(granter, "ann", 1, 20000).expires_in_ms, TTL_MS);
    assert_false(claim(granter, "ann", 1, 20000).confirmed);
    assert_int_equal(cx_granter_input(granter, &brief, 20001).expires_in_ms, TTL_MS - 1);
    assert_int_equal(claim(granter, "ann", 0, 20002).expires_in_ms, TTL_MS - 2);
}

/* Each row is a history; the last line's outcome is what it is about. */
static void a_late_message_of_an_earlier_holder_is_refused(void **state)
{
    CX_AUTO(cx_granter_close) cx_granter *granter = cx_granter_open();

    (void)state;
    claim(granter, "ann", 1, 0);
    claim(granter, "bob", 2, TTL_MS);
    /* After bob's time too: ann's number is the lower one. */
    assert_int_equal(claim(granter, "ann", 1, 2 * TTL_MS).outcome, CX_LEASE_STALE);
    assert_int_equal(claim(granter, "ann", 2, 2 * TTL_MS).outcome, CX_LEASE_STALE);
    assert_int_equal(claim(granter, "bob", 2, 2 * TTL_MS).outcome, CX_LEASE_GRANTED);
}

static void a_renewal_after_the_release_is_refused(void **state)
{
    CX_AUTO(cx_granter_close) cx_granter *granter = cx_granter_open();

    (void)state;
    claim(granter, "ann", 1, 0);
    assert_int_equal(release(granter, "ann", 1, 1).outcome, CX_LEASE_FREED);
    assert_int_equal(claim(granter, "ann", 1, 2).outcome, CX_LEASE_STALE);
    assert_int_equal(claim(granter, "ann", 2, 3).outcome, CX_LEASE_GRANTED);
    /* Also when the tenure had expired before it was released. */
    assert_int_equal(release(granter, "ann", 2, 3 + TTL_MS).outcome, CX_LEASE_UNCHANGED);
    assert_int_equal(claim(granter, "ann", 2, 4 + TTL_MS).outcome, CX_LEASE_STALE);
}

static void a_late_release_ends_no_newer_tenure(void **state)
{
    CX_AUTO(cx_granter_close) cx_granter *granter = cx_granter_open();

    (void)state;
    claim(granter, "ann", 1, 0);
    claim(granter, "ann", 2, 1);
    assert_int_equal(release(granter, "ann", 1, 2).outcome, CX_LEASE_UNCHANGED);
    assert_int_equal(release(granter, "ann", 0, 2).outcome, CX_LEASE_UNCHANGED);
    assert_int_equal(claim(granter, "ann", 2, 3).outcome, CX_LEASE_GRANTED);
}

static void only_its_owner_releases(void **state)
{
    CX_AUTO(cx_granter_close) cx_granter *granter = cx_granter_open();
    cx_lease_answer answer;

    (void)state;
    assert_int_equal(release(granter, "ann", CX_LEASE_FENCE_MAX, 0).outcome, CX_LEASE_UNCHANGED);
    claim(granter, "ann", 1, 0);
    answer = release(granter, "bob", CX_LEASE_FENCE_MAX, 1);
    assert_int_equal(answer.outcome, CX_LEASE_UNCHANGED);
    assert_false(answer.save);
    assert_string_equal(answer.lease->owner, "ann");
}

static void force_clears_whom_it_names_and_his_renewal_is_refused(void **state)
{
    CX_AUTO(cx_granter_close) cx_granter *granter = cx_granter_open();

    (void)state;
    claim(granter, "ann", 1, 0);
    assert_int_equal(clear(granter, "bob", 1).outcome, CX_LEASE_UNCHANGED);
    assert_int_equal(clear(granter, "ann", 1).outcome, CX_LEASE_FREED);
    assert_int_equal(claim(granter, "ann", 1, 2).outcome, CX_LEASE_STALE);
    claim(granter, "bob", 2, 3);
    assert_int_equal(clear(granter, NULL, 4).outcome, CX_LEASE_FREED);
    assert_int_equal(clear(granter, NULL, 5).outcome, CX_LEASE_UNCHANGED);
}

static void what_was_granted_is_held_after_a_restart(void **state)
{
    static const struct {
        const char *name;
        bool same_boot;
        int64_t now_ms; /* at the restart; granted at 50000 */
        int64_t expires_in_ms;
    } rows[] = {
        {"the clock went on", true, 60000, TTL_MS - 10000},
        {"its time is over", true, 50000 + TTL_MS, 0},
        {"another boot: the whole time again", false, 100, TTL_MS},
        {"another boot, with a clock that is ahead", false, 900000, TTL_MS},
        {"a clock that went back is another boot's", true, 100, TTL_MS},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_granter_close) cx_granter *before = cx_granter_open();
        CX_AUTO(cx_granter_close) cx_granter *after = cx_granter_open();
        cx_lease saved = cx_lease_copy(claim(before, "ann", 7, 50000).lease);
        cx_lease_answer answer;

        cx_granter_load(after, &saved, rows[i].same_boot, rows[i].now_ms);
        answer = claim(after, "bob", 0, rows[i].now_ms);
        if (answer.outcome != (rows[i].expires_in_ms > 0 ? CX_LEASE_HELD : CX_LEASE_GRANTED) ||
            answer.last_fence != 7 ||
            (rows[i].expires_in_ms > 0 && answer.expires_in_ms != rows[i].expires_in_ms))
            fail_msg("%s: %s, %lld ms left", rows[i].name, cx_lease_outcome_word(answer.outcome),
                     (long long)answer.expires_in_ms);
    }
}

static void expired_leases_are_told_once(void **state)
{
    CX_AUTO(cx_granter_close) cx_granter *granter = cx_granter_open();
    cx_lease gone = {0};

    (void)state;
    assert_int_equal(cx_granter_next_expiry(granter), INT64_MAX);
    claim(granter, "ann", 3, 0);
    assert_int_equal(cx_granter_next_expiry(granter), TTL_MS);
    assert_false(cx_granter_expire(granter, TTL_MS - 1, &gone));
    assert_true(cx_granter_expire(granter, TTL_MS, &gone));
    assert_string_equal(gone.owner, "ann");
    assert_int_equal(gone.fence, 3);
    cx_lease_free(&gone);
    assert_false(cx_granter_expire(granter, TTL_MS, &gone));
    assert_int_equal(claim(granter, "bob", 0, TTL_MS).last_fence, 3);
}

static void free_names_make_room_and_their_fences_are_never_used_again(void **state)
{
    CX_AUTO(cx_granter_close) cx_granter *granter = cx_granter_open();
    cx_lease_event event = {.kind = CX_LEASE_CLAIM, .owner = "ann", .about = "", .ttl_ms = TTL_MS};
    cx_lease_answer answer = {0};
    char name[32];

    (void)state;
    for (int i = 0; i < CX_LEASE_NAMES_MAX; i++) {
        snprintf(name, sizeof name, "n%d", i);
        event.name = name;
        event.fence = i + 1;
        answer = cx_granter_input(granter, &event, i < 10 ? 0 : 1000);
        assert_int_equal(answer.outcome, CX_LEASE_GRANTED);
    }
    event.name = "one-more";
    event.fence = 0;
    assert_int_equal(cx_granter_input(granter, &event, 1000).outcome, CX_LEASE_FULL);
    answer = cx_granter_input(granter, &event, TTL_MS);
    assert_int_equal(answer.outcome, CX_LEASE_GRANTED);
    assert_int_equal(answer.forgotten.count, 10);
    assert_int_equal(answer.last_fence, 10);
    assert_int_equal(cx_granter_floor(granter), 10);
    cx_list_free(&answer.forgotten);
    event.name = "n0"; /* its last holder comes back late */
    event.fence = 1;
    assert_int_equal(cx_granter_input(granter, &event, TTL_MS).outcome, CX_LEASE_STALE);
}

/* ---- claims: three nodes, each vote a letter
 *   g: granted, no fence yet   f: granted with the fence sent   -: nothing yet   x: failed
 *   H: held by holder-1 with a fence   h: holder-1 only asked   2: held by holder-2, who only asked
 *   s: refused as stale */

static cx_lease_vote vote_of(char letter, int64_t fence)
{
    switch (letter) {
    case 'g': return (cx_lease_vote){.kind = CX_VOTE_GRANTED, .last_fence = 4, .expected = 3};
    case 'f':
        return (cx_lease_vote){
            .kind = CX_VOTE_GRANTED, .fence = fence, .last_fence = fence, .expected = 3};
    case 'x': return (cx_lease_vote){.kind = CX_VOTE_FAILED};
    case 'H':
        return (cx_lease_vote){.kind = CX_VOTE_REFUSED,
                               .holder = "holder-1",
                               .holder_fence = 9,
                               .last_fence = 9,
                               .expected = 3};
    case 'h': return (cx_lease_vote){.kind = CX_VOTE_REFUSED, .holder = "holder-1", .expected = 3};
    case '2': return (cx_lease_vote){.kind = CX_VOTE_REFUSED, .holder = "holder-2", .expected = 3};
    case 's': return (cx_lease_vote){.kind = CX_VOTE_REFUSED, .holder = "", .last_fence = 9};
    default: return (cx_lease_vote){.kind = CX_VOTE_PENDING};
    }
}

static cx_claim_verdict judge(cx_claim *claimed, const char *letters, int64_t now_ms)
{
    cx_lease_vote votes[8];
    size_t count = strlen(letters);

    for (size_t i = 0; i < count; i++)
        votes[i] = vote_of(letters[i], claimed->fence);
    return cx_claim_judge(claimed, votes, count, now_ms);
}

static cx_claim new_claim(int64_t expected)
{
    return cx_claim_new(TTL_MS, expected, cx_rng_seed(1));
}

/* One that holds since 1000. */
static cx_claim held_claim(void)
{
    cx_claim claimed = new_claim(3);

    cx_claim_begin(&claimed, 900);
    assert_int_equal(judge(&claimed, "ggg", 950).kind, CX_CLAIM_CONFIRM);
    cx_claim_begin(&claimed, 1000);
    assert_int_equal(judge(&claimed, "fff", 1050).kind, CX_CLAIM_HELD);
    return claimed;
}

static void the_votes_decide_what_asking_leads_to(void **state)
{
    static const struct {
        const char *votes;
        int kind;
        const char *holder;
        int64_t expected;
    } rows[] = {
        {"ggg", CX_CLAIM_CONFIRM, NULL, 3},
        {"gg-", CX_CLAIM_WAIT, NULL, 3}, /* the stragglers' time */
        {"ggx", CX_CLAIM_CONFIRM, NULL, 3},
        {"ggH", CX_CLAIM_CONFIRM, NULL, 3}, /* a rest that a release did not reach */
        {"g--", CX_CLAIM_WAIT, NULL, 3},
        {"---", CX_CLAIM_WAIT, NULL, 3},
        {"HH-", CX_CLAIM_BUSY, "holder-1", 3}, /* known before the last one answers */
        {"HHH", CX_CLAIM_BUSY, "holder-1", 3},
        {"gHx", CX_CLAIM_BUSY, "holder-1", 3},
        {"2Hx", CX_CLAIM_BUSY, "holder-1", 3}, /* who has a fence goes before who asks */
        {"hh2", CX_CLAIM_BUSY, "holder-1", 3},
        {"gh2", CX_CLAIM_SPLIT, NULL, 3},
        {"ghx", CX_CLAIM_SPLIT, NULL, 3},
        {"gxx", CX_CLAIM_SILENT, NULL, 3},
        {"xxx", CX_CLAIM_SILENT, NULL, 3},
        {"g", CX_CLAIM_SILENT, NULL, 3}, /* one known node of three */
        {"g", CX_CLAIM_CONFIRM, NULL, 1},
        {"gg", CX_CLAIM_CONFIRM, NULL, 2},
        {"gx", CX_CLAIM_SILENT, NULL, 2}, /* half is no majority */
        {"ggxx", CX_CLAIM_SILENT, NULL, 4},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_claim claimed = new_claim(rows[i].expected);
        cx_claim_verdict verdict;

        cx_claim_begin(&claimed, 1000);
        verdict = judge(&claimed, rows[i].votes, 1010);
        /* Those of a smaller cluster say that they expect three: see the next test. */
        if (rows[i].expected < 3)
            continue;
        if ((int)verdict.kind != rows[i].kind ||
            (rows[i].holder != NULL && strcmp(verdict.holder, rows[i].holder) != 0))
            fail_msg("%s of %lld: %d", rows[i].votes, (long long)rows[i].expected,
                     (int)verdict.kind);
    }
}

static void whoever_expects_the_most_nodes_is_believed(void **state)
{
    cx_claim claimed = new_claim(1);
    cx_lease_vote absurd = vote_of('g', 0);

    (void)state;
    cx_claim_begin(&claimed, 1000);
    assert_int_equal(judge(&claimed, "g", 1010).kind, CX_CLAIM_SILENT);
    assert_int_equal(claimed.expected, 3);
    claimed = new_claim(1);
    absurd.expected = CX_CLAIM_NODES_MAX + 1;
    cx_claim_begin(&claimed, 1000);
    assert_int_equal(cx_claim_judge(&claimed, &absurd, 1, 1010).kind, CX_CLAIM_CONFIRM);
}

static void the_fence_is_above_the_last_of_the_majority(void **state)
{
    cx_claim claimed = new_claim(3);
    cx_lease_vote votes[3] = {vote_of('g', 0), vote_of('g', 0), vote_of('x', 0)};

    (void)state;
    assert_int_equal(cx_claim_begin(&claimed, 1000), 0);
    votes[1].last_fence = 11;
    assert_int_equal(cx_claim_judge(&claimed, votes, 3, 1010).kind, CX_CLAIM_CONFIRM);
    assert_int_equal(cx_claim_begin(&claimed, 1010), 12);
}

static void stragglers_are_given_a_short_time(void **state)
{
    cx_claim claimed = new_claim(3);
    cx_claim_verdict verdict;

    (void)state;
    cx_claim_begin(&claimed, 1000);
    verdict = judge(&claimed, "gg-", 1010);
    assert_int_equal(verdict.kind, CX_CLAIM_WAIT);
    assert_int_equal(verdict.wake_at_ms, 1010 + CX_CLAIM_STRAGGLERS_MS);
    assert_int_equal(judge(&claimed, "gg-", 1010 + CX_CLAIM_STRAGGLERS_MS).kind, CX_CLAIM_CONFIRM);
}

static void validity_counts_from_before_the_question(void **state)
{
    cx_claim claimed = held_claim();

    (void)state;
    assert_true(claimed.valid_until_ms < 1000 + TTL_MS);
    assert_true(claimed.valid_until_ms > 1000 + TTL_MS - TTL_MS / 20);
    assert_true(cx_claim_stop_at_ms(&claimed) <= claimed.valid_until_ms - 9000);
}

static void a_confirmation_that_took_too_long_is_none(void **state)
{
    cx_claim claimed = new_claim(3);

    (void)state;
    cx_claim_begin(&claimed, 1000);
    judge(&claimed, "ggg", 1010);
    cx_claim_begin(&claimed, 1010);
    assert_int_equal(judge(&claimed, "fff", 1010 + TTL_MS).kind, CX_CLAIM_SPLIT);
}

static void a_grant_with_another_fence_is_none(void **state)
{
    cx_claim claimed = new_claim(3);

    (void)state;
    cx_claim_begin(&claimed, 1000);
    judge(&claimed, "ggg", 1010);
    cx_claim_begin(&claimed, 1010);
    assert_int_equal(judge(&claimed, "fgg", 1020).kind, CX_CLAIM_SPLIT);
}

static void a_lease_is_renewed_after_a_third_and_lost_only_for_good(void **state)
{
    static const struct {
        const char *votes;
        int64_t at_ms;
        int kind;
    } rows[] = {
        {"fff", 11100, CX_CLAIM_HELD},
        {"fxx", 11100, CX_CLAIM_RENEW}, /* they may come back in time */
        {"xxx", 11100, CX_CLAIM_RENEW},
        {"fHx", 11100, CX_CLAIM_RENEW},
        {"fss", 11100, CX_CLAIM_LOST}, /* cleared */
        {"HHx", 11100, CX_CLAIM_LOST},
        {"f--", 11100, CX_CLAIM_WAIT},
        {"f--", 21000, CX_CLAIM_LOST}, /* time to stop what works under it */
        {"fxx", 21000, CX_CLAIM_LOST},
        {"ff-", 21000, CX_CLAIM_WAIT},
        {"fff", 21000, CX_CLAIM_HELD}, /* late, but its own answer is valid */
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_claim claimed = held_claim();
        cx_claim_verdict verdict;

        cx_claim_begin(&claimed, 11000);
        verdict = judge(&claimed, rows[i].votes, rows[i].at_ms);
        if ((int)verdict.kind != rows[i].kind)
            fail_msg("%s at %lld: %d", rows[i].votes, (long long)rows[i].at_ms, (int)verdict.kind);
        if (verdict.kind == CX_CLAIM_HELD)
            assert_int_equal(verdict.wake_at_ms, 11000 + TTL_MS / 3);
        if (verdict.kind == CX_CLAIM_RENEW)
            assert_true(verdict.wake_at_ms > rows[i].at_ms &&
                        verdict.wake_at_ms <= cx_claim_stop_at_ms(&claimed));
    }
}

static void who_slept_through_its_lease_has_lost_it(void **state)
{
    cx_claim claimed = held_claim();

    (void)state;
    cx_claim_begin(&claimed, 1000 + 2 * TTL_MS);
    assert_int_equal(judge(&claimed, "---", 1000 + 2 * TTL_MS).kind, CX_CLAIM_LOST);
}

static void an_owner_that_asks_again_gives_nothing_back_when_it_fails(void **state)
{
    cx_claim claimed = new_claim(3);

    (void)state;
    claimed.fence = 0;
    cx_claim_begin(&claimed, 1000);
    cx_lease_vote votes[3] = {vote_of('f', 5), vote_of('x', 0), vote_of('x', 0)};
    assert_int_equal(cx_claim_judge(&claimed, votes, 3, 1010).kind, CX_CLAIM_SILENT);
    assert_true(claimed.had_tenure);
}

static void tries_come_at_growing_irregular_times(void **state)
{
    cx_claim claimed = new_claim(3);
    int64_t now_ms = 1000, most_ms = 0;

    (void)state;
    for (int i = 0; i < 20; i++) {
        cx_claim_verdict verdict;

        cx_claim_begin(&claimed, now_ms);
        verdict = judge(&claimed, "gh2", now_ms);
        assert_true(verdict.wake_at_ms > now_ms && verdict.wake_at_ms <= now_ms + 1000);
        most_ms = verdict.wake_at_ms - now_ms > most_ms ? verdict.wake_at_ms - now_ms : most_ms;
        now_ms = verdict.wake_at_ms;
    }
    assert_true(most_ms > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_owner_has_a_name_until_its_time_is_over),
        cmocka_unit_test(who_only_asks_blocks_others_for_a_short_time),
        cmocka_unit_test(a_renewal_counts_from_when_it_came_and_never_shortens),
        cmocka_unit_test(a_late_message_of_an_earlier_holder_is_refused),
        cmocka_unit_test(a_renewal_after_the_release_is_refused),
        cmocka_unit_test(a_late_release_ends_no_newer_tenure),
        cmocka_unit_test(only_its_owner_releases),
        cmocka_unit_test(force_clears_whom_it_names_and_his_renewal_is_refused),
        cmocka_unit_test(what_was_granted_is_held_after_a_restart),
        cmocka_unit_test(expired_leases_are_told_once),
        cmocka_unit_test(free_names_make_room_and_their_fences_are_never_used_again),
        cmocka_unit_test(the_votes_decide_what_asking_leads_to),
        cmocka_unit_test(whoever_expects_the_most_nodes_is_believed),
        cmocka_unit_test(the_fence_is_above_the_last_of_the_majority),
        cmocka_unit_test(stragglers_are_given_a_short_time),
        cmocka_unit_test(validity_counts_from_before_the_question),
        cmocka_unit_test(a_confirmation_that_took_too_long_is_none),
        cmocka_unit_test(a_grant_with_another_fence_is_none),
        cmocka_unit_test(a_lease_is_renewed_after_a_third_and_lost_only_for_good),
        cmocka_unit_test(who_slept_through_its_lease_has_lost_it),
        cmocka_unit_test(an_owner_that_asks_again_gives_nothing_back_when_it_fails),
        cmocka_unit_test(tries_come_at_growing_irregular_times),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
