#include "lease/client.h"

#include <inttypes.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/http.h"
#include "base/io.h"
#include "base/text.h"
#include "base/time.h"
#include "lease/grant.h"
#include "lease/holder.h"

enum {
    TRANSFERS_MAX = 64,
    TICK_MS = 50, /* how soon a blocking call notices a signal or its deadline */
    SPLIT_PATIENCE_MS =
        3000, /* contenders of the same moment part ways in this time, wait or not */
    GIVE_BACK_MS = 1000,
    REMARK_MS = 10000,
    REASON_MAX = 500,
    STOP_MIN_MS = 1000, /* between SIGTERM and SIGKILL, even for a lease that ran out long ago */
    MS_PER_SECOND = 1000,
};

struct granter {
    json_t *answer; /* of this round */
    cx_err error;
};

struct cx_lease_client {
    cx_api *api;
    cx_api_nodes nodes;
    char *name, *owner, *reason, *path;
    cx_mark mark;
    struct event_base *loop;
    cx_http_loop *http;
    struct event *wake, *tick;
    int wake_fd;

    cx_claim claim;
    cx_claim_verdict verdict;
    cx_lease_vote *votes;
    struct granter *granters;
    unsigned round;
    bool round_open; /* votes are awaited; else the next round begins when wake comes */
    bool settled;    /* for acquire: the verdict is one to look at */
    bool lost;
    bool closing;
    int64_t tried_fence; /* of the last round */
    size_t giving_back;  /* releases under way */
    size_t given_back;   /* answered well */
    cx_err lost_why;
    cx_lease_lost *on_lost;
    void *lost_arg;
};

/* One message under way. */
struct message {
    cx_lease_client *client;
    size_t granter;
    unsigned round;
};

/* ---- what granters say */

static bool read_vote(const json_t *answer, cx_lease_vote *vote, cx_err *err)
{
    bool granted = false;
    const json_t *holder = json_object_get(answer, "holder");
    json_int_t fence = json_integer_value(json_object_get(answer, "fence"));
    json_int_t last_fence = json_integer_value(json_object_get(answer, "last_fence"));
    double expires = json_number_value(json_object_get(answer, "expires_in_seconds"));

    if (!json_is_boolean(json_object_get(answer, "granted")) ||
        !cx_json_get_bool(answer, "answer", "granted", &granted, err) || fence < 0 ||
        fence > CX_LEASE_FENCE_MAX || last_fence < 0 || last_fence >= CX_LEASE_FENCE_MAX)
        return cx_fail(err, CX_PROTOCOL, "its answer is no answer about a lease");
    *vote = (cx_lease_vote){
        .kind = granted ? CX_VOTE_GRANTED : CX_VOTE_REFUSED,
        .fence = granted ? fence : 0,
        .last_fence = last_fence,
        .expected = json_integer_value(json_object_get(answer, "expected")),
        .holder = cx_json_text_or_empty(holder, "owner"),
        .holder_fence = granted ? 0 : fence,
        .expires_in_ms =
            expires > 0 && expires < CX_LEASE_TTL_MAX_MS ? (int64_t)(expires * MS_PER_SECOND) : 0,
    };
    return true;
}

/* A node that is reached by two addresses has one vote. */
static bool has_voted(const cx_lease_client *client, size_t granter, const json_t *answer)
{
    const char *node_id = cx_json_text_or_empty(answer, "node_id");

    for (size_t i = 0; i < client->nodes.count; i++)
        if (i != granter && client->granters[i].answer != NULL &&
            strcmp(cx_json_text_or_empty(client->granters[i].answer, "node_id"), node_id) == 0)
            return true;
    return false;
}

static void take_vote(cx_lease_client *client, size_t granter, json_t **answer, const cx_err *error)
{
    struct granter *from = &client->granters[granter];
    cx_lease_vote *vote = &client->votes[granter];

    vote->kind = CX_VOTE_FAILED;
    if (*answer == NULL) {
        from->error = *error;
    } else if (has_voted(client, granter, *answer)) {
        cx_fail(&from->error, CX_INVALID, "%s: is named twice",
                cx_api_node_name(&client->nodes.items[granter]));
    } else if (!read_vote(*answer, vote, &from->error)) {
        vote->kind = CX_VOTE_FAILED;
        cx_wrap(&from->error, "%s", cx_api_node_name(&client->nodes.items[granter]));
    } else {
        from->answer = CX_TAKE(*answer);
    }
}

