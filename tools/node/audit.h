/* Audit log: data_dir/audit.log, one JSON line for each change and each refusal: who, what, when, from
 * where, with which result. Append-only; each line carries the SHA-256 of the line before it as
 * "prev", so that a line that is changed or taken out shows. */
#pragma once

#include "storage.h"

typedef struct node_audit node_audit;

typedef struct node_audit_entry {
    const char *who;    /* "operator/alice", "node/node-2", or "" when nobody was recognised */
    const char *role;   /* or "" */
    const char *from;   /* address */
    const char *action; /* "deploy", "tls_refused" */
    const char *target; /* what it was about, or "" */
    const char *result; /* "ok", "unchanged", "refused", "failed" */
    const char *detail; /* or "" */
} node_audit_entry;

enum { NODE_AUDIT_LINE_MAX = 64 * 1024 };

/* Reads the end of the log that is there; a torn last line is ended and stays. */
CX_MUST_CHECK bool node_audit_open(node_storage *storage, const char *path, const cx_log *log,
                                   node_audit **audit, cx_err *err);
void node_audit_close(node_audit **owner); /* after the storage is closed */

/* Durable when `done` (may be NULL) is called, from the loop. A line that can't be written is logged
 * with its content. */
void node_audit_write(node_audit *audit, const node_audit_entry *entry, void (*done)(void *arg),
                      void *arg);
/* For refusals, which strangers cause: more than NODE_REFUSALS_MAX in a second are only counted, in
 * the next line that is written. */
enum { NODE_REFUSALS_MAX = 20 };
void node_audit_refusal(node_audit *audit, const node_audit_entry *entry);
