#include <openssl/err.h>

#include "pki/tls.h"
#include "pki_fixture.h"

static struct authority ours, other;

/* One side's files, as names without suffix. */
struct side {
    const char *ca;
    const char *cert;
    const char *crl;
};

/* What came of a handshake. */
struct outcome {
    bool accepted; /* the server took the client's data */
    char server_says[512];
    cx_err client_says;
    cx_identity client; /* as the server sees it */
};

static void ssl_free(SSL **owner)
{
    SSL_free(*owner);
    *owner = NULL;
}

static void ssl_ctx_free(SSL_CTX **owner)
{
    SSL_CTX_free(*owner);
    *owner = NULL;
}

static bool open_side(const struct side *side, cx_tls **tls, cx_err *err)
{
    CX_AUTO(cx_free) char *ca = in_scratch(side->ca, ".crt");
    CX_AUTO(cx_free) char *cert = side->cert != NULL ? in_scratch(side->cert, ".crt") : NULL;
    CX_AUTO(cx_free) char *key = side->cert != NULL ? in_scratch(side->cert, ".key") : NULL;
    CX_AUTO(cx_free) char *crl = in_scratch(side->crl != NULL ? side->crl : "none", ".pem");
    cx_tls_files files = {.ca = ca, .cert = cert, .key = key, .crl = crl, .cluster = "prod"};

    return cx_tls_open(&files, tls, err);
}

/* Handshake and one byte each way in memory, as far as both sides go. */
static void converse(SSL *server, SSL *client, struct outcome *outcome)
{
    BIO *server_end = NULL, *client_end = NULL;
    char byte = 'x';
    bool answered = false;

    assert_int_equal(BIO_new_bio_pair(&server_end, 0, &client_end, 0), 1);
    SSL_set_bio(server, server_end, server_end);
    SSL_set_bio(client, client_end, client_end);
    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
    for (int round = 0; round < 20 && !answered; round++) {
        if (SSL_do_handshake(client) == 1)
            (void)SSL_write(client, &byte, 1);
        if (SSL_do_handshake(server) == 1 && SSL_read(server, &byte, 1) == 1) {
            outcome->accepted = true;
            must(cx_tls_peer_identity(server, &outcome->client, err));
            (void)SSL_write(server, &byte, 1);
        }
        answered = SSL_is_init_finished(client) && SSL_read(client, &byte, 1) == 1;
    }
    snprintf(outcome->server_says, sizeof(outcome->server_says), "%s", cx_tls_refusal(server));
    assert_false(SSL_session_reused(client));
    ERR_clear_error();
}

static struct outcome shake(cx_tls *server_tls, SSL_CTX *client_context, cx_tls_peer *peer)
{
    CX_AUTO(ssl_ctx_free) SSL_CTX *server_context = cx_tls_server(server_tls);
    CX_AUTO(ssl_free) SSL *server = SSL_new(server_context);
    CX_AUTO(ssl_free) SSL *client = SSL_new(client_context);
    struct outcome outcome = {0};

    converse(server, client, &outcome);
    outcome.client_says = peer->error;
    return outcome;
}

static struct outcome meet(const struct side *server, const struct side *client,
                           const char *wanted_node)
{
    CX_AUTO(cx_tls_close) cx_tls *server_tls = NULL;
    CX_AUTO(cx_tls_close) cx_tls *client_tls = NULL;
    CX_AUTO(ssl_ctx_free) SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    cx_tls_peer peer = {.node_id = wanted_node};

    must(open_side(server, &server_tls, err));
    must(open_side(client, &client_tls, err));
    peer.tls = client_tls;
    must(cx_tls_client_hook(context, &peer, err));
    return shake(server_tls, context, &peer);
}

