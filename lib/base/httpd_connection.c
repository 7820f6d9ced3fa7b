#include "base/httpd_connection.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/time.h"

enum {
    LINGER_MS = 2000, /* a client that sends on after its refusal for longer sees a reset */
    RATE_MIN = 32,    /* bytes a millisecond: what a client must take of a large answer */
};

static const char *reason_of(int status)
{
    switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 417: return "Expectation Failed";
    case 422: return "Unprocessable Content";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Status"; /* clients look at the number only */
    }
}

/* RFC 9110, 5.6.7; not by strftime, whose names follow the locale. */
static void add_date(struct evbuffer *output)
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = (time_t)(cx_wall_ms() / 1000);
    struct tm utc;

    if (gmtime_r(&now, &utc))
        evbuffer_add_printf(output, "Date: %s, %02d %s %d %02d:%02d:%02d GMT\r\n",
                            days[utc.tm_wday], utc.tm_mday, months[utc.tm_mon], utc.tm_year + 1900,
                            utc.tm_hour, utc.tm_min, utc.tm_sec);
}

static size_t pending_bytes(const cx_connection *connection)
{
    return evbuffer_get_length(bufferevent_get_output(connection->stream));
}

static int64_t deadline_ms(const cx_connection *connection)
{
    const cx_httpd_options *options = &connection->httpd->options;
    int64_t idle_ms = connection->moved_ms + options->idle_timeout_ms;
    int64_t whole_ms = connection->request_ms + options->request_timeout_ms;

    switch (connection->phase) {
    case CX_PHASE_HANDSHAKE: return connection->since_ms + options->idle_timeout_ms;
    case CX_PHASE_HEAD:
        if (connection->since_ms == 0)
            return idle_ms;
        return idle_ms < whole_ms ? idle_ms : whole_ms;
    case CX_PHASE_BODY: return idle_ms < whole_ms ? idle_ms : whole_ms;
    case CX_PHASE_HANDLER: return pending_bytes(connection) > 0 ? idle_ms : INT64_MAX;
    case CX_PHASE_FLUSH:
        whole_ms = connection->since_ms + options->request_timeout_ms +
                   (int64_t)(connection->flush_size / RATE_MIN);
        return idle_ms < whole_ms ? idle_ms : whole_ms;
    case CX_PHASE_LINGER: return connection->since_ms + LINGER_MS;
    }
    return 0;
}

/* The timer may fire early, since bytes that moved only move the deadline; on_timer looks again. */
static void arm(cx_connection *connection, int64_t at_ms)
{
    int64_t left_ms = at_ms - cx_now_ms();
    struct timeval wait = {0};

    if (at_ms == INT64_MAX) {
        event_del(connection->timer);
        return;
    }
    if (left_ms > 0)
        wait = (struct timeval){left_ms / 1000, (left_ms % 1000) * 1000};
    event_add(connection->timer, &wait);
}

static void enter(cx_connection *connection, enum cx_phase phase)
{
    connection->phase = phase;
    connection->moved_ms = cx_now_ms();
    connection->since_ms = phase == CX_PHASE_HEAD ? 0 : connection->moved_ms;
    if (phase == CX_PHASE_HEAD)
        connection->scanned = 0;
    arm(connection, deadline_ms(connection));
}

static void free_exchange(cx_connection *connection)
{
    cx_exchange *exchange = CX_TAKE(connection->exchange);

    if (!exchange)
        return;
    cx_httpwire_head_free(&exchange->head);
    cx_buffer_free(&exchange->body);
    cx_buffer_free(&exchange->headers);
    cx_free(&exchange);
}

static void say_goodbye(cx_connection *connection)
{
    if (connection->ssl && SSL_is_init_finished(connection->ssl)) {
        SSL_shutdown(connection->ssl); /* so that the client knows that nothing was cut off */
        ERR_clear_error();
    }
}

