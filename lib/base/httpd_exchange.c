#include <assert.h>
#include <string.h>

#include <event2/buffer.h>

#include "base/httpd_connection.h"

static struct evbuffer *output_of(const cx_exchange *exchange)
{
    return bufferevent_get_output(exchange->connection->stream);
}

const char *cx_exchange_method(const cx_exchange *exchange)
{
    return exchange->head.method;
}

const char *cx_exchange_path(const cx_exchange *exchange)
{
    return exchange->head.path;
}

const char *cx_exchange_query(const cx_exchange *exchange, const char *name)
{
    return cx_httpwire_query(&exchange->head, name);
}

bool cx_exchange_wants_body(const cx_exchange *exchange)
{
    return !exchange->is_head;
}

const char *cx_exchange_header(const cx_exchange *exchange, const char *name)
{
    return cx_httpwire_header(&exchange->head, name);
}

cx_bytes cx_exchange_body(const cx_exchange *exchange)
{
    return cx_buffer_bytes(&exchange->body);
}

const char *cx_exchange_peer_address(const cx_exchange *exchange)
{
    return exchange->connection->peer;
}

void *cx_exchange_ssl(const cx_exchange *exchange)
{
    return exchange->connection->ssl;
}

void cx_exchange_keep(cx_exchange *exchange, void (*gone)(void *arg), void *arg)
{
    exchange->is_kept = true;
    exchange->gone = gone;
    exchange->gone_arg = arg;
}

void cx_exchange_add_header(cx_exchange *exchange, const char *name, const char *value)
{
    size_t from = exchange->headers.size;

    assert(!exchange->is_started);
    cx_buffer_addf(&exchange->headers, "%s: %s", name, value);
    /* A value that came from outside must not end the line. */
    for (size_t i = from; i < exchange->headers.size; i++)
        if (exchange->headers.data[i] < ' ' || exchange->headers.data[i] == 0x7f)
            exchange->headers.data[i] = ' ';
    cx_buffer_add_text(&exchange->headers, "\r\n");
}

void cx_exchange_answer(cx_exchange *exchange, int status, const char *content_type, cx_bytes body)
{
    assert(!exchange->is_started);
    cx_connection_write_head(exchange->connection, status, content_type, (int64_t)body.size,
                             cx_buffer_bytes(&exchange->headers), false);
    if (!exchange->is_head && status != 204 && status != 304 && body.size > 0)
        evbuffer_add(output_of(exchange), body.data, body.size);
    cx_connection_finish(exchange->connection);
}

void cx_exchange_answer_json(cx_exchange *exchange, int status, const json_t *document)
{
    CX_AUTO(cx_free) char *text = cx_json_line(document);

    cx_exchange_answer(exchange, status, "application/json", cx_bytes_of(text));
}

void cx_exchange_answer_error(cx_exchange *exchange, const cx_err *error)
{
    CX_AUTO(cx_json_free) json_t *document = cx_err_to_json(error);

    cx_exchange_answer_json(exchange, cx_code_to_http(error->code), document);
}

void cx_exchange_start(cx_exchange *exchange, int status, const char *content_type)
{
    assert(!exchange->is_started);
    exchange->is_kept = true;
    exchange->is_raw = exchange->head.minor == 0;
    cx_connection_expect_progress(exchange->connection);
    cx_connection_write_head(exchange->connection, status, content_type, -1,
                             cx_buffer_bytes(&exchange->headers), exchange->is_raw);
    exchange->is_started = true;
}

void cx_exchange_chunk(cx_exchange *exchange, cx_bytes bytes)
{
    assert(exchange->is_started);
    if (bytes.size == 0 || exchange->is_head) /* an empty chunk would be the end */
        return;
    cx_connection_expect_progress(exchange->connection);
    if (!exchange->is_raw)
        evbuffer_add_printf(output_of(exchange), "%zx\r\n", bytes.size);
    evbuffer_add(output_of(exchange), bytes.data, bytes.size);
    if (!exchange->is_raw)
        evbuffer_add(output_of(exchange), "\r\n", 2);
}

size_t cx_exchange_pending_bytes(const cx_exchange *exchange)
{
    return evbuffer_get_length(output_of(exchange));
}

void cx_exchange_end(cx_exchange *exchange)
{
    assert(exchange->is_started);
    if (!exchange->is_head && !exchange->is_raw)
        evbuffer_add(output_of(exchange), "0\r\n\r\n", 5);
    cx_connection_finish(exchange->connection);
}
