#include "agent.h"
#include "base/text.h"
#include "base/time.h"

static json_t *tags_json(const cx_gossip_member *member)
{
    json_t *tags = json_object();

    for (size_t i = 0; i < member->tag_count; i++) {
        CX_AUTO(cx_json_free) json_t *key = cx_json_text(member->tags[i].key);

        json_object_set_new(tags, json_string_value(key), cx_json_text(member->tags[i].value));
    }
    return tags;
}

json_t *agent_member_json(const cx_gossip_member *member, int64_t since_offset_ms)
{
    char addr[CX_GOSSIP_ADDR_TEXT_SIZE];
    json_t *tags = tags_json(member);
    json_t *api = json_object_get(tags, "api");

    return json_pack("{s:o, s:s, s:s, s:I, s:o, s:o, s:O?, s:o}", "node_id",
                     cx_json_text(member->name), "addr", cx_gossip_addr_text(&member->addr, addr),
                     "status", cx_gossip_status_text(member->status), "incarnation",
                     (json_int_t)member->incarnation, "since",
                     cx_json_time(member->since_ms + since_offset_ms), "rtt_ms",
                     member->rtt_ms < 0 ? json_null() : cx_json_figure(member->rtt_ms), "api_addr",
                     api, "tags", tags);
}

json_t *agent_members_json(cx_gossip *core, int64_t since_offset_ms)
{
    size_t count = 0;
    const cx_gossip_member *members = cx_gossip_members(core, &count);
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, agent_member_json(&members[i], since_offset_ms));
    return json_pack("{s:o, s:I, s:s}", "members", list, "count", (json_int_t)count, "digest",
                     cx_gossip_look(core).digest);
}

json_t *agent_status_json(cx_gossip *core)
{
    cx_gossip_status status = cx_gossip_look(core);
    char addr[CX_GOSSIP_ADDR_TEXT_SIZE];
    json_t *json =
        json_pack("{s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:i, s:b, s:s}", "node_id",
                  cx_json_text(status.name), "addr", cx_gossip_addr_text(&status.addr, addr),
                  "members", (json_int_t)status.members, "alive", (json_int_t)status.alive,
                  "suspect", (json_int_t)status.suspect, "failed", (json_int_t)status.failed,
                  "leaving", (json_int_t)status.leaving, "left", (json_int_t)status.left,
                  "expected", (json_int_t)status.expected, "partition",
                  cx_gossip_partition_text(status.partition), "health_score", status.health_score,
                  "encrypted", status.encrypted, "digest", status.digest);
    json_t *more = json_pack(
        "{s:i, s:s, s:I, s:I, s:{s:I, s:I, s:I}, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}",
        "protocol", status.versions[2], "profile", status.profile, "incarnation",
        (json_int_t)status.incarnation, "keys", (json_int_t)status.keys, "clocks", "member",
        (json_int_t)status.member_clock, "event", (json_int_t)status.event_clock, "query",
        (json_int_t)status.query_clock, "queued_broadcasts", (json_int_t)status.queued, "streams",
        (json_int_t)status.streams, "packets_in", (json_int_t)status.packets_in, "packets_out",
        (json_int_t)status.packets_out, "bytes_in", (json_int_t)status.bytes_in, "bytes_out",
        (json_int_t)status.bytes_out, "refused", (json_int_t)status.refused, "leaving_now",
        status.leaving_now);

    json_object_update_new(json, more);
    return json;
}

static json_t *payload_json(cx_bytes payload)
{
    json_t *text = json_stringn((const char *)payload.data, payload.size);

    if (text)
        return text;

    CX_AUTO(cx_free) char *base64 = cx_base64(payload);

    return json_pack("{s:s}", "base64", base64);
}

json_t *agent_notice_json(const cx_gossip_notice *notice, int64_t since_offset_ms)
{
    json_t *json = json_pack("{s:o, s:s}", "time", cx_json_time(cx_wall_ms()), "event",
                             cx_gossip_notice_text(notice->kind));

    switch (notice->kind) {
    case CX_GOSSIP_USER_EVENT:
        json_object_set_new(json, "name", cx_json_text(notice->name));
        json_object_set_new(json, "payload", payload_json(notice->payload));
        json_object_set_new(json, "ltime", json_integer((json_int_t)notice->ltime));
        break;
    case CX_GOSSIP_PARTITION_CHANGED:
        json_object_set_new(json, "partition",
                            json_string(cx_gossip_partition_text(notice->partition)));
        json_object_set_new(json, "was", json_string(cx_gossip_partition_text(notice->was)));
        break;
    case CX_GOSSIP_MEMBER_JOINED:
    case CX_GOSSIP_MEMBER_SUSPECT:
    case CX_GOSSIP_MEMBER_FAILED:
    case CX_GOSSIP_MEMBER_LEFT:
    case CX_GOSSIP_MEMBER_UPDATED:
    case CX_GOSSIP_MEMBER_REAPED:
        json_object_update_missing_new(json, agent_member_json(&notice->member, since_offset_ms));
        if (notice->by)
            json_object_set_new(json, "by", cx_json_text(notice->by));
        break;
    }
    return json;
}

static json_t *accusation_json(const cx_gossip_accusation *accusation, int64_t since_offset_ms)
{
    json_t *confirmers = json_array();
    size_t kept = accusation->confirmer_count < CX_GOSSIP_CONFIRMERS_MAX
                      ? accusation->confirmer_count
                      : CX_GOSSIP_CONFIRMERS_MAX;

    for (size_t i = 0; i < kept; i++)
        json_array_append_new(
            confirmers,
            json_pack("{s:o, s:o}", "node_id", cx_json_text(accusation->confirmers[i].name), "at",
                      cx_json_time(accusation->confirmers[i].at_ms + since_offset_ms)));

    json_t *json = json_pack(
        "{s:o, s:s, s:I, s:o, s:o, s:s, s:o, s:o}", "by", cx_json_text(accusation->by), "source",
        cx_gossip_source_text(accusation->source), "incarnation",
        (json_int_t)accusation->incarnation, "started_at",
        cx_json_time(accusation->started_ms + since_offset_ms), "ended_at",
        accusation->ended_ms ? cx_json_time(accusation->ended_ms + since_offset_ms) : json_null(),
        "verdict", cx_gossip_verdict_text(accusation->verdict), "convicted_by",
        accusation->convicted_by[0] ? cx_json_text(accusation->convicted_by) : json_null(),
        "confirmed_by", confirmers);

    if (accusation->source == CX_GOSSIP_BY_PROBE) {
        json_t *helpers = json_array();

        for (size_t i = 0; i < accusation->probe.helper_count; i++)
            json_array_append_new(helpers, cx_json_text(accusation->probe.helpers[i]));
        json_object_set_new(json, "probe",
                            json_pack("{s:o, s:o, s:I, s:b}", "started_at",
                                      cx_json_time(accusation->probe.started_ms + since_offset_ms),
                                      "helpers", helpers, "nacks",
                                      (json_int_t)accusation->probe.nacks, "stream_tried",
                                      accusation->probe.stream_tried));
    }
    return json;
}

json_t *agent_why_json(cx_gossip *core, const char *node, int64_t since_offset_ms)
{
    const cx_gossip_member *member = cx_gossip_find(core, node);
    size_t count = 0;

    if (!member)
        return NULL;

    json_t *json = agent_member_json(member, since_offset_ms);
    json_t *list = json_array();
    const cx_gossip_accusation *accusations = cx_gossip_accusations(core, node, &count);

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, accusation_json(&accusations[i], since_offset_ms));
    json_object_set_new(json, "accusations", list);
    return json;
}
