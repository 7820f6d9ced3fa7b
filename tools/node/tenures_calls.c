/* The granters, and what goes to them and comes back. */
#include <string.h>

#include "api/client.h"
#include "base/text.h"
#include "base/time.h"
#include "tenures_parts.h"

enum {
    CALL_MS = NODE_TENURE_TTL_MS / 3,
    CONNECT_MS = 1000,
    SILENT_MS = 4000, /* without an answer for so long, and SILENT_CALLS in a row */
    SILENT_CALLS = 3,
    ANSWER_MAX = 4 * 1024 * 1024,
};

/* ---- granters */

void tenures_drop_granter(granter *dropped)
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

granter *tenures_add_granter(node_tenures *tenures, const char *node_id)
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

/* ---- calls */

void tenures_tell_if_ended(node_tenures *tenures)
{
    void (*ended)(void *) = tenures->ended;

    if (ended == NULL || tenures->calls > 0)
        return;
    tenures->ended = NULL;
    ended(tenures->ended_arg);
}

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
        tenures_take_vote(sent->tenures, sent->claims.claims[i].agent, sent->rounds[i], sent->to,
                          &vote);
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
    tenures_drop_granter(sent->to);
    node_claims_free(&sent->claims);
    cx_free(&sent->rounds);
    cx_free(&sent->url);
    cx_free(&sent);
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
                tenures_take_vote(tenures, sent->claims.claims[i].agent, sent->rounds[i], sent->to,
                                  &failed);
        }
        tenures_tell_if_ended(tenures);
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

bundle *tenures_bundle_for(node_tenures *tenures, granter *to)
{
    return to->pending != NULL ? CX_TAKE(to->pending) : new_bundle(tenures, to);
}

void tenures_forget_granter(granter *gone)
{
    bundle *pending = CX_TAKE(gone->pending);

    gone->gone = true;
    if (pending != NULL)
        free_bundle(pending);
    tenures_drop_granter(gone);
}

/* Takes the bundle. */
void tenures_post(bundle *made)
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

void tenures_ignore_result(const node_lease_result *result, const cx_err *err, void *arg)
{
    (void)result;
    (void)err;
    (void)arg;
}

void tenures_add_release(node_tenures *tenures, granter *to, const char *agent, int64_t fence)
{
    if (to->api == NULL) {
        node_leases_release_agent(tenures->options.leases, agent, tenures->owner, fence,
                                  tenures_ignore_result, NULL);
        return;
    }
    if (to->gone)
        return;
    if (to->pending == NULL)
        to->pending = new_bundle(tenures, to);
    node_claims_add_release(&to->pending->claims, agent, fence);
}

/* ---- public */

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
        known = tenures_add_granter(tenures, node_id);
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

    json_array_foreach (json_object_get(answer, "members"), at, member)
        list_granter(tenures, member);
    for (size_t i = 1; i < tenures->granter_count; i++) {
        granter *each = tenures->granters[i];

        if (each->listed) {
            each->listed = false;
            tenures->granters[kept++] = each;
        } else {
            tenures_forget_granter(each);
        }
    }
    tenures->granter_count = kept;
}

bool node_tenures_answers(const node_tenures *tenures, const char *node_id)
{
    const granter *asked = find_granter(tenures, node_id);

    return asked == NULL || asked->silent_calls < SILENT_CALLS ||
           cx_now_ms() - asked->silent_since_ms < SILENT_MS;
}
