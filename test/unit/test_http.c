#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "base/http.h"
#include "base/io.h"
#include "base/time.h"
#include "http_server.h"

enum { MANY = 200, TIMEOUT_MS = 10000 };

/* A peer that reads a request and then says a fixed text, over and over, or nothing, or just leaves. */
struct liar {
    int fd;
    uint16_t port;
    const char *first; /* said once */
    const char *text;  /* then this; NULL: closes at once */
    size_t times;      /* SIZE_MAX: until the client leaves */
    bool stays;        /* after it, until the client leaves */
    pthread_t thread;
};

static void *lie(void *arg)
{
    struct liar *liar = arg;
    CX_AUTO(cx_fd_close) int fd = accept(liar->fd, NULL, NULL);
    char block[4096];

    if (!liar->text || read(fd, block, sizeof(block)) <= 0)
        return NULL;
    if (liar->first)
        send(fd, liar->first, strlen(liar->first), MSG_NOSIGNAL);
    for (size_t i = 0; i < liar->times; i++)
        if (send(fd, liar->text, strlen(liar->text), MSG_NOSIGNAL) < 0)
            break;
    while (liar->stays && read(fd, block, sizeof(block)) > 0)
        continue;
    return NULL;
}

static void liar_start(struct liar *liar)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    liar->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(liar->fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(liar->fd, 1), 0);
    getsockname(liar->fd, (struct sockaddr *)&address, &size);
    liar->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&liar->thread, NULL, lie, liar), 0);
}

static void liar_end(struct liar *liar)
{
    pthread_join(liar->thread, NULL);
    close(liar->fd);
}

static char *url_of(http_server *server, const char *scheme, const char *path)
{
    return cx_format("%s://127.0.0.1:%u%s", scheme, http_server_port(server), path);
}

static bool has(const cx_buffer *buffer, const char *part)
{
    return buffer->data && strstr((const char *)buffer->data, part);
}

static void a_request_comes_back_with_status_headers_and_clock(void **state)
{
    CX_AUTO(http_server_close) http_server *server = http_server_open(&(cx_httpd_options){0}, NULL);
    CX_AUTO(cx_http_close) cx_http *http = cx_http_open();
    CX_AUTO(cx_free) char *url = url_of(server, "http", "/echo?q=%C3%A4");
    const char *const headers[] = {"X-Test: hello", NULL};
    cx_http_request request = {
        .url = url, .headers = headers, .answer_max = 65536, .timeout_ms = TIMEOUT_MS};
    cx_http_answer answer;
    cx_err err;

    (void)state;
    assert_true(cx_http_do(http, &request, &answer, &err));
    CX_AUTO(cx_free) char *type = cx_http_header(&answer, "content-TYPE");
    CX_AUTO(cx_free) char *none = cx_http_header(&answer, "Content");

    assert_int_equal(answer.status, 200);
    assert_true(has(&answer.body, "\"header\":\"hello\"") &&
                has(&answer.body, "\"q\":\"\xc3\xa4\""));
    assert_string_equal(type, "application/json");
    assert_null(none);
    assert_true(llabs(answer.peer_date_ms - cx_wall_ms()) < 60000);
    cx_http_answer_free(&answer);
    cx_http_answer_free(&answer);
}

static void methods_and_bodies_arrive(void **state)
{
    static const struct {
        const char *method, *body, *expected;
    } rows[] = {
        {NULL, "some body", "some body"},          {"PUT", "other body", "other body"},
        {"DELETE", NULL, "\"method\":\"DELETE\""}, {"POST", NULL, "\"method\":\"POST\""},
        {"PUT", NULL, "\"method\":\"PUT\""},
    };
    CX_AUTO(http_server_close) http_server *server = http_server_open(&(cx_httpd_options){0}, NULL);
    CX_AUTO(cx_http_close) cx_http *http = cx_http_open();
    CX_AUTO(cx_free) char *url = url_of(server, "http", "/echo");

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_http_request request = {.url = url,
                                   .method = rows[i].method,
                                   .answer_max = 65536,
                                   .timeout_ms = TIMEOUT_MS,
                                   .body =
                                       rows[i].body ? cx_bytes_of(rows[i].body) : (cx_bytes){0}};
        cx_http_answer answer;
        cx_err err;

        assert_true(cx_http_do(http, &request, &answer, &err));
        if (!has(&answer.body, rows[i].expected))
            fail_msg("%s: %s", rows[i].expected, (char *)answer.body.data);
        cx_http_answer_free(&answer);
    }
    assert_true(http_server_wait_connections(server, 1));
}