static bool contains(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

static void both_sides_accept_a_certificate_of_the_cluster(void **state)
{
    struct side server = {.ca = "ca", .cert = "node-1"};
    struct side client = {.ca = "ca", .cert = "alice"};
    struct outcome outcome;

    (void)state;
    outcome = meet(&server, &client, "node-1");

    assert_string_equal(outcome.server_says, "");
    assert_string_equal(outcome.client_says.message, "");
    assert_true(outcome.accepted);
    assert_string_equal(outcome.client.name, "alice");
    assert_int_equal(outcome.client.kind, CX_IDENTITY_OPERATOR);
    assert_int_equal(outcome.client.role, CX_ROLE_VIEWER);
}

/* The client can't load a certificate that is out of order; a stranger's client would. */
static void use_raw(SSL_CTX *context, const char *name)
{
    CX_AUTO(cx_free) char *cert = in_scratch(name, ".crt");
    CX_AUTO(cx_free) char *key = in_scratch(name, ".key");

    assert_int_equal(SSL_CTX_use_certificate_file(context, cert, SSL_FILETYPE_PEM), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM), 1);
}

static void a_server_refuses_each_client_that_it_should_and_says_why(void **state)
{
    static const struct {
        const char *name;
        const char *cert; /* NULL: none */
        const char *crl;  /* the server's */
        int version_max;  /* 0: any */
        const char *server_says;
        const char *client_says;
        cx_code client_code;
    } rows[] = {
        {"none", NULL, NULL, 0, "no client certificate", "wants a client certificate",
         CX_UNAUTHENTICATED},
        {"expired", "expired", NULL, 0, "certificate has expired: node-1", "has expired",
         CX_CERT_EXPIRED},
        {"not yet valid", "tomorrow", NULL, 0, "certificate is not yet valid: node-1", "refused",
         CX_UNAUTHENTICATED},
        {"another CA of the same name", "stranger", NULL, 0, "signed by another CA", "another CA",
         CX_CERT_INVALID},
        {"signed by itself", "self", NULL, 0, "signed by another CA", "another CA",
         CX_CERT_INVALID},
        {"another cluster", "foreign", NULL, 0, "cluster other, not prod", "refused",
         CX_UNAUTHENTICATED},
        {"revoked", "revoked", "revoking", 0, "certificate is revoked: serial ", "is revoked",
         CX_REVOKED},
        {"revoked by a list that is late", "revoked", "late", 0, "certificate is revoked: serial ",
         "is revoked", CX_REVOKED},
        {"TLS 1.2", "node-1", NULL, TLS1_2_VERSION, "TLS 1.3 is required", "TLS 1.3", CX_PROTOCOL},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_tls_close) cx_tls *server_tls = NULL;
        CX_AUTO(cx_tls_close) cx_tls *client_tls = NULL;
        CX_AUTO(ssl_ctx_free) SSL_CTX *context = SSL_CTX_new(TLS_client_method());
        cx_tls_peer peer = {0};
        struct outcome outcome;

        must(open_side(&(struct side){.ca = "ca", .cert = "node-1", .crl = rows[i].crl},
                       &server_tls, err));
        must(open_side(&(struct side){.ca = "ca"}, &client_tls, err));
        peer.tls = client_tls;
        must(cx_tls_client_hook(context, &peer, err));
        if (rows[i].cert != NULL)
            use_raw(context, rows[i].cert);
        if (rows[i].version_max != 0) {
            SSL_CTX_set_min_proto_version(context, 0);
            SSL_CTX_set_max_proto_version(context, rows[i].version_max);
        }
        outcome = shake(server_tls, context, &peer);

        if (outcome.accepted || !contains(outcome.server_says, rows[i].server_says) ||
            !contains(outcome.client_says.message, rows[i].client_says) ||
            outcome.client_says.code != rows[i].client_code)
            fail_msg("%s: accepted %d, server \"%s\", client \"%s\" (%s)", rows[i].name,
                     outcome.accepted, outcome.server_says, outcome.client_says.message,
                     cx_code_word(outcome.client_says.code));
    }
}

