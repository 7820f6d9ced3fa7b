/* Mark: the process that holds something (a lock, a lease, a drain), named so that it can be proved
 * dead. A process id alone proves nothing: it is used again, on another host, after a boot. Host, boot
 * id, process id and start time together name one process for ever. */
#pragma once

#include <sys/types.h>

#include "base/json.h"

enum { CX_HOST_SIZE = 256, CX_BOOT_ID_SIZE = 40 };

typedef struct cx_mark {
    char host[CX_HOST_SIZE];
    char boot_id[CX_BOOT_ID_SIZE];
    int64_t pid;
    int64_t started_ticks; /* clock ticks since boot, as /proc has it: exact */
    int64_t started_at_ms; /* the same as wall time, for people */
} cx_mark;

/* Of a process on this host; NOT_FOUND when it isn't there. */
CX_MUST_CHECK bool cx_mark_of(pid_t pid, cx_mark *mark, cx_err *err);

/* What is known here about a process: alive and dead are certain. */
typedef enum cx_life { CX_LIFE_UNKNOWN, CX_LIFE_ALIVE, CX_LIFE_DEAD } cx_life;

/* What one host can say about its own. */
typedef struct cx_mark_view {
    const char *host;
    const char *boot_id;
    int64_t started_ticks; /* of the process that has the mark's pid now; 0: not seen */
    bool pid_used;         /* a process has the pid, whether or not it may be looked at */
} cx_mark_view;

/* Pure. A mark of another host is UNKNOWN, one of an earlier boot of this host DEAD. */
cx_life cx_mark_judge(const cx_mark *mark, const cx_mark_view *view);
/* The same with what this host sees. */
cx_life cx_mark_life(const cx_mark *mark);

/* HOST:PID:START: the process as one word, for the owner of a lease (client.h). Caller owns. */
char *cx_mark_owner(const cx_mark *mark);

/* Sets "host", "boot_id", "pid", "started_at" and "started_ticks" of an object. */
void cx_mark_put(json_t *object, const cx_mark *mark);
/* Reads them from an object of somebody else; what is missing is "" or 0. INVALID: wrong types. */
CX_MUST_CHECK bool cx_mark_get(const json_t *object, const char *where, cx_mark *mark, cx_err *err);
/* true, false, or null where it is unknown; new reference. */
json_t *cx_life_json(cx_life life);
