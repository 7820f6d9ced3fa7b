/* A scratch folder with CAs and certificates of any age, for the tests of lib/pki. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/time.h"
#include "pki/cert.h"
#include "pki/crl.h"
#include "pki/key.h"
#include "pki/san.h"

#define MINUTE_MS INT64_C(60000)
#define DAY_MS    (INT64_C(24) * 60 * MINUTE_MS)

struct authority {
    X509 *cert;
    EVP_PKEY *key;
    char *path; /* of its PEM */
};

/* A certificate to be made; zero fields: node-1, of the CA's cluster, fresh. */
struct wish {
    const char *file; /* DIR/FILE.crt and .key */
    const char *cluster;
    const char *name;
    cx_identity_kind kind;
    cx_role role;
    int64_t age_ms; /* issued that long ago */
    int64_t validity_ms;
};

static char *scratch;

#define must(call)                                       \
    do {                                                 \
        cx_err must_err = {0};                           \
        cx_err *err = &must_err;                         \
        if (!(call))                                     \
            fail_msg("%s: %s", #call, must_err.message); \
    } while (0)

static inline char *in_scratch(const char *name, const char *suffix)
{
    return cx_format("%s/%s%s", scratch, name, suffix);
}

static inline void save(const char *path, mode_t mode, const cx_buffer *bytes)
{
    must(cx_replace(path, mode, cx_buffer_bytes(bytes), err));
}

static inline void save_cert(const char *path, X509 *cert)
{
    CX_AUTO(cx_buffer_free) cx_buffer pem = {0};

    must(cx_cert_to_pem(cert, &pem, err));
    save(path, 0644, &pem);
}

static inline struct authority make_authority(const char *file, const char *cluster, int64_t age_ms)
{
    struct authority made = {.path = in_scratch(file, ".crt")};

    must(cx_key_generate(CX_KEY_P256, &made.key, err));
    must(cx_cert_make_ca(made.key, cluster, cx_wall_ms() - age_ms, 3650 * DAY_MS, &made.cert, err));
    save_cert(made.path, made.cert);
    return made;
}

static inline void free_authority(struct authority *authority)
{
    cx_cert_free(&authority->cert);
    cx_key_free(&authority->key);
    cx_free(&authority->path);
}

/* Makes key and certificate, writes both, returns the certificate. */
static inline X509 *make_certificate(const struct authority *authority, const struct wish *wish)
{
    CX_AUTO(cx_key_free) EVP_PKEY *key = NULL;
    CX_AUTO(cx_secret_free) cx_buffer pem = {0};
    CX_AUTO(cx_list_free) cx_list sans = {0};
    CX_AUTO(cx_free) char *cert_path = in_scratch(wish->file, ".crt");
    CX_AUTO(cx_free) char *key_path = in_scratch(wish->file, ".key");
    X509 *cert = NULL;
    cx_cert_spec spec = {
        .identity = {.kind = wish->kind, .role = wish->role},
        .sans = &sans,
        .now_ms = cx_wall_ms() - wish->age_ms,
        .validity_ms = wish->validity_ms != 0 ? wish->validity_ms : 90 * DAY_MS,
    };

    if (wish->cluster != NULL)
        snprintf(spec.identity.cluster, CX_ID_SIZE, "%s", wish->cluster);
    else
        must(cx_cert_cluster(authority->cert, spec.identity.cluster, err));
    snprintf(spec.identity.name, CX_ID_SIZE, "%s", wish->name != NULL ? wish->name : "node-1");
    must(cx_sans_add(&sans, "node-1,127.0.0.1", err));
    must(cx_key_generate(CX_KEY_P256, &key, err));
    must(cx_cert_issue(authority->cert, authority->key, key, &spec, &cert, err));
    must(cx_key_to_pem(key, NULL, &pem, err));
    save_cert(cert_path, cert);
    save(key_path, 0600, &pem);
    return cert;
}

/* DIR/FILE.pem, a list that revokes one certificate (NULL: none). */
static inline char *make_crl(const struct authority *authority, const char *file, X509 *revoked,
                             int64_t age_ms, int64_t validity_ms)
{
    CX_AUTO(cx_crl_free) X509_CRL *crl = NULL;
    CX_AUTO(cx_buffer_free) cx_buffer pem = {0};
    char *path = in_scratch(file, ".pem");
    int64_t now_ms = cx_wall_ms() - age_ms;
    cx_crl_entry entry = {.revoked_at_ms = now_ms, .reason = CX_REVOKED_KEY_COMPROMISE};

    if (revoked != NULL)
        cx_cert_serial(revoked, entry.serial);
    must(cx_crl_make(authority->cert, authority->key, &entry, revoked != NULL ? 1 : 0, 7, now_ms,
                     now_ms + validity_ms, &crl, err));
    must(cx_crl_to_pem(crl, &pem, err));
    save(path, 0644, &pem);
    return path;
}

static inline int make_scratch(void **state)
{
    (void)state;
    scratch = cx_format("%s/cx-pki-XXXXXX", getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    return mkdtemp(scratch) != NULL ? 0 : -1;
}

static inline int remove_scratch(void **state)
{
    cx_err err = {0};

    (void)state;
    if (!cx_remove_tree(scratch, &err))
        return -1;
    cx_free(&scratch);
    return 0;
}
