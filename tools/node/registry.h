/* Registry: the specs of agents on disk (registry.db), and the revision that tells other nodes when to
 * look again: this node's pinned agents, and the whole cluster's agents with placement any (placed.h). */
#pragma once

#include "placed.h"
#include "storage.h"

typedef struct node_registry node_registry;

typedef void node_registry_done(const cx_err *err, void *arg); /* err NULL: durable */

typedef struct node_registry_options {
    node_storage *storage;
    const cx_log *log;
    const char *data_dir, *node_id;
    /* A pinned agent that was read at the start; takes the spec. */
    void (*found)(node_spec *spec, bool suspended, void *arg);
    void *arg;
} node_registry_options;

/* Reads the specs before the loop runs. One that can't be read (a newer program wrote it) is logged
 * and left alone. */
CX_MUST_CHECK bool node_registry_open(const node_registry_options *options,
                                      node_registry **registry, cx_err *err);
void node_registry_close(node_registry **owner); /* after the storage is closed */
int64_t node_registry_revision(const node_registry *registry);

/* Pinned agents. put makes the agent's state folder, too. */
void node_registry_put(node_registry *registry, const node_spec *spec, node_registry_done *done,
                       void *arg);
void node_registry_remove(node_registry *registry, const char *id, node_registry_done *done,
                          void *arg);
void node_registry_suspend(node_registry *registry, const char *id, bool suspended,
                           node_registry_done *done, void *arg);

/* Placed agents. NULL: nothing is known of it; one that was removed has no spec. Lives until the loop
 * runs on. */
const node_placed *node_registry_placed(const node_registry *registry, const char *id);
const node_placed *node_registry_next_placed(const node_registry *registry, size_t *cursor);
/* A change of this node: takes spec (NULL: removed). The next version is made of it, which replaces a
 * pinned agent of this name here. BUSY: there are NODE_PLACED_MAX, or they have NODE_PLACED_BYTES_MAX
 * bytes. */
void node_registry_place(node_registry *registry, const char *id, node_spec *spec, bool suspended,
                         node_registry_done *done, void *arg);
/* What another node has; takes it. An older version changes nothing, and is done at once. */
void node_registry_merge(node_registry *registry, node_placed *placed, node_registry_done *done,
                         void *arg);
/* What runs here changed: the others shall look. */
void node_registry_touch(node_registry *registry, node_registry_done *done, void *arg);
