/* Leases in a virtual world: granters and clients as they are in the product, on clocks that differ in
 * offset and rate, over a network that loses, doubles, reorders and delays, with processes that die,
 * hosts that boot and clients that hang. By true time there must never be two holders, and each
 * holder's fence must be above that of all before it. CX_SEED=N runs that one history. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lease/claim.h"
#include "lease/grant.h"

enum {
    GRANTERS_MAX = 5,
    CLIENTS_MAX = 4,
    OWNER_SIZE = 32,
    SEEDS = 1000,
    DURATION_MS = 120000,
};

struct granter {
    cx_granter *core;
    cx_lease disk; /* of the one name; name NULL: nothing was saved */
    bool up;
    int boot, saved_boot;
    int64_t offset_ms;
    int64_t ppm;
};

struct client {
    char owner[OWNER_SIZE];
    cx_claim claim;
    cx_lease_vote votes[GRANTERS_MAX];
    char holders[GRANTERS_MAX][OWNER_SIZE];
    bool working; /* a claim is under way or held */
    bool round_open;
    int64_t give_up_ms;    /* true time: then it releases, or dies */
    int64_t hung_until_ms; /* true time: until then it does nothing */
    int64_t wake_ms;       /* its own clock */
    uint64_t incarnation;  /* timers of an earlier one are stale */
    unsigned round;
    bool holds_since_told; /* the fence of this claim was checked */
    int64_t offset_ms;
    int64_t ppm;
};

/* What somebody may still do under a lease, whatever has become of him: by his own clock. */
struct promise {
    char owner[OWNER_SIZE];
    size_t client;
    int64_t valid_until_ms;
};

struct item {
    int64_t at_ms;
    uint64_t order;
    enum { REQUEST, REPLY, WAKE, START, DIE, BOOT, UP } kind;
    size_t client, granter;
    uint64_t incarnation;
    unsigned round;
    char owner[OWNER_SIZE];
    int event;
    int64_t ttl_ms, fence;
    cx_lease_vote vote;
    char holder[OWNER_SIZE];
};

struct world {
    uint64_t seed;
    cx_rng rng;
    int64_t now_ms;
    uint64_t order;
    struct item *items; /* a heap by (at_ms, order) */
    size_t count, capacity;
    size_t granters, clients;
    struct granter granter[GRANTERS_MAX];
    struct client client[CLIENTS_MAX];
    struct promise promises[64];
    size_t promise_count;
    int64_t last_fence;
    char last_owner[OWNER_SIZE];
    unsigned owners, held, renewed, lost, again;
    int64_t delay_max_ms;
    unsigned loss_percent, late_percent;
    bool faults;
};

/* ---- the queue of what happens next */

static bool is_before(const struct item *a, const struct item *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void swap(struct item *a, struct item *b)
{
    struct item kept = *a;

    *a = *b;
    *b = kept;
}

static void push(struct world *world, struct item item, int64_t after_ms)
{
    size_t at = world->count++;

    if (world->count > world->capacity) {
        world->capacity = world->capacity * 2 + 64;
        world->items = cx_realloc(world->items, world->capacity, sizeof *world->items);
    }
    item.at_ms = world->now_ms + after_ms;
    item.order = world->order++;
    world->items[at] = item;
    for (; at > 0 && is_before(&world->items[at], &world->items[(at - 1) / 2]); at = (at - 1) / 2)
        swap(&world->items[at], &world->items[(at - 1) / 2]);
}

static bool pop(struct world *world, struct item *item)
{
    size_t at = 0;

    if (world->count == 0)
        return false;
    *item = world->items[0];
    world->items[0] = world->items[--world->count];
    while (true) {
        size_t least = at;

        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < world->count; child++)
            if (is_before(&world->items[child], &world->items[least]))
                least = child;
        if (least == at)
            return true;
        swap(&world->items[at], &world->items[least]);
        at = least;
    }
}

