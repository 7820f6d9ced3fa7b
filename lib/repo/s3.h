/* S3: where a bucket is, who we are there, and one signed request at a time. A part of repo/dest.h.
 *
 * libcurl signs (SigV4), and what libcurl 7.88 asks of its caller is done here: the payload's hash in
 * a header, paths and queries in canonical form (docs.aws.amazon.com, "Signature Version 4"). The hash
 * is the body's own, so the server refuses what the way changed. */
#pragma once

#include <curl/curl.h>

#include "base/err.h"

typedef struct cx_s3_place {
    char *endpoint; /* https://host[:port], without the bucket */
    char *bucket;
    char *prefix; /* "" or "a/b/" */
    char *region;
    bool path_style; /* the bucket is the path's first part, and not the host's */
    char *access_key, *secret_key, *session_token; /* the token may be NULL */
    char *ca_file;                                 /* NULL: the system's */
} cx_s3_place;

/* "s3://bucket/prefix?endpoint=…&region=…&path_style=1". Credentials from AWS_ACCESS_KEY_ID,
 * AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, else from the file aws-credentials in
 * $CREDENTIALS_DIRECTORY, $AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials (profile $AWS_PROFILE,
 * else default). Without an endpoint in the URL $AWS_ENDPOINT_URL_S3 is used, else $AWS_ENDPOINT_URL,
 * else Amazon's of the region. */
CX_MUST_CHECK bool cx_s3_place_parse(const char *url, cx_s3_place *place, cx_err *err);
void cx_s3_place_free(cx_s3_place *place);

typedef struct cx_s3 cx_s3;

/* Takes the place over. */
cx_s3 *cx_s3_open(cx_s3_place *place);
void cx_s3_close(cx_s3 **owner);
const cx_s3_place *cx_s3_where(const cx_s3 *s3);

typedef struct cx_s3_request {
    const char *method;
    const char *key;    /* below the prefix; NULL: the bucket itself */
    const char *query;  /* encoded and sorted, without "?"; NULL: none */
    const char *header; /* one more "Name: value"; NULL: none */
    cx_bytes body;
    size_t answer_max;
} cx_s3_request;

typedef struct cx_s3_answer {
    int status;
    cx_buffer body;
    char *etag;                   /* without quotes; NULL: none */
    int64_t length;               /* Content-Length; -1: none */
    int64_t date_ms, modified_ms; /* Date and Last-Modified; 0: none */
} cx_s3_answer;

/* Sends it until an answer came that is no passing trouble (5xx, 429, a lost connection), with pauses
 * that grow and differ, for about a minute. False when there is none, or when it is larger than
 * answer_max (TOO_LARGE). From any thread. */
CX_MUST_CHECK bool cx_s3_send(cx_s3 *s3, const cx_s3_request *request, cx_s3_answer *answer,
                              cx_err *err);
void cx_s3_answer_free(cx_s3_answer *answer);
/* What an answer other than 2xx means; always returns false. */
bool cx_s3_fail(const cx_s3_answer *answer, const char *what, cx_err *err);
