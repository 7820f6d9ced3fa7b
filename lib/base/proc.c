#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cli.h"
#include "base/io.h"
#include "base/time.h"

enum {
    KILL_AFTER_MS = 2000, /* what a process group has between SIGTERM and SIGKILL */
    PIPE_AFTER_MS = 1000, /* how long what a command left running may hold its pipes */
    LOOK_MS = 200,        /* a signal between the look and the wait is noticed this much later */
    LOOK_OFTEN_MS = 20,
    READ_SIZE = 64 * 1024,
    STATUS_OF_SIGNAL = 128,
};

extern char **environ;

struct pair {
    int ours, theirs;
};

struct child {
    const cx_proc_spec *spec;
    cx_proc_result *result;
    pid_t pid;
    int pid_fd;
    int in, out, errors; /* our ends; -1: closed */
    size_t written;
    bool has_ended;
    bool is_interrupted;
    int last_signal;     /* that was sent to the group; 0: none */
    int64_t deadline_ms; /* for the next signal, or to stop reading; INT64_MAX: none */
};

static void pair_close(struct pair *pair)
{
    cx_fd_close(&pair->ours);
    cx_fd_close(&pair->theirs);
}

/* Our end does not block. */
static bool pair_open(bool we_read, struct pair *pair, cx_err *err)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return cx_fail_errno(err, "pipe");
    *pair = we_read ? (struct pair){fds[0], fds[1]} : (struct pair){fds[1], fds[0]};
    if (fcntl(pair->ours, F_SETFL, O_NONBLOCK) < 0)
        return cx_fail_errno(err, "pipe");
    return true;
}

static int take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

static bool is_replaced(const char *variable, const char *const *additions)
{
    size_t name_size = strcspn(variable, "=");

    for (; additions && *additions; additions++)
        if (strncmp(*additions, variable, name_size) == 0 && (*additions)[name_size] == '=')
            return true;
    return false;
}

/* Only the list is ours, the texts are others'. */
static char **build_environment(const char *const *additions)
{
    size_t count = 0, at = 0;
    char **list;

    for (char **each = environ; each && *each; each++)
        count++;
    for (const char *const *each = additions; each && *each; each++)
        count++;
    list = cx_alloc(count + 1, sizeof(*list));
    for (char **each = environ; each && *each; each++)
        if (!is_replaced(*each, additions))
            list[at++] = *each;
    for (const char *const *each = additions; each && *each; each++)
        list[at++] = (char *)*each;
    return list;
}

/* A group of its own, so that its children end with it; signals as a shell would give them, since
 * ours may be ignored (SIGPIPE) or blocked (in a worker thread). */