static bool chance(struct world *world, unsigned percent)
{
    return cx_rng_below(&world->rng, 100) < percent;
}

static int64_t between(struct world *world, int64_t from, int64_t to)
{
    return from + (int64_t)cx_rng_below(&world->rng, (uint64_t)(to - from) + 1);
}

static int64_t clock_of(const struct world *world, int64_t offset_ms, int64_t ppm)
{
    return offset_ms + world->now_ms + world->now_ms * ppm / 1000000;
}

static int64_t granter_now(const struct world *world, size_t at)
{
    return clock_of(world, world->granter[at].offset_ms, world->granter[at].ppm);
}

static int64_t client_now(const struct world *world, size_t at)
{
    return clock_of(world, world->client[at].offset_ms, world->client[at].ppm);
}

/* ---- the network */

static void send_item(struct world *world, const struct item *item)
{
    do {
        int64_t delay_ms = between(world, 0, world->delay_max_ms);

        if (chance(world, world->late_percent)) /* long after anybody waits for it */
            delay_ms = between(world, 30, 12000);
        if (!chance(world, world->loss_percent))
            push(world, *item, delay_ms);
    } while (chance(world, world->loss_percent / 2));
}

static void send_event(struct world *world, size_t at, size_t granter, int event, int64_t fence)
{
    struct client *client = &world->client[at];
    struct item item = {.kind = REQUEST,
                        .client = at,
                        .granter = granter,
                        .incarnation = client->incarnation,
                        .round = client->round,
                        .event = event,
                        .ttl_ms = client->claim.ttl_ms,
                        .fence = fence};

    memcpy(item.owner, client->owner, OWNER_SIZE);
    send_item(world, &item);
}

/* ---- granters */

static void restart(struct world *world, size_t at)
{
    struct granter *granter = &world->granter[at];
    cx_lease saved;

    granter->up = true;
    granter->core = cx_granter_open();
    if (granter->disk.name == NULL)
        return;
    saved = cx_lease_copy(&granter->disk);
    cx_granter_load(granter->core, &saved, granter->saved_boot == granter->boot,
                    granter_now(world, at));
}

static void go_down(struct world *world, size_t at)
{
    struct granter *granter = &world->granter[at];

    if (!granter->up)
        return;
    granter->up = false;
    cx_granter_close(&granter->core);
    push(world, (struct item){.kind = UP, .granter = at}, between(world, 10, 4000));
}

static void save(struct granter *granter, const cx_lease *lease)
{
    cx_lease_free(&granter->disk);
    granter->disk = cx_lease_copy(lease);
    granter->saved_boot = granter->boot;
}

static void on_request(struct world *world, const struct item *item)
{
    struct granter *granter = &world->granter[item->granter];
    cx_lease_event event = {.name = "cluster",
                            .owner = item->owner,
                            .about = "",
                            .ttl_ms = item->ttl_ms,
                            .fence = item->fence};
    cx_lease_answer answer;
    struct item reply = *item;

    if (!granter->up)
        return;
    event.kind = item->event == CX_LEASE_CLAIM ? CX_LEASE_CLAIM : CX_LEASE_RELEASE;
    answer = cx_granter_input(granter->core, &event, granter_now(world, item->granter));
    if (world->faults && chance(world, 1)) { /* it dies before, or after, the disk has it */
        if (answer.save && chance(world, 50))
            save(granter, answer.lease);
        go_down(world, item->granter);
        return;
    }
    if (answer.save)
        save(granter, answer.lease);
    if (event.kind != CX_LEASE_CLAIM)
        return;
    reply.kind = REPLY;
    reply.vote = (cx_lease_vote){.last_fence = answer.last_fence, .expected = 0};
    if (answer.outcome == CX_LEASE_GRANTED) {
        reply.vote.kind = CX_VOTE_GRANTED;
        reply.vote.fence = answer.lease->fence;
    } else {
        reply.vote.kind = CX_VOTE_REFUSED;
        reply.vote.expires_in_ms = answer.expires_in_ms;
        if (answer.outcome == CX_LEASE_HELD) {
            reply.vote.holder_fence = answer.lease->fence;
            snprintf(reply.holder, sizeof reply.holder, "%s", answer.lease->owner);
        }
    }
    send_item(world, &reply);
}

