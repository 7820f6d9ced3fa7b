/* Audit: what the CA did, append-only. One JSON object a line in audit.log:
 * {"seq":7,"time":"…","event":"certificate_issued","user":"root","host":"…",…,"prev":"ab12…"}
 * `prev` is the SHA-256 of the line before (without its newline), 64 zeros in the first: whoever
 * changes or removes a line breaks the chain at the next one (`sha256sum` checks it by hand).
 *
 * Each line is first committed to ca.db in the transaction of the change that it tells of, then
 * appended to the file: a crash in between is healed by the next command. The two also heal each
 * other's loss: a ca.db that came back from an old backup, or is gone, takes the changes that it
 * lacks (revocations above all) from the file. */
#pragma once

#include "base/db.h"

/* Adds a line within the caller's transaction. Takes `fields`. */
CX_MUST_CHECK bool audit_add(cx_db *db, const char *event, json_t *fields, int64_t now_ms,
                             cx_err *err);
/* Appends to the file what it lacks, durably. CORRUPT when its end was changed. */
CX_MUST_CHECK bool audit_flush(cx_db *db, const char *path, cx_err *err);
/* Takes over what the file tells and ca.db doesn't know; *count is the number of lines. CORRUPT when
 * the chain is broken. */
CX_MUST_CHECK bool audit_recover(cx_db *db, const char *path, size_t *count, cx_err *err);

typedef struct audit_report {
    int64_t entries;
    char head[65];     /* SHA-256 of the last line: keep it elsewhere, and the tail can't vanish */
    int64_t broken_at; /* line number, 0: none */
    char problem[256]; /* "" : none */
} audit_report;

/* Reads the whole file. db may be NULL; else the two must tell the same. */
CX_MUST_CHECK bool audit_check(cx_db *db, const char *path, audit_report *report, cx_err *err);
