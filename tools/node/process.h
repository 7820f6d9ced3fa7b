/* One agent's process: started with pipes, limits and a process group of its own, spoken to by lines,
 * and ended for good, with all that it started.
 *
 * It has its state folder as working folder, an environment of its own, no new privileges, no open
 * files of ours, and is killed by the kernel when the node dies. All calls are from the loop. */
#pragma once

#include <sys/types.h>

#include <event2/event.h>

#include "spec.h"

typedef struct node_process node_process;
typedef struct node_processes node_processes; /* all of them: who takes SIGCHLD */

node_processes *node_processes_open(struct event_base *loop);
void node_processes_close(node_processes **owner); /* after the last process */

typedef struct node_process_exit {
    int status;     /* exit status, or -1 */
    int signal;     /* the signal that ended it, or 0 */
    int exec_errno; /* why the command could not be started, or 0 */
} node_process_exit;

typedef struct node_process_options {
    const node_spec *spec;
    const char *program;        /* path */
    const char *folder;         /* exists */
    const char *const *env;     /* the whole environment, NULL-terminated */
    void (*started)(void *arg); /* the program runs */
    /* A line of stdout; too long for NODE_REPLY_MAX: data is NULL. */
    void (*line)(cx_bytes line, void *arg);
    void (*error_line)(cx_bytes line, void *arg); /* of stderr, cut after 4 KiB */
    /* It is gone, all that it printed was told. Closing the process is the caller's. */
    void (*ended)(const node_process_exit *how, void *arg);
    void *arg;
} node_process_options;

CX_MUST_CHECK bool node_process_start(node_processes *all, const node_process_options *options,
                                      node_process **process, cx_err *err);
/* Kills what is left of it. */
void node_process_close(node_process **owner);

void node_process_write(node_process *process, cx_bytes bytes);
/* Stops and starts reading stdout: what the agent prints waits in its pipe. */
void node_process_hold(node_process *process, bool hold);
/* To the whole group. SIGTERM and SIGKILL also wake a stopped one. */
void node_process_signal(node_process *process, int number);
/* Asks it to end: no more input, SIGTERM, and SIGKILL when grace_ms are over. */
void node_process_end(node_process *process, int64_t grace_ms);
pid_t node_process_id(const node_process *process);

/* CPU time in milliseconds and resident bytes, from /proc. False: it is gone. */
bool node_process_measure(pid_t pid, int64_t *cpu_ms, int64_t *rss_bytes);
/* Kills processes of agents that an earlier node with this data folder left behind: those whose
 * environment says so. Only while holding the folder's lock. Returns how many. */
size_t node_process_kill_orphans(const char *data_dir);
#define NODE_ORPHAN_MARK "CX_AGENT_OF="
