/* Progress of long work on stderr: a bar on a terminal, NDJSON with --progress json, else nothing.
 * The caller passes the time, so drawing is bounded to a few lines a second. */
#pragma once

#include "base/err.h"

typedef enum cx_progress_kind {
    CX_PROGRESS_NONE,
    CX_PROGRESS_BAR,
    CX_PROGRESS_JSON
} cx_progress_kind;

typedef struct cx_progress {
    cx_progress_kind kind;
    const char *what; /* "reading", for the bar */
    int64_t total;    /* 0: unknown */
    int64_t done;
    int64_t started_ms, drawn_ms;
} cx_progress;

/* what lives as long as the progress and is a word of ours (no quotes in it). kind_text: NULL or "auto" (a bar when stderr is a terminal), "json", "none". */
cx_progress cx_progress_start(const char *kind_text, const char *what, int64_t total,
                              int64_t now_ms);
void cx_progress_set(cx_progress *progress, int64_t done, int64_t now_ms);
/* Draws the last state; it draws nothing after that. */
void cx_progress_end(cx_progress *progress, int64_t now_ms);
