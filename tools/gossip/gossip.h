/* cx-gossip: what its commands share. */
#pragma once

#include "base/cli.h"

enum { GOSSIP_ASK_TIMEOUT_MS = 10000 };

/* The agent's socket: RUN_DIR/gossip.sock, with run_dir from --run-dir or the configuration.
 * Caller owns the path. */
CX_MUST_CHECK bool gossip_socket(cx_run *run, const char *run_dir, char **path, cx_err *err);
/* Sends one request to the local agent and takes its answer. Takes the request. */
CX_MUST_CHECK bool gossip_ask(cx_run *run, const char *run_dir, json_t *request, json_t **answer,
                              cx_err *err);
/* "K=V": K like an id; the texts are copied into the object. */
CX_MUST_CHECK bool gossip_parse_tag(const char *text, json_t *tags, cx_err *err);

extern const cx_command gossip_agent, gossip_members, gossip_status, gossip_join, gossip_leave,
    gossip_rejoin, gossip_remove, gossip_ping, gossip_monitor, gossip_tags_set, gossip_tags_unset,
    gossip_keys_generate;
