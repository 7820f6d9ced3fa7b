#include "pki/tls.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/err.h>

#include "base/time.h"
#include "pki/key.h"
#include "pki/openssl.h"
#include "pki/trust.h"

enum {
    LOOK_EVERY_MS = 1000, /* a context that is asked for looks at the files this often */
    FILES = 4,
};

/* What makes one state of a file different from the next. All zero: it isn't there. */
struct stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified;
    struct timespec changed;
};

/* All that comes from the files; replaced as a whole. */
struct loaded {
    cx_trust *trust;
    X509 *cert; /* NULL together with key */
    EVP_PKEY *key;
    SSL_CTX *server;
    SSL_CTX *server_optional;
    char serial[CX_SERIAL_SIZE];
    struct stamp stamps[FILES];
    cx_err own_fault; /* our own certificate is revoked or over; CX_OK: it is not */
};

struct cx_tls {
    char *ca, *cert, *key, *crl, *cluster;
    struct loaded *loaded;
    int64_t looked_ms;
};

/* Hangs on an SSL_CTX and verifies its connections. */
struct guard {
    cx_trust *trust;
    char *node_id;     /* NULL: any */
    cx_tls_peer *peer; /* a client's: told of the reason until the other side has answered */
};

/* ---- data on OpenSSL's objects
 *
 * OpenSSL gives out the slots for such data per process, so their numbers are the one thing here that
 * is made once and kept: a constant in all but name. */

struct slots {
    int guard;   /* of an SSL_CTX */
    int refusal; /* of an SSL: cx_err */
};

static struct slots slots_;
static pthread_once_t slots_made_ = PTHREAD_ONCE_INIT;

static void guard_free(void *parent, void *value, CRYPTO_EX_DATA *data, int index, long number,
                       void *arg)
{
    struct guard *guard = value;

    (void)parent, (void)data, (void)index, (void)number, (void)arg;
    if (guard == NULL)
        return;
    cx_trust_close(&guard->trust);
    cx_free(&guard->node_id);
    cx_free(&guard);
}

static void refusal_free(void *parent, void *value, CRYPTO_EX_DATA *data, int index, long number,
                         void *arg)
{
    (void)parent, (void)data, (void)index, (void)number, (void)arg;
    cx_free(&value);
}

static void make_slots(void)
{
    slots_.guard = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, guard_free);
    slots_.refusal = SSL_get_ex_new_index(0, NULL, NULL, NULL, refusal_free);
}

static const struct slots *slots(void)
{
    pthread_once(&slots_made_, make_slots);
    return &slots_;
}

static struct guard *guard_of(const SSL *ssl)
{
    return SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), slots()->guard);
}

/* ---- reasons */

/* The first reason counts: what follows is its consequence. */
static void note(SSL *ssl, const cx_err *reason)
{
    struct guard *guard = guard_of(ssl);
    cx_err *refusal;

    if (guard != NULL && guard->peer != NULL && guard->peer->error.code == CX_OK)
        guard->peer->error = *reason;
    if (SSL_get_ex_data(ssl, slots()->refusal) != NULL)
        return;
    refusal = cx_alloc(1, sizeof(*refusal));
    *refusal = *reason;
    if (SSL_set_ex_data(ssl, slots()->refusal, refusal) != 1)
        cx_free(&refusal);
}

/* What the other side says of us in its alert (RFC 8446, 6.2). */
static void explain_alert(int alert, cx_err *reason)
{
    switch (alert) {
    case SSL_AD_CERTIFICATE_REQUIRED:
        cx_fail(reason, CX_UNAUTHENTICATED, "the peer wants a client certificate");
        break;
    case SSL_AD_CERTIFICATE_EXPIRED:
        cx_fail(reason, CX_CERT_EXPIRED, "the peer says that our certificate has expired");
        cx_hint(reason, "renew it, or compare the clocks of both hosts");
        break;
    case SSL_AD_CERTIFICATE_REVOKED:
        cx_fail(reason, CX_REVOKED, "the peer says that our certificate is revoked");
        break;
    case SSL_AD_UNKNOWN_CA:
        cx_fail(reason, CX_CERT_INVALID, "the peer says that our certificate is of another CA");
        break;
    case SSL_AD_PROTOCOL_VERSION:
        cx_fail(reason, CX_PROTOCOL, "the peer doesn't speak TLS 1.3");
        break;
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_HANDSHAKE_FAILURE:
        cx_fail(reason, CX_UNAUTHENTICATED, "the peer refused our certificate (%s)",
                SSL_alert_desc_string_long(alert));
        break;
    default:
        cx_fail(reason, CX_PROTOCOL, "the peer broke off: %s", SSL_alert_desc_string_long(alert));
    }
}

