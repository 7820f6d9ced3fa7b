/* A virtual world for gossip cores: a network with delay and loss, a clock that jumps to the next delivery,
 * nodes that are killed, paused, cut off. One generator decides everything random: same seed, same
 * history. CX_SEED=N replays one. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/core.h"

enum { WORLD_NODES_MAX = 64, WORLD_LINKS_MAX = 4096 };

struct delivery {
    int64_t at_us;
    uint64_t number;
    size_t to;
    cx_gossip_event_kind kind;
    cx_gossip_addr from;
    uint64_t stream;
    cx_buffer bytes;
};

/* A stream between two nodes. */
struct link {
    size_t ends[2];
    uint64_t ids[2];
    bool open[2];
    int64_t arrived_us[2]; /* of the last delivery to that end: bytes do not overtake each other */
};

struct world {
    size_t count;
    cx_gossip *cores[WORLD_NODES_MAX];
    bool up[WORLD_NODES_MAX], paused[WORLD_NODES_MAX];
    int group[WORLD_NODES_MAX]; /* only nodes of one group reach each other */
    int64_t wake_ms[WORLD_NODES_MAX];
    cx_buffer state[WORLD_NODES_MAX];
    bool has_left[WORLD_NODES_MAX];
    uint64_t answered[WORLD_NODES_MAX]; /* the last ticket */
    cx_err answer[WORLD_NODES_MAX];
    size_t joined[WORLD_NODES_MAX];
    int64_t rtt_us[WORLD_NODES_MAX];
    bool changed[WORLD_NODES_MAX];

    struct delivery *heap;
    size_t heap_count, heap_capacity;
    uint64_t numbered;
    struct link links[WORLD_LINKS_MAX];
    size_t link_count;
    uint64_t accepted;

    int64_t now_us;
    cx_rng rng;
    uint64_t seed;
    unsigned loss_percent;
    const char *keyring;
    bool compress;
    size_t expected;
    uint64_t sent, sent_bytes;

    void *watcher;
    void (*on_packet)(void *watcher, size_t from, size_t to, cx_bytes datagram);
    void (*on_stream)(void *watcher, size_t from, cx_bytes bytes);
    void (*on_notice)(void *watcher, size_t at, const cx_gossip_notice *notice);
    void (*on_log)(void *watcher, size_t at, const cx_gossip_action *action);
};

static inline uint64_t world_seed(uint64_t fallback)
{
    const char *text = getenv("CX_SEED");

    return text == NULL ? fallback : strtoull(text, NULL, 10);
}

static inline cx_gossip_addr world_addr(size_t node)
{
    return (cx_gossip_addr){
        .size = 4, .bytes = {10, 0, (uint8_t)(node >> 8), (uint8_t)(node + 1)}, .port = 7946};
}

/* ---- the queue of deliveries: a binary heap */

static inline bool world_earlier(const struct delivery *a, const struct delivery *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->number < b->number;
}

static inline void world_push(struct world *world, struct delivery delivery)
{
    size_t at = world->heap_count++;

    if (world->heap_count > world->heap_capacity) {
        world->heap_capacity = world->heap_capacity == 0 ? 64 : 2 * world->heap_capacity;
        world->heap = cx_realloc(world->heap, world->heap_capacity, sizeof(*world->heap));
    }
    delivery.number = ++world->numbered;
    world->heap[at] = delivery;
    while (at > 0 && world_earlier(&world->heap[at], &world->heap[(at - 1) / 2])) {
        struct delivery up = world->heap[(at - 1) / 2];

        world->heap[(at - 1) / 2] = world->heap[at];
        world->heap[at] = up;
        at = (at - 1) / 2;
    }
}

static inline struct delivery world_pop(struct world *world)
{
    struct delivery first = world->heap[0];
    size_t at = 0;

    world->heap[0] = world->heap[--world->heap_count];
    for (;;) {
        size_t least = at;

        for (size_t child = 2 * at + 1; child <= 2 * at + 2; child++)
            if (child < world->heap_count &&
                world_earlier(&world->heap[child], &world->heap[least]))
                least = child;
        if (least == at)
            return first;
        struct delivery down = world->heap[least];

        world->heap[least] = world->heap[at];
        world->heap[at] = down;
        at = least;
    }
}

/* ---- streams */