static void head_brings_no_body_and_a_refusal_is_an_answer(void **state)
{
    CX_AUTO(http_server_close) http_server *server = http_server_open(&(cx_httpd_options){0}, NULL);
    CX_AUTO(cx_http_close) cx_http *http = cx_http_open();
    CX_AUTO(cx_free) char *echo = url_of(server, "http", "/echo");
    CX_AUTO(cx_free) char *nowhere = url_of(server, "http", "/nowhere");
    cx_http_request requests[] = {
        {.url = echo, .method = "HEAD", .timeout_ms = TIMEOUT_MS},
        {.url = nowhere, .answer_max = 1000, .timeout_ms = TIMEOUT_MS},
    };
    cx_http_answer answer;
    cx_err err;

    (void)state;
    assert_true(cx_http_do(http, &requests[0], &answer, &err));
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.body.size, 0);
    cx_http_answer_free(&answer);
    assert_true(cx_http_do(http, &requests[1], &answer, &err));
    assert_int_equal(answer.status, 404);
    assert_true(has(&answer.body, "\"code\":\"not_found\""));
    cx_http_answer_free(&answer);
}

static void what_goes_wrong_has_its_code(void **state)
{
    static const struct {
        const char *name;
        struct liar liar;
        cx_code code;
    } rows[] = {
        {"leaves at once", {.text = NULL}, CX_UNAVAILABLE},
        {"leaves after the request", {.text = ""}, CX_UNAVAILABLE},
        {"leaves in the body",
         {.text = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123", .times = 1},
         CX_UNAVAILABLE},
        {"says nothing", {.text = "", .stays = true}, CX_TIMEOUT},
        {"stops in the head", {.text = "HTTP/1.1 200", .times = 1, .stays = true}, CX_TIMEOUT},
        {"speaks no HTTP", {.text = "+OK hello\r\n", .times = 1}, CX_PROTOCOL},
        {"speaks binary", {.text = "\x15\x03\x01\x02\x02\x16", .times = 1}, CX_PROTOCOL},
        {"sends a header without end",
         {.first = "HTTP/1.1 200 OK\r\n",
          .text = "X-Long: 0123456789012345678901234567890123456789\r\n",
          .times = SIZE_MAX},
         CX_TOO_LARGE},
        {"sends one line without end",
         {.text = "HTTP/1.1 200 OKKKKKK", .times = SIZE_MAX},
         CX_TOO_LARGE},
        {"sends a body without end",
         {.text = "HTTP/1.1 200 OK\r\n\r\n01234567890123456789", .times = SIZE_MAX},
         CX_TOO_LARGE},
        {"announces too much",
         {.text = "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", .times = 1, .stays = true},
         CX_TOO_LARGE},
        {"sends chunks without end",
         {.text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "80\r\n01234567890123456789012345678901234567890123456789012345678901234567890"
                  "12345678901234567890123456789012345678901234567890123456789\r\n",
          .times = 1,
          .stays = true},
         CX_TOO_LARGE},
    };
    CX_AUTO(cx_http_close) cx_http *http = cx_http_open();

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        struct liar liar = rows[i].liar;
        cx_http_answer answer;
        cx_err err;

        liar_start(&liar);
        CX_AUTO(cx_free) char *url = cx_format("http://127.0.0.1:%u/", liar.port);
        cx_http_request request = {.url = url,
                                   .answer_max = 100,
                                   .timeout_ms = rows[i].code == CX_TIMEOUT ? 200 : TIMEOUT_MS};

        if (cx_http_do(http, &request, &answer, &err))
            fail_msg("%s: an answer", rows[i].name);
        if (err.code != rows[i].code)
            fail_msg("%s: %s: %s", rows[i].name, cx_code_word(err.code), err.message);
        assert_int_equal(answer.status, 0);
        assert_true(answer.body.size <= 100);
        cx_http_answer_free(&answer);
        liar_end(&liar);
    }
}

