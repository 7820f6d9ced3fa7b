#include "repo/lock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cli.h"
#include "base/io.h"
#include "base/text.h"
#include "base/time.h"

enum {
    MARK_MAX = 16 * 1024,
    TOKEN_SIZE = 16,
    POLL_MS = 200,
    SETTLE_MS =
        300, /* after taking over: whoever did the same at this moment has written by then */
    HOST_MAX = 64,
};

struct cx_repo_lock {
    cx_repo *repo;
    char *key;
    char *text; /* the mark as it was written last */
    char *owner, *reason;
    char *token;
    int64_t acquired_ms; /* wall time, for people */
    int64_t renewed_ms;
};

static void close_lock(cx_repo_lock **owner)
{
    cx_repo_lock *lock = CX_TAKE(*owner);

    if (lock == NULL)
        return;
    cx_free(&lock->key);
    cx_free(&lock->text);
    cx_free(&lock->owner);
    cx_free(&lock->reason);
    cx_free(&lock->token);
    cx_free(&lock);
}

static void pause_ms(int64_t ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    nanosleep(&time, NULL);
}

/* Processes of one machine may not see each other (containers): then a missing one proves nothing. */
static void pid_namespace(char text[64])
{
    ssize_t size = readlink("/proc/self/ns/pid", text, 63);

    text[size > 0 ? size : 0] = '\0';
}

static void host_name(char text[HOST_MAX + 1])
{
    if (gethostname(text, HOST_MAX) < 0)
        text[0] = '\0';
    text[HOST_MAX] = '\0';
}

/* ---- the mark */

static void write_mark(cx_repo_lock *lock)
{
    char boot_id[40], namespace[64], host[HOST_MAX + 1];
    CX_AUTO(cx_json_free) json_t *json = NULL;
    CX_AUTO(cx_free) char *line = NULL;

    cx_boot_id(boot_id);
    pid_namespace(namespace);
    host_name(host);
    json = json_pack("{s:o, s:o, s:s, s:I, s:o, s:I, s:o, s:o, s:i, s:s}", "owner",
                     cx_json_text(lock->owner), "host", cx_json_text(host), "boot_id", boot_id,
                     "pid", (json_int_t)getpid(), "pid_namespace", cx_json_text(namespace),
                     "started", (json_int_t)cx_process_started(getpid()), "reason",
                     cx_json_text(lock->reason), "acquired_at", cx_json_time(lock->acquired_ms),
                     "lease_seconds", CX_REPO_LEASE_MS / 1000, "token", lock->token);
    line = cx_json_line(json);
    cx_free(&lock->text);
    lock->text = cx_format("%s\n", line);
}

/* *mark is NULL when there is none. One that can't be read belongs to nobody we know. */
static bool read_mark(cx_repo *repo, const char *key, json_t **mark, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};

    *mark = NULL;
    if (!cx_dest_get(repo->dest, key, MARK_MAX, &text, err))
        return err->code == CX_NOT_FOUND;
    if (!cx_json_parse(cx_buffer_bytes(&text), MARK_MAX, key, mark, err) ||
        !json_is_object(*mark)) {
        cx_json_free(mark);
        *mark = json_object();
    }
    return true;
}

static bool process_is_gone(const json_t *mark)
{
    char boot_id[40], namespace[64], host[HOST_MAX + 1];
    int64_t pid = 0, started = 0;
    cx_err ignored;

    cx_boot_id(boot_id);
    pid_namespace(namespace);
    host_name(host);
    if (strcmp(cx_json_text_or_empty(mark, "host"), host) != 0)
        return false;
    if (strcmp(cx_json_text_or_empty(mark, "boot_id"), boot_id) != 0)
        return true; /* this host was started again since */
    if (strcmp(cx_json_text_or_empty(mark, "pid_namespace"), namespace) != 0 ||
        !cx_json_need_int(mark, "lock", "pid", 1, INT32_MAX, &pid, &ignored) ||
        !cx_json_need_int(mark, "lock", "started", 0, INT64_MAX, &started, &ignored))
        return false;
    return cx_process_started((pid_t)pid) != (uint64_t)started;
}

static bool is_dead(cx_repo *repo, const char *key, const json_t *mark, bool *dead, cx_err *err)
{
    int64_t lease_seconds = CX_REPO_LEASE_MS / 1000;
    int64_t now_ms = 0;
    cx_object object;
    cx_err ignored;

    *dead = process_is_gone(mark);
    if (*dead)
        return true;
    if (!cx_json_get_int(mark, "lock", "lease_seconds", 1, 86400, &lease_seconds, &ignored))
        lease_seconds = CX_REPO_LEASE_MS / 1000;
    if (!cx_dest_stat(repo->dest, key, &object, err))
        return err->code == CX_NOT_FOUND; /* given back meanwhile: the next try shows it */
    if (!cx_dest_now(repo->dest, &now_ms, err))
        return false;
    *dead = now_ms - object.arrived_ms > lease_seconds * 1000;
    return true;
}

static bool fail_held(const json_t *mark, cx_err *err)
{
    int64_t pid = 0;
    cx_err ignored;

    if (!cx_json_get_int(mark, "lock", "pid", 0, INT32_MAX, &pid, &ignored))
        pid = 0;
    cx_fail(err, CX_BUSY,
            "the repository is locked by %.60s (process %" PRId64 " on %.60s since %.30s: %.80s)",
            cx_json_text_or_empty(mark, "owner"), pid, cx_json_text_or_empty(mark, "host"),
            cx_json_text_or_empty(mark, "acquired_at"), cx_json_text_or_empty(mark, "reason"));
    return cx_hint(err, "wait for it; a dead holder's lock is taken over by itself");
}

