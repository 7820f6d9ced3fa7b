/* One core and a test that plays everybody else. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/core.h"
#include "gossip/stream.h"

enum { PUPPET_SENT_MAX = 512 };

struct puppet_sent {
    cx_gossip_addr to;
    uint8_t type;
    cx_wire_any any;
    uint8_t serf_type;
    cx_buffer bytes; /* what `any` views */
};

struct puppet {
    cx_gossip *core;
    int64_t now_us;
    cx_keyring *ring;
    cx_rng rng;
    struct puppet_sent sent[PUPPET_SENT_MAX]; /* by the last input */
    size_t sent_count;
    size_t datagrams;                                /* by the last input */
    size_t notices[CX_GOSSIP_PARTITION_CHANGED + 1]; /* by the last input */
    cx_buffer written;                               /* on streams, by the last input */
    uint64_t opened;                                 /* the last stream that was opened */
    bool closed;                                     /* a stream, by the last input */
    cx_err answer;
    bool changed;
    char logged[64]; /* the last log event */
};

static inline cx_gossip_addr puppet_addr(uint8_t last)
{
    return (cx_gossip_addr){.size = 4, .bytes = {10, 0, 0, last}, .port = 7946};
}

static inline void puppet_take_message(void *context, uint8_t type, cx_bytes body)
{
    struct puppet *puppet = context;
    struct puppet_sent *sent = &puppet->sent[puppet->sent_count];
    const cx_record *record = cx_wire_record(type);
    cx_bytes rest;
    cx_err err;

    if (puppet->sent_count == PUPPET_SENT_MAX)
        abort();
    sent->type = type;
    cx_buffer_add(&sent->bytes, body.data, body.size);
    rest = cx_buffer_bytes(&sent->bytes);
    if (type == CX_WIRE_USER) {
        sent->serf_type = rest.data[0];
        record = cx_wire_serf_record(rest.data[0]);
        rest = (cx_bytes){rest.data + 1, rest.size - 1};
    }
    if (record != NULL && !cx_wire_read(rest, record, &sent->any, &err))
        abort();
    puppet->sent_count++;
}

static inline void puppet_forget(struct puppet *puppet)
{
    for (size_t i = 0; i < puppet->sent_count; i++)
        cx_buffer_free(&puppet->sent[i].bytes);
    memset(puppet->sent, 0, sizeof(puppet->sent));
    memset(puppet->notices, 0, sizeof(puppet->notices));
    puppet->sent_count = puppet->datagrams = 0;
    puppet->closed = false;
    cx_buffer_free(&puppet->written);
}

static inline void puppet_input(struct puppet *puppet, const cx_gossip_event *event)
{
    cx_gossip_actions actions = cx_gossip_input(puppet->core, event, puppet->now_us);
    const cx_packet_sink sink = {.context = puppet, .message = puppet_take_message};

    puppet_forget(puppet);
    for (size_t i = 0; i < actions.count; i++) {
        const cx_gossip_action *action = &actions.items[i];
        size_t before = puppet->sent_count;
        cx_err err;

        if (action->kind == CX_GOSSIP_SEND) {
            puppet->datagrams++;
            if (!cx_packet_read(action->bytes, puppet->ring, &sink, &err))
                abort();
            for (size_t j = before; j < puppet->sent_count; j++)
                puppet->sent[j].to = action->to;
        }
        if (action->kind == CX_GOSSIP_EMIT)
            puppet->notices[action->notice.kind]++;
        if (action->kind == CX_GOSSIP_STREAM_WRITE || action->kind == CX_GOSSIP_STREAM_OPEN)
            cx_buffer_add(&puppet->written, action->bytes.data, action->bytes.size);
        if (action->kind == CX_GOSSIP_STREAM_OPEN)
            puppet->opened = action->stream;
        if (action->kind == CX_GOSSIP_STREAM_CLOSE)
            puppet->closed = true;
        if (action->kind == CX_GOSSIP_ANSWER) {
            puppet->answer = *action->err;
            puppet->changed = action->changed;
        }
        if (action->kind == CX_GOSSIP_LOG)
            snprintf(puppet->logged, sizeof(puppet->logged), "%s", action->log_event);
    }
}