static void what_can_not_be_asked_is_said_in_words(void **state)
{
    http_server *server = http_server_open(&(cx_httpd_options){0}, NULL);
    CX_AUTO(cx_free) char *closed = url_of(server, "http", "/");
    const struct {
        const char *url;
        cx_code code;
        const char *message;
    } rows[] = {
        {closed, CX_UNAVAILABLE, ": connection refused"},
        {"ftp://127.0.0.1/", CX_INVALID, "neither http:// nor https://"},
        {"file:///etc/passwd", CX_INVALID, "URL file:"},
        {"127.0.0.1", CX_INVALID, "URL 127.0.0.1"},
        {"http://", CX_INVALID, "URL http://"},
        {"http://a b/", CX_INVALID, "URL"},
        {"https://127.0.0.1:1/", CX_INVALID, "127.0.0.1:1: https needs a way to know the peer"},
        {"http://no-such-host.invalid/", CX_UNAVAILABLE, "no-such-host.invalid"},
    };
    CX_AUTO(cx_http_close) cx_http *http = cx_http_open();

    (void)state;
    http_server_close(&server);
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_http_request request = {.url = rows[i].url, .timeout_ms = TIMEOUT_MS};
        cx_http_answer answer;
        cx_err err;

        assert_false(cx_http_do(http, &request, &answer, &err));
        if (err.code != rows[i].code || !strstr(err.message, rows[i].message))
            fail_msg("%s: %s: %s", rows[i].url, cx_code_word(err.code), err.message);
        cx_http_answer_free(&answer);
    }
}

static void many_requests_run_side_by_side_and_keep_their_places(void **state)
{
    CX_AUTO(http_server_close) http_server *server = http_server_open(&(cx_httpd_options){0}, NULL);
    CX_AUTO(cx_http_close) cx_http *http = cx_http_open();
    char *urls[MANY];
    cx_http_request requests[MANY];
    cx_http_answer answers[MANY];
    cx_err err;

    (void)state;
    for (int i = 0; i < MANY; i++) {
        CX_AUTO(cx_free) char *path = cx_format("/echo?q=n%dn", i);

        urls[i] = i % 10 == 9 ? cx_strdup("nonsense") : url_of(server, "http", path);
        requests[i] =
            (cx_http_request){.url = urls[i], .answer_max = 1000, .timeout_ms = TIMEOUT_MS};
    }
    assert_true(cx_http_do_all(http, requests, MANY, 16, answers, &err));
    for (int i = 0; i < MANY; i++) {
        CX_AUTO(cx_free) char *mark = cx_format("n%dn", i);

        if (i % 10 == 9)
            assert_int_equal(answers[i].error.code, CX_INVALID);
        else
            assert_true(answers[i].status == 200 && has(&answers[i].body, mark));
        cx_http_answer_free(&answers[i]);
        cx_free(&urls[i]);
    }
    assert_true(http_server_connections(server) <= 16);
}

/* The hook's view of one peer: whom it trusts and who it is. */
struct identity {
    const test_cert *own, *trusted;
    bool refuses;
    int calls;
};

static bool hook(void *ssl_ctx, void *arg, cx_err *err)
{
    struct identity *identity = arg;

    identity->calls++;
    if (identity->refuses)
        return cx_fail(err, CX_CONFIG, "no key");
    if (identity->own) {
        SSL_CTX_use_certificate(ssl_ctx, identity->own->cert);
        SSL_CTX_use_PrivateKey(ssl_ctx, identity->own->key);
    }
    X509_STORE_add_cert(SSL_CTX_get_cert_store(ssl_ctx), identity->trusted->cert);
    return true;
}