static void describe_start(const cx_proc_spec *spec, const struct pair *in, const struct pair *out,
                           const struct pair *errors, posix_spawnattr_t *attributes,
                           posix_spawn_file_actions_t *actions)
{
    sigset_t none, defaults;

    sigemptyset(&none);
    sigemptyset(&defaults);
    for (int number = 1; number < NSIG; number++)
        if (number != SIGKILL && number != SIGSTOP)
            sigaddset(&defaults, number);
    posix_spawnattr_setpgroup(attributes, 0);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setsigdefault(attributes, &defaults);
    posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                             POSIX_SPAWN_SETSIGDEF);
    if (spec->folder)
        posix_spawn_file_actions_addchdir_np(actions, spec->folder);
    if (in->theirs >= 0)
        posix_spawn_file_actions_adddup2(actions, in->theirs, STDIN_FILENO);
    else
        posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(actions, out->theirs, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(actions, errors->theirs, STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
}

static bool spawn(const cx_proc_spec *spec, const struct pair *in, const struct pair *out,
                  const struct pair *errors, pid_t *pid, cx_err *err)
{
    CX_AUTO(cx_free) char **environment = build_environment(spec->env);
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    int fault;

    if (spec->folder && access(spec->folder, X_OK) < 0)
        return cx_fail_errno(err, "run %s in %s", spec->argv[0], spec->folder);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_init(&actions);
    describe_start(spec, in, out, errors, &attributes, &actions);
    fault = posix_spawnp(pid, spec->argv[0], &actions, &attributes, (char *const *)spec->argv,
                         environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (fault != 0) {
        errno = fault;
        return cx_fail_errno(err, "run %s", spec->argv[0]);
    }
    return true;
}

/* The exit status as shells give it. False: it runs on. */
static bool reap(struct child *child)
{
    int status = 0;
    pid_t ended;

    do
        ended = waitpid(child->pid, &status, WNOHANG);
    while (ended < 0 && errno == EINTR);
    if (ended == 0)
        return false;
    child->has_ended = true;
    child->result->status =
        WIFSIGNALED(status) ? STATUS_OF_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
    return true;
}

static bool start(const cx_proc_spec *spec, struct child *child, cx_err *err)
{
    CX_AUTO(pair_close) struct pair in = {-1, -1};
    CX_AUTO(pair_close) struct pair out = {-1, -1};
    CX_AUTO(pair_close) struct pair errors = {-1, -1};

    if (spec->input.size > 0 && !pair_open(false, &in, err))
        return false;
    if (!pair_open(true, &out, err) || !pair_open(true, &errors, err))
        return false;
    if (!spawn(spec, &in, &out, &errors, &child->pid, err))
        return false;
    child->pid_fd = pidfd_open(child->pid, 0); /* -1: a kernel without it, then we look often */
    child->in = take_fd(&in.ours);
    child->out = take_fd(&out.ours);
    child->errors = take_fd(&errors.ours);
    return true;
}

static void close_pipes(struct child *child)
{
    cx_fd_close(&child->in);
    cx_fd_close(&child->out);
    cx_fd_close(&child->errors);
}

static void signal_group(struct child *child, int number)
{
    child->last_signal = number;
    child->deadline_ms = cx_now_ms() + KILL_AFTER_MS;
    kill(-child->pid, number);
}

/* SIGPIPE is blocked meanwhile. */
static void feed(struct child *child)
{
    cx_bytes input = child->spec->input;
    ssize_t size = write(child->in, input.data + child->written, input.size - child->written);

    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (size > 0)
        child->written += (size_t)size;
    if (size < 0 || child->written == input.size) /* that it wants no more is its own affair */
        cx_fd_close(&child->in);
}

static void drain(int *fd, size_t size_max, cx_buffer *buffer)
{
    uint8_t block[READ_SIZE];
    ssize_t size = read(*fd, block, sizeof(block));
    size_t room = size_max - buffer->size;

    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (size <= 0)
        cx_fd_close(fd);
    else
        cx_buffer_add(buffer, block, (size_t)size < room ? (size_t)size : room);
}

static void wait_for_any(struct child *child)
{
    struct pollfd fds[] = {
        {.fd = child->in, .events = POLLOUT},
        {.fd = child->out, .events = POLLIN},
        {.fd = child->errors, .events = POLLIN},
        {.fd = child->has_ended ? -1 : child->pid_fd, .events = POLLIN},
    };
    int64_t left_ms = child->deadline_ms - cx_now_ms();
    int look_ms = child->pid_fd >= 0 ? LOOK_MS : LOOK_OFTEN_MS;

    if (left_ms < 0)
        left_ms = 0;
    if (poll(fds, CX_COUNT(fds), left_ms < look_ms ? (int)left_ms : look_ms) < 0)
        return;
    if (fds[0].revents)
        feed(child);
    if (fds[1].revents)
        drain(&child->out, child->spec->output_max, &child->result->output);
    if (fds[2].revents)
        drain(&child->errors, child->spec->output_max, &child->result->errors);
    if (!child->has_ended && (fds[3].revents || child->pid_fd < 0) && reap(child)) {
        cx_fd_close(&child->in);
        child->deadline_ms = cx_now_ms() + PIPE_AFTER_MS;
    }
}

static void act_on_time(struct child *child)
{
    if (cx_interrupted() && !child->is_interrupted && !child->has_ended) {
        child->is_interrupted = true;
        signal_group(child, SIGTERM);
    }
    if (cx_now_ms() < child->deadline_ms)
        return;
    if (child->has_ended) { /* what it left running holds its pipes */
        kill(-child->pid, SIGKILL);
        close_pipes(child);
        return;
    }
    child->result->timed_out = !child->is_interrupted;
    signal_group(child, child->last_signal == 0 ? SIGTERM : SIGKILL);
}

static void run_to_the_end(struct child *child)
{
    while (!child->has_ended || child->out >= 0 || child->errors >= 0) {
        wait_for_any(child);
        act_on_time(child);
    }
}

/* A child that closes its stdin early must not end us; the signal is for the writing thread. */
static void block_sigpipe(sigset_t *before)
{
    sigset_t pipe_only;

    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_only, before);
}

static void restore_signals(const sigset_t *before)
{
    sigset_t pipe_only;
    struct timespec at_once = {0};

    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    if (!sigismember(before, SIGPIPE))
        sigtimedwait(&pipe_only, NULL, &at_once);
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

bool cx_proc_run(const cx_proc_spec *spec, cx_proc_result *result, cx_err *err)
{
    struct child child = {.spec = spec,
                          .result = result,
                          .pid_fd = -1,
                          .in = -1,
                          .out = -1,
                          .errors = -1,
                          .deadline_ms = INT64_MAX};
    sigset_t before;

    *result = (cx_proc_result){0};
    if (cx_interrupted())
        return cx_fail(err, CX_INTERRUPTED, "run %s: interrupted", spec->argv[0]);
    if (!start(spec, &child, err))
        return false;
    if (spec->timeout_ms > 0)
        child.deadline_ms = cx_now_ms() + spec->timeout_ms;
    block_sigpipe(&before);
    run_to_the_end(&child);
    restore_signals(&before);
    close_pipes(&child);
    cx_fd_close(&child.pid_fd);
    if (child.is_interrupted)
        return cx_fail(err, CX_INTERRUPTED, "run %s: interrupted", spec->argv[0]);
    return true;
}

void cx_proc_result_free(cx_proc_result *result)
{
    cx_buffer_free(&result->output);
    cx_buffer_free(&result->errors);
    *result = (cx_proc_result){0};
}