static void start_flush(cx_connection *connection)
{
    connection->flush_size = pending_bytes(connection);
    enter(connection, CX_PHASE_FLUSH);
    if (connection->flush_size == 0) /* no write will call back */
        event_active(connection->timer, EV_TIMEOUT, 0);
}

static const char *why_refused(int status)
{
    switch (status) {
    case 405: return "method not allowed: GET, HEAD, POST, PUT and DELETE are";
    case 408: return "the request took too long";
    case 413: return "the body is too large";
    case 431: return "the header is too large";
    case 500: return "the request was not answered";
    default: return reason_of(status);
    }
}

/* For requests that the handler never sees, and those that it forgot. */
static void refuse(cx_connection *connection, int status)
{
    cx_err error = {.code = cx_code_from_http(status)};
    CX_AUTO(cx_json_free) json_t *document = NULL;
    CX_AUTO(cx_free) char *text = NULL;

    cx_fail(&error, cx_code_from_http(status), "%s", why_refused(status));
    document = cx_err_to_json(&error);
    text = cx_json_line(document);
    free_exchange(connection);
    connection->close_after = true;
    connection->linger_after = true;
    cx_connection_write_head(connection, status, "application/json", (int64_t)strlen(text),
                             (cx_bytes){0}, false);
    bufferevent_write(connection->stream, text, strlen(text));
    start_flush(connection);
}

static void hand_over(cx_connection *connection)
{
    cx_httpd *httpd = connection->httpd;
    cx_exchange *exchange = connection->exchange;

    exchange->is_head = strcmp(exchange->head.method, "HEAD") == 0;
    if (exchange->is_head)
        exchange->head.method = "GET";
    connection->close_after = !exchange->head.keep_alive;
    connection->linger_after = false;
    enter(connection, CX_PHASE_HANDLER);
    httpd->options.handler(exchange, httpd->options.handler_arg);
    if (connection->phase == CX_PHASE_HANDLER && !connection->exchange->is_kept)
        refuse(connection, 500);
}

/* True when there may be more to do with what has come in. */
static bool read_head(cx_connection *connection)
{
    struct evbuffer *input = bufferevent_get_input(connection->stream);
    size_t size = evbuffer_get_length(input);
    size_t header_max = connection->httpd->options.header_max;
    cx_exchange *exchange;
    struct evbuffer_ptr from, end;
    unsigned char first;
    int status;

    if (size == 0)
        return false;
    if (connection->since_ms == 0) {
        connection->since_ms = connection->request_ms = connection->moved_ms;
        arm(connection, deadline_ms(connection));
    }
    /* Who speaks another protocol is told at once and not after a time-out. */
    if (evbuffer_copyout(input, &first, 1) == 1 && (first < 'A' || first > 'Z')) {
        refuse(connection, 400);
        return false;
    }
    evbuffer_ptr_set(input, &from, connection->scanned, EVBUFFER_PTR_SET);
    end = evbuffer_search(input, "\r\n\r\n", 4, &from);
    if ((end.pos < 0 && size > header_max) || (end.pos >= 0 && (size_t)end.pos + 4 > header_max)) {
        refuse(connection, 431);
        return false;
    }
    if (end.pos < 0) {
        connection->scanned = size > 3 ? size - 3 : 0;
        return false;
    }
    size = (size_t)end.pos + 4;
    exchange = connection->exchange = cx_alloc(1, sizeof(*exchange));
    exchange->connection = connection;
    status =
        cx_httpwire_parse((cx_bytes){evbuffer_pullup(input, (ssize_t)size), size}, &exchange->head);
    evbuffer_drain(input, size);
    if (status == 0 && exchange->head.content_length > connection->httpd->options.body_max)
        status = 413;
    if (status != 0) {
        refuse(connection, status);
        return false;
    }
    if (exchange->head.is_chunked || exchange->head.content_length > 0) {
        if (exchange->head.wants_continue)
            evbuffer_add_printf(bufferevent_get_output(connection->stream),
                                "HTTP/1.1 100 Continue\r\n\r\n");
        enter(connection, CX_PHASE_BODY);
        return true;
    }
    hand_over(connection);
    return false;
}

