/* A real server on a loopback port in a thread of its own, so that a test can be its blocking
 * client. Routes: /echo (the request as JSON, POST: its body), /kept (never answered), /stream
 * (three chunks), /flood (a stream of chunks without end), /big?size=N, /forgotten. */
#pragma once

#include <openssl/ssl.h>

#include "base/httpd.h"

typedef struct http_server http_server;

/* options: limits and hooks only. context: NULL for plain HTTP; a reference is taken. */
http_server *http_server_open(const cx_httpd_options *options, SSL_CTX *context);
/* Ends it, whatever its clients are doing. */
void http_server_close(http_server **owner);
uint16_t http_server_port(const http_server *server);
int http_server_gone(http_server *server); /* kept exchanges that lost their client */
size_t http_server_connections(http_server *server);
/* Waits up to 10 s for a refusal of TLS and takes its reason, "" when there was none. */
void http_server_take_refusal(http_server *server, char text[256]);
/* Waits up to 10 s until that many were lost (or connections are open), false when they weren't. */
bool http_server_wait_gone(http_server *server, int count);
bool http_server_wait_connections(http_server *server, size_t count);

/* Self-signed certificates of Ed25519: a context that shows one and trusts another's. */
typedef struct test_cert {
    X509 *cert;
    EVP_PKEY *key;
} test_cert;
test_cert test_cert_make(const char *name, long valid_from_s, long valid_to_s);
void test_cert_free(test_cert *cert);
/* is_server; own may be NULL (a client without a certificate). */
SSL_CTX *test_context(const SSL_METHOD *method, const test_cert *own, const test_cert *trusted);