/* ---- clients */

static void wake_at(struct world *world, size_t at, int64_t own_ms)
{
    struct client *client = &world->client[at];
    int64_t in_ms = own_ms - client_now(world, at);

    client->wake_ms = own_ms;
    push(world, (struct item){.kind = WAKE, .client = at, .incarnation = client->incarnation},
         in_ms > 0 ? in_ms + 1 : 0);
}

static void check_alone(struct world *world, size_t at)
{
    const struct client *client = &world->client[at];

    for (size_t i = 0; i < world->promise_count; i++) {
        const struct promise *other = &world->promises[i];

        if (strcmp(other->owner, client->owner) != 0 &&
            client_now(world, other->client) < other->valid_until_ms)
            fail_msg("CX_SEED=%llu: at %lld ms %s holds, and %s still does for %lld ms",
                     (unsigned long long)world->seed, (long long)world->now_ms, client->owner,
                     other->owner,
                     (long long)(other->valid_until_ms - client_now(world, other->client)));
    }
}

static void check_fence(struct world *world, struct client *client)
{
    if (client->claim.fence <= world->last_fence)
        fail_msg("CX_SEED=%llu: at %lld ms %s has fence %lld after %s had %lld",
                 (unsigned long long)world->seed, (long long)world->now_ms, client->owner,
                 (long long)client->claim.fence, world->last_owner, (long long)world->last_fence);
    world->again += strcmp(client->owner, world->last_owner) == 0;
    world->last_fence = client->claim.fence;
    memcpy(world->last_owner, client->owner, OWNER_SIZE);
}

/* One that gave the lease back promises nothing any more; others until their time is over. */
static void set_promise(struct world *world, size_t at, int64_t valid_until_ms)
{
    const struct client *client = &world->client[at];
    size_t kept = 0;

    for (size_t i = 0; i < world->promise_count; i++)
        if (strcmp(world->promises[i].owner, client->owner) != 0 &&
            client_now(world, world->promises[i].client) < world->promises[i].valid_until_ms)
            world->promises[kept++] = world->promises[i];
    world->promise_count = kept;
    if (valid_until_ms == 0)
        return;
    assert_true(kept < CX_COUNT(world->promises));
    world->promises[kept] = (struct promise){.client = at, .valid_until_ms = valid_until_ms};
    memcpy(world->promises[kept].owner, client->owner, OWNER_SIZE);
    world->promise_count++;
}

static void on_held(struct world *world, size_t at)
{
    struct client *client = &world->client[at];

    check_alone(world, at);
    if (!client->holds_since_told) {
        client->holds_since_told = true;
        check_fence(world, client);
        world->held++;
        client->give_up_ms = world->now_ms + between(world, 0, 3 * client->claim.ttl_ms);
    } else {
        world->renewed++;
    }
    set_promise(world, at, client->claim.valid_until_ms);
}

static void rest(struct world *world, size_t at)
{
    struct client *client = &world->client[at];

    client->working = false;
    client->round_open = false;
    client->incarnation++;
    /* Not before its last messages have arrived, where none is late. */
    push(world, (struct item){.kind = START, .client = at}, between(world, 50, 1500));
}

static void start_round(struct world *world, size_t at);