/* Why a handshake failed that no verification refused. */
static void explain_failure(unsigned long error, cx_err *reason)
{
    int number = ERR_GET_REASON(error);

    if (ERR_GET_LIB(error) == ERR_LIB_SSL && number > SSL_AD_REASON_OFFSET) {
        explain_alert(number - SSL_AD_REASON_OFFSET, reason);
        return;
    }
    switch (number) {
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        cx_fail(reason, CX_UNAUTHENTICATED, "no client certificate");
        break;
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW: cx_fail(reason, CX_PROTOCOL, "TLS 1.3 is required"); break;
    case SSL_R_HTTP_REQUEST: cx_fail(reason, CX_PROTOCOL, "plain HTTP, not TLS"); break;
    case SSL_R_WRONG_VERSION_NUMBER: cx_fail(reason, CX_PROTOCOL, "not TLS"); break;
    default: {
        const char *text = ERR_reason_error_string(error);

        cx_fail(reason, CX_PROTOCOL, "%s", text != NULL ? text : "TLS failed");
    }
    }
}

/* ---- callbacks of a connection */

static int verify(X509_STORE_CTX *context, void *arg)
{
    const struct guard *guard = arg;
    SSL *ssl = X509_STORE_CTX_get_ex_data(context, SSL_get_ex_data_X509_STORE_CTX_idx());
    cx_err reason = {0};

    if (cx_trust_judge(guard->trust, context, guard->node_id, &reason))
        return 1;
    note(ssl, &reason);
    return 0;
}

static void observe(const SSL *const_ssl, int where, int value)
{
    SSL *ssl = (SSL *)(uintptr_t)const_ssl; /* the slot's setter wants it; OpenSSL has none const */
    cx_err reason = {0};

    if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT && (value >> 8) == SSL3_AL_FATAL) {
        explain_alert(value & 0xff, &reason);
        note(ssl, &reason);
    } else if ((where & SSL_CB_EXIT) != 0 && value <= 0 && ERR_peek_last_error() != 0) {
        explain_failure(ERR_peek_last_error(), &reason);
        note(ssl, &reason);
    }
}

/* A client's handshake ends before the server has judged its certificate: only the first data that
 * comes back says that it was accepted. From then on the peer struct may be gone. */
static void forget_peer(int is_write, int version, int type, const void *data, size_t size,
                        SSL *ssl, void *arg)
{
    (void)version, (void)arg;
    if (!is_write && type == SSL3_RT_INNER_CONTENT_TYPE && size == 1 &&
        *(const uint8_t *)data == SSL3_RT_APPLICATION_DATA)
        guard_of(ssl)->peer = NULL;
}

/* ---- contexts */

/* What every context of ours has in common. */
static bool arm(SSL_CTX *context, const struct loaded *loaded, const char *node_id,
                cx_tls_peer *peer, int verify_mode, cx_err *err)
{
    struct guard *guard = cx_alloc(1, sizeof(*guard));

    guard->trust = cx_trust_keep(loaded->trust);
    guard->node_id = cx_strdup(node_id);
    guard->peer = peer;
    if (SSL_CTX_set_ex_data(context, slots()->guard, guard) != 1) {
        guard_free(NULL, guard, NULL, 0, 0, NULL);
        return cx_openssl_fail(err, CX_INTERNAL, "TLS context");
    }
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(context, verify_mode, NULL);
    SSL_CTX_set_cert_verify_callback(context, verify, guard);
    SSL_CTX_set_info_callback(context, observe);
    SSL_CTX_set1_cert_store(context, cx_trust_store(loaded->trust));
    if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(context, 0) != 1 || SSL_CTX_set_num_tickets(context, 0) != 1)
        return cx_openssl_fail(err, CX_INTERNAL, "TLS context");
    if (loaded->cert != NULL && (SSL_CTX_use_certificate(context, loaded->cert) != 1 ||
                                 SSL_CTX_use_PrivateKey(context, loaded->key) != 1))
        return cx_openssl_fail(err, CX_CERT_INVALID, "our certificate");
    return true;
}

