#include <openssl/x509v3.h>

#include "pki/csr.h"
#include "pki/show.h"
#include "pki/trust.h"
#include "pki_fixture.h"

static struct authority ours;

static bool contains(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

/* ---- keys */

static void a_key_of_each_type_comes_back_from_its_file(void **state)
{
    static const char *const passphrases[] = {NULL, "correct horse"};

    (void)state;
    for (cx_key_type type = CX_KEY_P256; cx_key_type_word(type) != NULL; type++)
        for (size_t i = 0; i < CX_COUNT(passphrases); i++) {
            CX_AUTO(cx_key_free) EVP_PKEY *key = NULL;
            CX_AUTO(cx_key_free) EVP_PKEY *again = NULL;
            CX_AUTO(cx_secret_free) cx_buffer pem = {0};
            CX_AUTO(cx_free) char *path = in_scratch("a", ".key");
            char description[32];

            must(cx_key_generate(type, &key, err));
            must(cx_key_to_pem(key, passphrases[i], &pem, err));
            save(path, 0600, &pem);
            must(cx_key_read(path, passphrases[i], &again, err));

            cx_key_describe(again, description);
            assert_string_equal(description, cx_key_type_word(type));
            assert_int_equal(EVP_PKEY_eq(key, again), 1);
        }
}

static void a_key_that_cannot_be_used_is_refused_and_says_why(void **state)
{
    CX_AUTO(cx_key_free) EVP_PKEY *key = NULL;
    CX_AUTO(cx_key_free) EVP_PKEY *small = EVP_RSA_gen(1024);
    CX_AUTO(cx_key_free) EVP_PKEY *group = EVP_EC_gen("P-521");
    CX_AUTO(cx_secret_free) cx_buffer sealed = {0}, small_pem = {0}, group_pem = {0};

    (void)state;
    must(cx_key_generate(CX_KEY_P256, &key, err));
    must(cx_key_to_pem(key, "right", &sealed, err));
    must(cx_key_to_pem(small, NULL, &small_pem, err));
    must(cx_key_to_pem(group, NULL, &group_pem, err));

    const struct {
        const char *name;
        cx_bytes pem;
        const char *passphrase;
        cx_code code;
        const char *message;
    } rows[] = {
        {"wrong passphrase", cx_buffer_bytes(&sealed), "wrong", CX_PERMISSION, "wrong passphrase"},
        {"no passphrase", cx_buffer_bytes(&sealed), NULL, CX_PERMISSION, "encrypted"},
        {"nothing", {NULL, 0}, NULL, CX_MALFORMED, "no private key"},
        {"text", cx_bytes_of("hello\n"), NULL, CX_MALFORMED, "no private key"},
        {"a small RSA key", cx_buffer_bytes(&small_pem), NULL, CX_INVALID, "rsa-1024"},
        {"another group", cx_buffer_bytes(&group_pem), NULL, CX_INVALID, "secp521r1"},
    };

    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_key_free) EVP_PKEY *again = NULL;
        cx_err err = {0};

        if (cx_key_from_pem(rows[i].pem, "a.key", rows[i].passphrase, &again, &err) ||
            err.code != rows[i].code || !contains(err.message, rows[i].message))
            fail_msg("%s: %s (%s)", rows[i].name, err.message, cx_code_word(err.code));
    }
}

/* ---- certificates */

static void a_ca_signs_certificates_and_lists_only(void **state)
{
    char cluster[CX_ID_SIZE];

    (void)state;
    must(cx_cert_cluster(ours.cert, cluster, err));

    assert_string_equal(cluster, "prod");
    assert_int_equal(X509_check_ca(ours.cert), 1);
    assert_int_equal(X509_get_pathlen(ours.cert), 0);
    assert_int_equal(X509_get_key_usage(ours.cert), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
    assert_true(cx_cert_is_signed_by(ours.cert, ours.cert));
}

static void a_node_is_server_and_client_and_an_operator_only_client(void **state)
{
    CX_AUTO(cx_trust_close) cx_trust *trust = NULL;
    static const struct {
        cx_identity_kind kind;
        uint32_t usage;
        bool may_serve;
    } rows[] = {
        {CX_IDENTITY_NODE, XKU_SSL_SERVER | XKU_SSL_CLIENT, true},
        {CX_IDENTITY_OPERATOR, XKU_SSL_CLIENT, false},
    };

    (void)state;
    must(cx_trust_open(ours.path, NULL, "prod", &trust, err));
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        struct wish wish = {.file = "leaf", .kind = rows[i].kind, .role = CX_ROLE_ADMIN};
        CX_AUTO(cx_cert_free) X509 *cert = make_certificate(&ours, &wish);
        cx_identity identity;
        cx_err refusal = {0};

        must(cx_cert_identity(cert, &identity, err));
        must(cx_trust_verify(trust, cert, CX_PURPOSE_CLIENT, NULL, err));

        assert_int_equal(identity.kind, rows[i].kind);
        assert_int_equal(X509_get_key_usage(cert), KU_DIGITAL_SIGNATURE);
        assert_int_equal(X509_get_extended_key_usage(cert), rows[i].usage);
        assert_int_equal(X509_check_ca(cert), 0);
        assert_int_equal(cx_trust_verify(trust, cert, CX_PURPOSE_SERVER, NULL, &refusal),
                         rows[i].may_serve);
        assert_non_null(X509_get0_subject_key_id(cert));
        assert_int_equal(ASN1_OCTET_STRING_cmp(X509_get0_authority_key_id(cert),
                                               X509_get0_subject_key_id(ours.cert)),
                         0);
    }
}

