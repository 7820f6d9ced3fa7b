/* cx-bundle: what its files share. */
#pragma once

#include "api/gather.h"
#include "archive.h"
#include "base/redact.h"
#include "obfuscate.h"

extern const cx_command bundle_collect, bundle_inspect;

/* ---- the bundle that is being made (sink.c) */

typedef struct bundle_sink {
    bundle_writer *writer;
    const char *folder; /* all files are in it */
    int64_t started_wall_ms;
    int64_t bytes_max, bytes; /* of all files, before compression */
    bool full;                /* a file did not fit */
    bool redact;
    cx_redactor *redactor;         /* what this host knows to be secret */
    bundle_obfuscator *obfuscator; /* NULL: names stay */
    cx_redactions redactions;
    json_t *files;   /* of the manifest: {"path","collector","bytes","sha256",…} */
    json_t *skipped; /* {"path","reason"} */
} bundle_sink;

/* One collector at work: what it has so far, and where it failed. The rest goes on all the same. */
typedef struct bundle_collector {
    bundle_sink *sink;
    const char *name;
    int64_t started_ms, deadline_ms; /* monotonic */
    size_t files;
    int64_t bytes;
    json_t *errors; /* as "errors" of a document of many nodes, or without a node */
} bundle_collector;

/* What becomes a file of the bundle: secrets out, names too if asked for. cut_bytes says how much of
 * the source was left out. Only a failure to write is false: what is too much is in `skipped`. */
CX_MUST_CHECK bool bundle_add(bundle_collector *collector, const char *path, cx_bytes content,
                              int64_t cut_bytes, cx_err *err);
CX_MUST_CHECK bool bundle_add_json(bundle_collector *collector, const char *path,
                                   const json_t *document, cx_err *err);
/* A part of a collector that failed; `what` names it (a path, say). */
void bundle_failed(bundle_collector *collector, const char *what, const cx_err *error);
/* The text as it goes into the bundle. */
void bundle_clean(bundle_sink *sink, cx_bytes content, cx_buffer *out);
void bundle_skip(bundle_sink *sink, const char *path, const char *reason);

/* ---- where it is from */

typedef struct bundle_source {
    const cx_config *config; /* defaults when the file can't be read: config_error says why */
    const char *config_path;
    cx_err config_error;
    cx_api *api; /* NULL: api_error says why */
    cx_err api_error;
    cx_err members_error; /* why only the own node is asked */
    cx_api_nodes nodes;
    bool *silent;   /* of each node: a collector before got no answer at all */
    json_t *absent; /* members that are not alive, not asked */
    int64_t duration_ms, since_wall_ms;
    int64_t collector_ms;
} bundle_source;

typedef bool bundle_collect_function(bundle_source *source, bundle_collector *collector,
                                     cx_err *err);

/* remote.c: from the API of every node */
bundle_collect_function bundle_collect_state, bundle_collect_metrics, bundle_collect_traces;
/* local.c: from this host's files */
bundle_collect_function bundle_collect_logs, bundle_collect_config, bundle_collect_system;

/* secrets.c: teaches the redactor this host's keys and the secrets of our own environment. */
void bundle_know_secrets(const cx_config *config, cx_redactor *redactor);

/* ---- looking into a finished one (check.c) */

typedef struct bundle_check {
    json_t *manifest; /* NULL: it has none */
    json_t *files;    /* {"path","bytes","secrets"?} */
    json_t *found;    /* {"path","kinds":{"named":1}} */
    json_t *damaged;  /* paths whose digest is not the manifest's, or that are missing */
    cx_redactions secrets;
    int64_t bytes;
} bundle_check;

/* Reads the archive and looks for secrets in every file, and for what the manifest says. */
CX_MUST_CHECK bool bundle_check_archive(cx_bytes archive, const char *name,
                                        const cx_redactor *redactor, bundle_check *check,
                                        cx_err *err);
void bundle_check_free(bundle_check *check);
json_t *bundle_kinds(const cx_redactions *redactions); /* {"named":2}; new reference */
