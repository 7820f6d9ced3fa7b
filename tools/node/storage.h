/* Storage: the one thread that writes to disk. Jobs come from the loop, run in the thread within one
 * transaction for all that wait (group commit), and return to the loop once that is committed.
 *
 * A batch with a job that is `durable` is fsynced before anybody is told; else it is only written
 * (it survives the process, and reaches the disk within NODE_SYNC_MS). The databases registry.db,
 * queues.db and leases.db and the audit log are its only files. */
#pragma once

#include <event2/event.h>

#include "base/db.h"
#include "base/log.h"

enum { NODE_SYNC_MS = 1000 };

typedef struct node_storage node_storage;

typedef enum node_database {
    NODE_REGISTRY_DB,
    NODE_QUEUES_DB,
    NODE_LEASES_DB,
    NODE_DATABASES
} node_database;

/* First member of a job's struct; the job is a copy of its input. `work` runs in the storage thread
 * inside a transaction of its database; after a failure in its batch everything is rolled back and
 * each job runs again, alone. So it may run twice and must start anew each time. `done` runs in the
 * loop, exactly once, after the commit, and frees the job. */
typedef struct node_job {
    bool (*work)(node_storage *storage, struct node_job *job, cx_err *err);
    void (*done)(struct node_job *job);
    node_database database;
    bool durable;
    bool no_transaction; /* runs after the batch's commit, outside of any: checkpoint, audit */
    bool ok;             /* for done: work succeeded and is committed */
    cx_err err;          /* for done: why not */
} node_job;

/* Opens and migrates the databases and starts the thread. */
CX_MUST_CHECK bool node_storage_open(struct event_base *loop, const char *data_dir,
                                     const cx_log *log, node_storage **storage, cx_err *err);
/* Which schemas the databases below data_dir have and which ones this program knows, as
 * {"ok":bool,"databases":[{"name","path","schema","known","readable"}]}; schema is null where there is
 * no database yet. Opens them read-only, also while a node runs. */
CX_MUST_CHECK bool node_storage_schema(const char *data_dir, json_t **document, cx_err *err);
/* Whether the databases below data_dir are whole, and the counts of the messages in queues.db, as
 * {"ok":bool,"databases":[{"name","path","whole","problem"}],"messages":{…}|null}. Opens them read-only, also
 * while a node runs, and when it is dead: what it committed last is in the write-ahead log, which is read
 * too. NOT_FOUND without a folder; CONFIG for a database of another version. */
CX_MUST_CHECK bool node_storage_check(const char *data_dir, json_t **document, cx_err *err);
/* Finishes what waits, then closes. */
void node_storage_close(node_storage **owner);

/* Storage becomes the owner of the job. More than NODE_JOBS_MAX waiting jobs: its done is called
 * at once with BUSY. */
enum { NODE_JOBS_MAX = 65536 };
void node_storage_add(node_storage *storage, node_job *job);
size_t node_storage_waiting(const node_storage *storage);

/* For work functions, and before the loop runs. */
cx_db *node_storage_db(node_storage *storage, node_database database);