static void validity_begins_before_the_issue_and_never_outlives_the_ca(void **state)
{
    struct wish wish = {.file = "long", .validity_ms = 36500 * DAY_MS};
    CX_AUTO(cx_cert_free) X509 *cert = NULL;
    int64_t now_ms = cx_wall_ms();

    (void)state;
    cert = make_certificate(&ours, &wish);

    assert_in_range(now_ms - cx_cert_not_before_ms(cert), 4 * MINUTE_MS, 6 * MINUTE_MS);
    assert_int_equal(cx_cert_not_after_ms(cert), cx_cert_not_after_ms(ours.cert));
}

static void an_expired_ca_issues_nothing(void **state)
{
    struct authority old = make_authority("old", "prod", 4000 * DAY_MS);
    CX_AUTO(cx_cert_free) X509 *cert = NULL;
    cx_cert_spec spec = {.identity = {.cluster = "prod", .name = "node-1"},
                         .sans = &(cx_list){0},
                         .now_ms = cx_wall_ms(),
                         .validity_ms = DAY_MS};
    cx_err err = {0};

    (void)state;
    assert_false(cx_cert_issue(old.cert, old.key, old.key, &spec, &cert, &err));
    assert_int_equal(err.code, CX_CERT_EXPIRED);
    free_authority(&old);
}

static void serials_are_positive_long_and_never_the_same(void **state)
{
    char seen[50][CX_SERIAL_SIZE];

    (void)state;
    for (size_t i = 0; i < CX_COUNT(seen); i++) {
        struct wish wish = {.file = "serial"};
        CX_AUTO(cx_cert_free) X509 *cert = make_certificate(&ours, &wish);

        cx_cert_serial(cert, seen[i]);
        assert_int_equal(strlen(seen[i]), 32);
        assert_true(seen[i][0] < '8');
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(seen[i], seen[j]);
    }
}

/* ---- alternative names */

static void alternative_names_have_one_writing(void **state)
{
    static const struct {
        const char *text;
        const char *names; /* NULL: refused */
    } rows[] = {
        {"DNS:Node-1.Example.COM", "DNS:node-1.example.com "},
        {"node-1", "DNS:node-1 "},
        {"dns:a,ip:10.0.0.1", "DNS:a IP:10.0.0.1 "},
        {"10.0.0.1", "IP:10.0.0.1 "},
        {"IP:2001:DB8:0:0::1", "IP:2001:db8::1 "},
        {"::1,::1,DNS:a,DNS:A", "IP:::1 DNS:a "},
        {"DNS:10.0.0.1", "DNS:10.0.0.1 "},
        {"node_1", "DNS:node_1 "},
        {"", NULL},
        {"DNS:", NULL},
        {"IP:", NULL},
        {"IP:node-1", NULL},
        {"IP:10.0.0.256", NULL},
        {"IP:10.0.0.1/8", NULL},
        {"DNS:a..b", NULL},
        {"DNS:.a", NULL},
        {"DNS:a.", NULL},
        {"DNS:-a", NULL},
        {"DNS:a-", NULL},
        {"DNS:*.example.com", NULL},
        {"DNS:a b", NULL},
        {"DNS:a\nb", NULL},
        {"DNS:a,,b", NULL},
        {"URI:spiffe://prod/node/node-2", NULL},
        {"email:root@example.com", NULL},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_list_free) cx_list sans = {0};
        CX_AUTO(cx_buffer_free) cx_buffer seen = {0};
        cx_err err = {0};
        bool accepted = cx_sans_add(&sans, rows[i].text, &err);

        cx_buffer_add_text(&seen, "");
        for (size_t j = 0; j < sans.count; j++)
            cx_buffer_addf(&seen, "%s ", sans.items[j]);
        if (accepted != (rows[i].names != NULL))
            fail_msg("\"%s\": %s", rows[i].text, accepted ? "accepted" : err.message);
        if (accepted && strcmp((const char *)seen.data, rows[i].names) != 0)
            fail_msg("\"%s\": %s", rows[i].text, (const char *)seen.data);
        if (!accepted && err.code != CX_INVALID)
            fail_msg("\"%s\": %s", rows[i].text, cx_code_word(err.code));
    }
}

