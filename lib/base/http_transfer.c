#include "base/http_transfer.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include <openssl/err.h>
#include <openssl/x509_vfy.h>

#include "base/time.h"

enum {
    HEADERS_MAX = 64 * 1024,    /* bytes of an answer's header */
    TIMEOUT_DEFAULT_MS = 30000, /* every wait has an end */
};

static bool is_https(const char *url)
{
    return strncasecmp(url, "https://", 8) == 0;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    cx_transfer *transfer = arg;

    (void)size; /* always 1 */
    if (count > transfer->request->answer_max - transfer->answer->body.size) {
        transfer->too_large = "body";
        transfer->is_cut = transfer->request->answer_cut;
        return 0;
    }
    cx_buffer_add(&transfer->answer->body, data, count);
    return count;
}

static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
    cx_transfer *transfer = arg;
    cx_buffer *headers = &transfer->answer->headers;

    (void)size;
    if (count >= 5 && strncasecmp(data, "HTTP/", 5) == 0)
        cx_buffer_clear(headers); /* what came before was of a 100 Continue */
    if (count > HEADERS_MAX - headers->size) {
        transfer->too_large = "header";
        return 0;
    }
    cx_buffer_add(headers, data, count);
    return count;
}

static CURLcode on_context(CURL *handle, void *ssl_ctx, void *arg)
{
    cx_transfer *transfer = arg;
    const cx_http_request *request = transfer->request;

    (void)handle;
    if (request->tls_hook(ssl_ctx, request->tls_arg, &transfer->answer->error))
        return CURLE_OK;
    return CURLE_ABORTED_BY_CALLBACK;
}

/* Also refuses what is no URL of ours. */
static bool name_peer(const char *url, char **host_port, cx_err *err)
{
    CURLU *parts = curl_url();
    char *host = NULL, *port = NULL;
    CURLUcode fault = curl_url_set(parts, CURLUPART_URL, url, 0);

    if (fault == CURLUE_OK)
        fault = curl_url_get(parts, CURLUPART_HOST, &host, 0);
    if (fault == CURLUE_OK)
        fault = curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT);
    if (fault == CURLUE_OK)
        *host_port = cx_format("%s:%s", host, port);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(parts);
    if (fault != CURLUE_OK)
        return cx_fail(err, CX_INVALID, "URL %s: %s", url, curl_url_strerror(fault));
    if (!is_https(url) && strncasecmp(url, "http://", 7) != 0)
        return cx_fail(err, CX_INVALID, "URL %s: neither http:// nor https://", url);
    return true;
}

static bool has_header(const cx_http_request *request, const char *name)
{
    size_t size = strlen(name);

    for (const char *const *each = request->headers; each && *each; each++)
        if (strncasecmp(*each, name, size) == 0 && (*each)[size] == ':')
            return true;
    return false;
}

static void set_headers(cx_transfer *transfer)
{
    const cx_http_request *request = transfer->request;

    for (const char *const *each = request->headers; each && *each; each++)
        transfer->headers = curl_slist_append(transfer->headers, *each);
    /* Without a value libcurl leaves out what it would add by itself. */
    transfer->headers = curl_slist_append(transfer->headers, "Expect:");
    if (!has_header(request, "Content-Type"))
        transfer->headers = curl_slist_append(transfer->headers, "Content-Type:");
    curl_easy_setopt(transfer->handle, CURLOPT_HTTPHEADER, transfer->headers);
}

static void set_method(cx_transfer *transfer)
{
    const cx_http_request *request = transfer->request;
    const char *method = request->method;

    if (!method)
        method = request->body.size > 0 ? "POST" : "GET";
    if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(transfer->handle, CURLOPT_NOBODY, 1L);
        return;
    }
    if (request->body.size > 0 || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0) {
        curl_easy_setopt(transfer->handle, CURLOPT_POSTFIELDSIZE_LARGE,
                         (curl_off_t)request->body.size);
        curl_easy_setopt(transfer->handle, CURLOPT_POSTFIELDS,
                         request->body.data ? (const char *)request->body.data : "");
    }
    curl_easy_setopt(transfer->handle, CURLOPT_CUSTOMREQUEST, method);
}