/* A core "self" at 10.0.0.1, started. */
static inline void puppet_start(struct puppet *puppet, const char *keyring)
{
    const cx_gossip_tag tags[] = {{"role", "web"}};
    cx_gossip_options options = {
        .name = "self",
        .advertise = puppet_addr(1),
        .tags = tags,
        .tag_count = 1,
        .rng = cx_rng_seed(5),
    };
    cx_err err;

    *puppet = (struct puppet){.now_us = 1000000, .rng = cx_rng_seed(6)};
    if (keyring != NULL) {
        options.keyring = cx_bytes_of(keyring);
        if (!cx_keyring_parse(options.keyring, &puppet->ring, &err))
            abort();
    }
    if (!cx_gossip_open(&options, &puppet->core, &err))
        abort();
    puppet_input(puppet, &(cx_gossip_event){.kind = CX_GOSSIP_ON_START});
}

static inline void puppet_close(struct puppet *puppet)
{
    puppet_forget(puppet);
    cx_keyring_close(&puppet->ring);
    cx_gossip_close(&puppet->core);
}

static inline void puppet_packet(struct puppet *puppet, cx_gossip_addr from, cx_bytes datagram)
{
    puppet_input(puppet,
                 &(cx_gossip_event){.kind = CX_GOSSIP_ON_PACKET, .from = from, .bytes = datagram});
}

/* One message in a packet, as a member would send it. */
static inline void puppet_say(struct puppet *puppet, cx_gossip_addr from, cx_bytes message)
{
    CX_AUTO(cx_buffer_free) cx_buffer datagram = {0};
    const cx_packet_options options = {.ring = puppet->ring, .nonces = &puppet->rng};

    cx_packet_write(&message, 1, &options, &datagram);
    puppet_packet(puppet, from, cx_buffer_bytes(&datagram));
}

static inline void puppet_say_record(struct puppet *puppet, cx_gossip_addr from, uint8_t type,
                                     const void *values)
{
    CX_AUTO(cx_buffer_free) cx_buffer message = {0};

    cx_wire_put(&message, type, cx_wire_record(type), values);
    puppet_say(puppet, from, cx_buffer_bytes(&message));
}

static inline void puppet_say_serf(struct puppet *puppet, cx_gossip_addr from, cx_serf_type type,
                                   const void *values)
{
    CX_AUTO(cx_buffer_free) cx_buffer message = {0};

    cx_wire_put_serf(&message, type, cx_wire_serf_record(type), values);
    puppet_say(puppet, from, cx_buffer_bytes(&message));
}

static const uint8_t puppet_vsn[] = {1, 5, 2, 2, 5, 5};

/* `node` is alive at 10.0.0.last, with no tags. */
static inline cx_wire_alive puppet_alive(const char *node, const cx_gossip_addr *addr,
                                         uint32_t incarnation)
{
    static const uint8_t meta[] = {0xff, 0x80};

    return (cx_wire_alive){
        .incarnation = incarnation,
        .node = cx_bytes_of(node),
        .addr = {addr->bytes, addr->size},
        .port = addr->port,
        .meta = {meta, sizeof(meta)},
        .vsn = {puppet_vsn, sizeof(puppet_vsn)},
    };
}

static inline void puppet_say_alive(struct puppet *puppet, const char *node, uint8_t last,
                                    uint32_t incarnation)
{
    cx_gossip_addr addr = puppet_addr(last);
    const cx_wire_alive alive = puppet_alive(node, &addr, incarnation);

    puppet_say_record(puppet, puppet_addr(last), CX_WIRE_ALIVE, &alive);
}

static inline void puppet_accuse(struct puppet *puppet, cx_wire_type type, const char *node,
                                 const char *from, uint32_t incarnation)
{
    const cx_wire_accuse accuse = {
        .incarnation = incarnation, .node = cx_bytes_of(node), .from = cx_bytes_of(from)};

    puppet_say_record(puppet, puppet_addr(2), (uint8_t)type, &accuse);
}

static inline void puppet_wait(struct puppet *puppet, int64_t ms)
{
    puppet->now_us += ms * 1000;
    puppet_input(puppet, &(cx_gossip_event){.kind = CX_GOSSIP_ON_WAKE});
}

/* What was sent of a type by the last input; NULL: nothing. */
static inline const struct puppet_sent *puppet_find(const struct puppet *puppet, uint8_t type)
{
    for (size_t i = 0; i < puppet->sent_count; i++)
        if (puppet->sent[i].type == type)
            return &puppet->sent[i];
    return NULL;
}

static inline const cx_gossip_member *puppet_see(struct puppet *puppet, const char *node)
{
    return cx_gossip_find(puppet->core, node);
}

static inline uint64_t puppet_refused(struct puppet *puppet)
{
    return cx_gossip_look(puppet->core).refused;
}
