#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/io.h"
#include "base/text.h"
#include "family.h"
#include "lock.h"

enum { SIGNALLED = 128, LOOK_MS = 200 };

struct run_options {
    lock_place place;
    int64_t ttl_ms;
    int64_t wait_ms;
    const char *reason;
};

static const cx_option options[] = {
    {"ttl", CX_DURATION(struct run_options, ttl_ms), "DUR", "30s",
     "how long the lease outlives us if we die (1s to 24h); renewed after a third of it"},
    {"wait", CX_DURATION(struct run_options, wait_ms), "DUR", "0s",
     "wait so long for another holder to end"},
    {"reason", CX_TEXT(struct run_options, reason), "TEXT", NULL,
     "told to whoever waits for it; default: the command"},
    LOCK_NODE_OPTION(struct run_options, place),
    {0},
};

/* The command while it runs under the lease. */
struct job {
    cx_lease_client *lease;
    struct event_base *loop;
    struct event *signals, *killer;
    int signal_fd;
    pid_t pid;
    bool ended;
    int status; /* as waitpid gives it */
    bool lost;
    cx_err why;
};

static const int passed_on[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

static void job_close(struct job *job)
{
    if (job->signals != NULL)
        event_free(job->signals);
    if (job->killer != NULL)
        event_free(job->killer);
    cx_fd_close(&job->signal_fd);
}

/* ---- the command */

static void set_environment(const cx_lease_client *lease, const char *name)
{
    CX_AUTO(cx_free) char *fence = cx_format("%lld", (long long)cx_lease_fence(lease));

    setenv("CX_LOCK_NAME", name, 1);
    setenv("CX_LOCK_FENCE", fence, 1);
}

/* In the child. If we die without a word, nobody renews the lease: then the command must not go on. */
_Noreturn static void become(char *const *argv, const sigset_t *mask, pid_t parent, int report)
{
    int failure;

    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, mask, NULL);
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && getppid() == parent)
        execvp(argv[0], argv);
    failure = errno;
    if (write(report, &failure, sizeof failure) < 0)
        _exit(126);
    _exit(127);
}

/* True when the program runs; its own failures come later. */
static bool has_started(int report, const char *program, cx_err *err)
{
    int failure = 0;
    ssize_t size;

    do
        size = read(report, &failure, sizeof failure);
    while (size < 0 && errno == EINTR);
    if (size != (ssize_t)sizeof failure)
        return true;
    errno = failure;
    return cx_fail_errno(err, "run %s", program);
}

static bool start(struct job *job, const cx_run *run, const sigset_t *mask, cx_err *err)
{
    CX_AUTO(cx_free) char **argv = cx_alloc(run->arg_count, sizeof *argv);
    CX_AUTO(cx_fd_close) int reader = -1;
    CX_AUTO(cx_fd_close) int writer = -1;
    pid_t parent = getpid();
    int ends[2];

    for (size_t i = 1; i < run->arg_count; i++) /* the last stays NULL */
        argv[i - 1] = (char *)run->args[i];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return cx_fail_errno(err, "make a pipe");
    reader = ends[0];
    writer = ends[1];
    set_environment(job->lease, run->args[0]);
    job->pid = fork();
    if (job->pid < 0)
        return cx_fail_errno(err, "fork");
    if (job->pid == 0)
        become(argv, mask, parent, writer);
    cx_fd_close(&writer);
    return has_started(reader, argv[0], err);
}

/* What the command left behind comes to us; only the command itself decides. */
static void reap(struct job *job)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid != job->pid)
            continue;
        job->ended = true;
        job->status = status;
    }
    if (job->ended && (!job->lost || !family_has_children(getpid())))
        event_base_loopbreak(job->loop);
}

/* ---- signals, and the end of the lease */

