#include "tenures.h"

#include <string.h>

#include "api/client.h"
#include "base/http.h"
#include "base/map.h"
#include "base/text.h"
#include "base/time.h"
#include "claims.h"
#include "timer.h"

enum {
    TICK_MS = 200,
    TOGETHER_MS = 500, /* a renewal that is due so soon goes with one that is due now */
    HEARTBEAT_MS = 1000,
    CALL_MS = NODE_TENURE_TTL_MS / 3,
    CONNECT_MS = 1000,
    SILENT_MS = 4000, /* without an answer for so long, and SILENT_CALLS in a row */
    SILENT_CALLS = 3,
    TRANSFERS_MAX = 64,
    ANSWER_MAX = 4 * 1024 * 1024,
    FAREWELL_MS = 1000,
};

/* A node that grants. This one has no address. */
typedef struct granter {
    char *node_id, *api;
    bool listed; /* in the members' list that is being read */
    bool gone;   /* was forgotten; kept while a round knows it */
    size_t holds;
    int64_t asked_ms;
    int64_t silent_since_ms; /* 0: it answered the last time */
    size_t silent_calls;
} granter;

typedef struct tenure {
    node_tenures *tenures;
    char *agent;
    node_tenure state;
    cx_claim claim;
    bool begins; /* at wake_ms a round begins; else the open one is judged */
    int64_t wake_ms;
    /* The open round. */
    uint64_t round;
    int64_t round_fence;
    granter **granters;
    cx_lease_vote *votes;
    size_t vote_count;
    cx_list texts; /* that votes borrow */
} tenure;

struct node_tenures {
    node_tenures_options options;
    char *owner; /* "node/ID" */
    cx_http_loop *http;
    cx_map *by_agent;
    granter **granters; /* the first one is this node */
    size_t granter_count;
    struct event *tick, *farewell;
    bool watch, ending, closing;
    size_t calls; /* to others, under way */
    uint64_t rounds;
    cx_rng rng;
    void (*ended)(void *arg);
    void *ended_arg;
};

/* What goes to one granter in one request. */
typedef struct bundle {
    node_tenures *tenures;
    granter *to;
    node_claims claims;
    uint64_t *rounds; /* of each claim: an answer that comes too late is none */
    char *url;
    cx_tls_peer tls;
} bundle;

/* ---- granters */

static void drop_granter(granter *dropped)
{
    if (--dropped->holds > 0)
        return;
    cx_free(&dropped->node_id);
    cx_free(&dropped->api);
    cx_free(&dropped);
}

static granter *find_granter(const node_tenures *tenures, const char *node_id)
{
    for (size_t i = 0; i < tenures->granter_count; i++)
        if (strcmp(tenures->granters[i]->node_id, node_id) == 0)
            return tenures->granters[i];
    return NULL;
}

static granter *add_granter(node_tenures *tenures, const char *node_id)
{
    granter *added = cx_alloc(1, sizeof *added);

    added->node_id = cx_strdup(node_id);
    added->holds = 1;
    tenures->granters =
        cx_realloc(tenures->granters, tenures->granter_count + 1, sizeof *tenures->granters);
    tenures->granters[tenures->granter_count++] = added;
    return added;
}

static void set_answers(node_tenures *tenures, granter *asked, bool answers)
{
    bool before = asked->silent_calls < SILENT_CALLS;
    bool told = asked->silent_since_ms != 0 && cx_now_ms() - asked->silent_since_ms >= SILENT_MS;

    if (answers) {
        asked->silent_since_ms = 0;
        asked->silent_calls = 0;
        if (!before)
            tenures->options.changed(tenures->options.arg);
        return;
    }
    if (asked->silent_since_ms == 0)
        asked->silent_since_ms = asked->asked_ms;
    asked->silent_calls++;
    if (!told)
        tenures->options.changed(tenures->options.arg);
}

/* ---- rounds */

static void clear_round(tenure *of)
{
    for (size_t i = 0; i < of->vote_count; i++)
        drop_granter(of->granters[i]);
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
    of->wake_ms = INT64_MAX;
}

static tenure *find_round(node_tenures *tenures, const char *agent, uint64_t round)
{
    tenure *found = cx_map_get(tenures->by_agent, agent);

    return found != NULL && found->round == round ? found : NULL;
}

static void send_release(node_tenures *tenures, granter *to, const char *agent, int64_t fence);

