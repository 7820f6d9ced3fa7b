/* Claim: a client's part in a lease: what to ask the granters next, and what their answers mean. The
 * protocol and why it is safe: lease/grant.h.
 *
 * A round is one message to every granter with cx_claim.fence, sent at the same time. The caller
 * gives the votes to cx_claim_judge each time one arrives and when wake_at_ms has come, and does what
 * the verdict says.
 *
 * Pure: no clock, no I/O. Times are milliseconds of one clock of the client that counts the time
 * asleep too (CLOCK_BOOTTIME): a host that slept must not believe in a lease that ran out meanwhile. */
#pragma once

#include "base/rng.h"

enum {
    CX_CLAIM_NODES_MAX = 10000,    /* a node that says that it expects more is not believed */
    CX_CLAIM_STRAGGLERS_MS = 100,  /* once a majority granted, the others are given so long */
    CX_CLAIM_GRACE_MAX_MS = 10000, /* between SIGTERM and SIGKILL for who lost the lease */
};

/* What one granter said in this round. */
typedef struct cx_lease_vote {
    enum {
        CX_VOTE_PENDING, /* nothing yet */
        CX_VOTE_GRANTED,
        CX_VOTE_REFUSED, /* it answered: another has it, or the fence is stale */
        CX_VOTE_FAILED,  /* no answer, or an error */
    } kind;
    int64_t fence;         /* GRANTED: of the tenure, 0 while it has none */
    int64_t last_fence;    /* the highest that it knows of for the name */
    int64_t expected;      /* how many nodes it expects in the cluster; 0: it does not say */
    const char *holder;    /* REFUSED: who has it; "": nobody, the fence is stale */
    int64_t holder_fence;  /* REFUSED: 0 while the holder only asked */
    int64_t expires_in_ms; /* REFUSED: how long the holder has it there, unless it renews */
} cx_lease_vote;

typedef enum cx_claim_phase {
    CX_CLAIM_ASKING,     /* rounds with fence 0 */
    CX_CLAIM_CONFIRMING, /* rounds with the fence chosen */
    CX_CLAIM_HOLDING,    /* renewals */
    CX_CLAIM_OVER,       /* released, or lost for good */
} cx_claim_phase;

/* Data that the caller keeps; only claim.c changes it. */
typedef struct cx_claim {
    cx_claim_phase phase;
    int64_t ttl_ms;
    int64_t expected; /* nodes of the cluster as the caller knows it; granters may know of more */
    int64_t fence;    /* to send; 0: ask */
    bool had_tenure;  /* some granter had it for the owner: an earlier claim of the same owner may
                         still count on it, so a claim that fails must not give it back */
    int64_t round_ms; /* when this round was sent */
    int64_t majority_ms;    /* since when this round has its majority; -1: it has none */
    int64_t valid_until_ms; /* HOLDING */
    unsigned tries;         /* rounds without success, for the back-off */
    cx_rng rng;
} cx_claim;

typedef struct cx_claim_verdict {
    enum {
        CX_CLAIM_WAIT,    /* for more votes, at most until wake_at_ms */
        CX_CLAIM_CONFIRM, /* begin the next round at once, with claim->fence */
        CX_CLAIM_HELD,    /* until claim->valid_until_ms; begin the next round at wake_at_ms */
        CX_CLAIM_RENEW,   /* this renewal failed, the lease is still valid: again at wake_at_ms */
        CX_CLAIM_BUSY,    /* `holder` has it: give back what was granted, again at wake_at_ms */
        CX_CLAIM_SPLIT,   /* contenders share the votes: the same */
        CX_CLAIM_SILENT,  /* fewer than a majority answered: the same */
        CX_CLAIM_LOST,    /* the lease is another's, was cleared, or ran out */
    } kind;
    int64_t wake_at_ms;
    const char *holder; /* BUSY, LOST: borrowed from a vote; NULL: unknown */
    size_t vote;        /* whose vote named the holder */
} cx_claim_verdict;

/* ttl_ms within the limits of lease/grant.h. */
cx_claim cx_claim_new(int64_t ttl_ms, int64_t expected, cx_rng rng);
/* A round begins: the votes are cleared by the caller. Returns the fence to send. */
int64_t cx_claim_begin(cx_claim *claim, int64_t now_ms);
cx_claim_verdict cx_claim_judge(cx_claim *claim, const cx_lease_vote *votes, size_t count,
                                int64_t now_ms);
/* How many of the nodes make a majority. */
int64_t cx_claim_majority(const cx_claim *claim);
/* HOLDING: when who works under the lease must be told to stop, so that it is over, at the latest by
 * force (CX_CLAIM_GRACE_MAX_MS), when the lease is. */
int64_t cx_claim_stop_at_ms(const cx_claim *claim);
/* How long a message may take that nobody waits for any longer. */
int64_t cx_claim_patience_ms(const cx_claim *claim);