static bool read_body(cx_connection *connection)
{
    struct evbuffer *input = bufferevent_get_input(connection->stream);
    cx_exchange *exchange = connection->exchange;
    bool is_whole = false;

    while (!is_whole && evbuffer_get_length(input) > 0) {
        size_t size = evbuffer_get_contiguous_space(input);
        cx_bytes rest = {evbuffer_pullup(input, (ssize_t)size), size};
        int status = 0;

        if (exchange->head.is_chunked) {
            status = cx_httpwire_chunked_take(&exchange->chunked, &rest,
                                              connection->httpd->options.body_max, &exchange->body);
            is_whole = exchange->chunked.state == CX_CHUNKED_DONE;
        } else {
            size_t left = (size_t)exchange->head.content_length - exchange->body.size;
            size_t taken = size < left ? size : left;

            cx_buffer_add(&exchange->body, rest.data, taken);
            rest.size -= taken;
            is_whole = taken == left;
        }
        if (status != 0) {
            refuse(connection, status);
            return false;
        }
        evbuffer_drain(input, size - rest.size);
    }
    if (is_whole)
        hand_over(connection);
    return false;
}

static void advance(cx_connection *connection)
{
    struct evbuffer *input = bufferevent_get_input(connection->stream);
    bool more = true;

    while (more) {
        more = false;
        switch (connection->phase) {
        case CX_PHASE_HEAD: more = read_head(connection); break;
        case CX_PHASE_BODY: more = read_body(connection); break;
        case CX_PHASE_LINGER: evbuffer_drain(input, evbuffer_get_length(input)); break;
        case CX_PHASE_HANDSHAKE:
        case CX_PHASE_HANDLER:
        case CX_PHASE_FLUSH:
            /* The next request has to wait. Reading goes on a little, to see the client leave. */
            if (connection->linger_after)
                evbuffer_drain(input, evbuffer_get_length(input));
            else if (evbuffer_get_length(input) > connection->httpd->options.header_max)
                bufferevent_disable(connection->stream, EV_READ);
            break;
        }
    }
}

static void linger(cx_connection *connection)
{
    shutdown(bufferevent_getfd(connection->stream), SHUT_WR);
    enter(connection, CX_PHASE_LINGER);
    bufferevent_enable(connection->stream, EV_READ);
}

static void end_flush(cx_connection *connection)
{
    if (!connection->close_after && !connection->httpd->stopping) {
        enter(connection, CX_PHASE_HEAD);
        bufferevent_enable(connection->stream, EV_READ);
        advance(connection);
        return;
    }
    if (!connection->linger_after) {
        cx_connection_close(connection);
        return;
    }
    say_goodbye(connection);
    linger(connection);
}

static void on_read(struct bufferevent *stream, void *arg)
{
    cx_connection *connection = arg;

    (void)stream;
    if (connection->phase == CX_PHASE_HEAD || connection->phase == CX_PHASE_BODY)
        connection->moved_ms = cx_now_ms();
    advance(connection);
}

static void on_written(struct bufferevent *stream, void *arg)
{
    cx_connection *connection = arg;

    (void)stream;
    if (connection->phase == CX_PHASE_FLUSH && pending_bytes(connection) == 0)
        end_flush(connection);
}

static void on_output(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg)
{
    cx_connection *connection = arg;

    (void)output;
    if (info->n_deleted > 0 &&
        (connection->phase == CX_PHASE_HANDLER || connection->phase == CX_PHASE_FLUSH))
        connection->moved_ms = cx_now_ms();
}

