/* POST /api/v1/silence and /api/v1/unsilence, GET /api/v1/history: what the dashboard asks of the
 * watcher's file. The storage thread does it; the client may be gone when it is done. */
#include <string.h>

#include "base/httpd.h"
#include "base/time.h"
#include "silence.h"
#include "watch.h"

enum {
    BODY_MAX = 4096,
    HISTORY_MAX = 200,
    HISTORY_MS = 86400 * 1000,
    WAITING_MAX = 16, /* jobs of the page: the watcher's own come first */
};

struct ask_job {
    watch_self *watch;
    cx_exchange *exchange; /* NULL: gone */
    bool (*work)(struct ask_job *job, cx_err *err);
    json_t *asked, *answer;
    char *owner;
    bool changed, failed;
    cx_err err;
};

static void on_gone(void *arg)
{
    struct ask_job *job = arg;

    job->exchange = NULL;
}

static void ask_work(void *data)
{
    struct ask_job *job = data;

    job->failed = !job->work(job, &job->err);
}

static void ask_done(void *data)
{
    struct ask_job *job = data;

    job->watch->asked--;
    if (job->changed)
        watch_look_at_silences(job->watch);
    if (job->failed)
        cx_log_error(&job->watch->log, CX_WARN, "page_failed", &job->err);
    if (job->exchange != NULL && job->failed)
        cx_exchange_answer_error(job->exchange, &job->err);
    else if (job->exchange != NULL)
        cx_exchange_answer_json(job->exchange, 200, job->answer);
    cx_json_free(&job->asked);
    cx_json_free(&job->answer);
    cx_free(&job->owner);
    cx_free(&job);
}

/* Takes `asked` over. */
static void begin(watch_self *watch, cx_exchange *exchange,
                  bool (*work)(struct ask_job *job, cx_err *err), json_t *asked)
{
    struct ask_job *job = cx_alloc(1, sizeof *job);
    const char *peer = cx_exchange_peer_address(exchange);

    *job = (struct ask_job){.watch = watch, .exchange = exchange, .work = work, .asked = asked};
    job->owner = cx_format("%s@%.*s", health_page_owner, (int)(strrchr(peer, ':') - peer), peer);
    cx_exchange_keep(exchange, on_gone, job);
    watch->asked++;
    if (watch->asked <= WAITING_MAX && cx_pool_add(watch->storage, ask_work, ask_done, job))
        return;
    cx_fail(&job->err, CX_BUSY, "the watcher's file is busy");
    job->failed = true;
    ask_done(job);
}

/* ---- history */

static bool history_work(struct ask_job *job, cx_err *err)
{
    json_t *changes = NULL;

    if (!cx_health_store_history(job->watch->store, cx_wall_ms() - HISTORY_MS, HISTORY_MAX,
                                 &changes, err))
        return false;
    job->answer = json_pack("{s:o}", "history", changes);
    return true;
}

void watch_history_answer(watch_self *watch, cx_exchange *exchange)
{
    begin(watch, exchange, history_work, NULL);
}

/* ---- silences */

static bool store(struct ask_job *job, json_t *silence, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *owned = silence;

    if (!cx_health_store_put_silence(job->watch->store, owned, NULL, err))
        return false;
    job->changed = true;
    job->answer = json_pack("{s:b}", "changed", 1);
    json_object_update(job->answer, owned);
    return true;
}

static bool silence_work(struct ask_job *job, cx_err *err)
{
    health_silence_wish wish = {.owner = job->owner, .reason = ""};
    json_t *silence = NULL;

    return cx_json_need_text(job->asked, "silence", "name", &wish.name, err) &&
           cx_json_get_text(job->asked, "silence", "subject", &wish.subject, err) &&
           cx_json_get_text(job->asked, "silence", "reason", &wish.reason, err) &&
           cx_json_need_int(job->asked, "silence", "for_seconds", 1, INT32_MAX, &wish.for_ms,
                            err) &&
           (wish.for_ms *= 1000, health_silence_make(&wish, &silence, err)) &&
           store(job, silence, err);
}

static bool unsilence_work(struct ask_job *job, cx_err *err)
{
    const char *id = NULL;
    bool force = false, over = false;
    json_t *found = NULL;

    if (!cx_json_need_text(job->asked, "unsilence", "id", &id, err) ||
        !cx_json_get_bool(job->asked, "unsilence", "force", &force, err) ||
        !health_silence_ended(job->watch->store, id, force ? NULL : health_page_owner, &found,
                              &over, err))
        return false;
    if (!over)
        return store(job, found, err);
    job->answer = found;
    json_object_set_new(job->answer, "changed", json_false());
    return true;
}

static void change(watch_self *watch, cx_exchange *exchange,
                   bool (*work)(struct ask_job *job, cx_err *err), const char *const *keys)
{
    CX_AUTO(cx_json_free) json_t *asked = NULL;
    cx_err err;

    if (watch_page_may_change(watch, exchange, &err) &&
        cx_json_parse(cx_exchange_body(exchange), BODY_MAX, "the request", &asked, &err) &&
        cx_json_only_keys(asked, "the request", keys, &err))
        begin(watch, exchange, work, CX_TAKE(asked));
    else
        cx_exchange_answer_error(exchange, &err);
}

void watch_silence_answer(watch_self *watch, cx_exchange *exchange)
{
    static const char *const keys[] = {"name", "subject", "reason", "for_seconds", NULL};

    change(watch, exchange, silence_work, keys);
}

void watch_unsilence_answer(watch_self *watch, cx_exchange *exchange)
{
    static const char *const keys[] = {"id", "force", NULL};

    change(watch, exchange, unsilence_work, keys);
}