static void tls_knows_the_peer_by_the_hook_alone(void **state)
{
    test_cert good = test_cert_make("server", -60, 3600);
    test_cert expired = test_cert_make("expired", -7200, -3600);
    test_cert client = test_cert_make("client", -60, 3600);
    test_cert stranger = test_cert_make("stranger", -60, 3600);
    const struct {
        const char *name;
        const test_cert *server;
        struct identity identity;
        cx_code code;
    } rows[] = {
        {"each trusts the other", &good, {.own = &client, .trusted = &good}, CX_OK},
        {"another server", &good, {.own = &client, .trusted = &stranger}, CX_CERT_INVALID},
        {"an expired server", &expired, {.own = &client, .trusted = &expired}, CX_CERT_EXPIRED},
        {"a stranger", &good, {.own = &stranger, .trusted = &good}, CX_UNAUTHENTICATED},
        {"an expired client", &good, {.own = &expired, .trusted = &good}, CX_UNAUTHENTICATED},
        {"nobody", &good, {.trusted = &good}, CX_UNAUTHENTICATED},
        {"the hook fails", &good, {.refuses = true}, CX_CONFIG},
    };
    CX_AUTO(cx_http_close) cx_http *http = cx_http_open();

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        SSL_CTX *context = test_context(TLS_server_method(), rows[i].server, &client);
        http_server *server = http_server_open(&(cx_httpd_options){0}, context);
        CX_AUTO(cx_free) char *url = url_of(server, "https", "/echo");
        struct identity identity = rows[i].identity;
        cx_http_request request = {.url = url,
                                   .answer_max = 1000,
                                   .timeout_ms = TIMEOUT_MS,
                                   .tls_hook = hook,
                                   .tls_arg = &identity};
        cx_http_answer answer;
        cx_err err = {0};

        if (cx_http_do(http, &request, &answer, &err) != (rows[i].code == CX_OK) ||
            err.code != rows[i].code)
            fail_msg("%s: %s: %s", rows[i].name, cx_code_word(err.code), err.message);
        cx_http_answer_free(&answer);
        http_server_close(&server);
        SSL_CTX_free(context);
    }
    test_cert_free(&good);
    test_cert_free(&expired);
    test_cert_free(&client);
    test_cert_free(&stranger);
}

/* Trust must not leak from one request to the next through connections, sessions or stores. */
static void two_identities_share_nothing(void **state)
{
    test_cert good = test_cert_make("server", -60, 3600);
    test_cert client = test_cert_make("client", -60, 3600);
    SSL_CTX *context = test_context(TLS_server_method(), &good, &client);
    http_server *server = http_server_open(&(cx_httpd_options){0}, context);
    CX_AUTO(cx_http_close) cx_http *http = cx_http_open();
    CX_AUTO(cx_free) char *url = url_of(server, "https", "/echo");
    struct identity trusting = {.own = &client, .trusted = &good};
    struct identity other = {.own = &client, .trusted = &client};
    cx_http_request request = {
        .url = url, .answer_max = 1000, .timeout_ms = TIMEOUT_MS, .tls_hook = hook};
    cx_http_answer answer;
    cx_err err;

    (void)state;
    for (int i = 0; i < 3; i++) {
        request.tls_arg = &trusting;
        assert_true(cx_http_do(http, &request, &answer, &err));
        cx_http_answer_free(&answer);
        request.tls_arg = &other;
        assert_false(cx_http_do(http, &request, &answer, &err));
        assert_int_equal(err.code, CX_CERT_INVALID);
        cx_http_answer_free(&answer);
    }
    request.tls_hook = NULL;
    request.verify_by_name = true;
    assert_false(cx_http_do(http, &request, &answer, &err));
    assert_int_equal(err.code, CX_CERT_INVALID);
    cx_http_answer_free(&answer);
    assert_int_equal(trusting.calls + other.calls, 6);
    http_server_close(&server);
    SSL_CTX_free(context);
    test_cert_free(&good);
    test_cert_free(&client);
}

struct tally {
    struct event_base *loop;
    int ok, failed, wanted;
    cx_code last;
};

static void count_answer(cx_http_answer *answer, void *arg)
{
    struct tally *tally = arg;

    if (answer->status == 200)
        tally->ok++;
    else
        tally->failed++;
    tally->last = answer->error.code;
    if (tally->ok + tally->failed == tally->wanted)
        event_base_loopexit(tally->loop, NULL);
}