static void a_client_refuses_each_server_that_it_should_and_says_why(void **state)
{
    static const struct {
        const char *name;
        const char *ca, *cert; /* the server's */
        const char *crl;       /* the client's */
        const char *wanted_node;
        const char *client_says;
        cx_code code;
    } rows[] = {
        {"another node", "ca", "node-1", NULL, "node-2", "node node-1, not node-2",
         CX_CERT_INVALID},
        {"an operator as a server", "ca", "alice", NULL, NULL, "not made for this purpose",
         CX_CERT_INVALID},
        {"another CA", "same-name", "stranger", NULL, NULL, "signed by another CA",
         CX_CERT_INVALID},
        {"revoked", "ca", "revoked", "revoking", NULL, "is revoked", CX_REVOKED},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        struct side server = {.ca = rows[i].ca, .cert = rows[i].cert};
        struct side client = {.ca = "ca", .cert = "alice", .crl = rows[i].crl};
        struct outcome outcome = meet(&server, &client, rows[i].wanted_node);

        if (outcome.client_says.code != rows[i].code ||
            !contains(outcome.client_says.message, rows[i].client_says) || outcome.accepted)
            fail_msg("%s: accepted %d, client \"%s\", server \"%s\"", rows[i].name,
                     outcome.accepted, outcome.client_says.message, outcome.server_says);
    }
}

static void a_late_list_refuses_nobody_that_it_does_not_name(void **state)
{
    CX_AUTO(cx_tls_close) cx_tls *tls = NULL;
    struct side server = {.ca = "ca", .cert = "node-1", .crl = "late"};
    struct side client = {.ca = "ca", .cert = "alice", .crl = "late"};
    struct outcome outcome;

    (void)state;
    outcome = meet(&server, &client, NULL);
    must(open_side(&server, &tls, err));

    assert_true(outcome.accepted);
    assert_in_range(cx_tls_crl_stale_since(tls), cx_wall_ms() - 24 * DAY_MS,
                    cx_wall_ms() - 22 * DAY_MS);
}

static void files_that_are_out_of_order_are_refused_by_name(void **state)
{
    static const struct {
        const char *name;
        struct side side;
        cx_code code;
        const char *message;
    } rows[] = {
        {"expired", {"ca", "expired", NULL}, CX_CERT_EXPIRED, "certificate has expired"},
        {"of another CA", {"ca", "stranger", NULL}, CX_CERT_INVALID, "signed by another CA"},
        {"of another cluster", {"ca", "foreign", NULL}, CX_CERT_INVALID, "cluster other, not prod"},
        {"a CA of another cluster", {"other", "node-1", NULL}, CX_CERT_INVALID, "other, not prod"},
        {"no CA", {"nowhere", "node-1", NULL}, CX_NOT_FOUND, "nowhere.crt"},
        {"a leaf as CA", {"node-1", "node-1", NULL}, CX_CERT_INVALID, "not a CA's"},
        {"no certificate", {"ca", "nowhere", NULL}, CX_NOT_FOUND, "nowhere.crt"},
        {"a key of another certificate",
         {"ca", "mismatched", NULL},
         CX_CERT_INVALID,
         "the key is not that of"},
        {"a key for all to read", {"ca", "open", NULL}, CX_PERMISSION, "open.key"},
        {"a list of another CA",
         {"ca", "node-1", "foreign"},
         CX_CERT_INVALID,
         "not signed by the CA"},
        {"a list that is garbage", {"ca", "node-1", "garbage"}, CX_MALFORMED, "garbage.pem"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_tls_close) cx_tls *tls = NULL;
        cx_err err = {0};

        if (open_side(&rows[i].side, &tls, &err) || err.code != rows[i].code ||
            !contains(err.message, rows[i].message))
            fail_msg("%s: %s (%s)", rows[i].name, err.message, cx_code_word(err.code));
    }
}

