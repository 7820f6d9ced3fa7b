#include "gossip/control.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cli.h"
#include "base/io.h"
#include "base/time.h"

enum {
    READ_BYTES = 64 * 1024,
    CONNECT_RETRY_MS = 20, /* a full backlog of a Unix socket says EAGAIN and can't be polled for */
    TURN_MS = 200,         /* how late an interrupt may be noticed when it came before poll(2) */
};

struct cx_control {
    int fd;
    char *path;
    cx_buffer input; /* received and not yet handed out */
};

/* Waits for events until deadline_ms; TIMEOUT names what was waited for. */
static bool wait_ready(const cx_control *control, short events, int64_t deadline_ms,
                       const char *what, cx_err *err)
{
    struct pollfd wait = {.fd = control->fd, .events = events};

    for (;;) {
        int64_t left_ms = deadline_ms - cx_now_ms();

        if (cx_interrupted())
            return cx_fail(err, CX_INTERRUPTED, "interrupted while waiting for %s", control->path);
        if (left_ms <= 0)
            return cx_fail(err, CX_TIMEOUT, "%s did not %s in time", control->path, what);

        int ready = poll(&wait, 1, (int)(left_ms < TURN_MS ? left_ms : TURN_MS));

        if (ready > 0)
            return true;
        if (ready < 0 && errno != EINTR)
            return cx_fail_errno(err, "poll %s", control->path);
    }
}

static bool gone(const cx_control *control, cx_err *err)
{
    return cx_fail(err, CX_UNAVAILABLE, "the gossip agent closed %s", control->path);
}

static bool send_all(cx_control *control, const char *text, size_t size, int64_t deadline_ms,
                     cx_err *err)
{
    while (size > 0) {
        ssize_t sent = send(control->fd, text, size, MSG_NOSIGNAL);

        if (sent >= 0) {
            text += sent;
            size -= (size_t)sent;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return gone(control, err);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (!wait_ready(control, POLLOUT, deadline_ms, "take the request", err))
                return false;
        } else if (errno != EINTR) {
            return cx_fail_errno(err, "write to %s", control->path);
        }
    }
    return true;
}

/* Reads until a whole line is there; *size is its length without the newline. */
static bool read_line(cx_control *control, int64_t deadline_ms, size_t *size, cx_err *err)
{
    size_t searched = 0;

    for (;;) {
        const uint8_t *from = control->input.data;
        const uint8_t *end = control->input.size > searched
                                 ? memchr(from + searched, '\n', control->input.size - searched)
                                 : NULL;

        if (end != NULL && (size_t)(end - from) <= CX_CONTROL_LINE_MAX) {
            *size = (size_t)(end - from);
            return true;
        }
        searched = control->input.size;
        if (searched > CX_CONTROL_LINE_MAX)
            return cx_fail(err, CX_TOO_LARGE, "%s sent a line of more than %d bytes", control->path,
                           CX_CONTROL_LINE_MAX);

        uint8_t *room = cx_buffer_reserve(&control->input, READ_BYTES);
        ssize_t got = recv(control->fd, room, READ_BYTES, 0);

        if (got == 0 || (got < 0 && errno == ECONNRESET))
            return gone(control, err);
        if (got > 0)
            control->input.size += (size_t)got;
        else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (!wait_ready(control, POLLIN, deadline_ms, "answer", err))
                return false;
        } else if (errno != EINTR)
            return cx_fail_errno(err, "read from %s", control->path);
    }
}

static bool connect_until(cx_control *control, const struct sockaddr_un *address,
                          int64_t deadline_ms, cx_err *err)
{
    while (connect(control->fd, (const struct sockaddr *)address, sizeof *address) < 0) {
        switch (errno) {
        case EINTR:
        case EAGAIN:
            if (cx_interrupted())
                return cx_fail(err, CX_INTERRUPTED, "interrupted while connecting to %s",
                               control->path);
            if (cx_now_ms() >= deadline_ms)
                return cx_fail(err, CX_TIMEOUT, "connect to %s: the agent is too busy",
                               control->path);
            (void)poll(NULL, 0, CONNECT_RETRY_MS);
            break;
        case ENOENT:
        case ECONNREFUSED:
            cx_fail(err, CX_UNAVAILABLE, "no gossip agent listens on %s", control->path);
            return cx_hint(err, "start one with cx-gossip agent, or check run_dir in the config");
        case EACCES:
        case EPERM:
            cx_fail(err, CX_PERMISSION, "%s: permission denied", control->path);
            return cx_hint(err, "its owner and group may talk to the gossip agent");
        default: return cx_fail_errno(err, "connect to %s", control->path);
        }
    }
    return true;
}

bool cx_control_open(const char *socket_path, int64_t timeout_ms, cx_control **control, cx_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    CX_AUTO(cx_control_close) cx_control *opened = NULL;

    if (strlen(socket_path) >= sizeof address.sun_path)
        return cx_fail(err, CX_INVALID, "%s: a socket's path may have at most %zu bytes",
                       socket_path, sizeof address.sun_path - 1);
    memcpy(address.sun_path, socket_path, strlen(socket_path) + 1);

    opened = cx_alloc(1, sizeof *opened);
    opened->path = cx_strdup(socket_path);
    opened->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (opened->fd < 0)
        return cx_fail_errno(err, "socket for %s", socket_path);
    if (!connect_until(opened, &address, cx_now_ms() + timeout_ms, err))
        return false;
    *control = CX_TAKE(opened);
    return true;
}

void cx_control_close(cx_control **owner)
{
    cx_control *control = *owner;

    if (control == NULL)
        return;
    cx_fd_close(&control->fd);
    cx_buffer_free(&control->input);
    cx_free(&control->path);
    cx_free(owner);
}

bool cx_control_ask(cx_control *control, const json_t *request, int64_t timeout_ms, json_t **answer,
                    cx_err *err)
{
    CX_AUTO(cx_free) char *text = cx_json_line(request);
    CX_AUTO(cx_free) char *line = cx_format("%s\n", text);
    CX_AUTO(cx_json_free) json_t *document = NULL;
    int64_t deadline_ms = cx_now_ms() + timeout_ms;

    if (!send_all(control, line, strlen(line), deadline_ms, err) ||
        !cx_control_next(control, deadline_ms - cx_now_ms(), &document, err))
        return false;
    if (json_object_get(document, "error") != NULL)
        return cx_err_from_json(document, err);
    *answer = CX_TAKE(document);
    return true;
}

bool cx_control_next(cx_control *control, int64_t timeout_ms, json_t **line, cx_err *err)
{
    size_t size = 0;

    if (!read_line(control, cx_now_ms() + timeout_ms, &size, err))
        return false;

    cx_bytes text = {control->input.data, size};
    bool parsed = cx_json_parse(text, CX_CONTROL_LINE_MAX, control->path, line, err);

    cx_buffer_consume(&control->input, size + 1);
    return parsed;
}

int cx_control_fd(const cx_control *control)
{
    return control->fd;
}

bool cx_control_once(const char *socket_path, const json_t *request, int64_t timeout_ms,
                     json_t **answer, cx_err *err)
{
    CX_AUTO(cx_control_close) cx_control *control = NULL;
    int64_t deadline_ms = cx_now_ms() + timeout_ms;

    return cx_control_open(socket_path, timeout_ms, &control, err) &&
           cx_control_ask(control, request, deadline_ms - cx_now_ms(), answer, err);
}
