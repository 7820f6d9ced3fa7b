#include "http_server.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/x509v3.h>

#include "base/time.h"

enum { LOOK_MS = 5, WAIT_MS = 10000, FLOOD_MAX = 256 * 1024 };

struct http_server {
    struct event_base *loop;
    cx_httpd *httpd;
    SSL_CTX *context;
    pthread_t thread;
    int stop[2];
    struct event *stop_event, *look_event, *flood_event;
    cx_exchange *flooded;
    atomic_int gone;
    atomic_size_t connections;
    pthread_mutex_t lock;
    char refusal[256];
    uint16_t port;
};

static void on_gone(void *arg)
{
    http_server *server = arg;

    atomic_fetch_add(&server->gone, 1);
}

static void on_flood_gone(void *arg)
{
    http_server *server = arg;

    server->flooded = NULL;
    on_gone(arg);
}

/* Keeps its stream full, as far as the client takes it. */
static void on_flood(evutil_socket_t fd, short what, void *arg)
{
    http_server *server = arg;
    char block[4096];

    (void)fd;
    (void)what;
    memset(block, 'x', sizeof(block));
    while (server->flooded && cx_exchange_pending_bytes(server->flooded) < FLOOD_MAX)
        cx_exchange_chunk(server->flooded, (cx_bytes){(uint8_t *)block, sizeof(block)});
}

static void answer_echo(cx_exchange *exchange)
{
    CX_AUTO(cx_json_free)
    json_t *document = json_pack(
        "{s:s, s:s, s:s, s:o, s:o}", "method", cx_exchange_method(exchange), "path",
        cx_exchange_path(exchange), "peer", cx_exchange_peer_address(exchange), "q",
        cx_json_text(cx_exchange_query(exchange, "q") ? cx_exchange_query(exchange, "q") : ""),
        "header",
        cx_json_text(cx_exchange_header(exchange, "X-Test") ? cx_exchange_header(exchange, "X-Test")
                                                            : ""));

    cx_exchange_add_header(exchange, "X-Answer", "a\r\nInjected: b");
    if (cx_exchange_body(exchange).size > 0)
        cx_exchange_answer(exchange, 200, "application/octet-stream", cx_exchange_body(exchange));
    else
        cx_exchange_answer_json(exchange, 200, document);
}

static void answer_big(cx_exchange *exchange)
{
    const char *text = cx_exchange_query(exchange, "size");
    size_t size = text ? strtoul(text, NULL, 10) : 0;
    CX_AUTO(cx_free) uint8_t *data = cx_alloc(size + 1, 1);

    memset(data, 'b', size);
    cx_exchange_answer(exchange, 200, "application/octet-stream", (cx_bytes){data, size});
}

static void stream(cx_exchange *exchange)
{
    cx_exchange_start(exchange, 200, "application/x-ndjson");
    cx_exchange_chunk(exchange, cx_bytes_of("one\n"));
    cx_exchange_chunk(exchange, cx_bytes_of(""));
    cx_exchange_chunk(exchange, cx_bytes_of("two\n"));
    cx_exchange_chunk(exchange, cx_bytes_of("three\n"));
    cx_exchange_end(exchange);
}

static void handle(cx_exchange *exchange, void *arg)
{
    http_server *server = arg;
    const char *path = cx_exchange_path(exchange);
    cx_err error;

    if (strcmp(path, "/forgotten") == 0)
        return;
    if (strcmp(path, "/echo") == 0) {
        answer_echo(exchange);
    } else if (strcmp(path, "/big") == 0) {
        answer_big(exchange);
    } else if (strcmp(path, "/kept") == 0) {
        cx_exchange_keep(exchange, on_gone, server);
    } else if (strcmp(path, "/stream") == 0) {
        stream(exchange);
    } else if (strcmp(path, "/flood") == 0 && !server->flooded) {
        cx_exchange_keep(exchange, on_flood_gone, server);
        cx_exchange_start(exchange, 200, "text/plain");
        server->flooded = exchange;
    } else {
        cx_fail(&error, CX_NOT_FOUND, "no route %s", path);
        cx_exchange_answer_error(exchange, &error);
    }
}

static void *give_context(void *arg)
{
    http_server *server = arg;

    SSL_CTX_up_ref(server->context);
    return server->context;
}

static void on_refused(void *ssl, const char *peer_address, const char *reason, void *arg)
{
    http_server *server = arg;

    (void)ssl;
    assert(strncmp(peer_address, "127.0.0.1:", 10) == 0);
    pthread_mutex_lock(&server->lock);
    snprintf(server->refusal, sizeof(server->refusal), "%s", reason);
    pthread_mutex_unlock(&server->lock);
}

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
    http_server *server = arg;

    (void)fd;
    (void)what;
    event_base_loopexit(server->loop, NULL); /* finishes what is active already */
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
    http_server *server = arg;

    (void)fd;
    (void)what;
    atomic_store(&server->connections, cx_httpd_connections(server->httpd));
}

