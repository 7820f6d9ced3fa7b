/* Child processes with a deadline: run a command, feed it, take its output, within bounds. */
#pragma once

#include <sys/types.h>

#include "base/err.h"

typedef struct cx_proc_spec {
    const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH */
    const char *folder;      /* working folder, NULL: ours */
    const char *const *env;  /* added or replaced "K=V", NULL-terminated; NULL: none */
    cx_bytes input;          /* for its stdin, which is then closed */
    int64_t timeout_ms;      /* then its process group gets SIGTERM, 2 s later SIGKILL; 0: none */
    size_t output_max;       /* bytes of stdout and of stderr each; more is read and dropped */
} cx_proc_spec;

typedef struct cx_proc_result {
    int status; /* exit status; 128 + N when signal N ended it */
    bool timed_out;
    cx_buffer output;
    cx_buffer errors;
} cx_proc_result;

/* True when it could be started, whatever its status was. Without input stdin is /dev/null. What the
 * command leaves running (with its stdout or stderr open) is killed 1 s after it; a daemon that has
 * detached itself from them is not. SIGINT and SIGTERM to us end the child
 * too and fail with INTERRUPTED. */
CX_MUST_CHECK bool cx_proc_run(const cx_proc_spec *spec, cx_proc_result *result, cx_err *err);
void cx_proc_result_free(cx_proc_result *result);

/* A program of ours: the one in the folder of this executable when it is there, else its bare name,
 * which execvp looks up in PATH. Caller owns. */
char *cx_proc_sibling(const char *name);
