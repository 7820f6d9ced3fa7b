#include "renew_remote.h"

#include <string.h>

#include "base/http.h"
#include "base/time.h"
#include "pki/csr.h"
#include "pki/key.h"
#include "pki/tls.h"
#include "pki/trust.h"

enum { CALL_MS = 15000, ANSWER_MAX = 1024 * 1024, SKEW_NOTED_MS = 5000 };

/* With the certificate, or, where that is over, without: the CA decides whether it may still renew. */
static bool open_tls(const renew_remote_files *files, cx_tls **tls, cx_err *err)
{
    cx_tls_files with = {.ca = files->ca, .cert = files->cert, .key = files->key};

    if (cx_tls_open(&with, tls, err))
        return true;
    if (err->code != CX_CERT_EXPIRED)
        return false;
    return cx_tls_open(&(cx_tls_files){.ca = files->ca}, tls, err);
}

static bool make_body(X509 *old, EVP_PKEY *key, char **body, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer pem = {0}, csr = {0};
    CX_AUTO(cx_json_free) json_t *document = NULL;
    cx_identity identity;

    if (!cx_cert_identity(old, &identity, err) || !cx_cert_to_pem(old, &pem, err) ||
        !cx_csr_make(key, identity.name, &csr, err))
        return false;
    document = json_pack("{s:s, s:s}", "certificate_pem", (const char *)pem.data, "csr_pem",
                         (const char *)csr.data);
    *body = cx_json_line(document);
    return true;
}

/* The CA's answer is believed as little as any: it must be ours, of the same name, for our key. */
static bool check_fresh(const char *ca, X509 *old, X509 *fresh, EVP_PKEY *key, cx_err *err)
{
    CX_AUTO(cx_trust_close) cx_trust *trust = NULL;
    cx_identity was, is;

    if (!cx_cert_identity(old, &was, err) || !cx_cert_identity(fresh, &is, err) ||
        !cx_trust_open(ca, NULL, was.cluster, &trust, err) ||
        !cx_trust_verify(trust, fresh, CX_PURPOSE_ANY, NULL, err))
        return false;
    if (was.kind != is.kind || strcmp(was.name, is.name) != 0)
        return cx_fail(err, CX_CERT_INVALID, "the new certificate speaks for %s, not for %s",
                       is.name, was.name);
    return cx_cert_check_key(fresh, "the new certificate", key, "the key", err);
}

static bool read_answer(const cx_http_answer *answer, const char *ca, X509 *old, EVP_PKEY *key,
                        X509 **fresh, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *document = NULL;
    CX_AUTO(cx_cert_free) X509 *cert = NULL;
    int64_t skew_ms = answer->peer_date_ms != 0 ? cx_wall_ms() - answer->peer_date_ms : 0;
    const char *pem;

    if (!cx_json_parse(cx_buffer_bytes(&answer->body), ANSWER_MAX, "the CA's answer", &document,
                       err))
        return false;
    if (answer->status != 200) {
        cx_err_from_json(document, err);
        if (err->hint[0] == '\0' && (skew_ms > SKEW_NOTED_MS || skew_ms < -SKEW_NOTED_MS))
            cx_hint(err, "this host's clock is %.0f s %s the CA's", (double)skew_ms / 1000.0,
                    skew_ms > 0 ? "ahead of" : "behind");
        return false;
    }
    if (!cx_json_need_text(document, "the CA's answer", "certificate_pem", &pem, err) ||
        !cx_cert_from_pem(cx_bytes_of(pem), "the CA's answer", &cert, err) ||
        !check_fresh(ca, old, cert, key, err))
        return false;
    *fresh = CX_TAKE(cert);
    return true;
}

bool renew_remote(const cx_run *run, const renew_remote_files *files, X509 *old, EVP_PKEY *key,
                  X509 **fresh, cx_err *err)
{
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    CX_AUTO(cx_tls_close) cx_tls *tls = NULL;
    CX_AUTO(cx_http_close) cx_http *http = cx_http_open();
    CX_AUTO(cx_http_answer_free) cx_http_answer answer = {0};
    CX_AUTO(cx_free) char *body = NULL;
    size_t size = strlen(files->url);

    while (size > 0 && files->url[size - 1] == '/')
        size--;

    CX_AUTO(cx_free) char *url = cx_format("%.*s/renew", (int)size, files->url);
    cx_tls_peer peer = {.node_id = CX_CA_SERVER_NAME};

    if (strncmp(files->url, "https://", 8) != 0)
        return cx_fail(err, CX_INVALID, "--url: not https://HOST:PORT");
    if (!open_tls(files, &tls, err) || !make_body(old, key, &body, err))
        return false;
    peer.tls = tls;
    if (cx_http_do(http,
                   &(cx_http_request){.url = url,
                                      .method = "POST",
                                      .headers = headers,
                                      .body = cx_bytes_of(body),
                                      .answer_max = ANSWER_MAX,
                                      .timeout_ms = cx_timeout_or(run, CALL_MS),
                                      .tls_hook = cx_tls_client_hook,
                                      .tls_arg = &peer},
                   &answer, err))
        return read_answer(&answer, files->ca, old, key, fresh, err) || cx_wrap(err, "renew");
    if (peer.error.code != CX_OK)
        *err = peer.error;
    return cx_wrap(err, "renew at %s", files->url);
}