static bool make_server(const struct loaded *loaded, int verify_mode, SSL_CTX **context,
                        cx_err *err)
{
    *context = SSL_CTX_new(TLS_server_method());
    if (*context == NULL)
        return cx_openssl_fail(err, CX_INTERNAL, "TLS context");
    return arm(*context, loaded, NULL, NULL, SSL_VERIFY_PEER | verify_mode, err);
}

/* ---- files */

static struct stamp stamp_of(const char *path)
{
    struct stat status;

    if (path == NULL || stat(path, &status) < 0)
        return (struct stamp){0};
    return (struct stamp){.device = status.st_dev,
                          .inode = status.st_ino,
                          .size = status.st_size,
                          .modified = status.st_mtim,
                          .changed = status.st_ctim};
}

static bool same_stamp(const struct stamp *a, const struct stamp *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->modified.tv_sec == b->modified.tv_sec && a->modified.tv_nsec == b->modified.tv_nsec &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

static void take_stamps(const cx_tls *tls, struct stamp stamps[FILES])
{
    const char *const paths[FILES] = {tls->ca, tls->cert, tls->key, tls->crl};

    for (size_t i = 0; i < FILES; i++)
        stamps[i] = stamp_of(paths[i]);
}

static bool is_changed(const cx_tls *tls)
{
    struct stamp stamps[FILES];

    take_stamps(tls, stamps);
    for (size_t i = 0; i < FILES; i++)
        if (!same_stamp(&stamps[i], &tls->loaded->stamps[i]))
            return true;
    return false;
}

static void loaded_free(struct loaded **owner)
{
    struct loaded *loaded = *owner;

    if (loaded == NULL)
        return;
    SSL_CTX_free(loaded->server);
    SSL_CTX_free(loaded->server_optional);
    cx_key_free(&loaded->key);
    cx_cert_free(&loaded->cert);
    cx_trust_close(&loaded->trust);
    cx_free(owner);
}

static bool load_certificate(const cx_tls *tls, struct loaded *loaded, cx_err *err)
{
    if (!cx_cert_read(tls->cert, &loaded->cert, err) ||
        !cx_key_read(tls->key, NULL, &loaded->key, err) ||
        !cx_cert_check_key(loaded->cert, tls->cert, loaded->key, tls->key, err))
        return false;
    cx_cert_serial(loaded->cert, loaded->serial);
    if (cx_trust_verify(loaded->trust, loaded->cert, CX_PURPOSE_ANY, NULL, err))
        return true;
    cx_wrap(err, "%s", tls->cert);
    if (err->code != CX_REVOKED && err->code != CX_CERT_EXPIRED)
        return false;
    loaded->own_fault = *err;
    return true;
}

static bool load(const cx_tls *tls, struct loaded **loaded, cx_err *err)
{
    CX_AUTO(loaded_free) struct loaded *made = cx_alloc(1, sizeof(*made));

    /* Before the files are read: what changes in between is seen as a change next time. */
    take_stamps(tls, made->stamps);
    if (!cx_trust_open(tls->ca, tls->crl, tls->cluster, &made->trust, err) ||
        (tls->cert != NULL && !load_certificate(tls, made, err)) ||
        !make_server(made, SSL_VERIFY_FAIL_IF_NO_PEER_CERT, &made->server, err) ||
        !make_server(made, 0, &made->server_optional, err))
        return false;
    *loaded = CX_TAKE(made);
    return true;
}

/* The files as they are, unless they were looked at a moment ago or are not in order. */
static const struct loaded *fresh(cx_tls *tls)
{
    int64_t now_ms = cx_now_ms();
    cx_err unused;

    if (now_ms - tls->looked_ms >= LOOK_EVERY_MS) {
        tls->looked_ms = now_ms;
        if (!cx_tls_reload(tls, NULL, &unused))
            return tls->loaded;
    }
    return tls->loaded;
}

static void *new_reference(SSL_CTX *context)
{
    return SSL_CTX_up_ref(context) == 1 ? context : NULL;
}

bool cx_tls_open(const cx_tls_files *files, cx_tls **tls, cx_err *err)
{
    CX_AUTO(cx_tls_close) cx_tls *made = cx_alloc(1, sizeof(*made));

    made->ca = cx_strdup(files->ca);
    made->cert = cx_strdup(files->cert);
    made->key = cx_strdup(files->key);
    made->crl = cx_strdup(files->crl);
    made->cluster = cx_strdup(files->cluster);
    made->looked_ms = cx_now_ms();
    if (!load(made, &made->loaded, err))
        return false;
    if (made->loaded->own_fault.code != CX_OK) {
        *err = made->loaded->own_fault;
        return false;
    }
    *tls = CX_TAKE(made);
    return true;
}

void cx_tls_close(cx_tls **owner)
{
    cx_tls *tls = *owner;

    if (tls == NULL)
        return;
    loaded_free(&tls->loaded);
    cx_free(&tls->ca);
    cx_free(&tls->cert);
    cx_free(&tls->key);
    cx_free(&tls->crl);
    cx_free(&tls->cluster);
    cx_free(owner);
}

bool cx_tls_reload(cx_tls *tls, bool *changed, cx_err *err)
{
    struct loaded *loaded = NULL;

    if (changed != NULL)
        *changed = false;
    if (!is_changed(tls))
        return true;
    if (!load(tls, &loaded, err))
        return false;
    loaded_free(&tls->loaded);
    tls->loaded = loaded;
    if (changed != NULL)
        *changed = true;
    if (loaded->own_fault.code == CX_OK)
        return true;
    *err = loaded->own_fault;
    return false;
}

void *cx_tls_server(void *tls)
{
    return new_reference(fresh(tls)->server);
}

void *cx_tls_server_optional(void *tls)
{
    return new_reference(fresh(tls)->server_optional);
}

bool cx_tls_client_hook(void *ssl_ctx, void *arg, cx_err *err)
{
    cx_tls_peer *peer = arg;

    peer->error = (cx_err){0};
    SSL_CTX_set_msg_callback(ssl_ctx, forget_peer);
    return arm(ssl_ctx, fresh(peer->tls), peer->node_id, peer, SSL_VERIFY_PEER, err);
}

bool cx_tls_peer_identity(const SSL *ssl, cx_identity *identity, cx_err *err)
{
    X509 *cert = SSL_get0_peer_certificate(ssl);

    if (cert == NULL)
        return cx_fail(err, CX_UNAUTHENTICATED, "no client certificate");
    return cx_cert_identity(cert, identity, err);
}

bool cx_tls_authenticate(cx_tls *tls, const SSL *ssl, cx_identity *identity, cx_err *err)
{
    X509 *cert = SSL_get0_peer_certificate(ssl);
    const struct guard *guard = guard_of(ssl);
    cx_purpose purpose = SSL_is_server(ssl) ? CX_PURPOSE_CLIENT : CX_PURPOSE_SERVER;

    if (cert == NULL)
        return cx_fail(err, CX_UNAUTHENTICATED, "no client certificate");
    if ((guard == NULL || guard->trust != fresh(tls)->trust ||
         X509_cmp_current_time(X509_get0_notAfter(cert)) < 0) &&
        !cx_trust_verify(tls->loaded->trust, cert, purpose, NULL, err))
        return false;
    return cx_cert_identity(cert, identity, err);
}

const char *cx_tls_refusal(const SSL *ssl)
{
    const cx_err *refusal = SSL_get_ex_data(ssl, slots()->refusal);

    return refusal != NULL ? refusal->message : "";
}

int64_t cx_tls_not_after_ms(const cx_tls *tls)
{
    return tls->loaded->cert != NULL ? cx_cert_not_after_ms(tls->loaded->cert) : 0;
}

const char *cx_tls_serial(const cx_tls *tls)
{
    return tls->loaded->serial;
}

int64_t cx_tls_crl_stale_since(const cx_tls *tls)
{
    return cx_trust_crl_stale_since(tls->loaded->trust, cx_wall_ms());
}