/* A terminal's signals reach the command by themselves: it is in our process group. */
static void on_signals(evutil_socket_t fd, short what, void *arg)
{
    struct job *job = arg;
    struct signalfd_siginfo info;

    (void)what;
    while (read(fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            reap(job);
        else if (info.ssi_code != SI_KERNEL && !job->ended)
            kill(job->pid, (int)info.ssi_signo);
    }
}

/* Its time is over: by force, all of them, until none is left. */
static void on_kill(evutil_socket_t fd, short what, void *arg)
{
    struct job *job = arg;
    struct timeval again = {0, LOOK_MS * 1000};

    (void)fd;
    (void)what;
    family_signal(getpid(), SIGKILL);
    event_add(job->killer, &again);
}

static void on_lost(const cx_err *why, int64_t stop_within_ms, void *arg)
{
    struct job *job = arg;
    struct timeval grace = {stop_within_ms / 1000, stop_within_ms % 1000 * 1000};

    job->lost = true;
    job->why = *why;
    family_signal(getpid(), SIGTERM);
    family_signal(getpid(), SIGCONT); /* a stopped one could not end */
    event_add(job->killer, &grace);
}

/* Blocks the signals, so that from here on they come through the loop. */
static bool watch_signals(struct job *job, sigset_t *before, cx_err *err)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (size_t i = 0; i < CX_COUNT(passed_on); i++)
        sigaddset(&set, passed_on[i]);
    sigprocmask(SIG_BLOCK, &set, before);
    job->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (job->signal_fd < 0)
        return cx_fail_errno(err, "watch for signals");
    job->signals = event_new(job->loop, job->signal_fd, EV_READ | EV_PERSIST, on_signals, job);
    job->killer = evtimer_new(job->loop, on_kill, job);
    if (job->signals == NULL || job->killer == NULL || event_add(job->signals, NULL) < 0)
        return cx_fail(err, CX_INTERNAL, "no events");
    /* One that came before it was blocked. */
    return !cx_interrupted() || cx_fail(err, CX_INTERRUPTED, "interrupted");
}

static bool supervise(cx_run *run, cx_lease_client *lease, cx_err *err)
{
    CX_AUTO(job_close)
    struct job job = {.lease = lease, .loop = cx_lease_loop(lease), .signal_fd = -1};
    sigset_t before;

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (!watch_signals(&job, &before, err))
        return false;
    cx_lease_on_lost(lease, on_lost, &job);
    if (!start(&job, run, &before, err))
        return false;
    if (event_base_dispatch(job.loop) < 0)
        return cx_fail(err, CX_INTERNAL, "the event loop failed");
    if (job.lost) {
        *err = job.why;
        return false;
    }
    run->exit_status =
        WIFSIGNALED(job.status) ? SIGNALLED + WTERMSIG(job.status) : WEXITSTATUS(job.status);
    return true;
}

/* ---- the whole */

static char *words_of(const cx_run *run)
{
    cx_buffer text = {0};

    for (size_t i = 1; i < run->arg_count; i++)
        cx_buffer_addf(&text, "%s%s", i > 1 ? " " : "", run->args[i]);
    return cx_buffer_take_text(&text);
}

static bool run_leased(cx_run *run, lock_scope *scope, const struct run_options *option,
                       const cx_lease_request *request, cx_err *err)
{
    CX_AUTO(cx_lease_close) cx_lease_client *lease = NULL;
    cx_err unreleased;
    bool done;

    if (!cx_lease_open(scope->api, &scope->nodes, scope->expected, request, &lease, err) ||
        !cx_lease_acquire(lease, option->wait_ms, lock_remark, run, err))
        return false;
    done = supervise(run, lease, err);
    /* The command's status is ours, whatever becomes of the lease: it expires by itself. */
    if (!cx_lease_release(lease, &unreleased))
        cx_remark(run, "%s", unreleased.message);
    return done;
}

static bool run_command(cx_run *run, const void *parsed, cx_err *err)
{
    const struct run_options *option = parsed;
    CX_AUTO(lock_close) lock_scope scope = {0};
    CX_AUTO(cx_free) char *owner = NULL;
    CX_AUTO(cx_free) char *words = words_of(run);
    cx_lease_request request = {.name = run->args[0],
                                .reason = option->reason != NULL ? option->reason : words,
                                .ttl_ms = option->ttl_ms};

    if (!cx_check_id("lease name", request.name, err) || !cx_mark_of(getpid(), &request.mark, err))
        return false;
    owner = cx_mark_owner(&request.mark);
    request.owner = owner;
    if (!lock_open(run, &option->place, &scope, err))
        return false;
    if (run->dry_run)
        return lock_peek(run, &scope, request.name, owner, err);
    return run_leased(run, &scope, option, &request, err);
}

const cx_command lock_run = {
    .name = "run",
    .arguments = "NAME -- CMD…",
    .arguments_min = 2,
    .arguments_max = 0,
    .summary = "run a command under a lease that is renewed while it runs",
    .description =
        "The command's exit status is ours (128 + N when signal N ended it); signals are passed "
        "on. It finds the lease's name and fence in $CX_LOCK_NAME and $CX_LOCK_FENCE. When the "
        "lease is lost (too few nodes renew it in time, or it was cleared), the command and all "
        "that it started get SIGTERM, at most 10 s later SIGKILL, before anybody else can have "
        "the lease, and the exit status is 75. So it is when another holds the lease; --wait "
        "waits for it.",
    .options = options,
    .options_size = sizeof(struct run_options),
    .changes = true,
    .run = run_command,
};