static void alternative_names_come_back_from_the_certificate(void **state)
{
    struct wish wish = {.file = "named"};
    CX_AUTO(cx_cert_free) X509 *cert = make_certificate(&ours, &wish);
    CX_AUTO(cx_list_free) cx_list wanted = {0}, found = {0};

    (void)state;
    must(cx_sans_add(&wanted, "127.0.0.1,node-1", err));
    cx_cert_sans(cert, &found);

    assert_true(cx_sans_equal(&wanted, &found));
    must(cx_sans_add(&wanted, "node-2", err));
    assert_false(cx_sans_equal(&wanted, &found));
}

/* ---- identities in certificates */

/* A leaf with these names, signed by the CA, as another program could make one. */
static X509 *make_odd(const char *names, const char *unit)
{
    CX_AUTO(cx_cert_free) X509 *cert = make_certificate(&ours, &(struct wish){.file = "odd"});
    X509_NAME *subject = X509_get_subject_name(cert);
    int at = X509_get_ext_by_NID(cert, NID_subject_alt_name, -1);
    X509_EXTENSION *old = X509_delete_ext(cert, at);

    X509_EXTENSION_free(old);
    if (names != NULL) {
        X509_EXTENSION *made = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);

        assert_non_null(made);
        assert_int_equal(X509_add_ext(cert, made, -1), 1);
        X509_EXTENSION_free(made);
    }
    if (unit != NULL)
        assert_int_equal(X509_NAME_add_entry_by_txt(subject, "OU", MBSTRING_UTF8,
                                                    (const unsigned char *)unit, -1, -1, 0),
                         1);
    assert_true(X509_sign(cert, ours.key, EVP_sha256()) > 0);
    return CX_TAKE(cert);
}

static void a_certificate_with_no_or_two_identities_is_refused(void **state)
{
    static const struct {
        const char *name;
        const char *names;
        const char *unit; /* a second one */
        const char *message;
    } rows[] = {
        {"no names", NULL, NULL, "0 URIs"},
        {"no URI", "DNS:node-1", NULL, "0 URIs"},
        {"two URIs", "URI:spiffe://prod/node/a,URI:spiffe://prod/node/b", NULL, "2 URIs"},
        {"an identity and another URI", "URI:spiffe://prod/node/a,URI:https://a.example", NULL,
         "2 URIs"},
        {"another scheme", "URI:https://prod/node/a", NULL, "not an identity"},
        {"an operator with a node's OU", "URI:spiffe://prod/operator/a", NULL, "unknown role"},
        {"an operator with two roles", "URI:spiffe://prod/operator/a", "admin", "exactly one role"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_cert_free) X509 *cert = make_odd(rows[i].names, rows[i].unit);
        cx_identity identity;
        cx_err err = {0};

        if (cx_cert_identity(cert, &identity, &err) || err.code != CX_CERT_INVALID ||
            !contains(err.message, rows[i].message))
            fail_msg("%s: %s", rows[i].name, err.message);
    }
}

/* ---- requests */

static void a_request_proves_its_key_and_proposes_a_name(void **state)
{
    CX_AUTO(cx_key_free) EVP_PKEY *key = NULL;
    CX_AUTO(cx_key_free) EVP_PKEY *found = NULL;
    CX_AUTO(cx_buffer_free) cx_buffer pem = {0};
    char name[CX_ID_SIZE];

    (void)state;
    must(cx_key_generate(CX_KEY_ED25519, &key, err));
    must(cx_csr_make(key, "node-4", &pem, err));
    must(cx_csr_parse(cx_buffer_bytes(&pem), "stdin", &found, name, err));

    assert_string_equal(name, "node-4");
    assert_int_equal(EVP_PKEY_eq(key, found), 1);
}

