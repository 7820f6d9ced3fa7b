/* What strangers, peers and agents make the node read: messages, specs, claims, paths, and lines that
 * agents print. What is taken must read the same once it is written again. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/access.h"
#include "node/claims.h"
#include "node/lines.h"
#include "node/message.h"
#include "node/placed.h"

static void try_message(const json_t *json)
{
    CX_AUTO(node_message_free) node_message message = {0};
    CX_AUTO(node_message_free) node_message again = {0};
    CX_AUTO(cx_buffer_free) cx_buffer line = {0};
    CX_AUTO(cx_json_free) json_t *written = NULL;
    CX_AUTO(cx_json_free) json_t *shown = NULL;
    cx_err err;

    if (!node_message_parse(json, "operator/x", true, &message, &err))
        return;
    if (message.id == NULL)
        message.id = cx_strdup("m");
    node_message_deliver(&message, 0, &line);
    assert(memchr(line.data, '\n', line.size) == line.data + line.size - 1);
    cx_buffer_clear(&line);
    node_message_forward(&message, "agent", "node-1", 1, &line);
    written = json_loadb((const char *)line.data, line.size, JSON_DECODE_ANY, NULL);
    assert(written != NULL);
    shown = node_message_to_json(&message, "node-1");
    assert(shown != NULL);
    if (!node_message_parse(written, "operator/x", true, &again, &err))
        abort();
    assert(strcmp(message.content, again.content) == 0);
}

static void try_spec(const json_t *json)
{
    CX_AUTO(node_spec_free) node_spec *spec = NULL;
    CX_AUTO(node_spec_free) node_spec *again = NULL;
    CX_AUTO(cx_json_free) json_t *written = NULL;
    cx_err err;

    if (!node_spec_parse(json, NULL, &spec, &err))
        return;
    written = node_spec_to_json(spec);
    if (!node_spec_parse(written, spec->id, &again, &err) || !node_spec_equal(spec, again))
        abort();
}

static void try_placed(const json_t *json)
{
    CX_AUTO(node_placed_free) node_placed placed = {0};
    CX_AUTO(node_placed_free) node_placed again = {0};
    CX_AUTO(cx_json_free) json_t *written = NULL;
    cx_err err;

    if (!node_placed_parse(json, "placed", &placed, &err))
        return;
    written = node_placed_to_json(&placed);
    if (!node_placed_parse(written, "placed", &again, &err) ||
        node_placed_is_newer(&placed, &again) || node_placed_is_newer(&again, &placed))
        abort();
}

static void try_claims(const json_t *json)
{
    CX_AUTO(node_claims_free) node_claims claims = {0};
    CX_AUTO(node_claims_free) node_claims again = {0};
    CX_AUTO(cx_json_free) json_t *written = NULL;
    cx_lease_vote vote = {0};
    cx_err err;

    (void)!node_vote_parse(json, "claims[0]", "a", &vote, &err);
    if (!node_claims_parse(json, &claims, &err))
        return;
    written = node_claims_to_json(&claims);
    if (!node_claims_parse(written, &again, &err) || claims.claim_count != again.claim_count)
        abort();
}

static void try_lines(cx_bytes bytes)
{
    CX_AUTO(node_lines_free) node_lines lines = {.line_max = 64};
    cx_bytes line = {0};
    node_line_kind kind;

    for (size_t at = 0, piece = 1; at < bytes.size; at += piece, piece = piece % 7 + 1) {
        size_t left = bytes.size - at;

        node_lines_add(&lines, (cx_bytes){bytes.data + at, left < piece ? left : piece});
        while ((kind = node_lines_next(&lines, &line)) != NODE_LINE_NONE)
            assert(kind == NODE_LINE_TOO_LONG || line.size <= 64);
        assert(lines.buffer.size <= 64 + 8);
    }
}

static void try_path(cx_bytes bytes)
{
    CX_AUTO(cx_free) char *path = cx_strndup((const char *)bytes.data, bytes.size);
    char id[NODE_ROUTE_ID_SIZE];
    const node_route *route = NULL;
    cx_err err;

    if (node_route_find("GET", path, id, &route, &err))
        assert(strchr(id, '/') == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cx_bytes bytes = {data, size};
    CX_AUTO(cx_json_free) json_t *json = NULL;
    node_output output = {0};
    cx_err err;

    if (size == 0)
        return 0;
    try_lines(bytes);
    try_path(bytes);
    if (node_output_parse(bytes, "agent", &output, &err))
        node_output_free(&output);
    if (cx_json_parse(bytes, NODE_MESSAGE_MAX, "fuzz", &json, &err)) {
        try_message(json);
        try_spec(json);
        try_placed(json);
        try_claims(json);
    }
    return 0;
}
