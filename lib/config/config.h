/* The node's configuration, /etc/caxton/config.yaml: read, validated, defaults filled in.
 * Every tool reads it here and nowhere else; the table of keys in config.c is the only list. */
#pragma once

#include "base/conf.h"

enum { CX_CONFIG_GOSSIP_PORT = 7946, CX_API_PORT = 8080, CX_CA_PORT = 8443 };

typedef struct cx_config {
    const char *path; /* the file read, or "" for defaults alone */
    const char *cluster;
    const char *node_id;            /* default: the first label of the host name */
    const char *bind_addr;          /* host:port of gossip, UDP and TCP */
    const char *advertise_addr;     /* what others are told; default: bind_addr, or the host's own
                                   address (private IPv4 first) when that is every address */
    const char *api_addr;           /* host:port of the node API */
    const char *api_advertise_addr; /* what others are told; default: api_addr, with the host of
                                       advertise_addr when api_addr binds every address */
    const char *data_dir;
    const char *cert_dir;
    const char *log_dir;
    const char *run_dir;
    const char *policy_dir; /* default: the folder `policies` beside the config file */
    int64_t bootstrap_expect;
    cx_list seeds; /* host:port */
    int64_t max_agents;
    const char *gossip_profile; /* lan, wan, local */
    const char *log_level;
    int64_t drain_timeout_ms;
    int64_t message_retention_ms;    /* done and failed messages are kept this long, for tracing and
                                     deduplication */
    int64_t queue_max;               /* queued messages of one agent; 503 above it */
    bool encrypt;                    /* gossip; needs cert_dir/gossip.keys */
    struct cx_config_memory *memory; /* private: owner of the texts */
} cx_config;

/* Reads path. A missing file is NOT_FOUND, or, where missing_ok, all defaults. Findings are CONFIG
 * with file, line and column. */
CX_MUST_CHECK bool cx_config_load(const char *path, bool missing_ok, cx_config **config,
                                  cx_err *err);
void cx_config_free(cx_config **owner);
/* Path of a file in cert_dir, run_dir or data_dir; caller owns. */
char *cx_config_cert(const cx_config *config, const char *name);
char *cx_config_run(const cx_config *config, const char *name);
char *cx_config_data(const cx_config *config, const char *name);
/* The effective values in the table's order; with origins each is {"value","origin"}. */
json_t *cx_config_to_json(const cx_config *config, bool with_origin);
/* The table of keys: a list of {"key","kind","default","help"}; default is null where the value is
 * derived from other keys or from the host. */
json_t *cx_config_keys(void);
/* All findings of a document that was read, for `cx-config check`. */
void cx_config_check_conf(const cx_conf *conf, cx_conf_errors *errors);
/* A config.yaml (0644) from values: what cx-join init writes. Takes the keys of the table only, and
 * checks them as if they had been read: with a finding (CONFIG, INVALID) nothing is written. */
CX_MUST_CHECK bool cx_config_write(const char *path, const json_t *values, cx_err *err);