static void a_request_that_proves_nothing_is_refused(void **state)
{
    CX_AUTO(cx_key_free) EVP_PKEY *key = NULL;
    CX_AUTO(cx_key_free) EVP_PKEY *small = EVP_RSA_gen(1024);
    CX_AUTO(cx_buffer_free) cx_buffer good = {0}, weak = {0};
    CX_AUTO(cx_free) char *forged = NULL;
    char *at;

    (void)state;
    must(cx_key_generate(CX_KEY_P256, &key, err));
    must(cx_csr_make(key, "node-4", &good, err));
    must(cx_csr_make(small, "node-4", &weak, err));
    forged = cx_strdup((const char *)good.data);
    at = strstr(forged, "-----END") - 10; /* within the signature */
    *at = *at == 'A' ? 'B' : 'A';

    const struct {
        const char *name;
        cx_bytes pem;
        cx_code code;
    } rows[] = {
        {"nothing", {NULL, 0}, CX_MALFORMED},
        {"text", cx_bytes_of("-----BEGIN CERTIFICATE REQUEST-----\nxx\n"), CX_MALFORMED},
        {"a false signature", cx_bytes_of(forged), CX_CERT_INVALID},
        {"a weak key", cx_buffer_bytes(&weak), CX_INVALID},
    };

    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_key_free) EVP_PKEY *found = NULL;
        char name[CX_ID_SIZE];
        cx_err err = {0};

        if (cx_csr_parse(rows[i].pem, "stdin", &found, name, &err) || err.code != rows[i].code)
            fail_msg("%s: %s (%s)", rows[i].name, err.message, cx_code_word(err.code));
    }
}

/* ---- lists */

static void a_revocation_list_comes_back_with_number_and_reasons(void **state)
{
    struct wish wish = {.file = "gone"};
    CX_AUTO(cx_cert_free) X509 *cert = make_certificate(&ours, &wish);
    CX_AUTO(cx_free) char *path = make_crl(&ours, "list", cert, 0, 7 * DAY_MS);
    CX_AUTO(cx_crl_free) X509_CRL *crl = NULL;
    CX_AUTO(cx_free) cx_crl_entry *entries = NULL;
    size_t count = 0;
    char serial[CX_SERIAL_SIZE];

    (void)state;
    must(cx_crl_read(path, &crl, err));
    cx_crl_entries(crl, &entries, &count);
    cx_cert_serial(cert, serial);

    assert_true(cx_crl_is_signed_by(crl, ours.cert));
    assert_int_equal(cx_crl_number(crl), 7);
    assert_int_equal(count, 1);
    assert_string_equal(entries[0].serial, serial);
    assert_int_equal(entries[0].reason, CX_REVOKED_KEY_COMPROMISE);
}

/* ---- show */

static void a_file_is_shown_block_by_block_without_its_secrets(void **state)
{
    CX_AUTO(cx_key_free) EVP_PKEY *key = NULL;
    CX_AUTO(cx_secret_free) cx_buffer pem = {0};
    CX_AUTO(cx_json_free) json_t *items = json_array();
    CX_AUTO(cx_free) char *text = NULL;
    static const char *const types[] = {"certificate", "certificate_request", "private_key",
                                        "private_key", "other"};

    (void)state;
    must(cx_key_generate(CX_KEY_P256, &key, err));
    must(cx_cert_to_pem(ours.cert, &pem, err));
    must(cx_csr_make(key, "node-4", &pem, err));
    must(cx_key_to_pem(key, NULL, &pem, err));
    must(cx_key_to_pem(key, "secret", &pem, err));
    cx_buffer_add_text(&pem, "-----BEGIN THING-----\nAAAA\n-----END THING-----\n");
    must(cx_show_pem(cx_buffer_bytes(&pem), "all.pem", cx_wall_ms(), items, err));

    assert_int_equal(json_array_size(items), CX_COUNT(types));
    for (size_t i = 0; i < CX_COUNT(types); i++)
        assert_string_equal(cx_json_text_or_empty(json_array_get(items, i), "type"), types[i]);
    text = cx_json_line(json_array_get(items, 2));
    assert_true(contains(text, "\"p256\""));
    assert_true(strlen(text) < 250);
}

static int set_up(void **state)
{
    if (make_scratch(state) != 0)
        return -1;
    ours = make_authority("ca", "prod", 0);
    return 0;
}

static int tear_down(void **state)
{
    free_authority(&ours);
    return remove_scratch(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_of_each_type_comes_back_from_its_file),
        cmocka_unit_test(a_key_that_cannot_be_used_is_refused_and_says_why),
        cmocka_unit_test(a_ca_signs_certificates_and_lists_only),
        cmocka_unit_test(a_node_is_server_and_client_and_an_operator_only_client),
        cmocka_unit_test(validity_begins_before_the_issue_and_never_outlives_the_ca),
        cmocka_unit_test(an_expired_ca_issues_nothing),
        cmocka_unit_test(serials_are_positive_long_and_never_the_same),
        cmocka_unit_test(alternative_names_have_one_writing),
        cmocka_unit_test(alternative_names_come_back_from_the_certificate),
        cmocka_unit_test(a_certificate_with_no_or_two_identities_is_refused),
        cmocka_unit_test(a_request_proves_its_key_and_proposes_a_name),
        cmocka_unit_test(a_request_that_proves_nothing_is_refused),
        cmocka_unit_test(a_revocation_list_comes_back_with_number_and_reasons),
        cmocka_unit_test(a_file_is_shown_block_by_block_without_its_secrets),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
