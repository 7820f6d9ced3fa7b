/* cx-join: what its commands share. */
#pragma once

#include "base/cli.h"
#include "config/config.h"

extern const cx_command join_preflight, join_init, join_join, join_csr, join_install, join_enroll,
    join_wait, join_verify;

/* Runs another tool of ours (the one beside this program, else in PATH) with --json and takes its
 * document; its error becomes err. arguments end with NULL. */
CX_MUST_CHECK bool join_run_tool(const char *tool, const char *const *arguments, json_t **answer,
                                 cx_err *err);

/* The document of preflight and verify: {"ok":bool,"checks":[{"name","ok","detail"}]}. */
json_t *join_checks_new(void);
void join_checks_add(json_t *document, const char *name, bool ok, const char *detail);
/* A check that failed with an error: its message and hint are the detail. */
void join_checks_add_error(json_t *document, const char *name, const cx_err *err);
bool join_checks_ok(const json_t *document);
