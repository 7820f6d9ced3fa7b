#include "base/mark.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/time.h"

enum { MS_PER_SECOND = 1000, OWNER_HOST_MAX = 64 };

/* When the host booted, by its wall clock as it is now. */
static int64_t boot_wall_ms(void)
{
    struct timespec since = {0};

    clock_gettime(CLOCK_BOOTTIME, &since);
    return cx_wall_ms() - ((int64_t)since.tv_sec * MS_PER_SECOND + since.tv_nsec / 1000000);
}

static void host_name(char host[CX_HOST_SIZE])
{
    if (gethostname(host, CX_HOST_SIZE) != 0)
        host[0] = '\0';
    host[CX_HOST_SIZE - 1] = '\0';
}

static bool take_text(const json_t *object, const char *where, const char *key, char *text,
                      size_t size, cx_err *err)
{
    const char *value = "";

    if (!cx_json_get_text(object, where, key, &value, err))
        return false;
    if (strlen(value) >= size)
        return cx_fail(err, CX_INVALID, "%s: %s has more than %zu bytes", where, key, size - 1);
    memcpy(text, value, strlen(value) + 1);
    return true;
}

bool cx_mark_of(pid_t pid, cx_mark *mark, cx_err *err)
{
    uint64_t ticks = cx_process_started(pid);
    long per_second = sysconf(_SC_CLK_TCK);

    *mark = (cx_mark){.pid = pid};
    if (ticks == 0 || ticks > INT64_MAX / MS_PER_SECOND)
        return cx_fail(err, CX_NOT_FOUND, "there is no process %ld", (long)pid);
    host_name(mark->host);
    cx_boot_id(mark->boot_id);
    mark->started_ticks = (int64_t)ticks;
    mark->started_at_ms =
        boot_wall_ms() + (int64_t)ticks * MS_PER_SECOND / (per_second > 0 ? per_second : 100);
    return true;
}

cx_life cx_mark_judge(const cx_mark *mark, const cx_mark_view *view)
{
    if (mark->host[0] == '\0' || mark->boot_id[0] == '\0' || mark->pid <= 0 ||
        mark->started_ticks <= 0 || view->boot_id[0] == '\0' || strcmp(mark->host, view->host) != 0)
        return CX_LIFE_UNKNOWN;
    if (strcmp(mark->boot_id, view->boot_id) != 0)
        return CX_LIFE_DEAD;
    if (view->started_ticks > 0)
        return view->started_ticks == mark->started_ticks ? CX_LIFE_ALIVE : CX_LIFE_DEAD;
    /* A process that /proc hides from us (hidepid) may be the one, or another. */
    return view->pid_used ? CX_LIFE_UNKNOWN : CX_LIFE_DEAD;
}

/* A zombie still has its pid, though what it held is over: /proc says so, when it may be read. */
cx_life cx_mark_life(const cx_mark *mark)
{
    char host[CX_HOST_SIZE], boot_id[CX_BOOT_ID_SIZE];
    bool in_range = mark->pid > 0 && mark->pid <= INT32_MAX;
    pid_t pid = in_range ? (pid_t)mark->pid : 0;
    char path[64];

    host_name(host);
    cx_boot_id(boot_id);
    snprintf(path, sizeof path, "/proc/%ld", (long)pid);

    uint64_t ticks = in_range ? cx_process_started(pid) : 0;
    /* Seen in /proc without a start time: it has ended and waits for its parent. */
    bool ended = in_range && ticks == 0 && access(path, R_OK) == 0;

    return cx_mark_judge(
        mark, &(cx_mark_view){
                  .host = host,
                  .boot_id = boot_id,
                  .started_ticks = ticks > INT64_MAX ? 0 : (int64_t)ticks,
                  .pid_used = in_range && !ended && (kill(pid, 0) == 0 || errno == EPERM),
              });
}

char *cx_mark_owner(const cx_mark *mark)
{
    char host[OWNER_HOST_MAX + 1];

    snprintf(host, sizeof host, "%.*s", OWNER_HOST_MAX, mark->host);
    for (char *at = host; *at != '\0'; at++)
        if (*at <= ' ' || *at > '~' || strchr("/\"\\", *at) != NULL)
            *at = '_';
    return cx_format("%s:%lld:%lld", host, (long long)mark->pid, (long long)mark->started_ticks);
}

void cx_mark_put(json_t *object, const cx_mark *mark)
{
    json_object_set_new(object, "host", cx_json_text(mark->host));
    json_object_set_new(object, "boot_id", cx_json_text(mark->boot_id));
    json_object_set_new(object, "pid", json_integer(mark->pid));
    json_object_set_new(object, "started_at",
                        mark->started_at_ms > 0 ? cx_json_time(mark->started_at_ms) : json_null());
    json_object_set_new(object, "started_ticks", json_integer(mark->started_ticks));
}

bool cx_mark_get(const json_t *object, const char *where, cx_mark *mark, cx_err *err)
{
    const char *started_at = NULL;

    *mark = (cx_mark){0};
    return take_text(object, where, "host", mark->host, sizeof mark->host, err) &&
           take_text(object, where, "boot_id", mark->boot_id, sizeof mark->boot_id, err) &&
           cx_json_get_int(object, where, "pid", 0, INT32_MAX, &mark->pid, err) &&
           cx_json_get_int(object, where, "started_ticks", 0, INT64_MAX, &mark->started_ticks,
                           err) &&
           cx_json_get_text(object, where, "started_at", &started_at, err) &&
           (started_at == NULL || cx_time_parse(started_at, &mark->started_at_ms, err) ||
            cx_wrap(err, "%s: started_at", where));
}

json_t *cx_life_json(cx_life life)
{
    switch (life) {
    case CX_LIFE_UNKNOWN: return json_null();
    case CX_LIFE_ALIVE: return json_true();
    case CX_LIFE_DEAD: return json_false();
    }
    return json_null();
}