static void judge(struct world *world, size_t at)
{
    struct client *client = &world->client[at];
    cx_claim_verdict verdict =
        cx_claim_judge(&client->claim, client->votes, world->granters, client_now(world, at));
    int64_t tried = client->claim.fence;

    client->round_open = verdict.kind == CX_CLAIM_WAIT;
    switch (verdict.kind) {
    case CX_CLAIM_WAIT:
        if (verdict.wake_at_ms == INT64_MAX || verdict.wake_at_ms > client_now(world, at) + 1000)
            verdict.wake_at_ms = client_now(world, at) + 1000;
        wake_at(world, at, verdict.wake_at_ms);
        return;
    case CX_CLAIM_CONFIRM: start_round(world, at); return;
    case CX_CLAIM_HELD:
        on_held(world, at);
        wake_at(world, at, verdict.wake_at_ms);
        return;
    case CX_CLAIM_RENEW: wake_at(world, at, verdict.wake_at_ms); return;
    case CX_CLAIM_BUSY:
    case CX_CLAIM_SPLIT:
    case CX_CLAIM_SILENT:
        if (!client->claim.had_tenure)
            for (size_t i = 0; i < world->granters; i++)
                send_event(world, at, i, CX_LEASE_RELEASE, tried);
        wake_at(world, at, verdict.wake_at_ms);
        return;
    case CX_CLAIM_LOST:
        world->lost++;
        rest(world, at);
        return;
    }
}

static void start_round(struct world *world, size_t at)
{
    struct client *client = &world->client[at];
    int64_t fence = cx_claim_begin(&client->claim, client_now(world, at));

    client->round++;
    client->round_open = true;
    for (size_t i = 0; i < world->granters; i++) {
        client->votes[i] = (cx_lease_vote){.kind = CX_VOTE_PENDING};
        send_event(world, at, i, CX_LEASE_CLAIM, fence);
    }
    judge(world, at);
}

/* A new owner, or, one time in four, the one it was: a script that asks again. */
static void on_start(struct world *world, size_t at)
{
    struct client *client = &world->client[at];

    if (client->working)
        return;
    if (client->owner[0] == '\0' || !chance(world, 25))
        snprintf(client->owner, sizeof client->owner, "owner-%u", ++world->owners);
    client->claim = cx_claim_new(between(world, 1000, 6000), (int64_t)world->granters,
                                 cx_rng_fork(&world->rng));
    client->working = true;
    client->holds_since_told = false;
    client->give_up_ms = world->now_ms + 8000;
    start_round(world, at);
}

/* Ends: gives the lease back, or just dies. */
static void finish(struct world *world, size_t at)
{
    struct client *client = &world->client[at];

    if (chance(world, 70)) {
        set_promise(world, at, 0);
        for (size_t i = 0; i < world->granters; i++)
            send_event(world, at, i, CX_LEASE_RELEASE, client->claim.fence);
    }
    rest(world, at);
}

static void on_wake(struct world *world, const struct item *item)
{
    struct client *client = &world->client[item->client];

    if (!client->working || item->incarnation != client->incarnation ||
        client_now(world, item->client) < client->wake_ms)
        return;
    if (world->now_ms >= client->give_up_ms) {
        finish(world, item->client);
        return;
    }
    if (!client->round_open) {
        start_round(world, item->client);
        return;
    }
    /* Whoever has not answered for long has not. */
    if (client_now(world, item->client) - client->claim.round_ms >=
        cx_claim_patience_ms(&client->claim))
        for (size_t i = 0; i < world->granters; i++)
            if (client->votes[i].kind == CX_VOTE_PENDING)
                client->votes[i].kind = CX_VOTE_FAILED;
    judge(world, item->client);
}

static void on_reply(struct world *world, const struct item *item)
{
    struct client *client = &world->client[item->client];
    size_t from = item->granter;

    if (!client->working || item->incarnation != client->incarnation ||
        item->round != client->round || !client->round_open ||
        client->votes[from].kind != CX_VOTE_PENDING)
        return;
    client->votes[from] = item->vote;
    memcpy(client->holders[from], item->holder, OWNER_SIZE);
    client->votes[from].holder = client->holders[from];
    judge(world, item->client);
}

/* ---- the world */

