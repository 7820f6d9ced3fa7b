/* Join tokens: what `cx-ca token create` prints and `cx-join join` takes.
 *
 * `cxj1.` and the base64url of a small JSON object: the CA's URL, the SHA-256 of its certificate (by
 * which the joining host knows the CA before it says anything), the node that may join, and a secret
 * that works once. The CA stores only the secret's hash. Two-way trust as kubeadm and k3s have it
 * (reference/lessons-from-peers.md, section 1). */
#pragma once

#include "pki/cert.h"

enum {
    CX_TOKEN_ID_SIZE = 27,     /* a ULID */
    CX_TOKEN_SECRET_SIZE = 44, /* 32 random bytes as base64url */
    CX_TOKEN_URL_MAX = 512,
    CX_TOKEN_TEXT_MAX = 2048,
};

typedef struct cx_token {
    char id[CX_TOKEN_ID_SIZE];
    char cluster[CX_ID_SIZE];
    char node_id[CX_ID_SIZE];
    char url[CX_TOKEN_URL_MAX + 1]; /* https://host:port, no slash at the end */
    char ca_sha256[CX_FINGERPRINT_SIZE];
    char secret[CX_TOKEN_SECRET_SIZE];
} cx_token;

/* A fresh id and secret; the caller fills the rest in. */
void cx_token_generate(int64_t now_ms, cx_token *token);
/* The token's text; the caller ends it with cx_free_secret, which wipes. */
char *cx_token_text(const cx_token *token);
/* TOKEN_INVALID for what is no token; nothing of the text is in the error. Surrounding white space
 * is skipped. */
CX_MUST_CHECK bool cx_token_parse(const char *text, cx_token *token, cx_err *err);
void cx_token_wipe(cx_token *token);
/* Hex SHA-256 of the secret, as the CA stores it. */
void cx_token_secret_hash(const char *secret, char hash[CX_FINGERPRINT_SIZE]);
