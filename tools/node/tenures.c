#include "tenures.h"

#include <string.h>

#include "base/text.h"
#include "base/time.h"
#include "tenures_parts.h"
#include "timer.h"

enum {
    TICK_MS = 200,
    TOGETHER_MS = 500, /* a renewal that is due so soon goes with one that is due now */
    HEARTBEAT_MS = 1000,
    TRANSFERS_MAX = 64,
    FAREWELL_MS = 1000,
};

/* ---- rounds */

static void clear_round(tenure *of)
{
    for (size_t i = 0; i < of->vote_count; i++)
        tenures_drop_granter(of->granters[i]);
    cx_free(&of->granters);
    cx_free(&of->votes);
    cx_list_free(&of->texts);
    of->texts = (cx_list){0};
    of->vote_count = 0;
    of->round = 0;
}

static void open_round(tenure *of, int64_t now_ms)
{
    node_tenures *tenures = of->tenures;

    clear_round(of);
    of->round = ++tenures->rounds;
    of->round_fence = cx_claim_begin(&of->claim, now_ms);
    of->vote_count = tenures->granter_count;
    of->granters = cx_alloc(of->vote_count, sizeof(granter *));
    of->votes = cx_alloc(of->vote_count, sizeof *of->votes);
    for (size_t i = 0; i < of->vote_count; i++) {
        of->granters[i] = tenures->granters[i];
        of->granters[i]->holds++;
    }
    of->begins = false;
    /* Even when nobody says anything, this node's own disk neither, the copy ends in time. */
    of->wake_ms = of->state == NODE_TENURE_HELD ? cx_claim_stop_at_ms(&of->claim) : INT64_MAX;
}

static tenure *find_round(node_tenures *tenures, const char *agent, uint64_t round)
{
    tenure *found = cx_map_get(tenures->by_agent, agent);

    return found != NULL && found->round == round ? found : NULL;
}

/* What was granted in a round that came to nothing: else it is blocked for others for a while. */
static void give_back(tenure *of)
{
    if (of->claim.had_tenure) /* may be counted on by nobody else, and we come again */
        return;
    for (size_t i = 0; i < of->vote_count; i++)
        if (of->votes[i].kind == CX_VOTE_GRANTED)
            tenures_add_release(of->tenures, of->granters[i], of->agent, of->round_fence);
}

static void set_state(tenure *of, node_tenure state)
{
    node_tenures *tenures = of->tenures;

    if (of->state == state)
        return;
    of->state = state;
    cx_log_write(tenures->options.log, state == NODE_TENURE_LOST ? CX_WARN : CX_DEBUG,
                 state == NODE_TENURE_LOST ? "agent_lease_lost" : "agent_lease", "{s:s, s:i}",
                 "agent", of->agent, "state", (int)state);
    tenures->options.changed(tenures->options.arg);
}

static void wake_soon(node_tenures *tenures)
{
    node_timer_set(tenures->tick, 0);
}

static void judge(tenure *of)
{
    cx_claim_verdict verdict;

    if (of->state == NODE_TENURE_LOST || of->round == 0)
        return;
    verdict = cx_claim_judge(&of->claim, of->votes, of->vote_count, cx_boot_ms());
    of->wake_ms = verdict.wake_at_ms;
    of->begins = true;
    switch (verdict.kind) {
    case CX_CLAIM_WAIT: of->begins = false; break;
    case CX_CLAIM_CONFIRM: wake_soon(of->tenures); break;
    case CX_CLAIM_HELD: set_state(of, NODE_TENURE_HELD); break;
    case CX_CLAIM_RENEW: break;
    case CX_CLAIM_BUSY:
    case CX_CLAIM_SPLIT:
    case CX_CLAIM_SILENT: give_back(of); break;
    case CX_CLAIM_LOST:
        of->begins = false;
        of->wake_ms = INT64_MAX;
        set_state(of, NODE_TENURE_LOST);
        break;
    }
}

void tenures_take_vote(node_tenures *tenures, const char *agent, uint64_t round,
                       const granter *from, const cx_lease_vote *vote)
{
    tenure *of = find_round(tenures, agent, round);

    if (of == NULL)
        return;
    for (size_t i = 0; i < of->vote_count; i++) {
        if (of->granters[i] != from)
            continue;
        of->votes[i] = *vote;
        cx_list_add(&of->texts, vote->holder == NULL ? "" : vote->holder);
        of->votes[i].holder = of->texts.items[of->texts.count - 1];
    }
    if (!of->begins) /* else this round is over, and the next one not open yet */
        judge(of);
}

