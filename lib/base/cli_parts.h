/* What the parts of cli share; for cli*.c alone. cli.c parses and runs, cli_help.c prints the tables
 * for people and as JSON, cli_emit.c writes to stdout and stderr. */
#pragma once

#include "base/cli.h"

enum { CX_CLI_COMMON_MAX = 8 };

/* The options that every command has, and the one that `changes` adds. */
typedef struct cx_cli_common {
    const char *config;
    bool json, table, quiet, verbose, dry_run, help;
    int64_t timeout_ms;
} cx_cli_common;

extern const cx_option cx_cli_common_options[CX_CLI_COMMON_MAX];
extern const cx_option cx_cli_dry_run_option;

typedef struct cx_cli_tool {
    const char *program;
    const char *summary;
    const cx_command *const *commands;
} cx_cli_tool;

/* All commands, or those that begin with the word `family` (NULL: all). Caller owns the text. */
char *cx_cli_overview(const cx_cli_tool *tool, const char *family);
char *cx_cli_help(const cx_cli_tool *tool, const cx_command *command);
json_t *cx_cli_describe(const cx_cli_tool *tool);

/* Writes to stdout, and fails with IO when that fails, with INTERRUPTED when a signal came. */
CX_MUST_CHECK bool cx_cli_print(const char *text, cx_err *err);
/* An error on stderr: for people on a terminal, else a line of JSON with the status that the process ends
 * with. */
void cx_cli_report(const char *program, const cx_err *err, int exit_status);
