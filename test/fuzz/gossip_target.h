/* What the gossip targets share: a core among members, which lives on for a while after each input. */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "gossip/core.h"
#include "gossip/stream.h"

/* The first byte of an input says how the rest comes. */
enum { TARGET_SEALED = 1, TARGET_SEALED_RAW = 2, TARGET_OUTGOING = 4, TARGET_PIECES = 8 };

#define TARGET_KEYRING "[\"NUDi22rkoCPAR6/+UegZ+jSUFHKCAsr/PieKBk+sb2o=\"]"

struct target {
    cx_gossip *core;
    cx_keyring *ring; /* NULL: plain */
    cx_rng rng;
    int64_t now_us;
    uint64_t opened; /* the last stream that the core opened */
};

static inline cx_gossip_addr target_addr(uint8_t last)
{
    return (cx_gossip_addr){.size = 4, .bytes = {127, 77, 1, last}, .port = 7946};
}

static inline void target_input(struct target *target, const cx_gossip_event *event)
{
    cx_gossip_actions actions = cx_gossip_input(target->core, event, target->now_us);

    for (size_t i = 0; i < actions.count; i++) {
        const cx_gossip_action *action = &actions.items[i];

        if (action->kind == CX_GOSSIP_STREAM_OPEN)
            target->opened = action->stream;
        /* Section 19 holds whatever came; the sanitizers read all bytes. */
        if (action->kind == CX_GOSSIP_SEND &&
            (action->bytes.size == 0 || action->bytes.size > 1405))
            abort();
        if (action->kind == CX_GOSSIP_LOG && strlen(action->detail) > 4096)
            abort();
    }
}

/* The core is called "a", as most captures expect it. */
static inline struct target target_open(uint8_t flags)
{
    struct target target = {.rng = cx_rng_seed(1), .now_us = 1000000};
    cx_gossip_options options = {
        .name = "a", .advertise = target_addr(11), .rng = cx_rng_seed(2), .compress = true};
    cx_gossip_addr other = target_addr(12);
    cx_err err;

    if ((flags & (TARGET_SEALED | TARGET_SEALED_RAW)) != 0) {
        options.keyring = cx_bytes_of(TARGET_KEYRING);
        if (!cx_keyring_parse(options.keyring, &target.ring, &err))
            abort();
    }
    if (!cx_gossip_open(&options, &target.core, &err))
        abort();
    target_input(&target, &(cx_gossip_event){.kind = CX_GOSSIP_ON_START});
    target_input(&target,
                 &(cx_gossip_event){.kind = CX_GOSSIP_ON_JOIN, .addrs = &other, .addr_count = 1});
    return target;
}

/* A packet with one message. */
static inline void target_say(struct target *target, cx_bytes message)
{
    CX_AUTO(cx_buffer_free) cx_buffer datagram = {0};
    const cx_packet_options options = {.ring = target->ring, .nonces = &target->rng};

    cx_packet_write(&message, 1, &options, &datagram);
    target_input(target, &(cx_gossip_event){.kind = CX_GOSSIP_ON_PACKET,
                                            .from = target_addr(12),
                                            .bytes = cx_buffer_bytes(&datagram)});
}

/* Two members, so that there is somebody to accuse, to gossip with, to probe. */
static inline void target_befriend(struct target *target)
{
    static const uint8_t meta[] = {0xff, 0x80}, vsn[] = {1, 5, 2, 2, 5, 5};
    static const char *const names[] = {"b", "c"};

    for (size_t i = 0; i < CX_COUNT(names); i++) {
        CX_AUTO(cx_buffer_free) cx_buffer message = {0};
        cx_gossip_addr addr = target_addr((uint8_t)(12 + i));
        const cx_wire_alive alive = {.incarnation = 1,
                                     .node = cx_bytes_of(names[i]),
                                     .addr = {addr.bytes, 4},
                                     .port = 7946,
                                     .meta = {meta, sizeof(meta)},
                                     .vsn = {vsn, sizeof(vsn)}};

        cx_wire_put(&message, CX_WIRE_ALIVE, &cx_wire_alive_record, &alive);
        target_say(target, cx_buffer_bytes(&message));
    }
}

/* Some seconds of life, all views, and the end. */
static inline void target_close(struct target *target)
{
    size_t count = 0;
    const cx_gossip_member *members;

    for (int i = 0; i < 8; i++) {
        target->now_us += 450000;
        target_input(target, &(cx_gossip_event){.kind = CX_GOSSIP_ON_WAKE});
    }
    members = cx_gossip_members(target->core, &count);
    for (size_t i = 0; i < count; i++) {
        size_t accusations = 0;

        if (strlen(members[i].name) == 0)
            abort();
        cx_gossip_accusations(target->core, members[i].name, &accusations);
    }
    (void)cx_gossip_look(target->core);
    cx_gossip_close(&target->core);
    cx_keyring_close(&target->ring);
}
