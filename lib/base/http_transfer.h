/* Inside the HTTP client: one request made into a libcurl handle, and what libcurl tells of its end
 * made into our codes and words. Only http*.c look in here; the contract is base/http.h. */
#pragma once

#include <curl/curl.h>

#include "base/http.h"

typedef struct cx_transfer {
    const cx_http_request *request; /* lives until the transfer is over */
    cx_http_answer *answer;
    CURL *handle;
    struct curl_slist *headers;
    char *host_port;       /* for messages */
    const char *too_large; /* "body" or "header" of the answer; NULL: within the limits */
    bool is_cut;           /* of an answer_cut the body was larger */
    int64_t started_ms;
    char detail[CURL_ERROR_SIZE];
} cx_transfer;

/* Prepares the handle; timeout_ms is what is left of the request's. Its CURLOPT_PRIVATE is the
 * transfer, whose address must not change. */
CX_MUST_CHECK bool cx_transfer_open(const cx_http_request *request, int64_t timeout_ms,
                                    cx_http_answer *answer, cx_transfer *transfer, cx_err *err);
/* Fills in the answer. */
void cx_transfer_finish(cx_transfer *transfer, CURLcode result);
/* Frees the handle, which is in no multi handle any more. */
void cx_transfer_close(cx_transfer *transfer);
