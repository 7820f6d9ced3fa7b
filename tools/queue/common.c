#include <string.h>

#include "base/text.h"
#include "base/time.h"
#include "queue.h"

enum {
    PAUSE_MS = 100,
    PAUSE_MS_MAX = 2000,
    PATIENCE_MS = 30000,
    SILENCE_MS = 1000, /* a wait that is longer is told */
    REMARK_MS = 5000,
};

bool queue_open(const cx_run *run, const cx_target *target, bool from_stdin, queue_scope *scope,
                cx_err *err)
{
    scope->timeout_ms = cx_timeout_or(run, CX_API_TIMEOUT_MS);
    return cx_api_start(run, &scope->config, &scope->api, err) &&
           cx_api_targets(scope->api, target, from_stdin, &scope->nodes, err);
}

void queue_close(queue_scope *scope)
{
    cx_api_nodes_free(&scope->nodes);
    cx_api_close(&scope->api);
    cx_config_free(&scope->config);
}

bool queue_dash(const cx_run *run)
{
    return run->arg_count > 0 && strcmp(run->args[run->arg_count - 1], "-") == 0;
}

queue_patience queue_patience_start(const cx_run *run)
{
    return (queue_patience){
        .run = run,
        .remark_ms = cx_now_ms() + SILENCE_MS,
        .deadline_ms = cx_now_ms() + cx_timeout_or(run, PATIENCE_MS),
        .through_outage = run->timeout_ms > 0,
        .pause_ms = PAUSE_MS,
    };
}

bool queue_may_retry(const queue_patience *patience, const cx_api_answer *answer,
                     const cx_err *error)
{
    if (answer->status == 0)
        return patience->through_outage &&
               (error->code == CX_UNAVAILABLE || error->code == CX_TIMEOUT ||
                error->code == CX_IO || error->code == CX_PROTOCOL);
    if (answer->status == 429 || answer->status == 503)
        return patience->through_outage || answer->retry_after_ms >= 0 || error->code == CX_BUSY;
    return patience->through_outage && (answer->status == 502 || answer->status == 504);
}

bool queue_wait_retry(queue_patience *patience, int64_t retry_after_ms, cx_err *err)
{
    int64_t left_ms = patience->deadline_ms - cx_now_ms();
    int64_t pause_ms = retry_after_ms >= 0 ? retry_after_ms : patience->pause_ms;
    uint8_t jitter = 0;

    /* Many senders that were refused together must not come back together. */
    cx_random(&jitter, sizeof jitter);
    pause_ms += pause_ms * jitter / 1024;
    patience->pause_ms =
        patience->pause_ms * 2 < PAUSE_MS_MAX ? patience->pause_ms * 2 : PAUSE_MS_MAX;
    if (pause_ms >= left_ms)
        return false;
    if (cx_now_ms() + pause_ms >= patience->remark_ms) {
        cx_remark(patience->run, "waiting, %.0f s at most: %s", (double)left_ms / 1000.0,
                  err->message);
        patience->remark_ms = cx_now_ms() + REMARK_MS;
    }
    return cx_api_pause(pause_ms, err);
}
