#include "base/httpd.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/httpd_connection.h"
#include "base/io.h"
#include "base/time.h"

enum {
    BACKLOG = 128,
    HEADER_DEFAULT = 16 * 1024,
    BODY_DEFAULT = 1024 * 1024,
    CONNECTIONS_DEFAULT = 512,
    IDLE_DEFAULT_MS = 15000,
    REQUEST_DEFAULT_MS = 30000,
    SPARE_DEFAULT_MS = 1000,
};

/* "host:port", "[v6]:port", ":port" for every address; port 0 takes a free one. */
static bool split_address(const char *address, char **host, const char **port)
{
    const char *colon = strrchr(address, ':');
    size_t size = colon ? (size_t)(colon - address) : 0;

    if (!colon || !colon[1] || strlen(colon + 1) > 5 || colon[1 + strspn(colon + 1, "0123456789")])
        return false;
    if (strtoul(colon + 1, NULL, 10) > UINT16_MAX)
        return false;
    *port = colon + 1;
    if (size >= 2 && address[0] == '[' && address[size - 1] == ']')
        *host = cx_strndup(address + 1, size - 2);
    else if (!memchr(address, ':', size))
        *host = cx_strndup(address, size);
    else
        return false;
    return true;
}

static bool bind_to(const struct addrinfo *to, int *fd)
{
    CX_AUTO(cx_fd_close)
    int opened = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;

    if (opened < 0 || setsockopt(opened, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(opened, to->ai_addr, to->ai_addrlen) < 0 || listen(opened, BACKLOG) < 0)
        return false;
    *fd = opened;
    opened = -1;
    return true;
}

static bool open_socket(const char *address, int *fd, cx_err *err)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    CX_AUTO(cx_free) char *host = NULL;
    const char *port = NULL;
    bool is_bound = false;
    int fault;

    if (!split_address(address, &host, &port))
        return cx_fail(err, CX_INVALID, "listen on %s: not of the form host:port", address);
    fault = getaddrinfo(*host ? host : NULL, port, &hints, &found);
    if (fault != 0)
        return cx_fail(err, CX_UNAVAILABLE, "listen on %s: %s", address, gai_strerror(fault));
    for (const struct addrinfo *to = found; to && !is_bound; to = to->ai_next)
        is_bound = bind_to(to, fd);
    if (!is_bound) {
        cx_fail(err, errno == EACCES ? CX_PERMISSION : CX_UNAVAILABLE, "listen on %s: %s", address,
                strerrordesc_np(errno));
        if (errno == EADDRINUSE)
            cx_hint(err, "another process listens there: ss -ltnp shows which");
    }
    freeaddrinfo(found);
    return is_bound;
}

static void describe_peer(const struct sockaddr *address, socklen_t size,
                          char text[CX_PEER_TEXT_SIZE])
{
    char host[INET6_ADDRSTRLEN + 1] = "?", port[8] = "0";

    getnameinfo(address, size, host, sizeof(host), port, sizeof(port),
                NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(text, CX_PEER_TEXT_SIZE, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

/* Who opens connections and sends nothing would else keep all others out until the time-outs. */
static bool make_room(cx_httpd *httpd)
{
    cx_connection *each, *oldest = NULL;

    LIST_FOREACH (each, &httpd->connections, link) /* the newest first */
        if (cx_connection_waits_for_client(each))
            oldest = each;
    if (!oldest || cx_now_ms() - oldest->opened_ms < httpd->options.spare_ms)
        return false;
    cx_connection_close(oldest);
    return true;
}

static void on_accept(int fd, const struct sockaddr *address, socklen_t size, void *arg)
{
    cx_httpd *httpd = arg;
    char peer[CX_PEER_TEXT_SIZE];

    if (httpd->connection_count >= httpd->options.connections_max && !make_room(httpd)) {
        close(fd);
        return;
    }
    describe_peer(address, size, peer);
    cx_connection_open(httpd, fd, peer);
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    char port[8] = "0";

    if (getsockname(fd, (struct sockaddr *)&address, &size) == 0)
        getnameinfo((struct sockaddr *)&address, size, NULL, 0, port, sizeof(port), NI_NUMERICSERV);
    return (uint16_t)strtoul(port, NULL, 10);
}

static void fill_in_defaults(cx_httpd_options *options)
{
    if (options->header_max == 0)
        options->header_max = HEADER_DEFAULT;
    if (options->body_max == 0)
        options->body_max = BODY_DEFAULT;
    if (options->connections_max == 0)
        options->connections_max = CONNECTIONS_DEFAULT;
    if (options->idle_timeout_ms == 0)
        options->idle_timeout_ms = IDLE_DEFAULT_MS;
    if (options->request_timeout_ms == 0)
        options->request_timeout_ms = REQUEST_DEFAULT_MS;
    if (options->spare_ms == 0)
        options->spare_ms = SPARE_DEFAULT_MS;
}

bool cx_httpd_open(struct event_base *loop, const cx_httpd_options *options, cx_httpd **httpd,
                   cx_err *err)
{
    CX_AUTO(cx_httpd_close) cx_httpd *opened = NULL;
    CX_AUTO(cx_fd_close) int fd = -1;

    assert(options->handler);
    if (!open_socket(options->address, &fd, err))
        return false;
    opened = cx_alloc(1, sizeof(*opened));
    opened->loop = loop;
    opened->options = *options;
    opened->options.address = NULL; /* the caller's */
    fill_in_defaults(&opened->options);
    LIST_INIT(&opened->connections);
    opened->port = port_of(fd);
    opened->listener = cx_listener_open(loop, fd, on_accept, opened);
    fd = -1; /* the listener's */
    if (!opened->listener)
        return cx_fail(err, CX_INTERNAL, "listen on %s: the event loop refused", options->address);
    *httpd = CX_TAKE(opened);
    return true;
}

void cx_httpd_close(cx_httpd **owner)
{
    cx_httpd *httpd = CX_TAKE(*owner);

    if (!httpd)
        return;
    cx_listener_close(&httpd->listener);
    while (!LIST_EMPTY(&httpd->connections))
        cx_connection_close(LIST_FIRST(&httpd->connections));
    cx_free(&httpd);
}

uint16_t cx_httpd_port(const cx_httpd *httpd)
{
    return httpd->port;
}

void cx_httpd_stop_accepting(cx_httpd *httpd)
{
    cx_connection *next;

    httpd->stopping = true;
    cx_listener_close(&httpd->listener);
    for (cx_connection *each = LIST_FIRST(&httpd->connections); each; each = next) {
        next = LIST_NEXT(each, link);
        if (cx_connection_is_idle(each))
            cx_connection_close(each);
    }
}

size_t cx_httpd_connections(const cx_httpd *httpd)
{
    return httpd->connection_count;
}
