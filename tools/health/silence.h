/* Silences as documents: for the commands, and for the watcher's page. */
#pragma once

#include "health/store.h"

/* Who silences from the dashboard is "dashboard@ADDRESS". */
extern const char health_page_owner[];

typedef struct health_silence_wish {
    const char *name;    /* of an alert, or "*" */
    const char *subject; /* NULL: any */
    const char *reason, *owner;
    int64_t for_ms;
} health_silence_wish;

/* A new silence that begins now; its mark is this process's parent, or this process when it is a
 * daemon. USAGE, INVALID: the wish is out of bounds. */
CX_MUST_CHECK bool health_silence_make(const health_silence_wish *wish, json_t **silence,
                                       cx_err *err);
/* The silence as it is when it ends now, not stored yet. owner: who ends it ("dashboard" for any
 * dashboard), PERMISSION when it is somebody else's; NULL ends anybody's. *over: it had ended before
 * and is unchanged. */
CX_MUST_CHECK bool health_silence_ended(cx_health_store *store, const char *id, const char *owner,
                                        json_t **silence, bool *over, cx_err *err);
