#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/map.h"
#include "lines.h"
#include "message.h"
#include "timer.h"

enum {
    READ_SIZE = 64 * 1024,
    READS_MAX = 16, /* in one turn of the loop: a chatty agent doesn't starve the others */
    ERROR_LINE_MAX = 4096,
    STATUS_FD = 3, /* in the child: where it tells why exec failed */
    ENVIRON_MAX = 256 * 1024,
};

typedef struct pipe_end {
    int fd;
    struct event *event;
} pipe_end;

struct node_processes {
    struct event_base *loop;
    struct event *child_event; /* SIGCHLD */
    cx_map *by_pid;
};

struct node_process {
    node_process_options options;
    node_processes *all;
    pid_t pid;
    pipe_end input, output, errors, status;
    struct event *kill_timer;
    cx_buffer unwritten;
    node_lines lines, error_lines;
    node_process_exit how;
    bool held;
    bool reaped;
    bool *closed; /* set when a callback closes the process while we are in its code */
};

/* ---- the child */

typedef struct newborn {
    const node_process_options *options;
    char **argv;
    int input, output, errors, status;
    pid_t parent;
} newborn;

static void limit(int resource, int64_t value)
{
    struct rlimit bound = {(rlim_t)value, (rlim_t)value};

    setrlimit(resource, &bound);
}

static bool place_descriptors(const newborn *child)
{
    return dup2(child->input, 0) >= 0 && dup2(child->output, 1) >= 0 &&
           dup2(child->errors, 2) >= 0 &&
           (child->status == STATUS_FD || dup3(child->status, STATUS_FD, O_CLOEXEC) >= 0) &&
           close_range(STATUS_FD + 1, ~0U, CLOSE_RANGE_CLOEXEC) == 0;
}

static bool confine(const node_spec *spec)
{
    umask(077);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, spec->open_files);
    if (spec->memory_bytes != 0)
        limit(RLIMIT_DATA, spec->memory_bytes);
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

/* Runs between fork and exec: async-signal-safe calls only. */
_Noreturn static void become_agent(const newborn *child)
{
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigset_t none;
    int number;

    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != child->parent) /* it died before we asked to die with it */
        _exit(127);
    for (number = 1; number < NSIG; number++)
        sigaction(number, &plain, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (place_descriptors(child) && chdir(child->options->folder) == 0 &&
        confine(child->options->spec))
        execve(child->options->program, child->argv, (char **)child->options->env);
    number = errno;
    (void)!write(STATUS_FD, &number, sizeof number);
    _exit(127);
}

/* ---- channels */

static void close_channel(pipe_end *channel)
{
    if (channel->event != NULL)
        event_free(channel->event);
    channel->event = NULL;
    cx_fd_close(&channel->fd);
}

static bool watch(node_process *process, pipe_end *channel, short what, event_callback_fn callback,
                  cx_err *err)
{
    channel->event = event_new(process->all->loop, channel->fd, what, callback, process);
    if (channel->event == NULL)
        return cx_fail(err, CX_INTERNAL, "no event for a process");
    return true;
}

/* Reads what is there, at most `rounds` times, and hands lines on. False when the process was
 * closed meanwhile. */
static bool take_output(node_process *process, pipe_end *channel, node_lines *lines,
                        void (*line_of)(node_process *, node_line_kind, cx_bytes), int rounds)
{
    uint8_t data[READ_SIZE];
    bool closed = false;

    process->closed = &closed; /* cppcheck-suppress autoVariables; reset below */
    while (rounds-- > 0 && channel->fd >= 0) {
        ssize_t size = read(channel->fd, data, sizeof data);
        cx_bytes line = {0};
        node_line_kind kind;

        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0 && errno == EAGAIN)
            break;
        if (size <= 0) {
            close_channel(channel);
            break;
        }
        node_lines_add(lines, (cx_bytes){data, (size_t)size});
        while ((kind = node_lines_next(lines, &line)) != NODE_LINE_NONE) {
            line_of(process, kind, line);
            if (closed)
                return false;
        }
    }
    process->closed = NULL;
    return true;
}

