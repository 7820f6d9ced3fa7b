/* POST /api/v1/leases: another node asks for, renews and gives back the leases of its agents with
 * placement any, all in one request. */
#include <string.h>

#include "call.h"
#include "claims.h"

/* A request under way: its votes arrive one by one, each durable. */
typedef struct claiming {
    node_call *call;
    node_claims asked;
    json_t **votes;
    size_t outstanding;
    cx_err err; /* of the first that could not be made durable */
} claiming;

typedef struct claiming_one {
    claiming *whole;
    size_t at; /* of the claims; else a release */
    bool is_claim;
} claiming_one;

static void end_if_all(claiming *whole)
{
    node_call *call = whole->call;
    json_t *votes;

    if (--whole->outstanding > 0)
        return;
    if (whole->err.code != CX_OK) {
        node_answer_error(call, &whole->err);
    } else {
        votes = json_array();
        for (size_t i = 0; i < whole->asked.claim_count; i++)
            json_array_append(votes, whole->votes[i]);
        node_answer(call, 200,
                    json_pack("{s:s, s:I, s:o}", "node_id", call->node->config->node_id, "expected",
                              (json_int_t)node_leases_expected(call->node->leases), "claims",
                              votes));
    }
    for (size_t i = 0; i < whole->asked.claim_count; i++)
        cx_json_free(&whole->votes[i]);
    cx_free(&whole->votes);
    node_claims_free(&whole->asked);
    cx_free(&whole);
}

static void on_input(const node_lease_result *result, const cx_err *err, void *arg)
{
    claiming_one *one = arg;
    claiming *whole = one->whole;

    if (err != NULL && whole->err.code == CX_OK)
        whole->err = *err;
    if (err == NULL && one->is_claim) {
        cx_lease_vote vote = node_leases_vote(result);

        whole->votes[one->at] = node_vote_to_json(whole->asked.claims[one->at].agent, &vote);
    }
    cx_free(&one);
    end_if_all(whole);
}

static void input(claiming *whole, bool is_claim, size_t at)
{
    const node_claim *asked = is_claim ? &whole->asked.claims[at] : &whole->asked.releases[at];
    claiming_one *one = cx_alloc(1, sizeof *one);

    *one = (claiming_one){.whole = whole, .at = at, .is_claim = is_claim};
    if (is_claim)
        node_leases_claim_agent(whole->call->node->leases, asked->agent, whole->call->who_text,
                                asked->fence, whole->asked.ttl_ms, on_input, one);
    else
        node_leases_release_agent(whole->call->node->leases, asked->agent, whole->call->who_text,
                                  asked->fence, on_input, one);
}

void node_post_claims(node_call *call)
{
    CX_AUTO(cx_json_free) json_t *body = NULL;
    claiming *whole;
    node_claims asked = {0};
    cx_err err;

    if (call->who.kind != CX_IDENTITY_NODE) {
        cx_fail(&err, CX_PERMISSION, "%s may not claim agents: nodes do", call->who_text);
        node_answer_error(call, &err);
        return;
    }
    if (!cx_json_parse(cx_exchange_body(call->exchange), NODE_CLAIMS_BYTES_MAX, "claims", &body,
                       &err) ||
        !node_claims_parse(body, &asked, &err)) {
        node_claims_free(&asked);
        node_answer_error(call, &err);
        return;
    }
    whole = cx_alloc(1, sizeof *whole);
    whole->call = call;
    whole->asked = asked;
    whole->votes = cx_alloc(asked.claim_count + 1, sizeof *whole->votes);
    whole->outstanding = asked.claim_count + asked.release_count + 1;
    /* What is given back first: an agent may be asked for anew in the same request. */
    for (size_t i = 0; i < asked.release_count; i++)
        input(whole, false, i);
    for (size_t i = 0; i < asked.claim_count; i++)
        input(whole, true, i);
    end_if_all(whole);
}
