/* A node's answer about a batch of messages; and what a node tells of itself, judged. The first line
 * is what was sent. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "api/batch.h"
#include "api/selection.h"
#include "health/check.h"
#include "health/print.h"

static void judge(cx_bytes text)
{
    CX_AUTO(cx_json_free) json_t *document = NULL;
    CX_AUTO(cx_json_free) json_t *checks = json_array();
    CX_AUTO(cx_json_free) json_t *empty = json_object();
    CX_AUTO(cx_buffer_free) cx_buffer printed = {0};
    cx_agent_selection selection = {.inactive_for_ms = 1, .slow_threshold_ms = 1};
    cx_health_policy policy = {0};
    cx_err err = {0};

    if (!cx_json_parse(text, 65536, "fuzz", &document, &err) ||
        !cx_health_policy_read(empty, NULL, &policy, &err))
        return;
    for (size_t i = 0; i < CX_CHECKS; i++)
        policy.rules[i].wanted = true;

    cx_health_node node = {
        .node_id = "n", .node = document, .agents = document, .cluster = document};

    cx_health_check_node(&policy, &node, checks);
    cx_health_check_agents(&policy, &node, checks);
    cx_health_check_certs(&policy, &node, 0, checks);
    cx_health_check_backups(&policy, &node, 0, checks);
    cx_health_check_cluster(&policy, document, NULL, &node, 1, 0, checks);
    cx_health_nagios(checks, &printed);
    cx_health_prometheus(checks, &printed);
    (void)cx_agent_selected(document, &selection, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CX_AUTO(cx_batch_free) cx_batch batch = {0};
    const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
    size_t first = end != NULL ? (size_t)(end - data) : size;
    cx_bytes rest = {data + first, size - first};
    cx_err err = {0};

    judge((cx_bytes){data, size});
    cx_batch_add(&batch, (cx_bytes){data, first}, 1, "echo", "a");
    cx_batch_add(&batch, cx_bytes_of("{}"), 2, "echo", "b");
    if (rest.size > 0)
        rest = (cx_bytes){rest.data + 1, rest.size - 1};
    (void)!cx_batch_answer(&batch, rest, &err);
    return 0;
}