static void output_line(node_process *process, node_line_kind kind, cx_bytes line)
{
    process->options.line(kind == NODE_LINE_WHOLE ? line : (cx_bytes){0}, process->options.arg);
}

static void error_line(node_process *process, node_line_kind kind, cx_bytes line)
{
    if (kind == NODE_LINE_WHOLE)
        process->options.error_line(line, process->options.arg);
}

static void on_output(evutil_socket_t fd, short what, void *arg)
{
    node_process *process = arg;

    (void)fd;
    (void)what;
    (void)!take_output(process, &process->output, &process->lines, output_line, READS_MAX);
}

static void on_errors(evutil_socket_t fd, short what, void *arg)
{
    node_process *process = arg;

    (void)fd;
    (void)what;
    (void)!take_output(process, &process->errors, &process->error_lines, error_line, READS_MAX);
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
    node_process *process = arg;
    ssize_t size;

    (void)what;
    while (process->unwritten.size > 0) {
        size = write(fd, process->unwritten.data, process->unwritten.size);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0 && errno == EAGAIN)
            break;
        if (size < 0) { /* it reads no more: its exit, or the message's deadline, tells the rest */
            cx_buffer_free(&process->unwritten);
            break;
        }
        cx_buffer_consume(&process->unwritten, (size_t)size);
    }
    if (process->unwritten.size > 0)
        event_add(process->input.event, NULL);
}

/* The status pipe closes by itself when exec succeeds; else it brings errno. */
static void on_status(evutil_socket_t fd, short what, void *arg)
{
    node_process *process = arg;
    int number = 0;
    ssize_t size = read(fd, &number, sizeof number);

    (void)what;
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    close_channel(&process->status);
    if (size == (ssize_t)sizeof number)
        process->how.exec_errno = number;
    else
        process->options.started(process->options.arg);
}

typedef struct pid_key {
    char text[16];
} pid_key;

static pid_key key_of(pid_t pid)
{
    pid_key key;

    snprintf(key.text, sizeof key.text, "%d", (int)pid);
    return key;
}

static void reap(node_process *process, int flags)
{
    siginfo_t info = {0};

    if (process->reaped || waitid(P_PID, (id_t)process->pid, &info, WEXITED | flags) < 0 ||
        info.si_pid == 0)
        return;
    process->reaped = true;
    process->how.status = info.si_code == CLD_EXITED ? info.si_status : -1;
    process->how.signal = info.si_code == CLD_EXITED ? 0 : info.si_status;
}

static void on_exit_of(node_process *process)
{
    void (*ended)(const node_process_exit *, void *) = process->options.ended;

    /* Before it is reaped its number can't be another's, so the group is surely its own. */
    kill(-process->pid, SIGKILL);
    reap(process, WNOHANG);
    cx_map_remove(process->all->by_pid, key_of(process->pid).text);
    if (process->status.fd >= 0)
        on_status(process->status.fd, EV_READ, process);
    /* What it printed last counts: bounded by what the pipes hold. */
    if (!take_output(process, &process->output, &process->lines, output_line, READS_MAX * 4) ||
        !take_output(process, &process->errors, &process->error_lines, error_line, READS_MAX))
        return;
    ended(&process->how, process->options.arg);
}

/* One signal may stand for many children: asks until none is left. */
static void on_child(evutil_socket_t number, short what, void *arg)
{
    node_processes *all = arg;
    siginfo_t info;

    (void)number;
    (void)what;
    for (;;) {
        node_process *process;

        info = (siginfo_t){0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
            return;
        process = cx_map_get(all->by_pid, key_of(info.si_pid).text);
        if (process != NULL)
            on_exit_of(process);
        else
            waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WNOHANG); /* nobody's any more */
    }
}

static void on_kill(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    node_process_signal(arg, SIGKILL);
}

/* ---- start */