static inline struct link *world_link(struct world *world, size_t node, uint64_t id, int *end)
{
    for (size_t i = world->link_count; i-- > 0;)
        for (int e = 0; e < 2; e++)
            if (world->links[i].ends[e] == node && world->links[i].ids[e] == id) {
                *end = e;
                return &world->links[i];
            }
    return NULL;
}

static inline int64_t world_delay_us(struct world *world)
{
    return 100 + (int64_t)cx_rng_below(&world->rng, 1900);
}

static inline bool world_reaches(const struct world *world, size_t a, size_t b)
{
    return world->up[b] && world->group[a] == world->group[b];
}

static inline void world_stream_event(struct world *world, struct link *link, int to_end,
                                      cx_gossip_event_kind kind, cx_bytes bytes)
{
    int64_t at_us = world->now_us + world_delay_us(world);
    struct delivery delivery = {
        .to = link->ends[to_end], .kind = kind, .stream = link->ids[to_end]};

    if (at_us <= link->arrived_us[to_end])
        at_us = link->arrived_us[to_end] + 1;
    link->arrived_us[to_end] = at_us;
    delivery.at_us = at_us;
    delivery.from = world_addr(link->ends[1 - to_end]);
    delivery.from.port = 40000;
    cx_buffer_add(&delivery.bytes, bytes.data, bytes.size);
    world_push(world, delivery);
}

static inline void world_write(struct world *world, struct link *link, int from_end, cx_bytes bytes)
{
    size_t piece = 1 + (size_t)cx_rng_below(&world->rng, 1500);

    if (world->on_stream != NULL)
        world->on_stream(world->watcher, link->ends[from_end], bytes);
    if (!link->open[0] || !link->open[1])
        return;
    while (bytes.size > 0) {
        size_t size = bytes.size < piece ? bytes.size : piece;

        world_stream_event(world, link, 1 - from_end, CX_GOSSIP_ON_BYTES,
                           (cx_bytes){bytes.data, size});
        bytes = (cx_bytes){bytes.data + size, bytes.size - size};
    }
}

static inline size_t world_find(const struct world *world, const cx_gossip_addr *addr)
{
    for (size_t i = 0; i < world->count; i++) {
        cx_gossip_addr at = world_addr(i);

        if (cx_gossip_addr_same(&at, addr))
            return i;
    }
    return SIZE_MAX;
}

static inline void world_open(struct world *world, size_t from, const cx_gossip_action *action)
{
    size_t to = world_find(world, &action->to);
    struct link *link = &world->links[world->link_count++ % WORLD_LINKS_MAX];

    if (world->link_count > WORLD_LINKS_MAX)
        world->link_count = WORLD_LINKS_MAX;
    world->accepted += 2;
    *link = (struct link){
        .ends = {from, to}, .ids = {action->stream, world->accepted}, .open = {true, true}};
    if (to == SIZE_MAX || !world_reaches(world, from, to)) {
        link->open[1] = false;
        /* A dead process refuses at once; through a cut cable nothing comes. */
        if (to == SIZE_MAX || world->group[from] == world->group[to]) {
            link->ends[1] = from;
            link->ids[1] = UINT64_MAX;
            world_stream_event(world, link, 0, CX_GOSSIP_ON_END, (cx_bytes){0});
        }
        return;
    }
    world_stream_event(world, link, 1, CX_GOSSIP_ON_ACCEPT, (cx_bytes){0});
    world_write(world, link, 0, action->bytes);
}

static inline void world_close(struct world *world, size_t node, uint64_t stream)
{
    int end = 0;
    struct link *link = world_link(world, node, stream, &end);

    if (link == NULL)
        return;
    if (link->open[1 - end])
        world_stream_event(world, link, 1 - end, CX_GOSSIP_ON_END, (cx_bytes){0});
    link->open[end] = false;
}

/* ---- acting */

static inline void world_send(struct world *world, size_t from, const cx_gossip_action *action)
{
    size_t to = world_find(world, &action->to);
    struct delivery delivery = {.to = to, .kind = CX_GOSSIP_ON_PACKET, .from = world_addr(from)};

    world->sent++;
    world->sent_bytes += action->bytes.size;
    if (world->on_packet != NULL)
        world->on_packet(world->watcher, from, to, action->bytes);
    if (to == SIZE_MAX || !world_reaches(world, from, to) ||
        cx_rng_below(&world->rng, 100) < world->loss_percent)
        return;
    delivery.at_us = world->now_us + world_delay_us(world);
    cx_buffer_add(&delivery.bytes, action->bytes.data, action->bytes.size);
    world_push(world, delivery);
}

