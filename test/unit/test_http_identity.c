/* The HTTP client and server with the certificates of lib/pki between them. */
#include "base/http.h"
#include "http_server.h"
#include "pki/tls.h"
#include "pki_fixture.h"

enum { TIMEOUT_MS = 10000 };

static cx_tls *open_tls(const struct authority *authority, const char *file, const char *crl)
{
    CX_AUTO(cx_free) char *cert = file ? in_scratch(file, ".crt") : NULL;
    CX_AUTO(cx_free) char *key = file ? in_scratch(file, ".key") : NULL;
    cx_tls_files files = {
        .ca = authority->path, .cert = cert, .key = key, .crl = crl, .cluster = "prod"};
    cx_tls *tls = NULL;

    must(cx_tls_open(&files, &tls, err));
    return tls;
}

static void nodes_know_each_other_by_name_and_not_by_address(void **state)
{
    struct authority authority = make_authority("ca", "prod", DAY_MS);
    X509 *server_cert = make_certificate(&authority, &(struct wish){.file = "server"});
    X509 *good = make_certificate(&authority, &(struct wish){.file = "good", .name = "node-2"});
    X509 *revoked = make_certificate(&authority, &(struct wish){.file = "bad", .name = "node-3"});
    CX_AUTO(cx_free) char *crl = make_crl(&authority, "crl", revoked, 0, DAY_MS);
    CX_AUTO(cx_tls_close) cx_tls *server_tls = open_tls(&authority, "server", crl);
    CX_AUTO(cx_tls_close) cx_tls *good_tls = open_tls(&authority, "good", crl);
    CX_AUTO(cx_tls_close) cx_tls *revoked_tls = open_tls(&authority, "bad", NULL);
    CX_AUTO(cx_tls_close) cx_tls *nobody_tls = open_tls(&authority, NULL, crl);
    SSL_CTX *context = cx_tls_server(server_tls);
    CX_AUTO(http_server_close)
    http_server *server = http_server_open(&(cx_httpd_options){0}, context);
    CX_AUTO(cx_free)
    char *url = cx_format("https://127.0.0.1:%u/echo", http_server_port(server));
    CX_AUTO(cx_http_close) cx_http *http = cx_http_open();
    const struct {
        const char *name;
        cx_tls *tls;
        const char *node_id;
        cx_code code;
    } rows[] = {
        {"the node that was meant", good_tls, "node-1", CX_OK},
        {"any node", good_tls, NULL, CX_OK},
        {"another node", good_tls, "node-7", CX_CERT_INVALID},
        {"again the one that was meant", good_tls, "node-1", CX_OK},
        {"a revoked client", revoked_tls, "node-1", CX_REVOKED},
        {"a client without a certificate", nobody_tls, "node-1", CX_UNAUTHENTICATED},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_tls_peer peer = {.tls = rows[i].tls, .node_id = rows[i].node_id};
        cx_http_request request = {.url = url,
                                   .answer_max = 1000,
                                   .timeout_ms = TIMEOUT_MS,
                                   .tls_hook = cx_tls_client_hook,
                                   .tls_arg = &peer};
        cx_http_answer answer;
        cx_err err = {0};

        if (cx_http_do(http, &request, &answer, &err) != (rows[i].code == CX_OK) ||
            err.code != rows[i].code)
            fail_msg("%s: %s: %s", rows[i].name, cx_code_word(err.code), err.message);
        cx_http_answer_free(&answer);
    }
    SSL_CTX_free(context);
    cx_cert_free(&server_cert);
    cx_cert_free(&good);
    cx_cert_free(&revoked);
    free_authority(&authority);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_know_each_other_by_name_and_not_by_address),
    };

    return cmocka_run_group_tests_name("http_identity", tests, make_scratch, remove_scratch);
}
