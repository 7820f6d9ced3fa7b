/* Registry: the specs of this node's agents on disk (registry.db), and the revision that tells other
 * nodes when to look again. */
#pragma once

#include "spec.h"
#include "storage.h"

typedef struct node_registry node_registry;

typedef void node_registry_done(const cx_err *err, void *arg); /* err NULL: durable */

/* Reads the specs before the loop runs: each is handed to `found`, which takes it. One that can't be
 * read (a newer program wrote it) is logged and left alone. */
CX_MUST_CHECK bool node_registry_open(node_storage *storage, const char *data_dir,
                                      const cx_log *log,
                                      void (*found)(node_spec *spec, bool suspended, void *arg),
                                      void *arg, node_registry **registry, cx_err *err);
void node_registry_close(node_registry **owner); /* after the storage is closed */
int64_t node_registry_revision(const node_registry *registry);

/* Makes the agent's state folder, too. */
void node_registry_put(node_registry *registry, const node_spec *spec, node_registry_done *done,
                       void *arg);
void node_registry_remove(node_registry *registry, const char *id, node_registry_done *done,
                          void *arg);
void node_registry_suspend(node_registry *registry, const char *id, bool suspended,
                           node_registry_done *done, void *arg);