/* ---- to this node's granter */

typedef struct own_vote {
    node_tenures *tenures;
    char *agent;
    uint64_t round;
} own_vote;

static void on_own_vote(const node_lease_result *result, const cx_err *err, void *arg)
{
    own_vote *own = arg;
    cx_lease_vote vote = {.kind = CX_VOTE_FAILED};

    if (err == NULL) {
        vote = node_leases_vote(result);
        vote.expected = node_leases_expected(own->tenures->options.leases);
    }
    if (!own->tenures->closing)
        tenures_take_vote(own->tenures, own->agent, own->round, own->tenures->granters[0], &vote);
    cx_free(&own->agent);
    cx_free(&own);
}

static void ask_own(tenure *of)
{
    own_vote *own = cx_alloc(1, sizeof *own);

    *own = (own_vote){of->tenures, cx_strdup(of->agent), of->round};
    node_leases_claim_agent(of->tenures->options.leases, of->agent, of->tenures->owner,
                            of->round_fence, NODE_TENURE_TTL_MS, on_own_vote, own);
}

/* ---- turns */

/* Begins the rounds that are due, and those of renewals that would be due in a moment. */
static tenure **begin_rounds(node_tenures *tenures, size_t *count)
{
    tenure **begun = cx_alloc(cx_map_count(tenures->by_agent) + 1, sizeof *begun);
    int64_t now_ms = cx_boot_ms();
    size_t cursor = 0;
    void *value = NULL;

    *count = 0;
    while (cx_map_next(tenures->by_agent, &cursor, NULL, &value)) {
        tenure *of = value;
        int64_t slack_ms = of->state == NODE_TENURE_HELD ? TOGETHER_MS : 0;

        if (!of->begins || of->wake_ms - slack_ms > now_ms || of->state == NODE_TENURE_LOST)
            continue;
        open_round(of, now_ms);
        begun[(*count)++] = of;
    }
    return begun;
}

static void judge_late(node_tenures *tenures)
{
    int64_t now_ms = cx_boot_ms();
    size_t cursor = 0;
    void *value = NULL;

    while (cx_map_next(tenures->by_agent, &cursor, NULL, &value)) {
        tenure *of = value;

        if (!of->begins && of->wake_ms <= now_ms)
            judge(of);
    }
}

static void ask_others(node_tenures *tenures, tenure **begun, size_t count)
{
    int64_t now_ms = cx_now_ms();

    for (size_t i = 1; i < tenures->granter_count; i++) {
        granter *to = tenures->granters[i];
        bundle *made;

        if (count == 0 && to->pending == NULL &&
            (!tenures->watch || now_ms - to->asked_ms < HEARTBEAT_MS))
            continue;
        made = tenures_bundle_for(tenures, to);
        made->rounds = cx_alloc(count + 1, sizeof *made->rounds);
        for (size_t j = 0; j < count; j++) {
            made->rounds[j] = begun[j]->round;
            node_claims_add(&made->claims, begun[j]->agent, begun[j]->round_fence);
        }
        tenures_post(made);
    }
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    node_tenures *tenures = arg;
    CX_AUTO(cx_free) tenure **begun = NULL;
    size_t count = 0;

    (void)fd;
    (void)what;
    if (tenures->ending || tenures->closing)
        return;
    node_timer_set(tenures->tick, TICK_MS);
    judge_late(tenures);
    begun = begin_rounds(tenures, &count);
    /* The others first: what this node's granter says may come at once. */
    ask_others(tenures, begun, count);
    for (size_t i = 0; i < count; i++)
        ask_own(begun[i]);
}

static void on_farewell(evutil_socket_t fd, short what, void *arg)
{
    node_tenures *tenures = arg;

    (void)fd;
    (void)what;
    tenures->calls = 0;
    tenures_tell_if_ended(tenures);
}

/* ---- public */