static bool open_pipe(int *read_end, int *write_end, cx_err *err)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return cx_fail_errno(err, "make a pipe");
    *read_end = ends[0];
    *write_end = ends[1];
    return true;
}

static void close_child_ends(newborn *child)
{
    cx_fd_close(&child->input);
    cx_fd_close(&child->output);
    cx_fd_close(&child->errors);
    cx_fd_close(&child->status);
}

static bool open_pipes(node_process *process, newborn *child, cx_err *err)
{
    return open_pipe(&child->input, &process->input.fd, err) &&
           open_pipe(&process->output.fd, &child->output, err) &&
           open_pipe(&process->errors.fd, &child->errors, err) &&
           open_pipe(&process->status.fd, &child->status, err) &&
           (evutil_make_socket_nonblocking(process->input.fd) == 0 &&
                    evutil_make_socket_nonblocking(process->output.fd) == 0 &&
                    evutil_make_socket_nonblocking(process->errors.fd) == 0 &&
                    evutil_make_socket_nonblocking(process->status.fd) == 0
                ? true
                : cx_fail_errno(err, "make a pipe non-blocking"));
}

static bool fork_agent(node_process *process, newborn *child, cx_err *err)
{
    process->pid = fork();
    if (process->pid == 0)
        become_agent(child);
    if (process->pid < 0)
        return cx_fail_errno(err, "fork");
    cx_map_put(process->all->by_pid, key_of(process->pid).text, process);
    return true;
}

static bool watch_all(node_process *process, cx_err *err)
{
    if (!watch(process, &process->input, EV_WRITE, on_input, err) ||
        !watch(process, &process->output, EV_READ | EV_PERSIST, on_output, err) ||
        !watch(process, &process->errors, EV_READ | EV_PERSIST, on_errors, err) ||
        !watch(process, &process->status, EV_READ | EV_PERSIST, on_status, err))
        return false;
    process->kill_timer = evtimer_new(process->all->loop, on_kill, process);
    event_add(process->output.event, NULL);
    event_add(process->errors.event, NULL);
    event_add(process->status.event, NULL);
    return true;
}

node_processes *node_processes_open(struct event_base *loop)
{
    node_processes *all = cx_alloc(1, sizeof *all);

    all->loop = loop;
    all->by_pid = cx_map_open();
    all->child_event = evsignal_new(loop, SIGCHLD, on_child, all);
    event_add(all->child_event, NULL);
    return all;
}

void node_processes_close(node_processes **owner)
{
    node_processes *all = *owner;

    if (all == NULL)
        return;
    event_free(all->child_event);
    cx_map_close(&all->by_pid);
    cx_free(owner);
}

bool node_process_start(node_processes *all, const node_process_options *options,
                        node_process **result, cx_err *err)
{
    CX_AUTO(node_process_close) node_process *process = cx_alloc(1, sizeof *process);
    CX_AUTO(close_child_ends)
    newborn child = {options, NULL, -1, -1, -1, -1, getpid()};
    CX_AUTO(cx_free) char **argv = NULL;
    const cx_list *command = &options->spec->command;

    process->options = *options;
    process->all = all;
    process->input.fd = process->output.fd = process->errors.fd = -1;
    process->status.fd = -1;
    process->how = (node_process_exit){.status = -1};
    process->lines.line_max = NODE_REPLY_MAX;
    process->error_lines.line_max = ERROR_LINE_MAX;
    argv = cx_alloc(command->count + 1, sizeof *argv);
    memcpy(argv, command->items, command->count * sizeof *argv);
    child.argv = argv;
    if (!open_pipes(process, &child, err) || !fork_agent(process, &child, err) ||
        !watch_all(process, err))
        return false;
    *result = CX_TAKE(process);
    return true;
}

