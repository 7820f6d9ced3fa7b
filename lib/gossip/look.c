#include "gossip/look.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* Serf's status, but what memberlist suspects shows as suspect. */
static cx_gossip_status_word status_of(const cx_member *member)
{
    if (member->status == CX_GOSSIP_ALIVE && member->state == CX_WIRE_STATE_SUSPECT)
        return CX_GOSSIP_SUSPECT;
    return (cx_gossip_status_word)member->status;
}

static int64_t since_ms(const cx_member *member)
{
    if (status_of(member) == CX_GOSSIP_SUSPECT)
        return member->state_since_ms;
    return member->since_ms;
}

static double rtt_ms(const cx_gossip *core, const cx_member *member)
{
    double rtt = member == core->self ? 0 : cx_member_rtt(member);

    if (rtt < 0 && member->has_coordinate)
        rtt = cx_coordinate_distance(&core->place.at, &member->coordinate);
    return rtt < 0 ? -1 : rtt * 1000;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const cx_gossip_member *)a)->name, ((const cx_gossip_member *)b)->name);
}

static void add_number(cx_buffer *text, uint64_t number)
{
    cx_buffer_addf(text, "%llu", (unsigned long long)number);
    cx_buffer_add(text, "", 1);
}

static void add_text(cx_buffer *text, const char *more)
{
    cx_buffer_add(text, more, strlen(more) + 1);
}

/* Of what all nodes should agree on. Every text ends with its NUL, every list with its count before. */
static void digest_of(cx_gossip *core, char digest[CX_GOSSIP_DIGEST_SIZE])
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    CX_AUTO(cx_free) char *hex = NULL;
    uint8_t hash[CX_SHA256_SIZE];
    size_t count = 0;
    const cx_gossip_member *members = cx_gossip_members(core, &count);

    for (size_t i = 0; i < count; i++) {
        if (members[i].status != CX_GOSSIP_ALIVE)
            continue;
        add_text(&text, members[i].name);
        add_number(&text, members[i].incarnation);
        add_number(&text, members[i].tag_count);
        for (size_t j = 0; j < members[i].tag_count; j++) {
            add_text(&text, members[i].tags[j].key);
            add_text(&text, members[i].tags[j].value);
        }
    }
    cx_sha256(cx_buffer_bytes(&text), hash);
    hex = cx_hex((cx_bytes){hash, (CX_GOSSIP_DIGEST_SIZE - 1) / 2});
    memcpy(digest, hex, CX_GOSSIP_DIGEST_SIZE);
}

static void count_one(cx_gossip_status *status, cx_gossip_status_word word)
{
    status->members++;
    switch (word) {
    case CX_GOSSIP_ALIVE: status->alive++; break;
    case CX_GOSSIP_SUSPECT: status->suspect++; break;
    case CX_GOSSIP_FAILED: status->failed++; break;
    case CX_GOSSIP_LEAVING: status->leaving++; break;
    case CX_GOSSIP_LEFT_CLUSTER: status->left++; break;
    }
}

static cx_gossip_status counts(const cx_gossip *core)
{
    cx_gossip_status status = {0};

    for (size_t i = 0; i < core->members.count; i++)
        if (core->members.all[i]->status != CX_GOSSIP_UNKNOWN)
            count_one(&status, status_of(core->members.all[i]));
    status.expected = status.alive + status.suspect + status.failed;
    if (status.expected < core->expected)
        status.expected = core->expected;
    return status;
}

/* ---- inside */

cx_gossip_member cx_look_at(const cx_gossip *core, const cx_member *member)
{
    cx_gossip_member view = {
        .name = member->name,
        .addr = member->addr,
        .status = status_of(member),
        .tags = member->tags.items,
        .tag_count = member->tags.count,
        .incarnation = member->incarnation,
        .since_ms = since_ms(member),
        .rtt_ms = rtt_ms(core, member),
        .ltime = member->status_ltime,
        .self = member == core->self,
    };

    memcpy(view.versions, member->versions, sizeof(view.versions));
    return view;
}

bool cx_look_partition(cx_gossip *core)
{
    cx_gossip_status status = counts(core);
    size_t here = status.alive + status.suspect;
    cx_gossip_partition was = core->partition;

    core->partition_stale = false;
    if (here <= 1 && status.expected > 1)
        core->partition = CX_GOSSIP_ISOLATED;
    else if (2 * here > status.expected)
        core->partition = CX_GOSSIP_MAJORITY;
    else
        core->partition = CX_GOSSIP_MINORITY;
    return core->partition != was;
}

/* ---- public */

