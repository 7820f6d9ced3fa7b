/* The same question to many nodes, and what to do when only some of them answer: the answers count,
 * the failures are reported beside them, and only when nobody answered is it an error. */
#pragma once

#include "api/client.h"

typedef struct cx_gathered {
    json_t **answers; /* answers[i] of nodes->items[i], NULL when it failed */
    cx_err *errors;
    size_t count;
    size_t failed;
} cx_gathered;

/* GET path of every node, in parallel. Fails with the first node's error when all fail. */
CX_MUST_CHECK bool cx_api_gather(cx_api *api, const cx_api_nodes *nodes, const char *path,
                                 int64_t timeout_ms, cx_gathered *gathered, cx_err *err);
void cx_gathered_free(cx_gathered *gathered);

/* The lists under `key` of all answers as one list, in the order of the nodes; each item gets the
 * node's id as "node_id" where it has none. New reference. */
json_t *cx_gathered_list(const cx_gathered *gathered, const cx_api_nodes *nodes, const char *key);

/* A count in an answer, kept within 0 and 2^40, so that sums of a peer's nonsense can't overflow. */
json_int_t cx_api_count(const json_t *object, const char *key);
/* The sum of an integer field of all answers: of the object under `object`, or (NULL) of the answer
 * itself. What is missing counts 0. */
json_int_t cx_gathered_sum(const cx_gathered *gathered, const char *object, const char *key);

/* {"node_id","api_addr","error":{…}}: one entry of a document's "errors". New reference. */
json_t *cx_api_failure(const cx_api_node *node, const cx_err *error);
/* Of cx_api_cluster's answer the nodes that --all passes over though they belong to the cluster, as
 * [{"node_id","status"}]: neither alive nor left. New reference. */
json_t *cx_api_absent(const json_t *cluster);
/* Adds "errors" to the document when some nodes failed, and makes the run's answer no. */
void cx_gathered_report(const cx_gathered *gathered, const cx_api_nodes *nodes, cx_run *run,
                        json_t *document);