/* The first cause: OpenSSL's errors come newest first. */
static const char *tls_reason(cx_connection *connection, const char *fallback)
{
    long verdict = SSL_get_verify_result(connection->ssl);
    const char *reason = fallback;
    unsigned long code;

    while ((code = bufferevent_get_openssl_error(connection->stream)) != 0) {
        const char *text = ERR_reason_error_string(code);

        if (text)
            reason = text;
    }
    return verdict == X509_V_OK ? reason : X509_verify_cert_error_string(verdict);
}

static void tell_refused(cx_connection *connection, const char *fallback)
{
    const cx_httpd_options *options = &connection->httpd->options;
    BIO *input = SSL_get_rbio(connection->ssl);

    /* Not even a byte: a port check, nobody was refused. */
    if (options->refused && input && BIO_number_read(input) > 0)
        options->refused(connection->ssl, connection->peer, tls_reason(connection, fallback),
                         options->refused_arg);
}

static void on_dropped_read(struct bufferevent *stream, void *arg)
{
    struct evbuffer *input = bufferevent_get_input(stream);

    (void)arg;
    evbuffer_drain(input, evbuffer_get_length(input));
}

static void on_dropped_end(struct bufferevent *stream, short what, void *arg)
{
    (void)stream;
    (void)what;
    cx_connection_close(arg);
}

/* After a failed handshake the client's bytes are read without TLS, only to be dropped: a socket that
 * is closed with unread bytes resets, and the client would not learn from the alert why. */