static inline void world_act(struct world *world, size_t node, const cx_gossip_action *action)
{
    int end = 0;
    struct link *link;

    switch (action->kind) {
    case CX_GOSSIP_SEND: world_send(world, node, action); break;
    case CX_GOSSIP_STREAM_OPEN: world_open(world, node, action); break;
    case CX_GOSSIP_STREAM_WRITE:
        link = world_link(world, node, action->stream, &end);
        if (link != NULL)
            world_write(world, link, end, action->bytes);
        break;
    case CX_GOSSIP_STREAM_CLOSE: world_close(world, node, action->stream); break;
    case CX_GOSSIP_WAKE: world->wake_ms[node] = action->wake_at_ms; break;
    case CX_GOSSIP_EMIT:
        if (world->on_notice != NULL)
            world->on_notice(world->watcher, node, &action->notice);
        break;
    case CX_GOSSIP_ANSWER:
        world->answered[node] = action->ticket;
        world->answer[node] = *action->err;
        world->joined[node] = action->joined;
        world->rtt_us[node] = action->rtt_us;
        world->changed[node] = action->changed;
        break;
    case CX_GOSSIP_LEFT: world->has_left[node] = true; break;
    case CX_GOSSIP_SAVE_STATE:
        cx_buffer_clear(&world->state[node]);
        cx_buffer_add(&world->state[node], action->bytes.data, action->bytes.size);
        break;
    case CX_GOSSIP_SAVE_KEYRING: break;
    case CX_GOSSIP_LOG:
        if (getenv("CX_WORLD_LOG") != NULL)
            fprintf(stderr, "%8.3f node-%zu %s %s %s\n", (double)world->now_us / 1e6, node,
                    action->log_event, action->node, action->detail);
        if (world->on_log != NULL)
            world->on_log(world->watcher, node, action);
        break;
    }
}

static inline void world_input(struct world *world, size_t node, const cx_gossip_event *event)
{
    cx_gossip_actions actions = cx_gossip_input(world->cores[node], event, world->now_us);

    for (size_t i = 0; i < actions.count; i++)
        world_act(world, node, &actions.items[i]);
}

/* ---- time */

static inline void world_deliver(struct world *world, struct delivery *delivery)
{
    const cx_gossip_event event = {
        .kind = delivery->kind,
        .from = delivery->from,
        .bytes = cx_buffer_bytes(&delivery->bytes),
        .stream = delivery->stream,
    };

    if (world->up[delivery->to] && !world->paused[delivery->to])
        world_input(world, delivery->to, &event);
    cx_buffer_free(&delivery->bytes);
}

/* The node whose wake is next; SIZE_MAX: none. */
static inline size_t world_next_wake(const struct world *world)
{
    size_t next = SIZE_MAX;

    for (size_t i = 0; i < world->count; i++)
        if (world->up[i] && !world->paused[i] &&
            (next == SIZE_MAX || world->wake_ms[i] < world->wake_ms[next]))
            next = i;
    return next;
}

static inline void world_run_until(struct world *world, int64_t until_us)
{
    for (;;) {
        size_t node = world_next_wake(world);
        int64_t wake_us = node == SIZE_MAX || world->wake_ms[node] > INT64_MAX / 1000
                              ? INT64_MAX
                              : world->wake_ms[node] * 1000;
        int64_t next_us = world->heap_count > 0 ? world->heap[0].at_us : INT64_MAX;

        if (wake_us > until_us && next_us > until_us)
            break;
        if (wake_us <= next_us) {
            if (wake_us > world->now_us)
                world->now_us = wake_us;
            world->wake_ms[node] = INT64_MAX / 1000;
            world_input(world, node, &(cx_gossip_event){.kind = CX_GOSSIP_ON_WAKE});
            continue;
        }
        struct delivery delivery = world_pop(world);

        world->now_us = delivery.at_us > world->now_us ? delivery.at_us : world->now_us;
        /* What arrives at a process that is stopped waits in its kernel's buffers. */
        if (world->up[delivery.to] && world->paused[delivery.to]) {
            delivery.at_us += 100000;
            world_push(world, delivery);
            continue;
        }
        world_deliver(world, &delivery);
    }
    world->now_us = until_us;
}

