/* Command line: a program is a table of commands, a command is a table of options and a function.
 * From the tables come parsing, --help, --describe (the tables as JSON, from which the build makes
 * man pages and completions) and the nearest name for a mistyped one.
 *
 * Every command has --config FILE, --json, --table, --quiet, --verbose, --timeout DUR, --help; one
 * that changes something has --dry-run; a tool has --version and --describe. Options may be written
 * `--name value` or `--name=value`, before or after arguments; `--` ends them. */
#pragma once

#include "base/json.h"

typedef enum cx_option_kind {
    CX_KIND_FLAG,     /* bool */
    CX_KIND_TEXT,     /* const char *, NULL when absent and without default */
    CX_KIND_CHOICE,   /* const char *, one of the words of value_name "a|b|c" */
    CX_KIND_DURATION, /* int64_t, milliseconds */
    CX_KIND_SIZE,     /* int64_t, bytes */
    CX_KIND_INT,      /* int64_t, 0 or more */
    CX_KIND_LIST,     /* cx_list; the option may be given many times */
} cx_option_kind;

typedef struct cx_option {
    const char *name; /* without dashes */
    cx_option_kind kind;
    size_t offset;          /* of the field in the command's options struct */
    const char *value_name; /* for help: FILE, DUR, "a|b" of a choice; NULL for a flag */
    const char *fallback;   /* the default as typed, parsed like any value; NULL: 0, false, NULL */
    const char *help;
} cx_option;

#define CX_FIELD_(type, field, wanted)                                                           \
    offsetof(type, field) +                                                                      \
        0 * sizeof(struct {                                                                      \
            _Static_assert(__builtin_types_compatible_p(__typeof__(((type *)0)->field), wanted), \
                           "the option's field has another type");                               \
            int unused;                                                                          \
        })
#define CX_FLAG(type, field)     CX_KIND_FLAG, CX_FIELD_(type, field, bool)
#define CX_TEXT(type, field)     CX_KIND_TEXT, CX_FIELD_(type, field, const char *)
#define CX_CHOICE(type, field)   CX_KIND_CHOICE, CX_FIELD_(type, field, const char *)
#define CX_DURATION(type, field) CX_KIND_DURATION, CX_FIELD_(type, field, int64_t)
#define CX_SIZE(type, field)     CX_KIND_SIZE, CX_FIELD_(type, field, int64_t)
#define CX_INT(type, field)      CX_KIND_INT, CX_FIELD_(type, field, int64_t)
#define CX_LIST(type, field)     CX_KIND_LIST, CX_FIELD_(type, field, cx_list)

typedef struct cx_command cx_command;

/* One run of a command: what is common to all. */
typedef struct cx_run {
    const char *program; /* "cx-ca" */
    const cx_command *command;
    const char *config_path; /* --config, else $CX_CONFIG, else /etc/caxton/config.yaml */
    bool config_is_default;  /* neither --config nor $CX_CONFIG was given */
    const char *const *args; /* arguments after the options */
    size_t arg_count;
    bool dry_run;
    bool quiet;
    bool verbose;
    bool table;         /* print for people (stdout is a terminal, or --table) */
    int64_t timeout_ms; /* --timeout, 0 when not given */
    int64_t started_ms; /* monotonic */
    bool answer_no;     /* set by the command: exit 1 */
    int exit_status;    /* set by a command that has statuses of its own (--nagios), also for
                                    its failures; 0 else */
} cx_run;

/* True: done (with run->answer_no the answer is no, exit 1). False: err says why. `options` points
 * to the parsed options struct. Prints once, last. */
typedef bool cx_command_function(cx_run *run, const void *options, cx_err *err);

struct cx_command {
    const char *name;      /* "enter", or two words: "token create" */
    const char *arguments; /* for help: "[NODE|-]", "FILE…"; NULL when it takes none */
    size_t arguments_min;
    size_t arguments_max; /* 0 with arguments != NULL: no limit */
    const char *summary;
    const char *description;  /* longer text for help and manual; NULL: none */
    const cx_option *options; /* ends with {0}; NULL: none */
    size_t options_size;      /* sizeof the options struct */
    bool changes;             /* it can change something: adds --dry-run */
    bool streams;             /* prints NDJSON */
    cx_command_function *run;
};

/* Runs a program: parses, calls, prints the error, returns the exit status. SIGPIPE is ignored;
 * SIGINT and SIGTERM set cx_interrupted() without SA_RESTART, and after the destructors ran the
 * signal is raised again, so the shell sees the truth. */
int cx_tool_main(const char *summary, const cx_command *const *commands, int argc, char **argv);

/* Prints the command's one document: JSON on a pipe or with --json, else a table for people (the
 * first list of objects as rows, other fields as `name: value`). Fails with IO when stdout does. */
CX_MUST_CHECK bool cx_emit(cx_run *run, const json_t *document, cx_err *err);
/* Prints one line of a stream and flushes it. */
CX_MUST_CHECK bool cx_emit_line(cx_run *run, const json_t *document, cx_err *err);
/* Prints text as it is, for --raw, --pem, --folded and their like. */
CX_MUST_CHECK bool cx_emit_text(cx_run *run, const char *text, cx_err *err);
/* A remark for people on stderr, unless --quiet; {"remark":"..."} when stderr is no terminal. */
void cx_remark(const cx_run *run, const char *format, ...) CX_PRINTF(2, 3);

/* True once SIGINT or SIGTERM came: long computations and waits ask it and fail with INTERRUPTED. */
bool cx_interrupted(void);
/* Milliseconds left of --timeout, or of fallback_ms when it was not given, counted from the start of
 * the program. Never less than 1, because 0 often means 'no time-out'. */
int64_t cx_timeout_or(const cx_run *run, int64_t fallback_ms);
/* For one call of several: call_ms, or what is left of --timeout when that is less. Never less than 1. */
int64_t cx_timeout_within(const cx_run *run, int64_t call_ms);

extern const char cx_version[]; /* "0.1.0", from the Makefile */
