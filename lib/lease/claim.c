#include "lease/claim.h"

#include <string.h>

#include "lease/grant.h"

enum {
    MARGIN_PERCENT = 1, /* clocks differ in speed by less, even bad ones (500 ppm is much) */
    MARGIN_MS = 5,      /* clocks are read in whole milliseconds */
    RENEWALS = 3,       /* a lease is renewed after a third of its life */
    RETRY_MIN_MS = 100,
    BACKOFF_MIN_MS = 40, /* a round within a rack takes a few milliseconds */
    BACKOFF_MAX_MS = 1000,
    BACKOFF_DOUBLINGS = 5,
    PATIENCE_MAX_MS = 5000,
};

struct tally {
    int64_t granted, refused, failed, pending;
    int64_t last_fence; /* the highest of the grants */
    int64_t tenures;    /* grants that had the owner's fence before it asked */
};

static int64_t lesser(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Whoever expects the most is right: an operator's own configuration may not know the cluster. */
static void learn_expected(cx_claim *claim, const cx_lease_vote *votes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if ((votes[i].kind == CX_VOTE_GRANTED || votes[i].kind == CX_VOTE_REFUSED) &&
            votes[i].expected > claim->expected && votes[i].expected <= CX_CLAIM_NODES_MAX)
            claim->expected = votes[i].expected;
}

/* A grant with another fence than the one that was sent is none. */
static bool is_grant(const cx_claim *claim, const cx_lease_vote *vote)
{
    return vote->kind == CX_VOTE_GRANTED && (claim->fence == 0 || vote->fence == claim->fence);
}

static struct tally count_votes(const cx_claim *claim, const cx_lease_vote *votes, size_t count)
{
    struct tally tally = {0};

    for (size_t i = 0; i < count; i++) {
        switch (votes[i].kind) {
        case CX_VOTE_PENDING: tally.pending++; break;
        case CX_VOTE_FAILED: tally.failed++; break;
        case CX_VOTE_REFUSED: tally.refused++; break;
        case CX_VOTE_GRANTED:
            if (!is_grant(claim, &votes[i])) {
                tally.refused++;
                break;
            }
            tally.granted++;
            tally.tenures += claim->phase == CX_CLAIM_ASKING && votes[i].fence > 0;
            if (votes[i].last_fence > tally.last_fence)
                tally.last_fence = votes[i].last_fence;
            break;
        }
    }
    return tally;
}

/* The vote that names the holder whom most granters name; count: none does. One that has a fence goes
 * before any that only asked. */
static size_t find_holder(const cx_lease_vote *votes, size_t count, int64_t *named)
{
    size_t best = count;
    int64_t best_weight = 0;

    for (size_t i = 0; i < count; i++) {
        int64_t same = 0, weight;

        if (votes[i].kind != CX_VOTE_REFUSED || votes[i].holder == NULL ||
            votes[i].holder[0] == '\0')
            continue;
        for (size_t j = 0; j < count; j++)
            same += votes[j].kind == CX_VOTE_REFUSED && votes[j].holder != NULL &&
                    strcmp(votes[j].holder, votes[i].holder) == 0;
        weight = votes[i].holder_fence > 0 ? same + (int64_t)count : same;
        if (weight > best_weight) {
            best = i;
            best_weight = weight;
            *named = same;
        }
    }
    return best;
}

/* Between half and the whole of a time that doubles with each try: contenders part ways. */
static int64_t back_off_ms(cx_claim *claim)
{
    unsigned doublings = claim->tries < BACKOFF_DOUBLINGS ? claim->tries : BACKOFF_DOUBLINGS;
    int64_t most_ms = lesser((int64_t)BACKOFF_MIN_MS << doublings, BACKOFF_MAX_MS);

    claim->tries++;
    return most_ms / 2 + (int64_t)cx_rng_below(&claim->rng, (uint64_t)(most_ms / 2) + 1);
}

static void start_over(cx_claim *claim)
{
    claim->phase = CX_CLAIM_ASKING;
    claim->fence = 0;
}

static cx_claim_verdict lose(cx_claim *claim, const cx_lease_vote *votes, size_t count)
{
    int64_t named = 0;
    size_t vote = find_holder(votes, count, &named);

    claim->phase = CX_CLAIM_OVER;
    return (cx_claim_verdict){
        .kind = CX_CLAIM_LOST, .holder = vote < count ? votes[vote].holder : NULL, .vote = vote};
}

/* A round that did not succeed, while the lease was not held yet. */
static cx_claim_verdict fail_claim(cx_claim *claim, const cx_lease_vote *votes, size_t count,
                                   const struct tally *tally, int64_t now_ms)
{
    cx_claim_verdict verdict = {.kind = CX_CLAIM_SPLIT};
    int64_t named = 0;
    size_t vote = find_holder(votes, count, &named);

    start_over(claim);
    verdict.wake_at_ms = now_ms + back_off_ms(claim);
    if (vote < count && (votes[vote].holder_fence > 0 || named >= cx_claim_majority(claim))) {
        verdict.kind = CX_CLAIM_BUSY;
        verdict.holder = votes[vote].holder;
        verdict.vote = vote;
    } else if (tally->granted + tally->refused < cx_claim_majority(claim)) {
        verdict.kind = CX_CLAIM_SILENT;
    }
    return verdict;
}

/* A renewal that did not succeed. A majority that refuses is the end; with fewer the rest may come
 * back while the lease is valid. */
static cx_claim_verdict fail_renewal(cx_claim *claim, const cx_lease_vote *votes, size_t count,
                                     const struct tally *tally, int64_t now_ms)
{
    int64_t again_ms = claim->ttl_ms / 10;

    if (tally->refused >= cx_claim_majority(claim) || now_ms >= cx_claim_stop_at_ms(claim))
        return lose(claim, votes, count);
    if (again_ms < RETRY_MIN_MS)
        again_ms = RETRY_MIN_MS;
    return (cx_claim_verdict){.kind = CX_CLAIM_RENEW,
                              .wake_at_ms = lesser(now_ms + again_ms, cx_claim_stop_at_ms(claim))};
}

static int64_t valid_until_ms(const cx_claim *claim)
{
    return claim->round_ms + claim->ttl_ms - claim->ttl_ms * MARGIN_PERCENT / 100 - MARGIN_MS;
}

/* The round has its majority, and the others were given their time. */
static cx_claim_verdict succeed(cx_claim *claim, const struct tally *tally, int64_t now_ms)
{
    if (claim->phase == CX_CLAIM_ASKING) {
        claim->fence = tally->last_fence + 1;
        claim->phase = CX_CLAIM_CONFIRMING;
        return (cx_claim_verdict){.kind = CX_CLAIM_CONFIRM, .wake_at_ms = now_ms};
    }
    claim->phase = CX_CLAIM_HOLDING;
    claim->valid_until_ms = valid_until_ms(claim);
    claim->tries = 0;
    return (cx_claim_verdict){.kind = CX_CLAIM_HELD,
                              .wake_at_ms = claim->round_ms + claim->ttl_ms / RENEWALS};
}

cx_claim cx_claim_new(int64_t ttl_ms, int64_t expected, cx_rng rng)
{
    return (cx_claim){
        .phase = CX_CLAIM_ASKING,
        .ttl_ms = ttl_ms,
        .expected = expected < 1 ? 1 : lesser(expected, CX_CLAIM_NODES_MAX),
        .majority_ms = -1,
        .rng = rng,
    };
}

int64_t cx_claim_begin(cx_claim *claim, int64_t now_ms)
{
    claim->round_ms = now_ms;
    claim->majority_ms = -1;
    return claim->fence;
}

cx_claim_verdict cx_claim_judge(cx_claim *claim, const cx_lease_vote *votes, size_t count,
                                int64_t now_ms)
{
    struct tally tally;
    bool holding = claim->phase == CX_CLAIM_HOLDING;
    bool too_late = claim->phase != CX_CLAIM_ASKING && now_ms >= valid_until_ms(claim);

    learn_expected(claim, votes, count);
    tally = count_votes(claim, votes, count);
    claim->had_tenure |= tally.tenures > 0;
    if (holding && now_ms >= cx_claim_stop_at_ms(claim) &&
        (too_late || tally.granted < cx_claim_majority(claim)))
        return lose(claim, votes, count);
    if (tally.granted >= cx_claim_majority(claim) && !too_late) {
        if (claim->majority_ms < 0)
            claim->majority_ms = now_ms;
        if (tally.pending > 0 && now_ms < claim->majority_ms + CX_CLAIM_STRAGGLERS_MS)
            return (cx_claim_verdict){.kind = CX_CLAIM_WAIT,
                                      .wake_at_ms = claim->majority_ms + CX_CLAIM_STRAGGLERS_MS};
        return succeed(claim, &tally, now_ms);
    }
    if (tally.pending > 0 && !too_late && tally.granted + tally.pending >= cx_claim_majority(claim))
        return (cx_claim_verdict){
            .kind = CX_CLAIM_WAIT,
            .wake_at_ms = holding ? cx_claim_stop_at_ms(claim) : INT64_MAX,
        };
    return holding ? fail_renewal(claim, votes, count, &tally, now_ms)
                   : fail_claim(claim, votes, count, &tally, now_ms);
}

int64_t cx_claim_majority(const cx_claim *claim)
{
    return claim->expected / 2 + 1;
}

int64_t cx_claim_stop_at_ms(const cx_claim *claim)
{
    return claim->valid_until_ms - lesser(claim->ttl_ms / 3, CX_CLAIM_GRACE_MAX_MS);
}

int64_t cx_claim_patience_ms(const cx_claim *claim)
{
    return lesser(claim->ttl_ms / RENEWALS, PATIENCE_MAX_MS);
}
