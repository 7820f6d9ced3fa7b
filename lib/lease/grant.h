/* Granter: one node's part in the cluster's leases. It grants each name to one owner at a time and
 * remembers the highest fencing number that it has seen for the name.
 *
 * How a majority of granters makes one lease, and why it is safe:
 *
 * 1. A client asks every granter (fence 0). A granter that has nobody, or this very owner, grants
 *    the name provisionally, for at most CX_LEASE_ASKING_MS, and tells its last fence.
 * 2. With a majority of grants the client takes fence = 1 + the highest last fence among them and
 *    says so to every granter (fence n). Who accepts holds the name for the owner for the ttl. The
 *    client holds the lease once a majority accepted, until ttl (less a margin for clocks that run
 *    at different speeds) after it SENT this round. Renewing is the same message again.
 *
 * One holder at a time: a granter counts the ttl from when it received what the client counts from
 * when it sent, so while a client holds, a majority of granters hold the name for it; two majorities
 * share a granter, and that one holds a name for one owner only. Nobody's wall clock matters. What a
 * granter promised must outlive it: the caller makes each change durable before it answers. After a
 * restart in the same boot the granter's monotonic clock goes on; after another boot nothing tells
 * how long the host was off, so what was held is held for a whole ttl again.
 *
 * Fences grow from holder to holder: each holder's number was accepted by a majority before it held,
 * any later majority shares a granter with it, and a granter accepts only a number above the last
 * that it accepted for the name (or that same number again from its owner, until it was released).
 * Hence a late renewal of an earlier holder, whose number is the lower one, is refused. An owner that
 * acquires anew gets a new number too, so that a late release of its earlier tenure ends nothing.
 * Numbers may have gaps.
 *
 * What this cannot do: a granter whose data folder was lost or restored from an older copy has
 * forgotten what it promised; the others have not. Clearing by force frees a name while its holder
 * may still believe in it; the fence is what protects then. Majorities of two memberships overlap
 * while the cluster grows or shrinks by one node at a time.
 *
 * Pure: no clock, no I/O. Times are milliseconds of the caller's monotonic clock, never of the wall. */
#pragma once

#include "base/err.h"

enum {
    CX_LEASE_TTL_MIN_MS = 1000,
    CX_LEASE_TTL_MAX_MS = 24 * 60 * 60 * 1000,
    CX_LEASE_ASKING_MS =
        10000, /* a provisional grant: a contender that dies blocks others so long */
    CX_LEASE_NAMES_MAX = 4096, /* of one granter; free ones make room */
    CX_LEASE_OWNER_MAX = 255,  /* bytes; of `about` the caller's own limit */
};

/* JSON numbers are exact up to here in every language. */
#define CX_LEASE_FENCE_MAX (INT64_C(1) << 53)

/* What a granter knows of one name. While it is free, owner is "". */
typedef struct cx_lease {
    char *name;
    char *owner;
    char *about;   /* what the owner told of itself; opaque here */
    int64_t fence; /* accepted for this owner's present tenure; 0: it only asked */
    int64_t ttl_ms;
    int64_t granted_ms; /* the last time that it was granted or renewed */
    int64_t expires_ms;
    int64_t last_fence; /* the highest ever accepted for the name */
    char *last_owner;   /* whose it is */
    bool closed; /* its tenure was released or cleared: not even its owner may use it again */
} cx_lease;

void cx_lease_free(cx_lease *lease); /* what it points to; leaves an empty one */
cx_lease cx_lease_copy(const cx_lease *lease);
bool cx_lease_is_held(const cx_lease *lease, int64_t now_ms);

typedef struct cx_granter cx_granter;

cx_granter *cx_granter_open(void);
void cx_granter_close(cx_granter **owner);
/* What was saved, at the start. same_boot: its times are of the clock that now_ms is of. Takes the
 * lease. floor: the last fence of all names that were forgotten. */
void cx_granter_load(cx_granter *granter, cx_lease *lease, bool same_boot, int64_t now_ms);
void cx_granter_set_floor(cx_granter *granter, int64_t floor);
int64_t cx_granter_floor(const cx_granter *granter);

typedef struct cx_lease_event {
    enum {
        CX_LEASE_CLAIM,   /* ask (fence 0), confirm or renew */
        CX_LEASE_RELEASE, /* by its owner */
        CX_LEASE_CLEAR,   /* by force; owner: only if it is held by this one, NULL: whoever holds */
    } kind;
    const char *name;
    const char *owner;
    const char *about; /* of a claim */
    int64_t ttl_ms;
    int64_t
        fence; /* claim: 0 asks. release: CX_LEASE_ANY_FENCE, or only a tenure with this fence or
                      with none, so that giving back what was asked for ends nothing else */
} cx_lease_event;

typedef enum cx_lease_outcome {
    CX_LEASE_GRANTED,  /* claim: the owner has it, with lease->fence */
    CX_LEASE_HELD,     /* claim: another has it */
    CX_LEASE_STALE,    /* claim: its fence is not above the last one */
    CX_LEASE_FULL,     /* claim: NAMES_MAX names are held */
    CX_LEASE_FREED,    /* release, clear */
    CX_LEASE_UNCHANGED /* release, clear: this owner does not have it */
} cx_lease_outcome;

typedef struct cx_lease_answer {
    cx_lease_outcome outcome;
    const cx_lease
        *lease;         /* as it is now, until the next call; NULL: nothing is known of the name */
    int64_t last_fence; /* of the name, also when lease is NULL */
    int64_t expires_in_ms; /* of who has it; 0: free */
    bool save;             /* make lease durable before answering */
    bool confirmed;        /* a claim's fence was accepted that the tenure did not have before */
    cx_list forgotten;     /* free names that made room: delete them and save the floor, in the same
                              transaction. The caller frees the list. */
} cx_lease_answer;

cx_lease_answer cx_granter_input(cx_granter *granter, const cx_lease_event *event, int64_t now_ms);

/* One lease whose time is over: it is free now, and *gone is what it was (the caller frees it). Need
 * not be saved: what was saved says when it ends. False: there is none. */
bool cx_granter_expire(cx_granter *granter, int64_t now_ms, cx_lease *gone);
int64_t cx_granter_next_expiry(const cx_granter *granter); /* INT64_MAX: nothing is held */

/* Walks all names in no order, free ones too: start with *cursor 0. */
const cx_lease *cx_granter_next(const cx_granter *granter, size_t *cursor);

/* The word of an outcome for answers: "granted", "held", "stale_fence", … NULL after the last. */
const char *cx_lease_outcome_word(cx_lease_outcome outcome);
