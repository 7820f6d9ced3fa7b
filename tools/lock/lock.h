/* cx-lock: what its commands share. */
#pragma once

#include "lease/client.h"

extern const cx_command lock_run, lock_acquire, lock_release, lock_list, lock_clear;

/* Which nodes grant, and who asks. */
typedef struct lock_place {
    cx_list nodes; /* --node; none: the members */
    const char *owner;
} lock_place;
#define LOCK_NODE_OPTION(type, field)                                           \
    {                                                                           \
        "node", CX_LIST(type, field.nodes), "NODE_ID|ADDR", NULL,               \
            "ask these nodes only (`-`: those on stdin); default: every member" \
    }
#define LOCK_OWNER_OPTION(type, field)                                      \
    {                                                                       \
        "owner", CX_TEXT(type, field.owner), "TEXT", NULL,                  \
            "who holds it; default: the calling process, as HOST:PID:START" \
    }

typedef struct lock_scope {
    cx_config *config;
    cx_api *api;
    cx_api_nodes nodes;
    int64_t expected; /* nodes of the cluster */
} lock_scope;

CX_MUST_CHECK bool lock_open(const cx_run *run, const lock_place *place, lock_scope *scope,
                             cx_err *err);
void lock_close(lock_scope *scope);
int64_t lock_majority(const lock_scope *scope);

/* The process that called us: our parent, or, when that is only a subshell, the shell that it is of. */
pid_t lock_caller(void);

/* The leases of all granters, one object a name and owner, in the order of names: as the API tells
 * them, with "granted_by", "held" (by a majority), "alive" as far as anybody knows. `errors` gets the
 * nodes that did not answer; NULL: not wanted. */
CX_MUST_CHECK bool lock_gather(lock_scope *scope, int64_t timeout_ms, json_t **leases,
                               json_t **errors, cx_err *err);
/* What acquiring a name would do, for --dry-run: BUSY when another holds it. */
CX_MUST_CHECK bool lock_peek(cx_run *run, lock_scope *scope, const char *name, const char *owner,
                             cx_err *err);
/* Whether the lease's owner is this client's part of one. */
bool lock_is_owner(const json_t *lease, const char *owner);

/* Marks that are no leases: states of the nodes, lock files of this host. New references. */
json_t *lock_node_marks(lock_scope *scope, int64_t timeout_ms);
json_t *lock_file_marks(const cx_config *config);
/* Silences of alerts that are in force, as this host's watcher knows them: watchers tell each other.
 * NULL: its file can't be read. */
json_t *lock_silence_marks(const cx_config *config, cx_err *err);

/* Tells a person, on stderr, whom we wait for. */
void lock_remark(const char *text, void *run);