static void happen(struct world *world, const struct item *item)
{
    struct client *client = &world->client[item->client];

    if ((item->kind == REPLY || item->kind == WAKE) && world->now_ms < client->hung_until_ms) {
        push(world, *item, client->hung_until_ms - world->now_ms);
        return;
    }
    switch (item->kind) {
    case REQUEST: on_request(world, item); return;
    case REPLY: on_reply(world, item); return;
    case WAKE: on_wake(world, item); return;
    case START: on_start(world, item->client); return;
    case DIE: go_down(world, item->granter); break;
    case BOOT:
        go_down(world, item->granter);
        world->granter[item->granter].boot++;
        world->granter[item->granter].offset_ms = between(world, -world->now_ms, 1000000);
        break;
    case UP: restart(world, item->granter); return;
    }
    push(world,
         (struct item){.kind = chance(world, 30) ? BOOT : DIE,
                       .granter = cx_rng_below(&world->rng, world->granters)},
         between(world, 500, 8000));
    world->client[cx_rng_below(&world->rng, world->clients)].hung_until_ms =
        world->now_ms + between(world, 0, 5000);
}

static void build(struct world *world, uint64_t seed, bool faults)
{
    *world = (struct world){.seed = seed, .rng = cx_rng_seed(seed), .faults = faults};
    world->granters = chance(world, 60) ? 3 : chance(world, 50) ? 5 : 2;
    world->clients = (size_t)between(world, 2, CLIENTS_MAX);
    world->delay_max_ms = chance(world, 50) ? 2 : 30;
    world->loss_percent = faults ? (unsigned)between(world, 0, 25) : 0;
    world->late_percent = faults ? (unsigned)between(world, 0, 10) : 0;
    for (size_t i = 0; i < world->granters; i++) {
        world->granter[i].offset_ms = between(world, 0, 1000000);
        world->granter[i].ppm = between(world, -4900, 4900);
        restart(world, i);
    }
    for (size_t i = 0; i < world->clients; i++) {
        world->client[i].offset_ms = between(world, 0, 1000000);
        world->client[i].ppm = between(world, -4900, 4900);
        push(world, (struct item){.kind = START, .client = i}, between(world, 0, 1000));
    }
    if (faults)
        push(world, (struct item){.kind = DIE}, between(world, 0, 5000));
}

static void tear_down(struct world *world)
{
    for (size_t i = 0; i < world->granters; i++) {
        cx_granter_close(&world->granter[i].core);
        cx_lease_free(&world->granter[i].disk);
    }
    cx_free(&world->items);
}

static void live(struct world *world, uint64_t seed, bool faults)
{
    struct item item;

    build(world, seed, faults);
    while (pop(world, &item) && item.at_ms < DURATION_MS) {
        world->now_ms = item.at_ms;
        happen(world, &item);
    }
    tear_down(world);
}

static void there_are_never_two_holders_and_fences_grow(void **state)
{
    const char *given = getenv("CX_SEED");
    uint64_t first = given != NULL ? strtoull(given, NULL, 10) : 1;
    uint64_t last = given != NULL ? first : SEEDS;
    unsigned held = 0, renewed = 0, lost = 0, again = 0;

    (void)state;
    for (uint64_t seed = first; seed <= last; seed++) {
        struct world world;

        live(&world, seed, true);
        held += world.held;
        renewed += world.renewed;
        lost += world.lost;
        again += world.again;
    }
    print_message("%u leases held, %u renewals, %u lost, %u asked for again\n", held, renewed, lost,
                  again);
    /* A history in which nothing happens proves nothing. */
    if (given == NULL && (held < 5 * SEEDS || lost < SEEDS / 4 || again < SEEDS / 4))
        fail_msg("too little happens");
}

static void without_faults_every_contender_has_its_turn(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world world;

        live(&world, seed, false);
        if (world.held < 2 || world.lost > 0)
            fail_msg("CX_SEED=%llu: %u held, %u lost", (unsigned long long)seed, world.held,
                     world.lost);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_are_never_two_holders_and_fences_grow),
        cmocka_unit_test(without_faults_every_contender_has_its_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