static void the_loop_runs_them_a_few_at_a_time(void **state)
{
    test_cert good = test_cert_make("server", -60, 3600);
    test_cert client = test_cert_make("client", -60, 3600);
    SSL_CTX *context = test_context(TLS_server_method(), &good, &client);
    http_server *plain = http_server_open(&(cx_httpd_options){.connections_max = 4}, NULL);
    http_server *secure = http_server_open(&(cx_httpd_options){.connections_max = 8}, context);
    struct tally tally = {.loop = event_base_new(), .wanted = 150};
    cx_http_loop *http = cx_http_loop_open(tally.loop, 4);
    struct identity identity = {.own = &client, .trusted = &good};

    (void)state;
    for (int i = 0; i < 50; i++) {
        CX_AUTO(cx_free) char *secure_url = url_of(secure, "https", "/echo");
        CX_AUTO(cx_free) char *plain_url = url_of(plain, "http", "/echo");
        char body[32], header[32];
        const char *headers[] = {header, NULL};
        cx_http_request request = {.url = plain_url,
                                   .headers = headers,
                                   .answer_max = 1000,
                                   .timeout_ms = TIMEOUT_MS,
                                   .body = {(const uint8_t *)body, sizeof(body)}};

        snprintf(header, sizeof(header), "X-Test: %d", i);
        memset(body, 'b', sizeof(body));
        cx_http_loop_start(http, &request, count_answer, &tally);
        request.url = secure_url;
        request.tls_hook = hook;
        request.tls_arg = &identity;
        cx_http_loop_start(http, &request, count_answer, &tally);
        request.url = "nonsense";
        cx_http_loop_start(http, &request, count_answer, &tally);
        memset(body, 0, sizeof(body));
        memset(header, 0, sizeof(header));
    }
    assert_int_equal(tally.ok + tally.failed, 0);
    event_base_dispatch(tally.loop);
    assert_int_equal(tally.ok, 100);
    assert_int_equal(tally.failed, 50);
    cx_http_loop_close(&http);
    event_base_free(tally.loop);
    http_server_close(&plain);
    http_server_close(&secure);
    SSL_CTX_free(context);
    test_cert_free(&good);
    test_cert_free(&client);
}

static void the_loop_gives_up_in_time_and_when_it_closes(void **state)
{
    CX_AUTO(http_server_close) http_server *server = http_server_open(&(cx_httpd_options){0}, NULL);
    CX_AUTO(cx_free) char *url = url_of(server, "http", "/kept");
    struct tally tally = {.loop = event_base_new(), .wanted = 6};
    cx_http_loop *http = cx_http_loop_open(tally.loop, 2);
    cx_http_request request = {.url = url, .answer_max = 1000, .timeout_ms = 200};

    (void)state;
    for (int i = 0; i < 6; i++) /* the last four while they wait for the first two */
        cx_http_loop_start(http, &request, count_answer, &tally);
    event_base_dispatch(tally.loop);
    assert_int_equal(tally.failed, 6);
    assert_int_equal(tally.last, CX_TIMEOUT);

    request.timeout_ms = TIMEOUT_MS;
    for (int i = 0; i < 6; i++)
        cx_http_loop_start(http, &request, count_answer, &tally);
    for (int i = 0; i < 20; i++)
        event_base_loop(tally.loop, EVLOOP_NONBLOCK);
    cx_http_loop_close(&http);
    assert_int_equal(tally.failed, 12);
    assert_int_equal(tally.last, CX_INTERRUPTED);
    event_base_free(tally.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_comes_back_with_status_headers_and_clock),
        cmocka_unit_test(methods_and_bodies_arrive),
        cmocka_unit_test(head_brings_no_body_and_a_refusal_is_an_answer),
        cmocka_unit_test(what_goes_wrong_has_its_code),
        cmocka_unit_test(what_can_not_be_asked_is_said_in_words),
        cmocka_unit_test(many_requests_run_side_by_side_and_keep_their_places),
        cmocka_unit_test(tls_knows_the_peer_by_the_hook_alone),
        cmocka_unit_test(two_identities_share_nothing),
        cmocka_unit_test(the_loop_runs_them_a_few_at_a_time),
        cmocka_unit_test(the_loop_gives_up_in_time_and_when_it_closes),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