static void a_renewed_certificate_is_used_by_the_next_connection(void **state)
{
    CX_AUTO(cx_tls_close) cx_tls *tls = NULL;
    CX_AUTO(cx_cert_free) X509 *first = NULL;
    CX_AUTO(cx_cert_free) X509 *second = NULL;
    CX_AUTO(ssl_ctx_free) SSL_CTX *old = NULL;
    bool changed = true;

    (void)state;
    first = make_certificate(&ours, &(struct wish){.file = "renewed"});
    must(open_side(&(struct side){.ca = "ca", .cert = "renewed"}, &tls, err));
    old = cx_tls_server(tls);
    must(cx_tls_reload(tls, &changed, err));
    assert_false(changed);

    second = make_certificate(&ours, &(struct wish){.file = "renewed"});
    must(cx_tls_reload(tls, &changed, err));

    CX_AUTO(ssl_ctx_free) SSL_CTX *renewed = cx_tls_server(tls);

    assert_true(changed);
    assert_int_equal(X509_cmp(SSL_CTX_get0_certificate(old), first), 0);
    assert_int_equal(X509_cmp(SSL_CTX_get0_certificate(renewed), second), 0);
}

static void a_damaged_file_leaves_the_old_contexts_in_use(void **state)
{
    CX_AUTO(cx_tls_close) cx_tls *tls = NULL;
    CX_AUTO(cx_cert_free) X509 *cert = NULL;
    CX_AUTO(cx_free) char *path = in_scratch("torn", ".crt");
    cx_err error = {0};
    bool changed = true;

    (void)state;
    cert = make_certificate(&ours, &(struct wish){.file = "torn"});
    must(open_side(&(struct side){.ca = "ca", .cert = "torn"}, &tls, err));
    must(cx_replace(path, 0644, cx_bytes_of("-----BEGIN CERTIFICATE-----\nMIIB"), err));

    assert_false(cx_tls_reload(tls, &changed, &error));

    CX_AUTO(ssl_ctx_free) SSL_CTX *context = cx_tls_server(tls);

    assert_int_equal(error.code, CX_MALFORMED);
    assert_false(changed);
    assert_int_equal(X509_cmp(SSL_CTX_get0_certificate(context), cert), 0);
}

/* A kept connection outlives the transfer that made it, and so its peer struct. */
static void an_accepted_client_forgets_its_peer_struct(void **state)
{
    CX_AUTO(cx_tls_close) cx_tls *tls = NULL;
    CX_AUTO(ssl_ctx_free) SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    CX_AUTO(ssl_ctx_free) SSL_CTX *server_context = NULL;
    cx_tls_peer *peer = cx_alloc(1, sizeof(*peer));
    struct outcome outcome = {0};

    (void)state;
    must(open_side(&(struct side){.ca = "ca", .cert = "node-1"}, &tls, err));
    peer->tls = tls;
    must(cx_tls_client_hook(context, peer, err));
    server_context = cx_tls_server(tls);

    CX_AUTO(ssl_free) SSL *server = SSL_new(server_context);
    CX_AUTO(ssl_free) SSL *client = SSL_new(context);
    char byte;

    converse(server, client, &outcome);
    assert_true(outcome.accepted);
    cx_free(&peer);

    /* A damaged record makes the server send an alert, which reaches the client's callbacks: a
     * sanitizer would see a use after free. */
    static const uint8_t damaged[] = {23, 3,  3,  0,  20, 1,  2,  3,  4,  5,  6,  7, 8,
                                      9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};

    assert_int_equal(BIO_write(SSL_get_wbio(client), damaged, sizeof(damaged)), sizeof(damaged));
    assert_int_equal(SSL_read(server, &byte, 1), -1);
    assert_true(SSL_read(client, &byte, 1) <= 0);
    assert_true(contains(cx_tls_refusal(client), "bad record mac"));
    ERR_clear_error();
}

