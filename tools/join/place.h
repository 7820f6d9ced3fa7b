/* Where a node lives: addresses and folders from the options that init, join and install share, and
 * the steps that make them. Each step keeps what is there already and records whether it changed
 * anything; with --dry-run it only records. */
#pragma once

#include "join.h"

struct place_options {
    const char *cluster, *node_id, *bind_addr, *advertise_addr, *api_addr;
    const char *data_dir, *cert_dir, *log_dir, *run_dir, *profile;
    int64_t bootstrap_expect, max_agents;
    cx_list seeds;
};

/* Rows for a command whose options struct has a `struct place_options place`. None has a default here: what
 * is not given is what the configuration says that is there, else its default (config.c). */
#define PLACE_OPTIONS(type)                                                                 \
    {"bind-addr", CX_TEXT(type, place.bind_addr), "HOST:PORT", NULL,                        \
     "where gossip listens; default: 0.0.0.0:7946"},                                        \
        {"advertise-addr", CX_TEXT(type, place.advertise_addr), "HOST:PORT", NULL,          \
         "the gossip address that others are told"},                                        \
        {"api-addr", CX_TEXT(type, place.api_addr), "HOST:PORT", NULL,                      \
         "where the node API listens; default: 0.0.0.0:8080"},                              \
        {"data-dir", CX_TEXT(type, place.data_dir), "DIR", NULL,                            \
         "queues, registry, agents' state; default: /var/lib/caxton"},                      \
        {"cert-dir", CX_TEXT(type, place.cert_dir), "DIR", NULL,                            \
         "certificates and keys; default: /etc/caxton/certs"},                              \
        {"log-dir", CX_TEXT(type, place.log_dir), "DIR", NULL, "default: /var/log/caxton"}, \
        {"run-dir", CX_TEXT(type, place.run_dir), "DIR", NULL, "default: /run/caxton"},     \
        {"bootstrap-expect", CX_INT(type, place.bootstrap_expect), "N", NULL,               \
         "how many nodes the cluster will have; default: 3"},                               \
        {"seed", CX_LIST(type, place.seeds), "HOST:PORT", NULL,                             \
         "gossip address of a node to join through; may be given many times"},              \
        {"gossip-profile", CX_CHOICE(type, place.profile), "lan|wan|local", NULL,           \
         "timing of the membership protocol; default: lan"},                                \
    {                                                                                       \
        "max-agents", CX_INT(type, place.max_agents), "N", NULL,                            \
            "agents that the node hosts at most; default: 10000"                            \
    }

/* What one run does. Owned texts are absolute paths without a slash at the end. */
struct place {
    cx_run *run;
    const struct place_options *given;  /* as typed */
    const struct place_options *option; /* = &effective: with what was not typed filled in */
    struct place_options effective;
    cx_config *present; /* the configuration that is there, else all defaults */
    bool is_configured; /* it is there */
    char *data_dir, *cert_dir, *log_dir, *run_dir, *config_path;
    cx_list made; /* folders that this run made, outer ones first */
    json_t *steps;
    json_t *config; /* the values of the configuration that the options ask for */
    int lock;
    bool changed;
    bool done; /* the result was asked for */
};

/* Checks the options, takes the lock on cert_dir (not with --dry-run) and refuses (EXISTS) when a
 * configuration is there that says something else. The place must not move in memory afterwards. */
CX_MUST_CHECK bool place_open(cx_run *run, const struct place_options *option, struct place *place,
                              cx_err *err);
/* Without a place_result before it, folders that were made and are empty go again. */
void place_close(struct place *place);
/* No option was given but seeds. */
bool place_is_bare(const struct place_options *given);
void place_record(struct place *place, const char *name, bool changed, const char *path);
CX_MUST_CHECK bool place_make_folders(struct place *place, cx_err *err);
/* Creates cert_dir/NAME unless it is there. */
CX_MUST_CHECK bool place_create(struct place *place, const char *step, const char *name,
                                mode_t mode, cx_bytes bytes, cx_err *err);
/* The configuration comes last: before it there is no node, after it everything is there. */
CX_MUST_CHECK bool place_write_config(struct place *place, cx_err *err);
/* {"changed","cluster","node_id","config","cert_dir","data_dir","steps"}; new reference. */
json_t *place_result(struct place *place);
char *place_cert(const struct place *place, const char *name); /* path in cert_dir; caller owns */
/* The names of the addresses for a certificate, "IP:…" and "DNS:…". */
void place_sans(const struct place_options *option, cx_list *sans);