node_tenures *node_tenures_open(const node_tenures_options *options)
{
    node_tenures *tenures = cx_alloc(1, sizeof *tenures);
    uint64_t seed = 0;

    cx_random(&seed, sizeof seed);
    tenures->options = *options;
    tenures->owner = cx_format("node/%s", options->node_id);
    tenures->http = cx_http_loop_open(options->loop, TRANSFERS_MAX);
    tenures->by_agent = cx_map_open();
    tenures->rng = cx_rng_seed(seed);
    tenures->tick = evtimer_new(options->loop, on_tick, tenures);
    tenures->farewell = evtimer_new(options->loop, on_farewell, tenures);
    tenures_add_granter(tenures, options->node_id);
    node_timer_set(tenures->tick, 0);
    return tenures;
}

static void free_tenure(tenure *of)
{
    clear_round(of);
    cx_free(&of->agent);
    cx_free(&of);
}

void node_tenures_stop(node_tenures *tenures)
{
    tenures->closing = true;
    event_del(tenures->tick);
    cx_http_loop_close(&tenures->http);
}

void node_tenures_close(node_tenures **owner)
{
    node_tenures *tenures = *owner;
    size_t cursor = 0;
    void *value = NULL;

    if (tenures == NULL)
        return;
    node_tenures_stop(tenures);
    while (cx_map_next(tenures->by_agent, &cursor, NULL, &value))
        free_tenure(value);
    cx_map_close(&tenures->by_agent);
    for (size_t i = 0; i < tenures->granter_count; i++)
        tenures_forget_granter(tenures->granters[i]);
    cx_free(&tenures->granters);
    event_free(tenures->tick);
    event_free(tenures->farewell);
    cx_free(&tenures->owner);
    cx_free(owner);
}

void node_tenures_watch(node_tenures *tenures, bool watch)
{
    tenures->watch = watch;
}

void node_tenures_claim(node_tenures *tenures, const char *agent)
{
    tenure *added;

    if (tenures->ending || cx_map_get(tenures->by_agent, agent) != NULL)
        return;
    added = cx_alloc(1, sizeof *added);
    added->tenures = tenures;
    added->agent = cx_strdup(agent);
    added->state = NODE_TENURE_ASKED;
    added->claim = cx_claim_new(NODE_TENURE_TTL_MS, node_leases_expected(tenures->options.leases),
                                cx_rng_fork(&tenures->rng));
    added->begins = true;
    cx_map_put(tenures->by_agent, agent, added);
    wake_soon(tenures);
}

static void release(const tenure *of)
{
    node_tenures *tenures = of->tenures;
    int64_t fence = of->claim.fence > of->round_fence ? of->claim.fence : of->round_fence;

    for (size_t i = 0; i < tenures->granter_count; i++)
        tenures_add_release(tenures, tenures->granters[i], of->agent, fence);
}

void node_tenures_release(node_tenures *tenures, const char *agent)
{
    tenure *of = cx_map_remove(tenures->by_agent, agent);

    if (of == NULL)
        return;
    release(of);
    free_tenure(of);
    wake_soon(tenures);
}

node_tenure node_tenures_of(const node_tenures *tenures, const char *agent)
{
    const tenure *of = cx_map_get(tenures->by_agent, agent);

    return of == NULL ? NODE_TENURE_NONE : of->state;
}

bool node_tenures_is_valid(const node_tenures *tenures, const char *agent)
{
    const tenure *of = cx_map_get(tenures->by_agent, agent);

    return of != NULL && of->state == NODE_TENURE_HELD &&
           cx_boot_ms() < of->claim.valid_until_ms - NODE_TENURE_GRACE_MS;
}

int64_t node_tenures_fence(const node_tenures *tenures, const char *agent)
{
    const tenure *of = cx_map_get(tenures->by_agent, agent);

    return of != NULL && of->state == NODE_TENURE_HELD ? of->claim.fence : 0;
}

size_t node_tenures_count(const node_tenures *tenures)
{
    return cx_map_count(tenures->by_agent);
}

void node_tenures_end(node_tenures *tenures, void (*done)(void *arg), void *arg)
{
    size_t cursor = 0;
    void *value = NULL;

    tenures->ending = true;
    tenures->ended = done;
    tenures->ended_arg = arg;
    while (cx_map_next(tenures->by_agent, &cursor, NULL, &value))
        release(value);
    for (size_t i = 1; i < tenures->granter_count; i++)
        if (tenures->granters[i]->pending != NULL)
            tenures_post(tenures_bundle_for(tenures, tenures->granters[i]));
    node_timer_set(tenures->farewell, FAREWELL_MS);
    tenures_tell_if_ended(tenures);
}