static void who_is_revoked_during_a_connection_is_refused_at_the_next_request(void **state)
{
    CX_AUTO(cx_tls_close) cx_tls *tls = NULL;
    CX_AUTO(ssl_ctx_free) SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    CX_AUTO(ssl_ctx_free) SSL_CTX *server_context = NULL;
    CX_AUTO(cx_cert_free) X509 *cert = NULL;
    cx_tls_peer peer = {0};
    struct outcome outcome = {0};
    cx_identity identity;
    cx_err error = {0};
    bool changed = false;

    (void)state;
    cert = make_certificate(&ours, &(struct wish){.file = "kept", .name = "node-7"});
    must(open_side(&(struct side){.ca = "ca", .cert = "kept", .crl = "kept"}, &tls, err));
    peer.tls = tls;
    must(cx_tls_client_hook(context, &peer, err));
    server_context = cx_tls_server(tls);

    CX_AUTO(ssl_free) SSL *server = SSL_new(server_context);
    CX_AUTO(ssl_free) SSL *client = SSL_new(context);

    converse(server, client, &outcome);
    must(cx_tls_authenticate(tls, server, &identity, err));
    assert_string_equal(identity.name, "node-7");

    CX_AUTO(cx_free) char *path = make_crl(&ours, "kept", cert, 0, 7 * DAY_MS);

    /* Both sides have this certificate here: that our own is revoked is told, and no excuse. */
    assert_false(cx_tls_reload(tls, &changed, &error));
    assert_int_equal(error.code, CX_REVOKED);
    assert_true(changed);
    error = (cx_err){0};

    assert_false(cx_tls_authenticate(tls, server, &identity, &error));
    assert_int_equal(error.code, CX_REVOKED);
}

static void joining_hosts_need_no_certificate_where_it_is_optional(void **state)
{
    static const struct {
        const char *name, *cert;
        const char *server_says;
    } rows[] = {
        {"none", NULL, ""},
        {"a good one", "node-1", ""},
        {"one of another CA", "stranger", "signed by another CA"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_tls_close) cx_tls *tls = NULL;
        CX_AUTO(ssl_ctx_free) SSL_CTX *context = SSL_CTX_new(TLS_client_method());
        CX_AUTO(ssl_ctx_free) SSL_CTX *server_context = NULL;

        must(open_side(&(struct side){.ca = "ca", .cert = "node-1"}, &tls, err));
        server_context = cx_tls_server_optional(tls);
        if (rows[i].cert != NULL)
            use_raw(context, rows[i].cert);

        CX_AUTO(ssl_free) SSL *server = SSL_new(server_context);
        CX_AUTO(ssl_free) SSL *client = SSL_new(context);
        BIO *server_end = NULL, *client_end = NULL;
        cx_identity identity;
        cx_err error = {0};

        BIO_new_bio_pair(&server_end, 0, &client_end, 0);
        SSL_set_bio(server, server_end, server_end);
        SSL_set_bio(client, client_end, client_end);
        SSL_set_accept_state(server);
        SSL_set_connect_state(client);
        for (int round = 0; round < 5; round++) {
            (void)SSL_do_handshake(client);
            (void)SSL_do_handshake(server);
        }
        if (!contains(cx_tls_refusal(server), rows[i].server_says) ||
            (rows[i].server_says[0] == '\0') != SSL_is_init_finished(server))
            fail_msg("%s: \"%s\"", rows[i].name, cx_tls_refusal(server));
        if (rows[i].cert == NULL) {
            assert_false(cx_tls_peer_identity(server, &identity, &error));
            assert_int_equal(error.code, CX_UNAUTHENTICATED);
        }
        ERR_clear_error();
    }
}

static void keep_only_file(const char *from, const char *to, mode_t mode)
{
    CX_AUTO(cx_buffer_free) cx_buffer bytes = {0};
    CX_AUTO(cx_free) char *source = in_scratch(from, "");
    CX_AUTO(cx_free) char *target = in_scratch(to, "");

    must(cx_read_file(source, CX_CERTS_BYTES_MAX, &bytes, err));
    save(target, mode, &bytes);
}