const cx_gossip_member *cx_gossip_members(cx_gossip *core, size_t *count)
{
    *count = 0;
    cx_free(&core->views);
    core->views = cx_alloc(core->members.count, sizeof(*core->views));
    for (size_t i = 0; i < core->members.count; i++)
        if (core->members.all[i]->status != CX_GOSSIP_UNKNOWN)
            core->views[(*count)++] = cx_look_at(core, core->members.all[i]);
    if (*count > 0)
        qsort(core->views, *count, sizeof(*core->views), by_name);
    return core->views;
}

const cx_gossip_member *cx_gossip_find(cx_gossip *core, const char *name)
{
    const cx_member *member = cx_members_find(&core->members, name);

    if (member == NULL || member->status == CX_GOSSIP_UNKNOWN)
        return NULL;
    core->view = cx_look_at(core, member);
    return &core->view;
}

cx_gossip_status cx_gossip_look(cx_gossip *core)
{
    cx_gossip_status status = counts(core);

    cx_look_partition(core);
    status.name = core->self->name;
    status.addr = core->addr;
    status.profile = core->profile->name;
    status.incarnation = core->self->incarnation;
    status.partition = core->partition;
    status.health_score = core->score;
    status.member_clock = core->member_clock;
    status.event_clock = core->event_clock;
    status.query_clock = core->query_clock;
    status.encrypted = core->ring != NULL;
    status.keys = cx_keyring_count(core->ring);
    status.streams = core->stream_count;
    status.packets_in = core->packets_in;
    status.packets_out = core->packets_out;
    status.bytes_in = core->bytes_in;
    status.bytes_out = core->bytes_out;
    status.refused = core->refused;
    status.leaving_now = core->leave.phase != CX_LEAVE_NO && !core->left;
    status.left_now = core->left;
    memcpy(status.versions, core->self->versions, sizeof(status.versions));
    for (size_t i = 0; i < CX_QUEUES; i++)
        status.queued += core->queues[i].count;
    digest_of(core, status.digest);
    return status;
}

const cx_gossip_accusation *cx_gossip_accusations(cx_gossip *core, const char *name, size_t *count)
{
    const cx_member *member = cx_members_find(&core->members, name);

    *count = member == NULL ? 0 : member->accusation_count;
    return *count == 0 ? NULL : member->accusations;
}

const char *cx_gossip_status_text(cx_gossip_status_word status)
{
    switch (status) {
    case CX_GOSSIP_ALIVE: return "alive";
    case CX_GOSSIP_SUSPECT: return "suspect";
    case CX_GOSSIP_FAILED: return "failed";
    case CX_GOSSIP_LEAVING: return "leaving";
    case CX_GOSSIP_LEFT_CLUSTER: return "left";
    }
    return NULL;
}

const char *cx_gossip_partition_text(cx_gossip_partition partition)
{
    switch (partition) {
    case CX_GOSSIP_ISOLATED: return "isolated";
    case CX_GOSSIP_MINORITY: return "minority";
    case CX_GOSSIP_MAJORITY: return "majority";
    }
    return NULL;
}

const char *cx_gossip_notice_text(cx_gossip_notice_kind kind)
{
    switch (kind) {
    case CX_GOSSIP_MEMBER_JOINED: return "member_joined";
    case CX_GOSSIP_MEMBER_SUSPECT: return "member_suspect";
    case CX_GOSSIP_MEMBER_FAILED: return "member_failed";
    case CX_GOSSIP_MEMBER_LEFT: return "member_left";
    case CX_GOSSIP_MEMBER_UPDATED: return "member_updated";
    case CX_GOSSIP_MEMBER_REAPED: return "member_reaped";
    case CX_GOSSIP_USER_EVENT: return "user_event";
    case CX_GOSSIP_PARTITION_CHANGED: return "partition_changed";
    }
    return NULL;
}

const char *cx_gossip_profile_text(cx_gossip_profile profile)
{
    switch (profile) {
    case CX_GOSSIP_LAN: return "lan";
    case CX_GOSSIP_WAN: return "wan";
    case CX_GOSSIP_LOCAL: return "local";
    }
    return NULL;
}

const char *cx_gossip_source_text(cx_gossip_source source)
{
    switch (source) {
    case CX_GOSSIP_BY_PROBE: return "probe";
    case CX_GOSSIP_BY_GOSSIP: return "gossip";
    case CX_GOSSIP_BY_PUSH_PULL: return "push_pull";
    }
    return NULL;
}

const char *cx_gossip_verdict_text(cx_gossip_verdict verdict)
{
    switch (verdict) {
    case CX_GOSSIP_OPEN: return "open";
    case CX_GOSSIP_REFUTED: return "refuted";
    case CX_GOSSIP_CONVICTED: return "convicted";
    case CX_GOSSIP_EXCUSED: return "excused";
    }
    return NULL;
}