static bool is_ours(const cx_repo_lock *lock, const json_t *mark)
{
    return mark != NULL && strcmp(cx_json_text_or_empty(mark, "token"), lock->token) == 0;
}

/* ---- taking */

static bool write_new(cx_repo_lock *lock, bool *done, cx_err *err)
{
    write_mark(lock);
    *done = cx_dest_put(lock->repo->dest, lock->key, cx_bytes_of(lock->text), CX_PUT_NEW, err);
    return *done || err->code == CX_EXISTS;
}

/* Only if the mark is still the one that was found dead: somebody else may have been faster. */
static bool take_over(cx_repo_lock *lock, const json_t *dead, bool *done, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *mark = NULL;
    CX_AUTO(cx_json_free) json_t *after = NULL;

    if (!read_mark(lock->repo, lock->key, &mark, err))
        return false;
    if (mark == NULL || !json_equal(mark, dead))
        return true;
    if (!cx_dest_remove(lock->repo->dest, lock->key, err) || !write_new(lock, done, err))
        return false;
    if (!*done)
        return true;
    pause_ms(SETTLE_MS);
    if (!read_mark(lock->repo, lock->key, &after, err))
        return false;
    *done = is_ours(lock, after);
    return true;
}

/* *holder is who has it, when it could not be had. */
static bool try_once(cx_repo_lock *lock, bool *done, json_t **holder, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *mark = NULL;
    bool dead = false;

    if (!write_new(lock, done, err))
        return false;
    if (*done)
        return true;
    if (!read_mark(lock->repo, lock->key, &mark, err))
        return false;
    if (mark == NULL)
        return true;
    /* The answer to our first try was lost. */
    *done = is_ours(lock, mark);
    if (*done)
        return true;
    if (!is_dead(lock->repo, lock->key, mark, &dead, err))
        return false;
    if (dead && !take_over(lock, mark, done, err))
        return false;
    *holder = CX_TAKE(mark);
    return true;
}

bool cx_repo_lock_take(cx_repo *repo, const char *owner, const char *reason, int64_t wait_ms,
                       cx_repo_lock **lock, cx_err *err)
{
    CX_AUTO(close_lock) cx_repo_lock *made = cx_alloc(1, sizeof *made);
    uint8_t token[TOKEN_SIZE];
    int64_t deadline_ms = cx_now_ms() + wait_ms;
    bool done = false;

    cx_random(token, sizeof token);
    *made = (cx_repo_lock){.repo = repo,
                           .key = cx_repo_key(repo, "lock.json"),
                           .owner = cx_strdup(owner),
                           .reason = cx_strdup(reason),
                           .token = cx_hex((cx_bytes){token, sizeof token}),
                           .acquired_ms = cx_wall_ms()};
    for (int tries = 0;; tries++) {
        CX_AUTO(cx_json_free) json_t *holder = NULL;

        if (!try_once(made, &done, &holder, err))
            return cx_wrap(err, "lock the repository");
        if (done)
            break;
        /* Without a holder it was given back at this moment: once more at once. */
        if ((holder != NULL || tries > 10) && cx_now_ms() >= deadline_ms)
            return fail_held(holder, err);
        if (cx_interrupted())
            return cx_fail(err, CX_INTERRUPTED,
                           "interrupted while waiting for the repository's lock");
        pause_ms(holder == NULL ? 1 : POLL_MS);
    }
    made->renewed_ms = cx_now_ms();
    *lock = CX_TAKE(made);

    CX_AUTO(cx_free) char *prefix = cx_repo_key(repo, "%s", "");

    if (cx_dest_sweep(repo->dest, prefix, err))
        return true;
    cx_repo_lock_release(lock);
    return false;
}

bool cx_repo_lock_held(cx_repo_lock *lock, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *mark = NULL;

    if (!read_mark(lock->repo, lock->key, &mark, err))
        return cx_wrap(err, "read the repository's lock");
    if (is_ours(lock, mark))
        return true;
    cx_fail(err, CX_BUSY, "the repository's lock was lost%s%.60s", mark == NULL ? "" : " to ",
            cx_json_text_or_empty(mark, "owner"));
    return cx_hint(err, "this run took longer than its lease without a sign of life; run it again");
}

bool cx_repo_lock_renew(cx_repo_lock *lock, int64_t now_ms, cx_err *err)
{
    if (now_ms - lock->renewed_ms < CX_REPO_LEASE_MS / 3)
        return true;
    if (!cx_repo_lock_held(lock, err))
        return false;
    write_mark(lock);
    if (!cx_dest_put(lock->repo->dest, lock->key, cx_bytes_of(lock->text), CX_PUT_REPLACE, err))
        return cx_wrap(err, "renew the repository's lock");
    lock->renewed_ms = now_ms;
    return true;
}

void cx_repo_lock_release(cx_repo_lock **owner)
{
    cx_err ignored;

    /* A failure leaves a mark that dies with this process or with its lease. */
    if (*owner != NULL && cx_repo_lock_held(*owner, &ignored))
        (void)!cx_dest_remove((*owner)->repo->dest, (*owner)->key, &ignored);
    close_lock(owner);
}

bool cx_repo_lock_show(cx_repo *repo, json_t **mark, cx_err *err)
{
    CX_AUTO(cx_free) char *key = cx_repo_key(repo, "lock.json");
    CX_AUTO(cx_json_free) json_t *read = NULL;
    bool dead = false;

    *mark = NULL;
    if (!read_mark(repo, key, &read, err))
        return false;
    if (read == NULL)
        return true;
    if (!is_dead(repo, key, read, &dead, err))
        return false;
    json_object_del(read, "token");
    json_object_set_new(read, "alive", json_boolean(!dead));
    *mark = CX_TAKE(read);
    return true;
}