/* The hook's SSL_CTX alone says who is trusted. So no store of the system's and none that libcurl
 * keeps from an earlier transfer, and neither a connection nor a session of another identity: the
 * same address may be asked as two different nodes. */
static void set_hook(cx_transfer *transfer)
{
    CURL *handle = transfer->handle;

    curl_easy_setopt(handle, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
    curl_easy_setopt(handle, CURLOPT_SSL_CTX_FUNCTION, on_context);
    curl_easy_setopt(handle, CURLOPT_SSL_CTX_DATA, transfer);
    curl_easy_setopt(handle, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(handle, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(handle, CURLOPT_CAINFO, NULL);
    curl_easy_setopt(handle, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(handle, CURLOPT_CA_CACHE_TIMEOUT, 0L);
    curl_easy_setopt(handle, CURLOPT_SSL_SESSIONID_CACHE, 0L);
    curl_easy_setopt(handle, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(handle, CURLOPT_FORBID_REUSE, 1L);
}

static void set_web_trust(cx_transfer *transfer)
{
    CURL *handle = transfer->handle;

    curl_easy_setopt(handle, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(handle, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(handle, CURLOPT_SSL_VERIFYHOST, 2L);
    if (transfer->request->ca_file) {
        curl_easy_setopt(handle, CURLOPT_CAINFO, transfer->request->ca_file);
        curl_easy_setopt(handle, CURLOPT_CAPATH, NULL);
    }
}

static void set_limits(cx_transfer *transfer, int64_t timeout_ms)
{
    const cx_http_request *request = transfer->request;
    int64_t connect_ms = request->connect_timeout_ms;
    CURL *handle = transfer->handle;

    if (connect_ms <= 0 || connect_ms > timeout_ms)
        connect_ms = timeout_ms;
    curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    /* 0 would be no limit here; on_body holds in any case. */
    if (request->answer_max > 0 && !request->answer_cut)
        curl_easy_setopt(handle, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)request->answer_max);
    curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(handle, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    if (!request->verify_by_name)
        curl_easy_setopt(handle, CURLOPT_PROXY, ""); /* peers are reached directly */
}

/* "Connection refused" reads well alone, but not after a colon. */
static void lower_first(char *text)
{
    if (isupper((unsigned char)text[0]) && islower((unsigned char)text[1]))
        text[0] = (char)tolower((unsigned char)text[0]);
}

static void tell_timeout(const cx_transfer *transfer, cx_err *err)
{
    curl_off_t connected_us = 0;
    char after[CX_TIME_TEXT_SIZE];

    curl_easy_getinfo(transfer->handle,
                      is_https(transfer->request->url) ? CURLINFO_APPCONNECT_TIME_T
                                                       : CURLINFO_CONNECT_TIME_T,
                      &connected_us);
    cx_duration_text(cx_now_ms() - transfer->started_ms, after);
    if (connected_us == 0)
        cx_fail(err, CX_TIMEOUT, "connect to %s: timed out after %s", transfer->host_port, after);
    else
        cx_fail(err, CX_TIMEOUT, "%s: no answer within %s", transfer->host_port, after);
}

/* Our verdict on the peer's certificate. */
static void tell_verdict(const cx_transfer *transfer, long verdict, cx_err *err)
{
    cx_code code = CX_CERT_INVALID;

    if (verdict == X509_V_ERR_CERT_HAS_EXPIRED || verdict == X509_V_ERR_CRL_HAS_EXPIRED)
        code = CX_CERT_EXPIRED;
    else if (verdict == X509_V_ERR_CERT_REVOKED)
        code = CX_REVOKED;
    cx_fail(err, code, "connect to %s: its certificate was refused: %s", transfer->host_port,
            verdict != X509_V_OK ? X509_verify_cert_error_string(verdict) : transfer->detail);
}

/* The peer's verdict on our certificate comes as an alert, in TLS 1.3 only when we read its answer.
 * libcurl hands on OpenSSL's words alone. */
static bool tell_alert(const cx_transfer *transfer, cx_err *err)
{
    static const struct {
        const char *words;
        cx_code code;
        const char *text;
    } alerts[] = {
        {"alert certificate expired", CX_CERT_EXPIRED, "it says that our certificate has expired"},
        {"alert certificate revoked", CX_REVOKED, "it says that our certificate is revoked"},
        {"alert certificate required", CX_UNAUTHENTICATED, "it demands a certificate"},
        {"alert bad certificate", CX_UNAUTHENTICATED, "it refused our certificate"},
        {"alert certificate unknown", CX_UNAUTHENTICATED, "it refused our certificate"},
        {"alert unsupported certificate", CX_UNAUTHENTICATED, "it refused our certificate"},
        {"alert unknown ca", CX_UNAUTHENTICATED, "it doesn't know our certificate's authority"},
        {"alert access denied", CX_UNAUTHENTICATED, "it refused our certificate"},
        {"alert handshake failure", CX_UNAVAILABLE, "TLS handshake failed"},
        {"alert protocol version", CX_UNAVAILABLE, "it does not speak TLS 1.3"},
    };

    for (size_t i = 0; i < CX_COUNT(alerts); i++)
        if (strstr(transfer->detail, alerts[i].words)) {
            cx_fail(err, alerts[i].code, "connect to %s: %s", transfer->host_port, alerts[i].text);
            return true;
        }
    return false;
}

static void tell_failed_connect(const cx_transfer *transfer, cx_err *err)
{
    long number = 0;

    curl_easy_getinfo(transfer->handle, CURLINFO_OS_ERRNO, &number);
    if (number != 0 && strerrordesc_np((int)number)) {
        char reason[128];

        snprintf(reason, sizeof(reason), "%s", strerrordesc_np((int)number));
        lower_first(reason);
        cx_fail(err, CX_UNAVAILABLE, "connect to %s: %s", transfer->host_port, reason);
    } else {
        cx_fail(err, CX_UNAVAILABLE, "connect to %s: %s", transfer->host_port, transfer->detail);
    }
}

static void tell_fault(cx_transfer *transfer, CURLcode result, cx_err *err)
{
    const char *peer = transfer->host_port;
    char *detail = transfer->detail;
    long verdict = X509_V_OK;

    if (err->code != CX_OK) /* the hook's own */
        return;
    if (!detail[0])
        snprintf(detail, sizeof(transfer->detail), "%s", curl_easy_strerror(result));
    lower_first(detail);
    if (transfer->too_large || result == CURLE_FILESIZE_EXCEEDED) {
        cx_fail(err, CX_TOO_LARGE, "%s: the %s of its answer is too large", peer,
                transfer->too_large ? transfer->too_large : "body");
        return;
    }
    switch (result) {
    case CURLE_OPERATION_TIMEDOUT: tell_timeout(transfer, err); return;
    case CURLE_COULDNT_CONNECT: tell_failed_connect(transfer, err); return;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY: cx_fail(err, CX_UNAVAILABLE, "%s", detail); return;
    case CURLE_URL_MALFORMAT: cx_fail(err, CX_INVALID, "%s: %s", peer, detail); return;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9, which is any garbage */
    case CURLE_BAD_CONTENT_ENCODING:
        cx_fail(err, CX_PROTOCOL, "%s: its answer is no HTTP: %s", peer, detail);
        return;
    case CURLE_SSL_CACERT_BADFILE:
        cx_fail(err, CX_CONFIG, "read CA certificates of %s: %s",
                transfer->request->ca_file ? transfer->request->ca_file : "the system", detail);
        return;
    case CURLE_OUT_OF_MEMORY: /* also a header line above libcurl's own bound of 100 KB */
        cx_fail(err, CX_TOO_LARGE, "%s: the header of its answer is too large", peer);
        return;
    default: break;
    }
    curl_easy_getinfo(transfer->handle, CURLINFO_SSL_VERIFYRESULT, &verdict);
    if (result == CURLE_PEER_FAILED_VERIFICATION)
        tell_verdict(transfer, verdict, err);
    else if (tell_alert(transfer, err))
        return;
    else if (result == CURLE_SSL_CONNECT_ERROR)
        cx_fail(err, CX_UNAVAILABLE, "connect to %s: no TLS: %s", peer, detail);
    else
        cx_fail(err, CX_UNAVAILABLE, "connection to %s lost: %s", peer, detail);
}

bool cx_transfer_open(const cx_http_request *request, int64_t timeout_ms, cx_http_answer *answer,
                      cx_transfer *transfer, cx_err *err)
{
    *transfer = (cx_transfer){.request = request, .answer = answer, .started_ms = cx_now_ms()};
    if (!name_peer(request->url, &transfer->host_port, err))
        return false;
    if (is_https(request->url) && !request->tls_hook && !request->verify_by_name)
        return cx_fail(err, CX_INVALID, "%s: https needs a way to know the peer",
                       transfer->host_port);
    transfer->handle = curl_easy_init();
    if (!transfer->handle)
        return cx_fail(err, CX_INTERNAL, "%s: no memory for a transfer", transfer->host_port);
    curl_easy_setopt(transfer->handle, CURLOPT_PRIVATE, transfer);
    curl_easy_setopt(transfer->handle, CURLOPT_URL, request->url);
    curl_easy_setopt(transfer->handle, CURLOPT_USERAGENT, "cx/" CX_VERSION);
    curl_easy_setopt(transfer->handle, CURLOPT_ERRORBUFFER, transfer->detail);
    curl_easy_setopt(transfer->handle, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(transfer->handle, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(transfer->handle, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(transfer->handle, CURLOPT_HEADERDATA, transfer);
    set_limits(transfer, timeout_ms > 0 ? timeout_ms : TIMEOUT_DEFAULT_MS);
    set_method(transfer);
    set_headers(transfer);
    if (request->verify_by_name)
        set_web_trust(transfer);
    else if (is_https(request->url))
        set_hook(transfer);
    return true;
}

void cx_transfer_finish(cx_transfer *transfer, CURLcode result)
{
    cx_http_answer *answer = transfer->answer;
    CX_AUTO(cx_free) char *date = NULL;
    long status = 0;
    long sent = 0;
    curl_off_t total_us = 0;

    curl_easy_getinfo(transfer->handle, CURLINFO_REQUEST_SIZE, &sent);
    answer->sent = sent > 0;
    curl_easy_getinfo(transfer->handle, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(transfer->handle, CURLINFO_TOTAL_TIME_T, &total_us);
    answer->seconds = (double)total_us / 1e6;
    if (!transfer->is_cut && (result != CURLE_OK || answer->error.code != CX_OK)) {
        tell_fault(transfer, result, &answer->error);
        ERR_clear_error(); /* of this thread; others look at it after their own calls */
        return;
    }
    answer->status = (int)status;
    date = cx_http_header(answer, "Date");
    if (date) {
        time_t seconds = curl_getdate(date, NULL);

        answer->peer_date_ms = seconds > 0 ? (int64_t)seconds * 1000 : 0;
    }
}

void cx_transfer_close(cx_transfer *transfer)
{
    if (transfer->handle)
        curl_easy_cleanup(transfer->handle);
    transfer->handle = NULL;
    curl_slist_free_all(transfer->headers);
    transfer->headers = NULL;
    cx_free(&transfer->host_port);
}
