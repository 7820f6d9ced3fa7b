/* The table of members: found by name, walked in the order of probing, picked at random.
 *
 * A member has two lives: memberlist's (alive, suspect, dead, left; `listed` while memberlist knows
 * it) and Serf's (what operators see; it outlasts the first by a day). Both are here, and the rules
 * for them in rules.c and serf.c. Pure. */
#pragma once

#include "gossip/broadcast.h"
#include "gossip/coordinate.h"
#include "gossip/core.h"
#include "gossip/suspicion.h"
#include "gossip/wire.h"

enum { CX_MEMBERS_MAX = 10000, CX_META_MAX = 512, CX_RTT_SAMPLES = 3, CX_VERSIONS = 6 };

/* Serf's status of a member that Serf does not know (yet). */
enum { CX_GOSSIP_UNKNOWN = -1 };

/* Tags as they came, in one block: the list ends before the texts begin. */
typedef struct cx_tags {
    cx_gossip_tag *items; /* ascending keys */
    size_t count;
} cx_tags;

typedef struct cx_member {
    char *name;
    cx_gossip_addr addr;
    uint8_t meta[CX_META_MAX];
    size_t meta_size;
    cx_tags tags;
    uint8_t versions[CX_VERSIONS];
    uint32_t incarnation;
    cx_wire_state state;
    int64_t state_since_ms;
    bool listed;
    size_t list_at, all_at; /* places in the lists of cx_members */

    bool suspected; /* a suspicion runs */
    cx_suspicion suspicion;
    cx_broadcast *broadcast; /* the message about it that waits */

    int status; /* cx_gossip_status_word, or CX_GOSSIP_UNKNOWN */
    int64_t since_ms;
    uint64_t status_ltime;
    bool prune; /* to be forgotten as soon as it has left */

    double rtts[CX_RTT_SAMPLES]; /* seconds, the last ones */
    size_t rtt_count;            /* that there ever were */
    bool has_coordinate;
    cx_coordinate coordinate;

    cx_gossip_accusation *accusations;
    size_t accusation_count;
} cx_member;

typedef struct cx_members {
    cx_member **buckets; /* open addressing by name */
    size_t bucket_count; /* a power of two */
    cx_member **all;
    size_t count;
    cx_member **listed; /* memberlist's node list */
    size_t listed_count;
    size_t capacity; /* of all and listed */
} cx_members;

/* 1 to CX_GOSSIP_NAME_MAX bytes without control characters. */
bool cx_member_name_is_good(cx_bytes name);

cx_member *cx_members_find(const cx_members *members, const char *name);
cx_member *cx_members_find_bytes(const cx_members *members, cx_bytes name);
/* A member with that address whose state is not left; NULL: none. */
cx_member *cx_members_at_addr(const cx_members *members, const cx_gossip_addr *addr);
/* The name must be good and new. The member is unlisted, dead, of incarnation 0, unknown to Serf. */
cx_member *cx_members_add(cx_members *members, cx_bytes name);
/* Takes it out; the caller frees it, later, with cx_member_free. Its broadcast must be forgotten. */
void cx_members_remove(cx_members *members, cx_member *member);
void cx_member_free(cx_member **owner);
void cx_members_free(cx_members *members);

/* Puts it into memberlist's list, at a random place, so that it is probed soon on average. */
void cx_members_list(cx_members *members, cx_member *member, cx_rng *rng);
void cx_members_unlist(cx_members *members, cx_member *member);
void cx_members_shuffle(cx_members *members, cx_rng *rng);

typedef bool cx_member_filter(const cx_member *member, const void *context);
/* Up to `wanted` random listed members that the filter takes, each once; returns how many. */
size_t cx_members_pick(const cx_members *members, cx_rng *rng, size_t wanted,
                       cx_member_filter *filter, const void *context, cx_member **picked);

/* Estimated round trip from the member's own samples in seconds; < 0 without samples. */
double cx_member_rtt(const cx_member *member);
void cx_member_add_rtt(cx_member *member, double rtt);

/* Reads Serf's tags out of a meta; what can't be read gives no tags. */
cx_tags cx_tags_read(cx_bytes meta);
/* A meta of the tags, which it sorts. TOO_LARGE above CX_META_MAX bytes; INVALID: an empty key, the same
 * key twice. */
CX_MUST_CHECK bool cx_tags_write(cx_gossip_tag *tags, size_t count, cx_buffer *meta, cx_err *err);
void cx_tags_free(cx_tags *tags);