/* What was granted in a round that came to nothing: else it is blocked for others for a while. */
static void give_back(tenure *of)
{
    if (of->claim.had_tenure) /* may be counted on by nobody else, and we come again */
        return;
    for (size_t i = 0; i < of->vote_count; i++)
        if (of->votes[i].kind == CX_VOTE_GRANTED)
            send_release(of->tenures, of->granters[i], of->agent, of->round_fence);
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

static void take_vote(node_tenures *tenures, const char *agent, uint64_t round, const granter *from,
                      const cx_lease_vote *vote)
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
        take_vote(own->tenures, own->agent, own->round, own->tenures->granters[0], &vote);
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

static void ignore_result(const node_lease_result *result, const cx_err *err, void *arg)
{
    (void)result;
    (void)err;
    (void)arg;
}

/* ---- to the others */

static bool read_votes(bundle *sent, const json_t *answer, cx_err *err)
{
    const json_t *votes = json_object_get(answer, "claims");
    int64_t expected = 0;

    if (strcmp(cx_json_text_or_empty(answer, "node_id"), sent->to->node_id) != 0 ||
        json_array_size(votes) != sent->claims.claim_count)
        return cx_fail(err, CX_PROTOCOL, "its answer is none to these claims");
    if (!cx_json_need_int(answer, "answer", "expected", 0, CX_CLAIM_NODES_MAX, &expected, err))
        return false;
    for (size_t i = 0; i < sent->claims.claim_count; i++) {
        CX_AUTO(cx_free) char *where = cx_format("claims[%zu]", i);
        cx_lease_vote vote = {.expected = expected};

        if (!node_vote_parse(json_array_get(votes, i), where, sent->claims.claims[i].agent, &vote,
                             err))
            return false;
        take_vote(sent->tenures, sent->claims.claims[i].agent, sent->rounds[i], sent->to, &vote);
    }
    return true;
}

static bool take_answer(bundle *sent, const cx_http_answer *answer, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *document = NULL;

    if (answer->status == 0) {
        *err = sent->tls.error.code != CX_OK ? sent->tls.error : answer->error;
        return false;
    }
    if (!cx_json_parse(cx_buffer_bytes(&answer->body), ANSWER_MAX, sent->to->node_id, &document,
                       err))
        return false;
    if (answer->status != 200)
        return cx_err_from_json(document, err);
    return read_votes(sent, document, err);
}

static void free_bundle(bundle *sent)
{
    drop_granter(sent->to);
    node_claims_free(&sent->claims);
    cx_free(&sent->rounds);
    cx_free(&sent->url);
    cx_free(&sent);
}

static void tell_if_ended(node_tenures *tenures)
{
    void (*ended)(void *) = tenures->ended;

    if (ended == NULL || tenures->calls > 0)
        return;
    tenures->ended = NULL;
    ended(tenures->ended_arg);
}

static void on_answer(cx_http_answer *answer, void *arg)
{
    bundle *sent = arg;
    node_tenures *tenures = sent->tenures;
    const cx_lease_vote failed = {.kind = CX_VOTE_FAILED};
    cx_err err;

    tenures->calls--;
    if (!tenures->closing) {
        bool good = take_answer(sent, answer, &err);

        set_answers(tenures, sent->to, answer->status != 0);
        if (!good) {
            if (sent->to->silent_calls <= 1)
                cx_log_write(tenures->options.log, CX_INFO, "granter_failed", "{s:s, s:o}", "node",
                             sent->to->node_id, "reason", cx_json_text(err.message));
            for (size_t i = 0; i < sent->claims.claim_count; i++)
                take_vote(tenures, sent->claims.claims[i].agent, sent->rounds[i], sent->to,
                          &failed);
        }
        tell_if_ended(tenures);
    }
    free_bundle(sent);
}

static bundle *new_bundle(node_tenures *tenures, granter *to)
{
    bundle *made = cx_alloc(1, sizeof *made);

    made->tenures = tenures;
    made->to = to;
    made->claims.ttl_ms = NODE_TENURE_TTL_MS;
    to->holds++;
    return made;
}

/* Takes the bundle. */
static void post(bundle *made)
{
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    node_tenures *tenures = made->tenures;
    CX_AUTO(cx_json_free) json_t *json = node_claims_to_json(&made->claims);
    CX_AUTO(cx_free) char *text = cx_json_line(json);

    made->to->asked_ms = cx_now_ms();
    made->url = cx_format("https://%s/api/v1/leases", made->to->api);
    made->tls = (cx_tls_peer){.tls = tenures->options.tls, .node_id = made->to->node_id};
    tenures->calls++;
    cx_http_loop_start(tenures->http,
                       &(cx_http_request){.method = "POST",
                                          .url = made->url,
                                          .headers = headers,
                                          .body = cx_bytes_of(text),
                                          .answer_max = ANSWER_MAX,
                                          .timeout_ms = CALL_MS,
                                          .connect_timeout_ms = CONNECT_MS,
                                          .tls_hook = cx_tls_client_hook,
                                          .tls_arg = &made->tls},
                       on_answer, made);
}

static void send_release(node_tenures *tenures, granter *to, const char *agent, int64_t fence)
{
    bundle *made;

    if (to->api == NULL) {
        node_leases_release_agent(tenures->options.leases, agent, tenures->owner, fence,
                                  ignore_result, NULL);
        return;
    }
    if (to->gone)
        return;
    made = new_bundle(tenures, to);
    node_claims_add_release(&made->claims, agent, fence);
    post(made);
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

        if (count == 0 && (!tenures->watch || now_ms - to->asked_ms < HEARTBEAT_MS))
            continue;
        made = new_bundle(tenures, to);
        made->rounds = cx_alloc(count + 1, sizeof *made->rounds);
        for (size_t j = 0; j < count; j++) {
            made->rounds[j] = begun[j]->round;
            node_claims_add(&made->claims, begun[j]->agent, begun[j]->round_fence);
        }
        post(made);
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
    tell_if_ended(tenures);
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
    add_granter(tenures, options->node_id);
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
        drop_granter(tenures->granters[i]);
    cx_free(&tenures->granters);
    event_free(tenures->tick);
    event_free(tenures->farewell);
    cx_free(&tenures->owner);
    cx_free(owner);
}

static void list_granter(node_tenures *tenures, const json_t *member)
{
    const char *node_id = cx_json_text_or_empty(member, "node_id");
    const char *api = cx_api_member_address(member);
    CX_AUTO(cx_free) char *host = NULL;
    uint16_t port = 0;
    granter *known;
    cx_err ignored;

    if (strcmp(node_id, tenures->options.node_id) == 0 || !cx_check_id("node", node_id, &ignored) ||
        strcmp(cx_json_text_or_empty(member, "status"), "left") == 0 ||
        !cx_parse_host_port(api, 0, &host, &port, &ignored) ||
        tenures->granter_count >= CX_CLAIM_NODES_MAX)
        return;
    known = find_granter(tenures, node_id);
    if (known == NULL)
        known = add_granter(tenures, node_id);
    known->listed = true;
    if (known->api == NULL || strcmp(known->api, api) != 0) {
        cx_free(&known->api);
        known->api = cx_strdup(api);
    }
}

void node_tenures_members(node_tenures *tenures, const json_t *answer)
{
    const json_t *member;
    size_t at, kept = 1;

    if (answer == NULL)
        return;
    json_array_foreach (json_object_get(answer, "members"), at, member)
        list_granter(tenures, member);
    for (size_t i = 1; i < tenures->granter_count; i++) {
        granter *each = tenures->granters[i];

        if (each->listed) {
            each->listed = false;
            tenures->granters[kept++] = each;
        } else {
            each->gone = true;
            drop_granter(each);
        }
    }
    tenures->granter_count = kept;
}

void node_tenures_watch(node_tenures *tenures, bool watch)
{
    tenures->watch = watch;
}

bool node_tenures_answers(const node_tenures *tenures, const char *node_id)
{
    const granter *asked = find_granter(tenures, node_id);

    return asked == NULL || asked->silent_calls < SILENT_CALLS ||
           cx_now_ms() - asked->silent_since_ms < SILENT_MS;
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

/* Adds what is given back to one request a node. */
static void release(tenure *of, bundle **bundles)
{
    node_tenures *tenures = of->tenures;
    int64_t fence = of->claim.fence > of->round_fence ? of->claim.fence : of->round_fence;

    node_leases_release_agent(tenures->options.leases, of->agent, tenures->owner, fence,
                              ignore_result, NULL);
    for (size_t i = 1; i < tenures->granter_count; i++) {
        if (bundles[i] == NULL)
            bundles[i] = new_bundle(tenures, tenures->granters[i]);
        node_claims_add_release(&bundles[i]->claims, of->agent, fence);
    }
}

static void post_all(node_tenures *tenures, bundle **bundles)
{
    for (size_t i = 1; i < tenures->granter_count; i++)
        if (bundles[i] != NULL)
            post(bundles[i]);
}

void node_tenures_release(node_tenures *tenures, const char *agent)
{
    tenure *of = cx_map_remove(tenures->by_agent, agent);
    CX_AUTO(cx_free) bundle **bundles = cx_alloc(tenures->granter_count, sizeof *bundles);

    if (of == NULL)
        return;
    release(of, bundles);
    free_tenure(of);
    post_all(tenures, bundles);
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
    CX_AUTO(cx_free) bundle **bundles = cx_alloc(tenures->granter_count, sizeof *bundles);
    size_t cursor = 0;
    void *value = NULL;

    tenures->ending = true;
    tenures->ended = done;
    tenures->ended_arg = arg;
    while (cx_map_next(tenures->by_agent, &cursor, NULL, &value))
        release(value, bundles);
    post_all(tenures, bundles);
    node_timer_set(tenures->farewell, FAREWELL_MS);
    tell_if_ended(tenures);
}
