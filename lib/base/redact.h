/* Redact: takes secrets out of text that is to leave the host: logs, configuration, JSON, command lines.
 *
 * Found by their shape: private keys (PEM, OpenSSH, PGP), join tokens, age identities, minisign secret
 * keys, AWS keys, 16- and 32-byte keys in base64 (gossip), bearer tokens, credentials in URLs, tokens of
 * well-known services. Found by their name: the value of a key, option, variable, header or XML element
 * that is called password, secret, token, api_key, …, in JSON (also JSON within a JSON text), YAML
 * (blocks and lists too), `K=V`, `--k v`. And the secrets of this host that the caller knows.
 *
 * Each becomes `<redacted:KIND>`, so that the text keeps its form and redacting it again finds nothing.
 * In doubt it takes away too much. It can't know a secret without shape or name, in the midst of prose.
 *
 * Pure: no clock, no I/O. The time is linear in the text, for each secret that the caller knows. */
#pragma once

#include "base/mem.h"

#define CX_SECRETS(X)                     \
    X(PRIVATE_KEY, "private_key")         \
    X(JOIN_TOKEN, "join_token")           \
    X(AGE_IDENTITY, "age_identity")       \
    X(MINISIGN_KEY, "minisign_key")       \
    X(AWS_KEY, "aws_key")                 \
    X(KEY_BYTES, "key_bytes")             \
    X(BEARER, "bearer")                   \
    X(URL_CREDENTIALS, "url_credentials") \
    X(SERVICE_TOKEN, "service_token")     \
    X(NAMED, "named")                     \
    X(KNOWN, "known")

typedef enum cx_secret {
#define CX_SECRET_ENUM(name, word) CX_SECRET_##name,
    CX_SECRETS(CX_SECRET_ENUM)
#undef CX_SECRET_ENUM
        CX_SECRET_COUNT,
} cx_secret;

const char *cx_secret_word(cx_secret kind);

enum {
    CX_KNOWN_SECRET_MIN = 8, /* bytes; shorter ones would be found everywhere */
    CX_KNOWN_SECRETS_MAX = 4096,
};

/* What the caller knows to be secret. */
typedef struct cx_redactor cx_redactor;

cx_redactor *cx_redactor_open(void);
void cx_redactor_close(cx_redactor **owner); /* wipes what it knew */
/* Each line of it (keys stand one a line, or in base64 over many), but for PEM's own lines, comments and
 * lines that are too short. */
void cx_redactor_know(cx_redactor *redactor, cx_bytes secret);

typedef struct cx_redactions {
    size_t total;
    size_t of[CX_SECRET_COUNT];
} cx_redactions;

/* Appends the text without its secrets; adds to the counts. redactor may be NULL. */
void cx_redact(const cx_redactor *redactor, cx_bytes text, cx_buffer *out, cx_redactions *found);