void node_process_close(node_process **owner)
{
    node_process *process = *owner;

    if (process == NULL)
        return;
    if (process->closed != NULL)
        *process->closed = true;
    if (process->pid > 0 && !process->reaped) {
        kill(-process->pid, SIGKILL);
        kill(process->pid, SIGKILL); /* before its setsid the group is not there yet */
        reap(process, 0);            /* SIGKILL can't be refused: this is short */
        cx_map_remove(process->all->by_pid, key_of(process->pid).text);
    }
    close_channel(&process->input);
    close_channel(&process->output);
    close_channel(&process->errors);
    close_channel(&process->status);
    if (process->kill_timer != NULL)
        event_free(process->kill_timer);
    cx_buffer_free(&process->unwritten);
    node_lines_free(&process->lines);
    node_lines_free(&process->error_lines);
    cx_free(owner);
}

void node_process_write(node_process *process, cx_bytes bytes)
{
    if (process->input.fd < 0)
        return;
    cx_buffer_add(&process->unwritten, bytes.data, bytes.size);
    on_input(process->input.fd, EV_WRITE, process);
}

void node_process_hold(node_process *process, bool hold)
{
    if (process->held == hold || process->output.event == NULL)
        return;
    process->held = hold;
    if (hold)
        event_del(process->output.event);
    else
        event_add(process->output.event, NULL);
}

void node_process_signal(node_process *process, int number)
{
    if (process->reaped)
        return;
    kill(-process->pid, number);
    if (number == SIGTERM)
        kill(-process->pid, SIGCONT);
}

void node_process_end(node_process *process, int64_t grace_ms)
{
    close_channel(&process->input);
    node_process_signal(process, SIGTERM);
    node_timer_set(process->kill_timer, grace_ms);
}

pid_t node_process_id(const node_process *process)
{
    return process->pid;
}

/* ---- /proc */

static bool read_proc(pid_t pid, const char *name, char *data, size_t size)
{
    char path[64];
    int fd;
    ssize_t got;

    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    got = read(fd, data, size - 1);
    cx_fd_close(&fd);
    data[got < 0 ? 0 : got] = '\0';
    return got > 0;
}

bool node_process_measure(pid_t pid, int64_t *cpu_ms, int64_t *rss_bytes)
{
    char text[1024];
    const char *rest;
    unsigned long user = 0, system = 0;
    long rss = 0;

    /* The name in parentheses may hold anything; what follows the last one is numbers. */
    if (!read_proc(pid, "stat", text, sizeof text) || (rest = strrchr(text, ')')) == NULL ||
        sscanf(rest + 1,
               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d"
               " %*u %*u %ld",
               &user, &system, &rss) != 3)
        return false;
    *cpu_ms = (int64_t)(user + system) * 1000 / sysconf(_SC_CLK_TCK);
    *rss_bytes = (int64_t)rss * sysconf(_SC_PAGESIZE);
    return true;
}

/* Whether a process's environment holds the entry. */
static bool has_entry(pid_t pid, const char *entry)
{
    char path[64];
    CX_AUTO(cx_free) char *data = cx_alloc(ENVIRON_MAX, 1);
    CX_AUTO(cx_fd_close) int fd = -1;
    ssize_t size = 0, got;

    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && size < ENVIRON_MAX - 1 &&
           (got = read(fd, data + size, (size_t)(ENVIRON_MAX - 1 - size))) > 0)
        size += got;
    for (const char *at = data; at < data + size; at += strlen(at) + 1)
        if (strcmp(at, entry) == 0)
            return true;
    return false;
}

size_t node_process_kill_orphans(const char *data_dir)
{
    CX_AUTO(cx_free) char *entry = cx_format(NODE_ORPHAN_MARK "%s", data_dir);
    DIR *folder = opendir("/proc");
    const struct dirent *each;
    size_t killed = 0;

    if (folder == NULL)
        return 0;
    while ((each = readdir(folder)) != NULL) {
        pid_t pid = (pid_t)strtol(each->d_name, NULL, 10);

        if (pid > 1 && pid != getpid() && has_entry(pid, entry) && kill(pid, SIGKILL) == 0)
            killed++;
    }
    closedir(folder);
    return killed;
}