/* ---- messages */

static void set_wake(cx_lease_client *client, int64_t at_ms)
{
    struct itimerspec when = {0};

    if (at_ms == INT64_MAX) {
        timerfd_settime(client->wake_fd, TFD_TIMER_ABSTIME, &when, NULL);
        return;
    }
    /* 0 would turn it off. */
    at_ms = at_ms > 0 ? at_ms : 1;
    when.it_value.tv_sec = at_ms / MS_PER_SECOND;
    when.it_value.tv_nsec = at_ms % MS_PER_SECOND * 1000000;
    timerfd_settime(client->wake_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static struct message *new_message(cx_lease_client *client, size_t granter)
{
    struct message *message = cx_alloc(1, sizeof *message);

    *message = (struct message){.client = client, .granter = granter, .round = client->round};
    return message;
}

static void on_given_back(json_t **answer, const cx_err *error, void *arg)
{
    struct message *message = arg;

    (void)error;
    message->client->giving_back--;
    message->client->given_back += *answer != NULL;
    cx_free(&message);
}

static void send_release(cx_lease_client *client, size_t granter, int64_t fence)
{
    CX_AUTO(cx_json_free)
    json_t *body = json_pack("{s:s, s:I}", "owner", client->owner, "fence", (json_int_t)fence);

    client->giving_back++;
    cx_api_call_on(client->api, client->http, &client->nodes.items[granter], "DELETE", client->path,
                   body, CX_LEASE_CALL_MS, on_given_back, new_message(client, granter));
}

/* What was asked for in vain; of those that did not answer nobody knows. */
static void give_back(cx_lease_client *client)
{
    if (client->claim.had_tenure)
        return;
    for (size_t i = 0; i < client->nodes.count; i++)
        if (client->votes[i].kind != CX_VOTE_REFUSED &&
            !(client->votes[i].kind == CX_VOTE_FAILED &&
              client->granters[i].error.code == CX_UNAVAILABLE))
            send_release(client, i, client->tried_fence);
}

static json_t *claim_body(const cx_lease_client *client, int64_t fence)
{
    char ttl[CX_TIME_TEXT_SIZE];
    json_t *body = json_pack("{s:s, s:s, s:o, s:I}", "owner", client->owner, "ttl",
                             cx_duration_text(client->claim.ttl_ms, ttl), "reason",
                             cx_json_text(client->reason), "fence", (json_int_t)fence);

    cx_mark_put(body, &client->mark);
    if (json_is_null(json_object_get(body, "started_at")))
        json_object_del(body, "started_at");
    return body;
}

static void step(cx_lease_client *client);

static void on_vote(json_t **answer, const cx_err *error, void *arg)
{
    struct message *message = arg;
    cx_lease_client *client = message->client;
    size_t granter = message->granter;
    bool awaited = !client->closing && client->round_open && message->round == client->round &&
                   client->votes[granter].kind == CX_VOTE_PENDING;

    cx_free(&message);
    if (!awaited)
        return;
    take_vote(client, granter, answer, error);
    step(client);
}

static void start_round(cx_lease_client *client)
{
    CX_AUTO(cx_json_free) json_t *body = NULL;

    client->tried_fence = cx_claim_begin(&client->claim, cx_boot_ms());
    client->round++;
    client->round_open = true;
    body = claim_body(client, client->tried_fence);
    for (size_t i = 0; i < client->nodes.count; i++) {
        cx_json_free(&client->granters[i].answer);
        client->granters[i].error = (cx_err){0};
        client->votes[i] = (cx_lease_vote){.kind = CX_VOTE_PENDING};
    }
    /* Apart from the loop above: one without an address answers at once. */
    for (size_t i = 0; i < client->nodes.count && client->round_open; i++)
        cx_api_call_on(client->api, client->http, &client->nodes.items[i], "POST", client->path,
                       body, cx_claim_patience_ms(&client->claim), on_vote, new_message(client, i));
    if (client->round_open)
        step(client);
}

/* ---- verdicts */

static bool fail_lost(const cx_lease_client *client, cx_err *err)
{
    if (client->verdict.holder != NULL) {
        CX_AUTO(cx_free)
        char *holder = cx_lease_holder_text(
            json_object_get(client->granters[client->verdict.vote].answer, "holder"));

        return cx_fail(err, CX_BUSY, "lease %s is lost: it is %s's now", client->name, holder);
    }
    for (size_t i = 0; i < client->nodes.count; i++)
        if (client->votes[i].kind == CX_VOTE_REFUSED)
            return cx_fail(err, CX_BUSY, "lease %s is lost: it was cleared", client->name);
    return cx_fail(err, CX_NO_MAJORITY,
                   "lease %s is lost: too few of %" PRId64 " nodes renewed it in time",
                   client->name, client->claim.expected);
}

static int64_t stop_within_ms(const cx_lease_client *client)
{
    int64_t left_ms = client->claim.valid_until_ms - cx_boot_ms();

    if (left_ms < STOP_MIN_MS)
        return STOP_MIN_MS;
    return left_ms < CX_CLAIM_GRACE_MAX_MS ? left_ms : CX_CLAIM_GRACE_MAX_MS;
}

static void lose(cx_lease_client *client)
{
    client->lost = true;
    fail_lost(client, &client->lost_why);
    set_wake(client, INT64_MAX);
    if (client->on_lost != NULL)
        client->on_lost(&client->lost_why, stop_within_ms(client), client->lost_arg);
}

static void step(cx_lease_client *client)
{
    client->verdict =
        cx_claim_judge(&client->claim, client->votes, client->nodes.count, cx_boot_ms());
    client->round_open = client->verdict.kind == CX_CLAIM_WAIT;
    set_wake(client, client->verdict.wake_at_ms);
    switch (client->verdict.kind) {
    case CX_CLAIM_WAIT: return;
    case CX_CLAIM_CONFIRM: start_round(client); return;
    case CX_CLAIM_HELD:
    case CX_CLAIM_RENEW: break;
    case CX_CLAIM_BUSY:
    case CX_CLAIM_SPLIT:
    case CX_CLAIM_SILENT:
        give_back(client);
        set_wake(client, INT64_MAX); /* acquire decides whether there is another try */
        break;
    case CX_CLAIM_LOST: lose(client); break;
    }
    client->settled = true;
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    cx_lease_client *client = arg;
    uint64_t times;

    (void)what;
    if (read(fd, &times, sizeof times) < 0 || client->lost)
        return;
    if (client->round_open)
        step(client);
    else
        start_round(client);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg; /* it only ends one turn of the loop */
}

/* ---- blocking */

static bool is_settled(const cx_lease_client *client)
{
    return client->settled;
}

static bool is_between_rounds(const cx_lease_client *client)
{
    return client->lost || !client->round_open;
}

static bool never(const cx_lease_client *client)
{
    (void)client;
    return false;
}

/* Runs the loop until the condition holds or the time has come; fails only when interrupted. */
static bool run_until(cx_lease_client *client, bool (*holds)(const cx_lease_client *client),
                      int64_t until_ms, cx_err *err)
{
    struct timeval tick = {0, TICK_MS * 1000};
    bool interrupted = false;

    event_add(client->tick, &tick);
    while (!holds(client) && cx_boot_ms() < until_ms && !interrupted) {
        event_base_loop(client->loop, EVLOOP_ONCE);
        interrupted = cx_interrupted();
    }
    event_del(client->tick);
    return !interrupted || cx_fail(err, CX_INTERRUPTED, "interrupted");
}

/* Waits for releases, so that nothing is left behind, whatever signal came; once a majority knows,
 * the others are not waited for much longer. */
static void wait_given_back(cx_lease_client *client, int64_t wait_ms)
{
    struct timeval tick = {0, TICK_MS * 1000};
    int64_t until_ms = cx_boot_ms() + wait_ms;
    bool enough = false;

    event_add(client->tick, &tick);
    while (client->giving_back > 0 && cx_boot_ms() < until_ms) {
        event_base_loop(client->loop, EVLOOP_ONCE);
        if (!enough && (int64_t)client->given_back >= cx_claim_majority(&client->claim)) {
            enough = true;
            until_ms = cx_boot_ms() + CX_CLAIM_STRAGGLERS_MS;
        }
    }
    event_del(client->tick);
}

/* ---- acquire */

/* A refusal that another try will not change. */
static bool is_permanent(cx_code code)
{
    return code == CX_PERMISSION || code == CX_UNAUTHENTICATED || code == CX_CERT_EXPIRED ||
           code == CX_CERT_INVALID || code == CX_REVOKED || code == CX_INVALID ||
           code == CX_USAGE || code == CX_NOT_FOUND;
}

/* The error of the first granter that failed, when all who failed did so for good. */
static const cx_err *permanent_error(const cx_lease_client *client)
{
    const cx_err *first = NULL;

    for (size_t i = 0; i < client->nodes.count; i++) {
        if (client->votes[i].kind != CX_VOTE_FAILED)
            continue;
        if (!is_permanent(client->granters[i].error.code))
            return NULL;
        if (first == NULL)
            first = &client->granters[i].error;
    }
    return first;
}

static bool fail_silent(const cx_lease_client *client, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer who = {0};
    const cx_err *permanent = permanent_error(client);
    size_t answered = 0;

    if (permanent != NULL) {
        *err = *permanent;
        return false;
    }
    cx_buffer_add_text(&who, "");
    for (size_t i = 0; i < client->nodes.count; i++) {
        answered += client->granters[i].answer != NULL;
        if (client->granters[i].error.code != CX_OK)
            cx_buffer_addf(&who, "; %s", client->granters[i].error.message);
        else if (client->granters[i].answer == NULL)
            cx_buffer_addf(&who, "; %s: no answer yet", cx_api_node_name(&client->nodes.items[i]));
    }
    cx_fail(err, CX_NO_MAJORITY,
            "lease %s: %zu of %" PRId64 " nodes answer, %" PRId64 " are needed%s", client->name,
            answered, client->claim.expected, cx_claim_majority(&client->claim),
            who.data != NULL ? (const char *)who.data : "");
    return cx_hint(err, "cx-gossip members shows who is alive");
}

static bool fail_busy(const cx_lease_client *client, cx_err *err)
{
    const json_t *answer = client->granters[client->verdict.vote].answer;
    CX_AUTO(cx_free) char *holder = cx_lease_holder_text(json_object_get(answer, "holder"));

    cx_fail(err, CX_BUSY, "lease %s: held by %s", client->name, holder);
    return cx_hint(err, "it expires in %.0f s unless renewed; --wait DUR waits for it",
                   json_number_value(json_object_get(answer, "expires_in_seconds")));
}

static bool fail_verdict(const cx_lease_client *client, cx_err *err)
{
    switch (client->verdict.kind) {
    case CX_CLAIM_BUSY: return fail_busy(client, err);
    case CX_CLAIM_SILENT: return fail_silent(client, err);
    default:
        return cx_fail(err, CX_BUSY, "lease %s: others ask for it at the same time",
                       client->name) ||
               cx_hint(err, "--wait DUR tries for longer");
    }
}

/* A person who waits is told for whom, when that changes and now and then. */
struct waiting {
    cx_lease_remark *remark;
    void *arg;
    char last[sizeof(((cx_err *)0)->message)];
    int64_t told_ms;
};

static void tell(struct waiting *waiting, const cx_err *why)
{
    int64_t now_ms = cx_boot_ms();

    if (waiting->remark == NULL ||
        (strcmp(waiting->last, why->message) == 0 && now_ms - waiting->told_ms < REMARK_MS))
        return;
    memcpy(waiting->last, why->message, sizeof waiting->last);
    waiting->told_ms = now_ms;

    CX_AUTO(cx_free) char *text = cx_format("waiting: %s", why->message);

    waiting->remark(text, waiting->arg);
}

/* ---- opening */

static char *clean_reason(const char *reason)
{
    char *clean = cx_strndup(reason != NULL ? reason : "", REASON_MAX);

    for (char *at = clean; *at != '\0'; at++)
        if ((unsigned char)*at < ' ' || *at == '\x7f')
            *at = ' ';
    return clean;
}

static bool open_loop(cx_lease_client *client, cx_err *err)
{
    client->loop = event_base_new();
    client->wake_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (client->loop == NULL || client->wake_fd < 0)
        return cx_fail(err, CX_INTERNAL, "no event loop");
    client->http = cx_http_loop_open(client->loop, TRANSFERS_MAX);
    client->wake = event_new(client->loop, client->wake_fd, EV_READ | EV_PERSIST, on_wake, client);
    client->tick = event_new(client->loop, -1, EV_PERSIST, on_tick, client);
    if (client->wake == NULL || client->tick == NULL || event_add(client->wake, NULL) < 0)
        return cx_fail(err, CX_INTERNAL, "no events");
    return true;
}

/* ---- public */

bool cx_lease_granters(cx_api *api, int64_t timeout_ms, cx_api_nodes *nodes, int64_t *expected,
                       cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *cluster = NULL;
    size_t at;
    json_t *member;

    if (!cx_api_cluster(api, timeout_ms, &cluster, err))
        return cx_wrap(err, "find the members");
    json_array_foreach (json_object_get(cluster, "members"), at, member) {
        const char *status = cx_json_text_or_empty(member, "status");
        const char *node_id = cx_json_text_or_empty(member, "node_id");
        const char *address = cx_api_member_address(member);

        if (strcmp(status, "left") != 0 && address[0] != '\0' &&
            cx_check_id("node_id", node_id, err))
            cx_api_nodes_add(nodes, node_id, address, status);
    }
    if (nodes->count == 0)
        return cx_fail(err, CX_UNAVAILABLE, "no member has a node API") ||
               cx_hint(err, "is cx-node running? cx-gossip members shows who is there");
    *expected = cx_api_config(api)->bootstrap_expect;
    if ((int64_t)nodes->count > *expected)
        *expected = (int64_t)nodes->count;
    return true;
}

bool cx_lease_open(cx_api *api, const cx_api_nodes *nodes, int64_t expected,
                   const cx_lease_request *request, cx_lease_client **result, cx_err *err)
{
    CX_AUTO(cx_lease_close) cx_lease_client *client = cx_alloc(1, sizeof *client);
    uint64_t seed;

    client->wake_fd = -1;
    if (!cx_check_id("lease name", request->name, err))
        return false;
    if (request->ttl_ms < CX_LEASE_TTL_MIN_MS || request->ttl_ms > CX_LEASE_TTL_MAX_MS)
        return cx_fail(err, CX_INVALID, "ttl: 1s to 24h");
    client->api = api;
    client->name = cx_strdup(request->name);
    client->owner = cx_strdup(request->owner);
    client->reason = clean_reason(request->reason);
    client->path = cx_format("/api/v1/leases/%s", request->name);
    client->mark = request->mark;
    for (size_t i = 0; i < nodes->count; i++)
        cx_api_nodes_add(&client->nodes, nodes->items[i].node_id, nodes->items[i].api_addr,
                         nodes->items[i].status);
    client->votes = cx_alloc(nodes->count, sizeof *client->votes);
    client->granters = cx_alloc(nodes->count, sizeof *client->granters);
    cx_random(&seed, sizeof seed);
    client->claim = cx_claim_new(request->ttl_ms, expected, cx_rng_seed(seed));
    if (!open_loop(client, err))
        return false;
    *result = CX_TAKE(client);
    return true;
}

void cx_lease_close(cx_lease_client **owner)
{
    cx_lease_client *client = *owner;

    if (client == NULL)
        return;
    client->closing = true;
    cx_http_loop_close(&client->http);
    if (client->wake != NULL)
        event_free(client->wake);
    if (client->tick != NULL)
        event_free(client->tick);
    if (client->loop != NULL)
        event_base_free(client->loop);
    cx_fd_close(&client->wake_fd);
    for (size_t i = 0; i < client->nodes.count && client->granters != NULL; i++)
        cx_json_free(&client->granters[i].answer);
    cx_free(&client->granters);
    cx_free(&client->votes);
    cx_api_nodes_free(&client->nodes);
    cx_free(&client->name);
    cx_free(&client->owner);
    cx_free(&client->reason);
    cx_free(&client->path);
    cx_free(owner);
}

bool cx_lease_acquire(cx_lease_client *client, int64_t wait_ms, cx_lease_remark *remark, void *arg,
                      cx_err *err)
{
    struct waiting waiting = {.remark = remark, .arg = arg};
    int64_t started_ms = cx_boot_ms();
    int64_t deadline_ms = started_ms + wait_ms;
    int64_t last_ms =
        deadline_ms > started_ms + SPLIT_PATIENCE_MS ? deadline_ms : started_ms + SPLIT_PATIENCE_MS;

    while (true) {
        client->settled = false;
        start_round(client);
        if (!run_until(client, is_settled, INT64_MAX, err))
            break;
        if (client->verdict.kind == CX_CLAIM_HELD)
            return true;
        fail_verdict(client, err);
        if (cx_boot_ms() >= (client->verdict.kind == CX_CLAIM_SPLIT ? last_ms : deadline_ms) ||
            is_permanent(err->code))
            break;
        tell(&waiting, err);

        int64_t again_ms = client->verdict.wake_at_ms;

        if (client->verdict.kind != CX_CLAIM_SPLIT && again_ms > deadline_ms)
            again_ms = deadline_ms; /* one last try */
        if (!run_until(client, never, again_ms, err))
            break;
    }
    if (err->code == CX_INTERRUPTED) /* in the midst of a round */
        give_back(client);
    client->round_open = false;
    client->round++;
    client->given_back = 0;
    wait_given_back(client, GIVE_BACK_MS);
    return false;
}

int64_t cx_lease_fence(const cx_lease_client *client)
{
    return client->claim.fence;
}

int64_t cx_lease_valid_ms(const cx_lease_client *client)
{
    int64_t left_ms = client->claim.valid_until_ms - cx_boot_ms();

    return client->claim.phase == CX_CLAIM_HOLDING && left_ms > 0 ? left_ms : 0;
}

json_t *cx_lease_describe(const cx_lease_client *client)
{
    int64_t valid_ms = cx_lease_valid_ms(client);
    json_t *granted = json_array();

    for (size_t i = 0; i < client->nodes.count; i++)
        if (client->votes[i].kind == CX_VOTE_GRANTED)
            json_array_append_new(granted, cx_json_text(cx_json_text_or_empty(
                                               client->granters[i].answer, "node_id")));
    return json_pack("{s:s, s:s, s:I, s:o, s:o, s:I, s:I, s:o}", "name", client->name, "owner",
                     client->owner, "fence", (json_int_t)client->claim.fence, "expires_at",
                     cx_json_time(cx_wall_ms() + valid_ms), "valid_seconds",
                     cx_json_figure((double)valid_ms / MS_PER_SECOND), "expected",
                     (json_int_t)client->claim.expected, "majority",
                     (json_int_t)cx_claim_majority(&client->claim), "granted_by", granted);
}

struct event_base *cx_lease_loop(cx_lease_client *client)
{
    return client->loop;
}

bool cx_lease_tend(cx_lease_client *client, cx_err *err)
{
    int64_t patience_ms = cx_claim_patience_ms(&client->claim);

    event_base_loop(client->loop, EVLOOP_NONBLOCK);
    if (!run_until(client, is_between_rounds, cx_boot_ms() + patience_ms, err))
        return false;
    if (client->lost) {
        *err = client->lost_why;
        return false;
    }
    return true;
}

void cx_lease_on_lost(cx_lease_client *client, cx_lease_lost *lost, void *arg)
{
    client->on_lost = lost;
    client->lost_arg = arg;
}

bool cx_lease_release(cx_lease_client *client, cx_err *err)
{
    client->round_open = false;
    client->round++; /* what a renewal under way brings is of no interest any more */
    client->claim.phase = CX_CLAIM_OVER;
    set_wake(client, INT64_MAX);
    if (client->claim.fence == 0)
        return true;
    client->given_back = 0;
    for (size_t i = 0; i < client->nodes.count; i++)
        send_release(client, i, client->claim.fence);

    wait_given_back(client, CX_LEASE_CALL_MS);
    if ((int64_t)client->given_back >= cx_claim_majority(&client->claim))
        return true;
    return cx_fail(err, CX_NO_MAJORITY, "release %s: %zu of %" PRId64 " nodes know of it",
                   client->name, client->given_back, client->claim.expected) ||
           cx_hint(err, "on the others it expires by itself");
}