static struct event *every(http_server *server, event_callback_fn callback, int ms)
{
    struct timeval interval = {0, ms * 1000};
    struct event *event = event_new(server->loop, -1, EV_PERSIST, callback, server);

    event_add(event, &interval);
    return event;
}

static void *run(void *arg)
{
    http_server *server = arg;

    event_base_dispatch(server->loop);
    return NULL;
}

http_server *http_server_open(const cx_httpd_options *options, SSL_CTX *context)
{
    http_server *server = cx_alloc(1, sizeof(*server));
    cx_httpd_options mine = *options;
    cx_err err;

    signal(SIGPIPE, SIG_IGN);
    server->loop = event_base_new();
    server->context = context;
    pthread_mutex_init(&server->lock, NULL);
    if (context) {
        SSL_CTX_up_ref(context);
        mine.tls = give_context;
        mine.tls_arg = server;
        mine.refused = on_refused;
        mine.refused_arg = server;
    }
    mine.address = "127.0.0.1:0";
    mine.handler = handle;
    mine.handler_arg = server;
    if (pipe(server->stop) < 0 || !cx_httpd_open(server->loop, &mine, &server->httpd, &err))
        abort();
    server->port = cx_httpd_port(server->httpd);
    server->stop_event = event_new(server->loop, server->stop[0], EV_READ, on_stop, server);
    event_add(server->stop_event, NULL);
    server->look_event = every(server, on_look, LOOK_MS);
    server->flood_event = every(server, on_flood, 1);
    if (pthread_create(&server->thread, NULL, run, server) != 0)
        abort();
    return server;
}

void http_server_close(http_server **owner)
{
    http_server *server = CX_TAKE(*owner);

    if (!server)
        return;
    if (write(server->stop[1], "x", 1) != 1)
        abort();
    pthread_join(server->thread, NULL);
    cx_httpd_close(&server->httpd);
    event_free(server->stop_event);
    event_free(server->look_event);
    event_free(server->flood_event);
    event_base_free(server->loop);
    close(server->stop[0]);
    close(server->stop[1]);
    SSL_CTX_free(server->context);
    pthread_mutex_destroy(&server->lock);
    cx_free(&server);
}

uint16_t http_server_port(const http_server *server)
{
    return server->port;
}

int http_server_gone(http_server *server)
{
    return atomic_load(&server->gone);
}

size_t http_server_connections(http_server *server)
{
    return atomic_load(&server->connections);
}

void http_server_take_refusal(http_server *server, char text[256])
{
    text[0] = '\0';
    for (int64_t end_ms = cx_now_ms() + WAIT_MS; !text[0] && cx_now_ms() < end_ms;) {
        usleep(LOOK_MS * 1000);
        pthread_mutex_lock(&server->lock);
        memcpy(text, server->refusal, sizeof(server->refusal));
        server->refusal[0] = '\0';
        pthread_mutex_unlock(&server->lock);
    }
}

bool http_server_wait_gone(http_server *server, int count)
{
    for (int64_t end_ms = cx_now_ms() + WAIT_MS; cx_now_ms() < end_ms; usleep(LOOK_MS * 1000))
        if (http_server_gone(server) == count)
            return true;
    return false;
}

bool http_server_wait_connections(http_server *server, size_t count)
{
    for (int64_t end_ms = cx_now_ms() + WAIT_MS; cx_now_ms() < end_ms; usleep(LOOK_MS * 1000))
        if (http_server_connections(server) == count)
            return true;
    return false;
}

test_cert test_cert_make(const char *name, long valid_from_s, long valid_to_s)
{
    test_cert made = {X509_new(), EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")};
    X509_NAME *subject = X509_get_subject_name(made.cert);

    X509_set_version(made.cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(made.cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(made.cert), valid_from_s);
    X509_gmtime_adj(X509_getm_notAfter(made.cert), valid_to_s);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(made.cert, subject);
    X509_set_pubkey(made.cert, made.key);
    if (X509_sign(made.cert, made.key, NULL) == 0)
        abort();
    return made;
}

void test_cert_free(test_cert *cert)
{
    X509_free(cert->cert);
    EVP_PKEY_free(cert->key);
    *cert = (test_cert){0};
}

SSL_CTX *test_context(const SSL_METHOD *method, const test_cert *own, const test_cert *trusted)
{
    SSL_CTX *context = SSL_CTX_new(method);

    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    if (own && (SSL_CTX_use_certificate(context, own->cert) != 1 ||
                SSL_CTX_use_PrivateKey(context, own->key) != 1))
        abort();
    if (trusted) {
        X509_STORE_add_cert(SSL_CTX_get_cert_store(context), trusted->cert);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    return context;
}