static void make(const struct authority *authority, struct wish wish)
{
    CX_AUTO(cx_cert_free) X509 *cert = make_certificate(authority, &wish);
}

/* A leaf of a CA nobody knows, whose CA is named like ours. */
static void make_self_signed(void)
{
    CX_AUTO(cx_cert_free) X509 *cert = NULL;
    CX_AUTO(cx_key_free) EVP_PKEY *key = NULL;
    CX_AUTO(cx_secret_free) cx_buffer pem = {0};
    CX_AUTO(cx_free) char *cert_path = in_scratch("self", ".crt");
    CX_AUTO(cx_free) char *key_path = in_scratch("self", ".key");

    must(cx_key_generate(CX_KEY_P256, &key, err));
    must(cx_cert_make_ca(key, "prod", cx_wall_ms(), DAY_MS, &cert, err));
    must(cx_key_to_pem(key, NULL, &pem, err));
    save_cert(cert_path, cert);
    save(key_path, 0600, &pem);
}

static int set_up(void **state)
{
    struct authority same_name;
    CX_AUTO(cx_cert_free) X509 *revoked = NULL;

    if (make_scratch(state) != 0)
        return -1;
    ours = make_authority("ca", "prod", DAY_MS * 60);
    other = make_authority("other", "other", DAY_MS * 60);
    same_name = make_authority("same-name", "prod", DAY_MS * 60);
    make(&ours, (struct wish){.file = "node-1"});
    make(&ours, (struct wish){.file = "alice", .name = "alice", .kind = CX_IDENTITY_OPERATOR});
    make(&ours, (struct wish){.file = "expired", .age_ms = 10 * DAY_MS, .validity_ms = DAY_MS});
    make(&ours, (struct wish){.file = "tomorrow", .age_ms = -DAY_MS});
    make(&ours, (struct wish){.file = "foreign", .cluster = "other"});
    make(&ours, (struct wish){.file = "mismatched"});
    make(&ours, (struct wish){.file = "open"});
    make(&same_name, (struct wish){.file = "stranger"});
    make_self_signed();
    revoked = make_certificate(&ours, &(struct wish){.file = "revoked"});

    char *lists[] = {
        make_crl(&ours, "revoking", revoked, 0, 7 * DAY_MS),
        make_crl(&ours, "late", revoked, 30 * DAY_MS, 7 * DAY_MS),
        make_crl(&same_name, "foreign", NULL, 0, 7 * DAY_MS),
    };

    for (size_t i = 0; i < CX_COUNT(lists); i++)
        cx_free(&lists[i]);
    keep_only_file("node-1.crt", "garbage.pem", 0644);
    keep_only_file("node-1.key", "mismatched.key", 0600);
    keep_only_file("node-1.key", "open.key", 0644);
    free_authority(&same_name);
    return 0;
}

static int tear_down(void **state)
{
    free_authority(&ours);
    free_authority(&other);
    return remove_scratch(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_sides_accept_a_certificate_of_the_cluster),
        cmocka_unit_test(a_server_refuses_each_client_that_it_should_and_says_why),
        cmocka_unit_test(a_client_refuses_each_server_that_it_should_and_says_why),
        cmocka_unit_test(a_late_list_refuses_nobody_that_it_does_not_name),
        cmocka_unit_test(files_that_are_out_of_order_are_refused_by_name),
        cmocka_unit_test(a_renewed_certificate_is_used_by_the_next_connection),
        cmocka_unit_test(a_damaged_file_leaves_the_old_contexts_in_use),
        cmocka_unit_test(an_accepted_client_forgets_its_peer_struct),
        cmocka_unit_test(who_is_revoked_during_a_connection_is_refused_at_the_next_request),
        cmocka_unit_test(joining_hosts_need_no_certificate_where_it_is_optional),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