static bool drop_tls(cx_connection *connection)
{
    int fd = fcntl(bufferevent_getfd(connection->stream), F_DUPFD_CLOEXEC, 0);
    struct bufferevent *plain;

    if (fd < 0)
        return false;
    plain = bufferevent_socket_new(connection->httpd->loop, fd,
                                   BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    if (!plain) {
        close(fd);
        return false;
    }
    bufferevent_free(connection->stream);
    connection->stream = plain;
    connection->ssl = NULL;
    bufferevent_setcb(plain, on_dropped_read, NULL, on_dropped_end, connection);
    return true;
}

static void on_event(struct bufferevent *stream, short what, void *arg)
{
    cx_connection *connection = arg;

    (void)stream;
    if (what & BEV_EVENT_CONNECTED) {
        enter(connection, CX_PHASE_HEAD);
        return;
    }
    if (connection->phase == CX_PHASE_HANDSHAKE) {
        tell_refused(connection, "the client closed the connection during the handshake");
        if ((what & BEV_EVENT_ERROR) && drop_tls(connection)) {
            linger(connection);
            return;
        }
    }
    /* A client that only closed its sending side still gets the answer that is on its way. */
    if (connection->phase == CX_PHASE_FLUSH && (what & BEV_EVENT_EOF)) {
        connection->close_after = true;
        connection->linger_after = false;
        return;
    }
    cx_connection_close(connection);
}

static void expire(cx_connection *connection)
{
    if (connection->phase == CX_PHASE_HANDSHAKE)
        tell_refused(connection, "the handshake took too long");
    cx_connection_close(connection);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    cx_connection *connection = arg;

    (void)fd;
    (void)what;
    if (connection->phase == CX_PHASE_FLUSH && pending_bytes(connection) == 0)
        end_flush(connection);
    else if (cx_now_ms() < deadline_ms(connection))
        arm(connection, deadline_ms(connection));
    else if (connection->phase == CX_PHASE_BODY ||
             (connection->phase == CX_PHASE_HEAD && connection->since_ms > 0))
        refuse(connection, 408);
    else
        expire(connection);
}

static struct bufferevent *open_stream(cx_connection *connection, int fd)
{
    cx_httpd *httpd = connection->httpd;
    int options = BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS;
    struct bufferevent *stream;
    SSL_CTX *context;

    if (!httpd->options.tls)
        return bufferevent_socket_new(httpd->loop, fd, options);
    context = httpd->options.tls(httpd->options.tls_arg);
    if (!context)
        return NULL;
    connection->ssl = SSL_new(context);
    SSL_CTX_free(context);
    if (!connection->ssl)
        return NULL;
    stream = bufferevent_openssl_socket_new(httpd->loop, fd, connection->ssl,
                                            BUFFEREVENT_SSL_ACCEPTING, options);
    if (stream)
        bufferevent_openssl_set_allow_dirty_shutdown(stream, 1);
    return stream;
}

void cx_connection_open(cx_httpd *httpd, int fd, const char *peer)
{
    cx_connection *connection = cx_alloc(1, sizeof(*connection));
    int on = 1;

    connection->httpd = httpd;
    connection->stream = open_stream(connection, fd);
    if (!connection->stream) {
        ERR_clear_error();
        close(fd);
        cx_free(&connection);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    memccpy(connection->peer, peer, '\0', sizeof(connection->peer) - 1);
    connection->opened_ms = cx_now_ms();
    LIST_INSERT_HEAD(&httpd->connections, connection, link);
    httpd->connection_count++;
    connection->timer = evtimer_new(httpd->loop, on_timer, connection);
    bufferevent_setcb(connection->stream, on_read, on_written, on_event, connection);
    evbuffer_add_cb(bufferevent_get_output(connection->stream), on_output, connection);
    bufferevent_enable(connection->stream, EV_READ | EV_WRITE);
    enter(connection, connection->ssl ? CX_PHASE_HANDSHAKE : CX_PHASE_HEAD);
}

void cx_connection_close(cx_connection *connection)
{
    cx_exchange *exchange = connection->exchange;
    void (*gone)(void *arg) = exchange && exchange->is_kept ? exchange->gone : NULL;
    void *gone_arg = exchange ? exchange->gone_arg : NULL;

    LIST_REMOVE(connection, link);
    connection->httpd->connection_count--;
    say_goodbye(connection);
    event_free(connection->timer);
    bufferevent_free(connection->stream);
    free_exchange(connection);
    cx_free(&connection);
    if (gone)
        gone(gone_arg);
}

bool cx_connection_is_idle(const cx_connection *connection)
{
    return connection->phase == CX_PHASE_HEAD && connection->since_ms == 0;
}

bool cx_connection_waits_for_client(const cx_connection *connection)
{
    return connection->phase == CX_PHASE_HANDSHAKE || connection->phase == CX_PHASE_HEAD ||
           connection->phase == CX_PHASE_BODY;
}

void cx_connection_finish(cx_connection *connection)
{
    free_exchange(connection);
    start_flush(connection);
}

void cx_connection_expect_progress(cx_connection *connection)
{
    if (pending_bytes(connection) > 0)
        return;
    connection->moved_ms = cx_now_ms();
    arm(connection, connection->moved_ms + connection->httpd->options.idle_timeout_ms);
}

void cx_connection_write_head(cx_connection *connection, int status, const char *content_type,
                              int64_t size, cx_bytes more_headers, bool is_raw)
{
    struct evbuffer *output = bufferevent_get_output(connection->stream);
    bool has_body = status != 204 && status != 304;

    if (connection->httpd->stopping || is_raw)
        connection->close_after = true;
    evbuffer_add_printf(output, "HTTP/1.1 %d %s\r\n", status, reason_of(status));
    add_date(output);
    if (content_type && has_body)
        evbuffer_add_printf(output, "Content-Type: %s\r\n", content_type);
    if (size >= 0 && has_body)
        evbuffer_add_printf(output, "Content-Length: %lld\r\n", (long long)size);
    else if (size < 0 && !is_raw)
        evbuffer_add_printf(output, "Transfer-Encoding: chunked\r\n");
    if (connection->close_after)
        evbuffer_add_printf(output, "Connection: close\r\n");
    evbuffer_add(output, more_headers.data, more_headers.size);
    evbuffer_add(output, "\r\n", 2);
}
