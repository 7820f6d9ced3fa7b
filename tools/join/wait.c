#include <string.h>
#include <unistd.h>

#include "base/time.h"
#include "gossip/control.h"
#include "join.h"

enum {
    WAIT_MS = 60000,
    TURN_MS = 100,
    REMARK_MS = 5000, /* while it waits, it says for what */
    ASK_MS = 5000,
};

struct wait_options {
    int64_t expect;
};

static const cx_option options[] = {
    {"expect", CX_INT(struct wait_options, expect), "N", NULL,
     "alive members to wait for; default: bootstrap_expect"},
    {0},
};

static size_t count_alive(const json_t *answer, cx_buffer *names)
{
    size_t i, alive = 0;
    json_t *member;

    cx_buffer_clear(names);
    json_array_foreach (json_object_get(answer, "members"), i, member) {
        if (strcmp(cx_json_text_or_empty(member, "status"), "alive") != 0)
            continue;
        cx_buffer_addf(names, "%s%s", alive ? ", " : "", cx_json_text_or_empty(member, "node_id"));
        alive++;
    }
    return alive;
}

/* One look; why is what keeps us waiting. */
static size_t look(const char *socket_path, cx_buffer *why)
{
    CX_AUTO(cx_json_free) json_t *request = json_pack("{s:s}", "command", "members");
    CX_AUTO(cx_json_free) json_t *answer = NULL;
    CX_AUTO(cx_buffer_free) cx_buffer names = {0};
    cx_err err = {0};

    cx_buffer_clear(why);
    if (!cx_control_once(socket_path, request, ASK_MS, &answer, &err)) {
        cx_buffer_addf(why, "%s", err.message);
        return 0;
    }

    size_t alive = count_alive(answer, &names);

    cx_buffer_addf(why, "alive: %s", names.size ? (const char *)names.data : "none");
    return alive;
}

static bool wait_for_members(cx_run *run, const void *parsed, cx_err *err)
{
    const struct wait_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_free) char *socket_path = NULL;
    CX_AUTO(cx_buffer_free) cx_buffer why = {0};
    int64_t timeout_ms = cx_timeout_or(run, WAIT_MS);
    int64_t started_ms = cx_now_ms();
    int64_t remark_ms = started_ms + REMARK_MS;
    size_t alive;

    if (!cx_config_load(run->config_path, false, &config, err))
        return false;

    size_t expect = (size_t)(option->expect ? option->expect : config->bootstrap_expect);

    socket_path = cx_config_run(config, "gossip.sock");
    while ((alive = look(socket_path, &why)) < expect) {
        int64_t now_ms = cx_now_ms();

        if (cx_interrupted())
            return cx_fail(err, CX_INTERRUPTED, "interrupted with %zu of %zu members alive", alive,
                           expect);
        if (now_ms - started_ms >= timeout_ms)
            return cx_fail(err, CX_TIMEOUT, "%zu of %zu members alive after %.1f s (%s)", alive,
                           expect, (double)(now_ms - started_ms) / 1000.0, (char *)why.data);
        if (now_ms >= remark_ms) {
            cx_remark(run, "waiting for %zu members, %zu alive (%s)", expect, alive,
                      (char *)why.data);
            remark_ms = now_ms + REMARK_MS;
        }
        usleep(TURN_MS * 1000);
    }

    CX_AUTO(cx_json_free)
    json_t *result = json_pack("{s:b, s:I, s:I, s:o}", "ok", 1, "alive", (json_int_t)alive,
                               "expected", (json_int_t)expect, "waited_seconds",
                               cx_json_figure((double)(cx_now_ms() - started_ms) / 1000.0));

    return cx_emit(run, result, err);
}

const cx_command join_wait = {
    .name = "wait",
    .summary = "wait until enough members are alive (exit 75 when --timeout, 60s, passes)",
    .options = options,
    .options_size = sizeof(struct wait_options),
    .run = wait_for_members,
};