static inline void world_run(struct world *world, int64_t ms)
{
    world_run_until(world, world->now_us + 1000 * ms);
}

/* Runs until the condition holds; false: it did not within that time. */
static inline bool world_wait(struct world *world, int64_t ms, bool (*holds)(struct world *world))
{
    int64_t until_us = world->now_us + 1000 * ms;

    while (!holds(world)) {
        if (world->now_us >= until_us)
            return false;
        world_run(world, 10);
    }
    return true;
}

/* ---- nodes */

static inline void world_start(struct world *world, size_t node)
{
    char name[32], seed_tag[32];
    cx_err err;
    cx_gossip_tag tags[] = {{"role", "node"}, {"number", seed_tag}};

    snprintf(name, sizeof(name), "node-%zu", node);
    snprintf(seed_tag, sizeof(seed_tag), "%zu", node);
    cx_gossip_options options = {
        .name = name,
        .advertise = world_addr(node),
        .tags = tags,
        .tag_count = 2,
        .expected = world->expected,
        .rng = cx_rng_fork(&world->rng),
        .state = cx_buffer_bytes(&world->state[node]),
        .compress = world->compress,
    };

    if (world->keyring != NULL)
        options.keyring = cx_bytes_of(world->keyring);
    cx_gossip_close(&world->cores[node]);
    if (!cx_gossip_open(&options, &world->cores[node], &err)) {
        fprintf(stderr, "open: %s\n", err.message);
        abort();
    }
    world->up[node] = true;
    world->paused[node] = false;
    world->has_left[node] = false;
    world->wake_ms[node] = INT64_MAX / 1000;
    world_input(world, node, &(cx_gossip_event){.kind = CX_GOSSIP_ON_START});
}

static inline void world_join(struct world *world, size_t node, size_t seed, uint64_t ticket)
{
    cx_gossip_addr addr = world_addr(seed);

    world_input(world, node,
                &(cx_gossip_event){
                    .kind = CX_GOSSIP_ON_JOIN, .addrs = &addr, .addr_count = 1, .ticket = ticket});
}

/* Starts all nodes; each joins the first one. */
static inline struct world *world_new(size_t count, uint64_t seed)
{
    struct world *world = cx_alloc(1, sizeof(*world));

    world->count = count;
    world->seed = world_seed(seed);
    world->rng = cx_rng_seed(world->seed);
    world->now_us = 1000000;
    return world;
}

static inline void world_start_all(struct world *world)
{
    for (size_t i = 0; i < world->count; i++)
        world_start(world, i);
    for (size_t i = 1; i < world->count; i++)
        world_join(world, i, 0, i);
}

static inline void world_kill(struct world *world, size_t node)
{
    world->up[node] = false;
}

static inline void world_free(struct world **owner)
{
    struct world *world = *owner;

    for (size_t i = 0; i < world->count; i++) {
        cx_gossip_close(&world->cores[i]);
        cx_buffer_free(&world->state[i]);
    }
    for (size_t i = 0; i < world->heap_count; i++)
        cx_buffer_free(&world->heap[i].bytes);
    cx_free(&world->heap);
    cx_free(owner);
}

/* ---- what it looks like */

static inline bool world_sees(struct world *world, size_t at, size_t node,
                              cx_gossip_status_word status)
{
    char name[32];

    snprintf(name, sizeof(name), "node-%zu", node);
    const cx_gossip_member *member = cx_gossip_find(world->cores[at], name);

    return member != NULL && member->status == status;
}

/* All nodes that are up and reach each other agree on all of those being alive, with one digest. */
static inline bool world_agrees(struct world *world)
{
    for (size_t i = 0; i < world->count; i++) {
        char first[CX_GOSSIP_DIGEST_SIZE] = "";

        if (!world->up[i] || world->paused[i])
            continue;
        for (size_t j = 0; j < world->count; j++) {
            if (!world->up[j] || world->paused[j] || world->group[i] != world->group[j])
                continue;
            if (!world_sees(world, j, i, CX_GOSSIP_ALIVE))
                return false;
            cx_gossip_status status = cx_gossip_look(world->cores[j]);

            if (first[0] == '\0')
                memcpy(first, status.digest, sizeof(first));
            else if (memcmp(first, status.digest, sizeof(first)) != 0)
                return false;
        }
    }
    return true;
}
