#include "call.h"

#include <string.h>

static void free_call(node_call *call)
{
    cx_json_free(&call->document);
    cx_free(&call);
}

static void give_answer(void *arg)
{
    node_call *call = arg;

    if (call->exchange != NULL) {
        if (call->status == 503)
            cx_exchange_add_header(call->exchange, "Retry-After", "1");
        cx_exchange_answer_json(call->exchange, call->status, call->document);
    }
    free_call(call);
}

static void audit_and_answer(node_call *call, const char *result, const char *detail)
{
    if (call->route->verb == NULL || call->dry_run) {
        give_answer(call);
        return;
    }
    node_audit_write(call->node->audit,
                     &(node_audit_entry){.who = call->who_text,
                                         .role = call->who.kind == CX_IDENTITY_NODE
                                                     ? "node"
                                                     : cx_role_word(call->who.role),
                                         .from = call->from,
                                         .action = call->route->verb,
                                         .target = call->id,
                                         .result = result,
                                         .detail = detail},
                     give_answer, call);
}

void node_answer(node_call *call, int status, json_t *document)
{
    node_answer_changed(call, true, status, document);
}

void node_answer_changed(node_call *call, bool changed, int status, json_t *document)
{
    call->status = status;
    call->document = document;
    audit_and_answer(call, changed ? "ok" : "unchanged", "");
}

void node_answer_error(node_call *call, const cx_err *err)
{
    /* What we say "usage" to is a method that the path does not know. */
    call->status = err->code == CX_USAGE ? 405 : cx_code_to_http(err->code);
    call->document = cx_err_to_json(err);
    audit_and_answer(call, "failed", err->message);
}

void node_answer_bytes(node_call *call, int status, const char *content_type, cx_bytes body)
{
    if (call->exchange != NULL)
        cx_exchange_answer(call->exchange, status, content_type, body);
    free_call(call);
}
